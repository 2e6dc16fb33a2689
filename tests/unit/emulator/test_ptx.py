"""The front end: what it keeps, and that it never passes over what it does not know."""

from __future__ import annotations

import pytest

from bnncc.emulator.ptx.model import Instruction, Integer, Location, PtxError, Symbolic
from bnncc.emulator.ptx.parser import parse_module
from bnncc.emulator.translate.function import walk
from bnncc.emulator.translate.module import translate_module

from .ptx_kernels import HEAD


def kernel(code: str) -> str:
    return HEAD + (
        ".visible .entry k(.param .u64 p)\n{\n.reg .pred %p<4>;\n.reg .b16 %h<4>;\n.reg .b32 %r<9>;\n"
        f".reg .b64 %d<9>;\n{code}\nret;\n}}\n"
    )


def test_lines_and_locations_are_kept() -> None:
    text = kernel(
        ".loc 1 12 3\nadd.s32 %r1, %r2, 3; /* a\ncomment */ mov.u32 %r1, 0; // more\n"
        ".loc 2 7 1, function_name $L__info0, inlined_at 1 12 3\nneg.s32 %r1, %r2;"
    )
    module = parse_module(
        text + '.file 1 "a.cu"\n.file 2 "b.cuh", 1, 2\n.section .debug_str { $L__info0: .b8 1 }', "m.ptx"
    )
    found = [item for item in walk(module.functions[0].body or ()) if isinstance(item, Instruction)]
    lines = text.splitlines()
    assert [item.opcode for item in found] == ["add", "mov", "neg", "ret"]
    assert all(item.opcode in lines[item.line - 1] for item in found)
    place = Location("a.cu", 12)
    assert [item.location for item in found[:3]] == [place, place, Location("b.cuh", 7, place)]
    assert str(found[2].location) == "b.cuh:7, called at a.cu:12"


def test_places_of_calls_in_calls() -> None:
    text = kernel(
        ".loc 1 30 1\nadd.s32 %r1, %r2, 3;\n"
        ".loc 1 20 2, function_name $L__info0, inlined_at 1 30 1\n"
        ".loc 1 10 3, function_name $L__info1, inlined_at 1 20 2\nmov.u32 %r1, 0;\n"
        ".loc 1 0 3\nneg.s32 %r1, %r2;\n"
        ".loc 1 40 1\n.loc 1 20 2, function_name $L__info0, inlined_at 1 40 1\n"
        ".loc 1 10 3, function_name $L__info1, inlined_at 1 20 2\nnot.b32 %r1, %r2;"
    )
    module = parse_module(text + '.file 1 "a.cu"\n', "m.ptx")
    found = [item for item in walk(module.functions[0].body or ()) if isinstance(item, Instruction)]
    assert [str(item.location) for item in found[:4]] == [
        "a.cu:30",
        *["a.cu:10, called at a.cu:20, called at a.cu:30"] * 2,
        "a.cu:10, called at a.cu:20, called at a.cu:40",
    ]


def test_declarations() -> None:
    module = parse_module(
        HEAD
        + """
.visible .global .align 8 .b8 raw[2][3] = {{1, 0x2}, 077};
.const .f32 ramp[2] = {0f3F800000, -0f40000000};
.global .u64 at = generic(raw)+4;
.extern .shared .align 128 .b8 dyn[];
.visible .entry k(.param .u64 .ptr .global .align 16 a, .param .align 8 .b8 b[24], .param .f32 c)
.maxntid 128, 2, 1
.minnctapersm 2
.pragma "nounroll";
{ ret; }
"""
    )
    raw, ramp, at, dyn = module.variables
    assert (raw.size_bytes, raw.align_bytes, raw.values) == (6, 8, (Integer(1), Integer(2), Integer(63)))
    assert [value.bits for value in ramp.values] == [0x3F800000, 0xC0000000]
    assert at.values == (Symbolic("raw", 4, generic=True),)
    assert (dyn.count, dyn.align_bytes, dyn.is_extern) == (None, 128, True)
    (function,) = module.functions
    assert [(item.name, item.size_bytes, item.align_bytes) for item in function.parameters] == [
        ("a", 8, 8),
        ("b", 24, 8),
        ("c", 4, 4),
    ]
    assert function.max_threads == (128, 2, 1)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("frobnicate.u32 %r1, %r2;", "unknown instruction 'frobnicate'"),
        ("add.shiny.s32 %r1, %r2, %r3;", "unknown modifier .shiny"),
        ("ld.global.nc.L3::magic.u32 %r1, [%d1];", "unknown modifier .L3::magic"),
        ("add.s32 %r1, %r2;", "2 operands"),
        ("add.s32 %r1, %r2, %d3;", "register '%d3' has 64 bits, not 32"),
        ("add.s32 %r1, %r2, %r77;", "'%r77' is not a register"),
        ("add.f16 %h1, %h2, %h3;", "unsupported type .f16"),
        ("mov.u32 %r1, %pm0;", "'%pm0' is not a register"),
        ("bra NOWHERE;", "no label 'NOWHERE'"),
        ("tcgen05.fence::before_thread_sync;", "unknown instruction 'tcgen05'"),
        (
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 %r1, %r2, %r3, %r4;",
            "unsupported shape or element",
        ),
        ("st.global.v2.u32 [%d1], {%r1};", "the vector has the wrong length"),
        ("ld.param.u64 %d1, [p+4];", "an access beyond the parameter"),
        ("call.uni other, ();", "no function 'other'"),
        (".magic 3;", "unknown statement '.magic'"),
        ("add.s32 %r1, %r2, 99999999999999999999999;", "does not fit"),
        ("cp.async.cg.shared.global [%r1], [%d1], 8;", "8 bytes"),
        ("setp.ltu.s32 %p1, %r1, %r2;", "comparison .ltu of integers"),
        ("add.s32 %r1, %r2, #3;", "unexpected character '#'"),
    ],
)
def test_what_is_not_understood_is_an_error_with_its_line(code: str, message: str) -> None:
    text = kernel(code)
    line = text.splitlines().index(code) + 1
    with pytest.raises(PtxError) as caught:
        translate_module(parse_module(text, "m.ptx"))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"m.ptx:{line}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".version 9.0\n.target sm_90a\n.address_size 32\n", "only 64-bit addresses"),
        (HEAD + ".alias a, b;", "unknown directive '.alias'"),
        (HEAD + ".global .attribute(.managed) .u32 x;", "attributes are not supported"),
        (HEAD + ".extern .global .u32 x;", "defined elsewhere"),
        (HEAD + ".global .f128 x;", "unknown type '.f128'"),
        (HEAD + ".global .u8 x[1] = {1, 2};", "more initial values"),
        (HEAD + ".visible .entry k() .explicitcluster { ret; }", "unknown performance directive"),
        (HEAD + ".visible .entry k() { ret;", "expected a name"),
    ],
)
def test_module_scope_is_strict_too(text: str, message: str) -> None:
    with pytest.raises(PtxError, match=message):
        translate_module(parse_module(text, "m.ptx"))


def test_names_of_inner_blocks_hide_outer_ones(load, memory) -> None:
    text = kernel("""
mov.u32 %r1, 5;
{ .reg .b32 %r1, t; mov.u32 %r1, 7; mov.u32 t, 1; add.u32 %r2, %r1, t; bra LEAVE; LEAVE: }
{ .reg .b64 t; mov.u64 t, 1; bra LEAVE; mov.u32 %r2, 0; LEAVE: }
add.u32 %r3, %r1, %r2;
ld.param.u64 %d1, [p];
st.global.u32 [%d1], %r3;""")
    out = memory.alloc(4)
    load(text).launch("k", (1,), (1,), [out])
    assert out.download("u4", 1)[0] == 13


def test_indexed_branches(load, memory) -> None:
    text = kernel("""
mov.u32 %r1, %tid.x;
mov.u32 %r2, 0;
ts: .branchtargets A, B, C;
brx.idx %r1, ts;
A: add.u32 %r2, %r2, 1;
B: add.u32 %r2, %r2, 10;
C: add.u32 %r2, %r2, 100;
ld.param.u64 %d1, [p];
mad.wide.u32 %d1, %r1, 4, %d1;
st.global.u32 [%d1], %r2;""")
    out = memory.alloc(12)
    module = load(text)
    module.launch("k", (1,), (3,), [out])
    assert out.download("u4", 3).tolist() == [111, 110, 100]
    from bnncc.emulator import EmulatorFault

    with pytest.raises(EmulatorFault, match="beyond its targets"):
        module.launch("k", (1,), (4,), [out])
