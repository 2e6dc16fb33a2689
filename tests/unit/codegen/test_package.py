"""The package file: round trip, the same bytes twice, and every way it can be broken or hostile."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from bnncc.codegen.manifest import Manifest, PortInfo, SourceInfo, TargetInfo, WeightsInfo
from bnncc.codegen.package import MANIFEST, NN_IR, WEIGHTS, Package, make_package
from bnncc.codegen.packed_weights import decode_weights, encode_weights
from bnncc.diagnostics import DataError
from bnncc.ir.types import ConstRef, Elem, TensorType

SIGNS = np.where(np.random.default_rng(0).random((3, 2, 3, 3)) < 0.5, -1, 1).astype(np.int8)
GAMMA = np.array([0.5, -1.25, 0.0], np.float32)


def _ref(name: str, elem: Elem, shape: tuple[int, ...]) -> ConstRef:
    return ConstRef(name, TensorType(elem, shape))


def _package() -> Package:
    weights = encode_weights(
        {
            _ref("conv.weight", Elem.SIGN, SIGNS.shape): SIGNS,
            _ref("bn.gamma", Elem.F32, GAMMA.shape): GAMMA,
        }
    )
    manifest = Manifest(
        compiler="0.1.0",
        network="tiny",
        inputs=(PortInfo(name="image", elem="u8", shape=(2, 5, 5)),),
        outputs=(PortInfo(name="scores", elem="f32", shape=(10,)),),
        overrides={"hidden": "64"},
        sources=(SourceInfo(name="tiny.bnn", entry="model.bnn"),),
        weights=WeightsInfo(origin="random", seed=3),
        targets=(TargetInfo(name="c", options={"march": "native"}, sources=("src/model.c",)),),
        stages={"nn": "0" * 64},
        entries={},
    )
    return make_package(
        manifest,
        {
            "model.bnn": "network tiny { # é\n}".encode(),
            NN_IR: b"graph tiny",
            WEIGHTS: weights,
            "src/model.c": b"int x;\n",
        },
    )


PACKAGE = _package()
RAW = PACKAGE.to_bytes()


def _zip(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def _entries() -> list[tuple[str, bytes]]:
    return [(MANIFEST, PACKAGE.manifest.to_json()), *PACKAGE.entries.items()]


def test_round_trip() -> None:
    read = Package.from_bytes(RAW)
    assert read == PACKAGE
    assert not read.manifest.weights.is_trained
    assert read.text("model.bnn") == "network tiny { # é\n}"
    assert read.sources[0].name == "tiny.bnn"
    np.testing.assert_array_equal(read.weights["conv.weight"], SIGNS)
    np.testing.assert_array_equal(read.weights["bn.gamma"], GAMMA)


def test_two_builds_give_the_same_bytes() -> None:
    assert _package().to_bytes() == RAW
    assert Package.from_bytes(RAW).to_bytes() == RAW


def test_saving_replaces_the_file_whole(tmp_path) -> None:
    path = tmp_path / "sub" / "m.bnnpkg"
    PACKAGE.save(path)
    PACKAGE.save(path)
    assert path.read_bytes() == RAW
    assert [item.name for item in path.parent.iterdir()] == ["m.bnnpkg"]
    assert Package.load(path) == PACKAGE


@pytest.mark.parametrize("length", range(0, len(RAW), 37))
def test_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(DataError, match=r"t\.bnnpkg"):
        Package.from_bytes(RAW[:length], "t.bnnpkg")


@pytest.mark.parametrize("position", range(3, len(RAW), 23))
def test_a_flipped_bit_never_changes_the_content(position: int) -> None:
    for bit in (0, 3, 7):
        broken = bytearray(RAW)
        broken[position] ^= 1 << bit
        try:
            read = Package.from_bytes(bytes(broken))
        except DataError:
            continue
        # Times and attributes in the zip headers may change; what the package says may not.
        assert read == PACKAGE


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../../b", "C:\\x", "a\\b", "a//b", "./a", "a\nb", "dir/", "é"]
)
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="not allowed"):
        Package.from_bytes(_zip([*_entries(), (name, b"")]))


def test_duplicate_names_are_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        raw = _zip([*_entries(), ("model.bnn", b"other")])
    with pytest.raises(DataError, match=r"model\.bnn.*twice"):
        Package.from_bytes(raw)


def test_a_bomb_is_refused_before_it_is_read() -> None:
    raw = _zip([*_entries(), ("bomb", bytes(1 << 24))], zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="compressed"):
        Package.from_bytes(raw)


def test_sizes_that_the_file_does_not_have_are_refused() -> None:
    raw = bytearray(_zip([(MANIFEST, b"x" * 100)]))
    directory = raw.index(b"PK\x01\x02")
    for field in (20, 24):  # compressed and real size in the central directory
        raw[directory + field : directory + field + 4] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(DataError, match="claims"):
        Package.from_bytes(bytes(raw))


def test_too_many_entries_are_refused() -> None:
    with pytest.raises(DataError, match="entries"):
        Package.from_bytes(_zip([(f"e{i}", b"") for i in range(5000)]))


def test_wrong_hash_names_the_entry() -> None:
    entries = dict(_entries())
    entries["src/model.c"] = b"int y;\n"
    with pytest.raises(DataError, match=r"src/model\.c"):
        Package.from_bytes(_zip(list(entries.items())))


@pytest.mark.parametrize("name", ["model.bnn", NN_IR, WEIGHTS, "src/model.c", MANIFEST])
def test_missing_entry_is_named(name: str) -> None:
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        Package.from_bytes(_zip([item for item in _entries() if item[0] != name]))


def test_an_entry_the_manifest_does_not_know_is_refused() -> None:
    with pytest.raises(DataError, match="stowaway"):
        Package.from_bytes(_zip([*_entries(), ("stowaway", b"")]))


def test_a_required_entry_cannot_be_left_out_of_the_manifest() -> None:
    entries = {name: content for name, content in PACKAGE.entries.items() if name != WEIGHTS}
    with pytest.raises(DataError, match="weights"):
        Package.from_bytes(make_package(PACKAGE.manifest, entries).to_bytes())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", "bnncc-package/2"),
        ("schema", "other"),
        ("schema", None),
        ("network", 3),
        ("inputs", [{"name": "x", "elem": "u9", "shape": [1]}]),
        ("inputs", [{"name": "x", "elem": "u8", "shape": [-1]}]),
        ("inputs", [{"name": "x", "elem": "u8", "shape": [True]}]),
        ("inputs", ["x"]),
        ("overrides", {"a": 1}),
        ("weights", {"origin": "magic", "sha256": ""}),
        ("targets", [{"name": "fpga", "options": {}, "sources": [], "binaries": [], "missing": []}]),
        ("entries", {"a": 3}),
        ("stages", []),
    ],
)
def test_a_manifest_of_the_wrong_form_is_refused(field: str, value: object) -> None:
    content = json.loads(PACKAGE.manifest.to_json())
    content[field] = value
    entries = dict(_entries()) | {MANIFEST: json.dumps(content).encode()}
    with pytest.raises(DataError, match=r"m\.bnnpkg"):
        Package.from_bytes(_zip(list(entries.items())), "m.bnnpkg")


@pytest.mark.parametrize("raw", [b"", b"PK", b"\0" * 1000, b"[" * 100_000])
def test_other_files_are_refused(raw: bytes) -> None:
    with pytest.raises(DataError):
        Package.from_bytes(raw)


def test_a_manifest_of_brackets_is_refused() -> None:
    with pytest.raises(DataError, match="JSON"):
        Package.from_bytes(_zip([(MANIFEST, b"[" * 100_000)]))


@pytest.mark.parametrize("shape", [(1, 1), (2, 31), (3, 32), (5, 33), (2, 3, 5, 5), (7, 100)])
def test_binary_weights_take_one_bit(shape: tuple[int, ...]) -> None:
    signs = np.where(np.random.default_rng(1).random(shape) < 0.5, -1, 1).astype(np.int8)
    raw = encode_weights({_ref("w", Elem.SIGN, shape): signs})
    np.testing.assert_array_equal(decode_weights(raw, "w")["w"], signs)
    row_bytes = -(-int(np.prod(shape[1:])) // 32) * 4
    header_bytes = 8 + int.from_bytes(raw[:8], "little")
    assert len(raw) - header_bytes == shape[0] * row_bytes


def test_weights_with_a_wrong_logical_shape_are_refused() -> None:
    raw = encode_weights({_ref("w", Elem.SIGN, (2, 40)): np.ones((2, 40), np.int8)})
    for old, new in ((b"[2, 40]", b"[2, 70]"), (b"[2, 40]", b"[2,-40]")):
        with pytest.raises(DataError, match="'w'"):
            decode_weights(raw.replace(old, new), "file")


def test_weights_with_a_shape_that_is_no_numbers_are_refused() -> None:
    raw = encode_weights({_ref("w", Elem.SIGN, (2, 4000)): np.ones((2, 4000), np.int8)})
    with pytest.raises(DataError, match="'w'"):
        decode_weights(raw.replace(b"[2, 4000]", b'[2,\\"a\\"]'), "file")


@pytest.mark.parametrize("position", range(0, 200, 3))
def test_damaged_weights_are_refused_or_arrays(position: int) -> None:
    raw = bytearray(encode_weights({_ref("w", Elem.SIGN, (2, 40)): np.ones((2, 40), np.int8)}))
    raw[position % len(raw)] ^= 0x11
    with suppress(DataError):
        assert isinstance(decode_weights(bytes(raw), "file"), dict)


def test_missing_file_is_a_data_error(tmp_path) -> None:
    with pytest.raises(DataError, match="there is no package"):
        Package.load(tmp_path / "no.bnnpkg")


def test_manifest_field_order_does_not_matter() -> None:
    again = replace(PACKAGE.manifest, overrides=dict(reversed(list(PACKAGE.manifest.overrides.items()))))
    assert again.to_json() == PACKAGE.manifest.to_json()
