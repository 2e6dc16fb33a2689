"""The networks in PyTorch: compiled and eager, bf16 and fp16, replayed as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.driver import Rows
from benchmarks.gpu_check.measure import Call, Stopwatch
from benchmarks.gpu_check.network_times import TIMED, TIMED_BATCHES
from benchmarks.gpu_check.networks import example, lowered
from benchmarks.gpu_check.torch_twin import Twin
from bnncc.ir.reference.program import run_program
from tests.cuda_programs import inputs_of

SETS: Final = 4
CHECKED_IMAGES: Final = 32


@dataclass(frozen=True, slots=True)
class Way:
    """How the twin is run."""

    dtype: torch.dtype
    mode: str | None

    @property
    def name(self) -> str:
        """Return it in words."""
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{dtype}, eager in a graph" if self.mode is None else f"{dtype}, torch.compile {self.mode}"


WAYS: Final = (
    Way(torch.bfloat16, "max-autotune-no-cudagraphs"),
    Way(torch.float16, "max-autotune-no-cudagraphs"),
    Way(torch.float16, None),
)
"""CUDA graphs are made here, so that inputs can take turns."""


def time_torch(machine: Machine) -> Rows:
    """Time every network in every way; what is compiled is in the cache of the part 'warm' already."""
    if not torch.cuda.is_available():
        yield {"who": "torch", "result": "not measured: this torch has no CUDA"}
        return
    stream = torch.cuda.Stream(device=machine.index)
    watch = Stopwatch(machine, stream.cuda_stream)
    for way in WAYS:
        for name in TIMED:
            for images in reversed(TIMED_BATCHES):
                row = {"network": name, "who": "torch", "kernels": way.name, "images": images}
                try:
                    yield {**row, **_timed(watch, stream, name, images, way)}
                except Exception as error:  # noqa: BLE001 - whatever a compiler in the making may raise
                    yield {**row, "result": f"not measured: {type(error).__name__}: {error}"[:600]}


def prepare(name: str, images: int, way: Way) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the network on the current device, compiled for one batch size."""
    torch._dynamo.reset()  # noqa: SLF001 - the documented way to forget other sizes
    twin = Twin(lowered(name), way.dtype).cuda().eval()
    if way.mode is None:
        return twin
    compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(
        twin, mode=way.mode, dynamic=False, fullgraph=True
    )
    with torch.inference_mode():
        compiled(next(image_sets(name, images)))
    return compiled


def image_sets(name: str, images: int) -> Iterator[torch.Tensor]:
    """Yield batches of random images on the device."""
    program = example(name)
    for seed in range(SETS):
        (array,) = inputs_of(program, images, seed=seed).values()
        yield torch.from_numpy(array).cuda()


def captured(
    network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, stream: Any
) -> tuple[Call, torch.Tensor]:
    """Return what replays one run, and its result's place."""
    with torch.cuda.stream(stream), torch.inference_mode():
        for _ in range(3):
            network(x)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            result = network(x)

    def replay() -> None:
        with torch.cuda.stream(stream):
            graph.replay()

    return replay, result


def _timed(watch: Stopwatch, stream: Any, name: str, images: int, way: Way) -> dict[str, Any]:
    network = prepare(name, images, way)
    batches = list(image_sets(name, images))
    made = [captured(network, x, stream) for x in batches]
    timing = watch.time([call for call, _ in made])
    found = made[-1][1].float().cpu().numpy()[:CHECKED_IMAGES]
    return {
        **timing.row(),
        "images_per_s": round(images / timing.seconds),
        "result": verdict(name, images, found),
    }


def verdict(name: str, images: int, found: np.ndarray[Any, Any]) -> str:
    """Return how many of the first images have the reference's scores, to a millionth."""
    program = example(name)
    ((key, array),) = inputs_of(program, images, seed=SETS - 1).items()
    (expected,) = run_program(program, {key: array[:CHECKED_IMAGES]}).values()
    is_same = np.isclose(found, expected, rtol=1e-5, atol=1e-5).all(axis=1)
    if is_same.all():
        return "ok"
    return f"rounded sums: {int(is_same.sum())} of {len(is_same)} images have the right scores"
