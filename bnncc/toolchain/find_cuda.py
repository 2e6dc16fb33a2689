"""Which CUDA compiler this machine has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from bnncc.diagnostics import PlatformError
from bnncc.toolchain.cuda_compiler import CudaCompiler
from bnncc.toolchain.nvcc import find_nvcc
from bnncc.toolchain.nvrtc import find_nvrtc

CompilerName = Literal["nvcc", "nvrtc"]
_Finder = Callable[[Mapping[str, str] | None], CudaCompiler | None]

_FINDERS: Final[Mapping[CompilerName, _Finder]] = {"nvcc": find_nvcc, "nvrtc": find_nvrtc}


def find_cuda_compiler(
    prefer: CompilerName = "nvcc", environment: Mapping[str, str] | None = None
) -> CudaCompiler:
    """Return the preferred compiler where it is found, else the other.

    Raises:
        PlatformError: there is neither.
    """
    for name in sorted(_FINDERS, key=lambda name: name != prefer):
        if compiler := _FINDERS[name](environment):
            return compiler
    raise PlatformError(
        "no CUDA compiler found; looked for nvcc in $CUDA_HOME, $CUDA_PATH, PATH, /usr/local/cuda and the "
        "PyPI package nvidia-cuda-nvcc, and for libnvrtc in the same toolkits and the PyPI package "
        "nvidia-cuda-nvrtc. Get one without a GPU or a toolkit: pip install 'bnncc[nvrtc]'"
    )
