"""``run``, ``eval``, ``verify``: a package on real inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnncc.cli.options import (
    Data,
    DataDir,
    Define,
    Diagnostics,
    DiagnosticsFormat,
    Download,
    Json,
    PackageFile,
    RunFuse,
    Seed,
    Trust,
    Weights,
    parse_list,
    parse_overrides,
)
from bnncc.cli.scoring import BackendName
from bnncc.cli.talk import emit, emit_json, progress_bar, say, warn

if TYPE_CHECKING:
    from bnncc.cli.scoring import Array, Scored
    from bnncc.codegen.package import Package
    from bnncc.data.dataset import Split

RUN_BACKENDS = ("auto", "ref", "c", "cuda", "emulator")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel="Use")(run)
    app.command("eval", rich_help_panel="Train")(evaluate)
    app.command(rich_help_panel="Use")(verify)


def run(
    package: PackageFile,
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input", metavar="[NAME=]FILE", help="An .npy array or a picture; NAME= for several inputs."
        ),
    ],
    output: Annotated[Path | None, typer.Option(metavar="FILE.npy", help="Write the result as .npy.")] = None,
    backend: Annotated[str, typer.Option(help=", ".join(RUN_BACKENDS))] = "auto",
    fuse: RunFuse = None,
    *,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Run a package on a picture or an array."""
    from bnncc.cli.read_input import read_named_inputs
    from bnncc.codegen.package import Package
    from bnncc.runtime.session import Session

    (chosen,) = parse_list(backend, RUN_BACKENDS, "--backend")
    with Session(Package.load(package), chosen, trust=trust, fuse=fuse) as session:
        _warn_if_untrained(session.package)
        given = read_named_inputs(inputs, session.graph.inputs)
        result = session(**given)
        say(f"backend: {session.backend.value}")
    results: dict[str, Array] = (
        result if isinstance(result, dict) else {session.graph.outputs[0].name: result}
    )
    if output is not None:
        _write_npy(output, results)
        return
    for name, array in results.items():
        if as_json:
            emit_json({"output": name, "shape": list(array.shape), "values": array.tolist()})
        else:
            _print_result(name, array)


def _print_result(name: str, array: Array) -> None:
    import numpy as np

    rows = array.reshape(1, -1) if array.ndim == 1 else array.reshape(len(array), -1)
    for index, row in enumerate(rows):
        values = " ".join(f"{value:g}" for value in row)
        where = "" if len(rows) == 1 else f" {index}"
        emit(f"{name}{where}: class {int(np.argmax(row))}  [{values}]")


def _write_npy(path: Path, results: dict[str, Array]) -> None:
    import io

    import numpy as np

    from bnncc._files import write_atomically

    for name, array in results.items():
        place = path if len(results) == 1 else path.with_name(f"{path.stem}-{name}{path.suffix}")
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        write_atomically(place, stream.getvalue())
        say(f"wrote {place}")


def evaluate(  # noqa: PLR0913 - the options of the command
    model: Annotated[
        Path, typer.Argument(metavar="PKG|MODEL.bnn", help="A package, or a network and --weights.")
    ],
    data: Data,
    backend: Annotated[BackendName, typer.Option(help="Where the network runs.")] = BackendName.C,
    weights: Weights = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N test images.")] = None,
    data_dir: DataDir = None,
    define: Define = None,
    *,
    download: Download = True,
    trust: Trust = False,
    as_json: Json = False,
    diagnostics: Diagnostics = DiagnosticsFormat.TEXT,  # noqa: ARG001 - read by its callback
) -> None:
    """Print the accuracy on the test images, and how many there were."""
    from bnncc.cli.scoring import accuracy, score

    package = open_network(model, weights, parse_overrides(define))
    _warn_if_untrained(package)
    split = test_images(data, data_dir, limit, download=download)
    with progress_bar(f"{backend.value}", len(split)) as advance:
        scored = score(package, backend, _as_inputs(package, split), trust=trust, progress=advance)
    found = accuracy(next(iter(scored.outputs.values())), split.labels)
    if as_json:
        row = {
            "accuracy": found,
            "n": len(split),
            "backend": backend.value,
            "seconds": round(scored.seconds, 4),
        }
        emit_json(row)
    else:
        emit(f"accuracy {100 * found:.2f} %  n {len(split)}  backend {backend.value}")
        say(f"{scored.seconds:.2f} s")


def verify(  # noqa: PLR0913 - the options of the command
    package: PackageFile,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME|DIR", help="Test images; else random.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many images.")] = 64,
    against: Annotated[
        str | None, typer.Option(metavar="LIST", help="Backends to compare; else all that work here.")
    ] = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    *,
    download: Download = True,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Prove that all backends compute the same bits; exit 3 at the first difference, naming it."""
    from bnncc.cli.scoring import allowed_difference, require_equal, score
    from bnncc.codegen.package import Package
    from bnncc.runtime.contents import graph_of
    from bnncc.runtime.random_inputs import random_inputs

    found = Package.load(package)
    if data is None:
        inputs = random_inputs(graph_of(found), samples, seed)
    else:
        inputs = _as_inputs(found, test_images(data, data_dir, samples, download=download))
    count = len(next(iter(inputs.values())))
    runs: list[Scored] = []
    allowed: dict[str, float] = {}
    for backend in _backends_to_compare(found, against):
        with progress_bar(backend.value, count) as advance:
            runs.append(score(found, backend, inputs, trust=trust, progress=advance))
        allowed[backend.value] = allowed_difference(found, backend)
        require_equal(runs[0], runs[-1], max(allowed[runs[0].backend.value], allowed[backend.value]))
    loose = {name: limit for name, limit in allowed.items() if limit}
    exact = [name for name in allowed if name not in loose]
    if as_json:
        emit_json({"equal": True, "backends": list(allowed), "n": count, "allowed": allowed})
    else:
        near = "".join(f"; {name} within {limit:.1e}" for name, limit in loose.items())
        emit(f"equal: {' = '.join(exact)} on {count} images{near}")


def _backends_to_compare(package: Package, against: str | None) -> tuple[BackendName, ...]:
    from bnncc.cli.scoring import available

    if against is not None:
        return tuple(BackendName(name) for name in parse_list(against, list(BackendName), "--against"))
    good, lacking = available(package)
    for name, why in lacking.items():
        say(f"without {name.value}: {why}")
    # The reference comes first: it is the judge.
    return tuple(sorted(good, key=lambda name: name is not BackendName.REF))


def open_network(path: Path, weights: Path | None, overrides: dict[str, str]) -> Package:
    """Return the package in ``path``, or what the network in it compiles to, without any target."""
    from bnncc.codegen.package import SUFFIX, Package
    from bnncc.driver import CompileOptions, compile_network

    if path.suffix == SUFFIX:
        if weights is not None or overrides:
            raise typer.BadParameter(
                "a package has its weights and parameters inside", param_hint="--weights, -D"
            )
        return Package.load(path)
    return compile_network(path, CompileOptions(weights=weights, overrides=overrides, targets=()))


def test_images(data: str, data_dir: Path | None, limit: int | None, *, download: bool) -> Split:
    """Return the first ``limit`` test images of a data set (all where it is None)."""
    from bnncc.data.dataset import Split
    from bnncc.data.load import load_dataset

    dataset = load_dataset(data, data_dir, download=download)
    for note in dataset.notes:
        say(f"{dataset.name}: {note}")
    test = dataset.test
    return Split(images=test.images[:limit], labels=test.labels[:limit])


def _as_inputs(package: Package, split: Split) -> dict[str, Any]:
    from bnncc.diagnostics import DataError
    from bnncc.runtime.arrays import fit_images

    ports = package.manifest.inputs
    if len(ports) != 1:
        raise DataError(f"'{package.manifest.network}' has {len(ports)} inputs; images are one")
    return {ports[0].name: fit_images(split.images, ports[0].type, package.manifest.network)}


def _warn_if_untrained(package: Package) -> None:
    if not package.manifest.weights.is_trained:
        warn("the weights of this network are random: it is untrained")
