"""Training: the nn graph as a PyTorch module, and the loop around it. The only room that imports torch."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """This package, once imported, takes the name ``bnncc.train`` from the API's function: so it is both."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - those of `bnncc.api.train`
        return import_module("bnncc.api").train(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallablePackage
