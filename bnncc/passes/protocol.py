"""What a pass is."""

from __future__ import annotations

from typing import ClassVar, Protocol, TypeVar

In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Pass(Protocol[In_contra, Out_co]):
    """A pure function from graph to graph. Implementations are frozen dataclasses; fields are options."""

    name: ClassVar[str]

    def run(self, graph: In_contra) -> Out_co:
        """Return the new graph; the same object where nothing applied."""
