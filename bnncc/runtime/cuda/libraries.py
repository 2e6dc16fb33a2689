"""PyCUDA and cuda-bindings: the only imports of either, and what to do where one is missing.

PyCUDA owns context, memory, streams and modules. cuda-bindings is used on the same context for what PyCUDA
lacks: cooperative and cluster launches, graphs, and streams that somebody else made.
"""

from __future__ import annotations

from typing import Any

from bnncc.diagnostics import PlatformError
from bnncc.runtime.cuda.errors import DriverRefusal

HOW_TO_GET: str = "pip install 'bnncc[cuda]'"


def pycuda_driver() -> Any:  # noqa: ANN401 - pycuda has no types
    """Return ``pycuda.driver``.

    Raises:
        PlatformError: PyCUDA or the NVIDIA driver is missing.
    """
    try:
        import pycuda  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise PlatformError(
            "running on a GPU needs PyCUDA, and 'import pycuda' found none. "
            f"Install it with: {HOW_TO_GET} (it is built against an installed CUDA toolkit)"
        ) from error
    try:
        from pycuda import driver
    except ImportError as error:
        raise PlatformError(
            f"PyCUDA cannot reach the NVIDIA driver: {error}. It looks for libcuda.so.1, which comes with "
            "the driver; install the NVIDIA driver of your GPU, or use another backend (c, emulator, ref)"
        ) from error
    return driver


def find_bindings() -> Bindings | None:
    """Return cuda-bindings; None where it is not installed."""
    try:
        from cuda.bindings import driver
    except ImportError:
        return None
    return Bindings(driver)


class Bindings:
    """The driver's C functions as cuda-bindings has them, with failures as exceptions.

    Args:
        api: ``cuda.bindings.driver``: its constants and structures.
    """

    def __init__(self, api: Any) -> None:  # noqa: ANN401 - cuda-bindings has no types
        self.api = api

    def call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 - as many as the function takes
        """Return what the function ``name`` gives: nothing, one value, or a tuple.

        Raises:
            DriverRefusal: it says no.
        """
        code, *values = getattr(self.api, name)(*arguments)
        if code != self.api.CUresult.CUDA_SUCCESS:
            _, text = self.api.cuGetErrorString(code)
            raise DriverRefusal(f"{name} failed: {text.decode() if text else code.name}")
        return values[0] if len(values) == 1 else tuple(values) or None


def needed(bindings: Bindings | None, what: str) -> Bindings:
    """Return ``bindings``.

    Raises:
        PlatformError: it is None; ``what`` needs it.
    """
    if bindings is None:
        raise PlatformError(
            f"{what} needs cuda-bindings beside PyCUDA, and 'import cuda.bindings' found none. "
            f"Install it with: {HOW_TO_GET}"
        )
    return bindings
