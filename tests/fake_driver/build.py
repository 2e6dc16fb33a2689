"""Builds the fake ``libcuda.so.1``; ``python -m tests.fake_driver.build`` prints the folder it is in."""

from __future__ import annotations

import json
from pathlib import Path

from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import find_cxx_compiler

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = HERE / "src"


def driver_folder() -> Path:
    """Return the folder that ``LD_LIBRARY_PATH`` must name."""
    sources = [(path.name, path.read_text()) for path in sorted(SOURCES.iterdir())]
    flags = (
        "-std=c++17",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wl,-soname,libcuda.so.1",
        f"-DFAKE_CUDA_HOME={json.dumps(str(ROOT))}",
        "-ldl",
    )
    library = BuildCache.default().shared_library(find_cxx_compiler(), sources, flags, name="libcuda.so.1")
    return library.parent


if __name__ == "__main__":
    print(driver_folder())
