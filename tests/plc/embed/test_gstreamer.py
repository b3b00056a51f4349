"""The GStreamer element: what it plays for buffers and gaps, and how it is installed."""

import json
import math
import shutil
import subprocess
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from plc import Concealer, conceal
from plc.embed import cli, gstreamer
from plc.embed.gstreamer import MODELS, PLUGIN, build_plugin, check, install, user_folder
from plc.embed.library import Library
from plc.errors import ConfigError
from plc_kernels.stream.layout import RECOVERY_MS
from tests.options import ran
from tests.plc.embed.c_side import TOLERANCE
from tests.signals import content, tones

pytestmark = pytest.mark.system

RATE = 16_000
BLOCK = 160
PACKET = 4 * BLOCK
"""Bytes of a packet of float32."""
MS = 1_000_000
STEP = 10 * MS
NO_TIME = 2**64 - 1
LONGEST_GAP_S = 5
CAPS = "audio/x-raw,format={},layout=interleaved,rate={},channels={}"
PROBE = Path(__file__).with_name("gstreamer_probe.py")
# An environment that does not lead the system's Python astray.
BARE = {"PATH": "/usr/bin:/bin", "HOME": "/dev/null/nowhere"}

Samples = NDArray[np.float32] | NDArray[np.int16]


def ramp(samples: int, begin: int = 0) -> NDArray[np.float32]:
    """Return samples that tell where they stood."""
    return (np.arange(begin, begin + samples) / 1e5).astype(np.float32)[:, None]


@pytest.fixture(scope="session")
def plugins(built: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for GST_PLUGIN_PATH with the element in it."""
    if shutil.which("gst-inspect-1.0") is None:
        pytest.skip("GStreamer is not installed: apt-get install gstreamer1.0-tools")
    headers = ["pkg-config", "--exists", "gstreamer-1.0"]
    if shutil.which("pkg-config") is None or subprocess.run(headers, check=False).returncode:
        pytest.skip("GStreamer has no headers: apt-get install pkg-config libgstreamer1.0-dev")
    loads = "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst"
    found = subprocess.run(
        ["/usr/bin/python3", "-c", loads], env=BARE, capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip("the system's Python has no gi: apt-get install python3-gst-1.0")
    folder = tmp_path_factory.mktemp("gst")
    build_plugin(built.library.parent, folder)
    assert check(folder) == folder / PLUGIN
    return folder


def environment(plugins: Path) -> dict[str, str]:
    return BARE | {"GST_PLUGIN_PATH": str(plugins), "GST_REGISTRY": str(plugins / "registry.bin")}


def probe(plugins: Path, folder: Path, data: Samples, steps: list[Any], **spec: Any) -> Any:
    """Run the steps through the element; return what the probe saw, and what was played."""
    rate, channels = spec.pop("rate", RATE), data.shape[1]
    format_ = "S16LE" if data.dtype == np.int16 else "F32LE"
    data.tofile(folder / "in.raw")
    spec |= {
        "caps": CAPS.format(format_, rate, channels),
        "input": str(folder / "in.raw"),
        "output": str(folder / "out.raw"),
        "steps": steps,
    }
    spec["properties"] = {"budget-ms": 1e9, "model": "ar"} | spec.get("properties", {})
    (folder / "spec.json").write_text(json.dumps(spec))
    done = subprocess.run(
        ["/usr/bin/python3", str(PROBE), str(folder / "spec.json")],
        env=environment(plugins),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    played = np.fromfile(folder / "out.raw", data.dtype).reshape(-1, channels)
    return json.loads(done.stdout), played


def received(lost: NDArray[np.bool_], block: int, rate: int) -> NDArray[np.bool_]:
    """Return which samples were received, and are not crossfaded with a concealment."""
    behind = np.ones(1 + round(RECOVERY_MS * rate / 1000.0))
    made = np.convolve(np.repeat(lost, block), behind)[: lost.size * block] > 0.5
    return ~made


def steps_of(lost: NDArray[np.bool_], packet_bytes: int) -> list[Any]:
    return [
        ["gap", k * STEP, STEP]
        if lost[k]
        else ["buffer", k * packet_bytes, (k + 1) * packet_bytes, k * STEP]
        for k in range(lost.size)
    ]


@pytest.mark.parametrize(
    ("dtype", "rate", "channels", "lookahead"),
    [("float32", 44_100, 1, 0), ("int16", 48_000, 2, 0), ("int16", 8_000, 1, 2)],
)
def test_the_element_plays_what_the_engine_makes(
    plugins: Path, tmp_path: Path, dtype: str, rate: int, channels: int, lookahead: int
) -> None:
    block = rate // 100
    signal: Samples = np.stack([tones(c, rate, 60 * block) for c in range(channels)], axis=1)
    if dtype == "int16":
        signal = np.rint(signal * 32767).astype(np.int16)
    lost = np.random.default_rng(4).random(60) < 0.2
    lost[0] = False
    steps = [*steps_of(lost, block * channels * signal.itemsize), ["eos"]]
    seen, played = probe(
        plugins, tmp_path, signal, steps, rate=rate, properties={"lookahead": lookahead}
    )
    expected = conceal(
        signal, lost, sample_rate=rate, packet_samples=block, lookahead=lookahead, model="ar"
    )
    scale = 32767.0 if dtype == "int16" else 1.0
    np.testing.assert_allclose(played, expected, rtol=0, atol=TOLERANCE * scale)
    assert np.array_equal(played[received(lost, block, rate)], signal[received(lost, block, rate)])
    assert [pts for pts, _, _ in seen["buffers"]] == [k * STEP for k in range(60)]
    assert seen["latency_ms"] == 20 + 10 * lookahead
    assert seen["concealed"] == lost.sum() * block
    assert seen["messages"][-1] == ["plcconceal", lost.sum() * block]
    assert [name for name, *_ in seen["events"]] == ["stream-start", "caps", "segment", "eos"]


def test_the_element_posts_statistics_as_often_as_it_is_told(plugins: Path, tmp_path: Path) -> None:
    signal = tones(1, RATE, 50 * BLOCK)[:, None]
    steps = steps_of(np.zeros(50, bool), 4 * BLOCK)
    seen, _ = probe(plugins, tmp_path, signal, steps, properties={"stats-interval": 100})
    assert seen["messages"].count(["plcconceal", 0]) == 5


def test_the_element_starts_anew_after_a_flush_and_at_new_caps(
    plugins: Path, tmp_path: Path
) -> None:
    signal = tones(1, RATE, 4 * BLOCK)[:, None]
    packet = 4 * BLOCK
    steps = [
        ["buffer", 0, packet, 0],
        ["flush"],
        ["buffer", packet, 2 * packet, 0],
        ["caps", CAPS.format("F32LE", 8000, 1)],
        ["buffer", 2 * packet, 3 * packet, 0],
        ["caps", CAPS.format("F32LE", RATE, 1)],
        ["buffer", 3 * packet, 4 * packet, 0],
        ["eos"],
    ]
    seen, played = probe(plugins, tmp_path, signal, steps, properties={"lookahead": 1})
    # What the lookahead held at the flush is gone; the rest was drained.
    assert np.array_equal(played, signal[BLOCK:])
    assert seen["results"] == [True, "ok", True, "ok", True, "ok", True, "ok", True]


def test_a_setting_that_cannot_be_is_an_error_message(plugins: Path, tmp_path: Path) -> None:
    signal = tones(1, RATE, BLOCK)[:, None]
    seen, played = probe(
        plugins, tmp_path, signal, [["buffer", 0, 4 * BLOCK, 0]], properties={"content": "magic"}
    )
    assert played.size == 0
    assert seen["results"] == [True, "not-negotiated"]
    kind, text = seen["messages"][0]
    assert kind == "error"
    assert text == "plcconceal: content is 'magic': known: auto, music, speech"


def test_an_hour_long_gap_is_passed_on_where_it_is_not_filled(
    plugins: Path, tmp_path: Path
) -> None:
    signal = tones(1, RATE, BLOCK)[:, None]
    hour = 3600 * 1000 * MS
    steps = [["gap", 0, STEP], ["buffer", 0, 4 * BLOCK, STEP], ["gap", 2 * STEP, hour]]
    seen, played = probe(plugins, tmp_path, signal, steps)
    filled = LONGEST_GAP_S * 1000 * MS
    gaps = [given for name, *given in seen["events"] if name == "gap"]
    assert gaps == [[0, STEP], [2 * STEP + filled, hour - filled]]
    assert played.size == BLOCK + LONGEST_GAP_S * RATE


def test_lost_rtp_packets_reach_the_element_as_gaps(plugins: Path, tmp_path: Path) -> None:
    """A pipeline with a real jitter buffer: whatever it drops, the output has every sample."""
    wanted = ("rtpL16pay", "rtpjitterbuffer", "audiotestsrc", "wavenc")
    for element in wanted:
        if subprocess.run(
            ["gst-inspect-1.0", element], env=environment(plugins), capture_output=True, check=False
        ).returncode:
            pytest.skip(f"GStreamer has no {element}")
    out = tmp_path / "out.raw"
    pipeline = (
        "audiotestsrc num-buffers=150 samplesperbuffer=480 is-live=true ! "
        "audio/x-raw,format=S16BE,rate=48000,channels=1 ! "
        "rtpL16pay min-ptime=10000000 max-ptime=10000000 ! identity drop-probability=0.2 ! "
        "rtpjitterbuffer latency=500 do-lost=true ! rtpL16depay ! audioconvert ! "
        f"plcconceal model=ar budget-ms=1e9 ! filesink location={out}"
    )
    done = subprocess.run(
        ["gst-launch-1.0", "-m", *pipeline.split()],
        env=environment(plugins),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = next(line for line in done.stdout.splitlines() if "plcconceal, total" in line)
    counters = {
        name: int(value)
        for name, value in (
            pair.split("=(guint64)") for pair in report.rstrip(";").split(", ") if "guint64" in pair
        )
    }
    played = np.fromfile(out, np.int16)
    assert counters["lost-packets"] > 5
    assert counters["packets"] <= 150
    assert counters["concealed-samples"] == 480 * counters["lost-packets"]
    assert played.size == counters["total-samples-received"] == 480 * counters["packets"]


def heard(
    plugins: Path, folder: Path, steps: list[Any], samples: int, **properties: Any
) -> tuple[list[tuple[int, int]], list[Any], NDArray[np.float32]]:
    """Return stamps and samples of the buffers that come for a ramp, the events, and the sound."""
    seen, played = probe(plugins, folder, ramp(samples), steps, properties=properties)
    buffers = [(pts, size // 4) for pts, _, size in seen["buffers"]]
    return buffers, [event for event in seen["events"] if event[0] == "gap"], played[:, 0]


@pytest.mark.parametrize("duration", [9.4, 10.0, 10.7, 13.1])
def test_a_gap_that_the_jitter_buffer_misjudged_is_whole_packets(
    plugins: Path, tmp_path: Path, duration: float
) -> None:
    lasts = round(duration * MS)
    steps = [["buffer", 0, PACKET, 0], ["gap", STEP, lasts], ["buffer", 0, PACKET, 2 * STEP]]
    buffers, gaps, _ = heard(plugins, tmp_path, steps, BLOCK)
    assert buffers == [(k * STEP, BLOCK) for k in range(3)]
    assert not gaps


def test_a_gap_before_any_buffer_is_left_empty(plugins: Path, tmp_path: Path) -> None:
    steps = [["gap", 0, STEP], ["gap", STEP, None]]
    buffers, gaps, _ = heard(plugins, tmp_path, steps, BLOCK)
    assert not buffers
    assert gaps == [["gap", 0, STEP]]


def test_a_gap_that_is_told_twice_is_filled_once(plugins: Path, tmp_path: Path) -> None:
    gaps = [["gap", STEP, STEP - 1], ["gap", STEP, 2 * STEP - 1], *2 * [["gap", STEP, STEP]]]
    # One that only begins in what was filled is filled from there on.
    steps = [["buffer", 0, PACKET, 0], *gaps, ["gap", 2 * STEP, 2 * STEP]]
    buffers, _, _ = heard(plugins, tmp_path, [*steps, ["buffer", 0, PACKET, 4 * STEP]], BLOCK)
    assert [pts for pts, _ in buffers] == [k * STEP for k in range(5)]


def test_stamps_go_on_where_a_buffer_has_none(plugins: Path, tmp_path: Path) -> None:
    steps = [["buffer", 0, PACKET, pts] for pts in (0, None, None)]
    buffers, _, _ = heard(plugins, tmp_path, steps, BLOCK)
    # One that passes whole has what stamp it came with.
    assert buffers[0] == (0, BLOCK)
    buffers, _, _ = heard(plugins, tmp_path, [*steps, ["eos"]], BLOCK, lookahead=1)
    assert [pts for pts, _ in buffers] == [0, STEP, NO_TIME]


@pytest.mark.parametrize("seed", range(12))
def test_however_buffers_and_gaps_are_cut_no_sample_is_lost_or_moved(
    plugins: Path, tmp_path: Path, seed: int
) -> None:
    """Gaps count in whole packets as long as buffers do; received samples stay where they are."""
    rng = np.random.default_rng(seed)
    steps: list[Any] = [["buffer", 0, PACKET, 0]]
    expected = [ramp(BLOCK)[:, 0]]
    place, whole = BLOCK, True
    for is_gap, samples in zip(
        rng.random(12) < 0.4, rng.integers(1, 700, 12).tolist(), strict=True
    ):
        if is_gap:
            taken = round(samples / BLOCK) * BLOCK if whole else samples
            steps.append(["gap", place * STEP // BLOCK, -(-samples * STEP // BLOCK)])
            expected.append(np.full(taken, np.nan, np.float32))
        else:
            taken = samples
            steps.append(["buffer", 4 * place, 4 * (place + samples), place * STEP // BLOCK])
            expected.append(ramp(samples, place)[:, 0])
        place += taken
        whole = whole and place % BLOCK == 0
    _, _, played = heard(plugins, tmp_path, [*steps, ["eos"]], place, lookahead=seed % 3)
    signal = np.concatenate(expected)
    assert played.size == signal.size
    # A packet of which a part is missing is lost.
    packets = np.arange(signal.size) // BLOCK
    lost = np.isin(packets, packets[np.isnan(signal)])
    sound = received(lost, 1, RATE)
    assert np.array_equal(played[sound], signal[sound])


def test_a_buffer_that_ends_a_lost_packet_says_how_sound_goes_on(
    plugins: Path, tmp_path: Path
) -> None:
    signal = content("speech", RATE, 24 * BLOCK)
    cuts = [*range(0, 20 * BLOCK + 1, BLOCK), 20 * BLOCK + BLOCK // 2, 21 * BLOCK + BLOCK // 2]
    steps: list[Any] = [
        ["buffer", 4 * begin, 4 * stop, begin * STEP // BLOCK] for begin, stop in pairwise(cuts)
    ]
    steps[-1] = ["gap", cuts[-2] * STEP // BLOCK, STEP]
    steps.append(["buffer", 4 * cuts[-1], 4 * len(signal), cuts[-1] * STEP // BLOCK])
    _, played = probe(plugins, tmp_path, signal, [*steps, ["eos"]])
    concealer = Concealer(
        sample_rate=RATE, packet_samples=BLOCK, model="ar", budget_ms=math.inf, seed=0
    )
    packets = signal.reshape(-1, BLOCK, 1)
    expected = [concealer.push(packet) for packet in packets[:20]]
    expected.append(concealer.push(None))
    expected.append(concealer.push(None, behind=[(0, signal[22 * BLOCK :])]))
    expected += [concealer.push(packet) for packet in packets[22:]]
    np.testing.assert_allclose(played, np.concatenate(expected), rtol=0, atol=TOLERANCE)


def test_the_networks_beside_the_plugin_serve_it(plugins: Path, tmp_path: Path) -> None:
    path = str(files("plc") / "data" / "speech.flac")
    voice, rate = soundfile.read(path, dtype="float32", always_2d=True)
    block = rate // 50
    voice = np.ascontiguousarray(voice[: 150 * block])
    lost = np.random.default_rng(4).random(150) < 0.2
    lost[0] = False
    steps: list[Any] = [["eos"]]
    for k in reversed(range(150)):
        place = ["buffer", 4 * k * block, 4 * (k + 1) * block, 2 * k * STEP]
        steps.insert(0, ["gap", 2 * k * STEP, 2 * STEP] if lost[k] else place)
    for model in ("auto", "ar", str(plugins / MODELS)):
        of_it = {"model": model}
        _, played = probe(plugins, tmp_path, voice, steps, rate=rate, properties=of_it)
        expected = conceal(
            voice,
            lost,
            sample_rate=rate,
            packet_samples=block,
            model="ar" if model == "ar" else "auto",
            budget_ms=float("inf"),
        )
        error = played - expected
        assert np.vdot(error, error) < 1e-6 * np.vdot(expected, expected)
        assert np.array_equal(
            played[received(lost, block, rate)], voice[received(lost, block, rate)]
        )


def test_a_model_that_is_none_is_an_error_message(plugins: Path, tmp_path: Path) -> None:
    (tmp_path / "no.plcm").write_bytes(b"no model" * 40)
    of_it = {"model": str(tmp_path / "no.plcm")}
    seen, _ = probe(plugins, tmp_path, ramp(BLOCK), [], properties=of_it)
    assert seen["state"] == "failure"
    assert "no.plcm: " in seen["messages"][0][1]


# ---- installing ---------------------------------------------------------------------------------


def test_missing_gstreamer_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    for ask in (check, install):
        with pytest.raises(ConfigError, match="apt-get install gstreamer1"):
            ask(tmp_path)


def test_missing_headers_are_named_with_what_brings_them(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PKG_CONFIG", "false")
    with pytest.raises(ConfigError, match="apt-get install pkg-config libgstreamer1"):
        install(tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_check_tells_that_nothing_is_installed_or_that_it_is_no_plugin(
    plugins: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="is not there: plc gstreamer install"):
        check(tmp_path)
    (tmp_path / PLUGIN).write_bytes(b"no plugin")
    with pytest.raises(ConfigError, match="GStreamer does not load"):
        check(tmp_path)


def test_a_check_leaves_the_registry_alone(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GStreamer replaces whatever file GST_REGISTRY names, be it a device."""
    mine = tmp_path / "registry.bin"
    mine.write_text("mine")
    monkeypatch.setenv("GST_REGISTRY", str(mine))
    check(plugins)
    assert mine.read_text() == "mine"


def test_the_users_folder_is_below_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert user_folder() == Path("/home/somebody/.local/share/gstreamer-1.0/plugins")


def test_the_commands_install_and_check(
    plugins: Path, built: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def carried(folder: str, **_: Any) -> None:
        for name in ("libplc.a", "plc.h"):
            shutil.copy(built.library.with_name(name), folder)

    monkeypatch.setattr(gstreamer, "build_library", carried)
    app = typer.Typer()
    cli.register(app)
    folder = str(tmp_path / "plugins")
    result = CliRunner().invoke(app, ["gstreamer", "check", "--dir", folder])
    assert isinstance(result.exception, ConfigError)
    for command in ("install", "check"):
        result = ran(app, "gstreamer", command, "--dir", folder)
        assert "finds plcconceal" in result.output
    assert sorted(path.name for path in Path(folder).iterdir()) == [PLUGIN, MODELS]
