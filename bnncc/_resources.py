"""Where the grammar, the templates and the examples lie, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

ResourceKind = Literal["grammar", "templates", "examples"]


def resource_dir(kind: ResourceKind) -> Path:
    """Return the folder of ``kind``: inside an installed wheel, else beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / kind
    return installed if installed.is_dir() else package.parent / kind
