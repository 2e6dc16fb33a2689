"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from bnncc.diagnostics import DataError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` through a temporary file beside it; folders are made.

    Raises:
        DataError: the file cannot be written.
    """
    raw = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(raw)
            # mkstemp gives 0600; a result is readable as the user's umask says.
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror or error}") from error


def read_bytes(path: Path, what: str) -> bytes:
    """Return the content of ``path``; ``what`` says in the error what it should have been.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no {what} '{path}'") from error
    except OSError as error:
        raise DataError(f"cannot read the {what} '{path}': {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
