"""The text form of graphs: for dumps, packages and goldens; it round-trips."""

from bnncc.ir.text.parser import parse_bit, parse_kernel, parse_nn
from bnncc.ir.text.printer import print_graph, print_node

__all__ = ["parse_bit", "parse_kernel", "parse_nn", "print_graph", "print_node"]
