"""A child process that runs kernels, so that a crash or an endless loop ends only the child."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from bnncc.diagnostics import InternalError
from bnncc.emulator import engine
from bnncc.emulator.build import BuiltModule

_START_TIMEOUT_S: Final = 60.0


class ChildLostError(Exception):
    """The child is gone: it crashed, or it was ended because its time was over.

    Args:
        reason: what happened, for people.
        is_timeout: whether its time was over.
    """

    def __init__(self, reason: str, *, is_timeout: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_timeout = is_timeout


class Child:
    """One child process that has a module loaded."""

    def __init__(self, built: BuiltModule) -> None:
        self._link, theirs = socket.socketpair()
        with theirs:
            # Its own session: Ctrl-C reaches the parent only, which then ends the child.
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(Path(engine.__file__)),
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.mapped: object = None
        self.mapped_version: object = None
        load = {
            "runtime": str(built.runtime),
            "module": str(built.library),
            "variables": built.description["variables"],
        }
        self.ask(load, timeout_s=_START_TIMEOUT_S)

    @property
    def is_alive(self) -> bool:
        """Return whether it can be asked."""
        return self._process.poll() is None

    def ask(
        self, message: dict[str, Any], blob: bytes = b"", *, timeout_s: float, file: int | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Return the answer to ``message``.

        Raises:
            ChildLostError: it crashed, or gave no answer in time and was ended.
        """
        try:
            self._link.settimeout(timeout_s)
            engine.send(self._link, message, blob)
            if file is not None:
                socket.send_fds(self._link, [b"f"], [file])
            return engine.receive(self._link)
        except TimeoutError as error:
            self.close()
            raise ChildLostError(f"no answer in {timeout_s:.0f} s", is_timeout=True) from error
        except (EOFError, OSError) as error:
            self.close()
            raise ChildLostError(_death(self._process.returncode), is_timeout=False) from error
        except BaseException:  # Ctrl-C in the middle of an answer leaves the link unusable
            self.close()
            raise

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._link.close()


def _death(status: int) -> str:
    if status < 0:
        return f"the emulated kernel ended its process with {signal.Signals(-status).name}"
    return f"the process that runs kernels ended with status {status}"


class InProcess:
    """The same questions answered in this process: for debuggers; a crash is a crash."""

    def __init__(self, built: BuiltModule) -> None:
        self._engine = engine.Engine(str(built.runtime), str(built.library), built.description["variables"])
        self.mapped: object = None
        self.mapped_version: object = None
        self.is_alive = True

    def ask(
        self, message: dict[str, Any], blob: bytes = b"", *, timeout_s: float, file: int | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Return the answer to ``message``."""
        del timeout_s
        match message["do"]:
            case "map":
                if file is None:
                    raise InternalError("a mapping without a file")
                return {"ok": self._engine.map(file, message["base"], message["bytes"])}, b""
            case "buffers":
                self._engine.set_buffers(message["ranges"])
                return {}, b""
            case "read":
                return {}, self._engine.read_variable(message["symbol"], message["bytes"])
            case "write":
                self._engine.write_variable(message["symbol"], blob)
                return {}, b""
            case _:
                return self._engine.launch(message["request"], blob), b""

    def close(self) -> None:
        """Do nothing: libraries stay loaded."""
