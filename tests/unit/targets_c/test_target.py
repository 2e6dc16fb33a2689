"""What the target decides in Python: machines, tiles, bands, names, sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnncc.diagnostics import PlatformError, Position, Source, Span
from bnncc.ir.types import Elem
from bnncc.ir.window import Window
from bnncc.runtime.native import machine_named
from bnncc.targets.c.forms import MACHINES, CForm, machine_of_macros
from bnncc.targets.c.geometry import band_rows, paired_groups, panel_groups, taps_of
from bnncc.targets.c.target import CTarget
from bnncc.targets.c.text import function_names
from tests.networks import square
from tests.unit.targets_c.builder import Bits, program_of


@pytest.mark.parametrize("groups_of", [panel_groups, paired_groups])
@pytest.mark.parametrize("outputs", range(1, 400, 3))
def test_panel_groups_cover_all_outputs_once(groups_of, outputs):
    groups = groups_of(outputs)
    firsts = [first for group in groups for first in range(group.first, group.end, group.vectors)]
    vectors = [group.vectors for group in groups for _ in range(group.first_step, group.end_step)]
    panels = [panel for first, n in zip(firsts, vectors, strict=True) for panel in range(first, first + n)]
    assert panels == list(range(-(-outputs // 16)))
    assert all(1 <= group.vectors <= 4 for group in groups)
    assert groups_of is panel_groups or all(first % 2 == 0 for first in firsts)


@pytest.mark.parametrize("rows", range(1, 70))
@pytest.mark.parametrize("row_bytes", [0, 100, 5000, 40000])
def test_bands_are_even_and_fit(rows, row_bytes):
    height = band_rows(rows, row_bytes, 32 << 10)
    assert 1 <= height <= rows
    assert height == 1 or height * row_bytes <= 32 << 10
    bands = -(-rows // height)
    assert rows > (bands - 1) * height


def test_contiguous_taps_become_one_run():
    whole = taps_of(Window(kernel=(4, 4)), 4, (4 * 16, 16), 4)
    assert (whole.rows, whole.columns, whole.words, whole.panel_bytes) == (1, 1, 64, 64 * 64)
    rows = taps_of(square(3), 4, (34 * 16, 16), 4)
    assert (rows.rows, rows.columns, rows.words) == (3, 1, 12)
    apart = taps_of(square(3), 1, (34 * 8, 8), 4)
    assert (apart.rows, apart.columns, apart.words, apart.column_bytes) == (3, 3, 1, 8)
    dilated = taps_of(square(3, dilation=2), 4, (34 * 16, 16), 4)
    assert (dilated.rows, dilated.columns, dilated.row_bytes, dilated.column_bytes) == (3, 3, 68 * 16, 32)


def test_machines_by_their_macros():
    names = ("F", "BW", "DQ", "VL", "CD", "VPOPCNTDQ", "VNNI")
    full = "\n".join(f"#define __AVX512{name}__ 1" for name in names)
    assert machine_of_macros(full).form is CForm.AVX512
    half = full.replace("VPOPCNTDQ", "IFMA") + "\n#define __AVX2__ 1\n#define __BMI2__ 1\n#define __FMA__ 1"
    assert machine_of_macros(half).form is CForm.AVX2
    assert machine_of_macros("#define __POPCNT__ 1\n#define __SSE4_2__ 1").name == "x86-64-v2"
    assert machine_of_macros("#define __aarch64__ 1\n#define __ARM_NEON 1").form is CForm.NEON
    assert machine_of_macros("#define __riscv 1").name == "generic"


def test_machines_by_name():
    assert machine_named("generic").form is CForm.PORTABLE
    assert machine_named("native") in MACHINES.values()
    with pytest.raises(PlatformError, match="knows no machine 'z80'; choose native, dispatch, generic"):
        machine_named("z80")
    assert CTarget.for_machine(MACHINES["x86-64-v3"]).flags == ("-ffp-contract=off", "-march=x86-64-v3")
    assert "-mavx512vpopcntdq" in CTarget(form=CForm.AVX512).flags


def test_names_are_different_and_never_ours():
    net = Bits("bnncc")
    values = [replace(net.plain(Elem.U8, 1), name=name) for name in ("a.b", "a_b", "a-b", "or_pool")]
    assert list(function_names("bnncc", values).values()) == [
        "net_bnncc_a_b",
        "net_bnncc_a_b_2",
        "net_bnncc_a_b_3",
        "net_bnncc_or_pool",
    ]


def test_names_of_the_user_cannot_break_the_source():
    net = Bits("int")
    net.output(net.layer(net.plain(Elem.U8, 4), 3, None, "sums"))
    graph = net.graph()
    span = Span(Source("evil*/\\\n#error.bnn", ""), Position(1, 1), Position(1, 2))
    hostile = replace(graph.nodes[0], span=span)
    artifact = CTarget(form=CForm.PORTABLE).emit(program_of(replace(graph, nodes=(hostile,)), CForm.PORTABLE))
    assert artifact.prefix == "bnncc_int_"
    text = artifact.file("model.c").text
    assert "evil* / #error.bnn:1:1" in text
    assert artifact.kernels[0].symbol == "int__n0"


def test_workspace_is_that_of_a_chunk():
    net = Bits("big")
    x = net.layer(net.plain(Elem.U8, 3, 32, 32), 128, square(3, padding=1))
    net.output(net.layer(x, 10, None, "scores"))
    artifact = CTarget(form=CForm.PORTABLE).emit(program_of(net.graph(), CForm.PORTABLE))
    assert artifact.workspace_bytes_per_image == 32 * 32 * 16
    assert artifact.chunk_images == 64
    assert artifact.workspace_bytes(1000) == artifact.scratch_bytes + 64 * 32 * 32 * 16
    assert artifact.scratch_bytes < 32 << 10


def test_every_function_says_where_it_comes_from():
    net = Bits("spans")
    net.output(net.layer(net.plain(Elem.U8, 4), 3, None, "sums"))
    graph = net.graph()
    span = Span(Source("spans.bnn", ""), Position(12, 5), Position(12, 9))
    node = replace(graph.nodes[0], span=span)
    artifact = CTarget(form=CForm.PORTABLE).emit(program_of(replace(graph, nodes=(node,)), CForm.PORTABLE))
    assert "/* n0: u8[4] * 3 x [4, 1, 1] -> i32[3], from spans.bnn:12:5\n" in artifact.file("model.c").text
    assert artifact.kernels[0].span == span
