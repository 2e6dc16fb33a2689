"""The memory that this process occupies, as Linux counts it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_RESTART_PEAK: Final = "5"


def restart_peak() -> int:
    """Return the bytes resident now, from which `peak_bytes` counts; 0 where the system does not tell."""
    try:
        _CLEAR.write_text(_RESTART_PEAK, encoding="ascii")
    except OSError:
        return 0
    return _field("VmRSS")


def peak_bytes() -> int:
    """Return the most bytes that were resident since `restart_peak`; 0 where the system does not tell."""
    return _field("VmHWM")


def _field(name: str) -> int:
    with suppress(OSError, ValueError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    return 0
