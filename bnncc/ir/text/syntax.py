"""The names that the text form gives to operations and to nested dataclasses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeVar, get_args

from bnncc.ir.graph import Node

NodeT = TypeVar("NodeT", bound=Node)

BARE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]*")


def snake_name(cls: type) -> str:
    """Return ``max_pool2d`` for ``MaxPool2d``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


def op_name(cls: type) -> str:
    """Return ``bit.max_pool2d``: the level that defines the operation, and its name."""
    return f"{cls.__module__.rsplit('.', 1)[-1]}.{snake_name(cls)}"


def operations(union: object) -> Mapping[str, type[Node]]:
    """Return the members of a closed union of operations by the name the text gives them."""
    return {op_name(cls): cls for cls in get_args(union)}
