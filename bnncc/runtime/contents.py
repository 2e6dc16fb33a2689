"""What is inside a package, as graphs: read as data from anywhere, verified before use."""

from __future__ import annotations

from bnncc.codegen.package import NN_IR, Package
from bnncc.diagnostics import CompileError, DataError
from bnncc.ir.nn import NnGraph
from bnncc.ir.text import parse_nn
from bnncc.ir.verify import verify_nn
from bnncc.passes.bind_weights import BindWeights


def graph_of(package: Package) -> NnGraph:
    """Return the nn graph of ``package``, its weights bound.

    Raises:
        DataError: IR and weights are broken or do not fit together.
    """
    texts = {source.name: source.text for source in package.sources}
    stored = parse_nn(package.text(NN_IR), {}, texts)
    try:
        # As strict as with any other file: shapes, finite numbers, variances.
        graph = BindWeights(weights=package.weights, origin=f"'{package.label}'").run(stored)
    except CompileError as error:
        raise DataError(f"'{package.label}': weights and IR do not fit: {error}") from error
    if graph.nodes != stored.nodes:
        raise DataError(f"'{package.label}': the weights are not those that the IR was made with")
    if problems := verify_nn(graph):
        raise DataError(f"'{package.label}': the IR inside is not valid: {problems[0]}")
    inputs = tuple((value.name, value.type) for value in graph.inputs)
    if inputs != tuple((port.name, port.type) for port in package.manifest.inputs):
        raise DataError(f"'{package.label}': the manifest and the IR name different inputs")
    return graph
