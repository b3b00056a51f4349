"""Real streams through PortAudio, on a sound server of the test's own without any sound card."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = [pytest.mark.system, pytest.mark.realtime]

RATE = 48_000
LIVE = (
    "import typer; from plc.transport.cli.live import register; a = typer.Typer(); register(a); a()"
)
# The server stops for a second or two as programs come and go: what is asserted holds anyway. With
# so much held ready a stop of a tenth of a second is no drift of clocks, for which all that follows
# would be stretched a little.
EXACT = ["--model", "ar", "--fixed-delay-ms", "2000", "--max-delay-ms", "2500"]
EXACT += ["--reserve-ms", "400"]


class Server:
    """PulseAudio with two sinks: what is sent to one is our input, the other one is our output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o700)
        config = folder / "asound.conf"
        config.write_text(
            "pcm.!default { type pulse }\nctl.!default { type pulse }\n"
            'pcm.source { type pulse device "there.monitor" }\n'
            'pcm.sink { type pulse device "here" }\n'
        )
        self.environment = os.environ | {
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_STATE_PATH": str(folder),
            "PULSE_SERVER": f"unix:{folder}/native",
            "ALSA_CONFIG_PATH": str(config),
            "XDG_RUNTIME_DIR": str(folder),
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self._started: list[subprocess.Popen[bytes]] = []
        self.daemon = self.start_daemon()

    def start(self, *command: str, **settings: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, env=self.environment, **settings)
        self._started.append(process)
        return process

    def start_daemon(self) -> subprocess.Popen[bytes]:
        # Without rewinds it takes 50 ms at a time; else, once a writer was late, up to 2 s.
        sink = f"format=s16le rate={RATE} channels=1 norewinds=1"
        loaded = [
            f"module-native-protocol-unix auth-anonymous=1 socket={self.folder}/native",
            f"module-null-sink sink_name=there {sink}",
            f"module-null-sink sink_name=here {sink}",
        ]
        daemon = self.start(
            *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"),
            *("--realtime=no", "--high-priority=no", "--log-target=stderr"),
            *(f"--load={module}" for module in loaded),
            stderr=subprocess.DEVNULL,
        )
        for _ in range(100):
            asked = subprocess.run(
                ["pactl", "list", "short", "sinks"], env=self.environment, capture_output=True
            )
            if b"here" in asked.stdout:
                return daemon
            time.sleep(0.05)
        pytest.skip("PulseAudio does not start here")

    def play(self, samples: NDArray[np.int16]) -> subprocess.Popen[bytes]:
        """Send samples to our input."""
        (self.folder / "sent.raw").write_bytes(samples.tobytes())
        form = ("--format=s16le", f"--rate={RATE}", "--channels=1", "--raw")
        return self.start(
            "pacat",
            "--device=there",
            *form,
            str(self.folder / "sent.raw"),
            stderr=subprocess.DEVNULL,
        )

    def record(self) -> subprocess.Popen[bytes]:
        """Record our output."""
        form = ("--format=s16le", f"--rate={RATE}", "--channels=1", "--raw")
        return self.start(
            *("parec", "--device=here.monitor", *form, str(self.folder / "heard.raw")),
            stderr=subprocess.DEVNULL,
        )

    @property
    def heard(self) -> NDArray[np.int16]:
        path = self.folder / "heard.raw"
        data = path.read_bytes() if path.exists() else b""
        return np.frombuffer(data[: len(data) // 2 * 2], np.int16)

    def hear(self, enough: Callable[[NDArray[np.int16]], bool]) -> NDArray[np.int16]:
        """Record until it is enough, or for what a machine at work elsewhere takes."""
        end = time.monotonic() + 30.0
        while not enough(self.heard) and time.monotonic() < end:
            time.sleep(0.5)
        return self.heard

    def live(self, *options: str) -> subprocess.Popen[bytes]:
        """Start ``plc live``."""
        return self.start(
            *(sys.executable, "-c", LIVE, "live", "--in", "source", "--out", "sink"),
            *("--json", "--log-json", *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def close(self) -> None:
        for process in reversed(self._started):
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for program in ("pulseaudio", "pacat", "pactl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install pulseaudio pulseaudio-utils")
    if not list(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")):
        pytest.skip("ALSA does not know PulseAudio: apt-get install libasound2-plugins")
    opened = Server(tmp_path)
    yield opened
    opened.close()


def needs(library: str) -> None:
    try:
        __import__(library)
    except (ImportError, OSError) as error:
        pytest.skip(f"{library} is not installed: {error}")


def events(process: subprocess.Popen[bytes], last: str, count: int = 1) -> list[dict[str, Any]]:
    """Read events until the given one has come so many times."""
    assert process.stderr is not None
    read: list[dict[str, Any]] = []
    for line in process.stderr:
        assert line.startswith(b"{"), line + process.stderr.read()
        read.append(json.loads(line))
        if sum(each["event"] == last for each in read) == count:
            return read
    raise AssertionError(f"ended before {last}: {read}")


def finish(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """End ``plc live`` as a service manager does; return its report."""
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    report: dict[str, Any] = json.loads(out)
    return report


def exact_s(sent: NDArray[np.int16], heard: NDArray[np.int16]) -> float:
    """Return how much of what was sent was heard exactly, in stretches of 20 ms and more."""
    whole, total, at = sent.tobytes(), 0, 0
    while at + 16 < len(heard):
        place = whole.find(heard[at : at + 16].tobytes()) if heard[at : at + 16].any() else -1
        n = 0
        if place >= 0 and place % 2 == 0:
            n = min(len(sent) - place // 2, len(heard) - at)
            same = heard[at : at + n] == sent[place // 2 : place // 2 + n]
            n = n if same.all() else int(np.argmin(same))
        total += n if n >= 960 else 0
        at += max(n, 480)
    return total / RATE


def loudness(heard: NDArray[np.int16], samples: int = 480) -> NDArray[np.float64]:
    """Return the deviation of each 10 ms, or so many samples, ``(packets,)``."""
    packets = heard[: heard.size // samples * samples].reshape(-1, samples)
    level: NDArray[np.float64] = np.std(packets, axis=1, dtype=np.float64)
    return level


def loud_packets(heard: NDArray[np.int16]) -> int:
    """Return how many stretches of 10 ms are not silent."""
    return int(np.count_nonzero(loudness(heard) > 5000))


def sounding(heard: NDArray[np.int16], least: float) -> NDArray[np.intp]:
    """Return what sounds at least so loud throughout, in steps of 5 ms: (n, 2), begins and ends."""
    loud = np.r_[False, loudness(heard, 240) > least, False]
    return np.flatnonzero(loud[1:] != loud[:-1]).reshape(-1, 2)


def stretches(heard: NDArray[np.int16], least: float) -> list[NDArray[np.int16]]:
    """Return pieces of 150 ms that sound at least so loud throughout."""
    begins = [at for a, b in sounding(heard, least) for at in range(a, b - 29, 30)]
    return [heard[240 * at : 240 * (at + 30)] for at in begins]


def white(seconds: float) -> NDArray[np.int16]:
    rng = np.random.default_rng(1)
    return rng.integers(-20_000, 20_000, round(seconds * RATE)).astype(np.int16)


@pytest.mark.parametrize("library", ["sounddevice", "pyaudio"])
def test_a_stream_without_loss_passes_sample_for_sample(server: Server, library: str) -> None:
    needs(library)
    sent = white(90.0)
    server.play(sent)
    server.record()
    live = server.live("--backend", library, *EXACT)
    events(live, "stream_begun")
    heard = server.hear(lambda heard: loud_packets(heard) > 450 and exact_s(sent, heard) > 3.0)
    report = finish(live)
    assert exact_s(sent, heard) > 3.0
    assert report["devices"]["input"]["opened"] >= 1
    assert report["concealment"]["total_samples_received"] > 3 * RATE


def test_losses_are_concealed_on_the_way(server: Server) -> None:
    needs("sounddevice")
    t = np.arange(90 * RATE) / RATE
    tone = np.rint(8000 * np.sin(2 * np.pi * 441.0 * t)).astype(np.int16)
    server.play(tone)
    server.record()
    # So much is lost that no more than four packets in a row arrive, but for one time in 250: what
    # sounds for 150 ms was concealed on the way, however often the server itself stops.
    live = server.live("--impair", "loss=60%,burst=2", *EXACT)
    events(live, "concealed", 2)
    low = 0.5 * 8000 / np.sqrt(2)

    def goes_on(heard: NDArray[np.int16]) -> bool:
        # So many packets are enough for the rate of losses below.
        return loud_packets(heard) > 400 and len(stretches(heard, low)) >= 10

    heard = server.hear(goes_on)
    report = finish(live)
    lost = report["impairment"]["lost"] / report["impairment"]["received"]
    assert 0.45 < lost < 0.75
    assert report["concealment"]["lost_packets"] > 0.4 * report["concealment"]["packets"]
    found = stretches(heard, low)
    assert len(found) >= 10
    # Nor is it that the losses were elsewhere: each burst would leave a short silence.
    within = sounding(heard, low)
    short = np.count_nonzero(within[1:, 0] - within[:-1, 1] <= 6)
    assert short < 0.3 * report["concealment"]["concealment_events"]
    peaks = [np.argmax(np.abs(np.fft.rfft(x * np.hanning(x.size), 10 * RATE))) / 10 for x in found]
    assert np.median(peaks) == pytest.approx(441.0, abs=0.5)


def test_a_sound_server_that_dies_is_waited_for(server: Server) -> None:
    needs("sounddevice")
    sent = white(90.0)
    server.play(sent)
    live = server.live(*EXACT)
    events(live, "stream_begun")
    server.daemon.kill()
    server.daemon.wait()
    lost = events(live, "device_lost", 2)
    assert {each["direction"] for each in lost if each["event"] == "device_lost"} == {
        "input",
        "output",
    }
    server.start_daemon()
    events(live, "device_opened", 2)
    server.play(sent)
    server.record()
    heard = server.hear(lambda heard: loud_packets(heard) > 100)
    report = finish(live)
    assert report["devices"]["output"]["losses"] >= 1
    assert report["devices"]["input"]["losses"] >= 1
    assert report["live"]["absent_packets"] > 0
    assert loud_packets(heard) > 100


@pytest.mark.parametrize("preset", ["stage", "conference"])
def test_a_card_is_heard_across_the_network(server: Server, preset: str) -> None:
    """One program sends the card, another one plays what comes on another card."""
    needs("sounddevice")
    if preset == "conference":
        needs("av")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        end = f"udp://127.0.0.1:{probe.getsockname()[1]}"
    tone = 16_000 * np.sin(2 * np.pi * 440.0 * np.arange(20 * RATE) / RATE)
    far = server.live("--preset", preset, "--model", "ar", "--from", end)
    events(far, "device_opened")
    near = server.live("--preset", preset, "--model", "ar", "--to", end)
    events(near, "device_opened")
    server.record()
    server.play(tone.astype(np.int16))
    heard = server.hear(lambda heard: loud_packets(heard) > 300)
    sent, played = finish(near), finish(far)
    assert loud_packets(heard) > 300
    loudest = np.abs(np.fft.rfft(heard[-2 * RATE : -RATE].astype(float))).argmax()
    assert loudest == 440
    assert sent["sent"]["packets_sent"] == sent["live"]["captured_packets"] > 100
    assert played["jitter_buffer"]["packets_received"] > 100
    assert list(sent["devices"]) == ["input"]
    assert list(played["devices"]) == ["output"]
