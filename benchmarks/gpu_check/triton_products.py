"""Times of the products in Triton."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
import torch

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.driver import Rows
from benchmarks.gpu_check.operands import SIZES, Operands, signs_of
from benchmarks.gpu_check.torch_products import Peer, measured
from benchmarks.gpu_check.triton_kernels import int8_product, popc_product

INT8: Final = Peer("Triton int8", torch.int8, "i32", int8_product)
POPC: Final = Peer("Triton popc", torch.int32, "i32", popc_product)
PORTABLE: Final = Peer(
    "Triton popc, by hand", torch.int32, "i32", partial(popc_product, has_instruction=False)
)


def time_triton(machine: Machine) -> Rows:
    """Time every product of every size; each is first compared with NumPy."""
    if not torch.cuda.is_available():
        yield {"who": "Triton", "result": "not measured: this torch has no CUDA"}
        return
    for size in SIZES:
        operands = Operands(size)
        signs = [torch.from_numpy(signs_of(words)).cuda() for words in operands.a_words]
        yield measured(machine, operands, INT8, (signs, torch.from_numpy(signs_of(operands.b_words)).cuda()))
        words = [torch.from_numpy(array.view(np.int32)).cuda() for array in operands.a_words]
        below = torch.from_numpy(np.ascontiguousarray(operands.b_words.T).view(np.int32)).cuda()
        for peer in (POPC, PORTABLE):
            yield measured(machine, operands, peer, (words, below))
