"""A small network to give to commands, and a way to call them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from bnncc.cli.main import make_app

TINY = """\
# Two layers: enough for every kind of kernel.
network tiny(width = 20) {
  input image: u8[1, 8, 8]
  image -> normalize(scale = 1/8, shift = -1)
    -> conv(width, 3) -> max_pool(2) -> batch_norm -> sign
    -> flatten -> dense(10) -> batch_norm
    -> output scores
}

train {
  epochs 1
  batch 50
}
"""
BROKEN = "network broken {\n  input image: u8[4]\n  image -> dens(10) -> output scores\n}\n"

Call = Callable[..., SimpleNamespace]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``tiny.bnn`` and ``broken.bnn``."""
    (tmp_path / "tiny.bnn").write_text(TINY)
    (tmp_path / "broken.bnn").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


@pytest.fixture
def bnncc(folder: Path) -> Call:
    """Run a command in ``folder``; the result has ``code``, ``out`` and ``err``."""

    def call(*arguments: str) -> SimpleNamespace:
        result = CliRunner().invoke(make_app(), list(arguments), prog_name="bnncc")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return SimpleNamespace(code=result.exit_code, out=result.stdout, err=result.stderr)

    return call


@pytest.fixture
def package(bnncc: Call) -> str:
    """A package of the tiny network, untrained, for C."""
    assert bnncc("compile", "tiny.bnn", "--target", "c", "--random-weights", "--seed", "3").code == 0
    return "tiny.bnnpkg"
