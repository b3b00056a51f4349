import os
import sys
import time
from pathlib import Path

import pytest

from plc.engine.runtime.attempts import EngineCache
from plc_kernels.build.own_folder import cache_root

IDENTITY = {"model": "ab", "device": "Fake 9000"}


def build(root: Path, content: bytes = b"engine") -> Path:
    """Build and keep an engine; return the folder that it lies in."""
    cache = EngineCache(root, IDENTITY)
    (cache.begin() / "tiny.engine").write_bytes(content)
    cache.finish()
    cache.close()
    return cache.folder


def begin(root: Path) -> list[str]:
    """Return the engines that another start would load."""
    cache = EngineCache(root, IDENTITY)
    found = sorted(path.name for path in cache.begin().glob("*.engine"))
    cache.finish()
    cache.close()
    return found


def test_what_was_finished_is_found_again(tmp_path: Path) -> None:
    build(tmp_path)
    assert begin(tmp_path) == ["tiny.engine"]


def test_what_was_not_finished_is_not_found(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, IDENTITY)
    (cache.begin() / "tiny.engine").write_bytes(b"half")
    assert begin(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_engines_are_on_the_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        did.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        did.append(("rename", path.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    cache = EngineCache(tmp_path, IDENTITY)
    place = cache.begin()
    (place / "tiny.engine").write_bytes(b"engine")
    cache.finish()
    name = place.name
    assert did == [
        *(("sync", file) for file in ("tiny.engine", name)),
        *(("rename", name), ("sync", tmp_path.name)),
    ]


def test_engines_that_the_disk_refuses_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    build(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_killed_builds_left_is_removed_after_a_day(tmp_path: Path) -> None:
    kept = build(tmp_path)
    names = {name: tmp_path / name for name in (f"{'ab' * 16}.old", f"{'ab' * 16}.new", "my.notes")}
    for folder in names.values():
        folder.mkdir()
        (folder / "half.engine").write_bytes(b"half")
    long_ago_s = time.time() - 90_000
    for folder in (kept, names[f"{'ab' * 16}.old"], names["my.notes"]):
        os.utime(folder, (long_ago_s, long_ago_s))
    assert begin(tmp_path) == ["tiny.engine"]
    assert {path.name for path in tmp_path.iterdir()} == {
        *(kept.name, f"{'ab' * 16}.new", "my.notes")
    }


def test_another_identity_has_another_folder(tmp_path: Path) -> None:
    keys = {
        EngineCache(tmp_path, identity).folder
        for identity in (
            IDENTITY,
            {**IDENTITY, "model": "cd"},
            {**IDENTITY, "device": ""},
            {"model": "ab", "device": "Fake 9000", "tensorrt": "11"},
        )
    }
    assert len(keys) == 4
    assert EngineCache(tmp_path, dict(reversed(IDENTITY.items()))).folder in keys


def test_folders_of_engines_are_for_this_user_alone(tmp_path: Path) -> None:
    folder = build(tmp_path / "root")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_a_link_or_others_can_write_to_is_replaced_unread(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    folder = build(root)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert begin(root) == []
    assert (tmp_path / "moved" / "tiny.engine").exists()  # the link went, not what it led to
    build(root).chmod(0o777)
    assert begin(root) == []


def test_processes_that_load_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    build(tmp_path)
    first = EngineCache(tmp_path, IDENTITY)
    first.begin()
    assert begin(tmp_path) == ["tiny.engine"]
    first.finish()


def test_of_two_that_build_at_once_the_first_to_finish_is_kept(tmp_path: Path) -> None:
    caches = [EngineCache(tmp_path, IDENTITY) for _ in range(2)]
    for number, cache in enumerate(caches):
        (cache.begin() / f"{number}.engine").write_bytes(b"engine")
    for cache in caches:
        cache.finish()
    assert begin(tmp_path) == ["0.engine"]
    assert [path.name for path in tmp_path.iterdir()] == [caches[0].folder.name]


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    build(tmp_path)
    cache = EngineCache(tmp_path, IDENTITY)
    cache.begin()
    cache.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_be_made_or_trusted_is_replaced_for_this_process(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    for root, why in ((tmp_path / "file" / "root", "cannot be made"), (shared, "chmod go-w")):
        cache = EngineCache(root, IDENTITY)
        assert not cache.kept
        assert why in cache.reason
        place = cache.begin()
        assert root not in place.parents
        (place / "tiny.engine").write_bytes(b"engine")
        cache.finish()
        assert cache.holds_engines
        cache.close()
        assert not cache.folder.exists()
    assert list(shared.iterdir()) == []


def test_the_root_is_where_the_user_or_the_system_wants_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PLC_CACHE_DIR", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("PLC_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "plc-engine"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "plc-engine"
