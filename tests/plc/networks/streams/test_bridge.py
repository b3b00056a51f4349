"""The network for gaps of which a packet after them has arrived: what it sees, when it is asked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import Concealer, conceal
from plc.engine import network_choice
from plc.errors import ConfigError, ModelError
from plc.models.manifest import Manifest
from plc.networks import flat
from plc.networks.drafts import BridgeDraft
from plc.networks.streams.filler import NetworkFiller
from plc.networks.streams.served import StreamContext
from plc.predict import ladder
from plc.predict.filler import Filler, Moment
from plc.predict.history import History
from plc.predict.ladder import Rung, Step
from plc.predict.linear import ArFiller, Sides
from plc.runtime.runner import NetworkCounters, Outcome
from plc_kernels.stream.layout import FLUX_DB
from tests.plc.tiny_models import write_bridge, write_model
from tests.signals import glide, tones
from tests.signals import voice as voice_of

RATE = 16_000
PACKET = 320
LONGEST = 2 * PACKET
SIGNAL = tones(31, RATE, 2 * RATE)
TRACE = np.zeros(100, bool)
# The first burst outlasts the lookahead: only its last two packets are bridged.
TRACE[[20, 21, 22, 40, 51, 52, 60, 62, 80]] = True
STREAM: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET, "lookahead": 2}

UNSTEADY_DB = 9.0
"""Change of the band levels of what is unsteady for sure."""


class _Seen:
    """A runner that keeps what it was given, and answers as ``outcome`` says, with silence."""

    last_error = ""
    on_gpu = False

    def __init__(self, outcome: Outcome) -> None:
        self.counters = NetworkCounters()
        self.outcome = outcome
        self.asked = 0

    def submit(self, spectra: NDArray[np.float32], lost: NDArray[np.float32]) -> int:
        self.asked += 1
        return 1

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Outcome:
        out[:] = 0.0
        return self.outcome

    state = "ready"

    def abandon(self) -> None: ...

    def tick(self) -> bool:
        return False

    def close(self) -> None: ...


def _filler(folder: Path, runner: _Seen | None = None) -> NetworkFiller:
    manifest = Manifest.read(write_bridge(folder))
    filler = NetworkFiller(StreamContext(RATE, 1, PACKET, reach=LONGEST), {}, {"music": manifest})
    if runner:
        filler.networks[0].runner = runner
    return filler


def _bridged(
    filler: Filler,
    gap: int = PACKET,
    known: int = PACKET,
    whole: bool = True,
    limit_ms: float = float("inf"),
) -> NDArray[np.float32]:
    history = History(1, filler.past_samples)
    history.append(SIGNAL[None, :RATE], trusted=True)
    out = np.zeros((1, gap), np.float32)
    moment = Moment(gap_samples=gap * whole, limit_ms=limit_ms)
    filler.begin(history, moment)
    assert filler.bridge(history, SIGNAL[None, RATE + gap : RATE + gap + known], out, moment)
    bridge: NDArray[np.float32] = out[0]
    return bridge


def test_a_network_that_changes_nothing_is_the_bridge(tmp_path: Path) -> None:
    with_network = conceal(SIGNAL, TRACE, model=str(write_bridge(tmp_path)), **STREAM)
    without = conceal(SIGNAL, TRACE, model="ar", **STREAM)
    np.testing.assert_allclose(with_network, without, atol=2e-5)


def test_gaps_are_filled_by_the_network_and_nothing_else_is(tmp_path: Path) -> None:
    concealer = Concealer(
        **STREAM, model=str(write_bridge(tmp_path, "lost")), budget_ms=float("inf")
    )
    plain = Concealer(**STREAM, model="ar", budget_ms=float("inf"))
    packets = SIGNAL.reshape(-1, PACKET)
    out, draft = (
        np.concatenate(
            [
                each.push(None if lost else packet)
                for lost, packet in zip(TRACE, packets, strict=True)
            ]
        )[2 * PACKET :, 0]
        for each in (concealer, plain)
    )
    differs = np.abs(out - draft).reshape(-1, PACKET).max(axis=1) > 1e-4
    np.testing.assert_array_equal(np.flatnonzero(differs), [21, 22, 40, 51, 52, 60, 62, 80])
    made = {k: n for k, n in concealer.stats.rung_samples.items() if n}
    assert made.pop("network:lost") == 8 * PACKET
    assert sum(made.values()) == PACKET
    assert concealer.stats.network.network_done == 6


def test_without_lookahead_it_is_not_opened(tmp_path: Path) -> None:
    model = str(write_bridge(tmp_path))
    assert Concealer(RATE, 1, PACKET, model=model).describe()["networks"] == {}
    waiting = Concealer(**STREAM, model=model)
    assert waiting.describe()["networks"]["speech, bridged"]["model"] == "last"
    waiting.close()


@pytest.mark.parametrize(("gap", "known"), [(320, 320), (320, 640), (640, 320)])
def test_each_line_holds_one_draft_between_what_is_known(
    tmp_path: Path, gap: int, known: int
) -> None:
    filler = _filler(tmp_path, _Seen(Outcome.LATE))
    out = _bridged(filler, gap, known)
    spectra = filler.networks[0].gap
    start, stop = spectra.gap_start, spectra.gap_start + gap
    until = min(stop + known, spectra.samples)
    forward, backward, bridge = spectra.rows[0]
    plain = ArFiller(RATE, 1, PACKET, reach=LONGEST)
    np.testing.assert_array_equal(_bridged(plain, gap, known), out)
    for line in (forward, backward, bridge):
        np.testing.assert_array_equal(line[:start], SIGNAL[RATE - start : RATE])
        np.testing.assert_array_equal(line[stop:until], SIGNAL[RATE + gap :][: until - stop])
        # These are steady tones: what is predicted beyond is not far from what comes.
        truth = SIGNAL[RATE - start :][: spectra.samples]
        assert np.abs(line[until:] - truth[until:]).max(initial=0.0) < 0.2 * np.abs(truth).max()
    np.testing.assert_array_equal(bridge[start:stop], out)
    history = History(1, plain.past_samples)
    history.append(SIGNAL[None, :RATE], trusted=True)
    alone = np.zeros((1, gap), np.float32)
    plain.begin(history)
    plain.extend(alone)
    np.testing.assert_allclose(forward[start:stop], alone[0], atol=1e-6)
    # Either draft meets its own side, and the bridge lies between them.
    assert abs(backward[stop - 1] - bridge[stop - 1]) < 0.02
    low, high = np.minimum(forward, backward), np.maximum(forward, backward)
    assert (bridge >= low - 1e-6).all()
    assert (bridge <= high + 1e-6).all()


def test_drafts_follow_the_pitch_where_the_model_was_trained_so(tmp_path: Path) -> None:
    x = voice_of(RATE, 1.0, 160.0, 0.8)
    place, truth = RATE // 2, x[RATE // 2 : RATE // 2 + LONGEST]
    errors = {}
    for drafts in (BridgeDraft.PLAIN, BridgeDraft.ALONG_THE_PITCH):
        manifest = Manifest.read(write_bridge(tmp_path, drafts=drafts))
        filler = NetworkFiller(
            StreamContext(RATE, 1, PACKET, reach=LONGEST), {}, {"music": manifest}
        )
        history = History(1, filler.past_samples)
        history.append(x[None, :place], trusted=True)
        out = np.zeros((1, LONGEST), np.float32)
        moment = Moment(gap_samples=LONGEST)
        filler.begin(history, moment)
        after = np.ascontiguousarray(x[None, place + LONGEST :][:, :PACKET])
        assert filler.bridge(history, after, out, moment)
        lines = filler.networks[0].gap.rows[0]
        start = filler.networks[0].gap.gap_start
        made = [*lines[:2, start : start + LONGEST], out[0]]
        errors[drafts] = [np.mean((each - truth) ** 2) / np.mean(truth**2) for each in made]
        filler.close()
    for bent, plain in zip(
        errors[BridgeDraft.ALONG_THE_PITCH], errors[BridgeDraft.PLAIN], strict=True
    ):
        assert bent < 0.6 * plain


@pytest.mark.parametrize(("horizon_ms", "whole"), [(20.0, True), (40.0, False)])
def test_a_gap_that_is_none_for_the_model_or_half_played_follows_no_pitch(
    tmp_path: Path, horizon_ms: float, whole: bool
) -> None:
    model = write_bridge(tmp_path, drafts=BridgeDraft.ALONG_THE_PITCH, horizon_ms=horizon_ms)
    bridges = {"music": Manifest.read(model)}
    filler = NetworkFiller(StreamContext(RATE, 1, PACKET, reach=LONGEST), {}, bridges)
    filler.networks[0].runner = _Seen(Outcome.LATE)
    plain = ArFiller(RATE, 1, PACKET, reach=LONGEST)
    made = _bridged(filler, gap=LONGEST, whole=whole)
    np.testing.assert_array_equal(made, _bridged(plain, gap=LONGEST))


def test_a_damaged_contour_leaves_the_model_out_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def damaged() -> None:
        raise ModelError("contour.npz is not sound")

    monkeypatch.setattr(flat, "contour_model", damaged)
    monkeypatch.setattr(flat, "_shared", {})
    # As in a process before which none has measured what networks cost.
    monkeypatch.setattr(network_choice, "_work_per_ms", network_choice._work_per_ms.__wrapped__)
    monkeypatch.setattr(network_choice, "find_cost", lambda *_: None)
    concealer = Concealer(**STREAM)
    assert concealer.describe()["networks"]["music"]["state"] == "on"
    said = concealer.describe()["networks"]["speech, bridged"]
    assert said["mode"] == "left out"
    assert "contour.npz" in str(said["why"])


def test_a_late_answer_leaves_the_bridge(tmp_path: Path) -> None:
    runner = _Seen(Outcome.LATE)
    filler = _filler(tmp_path, runner)
    made = [_bridged(filler) for _ in range(3)]
    plain = _bridged(ArFiller(RATE, 1, PACKET, reach=LONGEST))
    for each in made:
        np.testing.assert_array_equal(each, plain)
    assert filler.name in filler.ar.names
    assert runner.asked == 2  # then it is switched off
    assert filler.counters.network_off == 1


def test_drafts_of_bridges_that_take_too_long_are_left_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filler = _filler(tmp_path, runner := _Seen(Outcome.DONE))
    drafted: list[int] = []
    bridge = BridgeDraft.bridge

    def noted(self: BridgeDraft, *given: Any) -> bool:
        drafted.append(1)
        return bridge(self, *given)

    monkeypatch.setattr(BridgeDraft, "bridge", noted)
    for _ in range(4):
        _bridged(filler)
        filler.took(late=True)
    assert (len(drafted), runner.asked) == (4, 2)
    np.testing.assert_array_equal(
        _bridged(filler), _bridged(ArFiller(RATE, 1, PACKET, reach=LONGEST))
    )
    for _ in range(40):
        _bridged(filler)
        filler.took(late=False)
        filler.pass_time(100.0)
    assert runner.asked > 2
    assert filler.describe()["networks"]["music, bridged"]["state"] == "on"


def test_whatever_it_makes_there_is_no_click(tmp_path: Path) -> None:
    """Silence in place of tones: both edges are blended."""
    filler = _filler(tmp_path, _Seen(Outcome.DONE))
    made = _bridged(filler)
    assert filler.name == "network:last"
    heard = np.concatenate([SIGNAL[:RATE], made, SIGNAL[RATE + PACKET :]])
    np.testing.assert_allclose(made[16:-16], 0.0, atol=1e-6)
    step = np.abs(np.diff(SIGNAL)).max()
    around = heard[RATE - 20 : RATE + PACKET + 20]
    assert np.abs(np.diff(around)).max() < step + np.abs(SIGNAL).max() / 8


def test_a_gap_longer_than_its_horizon_is_left_alone(tmp_path: Path) -> None:
    manifest = Manifest.read(write_bridge(tmp_path, horizon_ms=20.0))
    runner = _Seen(Outcome.DONE)
    filler = NetworkFiller(StreamContext(RATE, 1, PACKET, reach=LONGEST), {}, {"music": manifest})
    filler.networks[0].runner = runner
    _bridged(filler, gap=2 * PACKET)
    assert runner.asked == 0
    assert filler.name in filler.ar.names


def test_a_hurried_stream_does_not_ask(tmp_path: Path) -> None:
    runner = _Seen(Outcome.DONE)
    filler = _filler(tmp_path, runner)
    _bridged(filler, limit_ms=0.0)
    assert runner.asked == 0


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("bridge", "makes forward, backward, bridge or contour_forward, "),
        ("causal", "ar_contour or passages, joined for one that is causal"),
    ],
)
def test_other_drafts_are_refused(tmp_path: Path, kind: str, made: str) -> None:
    changes: dict[str, Any] = {"kind": kind, "context_frames_after": int(kind == "bridge")}
    model = write_bridge(tmp_path, drafts=("forward", "backward", "interpolated"), **changes)
    with pytest.raises(ConfigError, match=made):
        Concealer(**STREAM, model=str(model))


def test_sides_change_nothing_of_the_bridge() -> None:
    plain, seen = (ArFiller(RATE, 1, PACKET, reach=LONGEST) for _ in range(2))
    history = History(1, plain.past_samples)
    history.append(SIGNAL[None, :RATE], trusted=True)
    out = np.zeros((2, 1, PACKET), np.float32)
    after = SIGNAL[None, RATE + PACKET : RATE + 2 * PACKET]
    sides = Sides(*(np.zeros((1, PACKET), np.float32) for _ in range(3)))
    for filler, made, kept in ((plain, out[0], None), (seen, out[1], sides)):
        filler.begin(history)
        filler.bridge_from(filler.extend, history, after, made, kept)
    np.testing.assert_array_equal(out[0], out[1])


def test_a_bridge_ends_a_faded_burst_where_a_network_improves_it(
    tmp_path: Path,
) -> None:
    """Speech is held for one packet; the fade begins with the second."""
    served = glide(3, RATE, 2 * RATE)
    packets = served.reshape(-1, PACKET)
    stream = STREAM | {"lookahead": 1, "budget_ms": float("inf")}

    def bridged(model: str, burst: int) -> int:
        concealer = Concealer(**stream, model=model)
        for k, packet in enumerate(packets):
            concealer._memory.numbers[FLUX_DB] = UNSTEADY_DB
            concealer.push(None if 50 <= k < 50 + burst else packet)
        return concealer.stats.bridged_samples // PACKET

    model = str(write_bridge(tmp_path))
    assert [bridged("ar", burst) for burst in (1, 2, 3, 12)] == [1, 0, 0, 0]
    assert [bridged(model, burst) for burst in (1, 2, 3, 12)] == [1, 1, 1, 1]


def test_a_late_bridge_sets_out_from_what_was_played(tmp_path: Path) -> None:
    """The burst has been faded by then: to go on with its prediction would be a step."""
    sine = (0.5 * np.sin(2 * np.pi * 110.0 / RATE * np.arange(RATE))).astype(np.float32)
    packets = sine.reshape(-1, PACKET)
    concealer = Concealer(
        **STREAM | {"lookahead": 1}, model=str(write_bridge(tmp_path)), budget_ms=float("inf")
    )
    out = []
    for k, packet in enumerate(packets):
        concealer._memory.numbers[FLUX_DB] = UNSTEADY_DB
        out.append(concealer.push(None if 30 <= k < 33 else packet))
    heard = np.concatenate(out)[:, 0]
    assert concealer.stats.bridged_samples == PACKET
    natural = float(np.abs(np.diff(sine)).max())
    around = heard[33 * PACKET - 40 : 33 * PACKET + 40]  # where the third lost packet begins
    assert np.abs(np.diff(around)).max() < 1.3 * natural


@pytest.mark.parametrize(("packets", "asked"), [(3, 1), (2, 0)])
def test_a_gap_too_long_for_it_is_left_to_the_causal_network(
    tmp_path: Path, packets: int, asked: int
) -> None:
    causal = Manifest.read(write_model(tmp_path, "lost", drafts=("ar",), top_hz=8000.0))
    bridge = Manifest.read(write_bridge(tmp_path))
    filler = NetworkFiller(
        StreamContext(RATE, 1, PACKET, reach=3 * PACKET), {"speech": causal}, {"speech": bridge}
    )
    history = History(1, filler.past_samples)
    history.append(SIGNAL[None, :RATE], trusted=True)
    filler.begin(history, Moment(True, "speech", gap_samples=packets * PACKET))
    assert filler.counters.network_runs == asked


@pytest.mark.parametrize(("rate", "packet"), [(8_000, 80), (16_000, 80), (16_000, 960)])
def test_where_it_could_never_run_it_is_not_opened(tmp_path: Path, rate: int, packet: int) -> None:
    """Packets too short to be the end of a bridge, and too long to be its gap."""
    made = Concealer(rate, 1, packet, lookahead=1, model=str(write_bridge(tmp_path)))
    assert made.describe()["networks"] == {}


@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000, 16_000, 22_050, 32_000, 44_100, 48_000])
def test_the_one_that_comes_along_runs_at_every_rate_it_names(rate: int) -> None:
    packet = rate // 50
    concealer = Concealer(
        rate, 1, packet, lookahead=2, model="speech-bridge", budget_ms=float("inf")
    )
    packets = tones(4, rate, 60 * packet).reshape(-1, packet)
    for k, each in enumerate(packets):
        out = concealer.push(None if k in (40, 50, 51) else each)
        assert np.isfinite(out).all()
    assert concealer.stats.rung_samples["network:speech-bridge"] == 3 * packet


def test_a_network_for_speech_takes_no_time_from_tones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rungs = [Step(Rung(5.0, 50.0 + k), 80, 800, cost_ms) for k, cost_ms in enumerate((7.0, 2.0))]
    monkeypatch.setattr(ladder, "affordable", lambda *_: tuple(rungs))
    context = StreamContext(RATE, 1, PACKET, limit_ms=10.0, reach=LONGEST)
    filler = NetworkFiller(context, {}, {"speech": Manifest.read(write_bridge(tmp_path))})
    history = History(1, filler.past_samples)
    for content, gap, rung in (("music", PACKET, 0), ("speech", PACKET, 1), ("speech", 0, 0)):
        filler.begin(history, Moment(content=content, gap_samples=gap))
        assert filler.ar._step is rungs[rung]
    filler.close()
