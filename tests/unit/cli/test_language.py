"""``check``, ``fmt``, ``summary``, ``new``."""

from __future__ import annotations

import json

import pytest


def test_check_good(bnncc) -> None:
    result = bnncc("check", "tiny.bnn")
    assert (result.code, result.out) == (0, "")
    assert "good" in result.err


def test_check_reports_every_file(bnncc, folder) -> None:
    (folder / "other.bnn").write_text("network { }\n")
    result = bnncc("check", "broken.bnn", "tiny.bnn", "other.bnn")
    assert result.code == 1
    assert "broken.bnn:3:12" in result.err
    assert "other.bnn:1:" in result.err
    assert result.out == ""


def test_check_as_json(bnncc) -> None:
    result = bnncc("check", "broken.bnn", "--diagnostics-format", "json")
    assert result.code == 1
    (found,) = json.loads(result.out)
    assert found["file"] == "broken.bnn"
    assert found["start"] == {"line": 3, "column": 12}
    good = bnncc("check", "tiny.bnn", "--diagnostics-format", "json")
    assert json.loads(good.out) == []


def test_check_with_parameters(bnncc) -> None:
    assert bnncc("check", "tiny.bnn", "-D", "width=7").code == 0
    assert bnncc("check", "tiny.bnn", "-D", "wide=7").code == 1
    assert bnncc("check", "tiny.bnn", "-D", "width=x(").code == 1


def test_missing_file_is_bad_data(bnncc) -> None:
    result = bnncc("check", "no.bnn")
    assert result.code == 5
    assert "no.bnn" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("nothing",),
        ("check", "tiny.bnn", "--nothing"),
        ("summary",),
        ("new", "a b"),
        ("new", "1a"),
    ],
)
def test_usage_errors(bnncc, arguments) -> None:
    assert bnncc(*arguments).code == 2


def test_fmt_writes_once_and_keeps_comments(bnncc, folder) -> None:
    path = folder / "tiny.bnn"
    path.write_text(path.read_text().replace("  input", "      input").replace("-> conv", "->conv"))
    assert bnncc("fmt", "--check", "tiny.bnn").code == 1
    assert bnncc("fmt", "tiny.bnn").code == 0
    text = path.read_text()
    assert "\n  input" in text
    assert "# Two layers" in text
    assert bnncc("fmt", "--check", "tiny.bnn").code == 0
    assert bnncc("fmt", "tiny.bnn").err == ""
    assert path.read_text() == text


def test_fmt_of_a_broken_file_writes_nothing(bnncc, folder) -> None:
    (folder / "broken.bnn").write_text("network {")
    assert bnncc("fmt", "broken.bnn").code == 1
    assert (folder / "broken.bnn").read_text() == "network {"


def test_summary(bnncc) -> None:
    result = bnncc("summary", "tiny.bnn")
    assert result.code == 0
    assert "conv1" in result.out
    found = json.loads(bnncc("summary", "tiny.bnn", "--json").out)
    assert found["binary_parameters"] == 20 * 9 + 20 * 16 * 10
    narrow = json.loads(bnncc("summary", "tiny.bnn", "--json", "-D", "width=1").out)
    assert narrow["binary_parameters"] == 9 + 160


@pytest.mark.parametrize("template", ["mlp", "cnn"])
def test_new_gives_a_good_network(bnncc, folder, template) -> None:
    result = bnncc("new", "mine", "--template", template)
    assert (result.code, result.out) == (0, "mine.bnn\n")
    assert "network mine" in (folder / "mine.bnn").read_text()
    assert bnncc("check", "mine.bnn").code == 0
    assert bnncc("new", "mine").code == 2


def test_help_of_every_command(bnncc) -> None:
    from bnncc.cli.main import MODULES

    assert bnncc("--help").code == 0
    for command in MODULES:
        assert bnncc(command, "--help").code == 0, command


def test_version(bnncc) -> None:
    from bnncc import __version__

    assert bnncc("--version").out == f"bnncc {__version__}\n"
