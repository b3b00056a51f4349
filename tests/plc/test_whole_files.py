import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.errors import AudioFileError
from plc.files.audio import AudioReader
from plc.files.writing import AudioWriter, writer_like
from plc.whole_files import leftovers, open_beside, remove_leftovers, write_whole
from tests.processes import environment

SAMPLES = np.zeros((100, 1), np.float32)


def test_the_file_in_the_making_of_a_process_that_lives_stays(tmp_path: Path) -> None:
    place = tmp_path / f"{'x' * 60}.wav"
    partial, descriptor = open_beside(place)
    remove_leftovers(place)
    assert partial.exists()
    os.close(descriptor)
    assert leftovers(place) == [partial]


def test_names_that_share_their_beginning_have_leftovers_of_their_own(tmp_path: Path) -> None:
    one, other = (tmp_path / f"{'x' * 60}{end}.wav" for end in "ab")
    partial, descriptor = open_beside(other)
    os.close(descriptor)
    assert not leftovers(one)
    assert leftovers(other) == [partial]


def test_what_a_killed_process_left_goes_and_no_file_of_others(tmp_path: Path) -> None:
    place = tmp_path / "a.wav"
    code = (
        "import sys, time; from plc.files.writing import AudioWriter\n"
        "writer = AudioWriter(sys.argv[1], 8000, 1); print(flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(place)], env=environment(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    remove_leftovers(place)
    (left,) = tmp_path.iterdir()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    others = [".a.wav.mine.part", f".a.wav.{16 * '0'}.part", "a.wav", f"{left.name[:-5]}.mine"]
    for name in others:
        (tmp_path / name).touch()
    remove_leftovers(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_leftovers_of_small_files_and_of_what_links_lead_to_go_too(tmp_path: Path) -> None:
    place = tmp_path / "a.trace"
    os.close(open_beside(place)[1])
    write_whole(place, b"0101")
    assert list(tmp_path.iterdir()) == [place]
    source, there, link = (tmp_path / name for name in ("a.wav", "there.wav", "b.wav"))
    for path in (source, there):
        soundfile.write(path, SAMPLES, 8000)
    link.symlink_to(there)
    os.close(open_beside(there)[1])
    with AudioReader(source) as reader, writer_like(reader, link, overwrite=True) as writer:
        writer.write(SAMPLES)
    assert sorted(tmp_path.iterdir()) == [place, source, link, there]


@pytest.mark.parametrize("name", ["x" * 250 + ".wav", "é" * 125 + ".wav"])
def test_a_name_as_long_as_a_disk_takes_is_written(tmp_path: Path, name: str) -> None:
    with AudioWriter(tmp_path / name, 8000, 1) as writer:
        writer.write(SAMPLES)
    assert os.listdir(tmp_path) == [name]


def test_a_file_that_came_meanwhile_is_not_replaced_unasked(tmp_path: Path) -> None:
    place = tmp_path / "a.wav"
    writer = AudioWriter(place, 8000, 1, overwrite=False)
    writer.write(SAMPLES)
    place.write_text("mine")
    with pytest.raises(AudioFileError, match="give --overwrite"):
        writer.commit()
    assert place.read_text() == "mine"
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_small_file_that_came_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a.txt"

    def meanwhile(held: Path) -> tuple[Path, int]:
        place.write_text("mine")
        return open_beside(held)

    monkeypatch.setattr("plc.whole_files.open_beside", meanwhile)
    with pytest.raises(AudioFileError, match="give --overwrite"):
        write_whole(place, b"after", overwrite=False)
    assert place.read_text() == "mine"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_small_file_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a.txt"
    write_whole(place, b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("plc.whole_files.os.replace", full)
    with pytest.raises(AudioFileError, match="disk is full"):
        write_whole(place, b"after")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert place.read_bytes() == b"before"
    with pytest.raises(AudioFileError, match="give --overwrite"):
        write_whole(place, b"after", overwrite=False)
