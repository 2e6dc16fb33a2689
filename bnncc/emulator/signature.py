"""What a launch must know of a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter: its PTX kind (``u``, ``b``, ``s``, ``f``), size, and place in the parameter buffer."""

    name: str
    kind: str
    size_bytes: int
    offset: int
    is_array: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSignature:
    """A kernel of a module.

    Args:
        max_threads: ``__launch_bounds__``, empty where there are none.
        required_threads: ``__block_size__``, empty where there is none.
        granularity: width in bytes of its narrowest access to shared memory.
        global_granularity: the same of global memory; at most 4.
    """

    name: str
    symbol: str
    parameters: tuple[Parameter, ...]
    parameter_bytes: int
    static_shared_bytes: int
    local_bytes: int
    stack_bytes: int
    granularity: int
    global_granularity: int
    max_threads: tuple[int, ...]
    required_threads: tuple[int, ...]


def kernel_signature(described: dict[str, Any]) -> KernelSignature:
    """Return the signature that ``translate_module`` described."""
    return KernelSignature(
        name=described["name"],
        symbol=described["symbol"],
        parameters=tuple(
            Parameter(
                name=item["name"],
                kind=item["kind"],
                size_bytes=item["bytes"],
                offset=item["offset"],
                is_array=item["is_array"],
            )
            for item in described["parameters"]
        ),
        parameter_bytes=described["parameter_bytes"],
        static_shared_bytes=described["static_shared_bytes"],
        local_bytes=described["local_bytes"],
        stack_bytes=described["stack_bytes"],
        granularity=described["granularity"],
        global_granularity=described["global_granularity"],
        max_threads=tuple(described["max_threads"]),
        required_threads=tuple(described["required_threads"]),
    )
