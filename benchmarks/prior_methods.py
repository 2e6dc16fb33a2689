"""Methods that came before binarized neural networks, beside them: MNIST, one MLP, the same epochs.

The network is 784-HIDDEN-HIDDEN-10. Two of the methods are recipes of the trainer; two train otherwise and
are written out here, as small as they are:

``binarized``: binary weights and activations, batch norm (Courbariaux, Hubara et al. 2016):
    ``examples/mnist_mlp_small.bnn`` with two hidden layers, without augmentation.
``binaryconnect``: binary weights, rectified activations, batch norm (Courbariaux, Bengio, David 2015):
    ``examples/binaryconnect_mnist.bnn``.
``bitwise``: bitwise networks (Kim, Smaragdis 2016). First a network of real numbers whose weights and
    activations are compressed by tanh; then, from there, noisy backpropagation: forward with the signs of
    weights and activations, backward through the derivative of tanh.
``expectation``: expectation backpropagation (Soudry, Hubara, Meir 2014): every weight is a random sign of
    mean ``tanh(h)``; means and variances go forward, the gradient of the likelihood with respect to the
    means backward, and it is added to ``h``. Its weights are then ``sign(h)``.

The test error of the last epoch counts, of the network whose weights (and, but for BinaryConnect,
activations) are bits; nothing is selected. Run it as
``python -m benchmarks.prior_methods [--epochs 10] [--hidden 512] [--seeds 1]``.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import bnncc
from bnncc.data import load_dataset

EXAMPLES = Path(__file__).parents[1] / "examples"
BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """MNIST as rows of numbers in [-1, 1], with a constant 1 for the bias."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.y), generator=generator)
        for chosen in order.split(BATCH):
            yield self.x[chosen], self.y[chosen]

    def error(self, scores: Callable[[Tensor], Tensor]) -> float:
        hits = sum(
            (scores(x).argmax(1) == y).sum().item()
            for x, y in zip(self.test_x.split(1000), self.test_y.split(1000), strict=True)
        )
        return 100 * (1 - hits / len(self.test_y))


def with_bias(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], 1)


def read_task() -> Task:
    data = load_dataset("mnist")

    def rows(images: object) -> Tensor:
        return torch.tensor(images, dtype=torch.float32).flatten(1) * (2 / 255) - 1

    return Task(
        x=rows(data.train.images),
        y=torch.tensor(data.train.labels),
        test_x=rows(data.test.images),
        test_y=torch.tensor(data.test.labels),
    )


def signs(x: Tensor) -> Tensor:
    return torch.where(x >= 0, 1.0, -1.0)


def bit_scores(weights: list[Tensor], x: Tensor) -> Tensor:
    """Return the sums of the last layer of a network of signs; weights ``[O, K + 1]``, the bias last."""
    for weight in weights[:-1]:
        x = signs(with_bias(x) @ signs(weight).T)
    return with_bias(x) @ signs(weights[-1]).T


def sizes_of(hidden: int) -> list[tuple[int, int]]:
    return [(hidden, 785), (hidden, hidden + 1), (10, hidden + 1)]


class NoisySign(torch.autograd.Function):
    """Forward: sign. Backward: the derivative of tanh, as if the activation had been the compressed one."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # torch has no type for ctx
        ctx.save_for_backward(x)
        return signs(x)

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # torch has no type for ctx
        (x,) = ctx.saved_tensors
        return g * (1 - torch.tanh(x).square())


def bitwise(task: Task, hidden: int, epochs: int, seed: int) -> float:
    """Half of the epochs with tanh, half with noisy backpropagation from there."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(s, generator=generator).mul_(1 / math.sqrt(s[1])) for s in sizes_of(hidden)]
    for weight in weights:
        weight.requires_grad_()
    for number in range(epochs):
        is_noisy = number >= epochs // 2
        squash = NoisySign.apply if is_noisy else torch.tanh
        if number in (0, epochs // 2):
            # The sums of signs are large, and tanh with them: the second stage looks at sums of unit size.
            scales = [1 / math.sqrt(w.shape[1]) if is_noisy else 1.0 for w in weights]
            optimizer = torch.optim.Adam(weights, lr=1e-3)
            span = epochs - epochs // 2 if is_noisy else epochs // 2
            steps = span * math.ceil(len(task.y) / BATCH)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for images, y in task.batches(generator):
            sums = with_bias(images) @ squash(weights[0]).T * scales[0]
            for weight, scale in zip(weights[1:], scales[1:], strict=True):
                sums = with_bias(squash(sums)) @ squash(weight).T * scale
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(sums, y).backward()
            optimizer.step()
            schedule.step()
    return task.error(lambda x: bit_scores(weights, x))


def expectation(task: Task, hidden: int, epochs: int, seed: int, rate: float = 0.1) -> float:
    """Every weight is a random sign with mean ``tanh(h)``; sums of many are normal.

    With ``v`` the mean of a neuron of the layer before (the input itself in the first layer)::

        mu = sum <W> v / sqrt(K),   sigma^2 = sum (E[v^2] - <W>^2 v^2) / K,   v' = 2 Phi(mu / sigma) - 1
        h += rate * d/d<W> sum_classes log Phi(t mu_L / sigma_L),   sigma taken as constant

    In the last sum ``t`` is +1 for the class of the image, else -1.
    """
    generator = torch.Generator().manual_seed(seed)
    fields = [torch.randn(s, generator=generator) for s in sizes_of(hidden)]
    steps, number = epochs * math.ceil(len(task.y) / BATCH), 0
    for _ in range(epochs):
        for images, y in task.batches(generator):
            means = [torch.tanh(h).requires_grad_() for h in fields]
            v, square = with_bias(images), with_bias(images).square()
            for mean in means:
                k = mean.shape[1]
                mu = v @ mean.T / math.sqrt(k)
                with torch.no_grad():
                    var = (square.sum(1, keepdim=True) - v.square() @ mean.square().T) / k
                    sigma = var.clamp(min=1e-4).sqrt()
                v = with_bias(2 * torch.special.ndtr(mu / sigma) - 1)
                square = torch.ones_like(v)
            targets = 2.0 * torch.nn.functional.one_hot(y, 10) - 1
            torch.special.log_ndtr(targets * mu / sigma).sum().backward()
            number += 1
            for h, mean in zip(fields, means, strict=True):
                h.add_(mean.grad, alpha=rate * (1 - number / steps))
    return task.error(lambda x: bit_scores(fields, x))


def by_trainer(example: str, hidden: int, epochs: int, seed: int) -> float:
    source = (EXAMPLES / f"{example}.bnn").read_text()
    recipe = f"""train {{
  loss {"squared_hinge" if example.startswith("binaryconnect") else "cross_entropy"}
  optimizer adam(lr = 1e-2)
  schedule cosine(to = 1e-4)
  batch {BATCH}
}}
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{example}.bnn"
        path.write_text(source[: source.index("train {")] + recipe)
        model = bnncc.load(path, hidden=hidden, layers=2)
        found = bnncc.train(model, "mnist", folder=Path(folder) / "run", epochs=epochs, seed=seed)
    return 100 * (1 - found.test_accuracy)


def binarized(_task: Task, hidden: int, epochs: int, seed: int) -> float:
    return by_trainer("mnist_mlp_small", hidden, epochs, seed)


def binaryconnect(_task: Task, hidden: int, epochs: int, seed: int) -> float:
    return by_trainer("binaryconnect_mnist", hidden, epochs, seed)


METHODS: dict[str, Callable[[Task, int, int, int], float]] = {
    "binarized": binarized,
    "binaryconnect": binaryconnect,
    "bitwise": bitwise,
    "expectation": expectation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default=",".join(METHODS))
    given = parser.parse_args()
    task = read_task()
    print("| method | test error, % | CPU s |\n|---|---|---|")
    for name in given.only.split(","):
        start, seeds = time.process_time(), range(1, given.seeds + 1)
        errors = [METHODS[name](task, given.hidden, given.epochs, seed) for seed in seeds]
        seconds = (time.process_time() - start) / given.seeds
        shown = ", ".join(f"{error:.2f}" for error in errors)
        print(f"| {name} | {shown} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
