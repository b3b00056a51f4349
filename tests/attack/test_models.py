"""Networks that answer anything: what is heard stays within what was received, and is finite."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import Concealer, inpaint
from plc.engine.stream import outside
from plc.files.fill import networks as inpaint_module
from plc.files.fill.gap_drafts import TwoSidedDraft
from plc.files.fill.signals import FillSettings
from plc.files.recordings import inpaint_file
from plc_bench.scores.loudness import LOUDEST_FILL_DB, Loudness
from tests.examples import some
from tests.plc.tiny_models import onnx, write_bridge, write_model
from tests.plc.workers import FakeNetwork
from tests.signals import noise, tones

RATE = 16_000
PACKET = 160
LARGEST = float(np.finfo(np.float32).max)

LIES: dict[str, Sequence[float]] = {
    "1e30": (1e30,),
    "-1e30": (-1e30,),
    "the largest there is": (LARGEST,),
    "infinite": (math.inf,),
    "NaN": (math.nan,),
    "ten times": (10.0,),
    "1e30 and nothing": (1e30, 0.0),
    "1e30 and its opposite": (1e30, -1e30),
    "all in turn": (1.0, 1e30, math.nan, 0.0, -1e38, math.inf, 1e-30, -3.0),
}
ALIVE = [name for name in LIES if name not in ("infinite", "NaN")]
"""What a runtime lets through: a network that answers no number is one that failed."""


def liar(levels: Sequence[float], checks: bool) -> FakeNetwork:
    """Return a network that answers noise at one level after the other."""
    turns, rng = itertools.cycle(levels), np.random.default_rng(1)

    def lie(out: NDArray[np.float32]) -> bool:
        with np.errstate(all="ignore"):
            out[:] = next(turns) * rng.uniform(-1.0, 1.0, out.shape)
        return not checks or bool(np.isfinite(out).all())

    return FakeNetwork(lie)


def lies(
    monkeypatch: pytest.MonkeyPatch, levels: Sequence[float], checks: bool = True
) -> list[FakeNetwork]:
    """Have every network lie from here on; return those that were opened."""
    opened: list[FakeNetwork] = []

    def open_network(*_: object, **__: object) -> FakeNetwork:
        opened.append(liar(levels, checks))
        return opened[-1]

    monkeypatch.setattr(outside, "open_network", open_network)
    monkeypatch.setattr(inpaint_module, "open_network", open_network)
    return opened


def causal(folder: Path, graph: str = "last", **changes: Any) -> str:
    return str(
        write_model(folder, graph, drafts=("contour", "ar_contour"), top_hz=8000.0, **changes)
    )


def bridging(folder: Path, graph: str = "last", **changes: Any) -> str:
    return str(write_bridge(folder, graph, **changes))


def play(
    model: str, lookahead: int, channels: int = 1, integer: bool = False
) -> tuple[float, Concealer]:
    """Return by how much a stream's concealments pass what was received, and the stream."""
    signal = np.stack([tones(7 + c, RATE, 3 * RATE) for c in range(channels)], axis=1)
    signal += np.float32(0.02) * noise(9, signal.size).reshape(signal.shape)
    if integer:
        signal = np.rint(32767.0 * signal).astype(np.int16)
    packets = signal.reshape(-1, PACKET, channels)
    lost = np.random.default_rng(3).random(len(packets)) < 0.3
    concealer = Concealer(
        RATE, channels, PACKET, lookahead, model=model, budget_ms=math.inf, seed=1
    )
    loudness = Loudness(RATE, PACKET)
    full = 32768.0 if integer else 1.0
    excess_db = -math.inf
    for k, packet in enumerate(packets):
        as_float = (packet / full).astype(np.float32)
        loudness.receive(None if lost[k] else as_float)
        out = concealer.push(None if lost[k] else packet)
        assert np.isfinite(out).all()
        if k >= lookahead and lost[k - lookahead]:
            excess_db = max(excess_db, loudness.excess_db((out / full).astype(np.float32)))
    assert np.isfinite(concealer.flush()).all()
    return excess_db, concealer


@pytest.mark.parametrize("name", LIES)
@some("lookahead", [0, 1, 2], 2)
def test_no_network_makes_a_stream_louder_than_what_was_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lookahead: int
) -> None:
    opened = lies(monkeypatch, LIES[name])
    model = bridging(tmp_path) if lookahead else causal(tmp_path)
    excess_db, concealer = play(model, lookahead)
    assert excess_db <= LOUDEST_FILL_DB
    assert sum(network.runs for network in opened) > 2  # or as many as turn it off
    if name in ALIVE:
        assert concealer.stats.network.network_done > 0
        assert concealer.stats.fills_limited > 0
    else:
        assert concealer.stats.network.network_failed > 0
        assert concealer.stats.network.network_done == 0
    concealer.close()


@pytest.mark.parametrize("checks", [True, False])
@pytest.mark.parametrize("kind", [causal, bridging])
@some("channels, integer", [(2, False), (1, True), (2, True)])
def test_neither_channels_nor_whole_numbers_let_more_through(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[..., str],
    channels: int,
    integer: bool,
    checks: bool,
) -> None:
    """Nor does NaN that no runtime holds back."""
    lies(monkeypatch, LIES["all in turn"], checks)
    excess_db, concealer = play(kind(tmp_path), 2 * (kind is bridging), channels, integer)
    assert excess_db <= LOUDEST_FILL_DB
    assert concealer.stats.fills_limited > 0
    concealer.close()


@pytest.mark.parametrize("gain", [3.0, -1e4, 1e30, LARGEST])
@pytest.mark.parametrize("kind", [causal, bridging])
def test_a_file_with_a_gain_is_held_to_what_was_received(
    tmp_path: Path, kind: Callable[..., str], gain: float
) -> None:
    """Through ONNX Runtime, which may make infinity of it, in threads of their own or not."""
    model = kind(tmp_path, "gain", change=gained(gain), name="gain")
    excess_db, concealer = play(model, 2 * (kind is bridging))
    assert excess_db <= LOUDEST_FILL_DB
    counters = concealer.stats.network
    assert counters.network_failed or concealer.stats.fills_limited
    concealer.close()


def gained(gain: float) -> Callable[[Any], None]:
    """Return a change of a model that multiplies what it answers."""

    def change(model: Any) -> None:
        graph = model.graph
        number = onnx.helper.make_tensor("gain", onnx.TensorProto.FLOAT, [], [gain])
        graph.initializer.append(number)
        graph.node[-1].output[0] = "plain"
        graph.node.append(onnx.helper.make_node("Mul", ["plain", "gain"], ["filled"]))

    return change


# ---- gaps of recordings --------------------------------------------------------------------------


def inpainting(folder: Path, graph: str = "last", **changes: Any) -> str:
    settings: dict[str, Any] = {
        "drafts": TwoSidedDraft.KNOWN,
        "kind": "inpaint",
        "context_frames_after": 2,
        "top_hz": 8000.0,
    }
    return str(write_model(folder, graph, **(settings | changes)))


GAPS = [(0, 100), (4000, 4800), (9000, 9160), (14_000, 15_000), (20_000, 20_004), (31_000, 32_000)]


def fill(model: str, channels: int = 2) -> float:
    """Return by how much fills of a recording pass all of it that is known."""
    signal = np.stack([tones(2 + c, RATE, 2 * RATE) for c in range(channels)], axis=1)
    signal += np.float32(0.3) * noise(4, signal.size).reshape(signal.shape)
    loudness = Loudness(RATE, signal.shape[0])
    known = signal.copy()
    for start, stop in GAPS:
        known[start:stop] = 0.0
    loudness.receive(known)
    filled = inpaint(signal, GAPS, sample_rate=RATE, model=model)
    assert np.isfinite(filled).all()
    alone = np.zeros_like(filled)
    for start, stop in GAPS:
        alone[start:stop] = filled[start:stop]
    np.testing.assert_array_equal(filled - alone, known)
    # A window of 5 ms may hold what is heard at both sides of it: only fills are in ``alone``.
    return loudness.excess_db(alone.astype(np.float32, copy=False))


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("checks", [True, False])
def test_no_network_makes_a_fill_louder_than_what_is_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, checks: bool
) -> None:
    opened = lies(monkeypatch, LIES[name], checks)
    assert fill(inpainting(tmp_path, name=f"liar {name} {checks}".replace(" ", "-"))) <= (
        LOUDEST_FILL_DB
    )
    assert sum(network.runs for network in opened) >= 3


@pytest.mark.parametrize("gain", [3.0, -1e4, 1e30, LARGEST])
def test_a_file_with_a_gain_fills_gaps_within_what_is_around_them(
    tmp_path: Path, gain: float
) -> None:
    name = f"gain-{gain:g}".replace("+", "")
    model = inpainting(tmp_path, "gain", change=gained(gain), name=name)
    assert fill(model) <= LOUDEST_FILL_DB


def test_a_file_of_many_gaps_is_no_louder_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fill of one gap is in what the next is filled from, but not in what bounds it."""
    lies(monkeypatch, (1e30, -1e30))
    signal = np.stack([tones(c, RATE, 3 * RATE) for c in (2, 3)], axis=1)
    signal += np.float32(0.3) * noise(4, signal.size).reshape(signal.shape)
    signal *= np.float32(0.5 / np.abs(signal).max())
    gaps = [(start, start + 320) for start in range(1600, 3 * RATE - 1600, 960)]
    known = signal.copy()
    for start, stop in gaps:
        known[start:stop] = 0.0
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, known, RATE, subtype="FLOAT")
    model = inpainting(tmp_path, name="many")
    inpaint_file(
        source, target, [(a / RATE, b / RATE) for a, b in gaps], settings=FillSettings(model=model)
    )
    filled, _ = soundfile.read(target, dtype="float32", always_2d=True)
    loudness = Loudness(RATE, signal.shape[0])
    loudness.receive(known)
    assert loudness.excess_db(filled - known) <= LOUDEST_FILL_DB
    whole = inpaint(known, gaps, sample_rate=RATE, model=model)
    assert loudness.excess_db(whole - known) <= LOUDEST_FILL_DB
