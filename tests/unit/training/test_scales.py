"""Scales of binary weights, shifted signs and PReLU in training."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bnncc.frontend.load import load_text  # noqa: E402 -- after the check for torch
from bnncc.ir.reference import evaluate_nn  # noqa: E402 -- as above
from bnncc.passes.bind_weights import BindWeights  # noqa: E402 -- as above
from bnncc.training.module import BnnModule  # noqa: E402 -- as above
from bnncc.training.parameters import Role  # noqa: E402 -- as above

SOURCE = """
network tiny {
  input image: u8[2, 6, 6]
  let x = image -> normalize(scale = 1/255)
    -> conv(9, 3, scale = mean) -> batch_norm
  let y = x -> sign(shift = learned) -> conv(9, 3, scale = learned) -> batch_norm
  let z = x + y
  z -> rprelu -> sign(shift = learned) -> flatten -> dense(5, scale = mean) -> prelu -> output scores
}
"""


def tiny() -> BnnModule:
    graph = load_text(SOURCE, "tiny.bnn").graph
    return BnnModule(graph, generator=torch.Generator().manual_seed(3))


def tensor(module: BnnModule, name: str) -> torch.Tensor:
    return next(slot.tensor for ref, slot in module.slots.items() if ref.name == name)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, 2, 6, 6)).astype(np.uint8)


def test_scales_start_at_the_mean_size_of_the_weights() -> None:
    module = tiny()
    for layer in ("conv1", "conv2", "dense1"):
        sizes = tensor(module, f"{layer}.weight").abs().flatten(1).mean(1)
        assert torch.equal(tensor(module, f"{layer}.scale"), sizes)


def test_mean_scales_follow_their_weights_and_are_no_parameters() -> None:
    module = tiny().train()
    weight = tensor(module, "dense1.weight")
    with torch.no_grad():
        weight.mul_(0.5)
    module(torch.from_numpy(images(4)))
    assert torch.equal(tensor(module, "dense1.scale"), weight.abs().mean(1).detach())
    assert "dense1.scale" not in dict(module.named_parameters())
    assert Role.SCALE in module.roles.values()


def test_the_gradient_of_a_mean_scale_reaches_the_weights() -> None:
    """XNOR-Net: d(alpha sign(w)) / dw has a part of alpha, ``sum(g sign(w)) sign(w) / n``."""
    source = "network one { input x: sign[4] x -> dense(1, scale = mean) -> output y }"
    module = BnnModule(load_text(source, "one.bnn").graph).train()
    weight = tensor(module, "dense1.weight")
    with torch.no_grad():
        weight.copy_(torch.tensor([[0.5, -0.25, 0.75, -0.5]]))
    x = torch.tensor([[1.0, 1.0, -1.0, 1.0]])
    (y,) = module(x)
    y.sum().backward()
    signs, size = torch.tensor([[1.0, -1.0, 1.0, -1.0]]), 0.5
    assert torch.equal(y.detach(), size * (x @ signs.T))
    assert torch.equal(weight.grad, size * x + (x * signs).sum() * signs / 4)


def test_a_shift_is_trained_against_its_sign() -> None:
    module = tiny().train()
    (scores,) = module(torch.from_numpy(images(8)))
    scores.square().sum().backward()
    for ref, slot in module.slots.items():
        if module.roles[ref] in (Role.SHIFT, Role.SLOPE, Role.SCALE):
            assert slot.tensor.grad is not None
            assert slot.tensor.grad.abs().sum() > 0, ref.name


def test_steps_of_training_keep_evaluation_exact() -> None:
    module = tiny().train()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(5):
        (scores,) = module(torch.from_numpy(images(16)))
        optimizer.zero_grad()
        scores.sub(1).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        tensor(module, "conv2.scale")[:4] = torch.tensor([-0.5, 0.0, -1e-30, 3.0])
    weights = {name: value.numpy() for name, value in module.weights().items()}
    bound = BindWeights(weights=weights).run(module.graph)
    wanted = evaluate_nn(bound, {"image": images(30)})["scores"]
    np.testing.assert_array_equal(module.eval().eval_scores(images(30)), wanted)
    assert len(np.unique(wanted)) > 30


def test_a_network_without_scales_starts_one_that_has_them() -> None:
    """Stages: real weights first, then their signs with scales."""
    module = tiny()
    weights = {name: value for name, value in module.weights().items() if not name.endswith(".scale")}
    with torch.no_grad():
        weights["dense1.weight"] = weights["dense1.weight"] / 4
    module.set_weights(weights)
    assert torch.equal(tensor(module, "dense1.scale"), weights["dense1.weight"].abs().mean(1))
