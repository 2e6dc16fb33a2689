"""``compile`` and ``passes``: from a network to a package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from bnncc.cli.options import (
    Define,
    Diagnostics,
    DiagnosticsFormat,
    Json,
    Model,
    Seed,
    Weights,
    parse_list,
    parse_overrides,
)
from bnncc.cli.talk import emit, emit_json, err, say, warn

if TYPE_CHECKING:
    from bnncc.cli.watch import Watcher
    from bnncc.codegen.package import Package
    from bnncc.driver import CompileOptions
    from bnncc.targets.cuda.fuse import Fuse
    from bnncc.targets.cuda.select import Tier

TARGETS = ("cuda", "c")

Output: TypeAlias = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="PKG", help="The package; else MODEL.bnnpkg.")
]
Target: TypeAlias = Annotated[str, typer.Option(metavar="LIST", help="cuda, c.")]
Arch: TypeAlias = Annotated[
    str | None, typer.Option(metavar="LIST", help="sm_80,sm_90a: the GPUs to build for.")
]
March: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="The CPU of the C: native, generic, x86-64-v3, ...; dispatch: it chooses when it runs.",
    ),
]
CC: TypeAlias = Annotated[
    str | None,
    typer.Option("--cc", metavar="COMMAND", help="The C compiler; zig: that of pip install ziglang."),
]
TierName: TypeAlias = Annotated[
    str, typer.Option("--tier", metavar="TIER", help="auto, popc, bmma, wgmma, wgmma-registers.")
]
FuseName: TypeAlias = Annotated[
    str,
    typer.Option("--fuse", metavar="WHAT", help="auto, layer, persistent: a launch a layer, or one for all."),
]
EmitTo: TypeAlias = Annotated[
    Path | None, typer.Option("--emit", metavar="DIR", help="Write the generated files here, too.")
]
IsRandom: TypeAlias = Annotated[
    bool, typer.Option("--random-weights", help="Random weights on purpose, drawn from --seed.")
]
PrintAfter: TypeAlias = Annotated[
    str | None, typer.Option("--print-ir-after", metavar="PASS", help="Print the IR after this pass.")
]
PrintAll: TypeAlias = Annotated[
    bool, typer.Option("--print-ir-after-all", help="Print the IR after every pass.")
]
StopAfter: TypeAlias = Annotated[
    str | None, typer.Option(metavar="PASS", help="Stop after this pass; no package is written.")
]
VerifyEach: TypeAlias = Annotated[
    bool, typer.Option("--verify-each", help="Run the reference after every pass, and compare.")
]
Tuned: TypeAlias = Annotated[
    bool, typer.Option("--tuned/--no-tuned", help="Whether measurements of bnncc tune decide.")
]
TimePasses: TypeAlias = Annotated[bool, typer.Option("--time-passes", help="Say how long each pass took.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("compile", rich_help_panel="Compile")(compile_)
    app.command(rich_help_panel="Compile")(passes)


def compile_(  # noqa: PLR0913, PLR0917 - the options of the command
    model: Model,
    output: Output = None,
    weights: Weights = None,
    target: Target = "cuda,c",
    arch: Arch = None,
    march: March = "native",
    cc: CC = None,
    tier: TierName = "auto",
    fuse: FuseName = "auto",
    emit_to: EmitTo = None,
    seed: Seed = 0,
    print_after: PrintAfter = None,
    stop_after: StopAfter = None,
    define: Define = None,
    *,
    is_random: IsRandom = False,
    print_all: PrintAll = False,
    verify_each: VerifyEach = False,
    time_passes: TimePasses = False,
    tuned: Tuned = True,
    as_json: Json = False,
    diagnostics: Diagnostics = DiagnosticsFormat.TEXT,  # noqa: ARG001 - read by its callback
) -> None:
    """Compile a network and its weights to one package: CUDA and C, sources and binaries."""
    from bnncc.cli.watch import VERIFY_IMAGES, Stopped, Watcher
    from bnncc.driver import CompileOptions, compile_network

    options = CompileOptions(
        overrides=parse_overrides(define),
        weights=weights,
        random_seed=seed if is_random else None,
        targets=parse_list(target, TARGETS, "--target"),
        archs=None if arch is None else parse_list(arch, (), "--arch"),
        march=march,
        cc=cc,
        tier=_tier(tier),
        fuse=_fuse(fuse),
        tuned=tuned,
    )
    watcher = Watcher(
        print_after=print_after,
        print_all=print_all,
        stop_after=stop_after,
        is_verifying=verify_each,
        emit=emit,
    )
    try:
        package = compile_network(model, options, watcher)
    except Stopped:
        return
    finally:
        if time_passes:
            _show_times(watcher)
    if verify_each:
        steps = len(watcher.times) - 1
        say(f"verified: each of {steps} steps gives the same outputs on {VERIFY_IMAGES} inputs")
    path = output or Path(f"{model.stem}.bnnpkg")
    package.save(path)
    if emit_to is not None:
        _write_sources(package, emit_to)
    _report(package, path, options, as_json=as_json)


def _tier(name: str) -> Tier:
    from bnncc.targets.cuda.select import Tier

    (word,) = parse_list(name, tuple(Tier), "--tier")[:1]
    return Tier(word)


def _fuse(name: str) -> Fuse:
    from bnncc.targets.cuda.fuse import Fuse

    (word,) = parse_list(name, tuple(Fuse), "--fuse")[:1]
    return Fuse(word)


def passes(*, as_json: Json = False) -> None:
    """List the passes in the order they run."""
    from bnncc.cli.watch import pass_descriptions

    found = pass_descriptions()
    if as_json:
        emit_json(found)
        return
    width = max(map(len, found))
    for name, what in found.items():
        emit(f"{name:{width}}  {what}")


def _show_times(watcher: Watcher) -> None:
    for name, seconds in watcher.times:
        say(f"{1000 * seconds:9.2f} ms  {name}")


def _write_sources(package: Package, folder: Path) -> None:
    from bnncc._files import write_atomically
    from bnncc.runtime.shipping import weight_files

    names = (*package.names("src/"), *package.names("ptx/"), *package.names("cubin/"), *package.names("bin/"))
    files = {Path(name).name: package.entry(name) for name in names} | dict(weight_files(package))
    for name, content in files.items():
        write_atomically(folder / name, content)
    say(f"wrote {len(files)} files to {folder}")


def _report(package: Package, path: Path, options: CompileOptions, *, as_json: bool) -> None:
    import json

    from bnncc.cli.machine_code import add_machine_code
    from bnncc.cli.report_table import report_table
    from bnncc.codegen.package import REPORT

    manifest = package.manifest
    if not manifest.weights.is_trained and options.random_seed is None:
        warn("no weights were found, so random ones went in: this network is untrained (see --weights)")
    elif not manifest.weights.is_trained:
        say(f"random weights (seed {manifest.weights.seed}): this network is untrained")
    for item in manifest.targets:
        for missing in item.missing:
            warn(f"{item.name}: {missing}")
    report = json.loads(package.entry(REPORT))
    if advice := add_machine_code(report, package):
        say(advice)
    if as_json:
        emit_json({"package": str(path), **report})
        return
    err().print(report_table(report))
    emit(str(path))
