"""What a layer has to compute, as text: layers of the same text take the same time."""

from __future__ import annotations

from bnncc.ir import kernel


def problem_text(node: kernel.XnorLayer | kernel.IntegerLayer) -> str:
    """Return what decides how fast a layer is: its kind, shapes, window, and how it stores."""
    window, store = node.window, node.store
    parts = [
        f"{type(node).__name__} {node.x.type} to {node.outputs}",
        f"kernel {_by(window.kernel)} stride {_by(window.stride)} dilation {_by(window.dilation)}",
        f"padding {_by(window.padding)}",
        type(store).__name__,
    ]
    if isinstance(node, kernel.IntegerLayer) and node.is_tabled:
        parts.append("tables")
    if store.border is not None:
        parts.append(f"{store.border.classes} border classes")
    if isinstance(store, kernel.StoreSigns) and store.pool is not None:
        pool = store.pool
        parts.append(f"pool {_by(pool.kernel)} stride {_by(pool.stride)} padding {_by(pool.padding)}")
    return ", ".join(parts)


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))
