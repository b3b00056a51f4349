"""The examples run as they stand, and do what they say."""

import asyncio
import json
import re
import runpy
import selectors
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.programs.demo import clip_audio
from tests.plc.embed.c_side import compiled
from tests.plc.embed.test_gstreamer import environment as gstreamer_environment
from tests.plc.embed.test_gstreamer import plugins
from tests.plc.transport.cards.test_portaudio import Server, needs, server
from tests.processes import ROOT, environment

__all__ = ["plugins", "server"]  # fixtures

EXAMPLES = ROOT / "examples"
PATIENCE_S = 120.0
# Each with the test that runs it.
TESTED = {
    "conceal_file.py": "test_a_file_is_concealed_packet_by_packet",
    "pipecat_agent.py": "tests/test_agent_examples.py",
    "livekit_room.py": "tests/test_agent_examples.py",
    "voice_agent.py": "test_speech_over_a_websocket_is_heard_whole_until_it_is_interrupted",
    "live_callback.py": "test_a_sound_cards_callback_conceals",
    "aiortc_call.py": "test_a_call_is_heard_whole",
    "gstreamer_rtp.py": "test_a_pipeline_of_gstreamer_conceals_what_it_loses",
    "webcodecs.html": "tests/plc/programs/test_web_package.py",
    "discord.mjs": "tests/plc/programs/test_web_package.py",
    "notes.py": "test_a_network_plays_a_scale_and_a_midi_file",
    "gaps.ipynb": "test_the_notebook_runs_and_its_fills_are_better_than_silence",
    "c/conceal.c": "tests/plc/embed/c_side.py",
    "c/receiver.c": "tests/plc/embed/test_receiver.py",
    "c/lc3_conceal.c": "tests/plc/embed/test_lc3.py",
    "c/CMakeLists.txt": "tests/plc/embed/test_library.py",
    "relay/": "tests/plc/transport/relay/test_relay_examples.py",
    "scaling/": "tests/test_scaling.py",
}


def test_every_example_is_described_and_run() -> None:
    files = {
        path.relative_to(EXAMPLES).as_posix()
        for path in EXAMPLES.rglob("*")
        if path.is_file()
        and path.name not in ("README.md", "Dockerfile.dockerignore")
        and "__pycache__" not in path.parts
    }
    described = set(re.findall(r"\]\(([^)#.][^)#]*)\)", (EXAMPLES / "README.md").read_text()))
    assert described == set(TESTED)
    for file in files:
        name = next((each for each in TESTED if file.startswith(each)), None)
        assert name is not None, file
        test = TESTED[name]
        assert test in globals() or Path(file).name in (ROOT / test).read_text(), file


# Those that write a file, with their arguments: the last FILE is what they would write.
WRITING: dict[str, tuple[str, ...]] = {
    "conceal_file.py": ("FILE", "FILE"),
    "pipecat_agent.py": ("FILE", "TRACE", "FILE"),
    "livekit_room.py": ("FILE", "TRACE", "FILE"),
    "voice_agent.py": ("FILE",),
    "aiortc_call.py": ("FILE", "FILE"),
    "gstreamer_rtp.py": ("FILE", "FILE"),
    "discord.mjs": ("FILE", "FILE"),
    "notes.py": ("scale", "FILE"),
    "c/conceal.c": ("FILE", "FILE", "--loss", "10%"),
    "c/receiver.c": ("5004", "FILE"),
    "c/lc3_conceal.c": ("FILE", "TRACE", "FILE", "10", "lc3"),
}
WRITES = re.compile(r"soundfile\.write|MediaRecorder|filesink|writeFileSync|fopen\([^)]*\"wb?\"")
# Names of packages that are not installed, as far as an example asks for them before it begins.
STANDING_IN = """
import importlib.abc, importlib.machinery, runpy, sys, types

class Named(type):
    def __getattr__(cls, name): return Named(name, (Anything,), {})

class Anything(metaclass=Named):
    def __init__(self, *_): pass
    def __init_subclass__(cls, **_): pass
    def __class_getitem__(cls, _): return cls

class Module(types.ModuleType):
    __path__ = ()
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return Named(name, (Anything,), {})

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, *_):
        asked = name.partition(".")[0] in "aiortc gi livekit loguru pipecat websockets".split()
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if asked else None
    def create_module(self, spec): return Module(spec.name)
    def exec_module(self, module): pass

sys.meta_path.insert(0, Finder())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def started(name: str, folder: Path, request: pytest.FixtureRequest) -> list[object]:
    """Return what starts an example, without what it needs for its work."""
    example = EXAMPLES / name
    if example.suffix == ".py":
        return [sys.executable, "-c", STANDING_IN, example]
    if example.suffix == ".mjs":
        if shutil.which("node") is None:
            pytest.skip("node is not installed")
        shutil.copy(example, folder)
        for package in ("plc-engine", "opusscript"):
            module = folder / "node_modules" / package / "index.mjs"
            module.parent.mkdir(parents=True)
            module.write_text("export default 0; export const Concealer = 0, joined = 0;")
            module.with_name("package.json").write_text('{"exports": "./index.mjs"}')
        return ["node", folder / name]
    if name == "c/lc3_conceal.c" and not Path("/usr/include/lc3.h").is_file():
        pytest.skip("liblc3-dev is not installed")
    return [compiled(example, request.getfixturevalue("built"), *["-llc3"][: "lc3" in name])]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.system] * name.endswith(".c")) for name in WRITING],
)
def test_no_example_replaces_a_file(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(48_000), 48_000, "PCM_16")
    (tmp_path / "link.wav").symlink_to("in.wav")
    (tmp_path / "lost.trace").write_text("01" * 25)
    before = (tmp_path / "in.wav").read_bytes()
    command = started(name, tmp_path, request)
    for target in ("in.wav", "link.wav"):
        arguments = [
            {"FILE": "in.wav", "TRACE": "lost.trace"}.get(each, each) for each in WRITING[name]
        ]
        arguments[max(k for k, each in enumerate(arguments) if each == "in.wav")] = target
        done = subprocess.run(
            [str(each) for each in [*command, *arguments]],
            env=environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode != 0
        assert re.search(rf"{target}:? (exists|cannot be written, or is there)", done.stderr), (
            done.stderr
        )
        assert (tmp_path / "in.wav").read_bytes() == before


def test_every_example_that_writes_a_file_is_asked() -> None:
    writing = {
        name for name in TESTED if name[-1] != "/" and WRITES.search((EXAMPLES / name).read_text())
    }
    assert writing == set(WRITING)


def run(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run an example; return what it printed."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        env=env or environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Return a recording of 16 bits."""
    signal, rate = clip_audio("speech")
    soundfile.write(tmp_path / "clean.wav", signal, rate, subtype="PCM_16")
    return tmp_path / "clean.wav"


def check_heard(clean: Path, heard: Path, lost_samples: int) -> None:
    """Check that received samples are those sent, and lost ones better than silence."""
    sent, _ = soundfile.read(clean, dtype="int16")
    found, _ = soundfile.read(heard, dtype="int16")
    sent = sent[: len(found)]
    other = sent != found
    # Beside what was lost, a crossfade of 2.5 ms behind each burst.
    assert 0.5 * lost_samples < np.count_nonzero(other) < 1.5 * lost_samples
    error = (sent - found.astype(float))[other]
    assert np.sum(error**2) < 0.9 * np.sum(sent[other].astype(float) ** 2)


@pytest.mark.deep
def test_a_file_is_concealed_packet_by_packet(clean: Path) -> None:
    heard = clean.with_name("heard.wav")
    said, counted = run(
        sys.executable, EXAMPLES / "conceal_file.py", clean, heard, "--loss", 0.1
    ).splitlines()
    assert said.startswith("<Concealer of ")
    counters = json.loads(counted)
    assert 0.05 < counters["concealedSamples"] / counters["totalSamplesReceived"] < 0.15
    check_heard(clean, heard, counters["concealedSamples"])


class ClockedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes on when nothing is left to do, and by no more than is waited for."""

    def __init__(self) -> None:
        loop, self._now_s = self, 0.0

        class Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                # What was sent within this machine is there at once, or within 5 ms.
                ready = super().select(timeout and min(timeout, 0.005))
                loop._now_s += 0.0 if ready or timeout is None else timeout
                return ready

        super().__init__(Selector())

    def time(self) -> float:
        return self._now_s


@pytest.mark.parametrize(
    ("rate", "encoding"), [(16_000, "int16"), (24_000, "mulaw"), (8_000, "mulaw")]
)
def test_speech_over_a_websocket_is_heard_whole_until_it_is_interrupted(
    tmp_path: Path,
    rate: int,
    encoding: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("websockets")
    options = [str(tmp_path / "heard.wav"), "--rate", str(rate), "--encoding", encoding]
    monkeypatch.setattr(sys, "argv", ["voice_agent.py", *options])
    with asyncio.Runner(loop_factory=ClockedLoop) as runner:
        runner.run(runpy.run_path(str(EXAMPLES / "voice_agent.py"))["main"]())
    told = capsys.readouterr().out
    heard, rate = soundfile.read(tmp_path / "heard.wav", dtype="float32")
    found = re.search(r"([\d.]+) s heard, ([\d.]+) s made up", told)
    assert found is not None
    # Of stalls of 0.15 and 0.3 s as much as the delay does not hold; no silence behind the end.
    assert 0.2 < float(found[2]) < 0.4
    assert 5.0 < float(found[1]) < 5.1
    assert np.abs(heard[-rate // 5 :]).max() > 0.01
    speech, own_rate = soundfile.read(ROOT / "plc" / "data" / "speech.flac", dtype="float32")
    # What came in time is heard as it was sent; from 3 s on the second sentence, of 2 s.
    if encoding == "int16" and rate == own_rate:
        for part in (slice(rate // 4, rate // 2), slice(2 * rate - rate // 50, 2 * rate)):
            assert heard.tobytes().count(speech[part].tobytes()) == 2


@pytest.mark.deep
@pytest.mark.system
@pytest.mark.realtime
def test_a_sound_cards_callback_conceals(server: Server) -> None:
    needs("sounddevice")
    t = np.arange(60 * 48_000) / 48_000
    server.play(np.rint(8000 * np.sin(2 * np.pi * 441.0 * t)).astype(np.int16))
    server.record()
    example = server.start(
        *(sys.executable, str(EXAMPLES / "live_callback.py"), "--loss", "0.3", "--seconds", "5"),
        *("--input", "source", "--output", "sink"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said, errors = example.communicate(timeout=PATIENCE_S)
    assert example.returncode == 0, errors.decode()
    counted = re.search(rb"packets=(\d+) lost_packets=(\d+)", said)
    assert counted is not None
    packets, lost = int(counted[1]), int(counted[2])
    assert packets > 200
    assert 0.2 < lost / packets < 0.4

    def loud(heard: NDArray[np.int16]) -> int:
        return int(np.count_nonzero(np.abs(heard.astype(int)) > 5000))

    assert loud(server.hear(lambda heard: loud(heard) > 48_000)) > 48_000


# ICE leaves the loopback out otherwise, and there may be nothing else.
ON_LOOPBACK = """
import runpy, sys, aioice.ice
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.deep
@pytest.mark.realtime
def test_a_call_is_heard_whole(clean: Path) -> None:
    pytest.importorskip("aiortc")
    heard = clean.with_name("heard.wav")
    said = run(
        *(sys.executable, "-c", ON_LOOPBACK, EXAMPLES / "aiortc_call.py", clean, heard),
        *("--loss", 0.2, "--seconds", 5),
    )
    counted = re.search(r"packets=(\d+) lost_packets=(\d+)", said)
    assert counted is not None
    packets, lost = int(counted[1]), int(counted[2])
    assert packets > 100
    assert 0.1 < lost / packets < 0.3
    signal, rate = soundfile.read(heard)
    assert len(signal) == pytest.approx(packets * 0.020 * rate, abs=0.2 * rate)
    assert signal.std() > 0.01


@pytest.mark.deep
@pytest.mark.system
@pytest.mark.realtime
def test_a_pipeline_of_gstreamer_conceals_what_it_loses(clean: Path, plugins: Path) -> None:
    heard = clean.with_name("heard.wav")
    example = ["/usr/bin/python3", EXAMPLES / "gstreamer_rtp.py", clean, heard, "--loss", 0.1]
    counters = json.loads(run(*example, env=gstreamer_environment(plugins)))
    # Packets lost before the first that came, or behind the last, are not known of.
    assert 470 <= counters["packets"] <= 480
    assert 10 < counters["lost-packets"] < 120
    assert counters["concealed-samples"] == 480 * counters["lost-packets"]
    signal, rate = soundfile.read(heard)
    assert rate == 48_000
    assert len(signal) == pytest.approx(480 * counters["packets"], abs=480)
    assert signal.std() > 0.01


@pytest.mark.deep
def test_a_network_plays_a_scale_and_a_midi_file(tmp_path: Path) -> None:
    mido = pytest.importorskip("mido")
    pytest.importorskip("onnxruntime")
    out = tmp_path / "out.wav"
    assert run(sys.executable, EXAMPLES / "notes.py", "scale", out).startswith("9 notes, ")
    samples, rate = soundfile.read(out)
    assert np.abs(samples).max() == pytest.approx(0.89, abs=0.01)
    track = mido.MidiTrack()
    track.append(mido.Message("note_on", note=0, velocity=90, time=480))
    track.append(mido.Message("note_off", note=0, time=240))
    track.append(mido.Message("note_on", note=60, velocity=90, channel=9))
    track.append(mido.Message("note_off", note=60, time=960, channel=9))
    mido.MidiFile(ticks_per_beat=480, tracks=[track]).save(tmp_path / "song.mid")
    out = tmp_path / "song.wav"
    assert run(sys.executable, EXAMPLES / "notes.py", tmp_path / "song.mid", out)[:6] == "1 note"
    samples, _ = soundfile.read(out)
    assert len(samples) == pytest.approx(rate * 0.78, abs=2)
    assert not samples[: rate // 2].any()
    assert np.abs(samples[rate // 2 :]).max() == pytest.approx(0.89, abs=0.01)


@pytest.mark.deep
def test_the_notebook_runs_and_its_fills_are_better_than_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nbformat: Any = pytest.importorskip("nbformat")
    nbclient: Any = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.delenv("MPLBACKEND")  # the notebook's own draws into it
    notebook = nbformat.read(EXAMPLES / "gaps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # as it is kept
    nbclient.NotebookClient(notebook, timeout=PATIENCE_S, kernel_name="python3").execute()
    outputs = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    text = "".join(each.get("text", "") for each in outputs if each["output_type"] == "stream")
    errors = dict(re.findall(r"^(\w[\w, ]*?) +(-?[\d.]+) dB of samples", text, re.M))
    assert set(errors) == {"silence", "fast", "good, no network", "good", "live"}
    assert float(errors["silence"]) == 0.0
    assert all(float(error) < -3.0 for name, error in errors.items() if name != "silence")
    assert any("image/png" in each.get("data", {}) for each in outputs)
