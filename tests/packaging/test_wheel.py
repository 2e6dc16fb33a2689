"""A wheel built from the checkout works in an empty environment, far from the checkout."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(folder.glob("*.whl"))


def test_grammar_templates_and_examples_travel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (("grammar", "*.lark"), ("templates", "**/*.j2"), ("examples", "*.bnn")):
        for path in (ROOT / folder).glob(pattern):
            assert f"bnncc/_data/{path.relative_to(ROOT).as_posix()}" in names
    assert not any("tests/" in name or "pycache" in name for name in names)


def test_core_install_compiles_an_example(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    found = subprocess.run(
        [python, "-c", "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('pycuda'))"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert found.stdout.split() == ["None", "None"]
    example = next((tmp_path / "env").glob("lib/python*/site-packages/bnncc/_data/examples/digits.bnn"))
    compiled = subprocess.run(
        [python, "-m", "bnncc", "compile", str(example), "--random-weights", "-o", "digits.bnnpkg"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stderr
    assert (tmp_path / "digits.bnnpkg").stat().st_size > 0
