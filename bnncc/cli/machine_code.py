"""What ``compile`` adds to the report of a package: the instructions of every kernel, where nvdisasm is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from bnncc.diagnostics import PlatformError
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.gate import Instructions
from bnncc.toolchain.sass import disassemble

if TYPE_CHECKING:
    from bnncc.codegen.package import Package


def add_machine_code(report: dict[str, Any], package: Package) -> str | None:
    """Put the instructions of every kernel into ``report``; return how to get them where they cannot be had.

    They are not part of the package: it is the same with and without a disassembler.
    """
    names = {PurePosixPath(name).stem: name for name in package.names("cubin/")}
    if not names:
        return None
    cache = BuildCache.default()
    try:
        with ThreadPoolExecutor() as pool:
            codes = pool.map(lambda name: disassemble(package.entry(name), cache=cache), names.values())
            found = {
                arch: {code.kernel: Instructions.of(code) for code in kernels}
                for arch, kernels in zip(names, codes, strict=True)
            }
    except PlatformError as error:
        return f"instructions are not counted: {error}"
    for row in report["targets"].get("cuda", ()):
        for arch, resources in row["archs"].items():
            if (code := found.get(arch, {}).get(row["kernel"])) is not None:
                resources["instructions"] = {
                    "total": code.total,
                    "counts": dict(code.counts),
                    "calls": list(code.callees),
                    "local_accesses": code.local_accesses,
                }
    return None
