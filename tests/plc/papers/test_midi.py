"""Standard MIDI files: times, tempo, keys, and files that are broken."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from plc.errors import AudioFileError
from plc.papers import midi

mido = pytest.importorskip("mido")


def write(path: Path, tracks: list[list[Any]], kind: int = 1) -> Path:
    """Write a file of 480 ticks a beat: half a second each, unless a tempo says otherwise."""
    file = mido.MidiFile(type=kind, ticks_per_beat=480)
    for messages in tracks:
        file.tracks.append(mido.MidiTrack(messages))
    file.save(path)
    return path


def on(pitch: int, wait: int = 0, velocity: int = 100, channel: int = 0) -> Any:
    return mido.Message("note_on", note=pitch, velocity=velocity, time=wait, channel=channel)


def off(pitch: int, wait: int, channel: int = 0) -> Any:
    return mido.Message("note_off", note=pitch, time=wait, channel=channel)


def test_keys_of_all_tracks_come_in_the_order_of_their_starts(tmp_path: Path) -> None:
    first = [on(60), off(60, 480), on(62, velocity=50), on(62, 960, velocity=0)]
    second = [on(48, 240, channel=3), off(48, 960, channel=3)]
    score = midi.read_midi(write(tmp_path / "two.mid", [first, second]))
    assert score.drums == 0
    assert score.keys == (
        midi.Key(0.0, 0.5, 60, 100, 0),
        midi.Key(0.25, 1.25, 48, 100, 3),
        midi.Key(0.5, 1.5, 62, 50, 0),
    )


def test_a_change_of_tempo_is_followed(tmp_path: Path) -> None:
    slow = mido.MetaMessage("set_tempo", tempo=1_000_000, time=480)
    score = midi.read_midi(write(tmp_path / "slow.mid", [[slow, on(60), off(60, 480)]]))
    (key,) = score.keys
    assert [key.start_s, key.stop_s] == pytest.approx([0.5, 1.5])


def test_drums_are_left_out_and_held_keys_end_with_the_file(tmp_path: Path) -> None:
    drum = [on(36, channel=9), off(36, 10, channel=9)]
    track = [on(60), *drum, on(64, 470), off(64, 480)]
    score = midi.read_midi(write(tmp_path / "drum.mid", [track]))
    assert score.drums == 1
    assert [(key.pitch, key.stop_s) for key in score.keys] == [(60, 1.0), (64, 1.0)]
    with pytest.raises(AudioFileError, match="holds no notes but drums"):
        midi.read_midi(write(tmp_path / "only.mid", [drum]))


def test_a_key_struck_twice_sounds_twice(tmp_path: Path) -> None:
    track = [on(60), on(60, 240), off(60, 240), off(60, 240)]
    keys = midi.read_midi(write(tmp_path / "twice.mid", [track])).keys
    assert [(key.start_s, key.stop_s) for key in keys] == [(0.0, 0.5), (0.25, 0.75)]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is not a whole MIDI file of format 0 or 1"),
        (b"RIFF" + bytes(100), "is not a whole MIDI file of format 0 or 1"),
        (
            b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0MTrk\x00\x00\x00\x40\x00\x90",
            "not a whole",
        ),
        (b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0MTrk\x00\x00\x00\x04\x00\xff\x2f\x00", "no"),
    ],
)
def test_what_is_no_whole_file_of_notes_is_refused(
    content: bytes, match: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.mid"
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match=match):
        midi.read_midi(path)


def test_every_truncation_is_read_or_refused(tmp_path: Path) -> None:
    whole = write(
        tmp_path / "whole.mid", [[on(60), off(60, 480), on(62), off(62, 99)]]
    ).read_bytes()
    path = tmp_path / "cut.mid"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with suppress(AudioFileError):
            assert midi.read_midi(path).keys


def test_files_that_are_absent_too_long_or_of_format_2_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="cannot read"):
        midi.read_midi(tmp_path / "none.mid")
    with pytest.raises(AudioFileError, match="lasts longer than 1800 s"):
        midi.read_midi(write(tmp_path / "long.mid", [[on(60), off(60, 4_000_000)]]))
    with pytest.raises(AudioFileError, match="format 0 or 1"):
        midi.read_midi(write(tmp_path / "two.mid", [[on(60), off(60, 4)]], kind=2))


def raw(path: Path, track: bytes, division: bytes = b"\x01\xe0") -> Path:
    head = b"MThd\0\0\0\x06\0\0\0\x01" + division + b"MTrk"
    path.write_bytes(head + len(track).to_bytes(4, "big") + track)
    return path


@pytest.mark.parametrize(("frames", "rate"), [(24, 24.0), (25, 25.0), (29, 29.97), (30, 30.0)])
def test_times_in_frames_of_smpte_are_followed(tmp_path: Path, frames: int, rate: float) -> None:
    # 40 ticks a frame; a tempo has no meaning then.
    track = b"\0\xff\x51\x03\x01\0\0\0\x90\x3c\x40\x81\x48\x80\x3c\0\0\xff\x2f\0"
    division = bytes([256 - frames, 40])
    (key,) = midi.read_midi(raw(tmp_path / "smpte.mid", track, division)).keys
    assert key.stop_s == pytest.approx(200 / 40 / rate, rel=1e-4)


@pytest.mark.parametrize("event", [b"\x01\xe0\0\x40", b"\0\xc0\x05", b"\0\x90\x3c\x40\0\x3c\0"])
def test_a_file_of_megabytes_is_refused_soon(tmp_path: Path, event: bytes) -> None:
    path = raw(tmp_path / "large.mid", event * ((6 << 20) // len(event)))
    begin_s = time.process_time()
    with pytest.raises(AudioFileError, match="more than"):
        midi.read_midi(path)
    # It was over a minute.
    assert time.process_time() - begin_s < 20


def test_a_running_status_and_messages_of_systems_are_passed_over(tmp_path: Path) -> None:
    track = b"\0\xf0\x03\x01\x02\xf7\0\x90\x3c\x40\x83\x60\x3c\0\0\xb0\x07\x64\0\xff\x2f\0"
    (key,) = midi.read_midi(raw(tmp_path / "running.mid", track)).keys
    assert (key.start_s, key.stop_s, key.pitch) == (0.0, 0.5, 60)
