"""One run in memory: network, optimizer, images, position; and its state as a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bnncc.data import Split
from bnncc.diagnostics import DataError, VerificationError
from bnncc.ir.train_spec import TrainSpec
from bnncc.training.checkpoint import RunState, generator_tensors, restore_generators
from bnncc.training.feed import Feed
from bnncc.training.losses import distilled, loss_of_batch
from bnncc.training.mixing import Batch
from bnncc.training.module import BnnModule
from bnncc.training.optim import Trained, clip_latent, optimizer_tensors, restore_optimizer, set_rate
from bnncc.training.progress import EpochRecord
from bnncc.training.schedules import Course, learning_rate
from bnncc.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a run is made of; the objects change, the run keeps them.

    Args:
        watched: images that every epoch is judged by, and what they are called.
        generator: of augmentations.
        teacher: whose scores are a second target, where ``spec.distill`` asks for it.
        averages: the running averages of the trained parameters, where ``spec.ema`` asks for them.
    """

    module: BnnModule
    optimizer: torch.optim.Optimizer
    trained: tuple[Trained, ...]
    feed: Feed
    watched: Split
    watched_name: str
    generator: torch.Generator
    team: Team
    spec: TrainSpec
    identity: Mapping[str, Any]
    averages: Mapping[str, Tensor]
    teacher: BnnModule | None = None

    @property
    def course(self) -> Course:
        """Return the length of the run."""
        return Course(epochs=self.spec.epochs, steps_per_epoch=self.feed.steps)


@dataclass(slots=True, kw_only=True)
class Position:
    """How far a run is. It changes at every step.

    Args:
        epoch: finished epochs.
        step: finished steps of the epoch that is under way.
        loss_sum, hits: over those steps, on the device.
        signs_before: signs of the binary weights when the epoch began.
        best_epoch: the one whose weights are kept, 0 before there is one.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    hits: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    signs_before: dict[str, Tensor] = field(default_factory=dict)
    history: list[EpochRecord] = field(default_factory=list)
    best_epoch: int = 0

    def begin_epoch(self, parts: Parts) -> None:
        """Forget the sums of the last epoch."""
        self.step = 0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=parts.team.device)
        self.hits = torch.zeros((), dtype=torch.int64, device=parts.team.device)
        self.signs_before = {
            item.name: item.parameter.detach() >= 0 for item in parts.trained if item.is_latent
        }


def train_step(parts: Parts, position: Position, batch: Batch) -> float:
    """Make one step and return its learning rate.

    Algorithm 1 of the paper, for a batch ``a_0`` and its targets::

        forward   k = 1..L:  Wb_k = Sign(W_k);  s_k = ab_{k-1} Wb_k;  a_k = BatchNorm(s_k, theta_k)
                             where k < L:  ab_k = Sign(a_k)
        backward  g_aL = dC / da_L;  k = L..1:  where k < L:  g_ak = g_abk o 1{|a_k| <= 1}
                             (g_sk, g_thetak) = BackBatchNorm(g_ak, s_k, theta_k)
                             g_ab{k-1} = g_sk Wb_k;  g_Wbk = g_sk^T ab_{k-1}
        update    theta_k = Update(theta_k, eta, g_thetak)
                  W_k = Clip(Update(W_k, gamma_k eta, g_Wbk), -1, 1);  eta from the schedule

    ``gamma_k`` is `bnncc.training.parameters.rate_scale`, Update the optimizer, Sign and its pseudo-gradient
    `bnncc.training.binarize.binarize`; the gradient of ``Wb_k`` goes to ``W_k`` unmasked.

    Source: Courbariaux, Hubara et al. 2016, algorithm 1.
    """
    number = position.epoch * parts.feed.steps + position.step
    rate = learning_rate(parts.spec.schedule, parts.spec.optimizer.lr, number, parts.course)
    set_rate(parts.optimizer, rate)
    parts.module.mode = replace(parts.module.mode, progress=number / parts.course.steps)
    parts.optimizer.zero_grad(set_to_none=True)
    for part in batch.split(parts.spec.accumulate):
        _add_gradients(parts, position, part)
    parts.team.average_gradients([item.parameter for item in parts.trained])
    parts.optimizer.step()
    clip_latent(parts.trained, parts.spec.weight_clip)
    _average(parts, number)
    position.step += 1
    return rate


def _add_gradients(parts: Parts, position: Position, batch: Batch) -> None:
    """Go forward and backward through one part of a step."""
    scores = parts.module(batch.images)[0]
    loss = loss_of_batch(parts.spec.loss, scores, batch)
    if parts.teacher is not None and parts.spec.distill is not None:
        loss = distilled(parts.spec.distill, loss, scores, parts.teacher(batch.images)[0])
    loss = loss / parts.spec.accumulate
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without a type
    position.loss_sum += loss.detach()
    position.hits += (scores.detach().argmax(1) == batch.labels).sum()


@torch.no_grad()
def _average(parts: Parts, number: int) -> None:
    """Move the averages after step ``number``; at first faster than ``ema`` says, to forget the start."""
    decay = min(parts.spec.ema, (1 + number) / (10 + number))
    for item in parts.trained:
        if item.name in parts.averages:
            parts.averages[item.name].lerp_(item.parameter, 1 - decay)


def epoch_sums(parts: Parts, position: Position) -> tuple[float, int]:
    """Return the sum of losses and the number of right answers of the epoch so far, of all processes."""
    loss = parts.team.mean_over(position.loss_sum).item()
    return loss, int(parts.team.sum_of(position.hits.item()))


@contextmanager
def averaged(parts: Parts) -> Iterator[None]:
    """Hold the averages in place of the parameters inside the block; change nothing where there are none."""
    averages = parts.averages
    own = {item.name: item.parameter.detach().clone() for item in parts.trained if item.name in averages}
    with torch.no_grad():
        for item in parts.trained:
            if item.name in averages:
                item.parameter.copy_(averages[item.name])
    try:
        yield
    finally:
        with torch.no_grad():
            for item in parts.trained:
                if item.name in own:
                    item.parameter.copy_(own[item.name])


def require_finite(parts: Parts, position: Position, *, check_parameters: bool) -> None:
    """Stop a run that has diverged, before a checkpoint could be overwritten.

    Raises:
        VerificationError: if the loss, or a parameter, is not finite.
    """
    culprit = "" if math.isfinite(epoch_sums(parts, position)[0]) else "the loss"
    if check_parameters and not culprit:
        broken = (n for n, s in _named(parts) if not bool(torch.isfinite(s).all()))
        culprit = next((f"'{name}'" for name in broken), "")
    if culprit:
        kept = (
            f"the weights after epoch {position.epoch} are kept" if position.epoch else "nothing is kept yet"
        )
        raise VerificationError(
            f"Training diverged: {culprit} is not finite in epoch {position.epoch + 1}, "
            f"step {position.step}; {kept}. Lower the learning rate of the train block."
        )


def _named(parts: Parts) -> list[tuple[str, Tensor]]:
    return [(ref.name, slot.tensor) for ref, slot in parts.module.slots.items()]


def flipped_fraction(parts: Parts, position: Position) -> float:
    """Return the fraction of binary weights whose sign is another than when the epoch began."""
    changed = total = 0
    for item in parts.trained:
        if item.is_latent:
            changed += int((position.signs_before[item.name] != (item.parameter.detach() >= 0)).sum())
            total += item.parameter.numel()
    return changed / max(total, 1)


def state_of(parts: Parts, position: Position) -> RunState:
    """Return everything the run, in all its processes, needs to continue from here to the same bits."""
    tensors = {f"weight/{name}": value for name, value in parts.module.weights().items()}
    optimizer = optimizer_tensors(parts.optimizer, parts.trained)
    tensors.update({f"optimizer/{name}": value for name, value in optimizer.items()})
    own = generator_tensors(parts.generator, parts.team.device)
    own["epoch/loss_sum"] = position.loss_sum.cpu().reshape(1)
    own["epoch/hits"] = position.hits.cpu().reshape(1)
    tensors.update(parts.team.gather(own))
    tensors.update({f"average/{name}": value.to("cpu", copy=True) for name, value in parts.averages.items()})
    for name, signs in position.signs_before.items():
        tensors[f"epoch/signs/{name}"] = signs.cpu()
    facts = {
        "epoch": position.epoch,
        "step": position.step,
        "best_epoch": position.best_epoch,
        "threads": torch.get_num_threads(),
        "history": [asdict(record) for record in position.history],
        "identity": dict(parts.identity),
    }
    return RunState(facts=facts, tensors=tensors)


def take_up(parts: Parts, state: RunState) -> Position:
    """Put ``state`` into the objects of the run and return its position.

    Raises:
        DataError: if it is the state of another run.
    """
    _require_same_run(state.facts["identity"], parts.identity)
    parts.module.set_weights(_below(state.tensors, "weight/"))
    restore_optimizer(parts.optimizer, parts.trained, _below(state.tensors, "optimizer/"))
    own = parts.team.own(
        {name: x for name, x in state.tensors.items() if name.startswith(("rng/", "epoch/"))}
    )
    restore_generators(own, parts.generator, parts.team.device)
    for name, average in _below(state.tensors, "average/").items():
        parts.averages[name].copy_(average)
    return Position(
        epoch=state.facts["epoch"],
        step=state.facts["step"],
        loss_sum=own["epoch/loss_sum"][0].to(parts.team.device),
        hits=own["epoch/hits"][0].to(parts.team.device),
        signs_before={n: t.to(parts.team.device) for n, t in _below(state.tensors, "epoch/signs/").items()},
        history=[EpochRecord(**record) for record in state.facts["history"]],
        best_epoch=state.facts["best_epoch"],
    )


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _require_same_run(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            raise DataError(
                f"The run cannot be resumed: its {key} was {found.get(key)}, and now is {wanted.get(key)}. "
                "Start a new run, or give the same source, data and options."
            )
