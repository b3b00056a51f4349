"""Many recordings repaired, and runs that are interrupted."""

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from plc import notice
from plc.errors import AudioFileError, ConfigError, MissingExtraError
from plc.files.audio import read_audio
from plc.files.marks import ZippedLabels
from plc.restore.detect import recorded
from plc.restore.detect.findings import Selection
from plc.restore.folders import OWN, place
from plc.restore.repair import (
    DOUBTFUL,
    FAILED,
    LEFT_OUT,
    NOT_LOOKED_AT,
    REPAIRED,
    SOUND,
    RepairReport,
    RepairSettings,
    run_repair,
)
from tests.processes import environment
from tests.signals import tones

pytestmark = pytest.mark.usefixtures("at_once")

RATE = 16_000
GAP = (RATE // 2, RATE // 2 + RATE // 50)
# Longer than anything here takes; only a failure waits for it.
PATIENCE_S = 120.0


def damaged(place: Path, seed: int, samples: int = RATE) -> None:
    signal_ = tones(seed, RATE, samples)
    signal_[GAP[0] : GAP[1]] = 0.0
    place.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(place, signal_, RATE, subtype="PCM_16")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a folder with tapes, two of them damaged, and their labels."""
    for seed, name in enumerate(("a", "side/b", "sound")):
        damaged(tmp_path / f"tapes/{name}.wav", seed)
        labels = tmp_path / f"labels/{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("" if name == "sound" else "0.5\t0.52\tdropout\n")
    (tmp_path / "tapes/notes.txt").write_text("no tape")
    return tmp_path


def run(archive: Path, **changed: Any) -> RepairReport:
    settings = RepairSettings(gaps=str(archive / "labels"), method="ar")
    given = {"settings": settings, **changed}
    return run_repair(str(archive / "tapes"), str(archive / "out"), **given)


def note(archive: Path, name: str, told: Any) -> None:
    record = archive / "out" / OWN / f"{name}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(told if isinstance(told, str) else json.dumps(told))


def states(report: RepairReport) -> dict[str, str]:
    return {each.name: each.state for each in report.outcomes}


def test_damaged_tapes_are_repaired_and_sound_ones_copied(archive: Path) -> None:
    report = run(archive)
    assert states(report) == {"a.wav": REPAIRED, "side/b.wav": REPAIRED, "sound.wav": SOUND}
    for name in ("a.wav", "side/b.wav"):
        before, after = (read_audio(archive / where / name)[0] for where in ("tapes", "out"))
        assert np.abs(after[GAP[0] : GAP[1]]).max() > 0.05
        np.testing.assert_array_equal(after[: GAP[0]], before[: GAP[0]])
    copy = (archive / "out/sound.wav").read_bytes()
    assert copy == (archive / "tapes/sound.wav").read_bytes()
    assert report.outcomes[0].gaps == (GAP,)
    assert [each.duration_s for each in report.outcomes] == [1.0] * 3
    assert report.hours_per_core_hour is not None
    assert [one.name for one in report.repaired()] == ["a.wav", "side/b.wav"]
    told = json.loads(json.dumps(report.as_dict()))
    assert (told["repaired"], told["sound"], told["failed"]) == (2, 1, 0)


def test_what_is_clipped_in_a_format_of_integers_is_told(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    signal_, rate = read_audio(archive / "tapes/a.wav")
    signal_[100:103] = 2.0
    soundfile.write(archive / "tapes/a.aiff", signal_, rate, subtype="FLOAT")
    assert states(run(archive))["a.aiff"] == REPAIRED
    place = archive / "out/a.flac"
    assert f"warning: 3 samples beyond full scale clipped in {place}" in told


def test_results_and_labels_are_named_as_their_user_does(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "listener", told.append)
    signal_, rate = read_audio(archive / "tapes/a.wav")
    soundfile.write(archive / "tapes/side/lossy.mp3", signal_, rate)
    with zipfile.ZipFile(archive / "labels.zip", "w") as labels:
        labels.writestr("side/lossy.mp3.txt", "0.5\t0.52")
        labels.writestr("side/b.wav.txt", "0.5\tsoon")
    settings = RepairSettings(gaps=str(archive / "labels.zip"), method="ar")
    report = run(archive, settings=settings)
    assert states(report)["side/lossy.mp3"] == REPAIRED
    (line,) = [line for line in told if "coded anew" in line]
    assert f"all of {archive / 'out/side/lossy.mp3'} is coded anew" in line
    (reason,) = [each.reason for each in report.outcomes if each.state == FAILED]
    assert f"{archive / 'labels.zip'}/side/b.wav.txt" in reason
    assert not [line for line in [*told, reason] if OWN in line]


def test_without_labels_damage_is_found(archive: Path) -> None:
    whole = tones(2, RATE, RATE)
    soundfile.write(archive / "tapes/sound.wav", whole, RATE, subtype="PCM_16")
    report = run(archive, settings=RepairSettings(method="ar"))
    assert states(report) == {"a.wav": REPAIRED, "side/b.wav": REPAIRED, "sound.wav": SOUND}
    assert [each.found for each in report.outcomes] == [("silence",), ("silence",), ()]
    (start, stop) = report.outcomes[0].gaps[0]
    assert abs(start - GAP[0]) <= 2
    assert abs(stop - GAP[1]) <= 2


def test_one_recording_is_repaired_as_in_a_folder_with_it_alone(archive: Path) -> None:
    alone = archive / "alone"
    alone.mkdir()
    (alone / "a.wav").write_bytes((archive / "tapes/a.wav").read_bytes())
    settings = RepairSettings(method="ar")
    expected = run_repair(str(alone), str(archive / "of folder"), settings)
    found = run_repair(str(archive / "tapes/a.wav"), str(archive / "of file"), settings)
    assert states(found) == states(expected) == {"a.wav": REPAIRED}
    made = [archive / folder / "a.wav" for folder in ("of folder", "of file")]
    assert made[0].read_bytes() == made[1].read_bytes()
    [repaired] = found.repaired()
    assert repaired.source.read_bytes() == (alone / "a.wav").read_bytes()
    again = run_repair(str(archive / "tapes/a.wav"), str(archive / "of file"), settings)
    assert [each.before for each in again.outcomes] == [True]
    for out in ("tapes", "tapes/a.wav", "fixed.wav"):
        with pytest.raises((AudioFileError, ConfigError), match=r"name a(nother)? folder"):
            run_repair(str(archive / "tapes/a.wav"), str(archive / out), settings)
    assert not (archive / "fixed.wav").exists()


def test_a_second_run_does_only_what_changed(archive: Path) -> None:
    run(archive)
    assert all(each.before for each in run(archive).outcomes)
    damaged(archive / "tapes/a.wav", 9, samples=2 * RATE)
    (archive / "out/sound.wav").unlink()
    again = run(archive)
    assert [each.name for each in again.outcomes if not each.before] == ["a.wav", "sound.wav"]
    assert len(read_audio(archive / "out/a.wav")[0]) == 2 * RATE
    other = RepairSettings(gaps=str(archive / "labels"), method="zeros")
    assert not any(each.before for each in run(archive, settings=other).outcomes)


@pytest.mark.parametrize("out", ["tapes/out", "."])
def test_results_beside_the_source_are_not_repaired_again(archive: Path, out: str) -> None:
    settings = RepairSettings(gaps=str(archive / "labels"), method="ar")
    tapes, target = str(archive / "tapes"), str(archive / out)
    reports = [run_repair(tapes, target, settings) for _ in range(2)]
    assert states(reports[0]) == {"a.wav": REPAIRED, "side/b.wav": REPAIRED, "sound.wav": SOUND}
    assert states(reports[1]) == states(reports[0])
    assert all(each.before for each in reports[1].outcomes)


def test_an_interrupted_run_is_gone_on_with(archive: Path) -> None:
    class StopError(Exception):
        pass

    def stop(outcome: Any, done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        run(archive, progress=stop)
    # As if the worker had ended between the result of the next one and its record.
    (archive / "out/side").mkdir()
    (archive / "out/side/b.wav").write_bytes(b"whole")
    told = {"format": 2, "key": "", "outcome": {"name": "side/b.wav", "state": "begun"}}
    told["written"] = {"side/b.wav": [hashlib.sha256(b"whole").hexdigest()]}
    note(archive, "side/b.wav", told)
    report = run(archive)
    assert [each.before for each in report.outcomes] == [True, False, False]
    assert states(report)["side/b.wav"] == REPAIRED
    assert read_audio(archive / "out/side/b.wav")[0].any()


def test_a_foreign_result_and_a_bad_tape_fail_alone(archive: Path) -> None:
    (archive / "out").mkdir()
    (archive / "out/a.wav").write_bytes(b"of another program")
    (archive / "tapes/sound.wav").write_bytes(b"no audio")
    report = run(archive)
    assert states(report) == {"a.wav": FAILED, "side/b.wav": REPAIRED, "sound.wav": FAILED}
    assert "give --overwrite" in report.outcomes[0].reason
    assert (archive / "out/a.wav").read_bytes() == b"of another program"
    assert states(run(archive, overwrite=True))["a.wav"] == REPAIRED


def test_what_has_no_labels_was_not_looked_at(archive: Path) -> None:
    run(archive)
    (archive / "labels/a.txt").unlink()
    # Of this recording alone, and so before the other one.
    (archive / "labels/side/b.wav.txt").write_text("")
    report = run(archive)
    assert states(report) == {"a.wav": NOT_LOOKED_AT, "side/b.wav": SOUND, "sound.wav": SOUND}
    assert [each.before for each in report.outcomes] == [False, False, True]
    assert (archive / "out/a.wav").read_bytes() == (archive / "tapes/a.wav").read_bytes()
    assert report.as_dict()["not_looked_at"] == 1
    assert all(each.before for each in run(archive).outcomes)


def test_labels_may_be_in_a_zip_file(archive: Path) -> None:
    labels = archive / "labels.zip"
    with zipfile.ZipFile(labels, "w") as made:
        made.writestr("a.wav.txt", "0.5\t0.52\tsilence\n")
        made.writestr("side/b.wav.txt", "")
    settings = RepairSettings(gaps=str(labels), method="ar")
    report = run(archive, settings=settings)
    expected = {"a.wav": REPAIRED, "side/b.wav": SOUND, "sound.wav": NOT_LOOKED_AT}
    assert states(report) == expected
    assert report.outcomes[0].gaps == (GAP,)
    with zipfile.ZipFile(labels, "a") as made:
        made.writestr("sound.txt", "0.5\t0.52\tsilence\n")
    again = run(archive, settings=settings)
    assert [each.before for each in again.outcomes] == [True, True, False]
    with zipfile.ZipFile(labels, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.txt", "0.1\t0.2\n" * 500)
    data = bytearray(labels.read_bytes())
    data[40:44] = b"\xff" * 4  # of what is compressed
    labels.write_bytes(data)
    with pytest.raises(AudioFileError, match=r"cannot read a\.txt of .*labels\.zip"):
        ZippedLabels(labels).fetch("a.txt", archive)
    labels.write_bytes(b"no zip")
    with pytest.raises(AudioFileError, match="no zip file"):
        run(archive, settings=settings)


def test_a_recording_with_doubtful_places_alone_is_copied(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubt(found: Any, samples: int, rate: int) -> Any:
        return tuple(replace(each, doubt="regular") for each in found)

    monkeypatch.setattr(recorded, "weigh", doubt)
    report = run(archive, settings=RepairSettings(method="ar"))
    assert set(states(report).values()) == {DOUBTFUL}
    first = report.outcomes[0]
    assert (first.gaps, first.found, first.findings[0].doubt) == ((), (), "regular")
    assert (archive / "out/a.wav").read_bytes() == (archive / "tapes/a.wav").read_bytes()
    again = run(archive, settings=RepairSettings(method="ar"))
    assert [(each.before, each.findings) for each in again.outcomes] == [
        (True, each.findings) for each in report.outcomes
    ]


def test_a_selection_leaves_other_damage_as_it_is(archive: Path) -> None:
    clicks = RepairSettings(method="ar", selection=Selection(kinds=("click",)))
    report = run(archive, settings=clicks)
    assert set(states(report).values()) == {LEFT_OUT}
    assert [each.left_out for each in report.outcomes] == [1, 1, 1]
    assert (archive / "out/a.wav").read_bytes() == (archive / "tapes/a.wav").read_bytes()
    assert all(each.before for each in run(archive, settings=clicks).outcomes)
    every = run(archive, settings=RepairSettings(method="ar"))
    assert set(states(every).values()) == {REPAIRED}


def test_a_dry_run_tells_what_would_be_done_and_writes_nothing(archive: Path) -> None:
    (archive / "tapes/bad.wav").write_bytes(b"no audio")
    dry = run(archive, dry_run=True)
    assert not (archive / "out").exists()
    real = run(archive)
    assert states(dry) == states(real)
    assert [(each.gaps, each.found, each.result, each.samples) for each in dry.outcomes] == [
        (each.gaps, each.found, each.result, each.samples) for each in real.outcomes
    ]
    assert dry.as_dict()["dry_run"]
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}
    again = run(archive, dry_run=True)
    assert [each.before for each in again.outcomes] == [True, False, True, True]
    assert not any(each.before for each in run(archive, dry_run=True, anew=True).outcomes)
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == before
    for text in ("0.5\t9.0\tpast its end", "0.5\t0.6\tno such channel [3]", "0.5\t0.52\t[1]"):
        (archive / "labels/side/b.txt").write_text(text)
        told = states(run(archive, dry_run=True))["side/b.wav"]
        assert told == (REPAIRED if "[1]" in text else FAILED)
        assert told == states(run(archive))["side/b.wav"]
    (archive / "out/a.wav").write_bytes(b"by hand")
    assert states(run(archive, dry_run=True, anew=True)) == states(real)
    other = RepairSettings(gaps=str(archive / "labels"), method="zeros")
    failed = run(archive, dry_run=True, settings=other).outcomes[0]
    assert failed.state == FAILED
    assert "give --overwrite" in failed.reason


def test_what_cannot_be_repaired_is_refused(archive: Path) -> None:
    settings = RepairSettings(gaps=str(archive / "labels"))
    tapes = str(archive / "tapes")
    with pytest.raises(ConfigError, match="source and target"):
        run_repair(tapes, tapes + "/", settings)
    with pytest.raises(ConfigError, match="source and target"):
        run_repair(tapes, str(archive / "labels/../tapes"), settings)
    with pytest.raises(AudioFileError, match="not a folder"):
        run_repair(str(archive / "none"), str(archive / "out"), settings)
    with pytest.raises(AudioFileError, match="no recordings"):
        run_repair(str(archive / "labels"), str(archive / "out"), settings)
    (archive / "file").write_text("somebody's")
    with pytest.raises(AudioFileError, match="file is a file; name a folder for the results"):
        run_repair(tapes, str(archive / "file"), settings)
    pytest.importorskip("fsspec", reason="fsspec comes with the extra scale")
    with pytest.raises((ConfigError, MissingExtraError), match="nosuch://"):
        run_repair("nosuch://a/b", str(archive / "out"), settings)


def test_two_runs_do_not_share_a_target(archive: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="no locks of files here")
    (archive / "out" / OWN).mkdir(parents=True)
    with (archive / "out" / OWN / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(AudioFileError, match="another plc repair"):
            run(archive)


def wait_until(holds: Any) -> Any:
    end_s = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < end_s
        time.sleep(0.01)
    return found


def test_a_killed_worker_costs_nothing_but_time(archive: Path) -> None:
    for number in range(6):
        damaged(archive / f"tapes/{number}.wav", number)
        (archive / f"labels/{number}.txt").write_text("0.5\t0.52\tdropout\n")
    places: list[str | Path] = [
        archive / "tapes",
        "--out",
        archive / "out",
        "--gaps",
        archive / "labels",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "plc", "repair", *places, "--method", "ar", "--jobs", "2", "--json"],
        env=environment(),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    # With the first record there, both workers have begun; one of them ends without a word.
    wait_until(lambda: list((archive / "out" / OWN).glob("*.json")))
    workers = [
        child
        for child in psutil.Process(process.pid).children()
        if "spawn_main" in " ".join(child.cmdline())
    ]
    os.kill(workers[0].pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    report = json.loads(said)
    names = [each["name"] for each in report["outcomes"]]
    assert len(names) == len(set(names)) == 9
    assert (report["repaired"], report["sound"], report["failed"]) == (8, 1, 0)
    assert not list((archive / "out").rglob("*.part"))


@pytest.fixture
def bucket() -> Iterator[str]:
    """Serve S3 from this process; return the URL of a bucket."""
    pytest.importorskip("s3fs", reason="s3fs comes with the extra scale")
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    import fsspec

    serving = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    serving.start()
    host, port = serving.get_host_and_port()
    names = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("archive")
        yield "s3://archive"
    fsspec.filesystem("s3").clear_instance_cache()
    serving.stop()
    gc.collect()


@pytest.mark.filterwarnings("ignore")  # of botocore's and moto's own
def test_a_bucket_is_repaired_into_a_bucket(archive: Path, bucket: str) -> None:
    import fsspec

    files = fsspec.filesystem("s3")
    for folder in ("tapes", "labels"):
        files.put(str(archive / folder), "archive/", recursive=True)
    settings = RepairSettings(gaps=f"{bucket}/labels", method="ar")
    report = run_repair(f"{bucket}/tapes", f"{bucket}/out", settings)
    assert states(report) == {"a.wav": REPAIRED, "side/b.wav": REPAIRED, "sound.wav": SOUND}
    files.invalidate_cache()
    files.get_file("archive/out/side/b.wav", str(archive / "b.wav"))
    local = run(archive)
    assert states(local) == states(report)
    np.testing.assert_array_equal(
        read_audio(archive / "b.wav")[0], read_audio(archive / "out/side/b.wav")[0]
    )
    again = run_repair(f"{bucket}/tapes", f"{bucket}/out", settings)
    assert all(each.before for each in again.outcomes)
    results = place(f"{bucket}/out")
    results.remove("sound.wav")
    assert results.digest("sound.wav") is None


@pytest.mark.system
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_cluster_repairs_what_processes_do(archive: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray comes with the extra scale")
    report = run(archive, ray="local", workers=2)
    assert states(report) == {"a.wav": REPAIRED, "side/b.wav": REPAIRED, "sound.wav": SOUND}
    assert not ray.is_initialized()
    gc.collect()
