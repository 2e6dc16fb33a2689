"""The part that runs kernels: loads the compiled libraries and calls them.

Runs as a script in the child process, where it must not import anything of this package (so that starting
a child takes some ten milliseconds), or is imported for launches in this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from typing import Any, Final

_HEADER: Final = struct.Struct("<II")
_MAX_FINDINGS: Final = 16
_WATCH_S: Final = 0.2
"""How often a child looks whether its parent still lives."""


class _Range(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_uint64), ("end", ctypes.c_uint64), ("is_read_only", ctypes.c_uint64))


class _Finding(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("line", ctypes.c_uint32),
        ("other_line", ctypes.c_uint32),
        ("other_thread", ctypes.c_int32),
        ("block", ctypes.c_uint32 * 3),
        ("thread", ctypes.c_uint32 * 3),
        ("bytes", ctypes.c_uint32),
        ("in_thread", ctypes.c_uint32),
        ("address", ctypes.c_uint64),
        ("text", ctypes.c_char * 352),
    )


class _Request(ctypes.Structure):
    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("params", ctypes.c_char_p),
        ("sites", ctypes.c_void_p),
        ("seed", ctypes.c_uint64),
        ("timeout_s", ctypes.c_double),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("static_shared_bytes", ctypes.c_uint32),
        ("dynamic_shared_bytes", ctypes.c_uint32),
        ("local_bytes", ctypes.c_uint32),
        ("stack_bytes", ctypes.c_uint32),
        ("granularity", ctypes.c_uint32),
        ("site_count", ctypes.c_uint32),
        ("parameter_bytes", ctypes.c_uint32),
        ("order", ctypes.c_uint32),
        ("is_cooperative", ctypes.c_uint32),
        ("is_copy_late", ctypes.c_uint32),
        ("resident_blocks", ctypes.c_uint32),
        ("global_granularity", ctypes.c_uint32),
    )


_COUNTERS: Final = ("switches", "barriers", "warp_operations", "copies", "blocks", "threads")


class _Result(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint64) for name in _COUNTERS),
        ("is_aborted", ctypes.c_uint32),
        ("finding_count", ctypes.c_uint32),
        ("findings", _Finding * _MAX_FINDINGS),
    )


class Engine:
    """One compiled module and the runtime, loaded into this process.

    Args:
        runtime: path of the runtime library.
        module: path of the module's library.
        variables: its variables, as the translator describes them.
    """

    def __init__(self, runtime: str, module: str, variables: list[dict[str, Any]]) -> None:
        # The module's calls into the runtime are resolved by the global scope of the loader.
        self._runtime = ctypes.CDLL(runtime, mode=ctypes.RTLD_GLOBAL)
        self._module = ctypes.CDLL(module)
        self._variables = variables
        for variable in variables:
            self._runtime.emu_add_variable(
                ctypes.c_uint64(self._address(variable["symbol"])), ctypes.c_uint64(variable["bytes"])
            )

    def _address(self, symbol: str) -> int:
        return ctypes.addressof(ctypes.c_char.in_dll(self._module, symbol))

    def map(self, file: int, base: int, bytes_: int) -> bool:
        """Make the memory behind ``file`` appear at address ``base``; return whether it could be."""
        return not self._runtime.emu_map(file, ctypes.c_uint64(base), ctypes.c_uint64(bytes_))

    def set_buffers(self, ranges: list[list[int]]) -> None:
        """Note which ``[begin, end)`` of the memory are allocated, and whether they may be written."""
        described = [_Range(begin, end, not is_writable) for begin, end, is_writable in ranges]
        table = (_Range * max(1, len(ranges)))(*described)
        self._runtime.emu_set_buffers(table, len(ranges))

    def read_variable(self, symbol: str, bytes_: int) -> bytes:
        """Return the bytes of a variable."""
        return ctypes.string_at(self._address(symbol), bytes_)

    def write_variable(self, symbol: str, content: bytes) -> None:
        """Set the bytes of a variable."""
        ctypes.memmove(self._address(symbol), content, len(content))

    def launch(self, request: dict[str, Any], parameters: bytes) -> dict[str, Any]:
        """Run one kernel to its end; return its counters and findings."""
        numbers = {key: value for key, value in request.items() if key not in ("symbol", "grid", "block")}
        sites = ctypes.c_uint32.in_dll(self._module, "emu_site_count").value
        buffer = ctypes.create_string_buffer(parameters, len(parameters) + 16)
        native = _Request(
            kernel=ctypes.cast(getattr(self._module, request["symbol"]), ctypes.c_void_p),
            params=ctypes.cast(buffer, ctypes.c_char_p),
            sites=self._address("emu_sites"),
            site_count=sites,
            grid=(ctypes.c_uint32 * 3)(*request["grid"]),
            block=(ctypes.c_uint32 * 3)(*request["block"]),
            parameter_bytes=len(parameters),
            **numbers,
        )
        result = _Result()
        self._runtime.emu_run(ctypes.byref(native), ctypes.byref(result))
        return {
            **{name: getattr(result, name) for name in _COUNTERS},
            "findings": [_described(result.findings[i]) for i in range(result.finding_count)],
        }


def _described(finding: _Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "line": finding.line,
        "other_line": finding.other_line,
        "other_thread": finding.other_thread,
        "block": list(finding.block),
        "thread": list(finding.thread) if finding.in_thread else None,
        "text": finding.text.decode(errors="replace"),
    }


def send(link: socket.socket, message: dict[str, Any], blob: bytes = b"") -> None:
    """Send one message: JSON and bytes."""
    text = json.dumps(message).encode()
    link.sendall(_HEADER.pack(len(text), len(blob)) + text + blob)


def receive(link: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Return the next message.

    Raises:
        EOFError: the other side is gone.
    """
    text_bytes, blob_bytes = _HEADER.unpack(_exactly(link, _HEADER.size))
    text = _exactly(link, text_bytes)
    return json.loads(text), _exactly(link, blob_bytes)


def _exactly(link: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = link.recv(count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _answer(
    engine: Engine, link: socket.socket, message: dict[str, Any], blob: bytes
) -> bytes | dict[str, Any]:
    match message["do"]:
        case "map":
            _, files, _, _ = socket.recv_fds(link, 1, 1)
            is_mapped = engine.map(files[0], message["base"], message["bytes"])
            os.close(files[0])
            return {"ok": is_mapped}
        case "buffers":
            engine.set_buffers(message["ranges"])
            return {}
        case "read":
            return engine.read_variable(message["symbol"], message["bytes"])
        case "write":
            engine.write_variable(message["symbol"], blob)
            return {}
        case _:
            return engine.launch(message["request"], blob)


def serve(link: socket.socket) -> None:
    """Answer messages until the other side is gone."""
    try:
        first, _ = receive(link)
        engine = Engine(first["runtime"], first["module"], first["variables"])
        send(link, {})
        while True:
            answer = _answer(engine, link, *receive(link))
            if isinstance(answer, bytes):
                send(link, {}, answer)
            else:
                send(link, answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _die_with_parent(parent: int) -> None:
    # Not prctl(PR_SET_PDEATHSIG): that signal comes when the thread that started this process ends.
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _die_with_parent(int(sys.argv[2]))
    serve(socket.socket(fileno=int(sys.argv[1])))
