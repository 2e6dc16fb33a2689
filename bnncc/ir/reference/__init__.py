"""The executable meaning of the IR, in NumPy: the judge of every pass and every target."""

from bnncc.ir.reference.bit_level import evaluate_bit, trace_bit
from bnncc.ir.reference.nn_level import evaluate_nn, trace_nn
from bnncc.ir.reference.sums import bit_plane_sums
from bnncc.ir.reference.values import Tensor, to_f32

__all__ = ["Tensor", "bit_plane_sums", "evaluate_bit", "evaluate_nn", "to_f32", "trace_bit", "trace_nn"]
