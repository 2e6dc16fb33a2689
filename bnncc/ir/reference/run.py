"""How a graph of any level is evaluated: node by node, and in chunks of images to bound the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

import numpy as np

from bnncc.ir.graph import Graph, Node, operands
from bnncc.ir.reference.values import Array, Tensor, from_input, to_output
from bnncc.ir.types import Value

OpT = TypeVar("OpT", bound=Node)
Environment = dict[str, Tensor]
Step = Callable[[OpT, Graph[OpT], Environment], Tensor]

_CHUNK_ELEMENTS: Final = 1 << 23


def trace(graph: Graph[OpT], inputs: Mapping[str, Array], step: Step[OpT]) -> Iterator[tuple[Value, Tensor]]:
    """Yield every input and every node's result in the order of the graph.

    Shapes:
        inputs: one ``[N, *shape]`` array for each input of the graph.
    """
    values: Environment = {}
    last_reader = {value.name: node for node in graph.nodes for value in operands(node)}
    for value in graph.inputs:
        values[value.name] = from_input(inputs[value.name], value.type.elem)
        yield value, values[value.name]
    for node in graph.nodes:
        result = step(node, graph, values)
        values[node.result.name] = result
        yield node.result, result
        for operand in operands(node):
            if last_reader[operand.name] is node:
                values.pop(operand.name, None)


def evaluate(graph: Graph[OpT], inputs: Mapping[str, Array], step: Step[OpT]) -> dict[str, Array]:
    """Return the outputs of the graph by name, for all images of ``inputs``."""
    images = check_inputs(graph, inputs)
    largest = max([v.type.count for v in graph.inputs] + [node.result.type.count for node in graph.nodes])
    chunk = max(1, _CHUNK_ELEMENTS // largest)
    starts = range(0, max(images, 1), chunk)
    parts = [
        _outputs(graph, {name: array[start : start + chunk] for name, array in inputs.items()}, step)
        for start in starts
    ]
    return {output.name: np.concatenate([part[output.name] for part in parts]) for output in graph.outputs}


def check_inputs(graph: Graph[OpT], inputs: Mapping[str, Array]) -> int:
    """Return the number of images, after checking that every input is there in the right shape."""
    shapes = {value.name: value.type.shape for value in graph.inputs}
    assert set(inputs) == set(shapes), f"inputs {sorted(inputs)} do not fit a graph with {sorted(shapes)}"
    counts = {len(array) for array in inputs.values()}
    assert len(counts) == 1, "the inputs differ in the number of images"
    for name, array in inputs.items():
        assert array.shape[1:] == shapes[name], (
            f"input {name} has shape {array.shape[1:]}, not {shapes[name]}"
        )
    return counts.pop()


def _outputs(graph: Graph[OpT], inputs: Mapping[str, Array], step: Step[OpT]) -> dict[str, Array]:
    wanted = {output.value.name for output in graph.outputs}
    kept = {value.name: result for value, result in trace(graph, inputs, step) if value.name in wanted}
    return {o.name: to_output(kept[o.value.name], o.value.type.elem) for o in graph.outputs}
