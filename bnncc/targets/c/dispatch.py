"""Several forms of a network in one library: a translation unit each, one of them chosen at run time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bnncc.codegen.ctext import c_identifier
from bnncc.codegen.render import render
from bnncc.ir.kernel import KernelProgram
from bnncc.targets.c.artifact import ALIGN_BYTES, CArtifact
from bnncc.targets.c.calls import Run
from bnncc.targets.c.forms import CMachine
from bnncc.targets.c.geometry import align
from bnncc.targets.c.model import ABOUT_HEADER, header_args, thread_files
from bnncc.targets.c.target import CTarget
from bnncc.targets.target import SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class FormArgs:
    """One form: its name, its header, the prefix of its functions, where its weights begin in bytes."""

    name: str
    header: str
    prefix: str
    weights_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchArgs:
    """The translation unit that chooses."""

    template: ClassVar[str] = "c/dispatch.c.j2"
    title: str
    about: tuple[str, ...]
    prefix: str
    macro_prefix: str
    forms: tuple[FormArgs, ...]
    arguments: tuple[str, ...]
    pointers: tuple[str, ...]
    scratch_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One form of a network, before and after emission."""

    machine: CMachine
    program: KernelProgram

    @property
    def target(self) -> CTarget:
        """Return the target that emits it as a part of a library."""
        return CTarget.for_machine(self.machine, part=self.machine.form.value)


def emit_dispatch(parts: tuple[Part, ...]) -> tuple[CArtifact, bytes]:
    """Return the library of ``parts``, the one preferred first, and its weights: those of all parts.

    Parts whose weights have the same bytes share them.
    """
    artifacts = tuple(part.target.emit(part.program) for part in parts)
    blob, places = _weights(tuple(part.program.blob() for part in parts))
    first = parts[0]
    unit = replace(
        first.target.unit(first.program),
        prefix=f"bnncc_{c_identifier(first.program.graph.name)}",
        scratch_bytes=max(item.scratch_bytes for item in artifacts),
        chunk_images=max(item.chunk_images for item in artifacts),
    )
    forms = tuple(
        FormArgs(name=item.forms[0].value, header=_header(item), prefix=item.prefix, weights_at=place)
        for item, place in zip(artifacts, places, strict=True)
    )
    run = Run.of(unit)
    header = replace(
        header_args(unit, weights_bytes=len(blob)),
        about=ABOUT_HEADER,
        forms=tuple(form.name for form in forms),
    )
    source = DispatchArgs(
        title=unit.title,
        about=_about(artifacts),
        prefix=unit.prefix,
        macro_prefix=header.macro_prefix,
        forms=forms,
        arguments=run.arguments,
        pointers=tuple(name for name, _ in (*run.inputs, *run.outputs)),
        scratch_bytes=unit.scratch_bytes,
    )
    shared = {item.name for item in thread_files()}
    artifact = replace(
        artifacts[0],
        files=(
            SourceFile(name="model.c", text=render(source)),
            SourceFile(name="model.h", text=render(header)),
            *(file for item in artifacts for file in item.files if file.name not in shared),
            *thread_files(),
        ),
        prefix=unit.prefix,
        forms=tuple(item.forms[0] for item in artifacts),
        flags=("-ffp-contract=off",),
        own_flags=tuple(
            (_source(item), part.machine.flags) for item, part in zip(artifacts, parts, strict=True)
        ),
        weights_bytes=len(blob),
        chunk_images=unit.chunk_images,
        workspace_bytes_per_image=max(item.workspace_bytes_per_image for item in artifacts),
        scratch_bytes=unit.scratch_bytes,
    )
    return artifact, blob


def _source(artifact: CArtifact) -> str:
    return next(file.name for file in artifact.files if file.name.endswith(".c"))


def _header(artifact: CArtifact) -> str:
    return next(file.name for file in artifact.files if file.name.endswith(".h"))


def _weights(blobs: tuple[bytes, ...]) -> tuple[bytes, tuple[int, ...]]:
    """Return all different ``blobs`` one after another, and where each begins."""
    places: dict[bytes, int] = {}
    joined = b""
    for blob in blobs:
        if blob not in places:
            places[blob] = len(joined)
            joined += blob + bytes(align(len(blob)) - len(blob))
    assert all(place % ALIGN_BYTES == 0 for place in places.values())
    return joined, tuple(places[blob] for blob in blobs)


def _about(artifacts: tuple[CArtifact, ...]) -> tuple[str, ...]:
    commands = (f"  cc {' '.join(('-std=c11', '-O2', *item.flags))} -c {_source(item)}" for item in artifacts)
    return (
        "Chooses among kernels in several forms by what the processor can do. Compile and link all of:",
        *commands,
        "  cc -std=c11 -O2 -c model.c",
    )
