"""A package ready to run: arrays in, arrays out, on the backend that is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from bnncc.codegen.package import Package
from bnncc.diagnostics import DataError
from bnncc.ir.nn import NnGraph
from bnncc.runtime.arrays import Array, as_element, fill, is_torch, like_caller, to_numpy
from bnncc.runtime.backends import Backend, DeviceExecutable, RunOptions, choose_backend, open_backend
from bnncc.runtime.contents import graph_of
from bnncc.runtime.executable import NUMPY_DTYPES
from bnncc.runtime.on_device import DeviceCall, are_on_device
from bnncc.targets.cuda.fuse import Fuse

# Images that go through a backend at once: bounds the memory of the activations. A device cuts its batches
# itself.
_CHUNK: Final = {Backend.REF: 256, Backend.C: 1024, Backend.EMULATOR: 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTime:
    """The median time of a run on the GPU, inputs and outputs there, and how it is launched."""

    seconds: float
    how: str


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
        device: index of the GPU for ``cuda``.
        graph: whether ``cuda`` replays runs that come again as CUDA graphs.
        fuse: what a launch of ``cuda`` and ``emulator`` is: ``auto``, ``layer``, ``persistent``; None: as the
            package was compiled.

    Raises:
        DataError: the package is damaged, or ``device`` or ``fuse`` is given for another backend.
        PlatformError: the backend lacks something here; says what.
    """

    def __init__(
        self,
        package: Package | Path | str,
        backend: Backend | str = "auto",
        *,
        trust: bool = False,
        threads: int | None = None,
        device: int = 0,
        graph: bool = True,
        fuse: Fuse | str | None = None,
    ) -> None:
        self.package: Final = package if isinstance(package, Package) else Package.load(package)
        self.graph: Final[NnGraph] = graph_of(self.package)
        self.backend: Final = choose_backend(backend)
        if device and self.backend is not Backend.CUDA:
            raise DataError(f"device={device} names a GPU, and the backend is '{self.backend}'")
        if fuse is not None and self.backend not in {Backend.CUDA, Backend.EMULATOR}:
            raise DataError(f"fuse='{fuse}' is about launches on a GPU, and the backend is '{self.backend}'")
        if fuse is not None and fuse not in tuple(Fuse):
            raise DataError(f"there is no fuse '{fuse}'; choose from {', '.join(Fuse)}")
        options = RunOptions(
            trust=trust,
            threads=threads,
            device=device,
            graph=graph,
            fuse=None if fuse is None else Fuse(fuse),
        )
        self._executable = open_backend(self.backend, self.package, self.graph, options)

    def __call__(self, *images: Any, out: Any = None, stream: Any = None, **named: Any) -> Any:  # noqa: ANN401 - arrays of any library
        """Return the outputs: one array, or a dictionary where the network has several outputs.

        Inputs are given in order or by name: NumPy arrays, torch tensors, anything with DLPack, lists. One
        image without the batch axis gives a result without it. torch in gives torch out.

        With the backend ``cuda``, inputs that are on its device are read where they lie, and the outputs stay
        there; nothing waits for them. Element type and layout have to be right then, and values are not
        looked at: an input of signs holds -1 and +1.

        Args:
            images: one array a network input, in order.
            out: arrays to be filled and returned: one, or a dictionary by output.
            stream: of arrays on the device: a handle or a stream object of any library, such as
                ``torch.cuda.current_stream()``. Without one, torch tensors go to torch's current stream, and
                other arrays to the default stream.
            named: network inputs by name; those called ``out`` or ``stream`` are given in order.

        Raises:
            DataError: an input is missing, or has the wrong shape or values.
        """
        given = self._by_name(images, named)
        targets = self._outputs_by_name(out)
        if isinstance(self._executable, DeviceExecutable) and are_on_device(given):
            shown = DeviceCall(self._executable.network, self.graph, given, targets).run(stream)
        elif stream is not None:
            raise DataError("stream= is for arrays on the device of a session with backend 'cuda'")
        else:
            shown = self._on_host(given, targets)
        return next(iter(shown.values())) if len(shown) == 1 else shown

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name, as NumPy arrays ``[N, *shape]``."""
        return self._run(inputs)[0]

    def time_on_device(self, inputs: Mapping[str, Array], repeats: int = 20) -> DeviceTime:
        """Return the median time of a run on the GPU, and how it is launched.

        Raises:
            DataError: the backend is not ``cuda``.
        """
        if not isinstance(self._executable, DeviceExecutable):
            raise DataError(f"device times are of the backend 'cuda'; this session's is '{self.backend}'")
        network = self._executable.network
        images = len(next(iter(inputs.values())))
        return DeviceTime(seconds=network.time_runs(inputs, repeats), how=network.how(images))

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

    def _outputs_by_name(self, out: Any) -> dict[str, Any]:  # noqa: ANN401 - arrays of any library
        names = [output.name for output in self.graph.outputs]
        if out is None:
            return {}
        if not isinstance(out, Mapping):
            out = {names[0]: out} if len(names) == 1 else {"": out}
        if unknown := sorted(set(out) - set(names)):
            raise DataError(f"out= takes arrays for {', '.join(names)}; look at '{unknown[0]}'")
        return dict(out)

    def _on_host(self, given: Mapping[str, Any], targets: Mapping[str, Any]) -> dict[str, Any]:
        as_torch = any(is_torch(item) for item in given.values())
        results, is_single = self._run(given)
        shown: dict[str, Any] = {}
        for name, result in results.items():
            array = result[0] if is_single else result
            if name in targets:
                fill(targets[name], array, name)
            shown[name] = targets.get(name, like_caller(array, as_torch=as_torch))
        return shown

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
            for piece in _pieces(count, _CHUNK.get(self.backend, count))
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _dtype(elem: str) -> np.dtype[Any]:
    # A real number leaves the network rounded to f32.
    return NUMPY_DTYPES.get(elem, np.dtype(np.float32))


def _pieces(count: int, chunk: int) -> Iterator[slice]:
    for start in range(0, count, chunk):
        yield slice(start, min(start + chunk, count))
