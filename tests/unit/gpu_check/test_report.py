"""Arguments, report, goals, advice and verdicts of gpu_check: all that needs no device."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.gpu_check.cutlass import HEADERS_VARIABLE, find_headers
from benchmarks.gpu_check.descriptors import REFUSES, TAKES_THEM, advice
from benchmarks.gpu_check.driver import differing
from benchmarks.gpu_check.goals import goal_rows
from benchmarks.gpu_check.main import main, report_name
from benchmarks.gpu_check.operands import CHECKED_ROWS, Operands, signs_of
from benchmarks.gpu_check.parts import PARTS
from benchmarks.gpu_check.plots import draw_plots
from benchmarks.gpu_check.report import as_markdown, failures, write_report
from benchmarks.gpu_check.sanitizer import verdict
from bnncc.diagnostics import PlatformError

REPORT = {
    "status": {"products": "ended after 3.0 s", "ours": "cut off: its time was over"},
    "parts": {
        "descriptors": [{"case": "ADVICE", "result": TAKES_THEM}],
        "layers": [
            {"case": "dense", "kernels": "popc", "images": 1, "result": "ok"},
            {"case": "dense", "kernels": "popc", "images": 9, "result": "ok"},
            {"case": "conv", "kernels": "bmma", "images": 9, "result": "FAILED: a | b"},
        ],
        "products": [
            {"size": 8192, "who": "bnncc", "kernels": "wgmma", "pops": 10.0, "result": "ok"},
            {"size": 8192, "who": "bnncc", "kernels": "bmma", "pops": 90.0, "result": "FAILED: wrong"},
            {"size": 8192, "who": "CUTLASS b1 and", "kernels": "", "pops": 5.0, "result": "ok"},
            {"size": 8192, "who": "paper_xnor", "kernels": "", "pops": 0.2, "result": "ok"},
            {"size": 8192, "who": "paper_baseline", "kernels": "", "pops": 0.01, "result": "ok"},
        ],
        "ours": [{"network": "mnist_mlp", "images": 1, "who": "bnncc", "device_us": 6.0, "result": "ok"}],
        "torch-networks": [
            {"network": "mnist_mlp", "images": 1, "who": "torch", "device_us": 60.0, "result": "ok"}
        ],
    },
}


def test_goals_are_judged_by_what_is_right():
    goals = {row["goal"]: row for row in goal_rows(REPORT["parts"])}
    assert goals["product above 9.6 POPS"] == {
        "goal": "product above 9.6 POPS",
        "measured": "10.00",
        "reached": "yes",
    }
    assert goals["product of 8192 above CUTLASS"]["measured"] == "2.00x"
    assert goals["mnist_mlp, 1 images in 5 us"]["reached"] == "NO"
    assert goals["mnist_mlp, 1 images, 5x the best of PyTorch"]["measured"] == "10.00x"
    assert goals["paper's kernel over paper_baseline, 8192: 23x in 2016"]["measured"] == "20.0x; ours 1000x"
    assert goal_rows({}) == []


def test_report_is_written(tmp_path):
    write_report(REPORT, tmp_path, "r")
    page = (tmp_path / "r.md").read_text()
    assert "**2 wrong.**" in page
    assert "FAILED: a / b" in page
    assert "| dense | popc |  | ok, 2 times |" in page
    assert "- ours: cut off" in page
    assert f"Descriptors: {TAKES_THEM}." in page
    assert json.loads((tmp_path / "r.json").read_text())["goals"]
    assert len(list(tmp_path.iterdir())) == 2
    assert len(failures(REPORT)) == 2
    assert as_markdown({"status": {}, "parts": {}})


def test_plots(tmp_path):
    pytest.importorskip("matplotlib")
    said = draw_plots(REPORT, tmp_path, "r")
    assert said == "product_of_8192, mnist_mlp_1_images"
    assert (tmp_path / "r_product_of_8192.svg").exists()


def test_arguments(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--parts", "speed"])
    assert stopped.value.code == 2
    assert "no part speed" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(part.about in shown for part in PARTS.values())
    assert report_name("NVIDIA A100-SXM4").startswith("gpu_nvidia-a100-sxm4_")


def test_it_ends_in_nine_minutes():
    default = [part for part in PARTS.values() if part.is_default]
    together = max(part.seconds for part in default if not part.is_timing)
    alone = sum(part.seconds for part in default if part.is_timing)
    assert together + alone <= 9 * 60 + 60  # what is later than --seconds is cut off besides


def test_advice():
    assert advice(["ok"], ["ok", "ok"]) == TAKES_THEM
    assert advice(["ok"], ["ok", "FAILED"]) == f"FAILED: {REFUSES}"
    assert "use tier bmma" in advice(["FAILED"], ["ok"])


def test_what_the_sanitizer_said():
    assert verdict(0, "x\n========= ERROR SUMMARY: 0 errors\n") == "ok (ERROR SUMMARY: 0 errors)"
    found = verdict(9, "========= Invalid __global__ write\n========= ERROR SUMMARY: 1 error\n")
    assert found.startswith("FAILED: ERROR SUMMARY: 1 error: ========= Invalid")
    assert verdict(1, "Device not supported").startswith("not run: ")


def test_operands():
    operands = Operands(256, sets=1)
    product = signs_of(operands.a_words[0]).astype(int) @ signs_of(operands.b_words).astype(int).T
    np.testing.assert_array_equal(operands.expected(0), product[:CHECKED_ROWS])
    assert operands.verdict(product[:CHECKED_ROWS], 0) == "ok"
    near = product[:CHECKED_ROWS].copy()
    near[0, 0] += 50
    assert operands.verdict(near, 0).startswith("FAILED: 1 of")
    assert operands.verdict(near, 0, is_rounded=True).startswith("FAILED")
    assert differing(near, near) == "ok"


def test_no_headers(monkeypatch, tmp_path):
    monkeypatch.setenv(HEADERS_VARIABLE, str(tmp_path))
    monkeypatch.setattr("benchmarks.gpu_check.cutlass.find_spec", lambda _: None)
    with pytest.raises(PlatformError, match="nvidia-cutlass"):
        find_headers()
