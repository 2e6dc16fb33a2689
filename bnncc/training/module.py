"""The nn graph as an ``nn.Module``."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bnncc.data.dataset import Images
from bnncc.diagnostics import DataError
from bnncc.ir.nn import BatchNorm, Conv2d, Dense, NnGraph, ShiftBatchNorm
from bnncc.ir.norms import norms_of
from bnncc.ir.train_spec import WeightInit
from bnncc.ir.types import ConstRef, Elem
from bnncc.training.binarize import mean_size, signs_of
from bnncc.training.exact_graph import Bound, ExactGraph
from bnncc.training.float_graph import FloatMode, run_float
from bnncc.training.parameters import Role, initial, place, roles

_EVAL_ELEMENTS = 1 << 25
_IMAGE_DTYPES: Final = {Elem.U8: np.dtype(np.uint8), Elem.I8: np.dtype(np.int8)}


class BnnModule(nn.Module):
    """A network to train: its parameters carry the names of the graph, binary weights are latent floats.

    In ``train()`` it is ordinary differentiable PyTorch. In ``eval()`` it takes the decisions of inference:
    its outputs equal those of `bnncc.ir.reference.evaluate_nn`, bit for bit, in every network whose sums are
    of integers. Where real numbers are summed (float weights, or real activations), torch adds in another
    order than the reference, and scores agree to about ``K * 2^-24`` of their size.

    Args:
        graph: of the nn level; its weights are taken where they are bound.
        init: how latent weights start.
        generator: of the initial weights; torch's global one where it is None.
    """

    def __init__(
        self,
        graph: NnGraph,
        init: WeightInit = WeightInit.UNIFORM,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.mode = FloatMode()
        self.roles = roles(graph)
        self.slots = {
            ref: place(
                self,
                ref.name,
                _bound_value(graph, ref) if ref.is_bound else initial(ref, role, init, generator),
                is_buffer=not role.is_trained,
            )
            for ref, role in self.roles.items()
        }
        self._start_scales(given={ref.name for ref in self.slots if ref.is_bound})
        self._exact: tuple[tuple[int, ...], ExactGraph] | None = None

    @torch.no_grad()
    def _start_scales(self, given: Container[str]) -> None:
        """Let every scale that is not ``given`` start at the mean size of its layer's latent weights."""
        for node in self.graph.nodes:
            if isinstance(node, (Conv2d, Dense)) and node.scale is not None and node.scale.name not in given:
                self.slots[node.scale].tensor.copy_(mean_size(self.slots[node.weight].tensor))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the graph.

        Shapes:
            inputs: ``[N, *shape]``, one for each input of the graph.
        """
        if self.training:
            return run_float(self.graph, self.slots, inputs, self.mode)
        return self.exact().run(inputs)

    def exact(self) -> ExactGraph:
        """Return the network of inference with the present parameters; kept until one of them changes."""
        version = tuple(
            part
            for slot in self.slots.values()
            for part in (slot.tensor.data_ptr(), slot.tensor._version)  # noqa: SLF001 -- torch has no public counter of in-place changes
        )
        if self._exact is None or self._exact[0] != version:
            self._exact = (version, ExactGraph(self.graph, self._bound()))
        return self._exact[1]

    def eval_scores(self, images: Images) -> npt.NDArray[np.float32]:
        """Return the first output for every image, by the rules of inference.

        Shapes:
            images: ``[N, C, H, W]`` or ``[N, *shape of the input]``, u8 or i8. result: ``[N, *shape]``.
        """
        inputs = fit_images(self.graph, images)
        device = next(iter(self.slots.values())).tensor.device
        largest = max(node.result.type.count for node in self.graph.nodes)
        batch = max(1, min(1000, _EVAL_ELEMENTS // largest))
        network = self.exact()
        parts = [
            network.run((torch.tensor(inputs[start : start + batch], device=device),))[0].cpu().numpy()
            for start in range(0, len(inputs), batch)
        ]
        return np.concatenate(parts)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of every parameter and statistic by name, on the CPU, float32."""
        return {
            ref.name: slot.tensor.detach().to("cpu", copy=True).contiguous()
            for ref, slot in self.slots.items()
        }

    @torch.no_grad()
    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take every parameter from ``weights``; a scale that is missing starts at its layer's weights.

        Raises:
            DataError: if another one is missing, has another shape, or is not finite.
        """
        for ref, slot in self.slots.items():
            is_scale = self.roles[ref] in (Role.SCALE, Role.MEAN_SIZE)
            if not is_scale or ref.name in weights:
                slot.tensor.copy_(_checked(ref, weights.get(ref.name)))
        self._start_scales(given=weights)

    @contextmanager
    def computing(self, mode: FloatMode) -> Iterator[None]:
        """Compute by ``mode`` inside the block."""
        previous, self.mode = self.mode, mode
        try:
            yield
        finally:
            self.mode = previous

    def _bound(self) -> Bound:
        arrays = {ref.name: slot.tensor.detach() for ref, slot in self.slots.items()}
        for name, tensor in arrays.items():
            if not bool(torch.isfinite(tensor).all()):
                raise DataError(f"The parameter '{name}' of '{self.graph.name}' is not finite.")
        weights = {
            ref.name: signs_of(arrays[ref.name]) if role is Role.LATENT else arrays[ref.name]
            for ref, role in self.roles.items()
            if role in (Role.LATENT, Role.WEIGHT)
        }

        def array(ref: ConstRef) -> npt.NDArray[np.float32]:
            return arrays[ref.name].cpu().numpy().astype(np.float32)

        norms = {
            node.result.name: norms_of(node, array)
            for node in self.graph.nodes
            if isinstance(node, (BatchNorm, ShiftBatchNorm))
        }
        in_norms = (Role.GAMMA, Role.BETA, Role.MEAN, Role.SPREAD)
        vectors = {
            ref.name: array(ref)
            for ref, role in self.roles.items()
            if role not in in_norms and ref.name not in weights
        }
        return Bound(weights, norms, vectors)


def _bound_value(graph: NnGraph, ref: ConstRef) -> Tensor:
    return torch.from_numpy(graph.array(ref).astype(np.float32))


def _checked(ref: ConstRef, found: Tensor | None) -> Tensor:
    if found is None:
        raise DataError(f"The weights hold no '{ref.name}'.")
    if tuple(found.shape) != ref.type.shape:
        raise DataError(
            f"The weight '{ref.name}' has shape {list(found.shape)}; the network needs {ref.type}."
        )
    if not bool(torch.isfinite(found).all()):
        raise DataError(f"The weight '{ref.name}' is not finite everywhere.")
    return found


def fit_images(graph: NnGraph, images: Images) -> Images:
    """Return ``images`` in the shape of the graph's input; only the grouping of axes may differ.

    Raises:
        DataError: if the graph has several inputs, another element than the images, or another size.
    """
    if len(graph.inputs) != 1 or graph.inputs[0].type.elem not in _IMAGE_DTYPES:
        kinds = ", ".join(str(value.type) for value in graph.inputs)
        raise DataError(f"The network '{graph.name}' has inputs {kinds}; images need one input of u8 or i8.")
    wanted = graph.inputs[0].type
    shape = tuple(images.shape[1:])
    is_same_element = images.dtype == _IMAGE_DTYPES[wanted.elem]
    if not is_same_element or int(np.prod(shape)) != wanted.count or not _same_grid(shape, wanted.shape):
        found = ", ".join(map(str, shape))
        hint = "" if is_same_element else " Transformed images, as of '--data NAME+gcn+zca', are i8."
        images_type = f"{_element(images)}[{found}]"
        raise DataError(f"The network '{graph.name}' takes {wanted}, but the images are {images_type}.{hint}")
    return np.ascontiguousarray(images).reshape(len(images), *wanted.shape)


def _element(images: Images) -> str:
    known = {dtype: elem.value for elem, dtype in _IMAGE_DTYPES.items()}
    return known.get(images.dtype, str(images.dtype))


def _same_grid(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Return whether the shapes differ in nothing but flattening and axes of length 1."""
    return 1 in (len(shape), len(wanted)) or [n for n in shape if n > 1] == [n for n in wanted if n > 1]
