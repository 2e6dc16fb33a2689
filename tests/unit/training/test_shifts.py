"""Shift-based batch norm and AdaMax multiply by powers of two only: every product of torch is looked at."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bnncc.ir.train_spec import ShiftAdaMax
from bnncc.training.optim import Trained, build_optimizer, set_rate
from bnncc.training.shift_batch_norm import ShiftNormState, shift_batch_norm

SAFE = {
    "abs", "add", "alias", "clamp", "clone", "copy_", "detach", "empty_like", "eq", "expand", "flatten",
    "frexp", "full_like", "ge", "le", "lt", "item", "maximum", "neg", "ones_like", "permute", "reshape",
    "rsqrt", "rsub", "squeeze", "sub", "sub_", "sum", "t", "transpose", "unsqueeze", "view", "_unsafe_view",
    "where", "zeros", "zeros_like", "_to_copy", "copysign", "_local_scalar_dense", "add_", "fill_", "ones",
    "_reshape_alias", "lift_fresh", "_record_function_enter_new", "_record_function_exit",
}  # fmt: skip


def is_power(value):
    numbers = torch.as_tensor(value, dtype=torch.float64)
    mantissa = torch.frexp(numbers[numbers != 0].abs())[0]
    return bool((mantissa == 0.5).all())


class Shifts(TorchDispatchMode):
    """Fails at a product with no power of two in it; ``mean`` is a sum and a division by a count."""

    def __init__(self):
        super().__init__()
        self.products = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.__name__.split(".")[0]
        factors = None
        if name in {"mul", "mul_", "ldexp"}:
            factors = args[:2] if name != "ldexp" else [1.0]
        elif name in {"div", "div_"}:
            factors = args[1:2]
        elif name in {"lerp", "lerp_"}:
            factors = args[2:3]
        elif name == "pow":
            factors = args[:1]
        elif name not in SAFE and name != "mean":
            raise AssertionError(f"an operation nobody looked at: {func}")
        if "alpha" in kwargs:
            factors = [kwargs["alpha"]]
        if factors is not None:
            self.products += 1
            assert any(is_power(f) for f in factors), f"{func} multiplies by no power of two"
        return func(*args, **kwargs)


@pytest.mark.parametrize("shape", [(30, 5), (6, 5, 4, 3)])
def test_shift_batch_norm_forward_and_backward(shape):
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(shape, generator=generator) * 7).requires_grad_()
    gamma = torch.randn(5, generator=generator).requires_grad_()
    beta = torch.randn(5, generator=generator).requires_grad_()
    state = ShiftNormState(gamma=gamma, beta=beta, mean=torch.zeros(5), inv_std=torch.ones(5))
    grad = torch.randn(shape, generator=generator)
    with Shifts() as seen:
        y = shift_batch_norm(x, state, eps=1e-5, momentum=0.125)
        y.backward(grad)
    assert seen.products >= 9
    assert all(p.grad.abs().max() > 0 for p in (x, gamma, beta))


def test_the_backward_pass_is_near_that_of_batch_norm():
    # AP2 is within a factor of sqrt(2), so gradients point the same way as those of the plain norm.
    generator = torch.Generator().manual_seed(1)
    x = (torch.randn(400, 3, generator=generator) * 5).requires_grad_()
    state = ShiftNormState(
        gamma=torch.ones(3), beta=torch.zeros(3), mean=torch.zeros(3), inv_std=torch.ones(3)
    )
    grad = torch.randn(400, 3, generator=generator)
    shift_batch_norm(x, state, eps=1e-5, momentum=0.125).backward(grad)
    plain = x.detach().clone().requires_grad_()
    torch.nn.functional.batch_norm(plain, None, None, training=True).backward(grad)
    for channel in range(3):
        a, b = x.grad[:, channel], plain.grad[:, channel]
        assert torch.dot(a, b) / (a.norm() * b.norm()) > 0.99


@pytest.mark.parametrize("t7_quirk", [False, True])
def test_shift_adamax(t7_quirk):
    parameter = torch.nn.Parameter(torch.randn(40, generator=torch.Generator().manual_seed(0)))
    items = (Trained(name="w", parameter=parameter, scale=16.0, is_latent=True),)
    optimizer = build_optimizer(ShiftAdaMax(t7_quirk=t7_quirk), items)
    set_rate(optimizer, 0.011)
    for seed in range(3):
        parameter.grad = torch.randn(40, generator=torch.Generator().manual_seed(seed))
        with Shifts() as seen:
            optimizer.step()
        assert seen.products >= 4


def test_the_watch_sees_a_product_that_is_no_shift():
    with pytest.raises(AssertionError, match="no power of two"), Shifts():
        torch.tensor([3.0]) * torch.tensor([5.0])
    parameter = torch.nn.Parameter(torch.ones(3))
    items = (Trained(name="w", parameter=parameter, scale=3.0, is_latent=True),)
    optimizer = build_optimizer(ShiftAdaMax(), items)
    parameter.grad = torch.ones(3)
    with pytest.raises(AssertionError, match="no power of two"), Shifts():
        optimizer.step()
