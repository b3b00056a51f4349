"""Object files are emitted once, and what went wrong is said."""

import os
from pathlib import Path

import pytest

from plc_kernels.build.targets import TARGETS, Target
from plc_kernels.emit import objects
from plc_kernels.emit.objects import EmitError, emit_objects

V3 = TARGETS["x86-64-v3"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLC_CACHE_DIR", str(tmp_path / "cache"))


def test_an_object_file_is_emitted_once_until_its_sources_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted: list[str] = []

    def emit(family: list[Target], folder: Path, _: Path | None) -> None:
        for target in family:
            emitted.append(target.name)
            (folder / f"step-{target.name}.o").write_text(f"{target.name} {len(emitted)}")

    monkeypatch.setattr(objects, "_emit", emit)
    told: list[str] = []
    for _ in range(2):
        paths = emit_objects([V3], tmp_path, told.append)
        assert [path.read_text() for path in paths] == ["x86-64-v3 1"]
    assert (emitted, told) == (["x86-64-v3"], ["x86-64-v3", "x86-64-v3"])
    emit_objects([TARGETS["x86-64-v4"]], tmp_path)
    for k in range(6):
        monkeypatch.setattr(objects, "_sources", lambda k=k: bytes([k]))
        assert emit_objects([V3], tmp_path)[0].read_text() == f"x86-64-v3 {3 + k}"
    kept = sorted(path.name[:9] for path in (tmp_path / "cache" / "emitted").iterdir())
    assert kept == ["x86-64-v3"] * 4 + ["x86-64-v4"]  # of v3 the newest


def test_without_a_folder_of_ones_own_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir(mode=0o777)
    os.chmod(tmp_path / "cache", 0o777)
    monkeypatch.setattr(
        objects, "_emit", lambda *_: (tmp_path / "step-x86-64-v3.o").write_text("made")
    )
    assert emit_objects([V3], tmp_path)[0].read_text() == "made"
    assert not list((tmp_path / "cache").rglob("*.o"))


def test_a_compilation_that_fails_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_WORKER", "no_such_module")
    with pytest.raises(EmitError, match=r"cannot be compiled for x86-64-v3: .*no_such_module"):
        emit_objects([V3], tmp_path)
