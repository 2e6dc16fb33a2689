"""A whole module to one C++ translation unit, and what a launch must know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bnncc.emulator.ptx.model import (
    Function,
    Initializer,
    Instruction,
    Integer,
    Location,
    Module,
    PtxError,
    Real,
    ScalarType,
    Symbolic,
    Variable,
)
from bnncc.emulator.translate.function import (
    FunctionOptions,
    global_granularity,
    granularity,
    parameter_offsets,
    signature,
    translate_function,
    walk,
)
from bnncc.emulator.translate.scope import Place, identifier


@dataclass(frozen=True, slots=True)
class TranslatedModule:
    """C++ text, and a description that survives as JSON (read by ``signature.py``)."""

    text: str
    description: dict[str, Any]  # any: plain JSON


def translate_module(module: Module) -> TranslatedModule:
    """Return ``module`` as C++.

    Raises:
        PtxError: anything that is not understood.
    """
    variables = [item for item in module.variables if item.space in ("global", "const")]
    names = {item.name: identifier(item.name) for item in variables}
    places = {
        item.name: Place(item.space, 0, item.size_bytes, f"(u64){names[item.name]}") for item in variables
    }
    functions = [
        function for function in module.functions if not function.is_entry and function.body is not None
    ]
    kernels = [function for function in module.functions if function.is_entry and function.body is not None]
    common = (
        min((granularity(function) for function in (*functions, *kernels)), default=4) if functions else 0
    )
    common_global = min((global_granularity(item) for item in (*functions, *kernels)), default=4)
    texts = [_variable(item, names, module.name) for item in variables]
    texts += [f"{signature(function)};" for function in functions]
    described: list[dict[str, Any]] = []
    local_bytes, stack_bytes, sites = 0, 0, 0
    for function in (*functions, *kernels):
        options = FunctionOptions(
            variables=places,
            functions=frozenset(item.name for item in functions),
            granularity=common,
            global_granularity=common_global if functions else 0,
            first_site=sites,
        )
        done = translate_function(function, module.variables, module.name, options=options)
        sites += done.sites
        texts.append(done.text)
        if not function.is_entry:
            if done.local_bytes:
                raise PtxError("local memory in a device function", name=module.name, line=function.line)
            stack_bytes += done.stack_bytes
            continue
        local_bytes = done.local_bytes
        described.append(
            {
                **_kernel(function),
                "static_shared_bytes": done.shared_bytes,
                "local_bytes": local_bytes,
                "stack_bytes": done.stack_bytes + stack_bytes,
                "granularity": done.granularity,
                "global_granularity": done.global_granularity,
            }
        )
    count = f"extern const u32 emu_site_count; const u32 emu_site_count = {sites};"
    head = f'#include "emu.h"\nextern "C" {{ {count} Range emu_sites[{max(1, sites)}]; }}'
    description = {
        "kernels": described,
        "variables": [
            {"name": item.name, "symbol": names[item.name], "bytes": item.size_bytes} for item in variables
        ],
        "lines": _lines(module),
    }
    return TranslatedModule("\n".join((head, *texts)) + "\n", description)


def _kernel(function: Function) -> dict[str, Any]:
    offsets, size = parameter_offsets(function.parameters)
    return {
        "name": function.name,
        "symbol": f"emu_kernel_{identifier(function.name)}",
        "parameters": [
            {
                "name": item.name,
                "kind": item.type.kind,
                "bytes": item.size_bytes,
                "offset": offset,
                "is_array": item.count != 1 or item.size_bytes != item.type.size_bytes,
            }
            for item, offset in zip(function.parameters, offsets, strict=True)
        ],
        "parameter_bytes": size,
        "max_threads": list(function.max_threads),
        "required_threads": list(function.required_threads),
    }


def _lines(module: Module) -> dict[str, list[Any]]:
    """Return where each PTX line comes from: pairs of PTX line and place, and the places they mean.

    A place is file, line and the number of its caller's place, which comes before it, or -1.
    """
    places: dict[Location, int] = {}
    pairs: list[list[int]] = []
    for function in module.functions:
        pairs += [
            [item.line, _number(item.location, places)]
            for item in walk(function.body or ())
            if isinstance(item, Instruction) and item.location is not None
        ]
    callers = (-1 if place.caller is None else places[place.caller] for place in places)
    described = [[place.file, place.line, caller] for place, caller in zip(places, callers, strict=True)]
    return {"pairs": pairs, "places": described}


def _number(place: Location, places: dict[Location, int]) -> int:
    if place.caller is not None:
        _number(place.caller, places)
    return places.setdefault(place, len(places))


def _variable(item: Variable, names: dict[str, str], module: str) -> str:
    if item.is_extern or item.count is None:
        raise PtxError(f"variable '{item.name}' is defined elsewhere", name=module, line=item.line)
    values = ", ".join(_initial(value, item.type, names, module, item.line) for value in item.values)
    array = f"{item.type.storage} {names[item.name]}[{item.count}] = {{{values}}};"
    return f'extern "C" {{ alignas({max(16, item.align_bytes)}) {array} }}'


def _initial(value: Initializer, kind: ScalarType, names: dict[str, str], module: str, line: int) -> str:
    match value:
        case Integer(value=number):
            return f"{hex(number & ((1 << kind.bits) - 1))}ull"
        case Real(bits=bits):
            return f"{hex(bits)}ull"
        case Symbolic(name=name, offset=offset):
            if name not in names or kind.bits != 64:
                raise PtxError(f"cannot take the address of '{name}'", name=module, line=line)
            return f"(u64){names[name]} + {offset}"
