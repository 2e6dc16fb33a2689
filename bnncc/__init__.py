"""bnncc: a compiler for binarized neural networks.

Example:
    >>> import bnncc
    >>> model = bnncc.load("examples/digits.bnn", hidden=64)  # doctest: +SKIP
    >>> result = bnncc.train(model, "digits", epochs=2)  # doctest: +SKIP
    >>> package = bnncc.compile(model, result)  # doctest: +SKIP
    >>> scores = bnncc.Session(package)(images)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bnncc._version import __version__

if TYPE_CHECKING:
    from bnncc.api import Model, Trained, compile, load, train  # noqa: A004 - the API's verb
    from bnncc.codegen.package import Package
    from bnncc.diagnostics import BnnccError
    from bnncc.runtime.session import Session

__all__ = ["BnnccError", "Model", "Package", "Session", "Trained", "__version__", "compile", "load", "train"]

_HOMES: Final = {
    "BnnccError": "bnncc.diagnostics",
    "Model": "bnncc.api",
    "Package": "bnncc.codegen.package",
    "Session": "bnncc.runtime.session",
    "Trained": "bnncc.api",
    "compile": "bnncc.api",
    "load": "bnncc.api",
    "train": "bnncc.api",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of the names above
    """Return a part of the API; it is imported only when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bnncc' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
