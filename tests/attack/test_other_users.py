"""What other users of the machine can do to this one's files, starts and kernels: nothing."""

import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plc.engine.runtime.attempts import EngineCache
from plc.errors import AudioFileError
from plc.files.scratch import remove_leftovers
from plc.files.tags.carried import read_tags
from plc.files.tags.values import Tags
from plc.files.writing import AudioWriter
from plc_kernels.build import own_folder
from tests.processes import environment

if os.name != "posix":
    pytest.skip("Windows has no owners and modes of this kind", allow_module_level=True)

STRANGER = 12345
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another user")
SAMPLES = np.zeros((100, 1), np.float32)


def write(target: Path) -> None:
    with AudioWriter(target, 8000, 1) as writer:
        writer.write(SAMPLES)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_links_at_the_temporary_name_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The name that was used for years, and the one that is drawn when nobody can guess it.
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".out.wav.{os.getpid()}.part").symlink_to(victim)
    write(tmp_path / "out.wav")
    assert victim.read_text() == "mine"
    monkeypatch.setattr("plc.whole_files.secrets.token_hex", lambda count: "guessed")
    with AudioWriter(tmp_path / "out.wav", 8000, 1) as writer:
        writer.write(SAMPLES)
        (partial,) = tmp_path.glob(".out.wav.*.guessed.part")
    partial.symlink_to(victim)
    with pytest.raises(AudioFileError, match="cannot write"):
        write(tmp_path / "out.wav")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "out.wav"
    target.touch()
    target.chmod(mode)
    write(target)
    assert mode_of(target) == mode
    assert target.stat().st_size > 200


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3"])
def test_tags_that_are_put_in_leave_the_mode(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix}"
    target.touch(mode=0o600)
    tags = Tags((("TITLE", "so"),))
    with AudioWriter(target, 8000, 1, tags=tags) as writer:
        writer.write(SAMPLES)
    assert (mode_of(target), read_tags(target).comments) == (0o600, tags.comments)
    assert list(tmp_path.iterdir()) == [target]


def test_while_a_private_file_is_replaced_nobody_else_can_read_it(tmp_path: Path) -> None:
    target = tmp_path / "out.wav"
    target.touch(mode=0o600)
    with AudioWriter(target, 8000, 1) as writer:
        writer.write(SAMPLES)
        (partial,) = tmp_path.glob(".out*.part")
        assert mode_of(partial) == 0o600


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write(tmp_path / "out.wav")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "out.wav") == 0o666 & ~mask


def test_a_link_to_a_file_stays_a_link_and_the_file_is_written(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "real.wav").touch(mode=0o600)
    (tmp_path / "out.wav").symlink_to(there / "real.wav")
    write(tmp_path / "out.wav")
    assert (tmp_path / "out.wav").is_symlink()
    assert (there / "real.wav").stat().st_size > 200
    assert mode_of(there / "real.wav") == 0o600
    assert list(there.iterdir()) == [there / "real.wav"]


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.wav").symlink_to(tmp_path / "absent.wav")
    with pytest.raises(AudioFileError, match="link to nothing"):
        write(tmp_path / "out.wav")
    assert not (tmp_path / "absent.wav").exists()


@AS_ROOT
def test_a_link_of_another_user_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim.wav"
    victim.write_text("mine")
    (tmp_path / "out.wav").symlink_to(victim)
    os.lchown(tmp_path / "out.wav", STRANGER, STRANGER)
    with pytest.raises(AudioFileError, match="another user"):
        write(tmp_path / "out.wav")
    assert victim.read_text() == "mine"


@AS_ROOT
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "out.wav"
    target.touch(mode=0o640)
    os.chown(target, STRANGER, STRANGER)
    write(target)
    assert (target.stat().st_uid, target.stat().st_gid) == (STRANGER, STRANGER)
    assert mode_of(target) == 0o640


def spoilt(folder: Path, how: str) -> Path:
    """Return a folder that others may have written to."""
    if how == "link":
        (folder / "elsewhere").mkdir(mode=0o700, parents=True)
        (folder / "it").symlink_to(folder / "elsewhere")
        return folder / "it"
    place = folder / ("above/it" if how == "above" else "it")
    place.mkdir(mode=0o700, parents=True)
    if how == "foreign":
        os.chown(place, STRANGER, STRANGER)
    else:
        (place.parent if how == "above" else place).chmod({"group": 0o770}.get(how, 0o777))
    return place


WAYS = ["group", "world", "above", "link", pytest.param("foreign", marks=AS_ROOT)]


@pytest.mark.parametrize("how", WAYS)
def test_a_folder_that_others_may_have_written_to_is_not_trusted(tmp_path: Path, how: str) -> None:
    place = spoilt(tmp_path, how)
    assert own_folder.mistrust(place)
    cache = EngineCache(place, {})
    assert not cache.kept
    assert place not in cache.begin().parents
    cache.close()


def test_a_folder_of_ones_own_is_made_for_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLC_CACHE_DIR", str(tmp_path / "caches"))
    folder, why = own_folder.own_folder("kernels")
    assert folder is not None
    assert (folder, why) == (tmp_path / "caches" / "kernels", "")
    assert mode_of(folder) == mode_of(folder.parent) == 0o700


@pytest.mark.parametrize("name", ["PLC_CACHE_DIR", "XDG_CACHE_HOME"])
def test_the_users_own_folder_may_be_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As that of a service of systemd with a user of its own is."""
    monkeypatch.delenv("PLC_CACHE_DIR", raising=False)
    real = tmp_path / "private"
    real.mkdir(mode=0o700)
    link = tmp_path / ("caches" if name == "PLC_CACHE_DIR" else "home/plc-engine")
    link.parent.mkdir(mode=0o700, exist_ok=True)
    link.symlink_to(real)
    monkeypatch.setenv(name, str(link if name == "PLC_CACHE_DIR" else link.parent))
    assert own_folder.own_folder("kernels") == (real / "kernels", "")
    real.chmod(0o777)
    monkeypatch.setenv("PLC_CACHE_DIR", str(link))
    assert own_folder.own_folder("kernels")[0] is None


def test_without_a_home_the_folder_is_a_temporary_one_of_this_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLC_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder, _ = own_folder.own_folder("locks")
    assert folder is not None
    assert folder == tmp_path / f"plc-engine-{os.getuid()}" / "locks"
    # Somebody was there first.
    folder.parent.chmod(0o777)
    assert own_folder.own_folder("locks")[0] is None


class _Attack:
    """Runs code of its author's when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self._proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._proof),)


KERNEL = """
import sys
from plc_kernels.build.compile import kernel, refused
sys.path.insert(0, sys.argv[1])
from shifting import shifted
print(shifted(3.0), sum(shifted.stats.cache_hits.values()), len(refused))
print(shifted._cache.cache_path)
"""
SHIFTING = """
from plc_kernels.build.compile import kernel
@kernel
def shifted(x):
    return x + 1.0
"""


@pytest.mark.parametrize("how", ["group", "world", pytest.param("foreign", marks=AS_ROOT)])
@pytest.mark.system
def test_kernels_in_a_folder_that_others_may_have_written_to_are_not_unpickled(
    tmp_path: Path, how: str
) -> None:
    shared, own, sources = (tmp_path / name for name in ("shared", "own", "sources"))
    sources.mkdir()
    (sources / "shifting.py").write_text(SHIFTING)
    given = environment() | {"NUMBA_CACHE_DIR": str(shared), "PLC_CACHE_DIR": str(own)}

    def start() -> list[str]:
        command = [sys.executable, "-c", KERNEL, str(sources)]
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert start()[:3] == ["4.0", "0", "0"]
    assert start()[:3] == ["4.0", "1", "0"]
    proof = tmp_path / "proof"
    (index,) = shared.glob("sources_*/*.nbi")
    with index.open("rb") as file:
        version = pickle.load(file)
    index.write_bytes(pickle.dumps(version) + pickle.dumps(_Attack(proof)))
    if how == "foreign":
        os.chown(index.parent, STRANGER, STRANGER)
    else:
        index.parent.chmod(0o770 if how == "group" else 0o777)
    # Compiled anew, kept in this user's own folder, and found there.
    assert start()[:3] == ["4.0", "0", "1"]
    value, hits, reasons, place = start()
    assert (value, hits, reasons) == ("4.0", "1", "1")
    assert own in Path(place).parents
    assert not proof.exists()


HOLDER = """
import fcntl, os, sys
for path in sys.argv[1:]:
    fcntl.flock(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_in_the_shared_temporary_folder_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plc.engine.stream.warm import Progress, Warmth

    monkeypatch.setenv("PLC_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    progress = Progress(Warmth(rest=lambda seconds: pytest.fail("it waits")))
    lock = tmp_path / f"plc-warm-up-{os.getuid()}.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with progress.turn():
            pass
        # With no folder of its own it goes on without a lock.
        monkeypatch.setenv("PLC_CACHE_DIR", "/dev/null/nowhere")
        with progress.turn():
            pass
    finally:
        holder.communicate("")


def test_a_lock_of_ones_own_is_waited_for_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plc.engine.stream.warm import WAITING, Progress, Warmth

    monkeypatch.setenv("PLC_CACHE_DIR", str(tmp_path))
    told = []
    how = Warmth(wait_s=0.2, rest=lambda seconds: told.append(second.why()))
    first, second = (Progress(how) for _ in range(2))
    with first.turn():
        (lock,) = (tmp_path / "locks").iterdir()
        assert mode_of(lock) == 0o600
        with second.turn():
            pass
    assert set(told) == {WAITING}
    assert second.why() != WAITING


@AS_ROOT
def test_a_scratch_folder_of_another_user_is_left_as_it_is(tmp_path: Path) -> None:
    # They could put a link in its place between the look and the removal.
    theirs, ours = tmp_path / "plc-theirs", tmp_path / "plc-ours"
    for folder in (theirs, ours):
        folder.mkdir()
        (folder / ".plc-scratch").touch()
        (folder / "kept").touch()
    os.chown(theirs, STRANGER, STRANGER)
    remove_leftovers(tmp_path)
    assert (theirs / "kept").exists()
    assert not ours.exists()
