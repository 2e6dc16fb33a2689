"""Products of -1 and +1 in PyTorch: fp32, bf16, fp16, int8, fp8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.driver import Rows
from benchmarks.gpu_check.measure import Stopwatch
from benchmarks.gpu_check.operands import CHECKED_ROWS, SIZES, Operands, signs_of
from benchmarks.gpu_check.torch_networks import captured

Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to multiply ``a`` and ``b.T``."""

    who: str
    dtype: torch.dtype
    stores: str
    product: Product
    is_rounded: bool = False


def _matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b.T


def _int_mm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch._int_mm(a, b.T)  # noqa: SLF001 - the only int8 product that torch has


def _scaled_mm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    one = torch.ones((), device=a.device)
    return torch._scaled_mm(a, b.T, one, one, out_dtype=torch.bfloat16)  # noqa: SLF001 - the only fp8 product that torch has


PEERS: Final = (
    Peer("cuBLAS int8", torch.int8, "i32", _int_mm),
    Peer("cuBLAS fp8", torch.float8_e4m3fn, "bf16", _scaled_mm, is_rounded=True),
    Peer("cuBLAS bf16", torch.bfloat16, "bf16", _matmul, is_rounded=True),
    Peer("cuBLAS fp16", torch.float16, "fp16", _matmul),
    Peer("cuBLAS fp32", torch.float32, "f32", _matmul),
)


def time_torch(machine: Machine) -> Rows:
    """Time every product of every size; each is first compared with NumPy."""
    if not torch.cuda.is_available():
        yield {"who": "torch", "result": "not measured: this torch has no CUDA"}
        return
    for size in SIZES:
        operands = Operands(size)
        a = [torch.from_numpy(signs_of(words)).cuda() for words in operands.a_words]
        b = torch.from_numpy(signs_of(operands.b_words)).cuda()
        for peer in PEERS:
            prepared = [x.to(peer.dtype) for x in a]
            yield measured(machine, operands, peer, (prepared, b.to(peer.dtype)))


def measured(
    machine: Machine, operands: Operands, peer: Peer, matrices: tuple[list[torch.Tensor], torch.Tensor]
) -> dict[str, Any]:
    """Return the row of one peer, whatever becomes of it."""
    try:
        rows, columns = matrices
        stream = torch.cuda.Stream(device=machine.index)
        made = [captured(partial(_swapped, peer.product, columns), x, stream) for x in rows]
        timing = Stopwatch(machine, stream.cuda_stream).time([call for call, _ in made])
        found = made[0][1][:CHECKED_ROWS].float().cpu().numpy().astype(np.int32)
        row = operands.row(peer.who, "graph", peer.stores, timing)
        return {**row, "result": operands.verdict(found, 0, is_rounded=peer.is_rounded)}
    except Exception as error:  # noqa: BLE001 - a peer that cannot run is a row that says so
        return {
            "size": operands.size,
            "who": peer.who,
            "result": f"not measured: {type(error).__name__}: {error}"[:600],
        }


def _swapped(product: Product, columns: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return product(rows, columns)
