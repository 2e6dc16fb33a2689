"""Failures become exit codes; starting is light."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bnncc.cli import talk
from bnncc.diagnostics import InternalError, PlatformError, VerificationError
from bnncc.frontend import load


def _process(*arguments: str, code: str | None = None, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnncc", *arguments] if code is None else [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InternalError("oops"), 70),
        (PlatformError("nothing here"), 4),
        (VerificationError("differ"), 3),
        (KeyboardInterrupt(), 130),
        (PermissionError(13, "denied", "x"), 4),
    ],
)
def test_exit_codes(bnncc, monkeypatch, error, code) -> None:
    def fail(*_args: object) -> None:
        raise error

    monkeypatch.setattr(load, "load_network", fail)
    result = bnncc("check", "tiny.bnn")
    assert result.code == code
    assert result.out == ""
    assert "Traceback" not in result.err


def test_an_unexpected_fault_ends_with_70(folder) -> None:
    code = (
        "import sys; from bnncc.frontend import load; load.load_network = lambda *a: 1 // 0\n"
        "from bnncc.cli.main import main; sys.argv = ['bnncc', 'check', 'tiny.bnn']; main()"
    )
    done = _process(code=code)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert "report" in done.stderr


def test_processes_give_exit_codes_and_streams(folder) -> None:
    good = _process("check", "tiny.bnn")
    assert (good.returncode, good.stdout) == (0, "")
    bad = _process("check", "broken.bnn")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "\x1b" not in bad.stderr
    assert _process("check").returncode == 2
    assert _process("check", "no.bnn").returncode == 5
    assert _process("inspect", "tiny.bnn").returncode == 5


def test_a_closed_pipe_is_no_traceback(folder) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bnncc", "passes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("check", "tiny.bnn"),
        ("summary", "tiny.bnn"),
        ("compile", "tiny.bnn", "--target", "c"),
        ("passes",),
        ("doctor",),
    ],
)
def test_torch_and_pycuda_are_not_imported(folder, arguments) -> None:
    code = (
        "import sys; from bnncc.cli.main import main\n"
        f"sys.argv = ['bnncc', *{arguments!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {'torch', 'pycuda', 'cuda.bindings'} & set(sys.modules)"
    )
    done = _process(code=code)
    assert done.returncode == 0, done.stderr


def test_importing_bnncc_imports_nothing_else(folder) -> None:
    heavy = "{'numpy', 'typer', 'rich', 'torch', 'pycuda', 'lark'}"
    code = f"import sys, bnncc; print(sorted({heavy} & set(sys.modules)))"
    assert _process(code=code).stdout == "[]\n"


def test_checking_imports_nothing_that_it_does_not_need(folder) -> None:
    code = (
        "import sys; from bnncc.cli.main import main\n"
        "sys.argv = ['bnncc', 'check', 'tiny.bnn']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'rich', 'lark', 'jinja2', 'safetensors', 'numpy'} & set(sys.modules)))"
    )
    assert _process(code=code).stdout == "[]\n"


def test_doctor(bnncc, monkeypatch) -> None:
    found = json.loads(bnncc("doctor", "--json").out)
    looked_for = {item["what"] for item in found["findings"]}
    assert {"python", "C compiler", "torch", "nvcc", "NVRTC", "nvdisasm", "cuda.bindings"} <= looked_for
    assert "C compiler" in bnncc("doctor").out
    monkeypatch.setenv("CC", "/nonexistent/cc")
    result = bnncc("doctor")
    assert result.code == 4
    assert "/nonexistent/cc" in result.out


def test_colours_only_where_they_belong(monkeypatch, capsys) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not talk.has_colors()
    talk.warn("careful")
    talk.fail("broken")
    captured = capsys.readouterr()
    assert captured.err == "warning: careful\nerror: broken\n"
    assert captured.out == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert talk.has_colors(is_error=True)
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    assert not talk.has_colors(is_error=True)
