"""The GStreamer element: what it plays for buffers and gaps, and how it is installed."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from plc import conceal
from plc.cli import embed
from plc.embed.gstreamer import install as installing
from plc.embed.gstreamer.install import FILE, check, install, loader_python, user_folder
from plc.embed.gstreamer.timeline import LONGEST_GAP_S, BufferTimeline, Piece
from plc.embed.stream import Flag, Format
from plc.errors import ConfigError
from plc.limits import RECOVERY_MS
from tests.examples import examples
from tests.plc.configs import embedded
from tests.signals import tones

RATE = 16_000
BLOCK = 160
MS = 1_000_000
STEP = 10 * MS
QUICK = embedded(sample_rate=RATE, method="burg", model="ar")
CAPS = "audio/x-raw,format={},layout=interleaved,rate={},channels={}"
PROBE = Path(__file__).with_name("gstreamer_probe.py")
# An environment that does not lead the system's Python astray.
BARE = {"PATH": "/usr/bin:/bin", "HOME": "/dev/null/nowhere"}

Samples = NDArray[np.float32] | NDArray[np.int16]


def ramp(samples: int, begin: int = 0) -> NDArray[np.float32]:
    """Return samples that tell where they stood."""
    return (np.arange(begin, begin + samples) / 1e5).astype(np.float32)[:, None]


def joined(pieces: list[Piece]) -> NDArray[np.float32]:
    return np.concatenate([piece.samples for piece in pieces])[:, 0].astype(np.float32)


def test_buffers_that_are_packets_come_out_at_once_and_as_they_were() -> None:
    timeline = BufferTimeline(QUICK)
    for k in range(5):
        buffer = ramp(BLOCK, k * BLOCK)
        pieces = timeline.take(buffer, k * STEP)
        assert [(piece.pts, piece.flags) for piece in pieces] == [(k * STEP, 0)]
        assert np.array_equal(pieces[0].samples, buffer)
    assert timeline.latency_ns == 0


@pytest.mark.parametrize("lookahead", [0, 2])
def test_a_gap_is_played_as_the_engine_conceals_it(lookahead: int) -> None:
    signal = tones(1, RATE, 30 * BLOCK)[:, None]
    lost = np.random.default_rng(1).random(30) < 0.3
    lost[0] = False
    timeline = BufferTimeline(
        embedded(sample_rate=RATE, model="ar", budget_ms=math.inf, lookahead=lookahead)
    )
    pieces = []
    for k, packet in enumerate(signal.reshape(30, BLOCK, 1)):
        if lost[k]:
            pieces += timeline.miss(STEP, k * STEP)[0]
        else:
            pieces += timeline.take(packet, k * STEP)
    pieces += timeline.drain()
    expected = conceal(
        signal, lost, sample_rate=RATE, packet_samples=BLOCK, lookahead=lookahead, model="ar"
    )
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), expected)
    assert [piece.pts for piece in pieces] == [k * STEP for k in range(30)]
    assert timeline.latency_ns == lookahead * STEP


@pytest.mark.parametrize("duration", [9.4, 10.0, 10.7, 13.1])
def test_a_gap_that_the_jitter_buffer_misjudged_is_whole_packets(duration: float) -> None:
    timeline = BufferTimeline(QUICK)
    timeline.take(ramp(BLOCK), 0)
    pieces, left = timeline.miss(round(duration * MS), STEP)
    assert (len(pieces), left) == (1, 0)
    assert pieces[0].flags == Flag.CONCEALED
    assert timeline.take(ramp(BLOCK), 2 * STEP)[0].pts == 2 * STEP


def test_a_gap_before_any_buffer_is_left_empty() -> None:
    assert BufferTimeline(QUICK).miss(STEP, 0) == ([], STEP)
    assert BufferTimeline(QUICK).miss(None, 0) == ([], 0)


def test_a_gap_of_unknown_length_is_a_packet() -> None:
    timeline = BufferTimeline(QUICK)
    timeline.take(ramp(BLOCK), 0)
    assert len(timeline.miss(None, STEP)[0]) == 1


def test_an_hour_long_gap_is_filled_for_seconds_and_left_empty_after() -> None:
    timeline = BufferTimeline(QUICK)
    timeline.take(ramp(BLOCK), 0)
    pieces, left = timeline.miss(3600 * 1000 * MS, STEP)
    assert len(pieces) * BLOCK == LONGEST_GAP_S * RATE
    assert left == 3600 * 1000 * MS - round(LONGEST_GAP_S * 1000) * MS


def test_a_gap_that_is_told_twice_is_filled_once() -> None:
    timeline = BufferTimeline(QUICK)
    timeline.take(ramp(BLOCK), 0)
    told = [(STEP - 1, STEP), (2 * STEP - 1, STEP), (STEP, STEP), (2 * STEP, STEP)]
    assert [len(timeline.miss(lasts, pts)[0]) for pts, lasts in told] == [1, 1, 0, 0]
    # One that only begins in what was filled is filled from there on.
    [piece] = timeline.miss(2 * STEP, 2 * STEP)[0]
    assert piece.pts == 3 * STEP
    assert timeline.take(ramp(BLOCK), 4 * STEP)[0].pts == 4 * STEP


def test_two_packets_in_a_buffer_are_one_packet_as_long() -> None:
    timeline = BufferTimeline(QUICK)
    timeline.take(ramp(BLOCK), 0)
    pieces = timeline.take(ramp(2 * BLOCK, BLOCK), STEP)
    assert [piece.pts for piece in pieces] == [STEP, 2 * STEP]
    assert not timeline.held_back


def test_a_buffer_too_long_for_a_packet_is_cut() -> None:
    timeline = BufferTimeline(QUICK)
    pieces = timeline.take(ramp(RATE), 0)
    assert timeline.packet_samples == BLOCK
    assert len(pieces) == 100
    assert np.array_equal(joined(pieces), ramp(RATE)[:, 0])


def test_stamps_go_on_where_a_buffer_has_none() -> None:
    timeline = BufferTimeline(QUICK)
    stamps = [piece.pts for pts in (0, None, None) for piece in timeline.take(ramp(BLOCK), pts)]
    assert stamps == [0, STEP, None]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 700)), min_size=1, max_size=12),
    st.integers(0, 2),
)
@examples(200)
def test_however_buffers_and_gaps_are_cut_no_sample_is_lost_or_moved(
    parts: list[tuple[bool, int]], lookahead: int
) -> None:
    """Gaps count in whole packets as long as buffers do; received samples stay where they are."""
    timeline = BufferTimeline(
        embedded(sample_rate=RATE, method="burg", model="ar", lookahead=lookahead)
    )
    pieces = timeline.take(ramp(BLOCK), 0)
    expected = [ramp(BLOCK)[:, 0]]
    place = BLOCK
    for is_gap, samples in parts:
        if is_gap:
            taken = samples if timeline.held_back else round(samples / BLOCK) * BLOCK
            pieces += timeline.miss(samples * 1_000_000_000 // RATE, None)[0]
            expected.append(np.full(taken, np.nan, np.float32))
            place += taken
        else:
            pieces += timeline.take(ramp(samples, place), None)
            expected.append(ramp(samples, place)[:, 0])
            place += samples
    pieces += timeline.drain()
    signal, played = np.concatenate(expected), joined(pieces)
    assert abs(played.size - signal.size) <= len(parts)  # a gap's length in ns is cut down
    if played.size == signal.size:
        # A packet of which a part is missing is lost; behind it is a crossfade.
        packets = np.arange(signal.size) // BLOCK
        lost = np.isin(packets, packets[np.isnan(signal)])
        behind = np.ones(1 + round(RECOVERY_MS * RATE / 1000.0))
        heard = np.convolve(lost, behind)[: signal.size] < 0.5
        assert np.array_equal(played[heard], signal[heard])


def test_after_its_end_a_timeline_begins_anew() -> None:
    timeline = BufferTimeline(embedded(sample_rate=RATE, method="burg", model="ar", lookahead=3))
    for _ in range(2):
        pieces = timeline.take(ramp(BLOCK), 7 * STEP) + timeline.drain()
        assert np.array_equal(joined(pieces), ramp(BLOCK)[:, 0])
        assert [piece.pts for piece in pieces] == [7 * STEP]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for GST_PLUGIN_PATH with the element in it."""
    try:
        version = loader_python()
    except ConfigError as error:
        pytest.skip(str(error))
    if version != f"{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip(f"GStreamer runs Python {version}")
    found = subprocess.run(
        ["/usr/bin/python3", "-c", "import gi; gi.require_version('GstBase', '1.0')"],
        env=BARE,
        capture_output=True,
        check=False,
    )
    if found.returncode:
        pytest.skip("the system's Python has no gi with GstBase 1.0")
    folder = tmp_path_factory.mktemp("gst")
    installed = install(folder / "python")
    assert installed.element, installed.problem
    return folder


def environment(plugins: Path) -> dict[str, str]:
    own = {"GST_PLUGIN_PATH": str(plugins), "GST_REGISTRY": str(plugins / "registry.bin")}
    cache = {k: v for k, v in os.environ.items() if k == "NUMBA_CACHE_DIR"}
    return BARE | own | cache


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
    spec["properties"] = {"budget_ms": 1e9, "model": "ar"} | spec.get("properties", {})
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


def steps_of(lost: NDArray[np.bool_], packet_bytes: int) -> list[Any]:
    return [
        ["gap", k * STEP, STEP]
        if lost[k]
        else ["buffer", k * packet_bytes, (k + 1) * packet_bytes, k * STEP]
        for k in range(lost.size)
    ]


@pytest.mark.parametrize(
    ("format_", "rate", "channels", "lookahead"),
    [(Format.FLOAT32, 44_100, 1, 0), (Format.INT16, 48_000, 2, 0), (Format.INT16, 8_000, 1, 2)],
)
def test_the_element_plays_what_the_engine_makes(
    plugins: Path, tmp_path: Path, format_: Format, rate: int, channels: int, lookahead: int
) -> None:
    block = rate // 100
    signal: Samples = np.stack([tones(c, rate, 60 * block) for c in range(channels)], axis=1)
    if format_ is Format.INT16:
        signal = np.rint(signal * 32767).astype(np.int16)
    lost = np.random.default_rng(4).random(60) < 0.2
    lost[0] = False
    steps = [*steps_of(lost, block * channels * format_.dtype.itemsize), ["eos"]]
    seen, played = probe(
        plugins, tmp_path, signal, steps, rate=rate, properties={"lookahead": lookahead}
    )
    expected = conceal(
        signal, lost, sample_rate=rate, packet_samples=block, lookahead=lookahead, model="ar"
    )
    # Another build of Python, so the last bit of a window may differ, and a sample be rounded up.
    last_bit = 1 if format_ is Format.INT16 else 1e-6
    np.testing.assert_allclose(played, expected, rtol=0, atol=last_bit)
    assert np.count_nonzero(played != expected) <= 0.001 * expected.size
    assert [pts for pts, _, _ in seen["buffers"]] == [k * STEP for k in range(60)]
    assert seen["latency_ms"] == 20 + 10 * lookahead
    assert seen["concealed"] == lost.sum() * block
    assert seen["messages"][-1] == ["plcconceal", lost.sum() * block]
    assert [name for name, *_ in seen["events"]] == ["stream-start", "caps", "segment", "eos"]


def test_the_element_posts_statistics_as_often_as_it_is_told(plugins: Path, tmp_path: Path) -> None:
    signal = tones(1, RATE, 50 * BLOCK)[:, None]
    steps = steps_of(np.zeros(50, bool), 4 * BLOCK)
    seen, _ = probe(plugins, tmp_path, signal, steps, properties={"stats_interval": 100})
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
        plugins, tmp_path, signal, [["buffer", 0, 4 * BLOCK, 0]], properties={"method": "magic"}
    )
    assert played.size == 0
    assert seen["results"] == [True, "error"]
    kind, text = seen["messages"][0]
    assert kind == "error"
    assert "method is 'magic'; known: auto" in text


def test_an_hour_long_gap_is_passed_on_where_it_is_not_filled(
    plugins: Path, tmp_path: Path
) -> None:
    signal = tones(1, RATE, BLOCK)[:, None]
    hour = 3600 * 1000 * MS
    steps = [["gap", 0, STEP], ["buffer", 0, 4 * BLOCK, STEP], ["gap", 2 * STEP, hour]]
    seen, played = probe(plugins, tmp_path, signal, steps, properties={"method": "burg"})
    filled = round(LONGEST_GAP_S * 1000) * MS
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


def test_another_python_than_gstreamers_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "loader_python", lambda: "3.6")
    with pytest.raises(ConfigError, match=r"GStreamer runs Python 3\.6.*python3\.6 -m venv DIR"):
        install(tmp_path / "python")
    assert not (tmp_path / "python").exists()


def test_the_plugin_refuses_another_python(plugins: Path) -> None:
    text = (plugins / "python" / FILE).read_text()
    foreign = text.replace(f"_BUILT_FOR = {tuple(sys.version_info[:2])}", "_BUILT_FOR = (3, 6)")
    assert foreign != text
    with pytest.raises(ImportError, match=r"installed from Python 3\.6, and GStreamer runs"):
        exec(compile(foreign, FILE, "exec"), {})


def test_a_folder_that_gstreamer_does_not_look_into_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not called python"):
        install(tmp_path / "plugins")


def test_missing_gstreamer_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="apt-get install gstreamer1"):
        check(tmp_path / "python")


def test_a_check_tells_that_nothing_is_installed(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = check(tmp_path / "python")
    assert not found.element
    assert found.problem is not None
    assert "plc gstreamer install" in found.problem


def test_a_check_leaves_the_registry_alone(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GStreamer replaces whatever file GST_REGISTRY names, be it a device."""
    mine = tmp_path / "registry.bin"
    mine.write_text("mine")
    monkeypatch.setenv("GST_REGISTRY", str(mine))
    assert check(plugins / "python").element
    assert mine.read_text() == "mine"


def test_the_users_folder_is_below_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert user_folder() == Path("/home/somebody/.gstreamer-1.0/plugins/python")


def test_the_commands_install_and_check(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    app = typer.Typer()
    embed.register(app)
    folder = str(tmp_path / "python")
    result = CliRunner().invoke(app, ["gstreamer", "check", "--dir", folder])
    assert result.exit_code == 1
    assert "is not there" in result.output
    result = CliRunner().invoke(app, ["gstreamer", "install", "--dir", folder])
    assert result.exit_code == 0, result.output
    assert "finds plcconceal" in result.output
