"""The reference of the nn level against plain torch arithmetic in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnncc.ir import nn
from bnncc.ir.exact import ap2
from bnncc.ir.reference import evaluate_nn
from bnncc.ir.types import Elem
from tests.corpus import graph
from tests.networks import sample_inputs

torch = pytest.importorskip("torch")

EXACT = [
    "conv_pad0_c1_k3s1d1", "conv_pad1_c3_k3s1d1", "conv_padm1_c20_k3s1d1", "conv_pad1_c65_k3s2d1",
    "conv_padm1_c5_k3s1d2", "conv_first", "conv_first_negative", "conv_first_mean_std", "conv_first_pooled",
    "conv_pool_after_norm", "conv_first_negative_pool", "conv_i8", "mlp_mixed_gammas", "mlp_shift",
    "shortcut_sums", "flatten_before_norm", "rectangular", "two_inputs_two_outputs", "binary_connect",
    "scaled_mlp", "scaled_conv", "shifted_signs", "rising_prelu",
]  # fmt: skip


def in_torch(network: nn.NnGraph, inputs: dict[str, Any]) -> dict[str, Any]:
    values = {name: torch.tensor(array.astype(np.float64)) for name, array in inputs.items()}
    for node in network.nodes:
        values[node.result.name] = torch_step(node, network, values)
    return {output.name: values[output.value.name].numpy() for output in network.outputs}


def torch_step(node: nn.NnOp, network: nn.NnGraph, values: dict[str, Any]) -> Any:  # noqa: C901 -- one branch an operation
    def parameter(ref: Any) -> Any:
        return torch.tensor(network.array(ref).astype(np.float64))

    functional = torch.nn.functional
    match node:
        case nn.Normalize(x=x, scale=scale, shift=shift):
            return values[x.name] * float(scale) + float(shift)
        case nn.Conv2d(x=x, weight=weight, window=w, pad_value=pad_value, scale=factor):
            image = pad(values[x.name], w.padding, float(pad_value))
            sums = functional.conv2d(image, parameter(weight), stride=w.stride, dilation=w.dilation)
            return sums if factor is None else sums * along(parameter(factor), sums)
        case nn.Dense(x=x, weight=weight, scale=factor):
            sums = values[x.name] @ parameter(weight).T
            return sums if factor is None else sums * along(parameter(factor), sums)
        case nn.BatchNorm(x=x, gamma=gamma, beta=beta, mean=mean, var=var, eps=eps):
            slope = 1.0 if gamma is None else parameter(gamma)
            slope = slope / torch.sqrt(parameter(var) + float(eps))
            return normed(values[x.name], slope, parameter(mean), parameter(beta))
        case nn.ShiftBatchNorm(x=x, gamma=gamma, beta=beta, mean=mean, inv_std=inv_std):
            slope = ap2(network.array(gamma)) * ap2(network.array(inv_std))
            return normed(values[x.name], torch.tensor(slope), parameter(mean), parameter(beta))
        case nn.Sign(x=x, shift=shift):
            least = 0.0 if shift is None else along(parameter(shift), values[x.name])
            return torch.where(values[x.name] >= least, 1.0, -1.0).double()
        case nn.MaxPool2d(x=x, window=w):
            image = pad(values[x.name], w.padding, float("-inf"))
            return functional.max_pool2d(image, w.kernel, w.stride, dilation=w.dilation)
        case nn.Flatten(x=x):
            return values[x.name].flatten(1)
        case nn.Relu(x=x):
            return torch.relu(values[x.name])
        case nn.HardTanh(x=x):
            return values[x.name].clamp(-1, 1)
        case nn.Prelu(x=x, slope=slope, before=before, after=after):
            number = values[x.name]
            moved = number if before is None else number - along(parameter(before), number)
            bent = functional.prelu(moved, parameter(slope))
            return bent if after is None else bent + along(parameter(after), number)
        case nn.Dropout(x=x):
            return values[x.name]
        case nn.Add(x=x, y=y):
            return values[x.name] + values[y.name]
        case nn.Concat(parts=parts):
            return torch.cat([values[part.name] for part in parts], dim=1)


def pad(image: Any, padding: tuple[int, int, int, int], value: float) -> Any:
    top, left, bottom, right = padding
    return torch.nn.functional.pad(image, (left, right, top, bottom), value=value)


def along(vector: Any, x: Any) -> Any:
    return vector.reshape((1, -1) + (1,) * (x.ndim - 2))


def normed(x: Any, slope: Any, mean: Any, beta: Any) -> Any:
    return along(slope, x) * (x - along(mean, x)) + along(beta, x)


@pytest.mark.parametrize("name", EXACT)
def test_reference_agrees_with_torch(name: str) -> None:
    network = graph(name)
    inputs = sample_inputs(network, images=20, seed=11)
    found, wanted = evaluate_nn(network, inputs), in_torch(network, inputs)
    for output in network.outputs:
        if output.value.type.elem is Elem.REAL:
            # f32 against f64: the only place where rounding differs.
            np.testing.assert_allclose(found[output.name], wanted[output.name], rtol=2e-5, atol=2e-4)
        else:
            np.testing.assert_array_equal(found[output.name], wanted[output.name])
