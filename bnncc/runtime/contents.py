"""What is inside a package, as graphs: read as data from anywhere, verified before use."""

from __future__ import annotations

from bnncc.codegen.package import NN_IR, Package
from bnncc.diagnostics import DataError
from bnncc.ir.graph import digest_of, freeze
from bnncc.ir.nn import NnGraph
from bnncc.ir.text import parse_nn
from bnncc.ir.verify import verify_nn


def graph_of(package: Package) -> NnGraph:
    """Return the nn graph of ``package``, its weights bound.

    Raises:
        DataError: IR and weights are broken or do not fit together.
    """
    arrays = [freeze(array) for array in package.weights.values()]
    constants = {digest_of(array): array for array in arrays}
    texts = {source.name: source.text for source in package.sources}
    graph = parse_nn(package.text(NN_IR), constants, texts)
    unbound = [ref.name for ref in graph.const_refs() if ref.digest not in constants]
    if unbound:
        raise DataError(f"'{package.label}': the weights '{unbound[0]}' are not those the IR was made with")
    if problems := verify_nn(graph):
        raise DataError(f"'{package.label}': the IR inside is not valid: {problems[0]}")
    inputs = tuple((value.name, value.type) for value in graph.inputs)
    if inputs != tuple((port.name, port.type) for port in package.manifest.inputs):
        raise DataError(f"'{package.label}': the manifest and the IR name different inputs")
    return graph
