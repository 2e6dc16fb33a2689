"""OpenVINO, float32 (no bfloat16) and int8 by quantizers in the model; input and output are bound."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cpu.engine import AnyCase, Engine, InProcess
from benchmarks.cpu.onnx_models import gives_sums, stored_model
from benchmarks.cpu.plain import input_bytes, input_floats

PIP = "pip install openvino onnx"


def load(case: AnyCase, threads: int, model: Path, x: Any) -> InProcess:
    import openvino as ov

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    request = ov.Core().compile_model(str(model), "CPU", options).create_infer_request()
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))
    found = InProcess(run=lambda: request.infer(None, share_outputs=True), keep=x)
    if gives_sums(case, x):
        found.sums = lambda: request.get_output_tensor().data
    return found


def _float(folder: Path, case: AnyCase, threads: int) -> InProcess:
    return load(case, threads, stored_model(case, "fp32", folder), input_floats(case))


def _int8(folder: Path, case: AnyCase, threads: int) -> InProcess:
    return load(case, threads, stored_model(case, "int8", folder), input_bytes(case))


def engines(folder: Path) -> tuple[Engine, ...]:
    return (
        Engine("OpenVINO int8", "int8", PIP, partial(_int8, folder)),
        Engine("OpenVINO fp32", "fp32", PIP, partial(_float, folder)),
    )
