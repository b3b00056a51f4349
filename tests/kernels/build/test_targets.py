"""The processors that the step is emitted for, and how numba is told of them."""

import platform

import pytest

from plc_kernels.build.targets import FAMILIES, TARGETS, WINDOWS, machine, targets_of
from plc_kernels.emit.objects import environment_of


def test_each_family_has_targets_whose_functions_have_names_of_their_own() -> None:
    for family in FAMILIES:
        suffixes = [target.suffix for target in targets_of(family)]
        assert suffixes
        assert len(set(suffixes)) == len(suffixes)
    levels = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
    assert [target.name for target in targets_of("x86_64")] == levels
    there = targets_of("x86_64", WINDOWS)
    assert [target.name for target in there] == [f"windows-{level}" for level in levels]
    assert [target.processor for target in there] == levels


@pytest.mark.parametrize(
    ("name", "expected"), [("AMD64", "x86_64"), ("arm64", "aarch64"), ("riscv64", "riscv64")]
)
def test_a_machine_is_known_by_all_its_names(
    name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: name)
    assert machine() == expected


def test_only_this_machines_family_is_optimised_by_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert environment_of(TARGETS["x86-64-v3"]) == {
        "NUMBA_CPU_NAME": "x86-64-v3",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_OPT": "3",
    }
    assert environment_of(TARGETS["wasm32"])["NUMBA_OPT"] == "0"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert environment_of(TARGETS["x86-64-v3"])["NUMBA_CPU_NAME"] == "generic"
    assert environment_of(TARGETS["aarch64"])["NUMBA_OPT"] == "3"
