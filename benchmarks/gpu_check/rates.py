"""How fast the instructions are that the cost model counts: single-bit products, population counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.gpu_check.device import Bench
from bnncc._resources import resource_dir
from bnncc.ir.graph import Output
from bnncc.ir.kernel import Buffer, Role
from bnncc.ir.types import Elem, TensorType, Value
from bnncc.runtime.cuda import CudaExecutable
from bnncc.targets.cuda.artifact import CudaArtifact, Launch, Traffic, ValueArgument
from bnncc.targets.cuda.cost import PRODUCT_MACS
from bnncc.targets.cuda.device import DEVICES
from bnncc.targets.cuda.launch import LaunchGeometry
from bnncc.targets.target import SourceFile

CHAINS: Final = 8
"""Independent sums of a thread, so that no instruction waits for the one before it."""
THREADS: Final = 256
BLOCKS_PER_SM: Final = 2
ITERATIONS: Final = 4096

# Every sum is used in the result, and the operands come from memory: nothing can be computed beforehand.
SOURCE: Final = """
extern "C" __global__ void __launch_bounds__({threads})
bnncc_rate(const int *__restrict__ x, int *__restrict__ y)
{{
    const unsigned bits = x[0];
    {sums}
#pragma unroll 1
    for (int i = 0; i < {iterations}; ++i)
#pragma unroll
        for (int chain = 0; chain < {chains}; ++chain)
            {step}
    int total = 0;
#pragma unroll
    for (int chain = 0; chain < {chains}; ++chain)
        total += {result};
    if ((blockIdx.x | threadIdx.x) == 0 || total == -1)
        y[0] = total;
}}
"""
POPC: Final = {
    "sums": "int sums[{chains}] = {{}};",
    "step": "sums[chain] += __popc(bits ^ (unsigned)(sums[chain] + i));",
    "result": "sums[chain]",
}
BMMA: Final = {
    "sums": "int sums[{chains}][4] = {{}};\n    const unsigned rows[4] = {{bits, bits, bits, bits}};",
    "step": "bnncc_bmma(sums[chain], rows, bits, bits);",
    "result": "sums[chain][0] + sums[chain][2]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One instruction to be timed: statements of its kernel, results of one warp's instruction."""

    name: str
    statements: dict[str, str]
    results: int


RATES: Final = (
    Rate(name="popc", statements=POPC, results=32),
    Rate(name="bmma", statements=BMMA, results=PRODUCT_MACS),
)


def rate_artifact(rate: Rate, blocks: int, iterations: int) -> CudaArtifact:
    """Return a program of one kernel that does nothing but the instruction."""
    numbers = {"chains": CHAINS, "threads": THREADS, "iterations": iterations}
    kernel = SOURCE.format(**numbers, **{k: text.format(**numbers) for k, text in rate.statements.items()})
    header = (resource_dir("templates") / "include" / "bnncc_bmma.cuh").read_text(encoding="utf-8")
    x, y = Value("x", TensorType(Elem.I32, (1,))), Value("y", TensorType(Elem.I32, (1,)))
    buffers = tuple(
        Buffer(value=value, role=role, bytes_per_image=4, offset_bytes_per_image=0)
        for value, role in ((x, Role.INPUT), (y, Role.OUTPUT))
    )
    launch = Launch(
        kernel="bnncc_rate",
        node="y",
        origin="gpu_check",
        arguments=(ValueArgument("x"), ValueArgument("y")),
        geometry=LaunchGeometry(
            images_per_step=1, blocks_per_step=blocks, grid_y=1, threads=THREADS, shared_bytes=0
        ),
        traffic=Traffic(read_bytes_per_image=4, written_bytes_per_image=4, constant_bytes=0),
    )
    return CudaArtifact(
        name=f"rate_{rate.name}",
        files=(SourceFile(name="model.cu", text=header + kernel),),
        launches=(launch,),
        inputs=(x,),
        outputs=(Output("y", y),),
        buffers=buffers,
        images_per_group=1,
        workspace_bytes_per_image=0,
        blob_bytes=0,
    )


def measure_rates(bench: Bench) -> list[dict[str, Any]]:
    """Return the rate of each instruction a second and multiprocessor, beside what the cost model assumes."""
    sms = bench.session.device.multiprocessors
    blocks = BLOCKS_PER_SM * sms
    rows: list[dict[str, Any]] = []
    for rate in RATES if DEVICES[bench.arch].b1_form is not None else RATES[:1]:
        artifact = rate_artifact(rate, blocks, ITERATIONS)
        executable: CudaExecutable = bench.session.load(artifact, b"", [bench.image(artifact)])
        (timed,) = executable.profile({"x": np.array([[0x5A5A5A5A]], np.int32)})
        executable.close()
        results = blocks * (THREADS // 32) * ITERATIONS * CHAINS * rate.results
        model = DEVICES[bench.arch]
        assumed = (model.popcounts if rate.name == "popc" else model.b1_macs) * model.clock_ghz
        rows.append(
            {
                "instruction": rate.name,
                "giga_per_s_and_sm": round(results / timed.seconds / sms / 1e9, 1),
                "assumed": round(assumed, 1),
                "tera_per_s": round(results / timed.seconds / 1e12, 2),
            }
        )
    return rows
