"""A search for the learning rate: it rises step by step until the loss does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bnncc.data import Dataset
from bnncc.ir.nn import NnGraph
from bnncc.ir.train_spec import ConstantSchedule, TrainSpec
from bnncc.training.machine import choose_device, choose_threads, machine_settings
from bnncc.training.mixing import Batch
from bnncc.training.parts import Beginning, make_parts
from bnncc.training.run import Parts, Position, train_step
from bnncc.training.team import Team

_SMOOTH = 0.9
_BLOWN_UP = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSearch:
    """What a search has seen.

    Args:
        rates: of its steps, rising.
        losses: after each, smoothed.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggested(self) -> float:
        """Return a third of the rate at which the loss was lowest, to one digit.

        At the lowest loss steps are about to become too large. Source of the test: Smith 2017, section 3.3.
        """
        rate = self.rates[self.losses.index(min(self.losses))] / 3
        return float(f"{rate:.0e}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """From which rate to which, in how many steps, and where."""

    low: float = 1e-5
    high: float = 1.0
    steps: int = 200
    device: str = "cpu"
    threads: int | None = None


def find_rate(
    graph: NnGraph, spec: TrainSpec, dataset: Dataset, options: SearchOptions | None = None
) -> RateSearch:
    """Return the losses of a short run whose rate rises by the same factor after every step.

    It ends early where the loss has grown to three times its lowest, or is not finite. Nothing is kept.

    Raises:
        DataError: if the images do not fit the network.
    """
    chosen = options or SearchOptions()
    team = Team(rank=0, size=1, device=choose_device(chosen.device))
    threads = chosen.threads or choose_threads()
    with machine_settings(team.device, threads=threads, is_deterministic=False, seed=spec.seed):
        still = replace(spec, schedule=ConstantSchedule(), distill=None)
        parts = make_parts(graph, still, dataset, team, Beginning())
        return _search(parts, chosen)


def _search(parts: Parts, options: SearchOptions) -> RateSearch:
    rates: list[float] = []
    losses: list[float] = []
    position, mean, batches = Position(), 0.0, _endless(parts)
    position.begin_epoch(parts)
    parts.module.train()
    for number in range(options.steps):
        share = number / max(options.steps - 1, 1)
        rate = options.low * math.pow(options.high / options.low, share)
        optimizer = replace(parts.spec.optimizer, lr=rate)
        before = position.loss_sum.item()
        train_step(replace(parts, spec=replace(parts.spec, optimizer=optimizer)), position, next(batches))
        loss = position.loss_sum.item() - before
        mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
        smoothed = mean / (1 - _SMOOTH ** (number + 1))
        if not math.isfinite(loss) or smoothed > _BLOWN_UP * min(losses, default=math.inf):
            break
        rates.append(rate)
        losses.append(smoothed)
    return RateSearch(rates=tuple(rates), losses=tuple(losses))


def _endless(parts: Parts) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from parts.feed.batches(epoch, parts.generator)
        epoch += 1
