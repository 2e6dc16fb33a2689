"""A package ready to run: arrays in, arrays out, on the backend that is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from bnncc.codegen.package import Package
from bnncc.diagnostics import DataError
from bnncc.ir.nn import NnGraph
from bnncc.runtime.arrays import Array, as_element, is_torch, like_caller, to_numpy
from bnncc.runtime.backends import Backend, choose_backend, open_backend
from bnncc.runtime.contents import graph_of
from bnncc.runtime.executable import NUMPY_DTYPES

# Images that go through a backend at once: bounds the memory of the activations.
_CHUNK: Final = {Backend.REF: 256, Backend.C: 1024, Backend.CUDA: 4096, Backend.EMULATOR: 64}


class Session:
    """A loaded network; call it with one batch a network input.

    Example:
        >>> session = Session("digits.bnnpkg", backend="c")  # doctest: +SKIP
        >>> scores = session(images)  # u8[N, 1, 8, 8] -> f32[N, 10]  # doctest: +SKIP

    Args:
        package: a package or the path of one.
        backend: ``ref`` (NumPy), ``c``, ``cuda``, ``emulator`` (the CUDA kernels, executed on the CPU), or
            ``auto``: the fastest one this machine has.
        trust: run binaries of the package where this machine cannot build them again.
        threads: that the C backend may use; None for ``BNNCC_NUM_THREADS``, else one a physical core.

    Raises:
        DataError: the package is damaged.
        PlatformError: the backend lacks something here; says what.
    """

    def __init__(
        self,
        package: Package | Path | str,
        backend: Backend | str = "auto",
        *,
        trust: bool = False,
        threads: int | None = None,
    ) -> None:
        self.package: Final = package if isinstance(package, Package) else Package.load(package)
        self.graph: Final[NnGraph] = graph_of(self.package)
        self.backend: Final = choose_backend(backend)
        self._executable = open_backend(self.backend, self.package, self.graph, trust=trust, threads=threads)

    def __call__(self, *images: Any, **named: Any) -> Any:  # noqa: ANN401 - arrays of any library
        """Return the outputs: one array, or a dictionary where the network has several outputs.

        Inputs are given in order or by name: NumPy arrays, torch tensors, anything with DLPack, lists. One
        image without the batch axis gives a result without it. torch in gives torch out.

        Raises:
            DataError: an input is missing, or has the wrong shape or values.
        """
        given = self._by_name(images, named)
        as_torch = any(is_torch(item) for item in given.values())
        results, is_single = self._run(given)
        shown = {
            name: like_caller(result[0] if is_single else result, as_torch=as_torch)
            for name, result in results.items()
        }
        return next(iter(shown.values())) if len(shown) == 1 else shown

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name, as NumPy arrays ``[N, *shape]``."""
        return self._run(inputs)[0]

    def close(self) -> None:
        """Free what the backend holds."""
        self._executable.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _by_name(self, images: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        names = [value.name for value in self.graph.inputs]
        if len(images) > len(names):
            raise DataError(f"the network has {len(names)} inputs ({', '.join(names)}), not {len(images)}")
        given = {**dict(zip(names, images, strict=False)), **named}
        wrong = sorted(set(given) ^ set(names)) or [name for name in names[: len(images)] if name in named]
        if wrong:
            raise DataError(f"the inputs of this network are {', '.join(names)}; look at '{wrong[0]}'")
        return given

    def _run(self, given: Mapping[str, Any]) -> tuple[dict[str, Array], bool]:
        arrays: dict[str, Array] = {}
        singles: list[bool] = []
        for value in self.graph.inputs:
            array = to_numpy(given[value.name])
            singles.append(array.shape == value.type.shape)
            batch = array[None] if singles[-1] else array
            arrays[value.name] = as_element(batch, value.name, value.type)
        counts = {len(array) for array in arrays.values()}
        if len(counts) != 1:
            raise DataError(f"the inputs hold different numbers of images: {sorted(counts)}")
        return self._in_chunks(arrays, counts.pop()), all(singles)

    def _in_chunks(self, arrays: Mapping[str, Array], count: int) -> dict[str, Array]:
        if count == 0:
            return {
                item.name: np.zeros((0, *item.value.type.shape), _dtype(item.value.type.elem.value))
                for item in self.graph.outputs
            }
        parts = [
            self._executable.run({name: array[piece] for name, array in arrays.items()})
            for piece in _pieces(count, _CHUNK[self.backend])
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _dtype(elem: str) -> np.dtype[Any]:
    # A real number leaves the network rounded to f32.
    return NUMPY_DTYPES.get(elem, np.dtype(np.float32))


def _pieces(count: int, chunk: int) -> Iterator[slice]:
    for start in range(0, count, chunk):
        yield slice(start, min(start + chunk, count))
