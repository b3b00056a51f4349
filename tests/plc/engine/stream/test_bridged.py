"""The network for gaps of which a packet after them has arrived: what it sees, when it is asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import Concealer
from plc.engine.networks import flat
from plc.engine.runtime.worker import Result
from plc.engine.stream import network_choice
from plc.errors import ModelError
from plc.files.distances import nmse_db
from plc_kernels.stream.gap import LINES, START
from plc_kernels.stream.layout import BRIDGE_NET, FLUX_DB, UNSTEADY_HOLD
from tests.examples import some
from tests.plc.tiny_models import write_bridge, write_model
from tests.plc.workers import Told
from tests.signals import glide, tones
from tests.signals import voice as voice_of

RATE = 16_000
PACKET = 320
SIGNAL = tones(31, RATE, 2 * RATE)
TRACE = np.zeros(100, bool)
# The first burst outlasts the lookahead: only its last two packets are bridged.
TRACE[[20, 21, 22, 40, 51, 52, 60, 62, 80]] = True
STREAM: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET, "lookahead": 2}
NO_LIMIT = float("inf")

UNSTEADY_DB = 9.0
"""Change of the band levels of what is unsteady for sure."""


def _stream(model: Path | str, outcome: Result | None = None, **changes: Any) -> Concealer:
    """Return a stream without a time limit; its bridges get an outcome, if given, with silence."""
    concealer = Concealer(**(STREAM | {"budget_ms": NO_LIMIT} | changes), model=str(model))
    if outcome is not None:
        _network(concealer).worker = Told(outcome)
    return concealer


def _network(concealer: Concealer) -> Any:
    assert concealer._method.outside is not None
    return concealer._method.outside.networks["speech, bridged"]


def _play(
    concealer: Concealer,
    trace: NDArray[np.bool_],
    signal: NDArray[np.float32] = SIGNAL,
    after: Callable[[], object] = lambda: None,
) -> NDArray[np.float32]:
    out: list[NDArray[Any]] = []
    for lost, packet in zip(trace, signal.reshape(-1, PACKET), strict=False):
        out.append(concealer.push(None if lost else packet))
        after()
    played: NDArray[np.float32] = np.concatenate(out)[concealer.delay :, 0]
    return played


def test_gaps_are_filled_by_the_network_and_nothing_else_is(tmp_path: Path) -> None:
    concealer = _stream(write_bridge(tmp_path, "lost"))
    out, draft = (_play(each, TRACE) for each in (concealer, _stream(write_bridge(tmp_path))))
    differs = np.abs(out - draft).reshape(-1, PACKET).max(axis=1) > 1e-4
    np.testing.assert_array_equal(np.flatnonzero(differs), [21, 22, 40, 51, 52, 60, 62, 80])
    made = {k: n for k, n in concealer.stats.rung_samples.items() if n}
    assert made.pop("network:lost") == 8 * PACKET
    assert sum(made.values()) == PACKET
    assert concealer.stats.network.network_done == 6


def test_a_longer_wait_bridges_no_more_than_the_networks_of_speech_do() -> None:
    voice = voice_of(RATE, 2.0, 160.0, 0.8)
    for lookahead in (2, 3):
        concealer = _stream("auto", content="speech", lookahead=lookahead)
        _play(concealer, TRACE, voice)
        # Of the first burst a packet is continued, and the two behind it are bridged.
        assert concealer.stats.bridged_samples == 8 * PACKET
        assert concealer.stats.network.network_done == 7
        alone = _stream("ar", content="speech", lookahead=lookahead)
        _play(alone, TRACE, voice)
        assert alone.stats.bridged_samples == {2: 8, 3: 9}[lookahead] * PACKET


@pytest.mark.parametrize("lookahead", [0, 1])
def test_it_is_opened_with_lookahead_and_without(tmp_path: Path, lookahead: int) -> None:
    model = str(write_bridge(tmp_path))
    with Concealer(RATE, 1, PACKET, lookahead, model=model) as opened:
        assert opened.describe()["networks"]["speech, bridged"]["model"] == "last"


@pytest.mark.parametrize("gap", [1, 2])
def test_each_line_holds_one_draft_between_what_is_known(tmp_path: Path, gap: int) -> None:
    concealer = _stream(write_bridge(tmp_path), Result.LATE)
    trace = np.zeros(100, bool)
    trace[50 : 50 + gap] = True
    played = _play(concealer, trace[: 50 + 3])
    memory = concealer._memory
    rows = memory.array(BRIDGE_NET + LINES)
    start = int(memory.block[BRIDGE_NET + START])
    begin, stop = 50 * PACKET, (50 + gap) * PACKET
    known = (3 - gap) * PACKET
    forward, backward, bridge = rows
    end = start + stop - begin
    until = min(end + known, rows.shape[1])
    for line in rows:
        np.testing.assert_array_equal(line[:start], SIGNAL[begin - start : begin])
        np.testing.assert_array_equal(line[end:until], SIGNAL[stop:][: until - end])
        # These are steady tones: what is predicted beyond is not far from what comes.
        truth = SIGNAL[begin - start :][: rows.shape[1]]
        assert np.abs(line[until:] - truth[until:]).max(initial=0.0) < 0.2 * np.abs(truth).max()
    np.testing.assert_array_equal(bridge[start:end][:PACKET], played[begin : begin + PACKET])
    # Either draft meets its own side, and the bridge lies between them.
    assert abs(backward[end - 1] - bridge[end - 1]) < 0.02
    low, high = np.minimum(forward, backward), np.maximum(forward, backward)
    assert (bridge >= low - 1e-6).all()
    assert (bridge <= high + 1e-6).all()


def test_drafts_follow_the_pitch(tmp_path: Path) -> None:
    x = voice_of(RATE, 1.0, 160.0, 0.8)[: RATE // PACKET * PACKET]
    trace = np.zeros(x.size // PACKET, bool)
    trace[24:26] = True
    gap = slice(24 * PACKET, 26 * PACKET)
    errors = {}
    for model in (str(write_bridge(tmp_path)), "ar"):
        played = _play(_stream(model), trace, x)
        errors[model] = float(np.mean((played[gap] - x[gap]) ** 2))
    bent, plain = errors.values()
    assert bent < 0.6 * plain


def test_a_damaged_contour_leaves_the_model_out_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def damaged() -> None:
        raise ModelError("contour.npz is not sound")

    monkeypatch.setattr(flat, "contour_model", damaged)
    monkeypatch.setattr(flat, "_shared", {})
    # As in a process before which none has measured what networks cost.
    monkeypatch.setattr(network_choice, "work_per_ms", network_choice.work_per_ms.__wrapped__)
    monkeypatch.setattr(network_choice, "find_cost", lambda *_: None)
    concealer = Concealer(**STREAM)
    assert concealer.describe()["networks"]["music"]["state"] == "on"
    said = concealer.describe()["networks"]["speech, bridged"]
    assert said["mode"] == "left out"
    assert "contour.npz" in str(said["why"])


def test_a_late_answer_leaves_the_bridge_and_then_none_is_asked(tmp_path: Path) -> None:
    concealer = _stream(write_bridge(tmp_path), Result.LATE)
    made = _play(concealer, TRACE)
    np.testing.assert_allclose(
        made[40 * PACKET : 41 * PACKET],
        _play(_stream(write_bridge(tmp_path)), TRACE)[40 * PACKET : 41 * PACKET],
        atol=2e-5,
    )
    plain = _play(_stream("ar"), TRACE)
    np.testing.assert_allclose(made[80 * PACKET :], plain[80 * PACKET :], atol=1e-3)
    assert _network(concealer).worker.asked == 2  # then it is switched off
    assert not concealer.stats.rung_samples["network:last"]
    assert concealer.stats.network.network_off > 0


def test_whatever_it_makes_there_is_no_click(tmp_path: Path) -> None:
    """Silence in place of tones: both edges are blended."""
    concealer = _stream(write_bridge(tmp_path), Result.DONE)
    heard = _play(concealer, TRACE)
    begin = 40 * PACKET
    np.testing.assert_allclose(heard[begin + 16 : begin + PACKET - 16], 0.0, atol=1e-6)
    step = np.abs(np.diff(SIGNAL)).max()
    around = heard[begin - 20 : begin + PACKET + 20]
    assert np.abs(np.diff(around)).max() < step + np.abs(SIGNAL).max() / 8


def test_a_gap_longer_than_its_horizon_is_left_alone(tmp_path: Path) -> None:
    concealer = _stream(write_bridge(tmp_path, horizon_ms=20.0), Result.DONE)
    trace = np.zeros(100, bool)
    trace[50:52] = True
    made = _play(concealer, trace)
    assert _network(concealer).worker.asked == 0
    np.testing.assert_array_equal(made, _play(_stream("ar"), trace))


@pytest.mark.parametrize(
    ("kind", "drafts"),
    [
        ("bridge", ("forward", "backward", "interpolated")),
        ("bridge", ("forward", "backward", "bridge")),
        ("bridge", ("contour", "ar_contour")),
        ("causal", ("contour_forward", "contour_backward", "contour_bridge")),
        ("causal", ("ar",)),
    ],
)
def test_other_drafts_are_refused(tmp_path: Path, kind: str, drafts: tuple[str, ...]) -> None:
    changes: dict[str, Any] = {"kind": kind, "context_frames_after": int(kind == "bridge")}
    model = write_bridge(tmp_path, drafts=drafts, **changes)
    with pytest.raises(ModelError, match=r"a stream makes contour, ar_contour or .* export it"):
        Concealer(**STREAM, model=str(model))


def test_a_bridge_ends_a_faded_burst_where_a_network_improves_it(tmp_path: Path) -> None:
    """Speech is held for four packets; the fade begins with the fifth."""
    voiced = glide(3, RATE, 2 * RATE)

    def bridged(model: str, burst: int) -> int:
        concealer = _stream(model, lookahead=1)
        numbers = concealer._memory.numbers
        trace = np.zeros(100, bool)
        trace[50 : 50 + burst] = True
        numbers[FLUX_DB] = UNSTEADY_DB
        _play(concealer, trace, voiced, lambda: numbers.__setitem__(FLUX_DB, UNSTEADY_DB))
        return concealer.stats.bridged_samples // PACKET

    model = str(write_bridge(tmp_path))
    assert [bridged("ar", burst) for burst in (1, 4, 5, 12)] == [1, 1, 0, 0]
    assert [bridged(model, burst) for burst in (1, 4, 5, 12)] == [1, 1, 1, 1]


def test_a_late_bridge_sets_out_from_what_was_played(tmp_path: Path) -> None:
    """The burst has been faded by then: to go on with its prediction would be a step."""
    sine = (0.5 * np.sin(2 * np.pi * 110.0 / RATE * np.arange(RATE))).astype(np.float32)
    concealer = _stream(write_bridge(tmp_path), lookahead=1)
    numbers = concealer._memory.numbers
    trace = np.zeros(50, bool)
    trace[30:33] = True
    concealer._memory.block[UNSTEADY_HOLD] = PACKET  # the fade begins with the second packet
    numbers[FLUX_DB] = UNSTEADY_DB
    heard = _play(concealer, trace, sine, lambda: numbers.__setitem__(FLUX_DB, UNSTEADY_DB))
    assert concealer.stats.bridged_samples == PACKET
    natural = float(np.abs(np.diff(sine)).max())
    around = heard[32 * PACKET - 40 : 32 * PACKET + 40]  # where the third lost packet begins
    assert np.abs(np.diff(around)).max() < 1.3 * natural


def test_where_it_could_never_run_it_is_not_opened(tmp_path: Path) -> None:
    """Packets too long to be its gap."""
    made = Concealer(16_000, 1, 960, lookahead=1, model=str(write_bridge(tmp_path)))
    assert made.describe()["networks"] == {}


@some("rate", [8_000, 16_000, 48_000, 11_025, 12_000, 22_050, 32_000, 44_100], 3)
def test_the_one_that_comes_along_runs_at_every_rate_it_names(rate: int) -> None:
    packet = rate // 50
    concealer = Concealer(rate, 1, packet, lookahead=2, model="speech-bridge", budget_ms=NO_LIMIT)
    packets = tones(4, rate, 60 * packet).reshape(-1, packet)
    for k, each in enumerate(packets):
        out = concealer.push(None if k in (40, 50, 51) else each)
        assert np.isfinite(out).all()
    assert concealer.stats.rung_samples["network:speech-bridge"] == 3 * packet


def test_a_stream_with_a_causal_network_of_the_user_bridges_gaps_too(
    tmp_path: Path,
) -> None:
    names = ("contour", "ar_contour")
    model = write_model(tmp_path, "last", drafts=names, top_hz=8000.0, content="speech")
    stream = _stream(model, lookahead=1)
    assert set(stream.describe()["networks"]) == {"speech"}
    trace = np.zeros(100, bool)
    trace[[60, 80]] = True
    lost = np.repeat(trace[: SIGNAL.size // PACKET - 1], PACKET)
    # Along the contour of what is no voice.
    assert nmse_db(SIGNAL[: lost.size], _play(stream, trace).astype(float), lost) < -20.0
