"""Named bytes as one file: a zip archive that is the same for the same content, and is safe to open."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Mapping
from typing import Final

from bnncc.diagnostics import DataError

MAX_ENTRIES: Final = 4096
MAX_ARCHIVE_BYTES: Final = 4 << 30
_MAX_NAME_CHARS: Final = 240

# The earliest time a zip file can name: archives carry no clock.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3


def write_archive(entries: Mapping[str, bytes]) -> bytes:
    """Return ``entries`` as a zip archive: sorted names, no times, stored without compression.

    Compressed bytes would depend on the zlib of the machine; stored ones cannot be a decompression bomb.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            item = zipfile.ZipInfo(name, date_time=_EPOCH)
            item.create_system = _UNIX
            item.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(item, entries[name])
    return stream.getvalue()


def read_archive(raw: bytes, label: str) -> dict[str, bytes]:
    """Return the entries of the archive ``raw``, none of it written to disk.

    Everything a header claims (number, names, sizes, compression) is judged before any content is read.

    Args:
        raw: the whole file.
        label: what to call it in errors.

    Raises:
        DataError: it is not an archive of this kind, is truncated, or is hostile; names the entry.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            items = archive.infolist()
            _check_headers(items, len(raw), label)
            return {item.filename: archive.read(item) for item in items}
    # A damaged header surfaces as any of these from zipfile, depending on the field.
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
        raise DataError(f"'{label}' is damaged or not a package: {error}") from error
    except (NotImplementedError, IndexError, OverflowError, MemoryError) as error:
        raise DataError(f"'{label}' is damaged or not a package: {error}") from error


def _check_headers(items: list[zipfile.ZipInfo], file_bytes: int, label: str) -> None:
    if len(items) > MAX_ENTRIES:
        raise DataError(f"'{label}' has {len(items)} entries; a package has at most {MAX_ENTRIES}")
    seen: set[str] = set()
    for item in items:
        name = item.filename
        if not is_safe_name(name):
            raise DataError(f"'{label}': the entry name {name[:80]!r} is not allowed in a package")
        if name in seen:
            raise DataError(f"'{label}': the entry '{name}' is there twice")
        seen.add(name)
        if item.flag_bits & 0x1:
            raise DataError(f"'{label}': the entry '{name}' is encrypted")
        if item.compress_type != zipfile.ZIP_STORED or item.compress_size != item.file_size:
            raise DataError(f"'{label}': the entry '{name}' is compressed; packages store their entries")
    claimed = sum(item.file_size for item in items)
    if claimed > file_bytes:
        raise DataError(f"'{label}' claims {claimed} bytes of content and has {file_bytes}")


def is_safe_name(name: str) -> bool:
    """Return whether ``name`` is a plain relative path with forward slashes, e.g. ``src/model.c``."""
    if not name or len(name) > _MAX_NAME_CHARS or not name.isascii() or not name.isprintable():
        return False
    parts = name.split("/")
    return not (set(name) & set('\\:*?"<>|')) and all(part not in {"", ".", ".."} for part in parts)
