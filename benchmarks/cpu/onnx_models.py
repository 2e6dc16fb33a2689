"""Models in ONNX: float32, and int8 with quantizers around each layer, as the engines want to find them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.cpu.engine import AnyCase
from benchmarks.cpu.ours import Case, NetworkCase
from benchmarks.cpu.plain import PlainLayer, input_shape, layers_of, plain_weights

ACTIVATION_SCALE = 1 / 64


def stored_model(case: AnyCase, kind: Literal["fp32", "int8"], folder: Path) -> Path:
    """Return the file of the model of ``case``; it is written, with the package onnx, where it is missing."""
    path = folder / f"{case.name.replace(' ', '_').replace('>', '')}.{kind}.onnx"
    if not path.exists():
        path.write_bytes(float_model(case) if kind == "fp32" else int8_model(case))
    return path


def gives_sums(case: AnyCase, x: Any) -> bool:
    """Return whether the model's output are the sums of ours: a layer alone without a quantizer behind it."""
    return isinstance(case, Case) and (case.window is None or x.dtype == np.float32)


class _Builder:
    """Nodes and constants so far, and the name of the last value."""

    def __init__(self, case: AnyCase) -> None:
        import onnx

        self.onnx, self.case, self.last = onnx, case, "x"
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *others: str, **attributes: object) -> None:
        name = f"v{len(self.nodes)}"
        self.nodes.append(
            self.onnx.helper.make_node(kind, [self.last, *others], [name], name=name, **attributes)
        )
        self.last = name

    def dequantized(self, array: Any, scale: float) -> str:
        zero = np.zeros((), array.dtype)
        names = [self.constant(array), self.constant(np.float32(scale)), self.constant(zero)]
        name = f"d{len(self.constants)}"
        self.nodes.append(self.onnx.helper.make_node("DequantizeLinear", names, [name], name=name))
        return name

    def layer(self, layer: PlainLayer, weight: str, bias: str | None) -> None:
        biases = () if bias is None else (bias,)
        if layer.size is not None:
            self.add("Conv", weight, *biases, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        elif bias is None:
            self.add("MatMul", weight)
        else:
            self.add("Gemm", weight, bias)

    def model(self, *, is_float: bool) -> bytes:
        elem = self.onnx.TensorProto.FLOAT if is_float else self.onnx.TensorProto.UINT8
        self.nodes[-1].output[0] = "y"
        inputs = [self.onnx.helper.make_tensor_value_info("x", elem, input_shape(self.case))]
        outputs = [self.onnx.helper.make_tensor_value_info("y", self.onnx.TensorProto.FLOAT, None)]
        graph = self.onnx.helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        return self.onnx.helper.make_model(
            graph, opset_imports=[self.onnx.helper.make_opsetid("", 17)], ir_version=9
        ).SerializeToString()


def _matrix(layer: PlainLayer, weights: Any) -> Any:
    return weights if layer.size is not None else np.ascontiguousarray(weights.T)


def float_model(case: AnyCase) -> bytes:
    """Return the model: float32 in and out."""
    build = _Builder(case)
    is_network = isinstance(case, NetworkCase)
    previous: PlainLayer | None = None
    for layer, weights in zip(layers_of(case), plain_weights(case), strict=True):
        if previous is not None and previous.size is not None and layer.size is None:
            build.add("Flatten")
        scale = np.float32(1 / np.sqrt(layer.fan_in) if is_network else 1)
        weight = build.constant(_matrix(layer, weights).astype(np.float32) * scale)
        build.layer(
            layer, weight, build.constant(np.zeros(layer.outputs, np.float32)) if is_network else None
        )
        if not layer.is_last:
            build.add("Relu")
        if layer.has_pool:
            build.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        previous = layer
    return build.model(is_float=True)


def int8_model(case: AnyCase) -> bytes:
    """Return the model: unsigned bytes in, float32 out; weights are signed bytes, one scale a tensor.

    A convolution alone has a ReLU and a quantizer behind it, the form that the engines fuse.
    """
    build = _Builder(case)
    is_network = isinstance(case, NetworkCase)
    scale_in, zero = (1 / 127.5, np.uint8(127)) if is_network else (1.0, np.uint8(1))
    build.add("DequantizeLinear", build.constant(np.float32(scale_in)), build.constant(zero))
    previous: PlainLayer | None = None
    for layer, weights in zip(layers_of(case), plain_weights(case), strict=True):
        if previous is not None and previous.size is not None and layer.size is None:
            build.add("Flatten")
        scale = float(1 / np.sqrt(layer.fan_in)) if is_network else 1.0
        bias = build.dequantized(np.zeros(layer.outputs, np.int32), scale_in * scale) if is_network else None
        build.layer(layer, build.dequantized(_matrix(layer, weights), scale), bias)
        if layer.size is not None or not layer.is_last:
            build.add("Relu")
            if layer.has_pool:
                build.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
            scale_in = ACTIVATION_SCALE if is_network else 2.0
            step = build.constant(np.float32(scale_in)), build.constant(np.uint8(0))
            build.add("QuantizeLinear", *step)
            build.add("DequantizeLinear", *step)
        previous = layer
    return build.model(is_float=False)
