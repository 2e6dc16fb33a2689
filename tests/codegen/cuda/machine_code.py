"""The machine code of every kernel of the examples and of the layer groups, one line for each architecture.

``python -m tests.codegen.cuda.machine_code`` writes the table that the tests compare with (``make gate``).
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Final

from benchmarks.gpu_check.networks import NAMES, example
from bnncc._files import write_atomically
from bnncc.diagnostics import PlatformError
from bnncc.targets.cuda.artifact import CudaArtifact
from bnncc.targets.cuda.target import CudaTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import ARCHITECTURES, CudaCompiler, compile_cuda
from bnncc.toolchain.gate import BITS, GLOBAL, MATRIX, ORDER, SHARED, MachineCode, machine_code
from bnncc.toolchain.nvrtc import find_nvrtc
from bnncc.toolchain.sass import disassemble, find_nvdisasm
from tests.codegen.cuda.layer_groups import GROUPS

TABLE: Final = Path(__file__).with_name("machine_code.csv")
COMMAND: Final = "make gate"
GROUP_ARCHS: Final = ("sm_80", "sm_90a")
"""Layer groups are many and odd; the examples stand for the other architectures."""
_GROUPS: Final = {
    "tensor cores": MATRIX,
    "bits": BITS,
    "global": GLOBAL,
    "shared": SHARED,
    "order": ORDER,
}
COLUMNS: Final = (
    *("kernel", "arch", "tiers", "threads", "registers", "static", "dynamic", "stack", "spilled", "local"),
    *("calls", "blocks", "warps", "limiter", "instructions", *_GROUPS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """One kernel on one architecture, and what it was written for."""

    tiers: frozenset[str]
    arch: str
    code: MachineCode

    @property
    def row(self) -> dict[str, str]:
        """Return its line of the table."""
        code, report, has = self.code, self.code.report, self.code.instructions
        found = code.occupancy
        cells = (
            *(report.kernel, self.arch, " ".join(sorted(self.tiers)), code.shape.threads, report.registers),
            *(report.shared_bytes, code.shape.dynamic_shared_bytes, report.stack_bytes),
            report.spill_store_bytes + report.spill_load_bytes,
            *(has.local_accesses, " ".join(sorted(set(has.callees)))),
            *(found.blocks, f"{found.warps}/{found.max_warps}", found.limiter, has.total),
            *(_counted(has.group(names)) for names in _GROUPS.values()),
        )
        return dict(zip(COLUMNS, map(str, cells), strict=True))


def _counted(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name}*{count}" for name, count in counts.items())


def artifacts() -> Iterator[tuple[CudaArtifact, tuple[str, ...]]]:
    """Yield what is compiled, and for which architectures."""
    for name in NAMES:
        yield CudaTarget().emit(example(name)), ARCHITECTURES
    for make in GROUPS:
        yield CudaTarget().emit(make()), GROUP_ARCHS


def gated(compiler: CudaCompiler, artifact: CudaArtifact, arch: str) -> tuple[Gated, ...]:
    """Return every kernel of ``artifact`` that is compiled for ``arch``."""
    cache = BuildCache.default()
    image = compile_cuda(compiler, artifact.source.text, arch, "cubin", cache=cache)
    launches = {launch.kernel: launch for launch in (*artifact.all_launches, *artifact.persistent)}
    shapes = {name: launch.block_shape for name, launch in launches.items()}
    codes = machine_code(image, disassemble(image.data, cache=cache), shapes)
    return tuple(Gated(tiers=launches[code.report.kernel].tiers, arch=arch, code=code) for code in codes)


def all_gated(compiler: CudaCompiler) -> tuple[Gated, ...]:
    """Return every kernel of the table, sorted by name and architecture."""
    jobs = [(artifact, arch) for artifact, archs in artifacts() for arch in archs]
    with ThreadPoolExecutor() as pool:
        found = chain.from_iterable(pool.map(lambda job: gated(compiler, *job), jobs))
        order = {arch: index for index, arch in enumerate(ARCHITECTURES)}
        return tuple(sorted(found, key=lambda item: (item.code.report.kernel, order[item.arch])))


def tools(compiler: CudaCompiler) -> str:
    """Return the exact versions of compiler and disassembler; another one may choose other instructions."""
    ptx = compiler.compile('extern "C" __global__ void k() {}', "sm_80", "ptx").data.decode()
    printed = subprocess.run(
        [find_nvdisasm(), "--version"], capture_output=True, text=True, check=True
    ).stdout
    versions = [re.search(r"release [\d.]+, V([\d.]+)", text) for text in (ptx, printed)]
    names = (f"{compiler.name} {version[1]}" if version else compiler.name for version in versions[:1])
    return f"{next(names)}, nvdisasm {versions[1][1] if versions[1] else 'unknown'}"


def table_text(rows: tuple[Gated, ...], made_by: str) -> str:
    """Return the table."""
    stream = StringIO()
    stream.write(f"# {made_by}. Written by `{COMMAND}`.\n")
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(item.row for item in rows)
    return stream.getvalue()


def find_compiler() -> CudaCompiler:
    """Return NVRTC: every machine can have the one release that the table was made with."""
    compiler = find_nvrtc()
    if compiler is None:
        raise PlatformError("no NVRTC here: pip install 'bnncc[nvrtc]'")
    return compiler


def main() -> int:
    """Write the table."""
    compiler = find_compiler()
    write_atomically(TABLE, table_text(all_gated(compiler), tools(compiler)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
