"""Seconds of a training epoch: bnncc beside an ordinary PyTorch loop over the same layers, in one run.

Three processes take turns, a few steps each, so that a busy machine slows all alike:

``plain``: float32, as it is usually written: ``nn.Linear`` and ``nn.Conv2d`` over ``torch.where`` signs,
    ``nn.BatchNorm``, ``torch.optim.Adam`` with its defaults, images converted as they come.
``tuned``: the same with what helps without leaving float32: channels last, fused Adam, memory kept by malloc.
``bnncc``: the trainer, in the precision that it chooses by itself; without augmentation, which the others
    do not have either (``bnncc+augment`` has that of the example).

Run it as ``python -m benchmarks.training_speed [--threads 1] [--blocks 7] [--only mnist_mlp]``; it needs the
data sets. ``--profile`` prints instead where the time of a step of ``bnncc`` goes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity
from torch.profiler import profile as watch

import bnncc
from bnncc.data import load_dataset
from bnncc.ir import nn as ops
from bnncc.ir.train_spec import CrossEntropy, Loss, Selection
from bnncc.training.machine import Precision, keep_memory
from bnncc.training.mixing import Batch
from bnncc.training.parts import Beginning, make_parts
from bnncc.training.run import Position, train_step
from bnncc.training.team import Team

EXAMPLES = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A network, its data and how many steps a turn takes."""

    example: str
    data: str
    batch: int
    steps: int
    define: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.example} {' '.join(self.define)}".strip()


CASES = (
    Case(example="mnist_mlp", data="mnist", batch=100, steps=4),
    Case(example="mnist_mlp_small", data="mnist", batch=250, steps=20),
    Case(example="mnist_convnet", data="mnist", batch=200, steps=8),
    Case(example="cifar10_convnet", data="cifar10", batch=50, steps=1),
    Case(example="cifar10_convnet", data="cifar10", batch=50, steps=6, define=("width=32", "hidden=256")),
)
SIDES = ("plain", "tuned", "bnncc")

Steps = Callable[[int], float]
"""Makes so many steps and returns the seconds of them that went into getting batches."""


def plain_network(graph: ops.NnGraph) -> tuple[nn.Sequential, list[Tensor]]:
    """Return the layers of ``graph`` as modules that a user of PyTorch writes, and the latent weights."""
    net = nn.Sequential(*(plain_module(node) for node in graph.nodes))
    latent = [m.weight for m in net.modules() if isinstance(m, (BinaryLinear, BinaryConv2d))]
    for weight in latent:
        nn.init.uniform_(weight, -1, 1)
    return net, latent


class SignSte(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # torch has no type for ctx
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # torch has no type for ctx
        (x,) = ctx.saved_tensors
        return g * (x.abs() <= 1)


class WeightSign(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, w: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # torch has no type for ctx
        return torch.where(w >= 0, 1.0, -1.0)

    @staticmethod
    def backward(_ctx, g: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # torch has no type for ctx
        return g


class BinaryLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, WeightSign.apply(self.weight))


class BinaryConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, WeightSign.apply(self.weight), None, self.stride, self.padding)


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return SignSte.apply(x)


def plain_module(node: ops.NnOp) -> nn.Module:
    shape = node.result.type.shape
    match node:
        case ops.Normalize():
            return nn.Identity()
        case ops.Conv2d(x=x, window=w):
            return BinaryConv2d(x.type.channels, shape[0], w.kernel, w.stride, w.padding[:2], bias=False)
        case ops.Dense(x=x):
            return BinaryLinear(x.type.count, shape[0], bias=False)
        case ops.BatchNorm(eps=eps, momentum=m):
            kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
            return kind(shape[0], eps=float(eps), momentum=float(m))
        case ops.Sign():
            return Sign()
        case ops.MaxPool2d(window=w):
            return nn.MaxPool2d(w.kernel, w.stride)
        case ops.Flatten():
            return nn.Flatten()
        case ops.Dropout(rate=rate):
            return nn.Dropout(float(rate))
        case _:
            raise NotImplementedError(type(node).__name__)


def read_model(case: Case) -> bnncc.Model:
    return bnncc.load(EXAMPLES / f"{case.example}.bnn", **dict(item.split("=") for item in case.define))


def plain_loss(loss: Loss, scores: Tensor, y: Tensor) -> Tensor:
    if isinstance(loss, CrossEntropy):
        return F.cross_entropy(scores, y)
    target = 2.0 * F.one_hot(y, scores.shape[1]) - 1
    return torch.clamp(1 - target * scores, min=0).pow(2).mean()


def plain_batches(case: Case, graph: ops.NnGraph, *, is_tuned: bool) -> Iterator[tuple[Tensor, Tensor]]:
    normalize = next(node for node in graph.nodes if isinstance(node, ops.Normalize))
    scale, shift = float(normalize.scale), float(normalize.shift)
    train = load_dataset(case.data).train
    images, labels = torch.tensor(train.images), torch.tensor(train.labels)
    while True:
        for chosen in torch.randperm(len(labels)).split(case.batch):
            x = images[chosen].float() * scale + shift
            if is_tuned:
                x = x.contiguous(memory_format=torch.channels_last)
            yield x, labels[chosen]


def plain_steps(case: Case, *, is_tuned: bool) -> Steps:
    """Return the loop that a user of PyTorch writes, over the layers of the example."""
    model = read_model(case)
    torch.manual_seed(1)
    net, latent = plain_network(model.graph)
    if is_tuned:
        keep_memory()
        net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True if is_tuned else None)
    supply = plain_batches(case, model.graph, is_tuned=is_tuned)
    net.train()

    def steps(count: int) -> float:
        feeding = 0.0
        for _ in range(count):
            began = time.perf_counter()
            x, y = next(supply)
            feeding += time.perf_counter() - began
            loss = plain_loss(model.recipe.loss, net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for weight in latent:
                    weight.clamp_(-1, 1)
        return feeding

    return steps


def bnncc_steps(case: Case, precision: str = "auto", *, is_augmented: bool = False) -> Steps:
    """Return the trainer's own loop, with the recipe of the example."""
    keep_memory()
    model = read_model(case)
    spec = replace(model.recipe, batch=case.batch, validation=0, select=Selection.LAST)
    spec = spec if is_augmented else replace(spec, augment=())
    team = Team(rank=0, size=1, device=torch.device("cpu"))
    beginning = Beginning(precision=Precision(precision))
    parts = make_parts(model.graph, spec, load_dataset(case.data), team, beginning)
    position = Position()
    position.begin_epoch(parts)
    parts.module.train()

    def batches() -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from parts.feed.batches(epoch, parts.generator)
            epoch += 1

    supply = batches()

    def steps(count: int) -> float:
        feeding = 0.0
        for _ in range(count):
            began = time.perf_counter()
            batch = next(supply)
            feeding += time.perf_counter() - began
            train_step(parts, position, batch)
            position.step = 0
        return feeding

    return steps


def steps_of(side: str, case: Case) -> Steps:
    match side:
        case "plain":
            return plain_steps(case, is_tuned=False)
        case "tuned":
            return plain_steps(case, is_tuned=True)
        case "bnncc+augment":
            return bnncc_steps(case, is_augmented=True)
        case _:
            return bnncc_steps(case, side.partition(":")[2] or "auto")


def work(side: str, case: Case, threads: int) -> None:
    """Make as many steps as each line of stdin says; answer with their seconds."""
    torch.set_num_threads(threads)
    steps = steps_of(side, case)
    steps(2)
    print("ready", flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        feeding = steps(int(line))
        answer = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "feed": feeding}
        print(json.dumps(answer), flush=True)


@dataclass(slots=True)
class Side:
    """One process and what it measured: seconds a step."""

    name: str
    process: subprocess.Popen[str]
    wall: list[float]
    cpu: list[float]
    feed: list[float]

    def turn(self, steps: int) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        for key, series in (("wall", self.wall), ("cpu", self.cpu), ("feed", self.feed)):
            series.append(found[key] / steps)


def start(name: str, number: int, threads: int) -> Side:
    command = [sys.executable, "-m", "benchmarks.training_speed"]
    command += ["--work", name, "--case", str(number), "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    return Side(name, process, [], [], [])


def measure(number: int, threads: int, blocks: int, sides: tuple[str, ...]) -> list[Side]:
    """Return what every side measured for case ``number``, turn by turn."""
    running = [start(name, number, threads) for name in sides]
    for side in running:
        assert side.process.stdout
        assert side.process.stdout.readline() == "ready\n"
    for _ in range(blocks):
        for side in running:
            side.turn(CASES[number].steps)
    for side in running:
        assert side.process.stdin
        side.process.stdin.close()
        side.process.wait()
    return running


def row(case: Case, sides: list[Side], images: int) -> str:
    steps = images // case.batch
    base, cells = sides[0], []
    for side in sides:
        epoch = statistics.median(side.wall) * steps
        ratios = sorted(b / s for b, s in zip(base.wall, side.wall, strict=True))
        spread = f", {statistics.median(ratios):.2f}x [{ratios[0]:.2f}-{ratios[-1]:.2f}]"
        cells.append(f"{epoch:.1f} s{'' if side is base else spread}")
    cpu = statistics.median(b / s for b, s in zip(base.cpu, sides[-1].cpu, strict=True))
    feed = statistics.median(f / w for f, w in zip(sides[-1].feed, sides[-1].wall, strict=True))
    return f"| {case.title} b{case.batch} | {' | '.join(cells)} | {cpu:.2f}x | {100 * feed:.1f} % |"


def profile(case: Case) -> None:
    steps = bnncc_steps(case, is_augmented=True)
    steps(2)
    with watch(activities=[ProfilerActivity.CPU]) as seen:
        steps(case.steps)
    print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=44))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=7, help="turns of every side")
    parser.add_argument("--only", default="", help="cases whose title contains this")
    parser.add_argument(
        "--sides", default=",".join(SIDES), help="also bnncc+augment, bnncc:float32, bnncc:bfloat16"
    )
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--case", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, CASES[given.case], given.threads)
        return
    sides = tuple(given.sides.split(","))
    chosen = [number for number, case in enumerate(CASES) if given.only in case.title]
    if given.profile:
        for number in chosen:
            profile(CASES[number])
        return
    print(
        f"{given.threads} thread(s), {given.blocks} turns; epoch = median step x steps; ratios turn by turn"
    )
    print("| network | " + " | ".join(sides) + " | CPU time | data |\n|" + "---|" * (len(sides) + 3))
    for number in chosen:
        images = {"mnist": 60_000, "cifar10": 50_000}[CASES[number].data]
        print(row(CASES[number], measure(number, given.threads, given.blocks, sides), images), flush=True)


if __name__ == "__main__":
    main()
