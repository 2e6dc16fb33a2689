"""Arguments of ``model.c.j2`` and ``model.h.j2``: the files around the functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from bnncc._resources import resource_dir
from bnncc.codegen.ctext import c_comment
from bnncc.ir.types import Elem, Value
from bnncc.targets.c.artifact import ABI_VERSION, ALIGN_BYTES
from bnncc.targets.c.calls import MOVED_WORK, Run, StepArgs, Unit, port_shape, port_type
from bnncc.targets.c.text import Function
from bnncc.targets.target import SourceFile

HEADERS: Final = ("layers.h", "gather.h", "float.h", "signs.h")
"""The optional headers, in the order in which they are included; each form has its ``lanes_*.h`` before."""

_LEAST_SHARED_WORK: Final = 1 << 22
"""Binary multiply-adds of a step that are worth the microsecond of calling other threads."""

_STORE_TYPES: Final = {"signs": "bnncc_signs", "pooled": "bnncc_signs", "values": "bnncc_values"}
_KINDS: Final = {
    "xnor": "BNNCC_XNOR",
    "dot_u8": "BNNCC_DOT_U8",
    "dot_i8": "BNNCC_DOT_I8",
    "table_u8": "BNNCC_TABLE_U8",
    "table_i8": "BNNCC_TABLE_I8",
}


ABOUT_HEADER: Final = (
    "No function allocates memory, and results depend on arguments only: all may be called from many threads",
    "at once and from within a callback of another run, each run with its own workspace.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceArgs:
    """One layer function: for a kind of product, a kind of store, and a number of vectors of outputs."""

    kind: str
    constant: str
    store: str
    store_type: str
    vectors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArgs:
    """The translation unit; lines are C statements prepared here."""

    template: ClassVar[str] = "c/model.c.j2"
    title: str
    about: tuple[str, ...]
    runtime: tuple[str, ...]
    instances: tuple[InstanceArgs, ...]
    functions: tuple[str, ...]
    prefix: str
    arguments: tuple[str, ...]
    pointers: tuple[str, ...]
    header: str
    form: str
    cpu_flag: str
    setup: tuple[str, ...]
    values: tuple[str, ...]
    unused: tuple[str, ...]
    steps: tuple[StepArgs, ...]
    step_count: int
    work: tuple[str, ...]
    least_shared_work: int
    weights_bytes: int
    scratch_bytes: int
    chunk_images: int
    workspace_bytes_per_image: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderArgs:
    """The public header."""

    template: ClassVar[str] = "c/model.h.j2"
    title: str
    about: tuple[str, ...]
    guard: str
    abi_version: int
    prefix: str
    macro_prefix: str
    forms: tuple[str, ...]
    weights_bytes: int
    scratch_bytes: int
    chunk_images: int
    workspace_bytes_per_image: int
    align_bytes: int
    ports: tuple[str, ...]
    arguments: tuple[str, ...]


def model_args(unit: Unit) -> ModelArgs:
    """Return the arguments of the translation unit."""
    program = unit.program
    run = Run.of(unit)
    steps = run.steps()
    return ModelArgs(
        title=unit.title,
        about=_about_source(unit),
        runtime=_runtime(unit),
        instances=_instances(unit.functions),
        functions=tuple(function.text for function in unit.functions),
        prefix=unit.prefix,
        arguments=run.arguments,
        pointers=tuple(name for name, _ in (*run.inputs, *run.outputs)),
        header=unit.header,
        form=unit.form.value,
        cpu_flag=unit.form.cpu_flag,
        setup=run.setup(),
        values=run.values(),
        unused=run.unused(),
        steps=steps,
        step_count=len(steps),
        work=_work_of_steps(unit, run),
        least_shared_work=_LEAST_SHARED_WORK,
        weights_bytes=program.blob_bytes,
        scratch_bytes=unit.scratch_bytes,
        chunk_images=unit.chunk_images,
        workspace_bytes_per_image=program.workspace_bytes_per_image,
    )


def header_args(unit: Unit, weights_bytes: int | None = None) -> HeaderArgs:
    """Return the arguments of the header; ``weights_bytes`` where weights are not of ``unit`` alone."""
    run = Run.of(unit)
    program = unit.program
    blob_bytes = program.blob_bytes if weights_bytes is None else weights_bytes
    described = [f"weights: {blob_bytes} bytes, aligned to {ALIGN_BYTES}; only read."]
    described += [
        c_comment(f"{name}: {port_type(value)}[images]{_dimensions(value)}, {_meaning(value)}.")
        for name, value in (*run.inputs, *run.outputs)
    ]
    return HeaderArgs(
        title=unit.title,
        about=ABOUT_HEADER,
        guard=f"{unit.prefix.upper()}_H",
        abi_version=ABI_VERSION,
        prefix=unit.prefix,
        macro_prefix=unit.prefix.upper(),
        forms=(unit.form.value,),
        weights_bytes=blob_bytes,
        scratch_bytes=unit.scratch_bytes,
        chunk_images=unit.chunk_images,
        workspace_bytes_per_image=program.workspace_bytes_per_image,
        align_bytes=ALIGN_BYTES,
        ports=tuple(described),
        arguments=run.arguments,
    )


def thread_files() -> tuple[SourceFile, ...]:
    """Return ``bnncc_threads.h`` and ``.c``: threads for those who want ours, the same for every network."""
    folder = resource_dir("templates") / "include" / "c" / "threads"
    names = ("bnncc_threads.h", "bnncc_threads.c")
    return tuple(SourceFile(name=name, text=(folder / name).read_text(encoding="utf-8")) for name in names)


def _dimensions(value: Value) -> str:
    return "".join(f"[{size}]" for size in port_shape(value))


def _meaning(value: Value) -> str:
    if value.type.layout.is_packed:
        return f"packed signs of {value.type}"
    axes = {3: "channels, rows, columns", 1: "features"}.get(len(value.type.shape), "row-major")
    return f"signs (-1 or 1), {axes}" if value.type.elem is Elem.SIGN else axes


def _about_source(unit: Unit) -> tuple[str, ...]:
    flags = " ".join(("-std=c11", "-O2", *unit.flags))
    return (
        f"Form: {unit.form.value}. Compile with: cc {flags} -c {unit.source}",
        "(gcc: -O2, not -O3, whose code for the tiles is slower.)",
        "",
        "Signs are packed: bit 1 is +1, bit 0 of a word the lowest channel, pixels are whole 64-bit words",
        "[row][column][channels / 64], unused bits are 0. Weights are in panels of 16 outputs. With K terms,",
        "sum = K - 2 * mismatches; a threshold on sums is a limit on mismatches, found at compile time.",
    )


def _runtime(unit: Unit) -> tuple[str, ...]:
    """Return the hand-written parts that this network uses, in order."""
    used = {header for function in unit.functions for header in function.headers}
    parts = ("base.h", "parts.h", *unit.form.headers, *(header for header in HEADERS if header in used))
    folder = resource_dir("templates") / "include" / "c"
    return tuple((folder / part).read_text(encoding="utf-8") for part in parts)


def _work_of_steps(unit: Unit, run: Run) -> tuple[str, ...]:
    copies = [MOVED_WORK * value.type.count for _, value in run.copied_outputs()]
    return tuple(map(str, (*unit.work, *copies))) or ("0",)


def _instances(functions: tuple[Function, ...]) -> tuple[InstanceArgs, ...]:
    wanted = dict.fromkeys(instance for function in functions for instance in function.instances)
    return tuple(
        InstanceArgs(
            kind=kind, constant=_KINDS[kind], store=store, store_type=_STORE_TYPES[store], vectors=vectors
        )
        for kind, store, vectors in sorted(wanted)
    )
