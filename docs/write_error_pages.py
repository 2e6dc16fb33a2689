"""Write the pages in ``docs/errors`` anew: ``python docs/write_error_pages.py``."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import bnncc
from bnncc._files import write_atomically
from bnncc.diagnostics import Diagnostic
from bnncc.diagnostics.pages import pages

# What needs torch or a GPU to be imported reports no diagnostics.
WITHOUT_DIAGNOSTICS = ("bnncc.training", "bnncc.runtime", "bnncc.cli", "bnncc.__main__")


def all_pages() -> dict[str, str]:
    """Return the page of every diagnostic of the package, by file name."""
    for module in pkgutil.walk_packages(bnncc.__path__, "bnncc."):
        if not module.name.startswith(WITHOUT_DIAGNOSTICS):
            importlib.import_module(module.name)
    return pages(s for s in Diagnostic.__subclasses__() if s.__module__.startswith("bnncc."))


def main() -> None:
    """Write them."""
    folder = Path(__file__).resolve().parent / "errors"
    found = all_pages()
    for name, text in found.items():
        write_atomically(folder / name, text)
    for path in folder.glob("*.md"):
        if path.name not in found:
            path.unlink()
    sys.stdout.write(f"{folder}: {len(found)} pages\n")


if __name__ == "__main__":
    main()
