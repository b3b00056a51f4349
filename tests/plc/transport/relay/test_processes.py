"""Workers of a relay that die: others take over, and recordings are kept."""

import errno
import os
import shutil
import signal
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from plc import notice
from plc.engine.stream.config import StreamConfig
from plc.errors import AudioFileError, NetworkError
from plc.files.writing import AudioWriter, rescue
from plc.transport.relay import processes
from plc.transport.relay.processes import run_workers
from plc.transport.relay.relayed import RelayConfig
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.udp import Endpoint
from plc.transport.service.recorder import RecordingFile
from tests.signals import noise

RATE = 16_000
BLOCK = noise(1, RATE // 2)[:, None]

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")


def config(to: Path, name: str) -> RelayConfig:
    receiver = ReceiverConfig(stream=StreamConfig(sample_rate=RATE, packet_samples=160))
    return RelayConfig(
        listen=Endpoint("127.0.0.1", 0), to=RecordingFile(to), receiver=receiver, name=name
    )


def run(configs: list[RelayConfig], deaths: Path, **options: Any) -> list[dict[str, Any]]:
    """Stand for the relay: record a piece of each stream, and die as often as a file says."""
    ports = [SimpleNamespace(endpoint=one.listen) for one in configs]
    lanes = [SimpleNamespace(ports=[port], ended=True, error=None) for port in ports]
    options["announce"](SimpleNamespace(lanes=lanes))
    reports = []
    for one in configs:
        assert isinstance(one.to, RecordingFile)
        with AudioWriter(one.to.path, RATE, 1) as writer:
            writer.write(BLOCK)
            left = deaths / one.name
            if left.exists():
                times = int(left.read_text()) - 1
                left.write_text(str(times)) if times else left.unlink()
                if one.name == "stopped":
                    lanes[0].ended = False
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
        reports.append({"name": one.name, "to": str(one.to)})
    return reports


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(notice, "listener", lines.append)
    monkeypatch.setattr(processes, "_WAIT_S", 0.01)
    return lines


@pytest.fixture
def deaths(tmp_path: Path) -> Path:
    folder = tmp_path / "deaths"
    folder.mkdir()
    return folder


def test_a_worker_that_dies_is_started_anew_and_no_recording_is_lost(
    tmp_path: Path, deaths: Path, told: list[str]
) -> None:
    (deaths / "b").write_text("2")
    # The name that would be next is another stream's.
    configs = [config(tmp_path / f"{name}.wav", name) for name in ("a", "b", "b-2")]
    reports = run_workers(configs, 3, 60.0, partial(run, deaths=deaths))
    assert [(one["name"], one["restarts"]) for one in reports] == [("a", 0), ("b", 2), ("b-2", 0)]
    assert [Path(one["to"]).name for one in reports] == ["a.wav", "b-4.wav", "b-2.wav"]
    assert sorted(path.name for path in tmp_path.glob("*.wav")) == [
        *("a.wav", "b-2.wav", "b-3.wav", "b-4.wav", "b.wav"),
    ]
    for path in tmp_path.glob("*.wav"):
        assert soundfile.info(path).format == "WAV"
        written = soundfile.read(path, dtype="float32", always_2d=True)[0]
        assert len(written) > 0.9 * len(BLOCK)
        np.testing.assert_allclose(written, BLOCK[: len(written)], atol=2.0**-15)
    assert not list(tmp_path.glob(".*"))
    assert sum("status -9" in line and "its streams: b" in line for line in told) == 2
    assert sum("goes on in" in line for line in told) == 2


def test_a_worker_that_a_signal_has_ended_is_started_anew_too(
    tmp_path: Path, deaths: Path, told: list[str]
) -> None:
    (deaths / "stopped").write_text("1")
    configs = [config(tmp_path / f"{name}.wav", name) for name in ("a", "stopped")]
    reports = run_workers(configs, 2, 60.0, partial(run, deaths=deaths))
    assert [one["restarts"] for one in reports] == [0, 1]
    names = sorted(path.name for path in tmp_path.glob("*.wav"))
    assert names == ["a.wav", "stopped-2.wav", "stopped.wav"]
    assert any("ended by a signal" in line for line in told)


def test_a_worker_that_dies_again_and_again_is_an_error_and_the_others_keep_their_recordings(
    tmp_path: Path, deaths: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_DEATHS", 3)
    (deaths / "b").write_text("99")
    configs = [config(tmp_path / f"{name}.wav", name) for name in ("a", "b")]
    with pytest.raises(NetworkError, match=r"status -9.* 3 times in a row"):
        run_workers(configs, 2, 60.0, partial(run, deaths=deaths))
    assert (deaths / "b").read_text() == "96"
    assert soundfile.info(tmp_path / "a.wav").frames == len(BLOCK)
    assert sum("another takes over" in line for line in told) == 2


def test_a_worker_that_cannot_be_started_is_started_later(
    tmp_path: Path, deaths: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (deaths / "b").write_text("1")
    start, calls = SpawnProcess.start, []

    def start_if_there_is_memory(process: SpawnProcess) -> None:
        calls.append(process)
        if len(calls) == 3:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", start_if_there_is_memory)
    configs = [config(tmp_path / f"{name}.wav", name) for name in ("a", "b")]
    reports = run_workers(configs, 2, 60.0, partial(run, deaths=deaths))
    assert [one["restarts"] for one in reports] == [0, 2]
    assert any("cannot be started: Cannot allocate memory" in line for line in told)
    monkeypatch.setattr(SpawnProcess, "start", no_memory)
    with pytest.raises(NetworkError, match="Cannot allocate memory, 5 times in a row"):
        run_workers(configs, 2, 60.0, partial(run, deaths=deaths))


def no_memory(_: SpawnProcess) -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def test_a_worker_that_had_recorded_nothing_keeps_the_name_of_its_file(
    tmp_path: Path, deaths: Path, told: list[str]
) -> None:
    (deaths / "b").write_text("1")
    configs = [config(tmp_path / "a.wav", "a"), config(tmp_path / "b.wav", "b")]
    old = tmp_path / leftover_name(tmp_path / "b.wav")
    old.write_bytes(b"of an earlier relay")
    [_, report] = run_workers(configs, 2, 60.0, partial(silent, deaths=deaths))
    assert Path(report["to"]).name == "b.wav"
    assert old.read_bytes() == b"of an earlier relay"
    assert not any("goes on in" in line for line in told)


def silent(configs: list[RelayConfig], deaths: Path, **_: Any) -> list[dict[str, Any]]:
    """Die once before anything is recorded."""
    for one in configs:
        left = deaths / one.name
        if left.exists():
            left.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return [{"to": str(one.to)} for one in configs]


def leftover_name(path: Path) -> str:
    writer = AudioWriter(path, RATE, 1)
    name = writer._partial.name
    writer.discard()
    return name


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_what_a_killed_process_had_recorded_is_a_sound_file(
    tmp_path: Path, suffix: str, subtype: str
) -> None:
    path = tmp_path / f"a{suffix}"
    writer = AudioWriter(path, RATE, 2, subtype)
    piece = np.repeat(noise(1, 20 * RATE)[:, None], 2, axis=1)
    writer.write(piece)
    # As the system has it at that moment; an odd number of bytes more is in the middle of a sample.
    left = tmp_path / ".left.part"
    shutil.copy(writer._partial, left)
    writer.discard()
    kept_s = rescue(left, path)
    assert kept_s > 10.0
    written = soundfile.read(path, dtype="float32")[0]
    if suffix in (".wav", ".flac"):
        assert len(written) == round(kept_s * RATE)
        np.testing.assert_allclose(written, piece[: len(written)], atol=2.0**-15)
    assert len(written) > 0.8 * kept_s * RATE
    assert not left.exists()


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
@pytest.mark.parametrize("size", [0, 20, None])
def test_a_recording_of_nothing_goes_as_where_a_process_is_killed_while_it_begins(
    tmp_path: Path, suffix: str, size: int | None
) -> None:
    path, left = tmp_path / f"a{suffix}", tmp_path / ".left.part"
    writer = AudioWriter(path, RATE, 1)
    left.write_bytes(writer._partial.read_bytes()[:size])
    writer.discard()
    assert rescue(left, path) == 0.0
    assert not list(tmp_path.iterdir())


def test_a_rescued_recording_takes_no_name_that_a_file_has(tmp_path: Path) -> None:
    path, left = tmp_path / "a.wav", tmp_path / ".left.part"
    path.write_bytes(b"somebody's")
    writer = AudioWriter(tmp_path / "b.wav", RATE, 1)
    writer.write(np.tile(BLOCK, (20, 1)))
    shutil.copy(writer._partial, left)
    writer.discard()
    with pytest.raises(AudioFileError, match="what was recorded is in"):
        rescue(left, path)
    assert path.read_bytes() == b"somebody's"
    assert left.exists()
