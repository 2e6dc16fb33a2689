"""The layers of the language: what each one takes, and the node that it makes.

`LAYERS` is the only list; a new layer is one function and one line in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from bnncc.diagnostics import Span
from bnncc.frontend.arguments import Parameters, Reader
from bnncc.frontend.errors.types import SameNeedsOddKernel
from bnncc.frontend.graph_builder import GraphBuilder, parameter
from bnncc.frontend.values import number_text
from bnncc.ir import nn
from bnncc.ir.types import ConstRef, Elem, Value
from bnncc.ir.window import Window

MAX_KERNEL: Final = 255
MAX_STEP: Final = 4096
_ELEMENT_OF_WEIGHTS: Final = {"binary": Elem.SIGN, "float": Elem.F32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A layer applied to ``x``, its arguments ready to be read.

    Args:
        name: of the node that it makes, from which its parameters have theirs.
    """

    reader: Reader
    x: Value
    name: str
    span: Span


Make = Callable[[Value], nn.NnOp]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: its parameters, and what makes the node; nothing is made where an argument is refused."""

    parameters: Parameters
    build: Callable[[Application], Make | None]

    def apply(self, application: Application, graph: GraphBuilder) -> Value | None:
        """Return what flows out, or None where the reader of the application has problems.

        Raises:
            Refusal: E02xx if it does not fit what flows in.
        """
        make = self.build(application)
        if make is None or application.reader.is_refused:
            return None
        return graph.add(make, application.name, self.parameters.owner, application.span)


def _normalize(a: Application) -> Make | None:
    scale = a.reader.number("scale", Fraction(1))
    shift = a.reader.number("shift", Fraction(0))
    if a.reader.has("scale") and scale == 0:
        a.reader.refuse("scale", "other than 0", "0", "a scale of 0 loses the input.")
    return lambda result: nn.Normalize(result=result, x=a.x, scale=scale, shift=shift)


def _conv(a: Application) -> Make | None:
    channels = a.reader.count("channels")
    kernel = a.reader.pair("kernel", high=MAX_KERNEL)
    dilation = a.reader.pair("dilation", high=MAX_STEP)
    same = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    window = Window(
        kernel=kernel,
        stride=a.reader.pair("stride", high=MAX_STEP),
        padding=a.reader.sides("padding", same, default="same"),
        dilation=dilation,
    )
    if a.reader.is_word("padding", "same", is_default=True):
        _require_odd(a, kernel)
    pad_value = _pad_value(a.reader)
    weight = parameter(a.name, "weight", _weight_element(a.reader), channels, a.x.type.channels, *kernel)
    scale, scaling = _weight_scale(a, weight)
    return lambda result: nn.Conv2d(
        result=result,
        x=a.x,
        weight=weight,
        window=window,
        pad_value=pad_value,
        scale=scale,
        scaling=scaling,
    )


def _weight_element(reader: Reader) -> Elem:
    return _ELEMENT_OF_WEIGHTS[reader.word("weights", tuple(_ELEMENT_OF_WEIGHTS), "binary")]


def _weight_scale(a: Application, weight: ConstRef) -> tuple[ConstRef | None, nn.Scaling]:
    words = ("none", *(scaling.value for scaling in nn.Scaling))
    word = a.reader.word("scale", words, "none")
    if word == "none":
        return None, nn.Scaling.MEAN
    if weight.type.elem is not Elem.SIGN:
        advice = "only binary weights need a scale: write 'scale = if kind == binary then mean else none'."
        a.reader.refuse("scale", "none where weights are float", word, advice)
        return None, nn.Scaling.MEAN
    return parameter(a.name, "scale", Elem.F32, weight.type.channels), nn.Scaling(word)


def _require_odd(a: Application, kernel: tuple[int, int]) -> None:
    if kernel[0] % 2 == 0 or kernel[1] % 2 == 0:
        a.reader.problems.append(SameNeedsOddKernel(span=a.span, kernel=kernel))


def _pad_value(reader: Reader) -> int:
    value = reader.number("pad", Fraction(0))
    if value not in (-1, 0, 1):
        advice = "'pad' is the value of pixels outside the image; how many there are is 'padding'."
        reader.refuse("pad", "-1, 0 or +1", number_text(value), advice)
        return 0
    return int(value)


def _dense(a: Application) -> Make | None:
    units = a.reader.count("units")
    weight = parameter(a.name, "weight", _weight_element(a.reader), units, a.x.type.count)
    scale, scaling = _weight_scale(a, weight)
    return lambda result: nn.Dense(result=result, x=a.x, weight=weight, scale=scale, scaling=scaling)


@dataclass(frozen=True, slots=True)
class _NormArguments:
    gamma: ConstRef | None
    beta: ConstRef
    mean: ConstRef
    eps: Fraction
    momentum: Fraction


def _norm_arguments(a: Application, eps: Fraction, momentum: Fraction) -> _NormArguments:
    channels = a.x.type.channels
    eps = a.reader.number("eps", eps)
    if eps < 0:
        a.reader.refuse("eps", "at least 0", number_text(eps))
    momentum = a.reader.number("momentum", momentum)
    if not 0 < momentum <= 1:
        a.reader.refuse("momentum", "above 0 and at most 1", number_text(momentum))
    has_gamma = a.reader.flag("gamma", default=True)
    return _NormArguments(
        gamma=parameter(a.name, "gamma", Elem.F32, channels) if has_gamma else None,
        beta=parameter(a.name, "beta", Elem.F32, channels),
        mean=parameter(a.name, "mean", Elem.F32, channels),
        eps=eps,
        momentum=momentum,
    )


def _batch_norm(a: Application) -> Make | None:
    norm = _norm_arguments(a, Fraction("1e-4"), Fraction("0.1"))
    var = parameter(a.name, "var", Elem.F32, a.x.type.channels)
    return lambda result: nn.BatchNorm(
        result=result,
        x=a.x,
        gamma=norm.gamma,
        beta=norm.beta,
        mean=norm.mean,
        var=var,
        eps=norm.eps,
        momentum=norm.momentum,
    )


def _shift_batch_norm(a: Application) -> Make | None:
    norm = _norm_arguments(a, Fraction("1e-5"), Fraction("0.125"))
    inv_std = parameter(a.name, "inv_std", Elem.F32, a.x.type.channels)
    return lambda result: nn.ShiftBatchNorm(
        result=result,
        x=a.x,
        gamma=norm.gamma,
        beta=norm.beta,
        mean=norm.mean,
        inv_std=inv_std,
        eps=norm.eps,
        momentum=norm.momentum,
    )


def _sign(a: Application) -> Make | None:
    words = tuple(estimator.value for estimator in nn.Estimator)
    estimator = nn.Estimator(a.reader.word("ste", words, nn.Estimator.CLIPPED.value))
    is_stochastic = a.reader.flag("stochastic", default=False)
    is_shifted = a.reader.word("shift", ("none", "learned"), "none") == "learned"
    shift = parameter(a.name, "shift", Elem.F32, a.x.type.channels) if is_shifted else None
    return lambda result: nn.Sign(
        result=result, x=a.x, shift=shift, estimator=estimator, stochastic=is_stochastic
    )


def _max_pool(a: Application) -> Make | None:
    size = a.reader.pair("size", high=MAX_KERNEL)
    window = Window(
        kernel=size,
        stride=a.reader.pair("stride", high=MAX_STEP) if a.reader.has("stride") else size,
        padding=a.reader.sides("padding", ((size[0] - 1) // 2, (size[1] - 1) // 2), default="valid"),
    )
    if a.reader.is_word("padding", "same"):
        _require_odd(a, size)
    return lambda result: nn.MaxPool2d(result=result, x=a.x, window=window)


def _flatten(a: Application) -> Make | None:
    return lambda result: nn.Flatten(result=result, x=a.x)


def _relu(a: Application) -> Make | None:
    return lambda result: nn.Relu(result=result, x=a.x)


def _hard_tanh(a: Application) -> Make | None:
    return lambda result: nn.HardTanh(result=result, x=a.x)


def _prelu(a: Application) -> Make | None:
    slope = parameter(a.name, "slope", Elem.F32, a.x.type.channels)
    return lambda result: nn.Prelu(result=result, x=a.x, slope=slope)


def _rprelu(a: Application) -> Make | None:
    slope, before, after = (
        parameter(a.name, name, Elem.F32, a.x.type.channels) for name in ("slope", "before", "after")
    )
    return lambda result: nn.Prelu(result=result, x=a.x, slope=slope, before=before, after=after)


def _dropout(a: Application) -> Make | None:
    rate = a.reader.number("rate", Fraction(0))
    if not 0 <= rate < 1:
        a.reader.refuse("rate", "at least 0 and below 1", number_text(rate))
    return lambda result: nn.Dropout(result=result, x=a.x, rate=rate)


_NORM: Final = ("eps", "momentum", "gamma")

LAYERS: Final[Mapping[str, Layer]] = {
    layer.parameters.owner: layer
    for layer in (
        Layer(Parameters("normalize", ("scale", "shift")), _normalize),
        Layer(
            Parameters(
                "conv",
                ("channels", "kernel", "stride", "padding", "pad", "dilation", "weights", "scale"),
                ("channels", "kernel"),
            ),
            _conv,
        ),
        Layer(Parameters("dense", ("units", "weights", "scale"), ("units",)), _dense),
        Layer(Parameters("batch_norm", _NORM), _batch_norm),
        Layer(Parameters("shift_batch_norm", _NORM), _shift_batch_norm),
        Layer(Parameters("sign", ("ste", "stochastic", "shift")), _sign),
        Layer(Parameters("max_pool", ("size", "stride", "padding"), ("size",)), _max_pool),
        Layer(Parameters("flatten", ()), _flatten),
        Layer(Parameters("relu", ()), _relu),
        Layer(Parameters("hard_tanh", ()), _hard_tanh),
        Layer(Parameters("prelu", ()), _prelu),
        Layer(Parameters("rprelu", ()), _rprelu),
        Layer(Parameters("dropout", ("rate",), ("rate",)), _dropout),
    )
}

WORDS: Final = frozenset({"true", "false", "same", "valid", "binary", "float", "none"}) | frozenset(
    option.value for options in (nn.Estimator, nn.Scaling) for option in options
)
"""The words that arguments are made of; they need no quotes."""

FUNCTIONS: Final = frozenset({"min", "max", "concat"})
"""The functions of the language; `concat` joins values, the others compute with numbers."""
