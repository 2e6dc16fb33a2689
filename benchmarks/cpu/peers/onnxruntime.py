"""ONNX Runtime on the CPU, float32 and int8 by quantizers in the model; input and output are bound."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cpu.engine import AnyCase, Engine, InProcess
from benchmarks.cpu.onnx_models import gives_sums, stored_model
from benchmarks.cpu.plain import input_bytes, input_floats

PIP = "pip install onnxruntime onnx"


def load(case: AnyCase, threads: int, model: Path, x: Any) -> InProcess:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y")
    found = InProcess(run=lambda: session.run_with_iobinding(binding), keep=x)
    if gives_sums(case, x):
        found.sums = lambda: binding.copy_outputs_to_cpu()[0]
    return found


def _float(folder: Path, case: AnyCase, threads: int) -> InProcess:
    return load(case, threads, stored_model(case, "fp32", folder), input_floats(case))


def _int8(folder: Path, case: AnyCase, threads: int) -> InProcess:
    return load(case, threads, stored_model(case, "int8", folder), input_bytes(case))


def engines(folder: Path) -> tuple[Engine, ...]:
    return (
        Engine("ONNX Runtime int8", "int8", PIP, partial(_int8, folder)),
        Engine("ONNX Runtime fp32", "fp32", PIP, partial(_float, folder)),
    )
