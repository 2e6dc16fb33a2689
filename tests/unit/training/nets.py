"""Small nn graphs with random weights, for comparison with the reference."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from bnncc.ir import infer, nn
from bnncc.ir.graph import Graph, Output, digest_of, freeze
from bnncc.ir.types import ConstRef, Elem, TensorType, Value
from bnncc.ir.window import Window

SAME3 = Window(kernel=(3, 3), padding=(1, 1, 1, 1))
POOL2 = Window(kernel=(2, 2), stride=(2, 2))


class Net:
    """Builds one graph; every method appends a node and returns its result."""

    def __init__(self, seed, shape, elem=Elem.U8, is_bound=True):
        self.rng = np.random.default_rng(seed)
        self.input = Value("image", TensorType(elem, shape))
        self.nodes, self.constants = [], {}
        self.is_bound = is_bound

    def const(self, name, array, elem):
        frozen = freeze(array)
        digest = digest_of(frozen) if self.is_bound else ""
        if self.is_bound:
            self.constants[digest] = frozen
        return ConstRef(name, TensorType(elem, array.shape), digest)

    def add(self, kind, **fields):
        name = f"v{len(self.nodes)}"
        draft = kind(result=Value(name, self.input.type), **fields)
        result = Value(name, infer.infer_nn(draft))
        self.nodes.append(kind(result=result, **fields))
        return result

    def weight(self, shape, elem=Elem.SIGN):
        name = f"layer{len(self.nodes)}.weight"
        if elem is Elem.SIGN:
            return self.const(name, self.rng.choice(np.array([-1, 1], np.int8), shape), elem)
        return self.const(name, self.rng.normal(size=shape).astype(np.float32), elem)

    def normalize(self, x, scale=Fraction(2, 255), shift=Fraction(-1)):
        return self.add(nn.Normalize, x=x, scale=scale, shift=shift)

    def conv(self, x, outputs, window=SAME3, pad_value=0, elem=Elem.SIGN):
        weight = self.weight((outputs, x.type.channels, *window.kernel), elem)
        return self.add(nn.Conv2d, x=x, weight=weight, window=window, pad_value=pad_value)

    def dense(self, x, outputs, elem=Elem.SIGN):
        return self.add(nn.Dense, x=x, weight=self.weight((outputs, x.type.count), elem))

    def _norm_parameters(self, x, has_gamma):
        channels, scale = x.type.channels, 8.0
        name = f"norm{len(self.nodes)}"
        gamma = self.rng.normal(size=channels).astype(np.float32)
        gamma[self.rng.random(channels) < 0.1] = 0
        # Half of the channels have their threshold exactly on an integer: mean integer, beta 0.
        is_tie = self.rng.random(channels) < 0.5
        mean = np.where(is_tie, self.rng.integers(-3, 4, channels), self.rng.normal(size=channels) * scale)
        beta = np.where(is_tie, 0, self.rng.normal(size=channels))
        f32 = {"beta": beta.astype(np.float32), "mean": mean.astype(np.float32)}
        fields = {key: self.const(f"{name}.{key}", value, Elem.F32) for key, value in f32.items()}
        fields["gamma"] = self.const(f"{name}.gamma", gamma, Elem.F32) if has_gamma else None
        spread = np.exp(self.rng.normal(size=channels)).astype(np.float32)
        return fields, name, spread

    def batch_norm(self, x, has_gamma=True):
        fields, name, spread = self._norm_parameters(x, has_gamma)
        var = self.const(f"{name}.var", spread * 64, Elem.F32)
        eps, momentum = Fraction(1, 10_000), Fraction(1, 10)
        return self.add(nn.BatchNorm, x=x, var=var, eps=eps, momentum=momentum, **fields)

    def shift_norm(self, x, has_gamma=True):
        fields, name, spread = self._norm_parameters(x, has_gamma)
        inv_std = self.const(f"{name}.inv_std", spread / 8, Elem.F32)
        eps, momentum = Fraction(1, 10_000), Fraction(1, 8)
        return self.add(nn.ShiftBatchNorm, x=x, inv_std=inv_std, eps=eps, momentum=momentum, **fields)

    def sign(self, x, **fields):
        return self.add(nn.Sign, x=x, **fields)

    def pool(self, x, window=POOL2):
        return self.add(nn.MaxPool2d, x=x, window=window)

    def flatten(self, x):
        return self.add(nn.Flatten, x=x)

    def graph(self, name, *outputs):
        return Graph(
            name=name,
            inputs=(self.input,),
            nodes=tuple(self.nodes),
            outputs=tuple(Output(f"out{i}", value) for i, value in enumerate(outputs)),
            constants=self.constants,
        )


def mlp(seed=0, is_bound=True, hidden=24, has_gamma=True, inputs=(64,), outputs=10, scale=Fraction(2, 255)):
    net = Net(seed, inputs, is_bound=is_bound)
    x = net.normalize(net.input, scale=scale)
    if len(inputs) == 3:
        x = net.flatten(x)
    for _ in range(2):
        x = net.sign(net.batch_norm(net.dense(x, hidden), has_gamma))
    return net.graph("mlp", net.batch_norm(net.dense(x, outputs)))


def shift_mlp(seed=0):
    net = Net(seed, (40,))
    x = net.sign(net.shift_norm(net.dense(net.normalize(net.input), 24)))
    x = net.sign(net.shift_norm(net.dense(x, 24), has_gamma=False))
    return net.graph("shift_mlp", net.shift_norm(net.dense(x, 5)))


def convnet(seed=0, pad_value=0):
    net = Net(seed, (3, 8, 8))
    x = net.conv(net.normalize(net.input), 6, pad_value=pad_value)
    x = net.sign(net.batch_norm(net.pool(x)))
    x = net.pool(net.sign(net.batch_norm(net.conv(x, 7, pad_value=pad_value))))
    x = net.sign(net.batch_norm(net.dense(net.flatten(x), 9)))
    return net.graph("convnet", net.batch_norm(net.dense(x, 4)))


def odd_windows(seed=0):
    net = Net(seed, (2, 9, 11))
    wide = Window(kernel=(3, 2), stride=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2))
    x = net.pool(
        net.batch_norm(net.conv(net.input, 5, wide, pad_value=1)), Window(kernel=(2, 2), padding=(1, 0, 0, 1))
    )
    signs = net.sign(net.flatten(x))
    return net.graph("odd_windows", net.dense(signs, 6), signs, net.flatten(x))


def shortcuts(seed=0):
    net = Net(seed, (4, 6, 6))
    x = net.sign(net.batch_norm(net.conv(net.normalize(net.input), 4)))
    left, right = net.conv(x, 4), net.conv(x, 4, pad_value=-1)
    total = net.add(nn.Add, x=left, y=right)
    y = net.sign(net.batch_norm(total))
    both = net.add(nn.Concat, parts=(x, y))
    real = net.add(nn.Add, x=net.batch_norm(net.conv(both, 3)), y=net.batch_norm(net.conv(y, 3)))
    z = net.sign(net.add(nn.HardTanh, x=net.batch_norm(real)))
    joined = net.batch_norm(net.dense(net.flatten(z), 3))
    return net.graph("shortcuts", joined, net.add(nn.Relu, x=real), total)


def negative_pixels(seed=0):
    net = Net(seed, (2, 6, 6))
    x = net.pool(net.normalize(net.input, Fraction(-1, 3), Fraction(7, 2)))
    return net.graph("negative_pixels", x)


def binary_connect(seed=0):
    net = Net(seed, (30,))
    x = net.add(nn.Relu, x=net.batch_norm(net.dense(net.normalize(net.input), 16)))
    return net.graph("binary_connect", net.batch_norm(net.dense(x, 4, Elem.F32)))


EXACT = (
    [mlp(seed) for seed in range(3)]
    + [mlp(3, has_gamma=False, scale=Fraction(1, 8))]
    + [shift_mlp(seed) for seed in range(3)]
    + [convnet(seed, pad) for seed, pad in enumerate((0, -1, 1))]
    + [odd_windows(), shortcuts(), negative_pixels()]
)


def bind(graph, arrays):
    """Return ``graph`` with weights; latent ones become signs."""
    from dataclasses import fields, is_dataclass, replace

    constants = {}

    def rebuild(item):
        if isinstance(item, ConstRef):
            array = arrays[item.name]
            if item.type.elem is Elem.SIGN:
                array = np.where(array >= 0, 1, -1).astype(np.int8)
            digest = digest_of(array)
            constants[digest] = freeze(array)
            return ConstRef(item.name, item.type, digest)
        return item

    nodes = tuple(
        replace(
            node,
            **{
                f.name: rebuild(getattr(node, f.name))
                for f in fields(node)
                if is_dataclass(getattr(node, f.name))
            },
        )
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes, constants=constants)
