"""The whole path on real handwritten digits: train, compile, prove all backends equal, measure.

Nothing is downloaded. Run it with ``make demo``, or ``python examples/demo.py`` where bnncc is installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

import bnncc
from bnncc.cli.measuring import Timing, measure
from bnncc.cli.running import test_images
from bnncc.cli.scoring import BackendName, Scored, accuracy, available, require_equal, score
from bnncc.cli.talk import progress_bar
from bnncc.cli.training import watching
from bnncc.codegen.package import Package
from bnncc.data.dataset import Images

MODEL = Path(__file__).resolve().parent / "digits.bnn"
OUTPUT = Path("build") / "demo"
BATCHES = (1, 64)
console = Console(highlight=False)


def main() -> None:
    """Show the whole path."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    os.chdir(OUTPUT)
    _heading(f"1. The network: {MODEL.name}")
    console.print(MODEL.read_text(encoding="utf-8").strip(), style="dim", markup=False, soft_wrap=True)

    _heading("2. Training in PyTorch, on 1,437 digits")
    with watching() as observer:
        result = bnncc.train(MODEL, "digits", observer=observer)

    _heading("3. Compiling to one file: bits, C and CUDA")
    package = bnncc.compile(MODEL, result)
    package.save("digits.bnnpkg")
    sources = [_written(package, name) for name in package.names("src/")]
    console.print(f"{OUTPUT / 'digits.bnnpkg'}: {len(package.to_bytes()):,} bytes")

    _heading("4. Proving all backends equal, on every test image")
    test = test_images("digits", None, None, download=False)
    runs = _all_scores(package, test.images)
    table = Table(box=None, header_style="bold")
    for title in ("backend", "accuracy", "images", "scores"):
        table.add_column(title)
    for run in runs:
        found = accuracy(run.outputs["scores"], test.labels)
        table.add_row(_title(run.backend), f"{found:.2%}", str(len(test)), "equal, bit for bit")
    console.print(table)

    _heading("5. What it gains")
    console.print(_gains(package, test.images))
    _heading("6. What to read")
    for path in sources:
        console.print(f"{OUTPUT / path}")
    console.print(f"[bold]bnncc inspect {OUTPUT / 'digits.bnnpkg'} --view cuda[/]   (or c, ptx, ir, dsl)")


def _heading(text: str) -> None:
    console.print(f"\n[bold cyan]{text}[/]")


def _title(backend: BackendName) -> str:
    match backend:
        case BackendName.REF:
            return "reference (NumPy)"
        case BackendName.TORCH:
            return "torch, eval()"
        case BackendName.C:
            return "generated C"
        case BackendName.CUDA:
            return "generated CUDA, on the GPU"
        case BackendName.EMULATOR:
            return "generated CUDA, executed on the CPU"


def _written(package: Package, name: str) -> Path:
    path = Path(Path(name).name)
    path.write_bytes(package.entry(name))
    return path


def _all_scores(package: Package, images: Images) -> list[Scored]:
    """Return the scores of every backend that works here; they are compared on the way."""
    backends, lacking = available(package)
    for name, why in lacking.items():
        reason = why.splitlines()[0]
        console.print(f"not here: {_title(name)}: {reason}", style="dim", markup=False, soft_wrap=True)
    runs: list[Scored] = []
    for backend in sorted(backends, key=lambda name: name is not BackendName.REF):
        with progress_bar(_title(backend), len(images)) as advance:
            runs.append(score(package, backend, {"image": images}, progress=advance))
        require_equal(runs[0], runs[-1])
    return runs


def _gains(package: Package, images: Images) -> Table:
    from bnncc.training.float_twin import float_twin

    manifest = package.manifest
    table = Table(box=None, header_style="bold")
    for title in ("", "binary network", "the same in float32", "ratio"):
        table.add_column(title, justify="right")
    session = bnncc.Session(package, "c")
    weights = [(ref.type.elem.value, ref.type.count) for ref in session.graph.const_refs()]
    packed = sum(count if elem == "sign" else 32 * count for elem, count in weights)
    full = sum(32 * count for _, count in weights)
    table.add_row("weights", f"{packed:,} bits", f"{full:,} bits", f"{full / packed:.1f} x")
    baseline = float_twin(session.graph, threads=1)
    for batch in BATCHES:
        own = measure(lambda x: session.run({manifest.inputs[0].name: x}), images[:batch], 0.5)
        other = measure(baseline, images[:batch], 0.5)
        label = f"one image, batches of {batch}, one thread"
        table.add_row(label, _time(own), _time(other), f"{other.us_per_image / own.us_per_image:.1f} x")
    session.close()
    return table


def _time(timing: Timing) -> str:
    return f"{timing.us_per_image:.2f} us"


if __name__ == "__main__":
    try:
        main()
    except bnncc.BnnccError as error:
        console.print(f"[bold red]error[/]: {error}")
        sys.exit(error.exit_code)
