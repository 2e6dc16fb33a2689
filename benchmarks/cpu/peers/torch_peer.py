"""PyTorch: float32 eager (channels last) and compiled, int8 by `torch.ao` with the x86 engine."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

from benchmarks.cpu.engine import AnyCase, Engine, InProcess, Unavailable
from benchmarks.cpu.ours import Case
from benchmarks.cpu.plain import input_floats, input_shape, input_signs, layers_of, plain_weights

PIP = "pip install torch==2.13.0"


def module_of(case: AnyCase) -> Any:
    """Return the layers as a module; a convolution alone has a ReLU behind it."""
    import torch
    from torch import nn

    steps: list[nn.Module] = []
    layers = layers_of(case)
    for layer, weights in zip(layers, plain_weights(case), strict=True):
        has_bias = len(layers) > 1
        if layer.size is None:
            if layer.inputs == 8192 and has_bias:
                steps.append(nn.Flatten())
            steps.append(nn.Linear(layer.inputs, layer.outputs, bias=has_bias))
        else:
            steps.append(nn.Conv2d(layer.inputs, layer.outputs, 3, padding=1, bias=has_bias))
        scale = layer.fan_in**-0.5 if has_bias else 1.0
        steps[-1].weight = nn.Parameter(torch.from_numpy(weights).float() * scale, requires_grad=False)
        if layer.size is not None or not layer.is_last:
            steps.append(nn.ReLU())
        if layer.has_pool:
            steps.append(nn.MaxPool2d(2))
    return nn.Sequential(*steps).eval()


def _runner(case: AnyCase, threads: int, call: Any, x: Any) -> InProcess:
    import torch

    results: list[Any] = [None]

    def run() -> None:
        with torch.inference_mode():
            results[0] = call(x)

    found = InProcess(run=run, before=partial(torch.set_num_threads, threads))
    found.before()
    if isinstance(case, Case) and case.window is None:
        found.sums = lambda: results[0].numpy()  # noqa: PLW0108 - of the result then, not now
    return found


def _eager(case: AnyCase, threads: int) -> InProcess:
    import torch

    module, x = module_of(case), torch.from_numpy(input_floats(case))
    if len(input_shape(case)) == 4:
        module, x = module.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    return _runner(case, threads, module, x)


def _compiled(case: AnyCase, threads: int) -> InProcess:
    import torch
    import torch._dynamo
    import torch._inductor.config

    torch.set_num_threads(threads)
    torch._dynamo.reset()  # noqa: SLF001 - the public way to forget earlier shapes
    with torch._inductor.config.patch(freezing=True), torch.no_grad():  # noqa: SLF001 - as its manual says
        compiled = torch.compile(module_of(case), dynamic=False)
        x = torch.from_numpy(input_floats(case))
        compiled(x)

    def call(values: Any) -> Any:
        with torch.no_grad():
            return compiled(values)

    found = _runner(case, threads, call, x)

    def run() -> None:
        with torch.no_grad():
            compiled(x)

    found.run, found.sums = run, None
    return found


def _int8(case: AnyCase, threads: int) -> InProcess:
    import torch

    if isinstance(case, Case) and case.window is None:
        weight = torch.from_numpy(plain_weights(case)[0]).t()
        if case.images <= 16:
            raise Unavailable("torch._int_mm takes more than 16 rows")
        return _runner(case, threads, partial(_int_mm, weight), torch.from_numpy(input_signs(case)))
    from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx

    x = torch.from_numpy(input_floats(case))
    torch.backends.quantized.engine = "x86"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        prepared = quantize_fx.prepare_fx(module_of(case), get_default_qconfig_mapping("x86"), (x,))
        prepared(x)
        converted = quantize_fx.convert_fx(prepared)
    return _runner(case, threads, converted, x)


def _int_mm(weight: Any, x: Any) -> Any:
    import torch

    return torch._int_mm(x, weight)  # noqa: SLF001 - the only product of int8 matrices that torch has


def engines() -> tuple[Engine, ...]:
    return (
        Engine("torch int8 eager", "int8", PIP, _int8),
        Engine("torch fp32 eager", "fp32", PIP, _eager),
        Engine("torch fp32 compiled", "fp32", PIP, _compiled),
    )
