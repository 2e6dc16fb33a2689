from __future__ import annotations

import ctypes

import pytest

from bnncc.diagnostics import PlatformError
from bnncc.toolchain.build_cache import BuildCache, cache_key, default_cache_root
from bnncc.toolchain.host_compiler import HostCompilerError, find_c_compiler, find_cxx_compiler


def test_finds_compilers_of_this_machine() -> None:
    assert not find_c_compiler().is_cxx
    assert find_cxx_compiler().is_cxx
    assert find_c_compiler().version


def test_names_what_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnncc.toolchain.host_compiler.find_spec", lambda name: None)
    with pytest.raises(
        PlatformError, match=r"looked for \$CXX, c\+\+, g\+\+, clang\+\+.*pip install ziglang"
    ):
        find_cxx_compiler({"PATH": "/nonexistent"})


def test_a_broken_cc_is_not_passed_over() -> None:
    with pytest.raises(PlatformError, match=r"\$CC is '/no/such/cc -m64'"):
        find_c_compiler({"CC": "/no/such/cc -m64", "PATH": "/usr/bin"})


def test_shared_library_is_built_once(tmp_path) -> None:
    cache = BuildCache(tmp_path / "cache")
    sources = (
        ("answer.h", "#define ANSWER 42\n"),
        ("a.c", '#include "answer.h"\nint f(void){return ANSWER;}\n'),
    )
    first = cache.shared_library(find_c_compiler(), sources, ("-O1",), name="a.so")
    stamp = first.stat().st_mtime_ns
    assert cache.shared_library(find_c_compiler(), sources, ("-O1",), name="a.so") == first
    assert first.stat().st_mtime_ns == stamp
    assert ctypes.CDLL(str(first)).f() == 42
    assert cache.shared_library(find_c_compiler(), sources, ("-O2",), name="a.so") != first


def test_the_error_carries_command_and_stderr(tmp_path) -> None:
    with pytest.raises(HostCompilerError, match=r"(?s)\$ .*-O1.*a\.c.*error") as caught:
        BuildCache(tmp_path).shared_library(find_c_compiler(), (("a.c", "int f(\n"),), ("-O1",), name="a.so")
    assert caught.value.stderr
    assert caught.value.command[1] == "-O1"
    assert not list(tmp_path.glob("tmp-*"))


@pytest.mark.parametrize("damage", ["truncate", "remove", "manifest"])
def test_anything_broken_is_a_miss(tmp_path, damage: str) -> None:
    cache = BuildCache(tmp_path)
    key = cache_key("x")
    folder = cache.get_or_build(key, lambda f: (f / "out").write_text("good") and None)
    match damage:
        case "truncate":
            (folder / "out").write_text("go")
        case "remove":
            (folder / "out").unlink()
        case _:
            (folder / "manifest.json").write_text("[1")
    assert cache.get(key) is None
    again = cache.get_or_build(key, lambda f: (f / "out").write_text("good") and None)
    assert (again / "out").read_text() == "good"
    assert cache.get(key) == again


def test_a_failed_build_leaves_nothing(tmp_path) -> None:
    cache = BuildCache(tmp_path)

    def build(folder) -> None:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_build("ab" * 32, build)
    assert list(tmp_path.iterdir()) == []


def test_another_process_publishing_first_wins(tmp_path) -> None:
    cache = BuildCache(tmp_path)

    def build(folder) -> None:
        (folder / "out").write_text("mine")
        if cache.get("cd" * 32) is None:
            cache.get_or_build("cd" * 32, lambda f: (f / "out").write_text("theirs") and None)

    assert (cache.get_or_build("cd" * 32, build) / "out").read_text() == "theirs"


def test_keys_do_not_run_together() -> None:
    assert cache_key("ab", "c") != cache_key("a", "bc")


def test_default_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("BNNCC_CACHE_DIR", str(tmp_path))
    assert default_cache_root() == tmp_path
    monkeypatch.delenv("BNNCC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_root() == tmp_path / "bnncc"
