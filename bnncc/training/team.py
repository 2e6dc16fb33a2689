"""The processes that train one network together: started by torchrun, each with a share of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, cast

import torch
from torch import Tensor
from torch import distributed as dist

from bnncc.diagnostics import PlatformError

_PATIENCE: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """One process among those of a run; alone, every method gives back what it was given.

    Sums are made once and given to all, so every process goes on with the same bits.

    Args:
        rank: of this process; 0 writes the files.
        size: how many there are.
        device: that this one computes on.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Return whether this process writes files and speaks to the user."""
        return self.rank == 0

    def mean_over(self, x: Tensor) -> Tensor:
        """Return the average of ``x`` over the processes, without a gradient."""
        if self.size == 1:
            return x
        total = x.detach().clone()
        with _contact(self.rank):
            dist.all_reduce(total)
        return total.div_(self.size)

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace every gradient by its average over the processes."""
        if self.size == 1:
            return
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # One message, not one a parameter: between processes, waiting costs more than bytes.
        total = self.mean_over(torch.cat([grad.flatten() for grad in grads]))
        for grad, mean in zip(grads, torch.split(total, [grad.numel() for grad in grads]), strict=True):
            grad.copy_(mean.view_as(grad))

    def sum_of(self, number: float) -> float:
        """Return the sum of ``number`` over the processes; whole numbers below 2^53 are exact."""
        if self.size == 1:
            return number
        total = torch.tensor(float(number), dtype=torch.float64, device=self.device)
        with _contact(self.rank):
            dist.all_reduce(total)
        return total.item()

    def is_true_somewhere(self, flag: bool) -> bool:  # noqa: FBT001 -- the value itself, not an option
        """Return whether ``flag`` is set in any process."""
        return bool(self.sum_of(int(flag)))

    def from_first(self, text: str) -> str:
        """Return the ``text`` of the first process."""
        if self.size == 1:
            return text
        said = [text]
        with _contact(self.rank):
            dist.broadcast_object_list(said, src=0, device=self.device)
        return said[0]

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of all: of the first under their names, of process ``k`` under ``name/k``."""
        if self.size == 1:
            return dict(tensors)
        everyone: list[object] = [None] * self.size
        with _contact(self.rank):
            dist.all_gather_object(everyone, dict(tensors))
        found: dict[str, Tensor] = {}
        for rank, theirs in enumerate(everyone):
            suffix = f"/{rank}" if rank else ""
            found |= {f"{name}{suffix}": x for name, x in cast("dict[str, Tensor]", theirs).items()}
        return found

    def own(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what this process gave to `gather`; its names end in no number of their own."""
        if self.rank == 0:
            return {name: x for name, x in tensors.items() if not name.rpartition("/")[2].isdigit()}
        suffix = f"/{self.rank}"
        return {name.removesuffix(suffix): x for name, x in tensors.items() if name.endswith(suffix)}


def is_first_process() -> bool:
    """Return whether this process is the one that speaks, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def team_of(device: torch.device) -> Iterator[Team]:
    """Give the team of this process: those that torchrun started together, else this one alone.

    GPUs talk by NCCL and each process takes its own; CPUs by gloo.

    Raises:
        PlatformError: if torch was built without it, or the processes do not find each other.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(rank=0, size=1, device=device)
        return
    rank = int(os.environ["RANK"])
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    with _contact(rank):
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Team(rank=rank, size=size, device=device)
        # Nobody leaves while another still reads what it sent.
        with _contact(rank):
            dist.barrier()
    finally:
        dist.destroy_process_group()


@contextmanager
def _contact(rank: int) -> Iterator[None]:
    """Say of a failure of torch inside the block what it means."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise PlatformError(
            f"process {rank} of the run lost the others, so all of them end: one of them failed, see its own "
            f"message, or the network between them did ({reason}). The last checkpoint is whole."
        ) from error
