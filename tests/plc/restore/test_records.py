"""What plc repair replaces, and what it never does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from plc.errors import AudioFileError
from plc.files.pages import listening
from plc.files.scratch import scratch
from plc.restore.folders import OWN
from plc.restore.repair import (
    FAILED,
    NOT_LOOKED_AT,
    REPAIRED,
    RepairReport,
    RepairSettings,
    run_repair,
)
from tests.processes import environment
from tests.signals import tones

pytestmark = pytest.mark.usefixtures("at_once")

RATE = 16_000
PATIENCE_S = 120.0
MINE = b"of another program"


def tape(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        form = path.suffix[1:].upper()
        soundfile.write(file, tones(seed, RATE, RATE), RATE, subtype="PCM_16", format=form)
    return path


def damage(root: Path, name: str) -> None:
    label = (root / "labels" / name).with_suffix(".txt")
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text("0.5\t0.52\tdropout\n")


def run(root: Path, source: str = "tapes", target: str = "out", **given: Any) -> RepairReport:
    (root / "labels").mkdir(exist_ok=True)
    settings = RepairSettings(gaps=str(root / "labels"), method="ar")
    return run_repair(str(root / source), str(root / target), settings, **given)


def states(report: RepairReport) -> dict[str, str]:
    return {each.name: each.state for each in report.outcomes}


def reason(report: RepairReport, name: str) -> str:
    return next(each.reason for each in report.outcomes if each.name == name)


def test_a_file_that_the_tool_did_not_write_stays_when_a_source_turns_damaged(
    tmp_path: Path,
) -> None:
    tape(tmp_path / "tapes/a.aiff")
    assert states(run(tmp_path)) == {"a.aiff": NOT_LOOKED_AT}
    (tmp_path / "out/a.flac").write_bytes(MINE)
    damage(tmp_path, "a.aiff")
    report = run(tmp_path)
    assert states(report) == {"a.aiff": FAILED}
    assert "no record knows it; give --overwrite" in reason(report, "a.aiff")
    assert (tmp_path / "out/a.flac").read_bytes() == MINE
    assert states(run(tmp_path, overwrite=True)) == {"a.aiff": REPAIRED}


def test_a_result_improved_by_hand_outlives_a_touch_of_its_source(tmp_path: Path) -> None:
    source = tape(tmp_path / "tapes/a.wav")
    damage(tmp_path, "a.wav")
    run(tmp_path)
    os.utime(source, ns=(1, 1))
    assert states(run(tmp_path)) == {"a.wav": REPAIRED}  # unchanged: made anew
    (tmp_path / "out/a.wav").write_bytes(MINE)
    os.utime(source, ns=(2, 2))
    report = run(tmp_path)
    assert "was changed since it was written; give --overwrite" in reason(report, "a.wav")
    assert (tmp_path / "out/a.wav").read_bytes() == MINE


def test_a_result_by_another_name_does_not_stay_beside_the_new_one(tmp_path: Path) -> None:
    tape(tmp_path / "tapes/a.aiff")
    out = tmp_path / "out"

    def results() -> set[str]:
        run(tmp_path)
        return {path.name for path in out.iterdir() if path.is_file()}

    assert results() == {"a.aiff"}
    damage(tmp_path, "a.aiff")
    assert results() == {"a.flac"}
    (tmp_path / "labels/a.txt").write_text("")
    assert results() == {"a.aiff"}
    damage(tmp_path, "a.aiff")
    (out / "a.aiff").write_bytes(MINE)
    assert results() == {"a.aiff", "a.flac"}
    assert (out / "a.aiff").read_bytes() == MINE
    # What is another recording's now is left to it.
    tape(tmp_path / "tapes/a.flac", 1)
    report = run(tmp_path, overwrite=True)
    assert states(report) == {"a.aiff": REPAIRED, "a.flac": REPAIRED}
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        "a.aiff",
        "a.aiff.flac",
        "a.flac",
    }


def test_two_recordings_that_would_get_one_name_get_two(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.aiff", "a.flac", "b.aiff")):
        tape(tmp_path / "tapes" / name, seed)
    for name in ("a.aiff", "b.aiff"):
        damage(tmp_path, name)
    report = run(tmp_path)
    assert [(each.name, each.result) for each in report.outcomes] == [
        ("a.aiff", "a.aiff.flac"),
        ("a.flac", "a.flac"),
        ("b.aiff", "b.flac"),
    ]


def test_names_that_a_disk_takes_for_one_are_refused_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plc.restore.folders.folds_case", lambda folder: True)
    for name in ("A.wav", "a.wav", "b.wav"):
        tape(tmp_path / "tapes" / name)
    report = run(tmp_path)
    assert states(report) == {"A.wav": NOT_LOOKED_AT, "a.wav": FAILED, "b.wav": NOT_LOOKED_AT}
    assert "the name of another one" in reason(report, "a.wav")


@pytest.mark.parametrize("way", ["above", "linked folder", "link", "hard link"])
def test_no_recording_is_replaced_whatever_its_names(tmp_path: Path, way: str) -> None:
    victim = tape(tmp_path / "out/tapes/x.wav")
    tape(tmp_path / "out/tapes/tapes/x.wav", seed=1)
    before = victim.read_bytes()
    damage(tmp_path, "x.wav")
    damage(tmp_path, "tapes/x.wav")
    target = "out" if way == "above" else "to"
    (tmp_path / "to").mkdir()
    if way == "linked folder":
        (tmp_path / "to/tapes").symlink_to(tmp_path / "out/tapes")
    elif way == "link":
        (tmp_path / "to/x.wav").symlink_to(victim)
    elif way == "hard link":
        os.link(victim, tmp_path / "to/x.wav")
    report = run(tmp_path, "out/tapes", target, overwrite=True)
    assert sorted(states(report).values()) == [FAILED, REPAIRED]
    assert victim.read_bytes() == before


def test_the_source_by_another_name_is_no_target(tmp_path: Path) -> None:
    tape(tmp_path / "tapes/a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "tapes")
    for target in ("link", "link/../tapes"):
        with pytest.raises(ValueError, match="source and target"):
            run(tmp_path, target=target)
    settings = RepairSettings(method="ar")
    with pytest.raises(ValueError, match="source and target"):
        run_repair(str(tmp_path / "tapes"), f"file://{tmp_path}/tapes", settings)


@pytest.mark.parametrize(
    "record",
    [
        "no JSON",
        "[" * 100_000,
        "[]",
        {"format": 3, "key": "?"},
        {"key": "?"},
        {"key": "?", "outcome": 3},
        {"key": "?", "outcome": {"state": "sound"}},
        {"key": "?", "outcome": {"state": "sound", "result": "a.wav", "more": 1}},
        {"key": "?", "outcome": {"state": "sound", "result": "a.wav", "samples": "many"}},
        {"key": "?", "outcome": {"state": "sound", "result": "a.wav", "gaps": [[1]]}},
        {"key": "?", "outcome": {"state": "odd", "result": "a.wav"}},
        {"key": "?", "outcome": {"state": "sound", "result": "a.wav"}, "written": {"a.wav": 3}},
    ],
)
def test_a_record_of_another_version_is_none(tmp_path: Path, record: Any) -> None:
    tape(tmp_path / "tapes/a.wav")
    run(tmp_path)
    path = tmp_path / "out" / OWN / "a.wav.json"
    key = json.loads(path.read_text())["key"]
    path.write_text(record if isinstance(record, str) else json.dumps(record).replace("?", key))
    report = run(tmp_path)
    assert states(report) == {"a.wav": FAILED}
    assert "give --overwrite" in reason(report, "a.wav")
    assert states(run(tmp_path, overwrite=True)) == {"a.wav": NOT_LOOKED_AT}


def test_a_record_without_hashes_still_tells_what_was_done(tmp_path: Path) -> None:
    tape(tmp_path / "tapes/a.wav")
    run(tmp_path)
    path = tmp_path / "out" / OWN / "a.wav.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({"key": told["key"], "outcome": told["outcome"]}))
    assert run(tmp_path).outcomes[0].before


@pytest.mark.parametrize(
    "name",
    [
        "x" * 250 + ".wav",
        "é" * 125 + ".wav",
        "a\nb.wav",
        os.fsdecode(b"caf\xe9.wav"),
        "lock/a.wav",
        "about/a.wav",
        "work/a.wav",
        "a.wav.json/a.wav",
    ],
)
def test_any_name_of_a_recording_works(tmp_path: Path, name: str) -> None:
    tape(tmp_path / "tapes" / name)
    tape(tmp_path / "tapes/a.wav")
    damage(tmp_path, "a.wav")
    (tmp_path / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
    damage(tmp_path, name)
    assert states(run(tmp_path)) == {name: REPAIRED, "a.wav": REPAIRED}
    assert all(each.before for each in run(tmp_path).outcomes)


def test_what_cannot_be_read_is_told_and_the_rest_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape(tmp_path / "tapes/a.wav")
    tape(tmp_path / "tapes/locked/b.wav")
    (tmp_path / "tapes/empty.wav").touch()
    (tmp_path / "tapes/link.wav").symlink_to("nothing")
    os.mkfifo(tmp_path / "tapes/pipe.wav")
    scandir = os.scandir

    def guarded(path: Any = ".") -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    report = run(tmp_path)
    told = {each.name: each.reason for each in report.outcomes if each.state == FAILED}
    assert list(told) == ["empty.wav", "link.wav", "locked", "pipe.wav"]
    words = ("is empty", "link to nothing", "cannot be read: Permission denied", "pipe")
    for said, expected in zip(told.values(), words, strict=True):
        assert expected in said
    assert states(report)["a.wav"] == NOT_LOOKED_AT


def test_a_file_that_vanishes_fails_alone(tmp_path: Path) -> None:
    for name in "ab":
        tape(tmp_path / f"tapes/{name}.wav")

    def vanish(outcome: Any, done: int, total: int) -> None:
        (tmp_path / "tapes/b.wav").unlink(missing_ok=True)

    assert states(run(tmp_path, progress=vanish)) == {"a.wav": NOT_LOOKED_AT, "b.wav": FAILED}


def test_a_folder_in_the_place_of_a_result_fails_alone(tmp_path: Path) -> None:
    tape(tmp_path / "tapes/a.wav")
    (tmp_path / "out/a.wav").mkdir(parents=True)
    for overwrite in (False, True):
        report = run(tmp_path, overwrite=overwrite)
        assert states(report) == {"a.wav": FAILED}
        assert "out/a.wav" in reason(report, "a.wav")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape(tmp_path / "tapes/a.wav")

    def full(source: Any, made: Any) -> None:
        Path(made).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copy2", full)
    report = run(tmp_path)
    assert "disk is full" in reason(report, "a.wav")
    assert not (tmp_path / "out/a.wav").exists()
    assert not list((tmp_path / "out" / OWN / "work").iterdir())


def test_a_killed_run_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    left = tmp_path / "out" / OWN / "work"
    code = (
        "import sys, time; from pathlib import Path; from plc.files.scratch import scratch\n"
        "with scratch(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half.wav').write_bytes(b'half'); print(folder, flush=True); time.sleep(600)"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(left)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        folders = [Path(process.stdout.readline().strip()) for process in runs if process.stdout]
        (left / "plc-mine").mkdir()
        os.kill(runs[0].pid, signal.SIGKILL)
        runs[0].wait(PATIENCE_S)
        tape(tmp_path / "tapes/a.wav")
        assert states(run(tmp_path)) == {"a.wav": NOT_LOOKED_AT}
        assert not folders[0].exists()
        assert (folders[1] / "half.wav").exists()  # of a process that lives
        assert (left / "plc-mine").exists()
    finally:
        for process in runs:
            process.kill()
            process.communicate()


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    for number in range(4):
        path = tmp_path / f"tapes/{number}.wav"
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(number).standard_normal(60 * RATE) * 0.1
        soundfile.write(path, noise, RATE)
    command = [sys.executable, "-m", "plc", "repair", str(tmp_path / "tapes"), "--jobs", "2"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], env=environment(), stdout=subprocess.DEVNULL
    )
    work = tmp_path / "out" / OWN / "work"
    end_s = time.monotonic() + PATIENCE_S
    while (
        not (work.is_dir() and list(work.glob("plc-*")))
        or len(workers := psutil.Process(process.pid).children()) < 2
    ):
        assert time.monotonic() < end_s
        time.sleep(0.01)
    process.kill()
    process.wait(PATIENCE_S)
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
    assert not alive
    with scratch(work) as folder:
        assert list(work.iterdir()) == [folder]


def test_what_a_link_in_the_place_of_the_lock_leads_to_stays(tmp_path: Path) -> None:
    tape(tmp_path / "tapes/a.wav")
    (tmp_path / "mine").write_bytes(MINE)
    (tmp_path / "out" / OWN).mkdir(parents=True)
    (tmp_path / "out" / OWN / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(AudioFileError, match="is a link"):
        run(tmp_path)
    assert (tmp_path / "mine").read_bytes() == MINE


def test_a_page_does_not_take_the_place_of_a_recording(tmp_path: Path) -> None:
    recording = tape(tmp_path / "a.wav")
    (tmp_path / "page.html").symlink_to(recording)
    for page in (recording, tmp_path / "page.html"):
        with pytest.raises(AudioFileError, match="name a page"):
            listening.check(page, overwrite=True)
    listening.check(tmp_path / "new.html", overwrite=False)
