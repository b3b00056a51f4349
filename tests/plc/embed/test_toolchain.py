"""Compilers and linkers that are missing or fail are named, with advice."""

import sys
from pathlib import Path

import pytest

from plc.embed.library import build_library
from plc.embed.toolchain import COMPILER, WASM_LINKER, Tool, find, run
from plc.errors import ConfigError
from plc_kernels.build.targets import machine
from tests.installed import needs_checkout

NOTHING = Tool("a mill", ("no-such-mill", "nor-this"), "mill", "MILL")


def test_a_tool_that_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(ConfigError, match=r"needs a mill.* no-such-mill or nor-this: apt-get") as e:
        find(NOTHING)
    assert "install mill, or name one in MILL" in str(e.value)


def test_a_variable_names_another_tool_with_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILL", f"{sys.executable} -B")
    assert find(NOTHING) == [sys.executable, "-B"]
    monkeypatch.setenv("MILL", "no-such-thing")
    with pytest.raises(ConfigError, match="MILL names no-such-thing, which is not installed"):
        find(NOTHING)


def test_a_command_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(ConfigError, match=r"-c.* failed: the wheel is broken$"):
        run([sys.executable, "-c", "raise SystemExit('the wheel\\nis broken')"])
    with pytest.raises(ConfigError, match="no/such/program cannot be run: No such file"):
        run(["no/such/program"])


@needs_checkout
def test_a_missing_compiler_is_named_before_anything_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plc.embed.library.emit_objects", None)
    monkeypatch.setattr("plc.embed.wasm.emit_objects", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    other = "aarch64" if machine() == "x86_64" else "x86_64"
    for target, package in ((machine(), COMPILER.package), ("wasm32", WASM_LINKER.package)):
        with pytest.raises(ConfigError, match=f"apt-get install {package}"):
            build_library(tmp_path / "build", target)
    for target, package in ((other, "gcc-"), ("windows", "gcc-mingw-"), ("musl", "musl-tools")):
        with pytest.raises(ConfigError, match=f"apt-get install {package}"):
            build_library(tmp_path / "build", target)
    assert not list((tmp_path / "build").iterdir())
