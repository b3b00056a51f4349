"""The network as the top rung: what it makes is played if it is there in time."""

import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import Concealer, conceal
from plc.audio.loss import GilbertElliott
from plc.audio.quality import lsd_db, nmse_db
from plc.errors import ConfigError, MissingExtraError, ModelError
from plc.models.manifest import Manifest
from plc.networks.drafts import ContourDraft, PassageDraft
from plc.networks.streams import served
from plc.networks.streams.filler import NetworkFiller
from plc.networks.streams.served import StreamContext
from plc.predict import ladder
from plc.predict.contour import PitchContour
from plc.predict.filler import STEADY_MOMENT, Moment
from plc.predict.history import History
from plc.predict.ladder import Rung, Step
from plc.predict.linear import ArFiller
from plc.predict.passages import Passages, draft_from
from plc.runtime.runner import NetworkCounters, Outcome
from tests.plc.tiny_models import write_model
from tests.signals import noise, tones
from tests.signals import voice as voice_signal

RATE = 16_000
PACKET = 160
SPEECH = Moment(unsteady=True, content="speech")


def _model(folder: Path, graph: str = "last", **changes: Any) -> Manifest:
    settings: dict[str, Any] = {"drafts": ("ar",), "top_hz": 8000.0} | changes
    return Manifest.read(write_model(folder, graph, **settings))


def _filler(manifest: Manifest, content: str = "speech") -> NetworkFiller:
    return NetworkFiller(StreamContext(RATE, 1, PACKET), {content: manifest})


def _history(samples: NDArray[np.float32], filler: NetworkFiller | ArFiller) -> History:
    history = History(1, filler.past_samples)
    history.append(samples[None], trusted=True)
    return history


def _packets(signal: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return list(signal.reshape(-1, PACKET, 1))


def _play(
    concealer: Concealer, signal: NDArray[np.float32], trace: NDArray[np.bool_]
) -> NDArray[Any]:
    out = [
        concealer.push(None if lost else packet)
        for lost, packet in zip(trace, _packets(signal), strict=True)
    ]
    return np.concatenate(out)


def test_a_network_that_changes_nothing_is_the_ladder(tmp_path: Path) -> None:
    signal = tones(1, RATE, 2 * RATE)
    trace = GilbertElliott(0.1, 3.0).trace(200, 1)
    model = str(write_model(tmp_path, "last", drafts=("ar",), top_hz=8000.0))
    settings: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET}
    with_network = conceal(signal, trace, model=model, **settings)
    without = conceal(signal, trace, model="ar", **settings)
    np.testing.assert_allclose(with_network, without, atol=2e-5)


def test_samples_are_those_of_the_network_up_to_its_horizon(tmp_path: Path) -> None:
    signal = tones(2, RATE, RATE)
    filler = _filler(_model(tmp_path, "lost"))
    plain = ArFiller(RATE, 1, PACKET)
    horizon = 960
    out, draft = np.zeros((2, 1, 3 * horizon), np.float32)
    filler.begin(_history(signal, filler), SPEECH)
    plain.begin(_history(signal, plain), SPEECH)
    for begin in range(0, 3 * horizon, PACKET):
        filler.extend(out[:, begin : begin + PACKET])
    plain.extend(draft)
    difference = np.abs(out - draft)[0]
    assert difference[100:800].max() > 1e-3
    np.testing.assert_allclose(out[0, horizon:], draft[0, horizon:], atol=1e-6)
    assert difference[0] < 0.1 * difference[100:800].max()


def test_content_decides_which_network_runs(tmp_path: Path) -> None:
    signal = tones(3, RATE, RATE)
    filler = _filler(_model(tmp_path))
    filler.begin(_history(signal, filler), SPEECH._replace(content="music"))
    assert filler.name.startswith("ar:")
    filler.begin(_history(signal, filler), SPEECH)
    assert filler.name == "network:last"


def test_music_plays_the_draft_first_and_the_network_from_the_second_packet(
    tmp_path: Path,
) -> None:
    signal = tones(12, RATE, RATE)
    filler = _filler(_model(tmp_path, "lost"), "music")
    plain = ArFiller(RATE, 1, PACKET)
    filler.begin(_history(signal, filler))
    plain.begin(_history(signal, plain))
    out, draft = np.zeros((2, 1, 5 * PACKET), np.float32)
    plain.extend(draft)
    for packet in range(5):
        filler.extend(out[:, PACKET * packet : PACKET * (packet + 1)])
        filler.next_packet()
    np.testing.assert_allclose(out[0, :PACKET], draft[0, :PACKET], atol=1e-6)
    difference = np.abs(out - draft)[0]
    assert difference[PACKET] < 0.1 * difference[PACKET + 20 : 800].max()
    assert difference[PACKET + 20 : 800].max() > 2e-4
    assert filler.name == "network:lost"


def test_in_small_packets_the_draft_is_played_for_10_ms(tmp_path: Path) -> None:
    filler = _filler(_model(tmp_path, "lost"), "music")
    filler.begin(_history(tones(12, RATE, RATE), filler))
    played = []
    for _ in range(8):
        filler.next_packet()
        filler.extend(np.zeros((1, 40), np.float32))
        played.append(filler.name)
    assert played == [filler.ar.name] * 4 + ["network:lost"] * 4


def test_one_for_music_is_opened_once_for_all_content_and_no_packet_waits_for_it(
    tmp_path: Path,
) -> None:
    manifest = _model(tmp_path, "lost", content="music")
    filler = NetworkFiller(StreamContext(RATE, 1, PACKET), {"music": manifest, "speech": manifest})
    assert len(filler.networks) == 1
    signal = tones(4, RATE, RATE)
    for content in ("music", "speech"):
        filler.begin(_history(signal, filler), SPEECH._replace(content=content))
        out = np.zeros((1, PACKET), np.float32)
        filler.extend(out)
        assert filler.name == filler.ar.name
        filler.next_packet()
        filler.extend(out)
        assert filler.name == f"network:{manifest.name}"
    filler.close()


@pytest.mark.parametrize(("graph", "draft"), [("pass", 0), ("last", 1)])
def test_drafts_of_a_voice_follow_its_pitch_and_prediction_goes_on_from_there(
    tmp_path: Path, graph: str, draft: int
) -> None:
    signal = voice_signal(RATE, 0.5, 120.0, 1.0)
    filler = _filler(_model(tmp_path, graph, drafts=ContourDraft.names))
    out = np.zeros((1, 3 * 960), np.float32)
    filler.begin(_history(signal, filler), SPEECH)
    filler.extend(out)
    ar = ArFiller(RATE, 1, PACKET)
    gap = filler.networks[0].gap
    samples = gap.samples - gap.gap_start
    contour = PitchContour(RATE, 1, samples)
    history = History(1, max(ar.past_samples, contour.past_samples))
    history.append(signal[None], trusted=True)
    ar.begin(history, SPEECH)
    drafts = np.zeros((1, 2, samples), np.float32)
    contour.draft(history, ar.extend, drafts)
    np.testing.assert_allclose(out[0, 16:880], drafts[0, draft, 16:880], atol=1e-5)
    np.testing.assert_allclose(out[0, 960:samples], drafts[0, 1, 960:], atol=1e-5)
    steepest = np.abs(np.diff(signal[-2000:])).max()
    assert np.abs(np.diff(np.append(signal[-1], out[0]))).max() < 1.5 * steepest


def test_the_pitch_draft_comes_first(tmp_path: Path) -> None:
    period = noise(4, 100)
    signal = np.tile(period, 160).astype(np.float32)
    filler = _filler(_model(tmp_path, "pass", drafts=("pitch", "ar")))
    filler.begin(_history(signal, filler), SPEECH)
    out = np.zeros((1, 800), np.float32)
    filler.extend(out)
    np.testing.assert_allclose(out[0, 16:], np.tile(period, 8)[16:], atol=1e-4)


@pytest.mark.parametrize("graph", ["root"])
def test_nan_is_never_played(tmp_path: Path, graph: str) -> None:
    signal = tones(5, RATE, RATE)
    model = str(write_model(tmp_path, graph, drafts=("ar",), top_hz=8000.0))
    concealer = Concealer(RATE, 1, PACKET, model=model, budget_ms=float("inf"), clock=lambda: 0.0)
    trace = GilbertElliott(0.5, 4.0).trace(100, 1)
    played = _play(concealer, signal, trace)
    plain = Concealer(RATE, 1, PACKET, model="ar", budget_ms=float("inf"))
    np.testing.assert_allclose(played, _play(plain, signal, trace), atol=2e-5)
    assert concealer.stats.network.network_failed >= 2
    assert concealer.stats.network.network_off > 0


class _Late:
    """A runner whose results come too late, except those of some bursts."""

    last_error = ""
    on_gpu = False

    def __init__(self, outcomes: list[Outcome]) -> None:
        self.counters = NetworkCounters()
        self.outcomes = outcomes
        self.asked = 0

    def submit(self, spectra: NDArray[np.float32], lost: NDArray[np.float32]) -> int:
        self.spectra = spectra
        self.asked += 1
        return 1

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Outcome:
        outcome = self.outcomes[min(self.asked, len(self.outcomes)) - 1]
        if outcome.usable:
            out[:] = 0.0
        return outcome

    state = "ready"

    def abandon(self) -> None: ...

    def tick(self) -> bool:
        return False

    def close(self) -> None: ...


def test_a_late_result_is_dropped_and_the_draft_is_played(tmp_path: Path) -> None:
    signal = tones(6, RATE, RATE)
    filler = _filler(_model(tmp_path))
    filler.networks[0].runner = _Late([Outcome.LATE])
    filler.begin(_history(signal, filler), SPEECH)
    plain = ArFiller(RATE, 1, PACKET)
    plain.begin(_history(signal, plain), SPEECH)
    out, draft = np.zeros((2, 1, PACKET), np.float32)
    filler.extend(out)
    plain.extend(draft)
    np.testing.assert_allclose(out, draft, atol=1e-6)
    assert filler.name.startswith("ar:")


def test_repeated_misses_switch_the_network_off_and_calm_brings_it_back(tmp_path: Path) -> None:
    signal = tones(7, RATE, RATE)
    filler = _filler(_model(tmp_path))
    runner = _Late([Outcome.LATE, Outcome.LATE, Outcome.DONE])
    filler.networks[0].runner = runner
    history = _history(signal, filler)
    for _ in range(2):
        filler.begin(history, SPEECH)
    assert runner.asked == 2
    filler.begin(history, SPEECH)
    assert runner.asked == 2
    assert filler.counters.network_off == 1
    assert filler.describe()["networks"]["speech"]["state"] == "off"
    runner.last_error = "out of memory"
    assert filler.describe()["networks"]["speech"]["error"] == "out of memory"
    assert filler.took(late=False) == 1
    assert filler.took(late=False) == 0
    switched = 0
    for _ in range(20):
        filler.begin(history, SPEECH)
        switched += filler.pass_time(100.0)
    assert runner.asked > 2
    assert filler.name == "network:last"
    assert filler.describe()["networks"]["speech"]["state"] == "on"
    assert switched == 1


def test_packets_that_take_too_long_turn_off_the_network_and_then_its_drafts(
    tmp_path: Path,
) -> None:
    """Where drafts were made it is they that are left, not the best prediction."""
    signal = voice_signal(RATE, 0.5, 120.0, 1.0)
    filler = _filler(_model(tmp_path, "last", drafts=ContourDraft.names))
    filler.networks[0].runner = runner = _Late([Outcome.DONE])
    history = _history(signal, filler)
    out = np.zeros((1, 480), np.float32)
    asked, drafted, steps = [], [], []
    plain = ArFiller(RATE, 1, PACKET)
    plain.begin(history, SPEECH)
    predicted = np.zeros_like(out)
    plain.extend(predicted)
    for _ in range(5):
        filler.begin(history, SPEECH)
        filler.extend(out)
        asked.append(runner.asked)
        drafted.append(bool(np.abs(out - predicted).max() > 1e-3))
        steps.append(filler.took(late=True))
    assert asked == [1, 2, 2, 2, 2]
    assert drafted == [True, True, True, True, False]
    assert steps == [0, 1, 0, 1, 0]
    assert filler.ar.pace.depth == 0
    assert filler.counters.network_off == 3
    for _ in range(40):
        filler.begin(history, SPEECH)
        filler.took(late=False)
        filler.pass_time(100.0)
    assert runner.asked > 2
    assert filler.describe()["networks"]["speech"]["state"] == "on"


def test_there_is_no_click_when_the_network_takes_over(tmp_path: Path) -> None:
    """Whatever it makes: here silence, the largest jump there could be."""
    signal = (0.5 * np.sin(2 * np.pi * 440 / RATE * np.arange(RATE))).astype(np.float32)
    filler = _filler(_model(tmp_path))
    filler.networks[0].runner = _Late([Outcome.DONE])
    filler.begin(_history(signal, filler), SPEECH)
    out = np.zeros((1, 1600), np.float32)
    filler.extend(out)
    heard = np.concatenate([signal[-10:], out[0]])
    step = 0.5 * 2 * np.pi * 440 / RATE
    assert np.abs(np.diff(heard)).max() < 1.5 * step
    np.testing.assert_allclose(out[0, 16:880], 0.0, atol=1e-5)


def test_in_a_hurry_no_network_is_asked(tmp_path: Path) -> None:
    filler = _filler(_model(tmp_path, "lost"))
    history = _history(tones(2, RATE, RATE), filler)
    out = np.zeros((1, PACKET), np.float32)
    for limit_ms, asked in ((0.0, False), (math.inf, True)):
        filler.begin(history, SPEECH._replace(limit_ms=limit_ms))
        filler.extend(out)
        assert (filler.name not in filler.ar.names) == asked


def test_a_bridge_starts_from_what_was_played(tmp_path: Path) -> None:
    signal = tones(8, RATE, 2 * RATE)
    trace = np.zeros(200, bool)
    trace[[60, 100, 101, 102, 150, 151]] = True
    model = str(write_model(tmp_path, "last", drafts=("ar",), top_hz=8000.0))
    settings: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET, "lookahead": 1}
    with_network = conceal(signal, trace, model=model, **settings)
    without = conceal(signal, trace, model="ar", **settings)
    np.testing.assert_allclose(with_network, without, atol=5e-5)


def test_a_stream_that_just_began_gets_the_draft(tmp_path: Path) -> None:
    filler = _filler(_model(tmp_path))
    filler.begin(_history(tones(9, RATE, 50), filler), SPEECH)
    out = np.zeros((1, PACKET), np.float32)
    filler.extend(out)
    assert np.isfinite(out).all()
    assert filler.name.startswith("ar:")


def test_a_model_that_is_not_for_streams_is_refused(tmp_path: Path) -> None:
    model = str(
        write_model(tmp_path, "last", kind="inpaint", context_frames_after=2, top_hz=8000.0)
    )
    with pytest.raises(
        ConfigError,
        match="of kind inpaint; a stream needs one of causal, bridge or context_encoder",
    ):
        Concealer(RATE, 1, PACKET, model=model)
    with pytest.raises(ModelError, match="in the package"):
        Concealer(RATE, 1, PACKET, model="no-such-model")


def test_a_live_stream_uses_a_worker_and_counts(tmp_path: Path) -> None:
    signal = tones(10, RATE, RATE)
    model = str(write_model(tmp_path, "last", drafts=("ar",), top_hz=8000.0))
    concealer = Concealer(RATE, 1, PACKET, model=model, budget_ms=1000.0, prepare="never")
    trace = GilbertElliott(0.2, 2.0).trace(100, 3)
    _play(concealer, signal, trace)
    described = concealer.describe()["networks"]["music"]
    assert described["mode"] == "worker"
    counters = concealer.stats.as_dict()
    assert 0 < concealer.stats.network.network_done <= concealer.stats.network.network_runs
    assert counters["network_done"] == concealer.stats.network.network_done
    concealer.close()
    assert np.isfinite(_play(concealer, signal, trace)).all()


@pytest.mark.parametrize(
    "rate", [8_000, 11_025, 12_000, 15_999, 16_000, 22_050, 44_100, 48_000, 96_000]
)
@pytest.mark.parametrize("filtered", [True, False])
def test_at_every_rate_the_packages_networks_improve_on_the_draft(
    rate: int, filtered: bool
) -> None:
    """Also where nothing kept what lies at half the rate from being heard."""
    soxr = pytest.importorskip("soxr")
    path = str(files("plc") / "data" / "speech.flac")
    clip, clip_rate = soundfile.read(path, dtype="float32")
    signal = soxr.resample(clip, clip_rate, rate)
    if not filtered:
        signal = soxr.resample(clip, clip_rate, 2 * rate)[::2]
    packet = rate // 50
    signal = signal[: signal.size // packet * packet].copy()
    trace = GilbertElliott(0.15, 2.0).trace(signal.size // packet, 4)
    lost = np.repeat(trace, packet)
    distance, level = {}, {}
    for model in ("ar", "auto"):
        played = conceal(signal, trace, sample_rate=rate, packet_samples=packet, model=model)
        distance[model] = lsd_db(signal, played.astype(np.float32), lost, rate)
        power = np.sum(played[lost] ** 2) / np.sum(signal[lost] ** 2)
        level[model] = 10.0 * np.log10(power)
    assert distance["auto"] < 0.97 * distance["ar"]
    assert level["ar"] < level["auto"] < -0.5


def test_a_network_takes_its_time_from_the_ladder_while_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs_ms = (7.0, 5.0, 3.0, 0.1)
    rungs = [Step(Rung(5.0, 50.0 + k), 80, 800, cost_ms) for k, cost_ms in enumerate(costs_ms)]
    monkeypatch.setattr(ladder, "affordable", lambda *_: tuple(rungs))
    # A packet that waits for the answer leaves time for that, too.
    for content, while_on in (("music", 2), ("speech", 3)):
        context = StreamContext(RATE, 1, PACKET, limit_ms=10.0)
        filler = NetworkFiller(context, {content: _model(tmp_path, content=content)})
        filler.networks[0].runner.close()
        filler.networks[0].runner = _Late([Outcome.DONE])
        history = _history(tones(7, RATE, RATE), filler)
        found = []
        for _ in range(6):
            filler.begin(history, SPEECH._replace(content=content))
            found.append(filler.ar._step)
            filler.took(late=len(found) <= 4)
        asked, off, without = [rungs[while_on]] * 2, [rungs[2]] * 2, [rungs[0]] * 2
        assert found == [*asked, *off, *without]


def test_a_draft_shorter_than_the_order_is_followed_by_prediction(tmp_path: Path) -> None:
    manifest = _model(tmp_path, drafts=ContourDraft.names, bin_hz=400.0, horizon_ms=5.0)
    for content in ("speech", "music"):
        filler = _filler(manifest, content)
        moment = SPEECH if content == "speech" else STEADY_MOMENT
        filler.begin(_history(tones(3, RATE, RATE), filler), moment)
        out = np.zeros((1, 2 * PACKET), np.float32)
        filler.extend(out)
        assert np.abs(out).max() > 0.01
        filler.close()


def _beats(seconds: float) -> NDArray[np.float32]:
    """Return a second of noise that dies away, again and again."""
    bar = noise(5, RATE) * np.exp(-4.0 * np.arange(RATE) / RATE).astype(np.float32)
    return np.tile(bar, math.ceil(seconds))[: round(seconds * RATE)]


@pytest.mark.parametrize(("graph", "draft"), [("pass", 0), ("last", 1)])
def test_music_is_drafted_from_passages_that_sound_alike(
    tmp_path: Path, graph: str, draft: int
) -> None:
    signal = _beats(3.6)
    start = round(2.99 * RATE)  # the next beat is not heard yet
    manifest = _model(tmp_path, graph, drafts=PassageDraft.names, content="music")
    filler = _filler(manifest, "music")
    history = _history(signal[:start], filler)
    filler.played(signal[None, :start], received=True)
    filler.begin(history)
    out = np.zeros((1, 960), np.float32)
    filler.extend(out[:, :PACKET])
    filler.next_packet()
    filler.extend(out[:, PACKET:])
    gap = filler.networks[0].gap
    ahead = gap.samples - gap.gap_start
    passages = Passages(RATE, 1, gap.gap_start, ahead)
    passages.listen(signal[None, :start])
    ar = ArFiller(RATE, 1, PACKET)
    ar.begin(history)
    drafts = np.zeros((1, 2, gap.samples), np.float32)
    drafts[0, 1, : gap.gap_start] = signal[start - gap.gap_start : start]
    draft_from(passages, history, ar, drafts)
    inside = drafts[0, :, gap.gap_start :]
    np.testing.assert_allclose(out[0, :PACKET], inside[1, :PACKET], atol=1e-6)
    np.testing.assert_allclose(
        out[0, PACKET + 16 : 880], inside[draft, PACKET + 16 : 880], atol=1e-5
    )
    truth = signal[start : start + 880]
    assert np.abs(out[0, :880] - truth).max() < 0.3 * np.abs(truth).max()


def test_a_stream_that_repeats_itself_is_concealed_with_what_it_played(tmp_path: Path) -> None:
    signal = _beats(6.0)
    trace = np.zeros(600, np.bool_)
    trace[[299, 300, 301, 420, 421, 499, 500]] = True
    lost = np.repeat(trace, PACKET)
    model = str(write_model(tmp_path, "last", drafts=PassageDraft.names, top_hz=8000.0))
    settings: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET}
    errors = {
        name: nmse_db(signal, conceal(signal, trace, model=name, **settings).astype(float), lost)
        for name in (model, "ar")
    }
    assert errors["ar"] > -1.0
    assert errors[model] < -9.0


def test_a_stream_begun_anew_takes_no_passage_of_the_one_before(tmp_path: Path) -> None:
    model = str(write_model(tmp_path, "pass", drafts=PassageDraft.names, top_hz=8000.0))
    settings: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET, "model": model}
    signal = _beats(3.0)
    trace = np.zeros(300, np.bool_)
    trace[200:202] = True
    concealer = Concealer(**settings, budget_ms=math.inf)
    first = _play(concealer, signal, trace)
    concealer.reset()
    np.testing.assert_array_equal(_play(concealer, signal, trace), first)
    concealer.close()


def test_a_horizon_beyond_passages_is_refused(tmp_path: Path) -> None:
    manifest = _model(tmp_path, drafts=PassageDraft.names, horizon_ms=200.0)
    with pytest.raises(ConfigError, match="shorter horizon"):
        _filler(manifest)


@pytest.mark.parametrize(
    ("rate", "packet", "content", "prompt"),
    [
        (48_000, 239, "speech", False),
        (48_000, 240, "speech", True),
        (32_000, 159, "speech", False),
        (24_000, 240, "speech", True),
        (16_000, 160, "speech", True),
        (48_000, 960, "music", False),
    ],
)
def test_a_packet_waits_for_speech_where_it_is_long_enough(
    tmp_path: Path, rate: int, packet: int, content: str, prompt: bool
) -> None:
    manifest = _model(tmp_path, drafts=ContourDraft.names, content="speech")
    filler = NetworkFiller(StreamContext(rate, 1, packet), {content: manifest})
    assert filler.networks[0].prompt == prompt
    moment = SPEECH._replace(content=content)
    filler.begin(_history(tones(3, rate, rate), filler), moment)
    made = []
    for _ in range(2 * rate // (100 * packet) + 2):
        out = np.zeros((1, packet), np.float32)
        filler.extend(out)
        made.append(filler.name)
        filler.next_packet()
    assert made[0] == ("network:last" if prompt else filler.ar.name)
    assert made[-1] == "network:last"


def test_what_comes_after_the_horizon_is_not_played(tmp_path: Path) -> None:
    # A packet a little longer than the horizon: its end is no place for a crossfade.
    manifest = _model(tmp_path, "lost", content="music", horizon_ms=10.0)
    filler = NetworkFiller(StreamContext(RATE, 1, 162), {"music": manifest})
    filler.begin(_history(tones(5, RATE, RATE), filler))
    out = np.zeros((1, 162), np.float32)
    filler.extend(out)
    filler.next_packet()
    assert filler.counters.network_runs == 1
    assert filler.counters.network_done == 0
    filler.extend(out)
    assert filler.name == filler.ar.name
    assert np.isfinite(out).all()
    filler.close()


@pytest.mark.parametrize("error", [ModelError("SHA-256 differs"), MissingExtraError("broken")])
def test_what_cannot_be_opened_is_an_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(served, "open_network", refuse)
    for budget_ms in (5.0, float("inf")):
        with pytest.raises(type(error), match=str(error)):
            Concealer(RATE, 1, PACKET, provider="cpu", budget_ms=budget_ms)


@pytest.mark.parametrize("budget_ms", [5.0, float("inf")])
def test_a_provider_that_is_unknown_is_refused(tmp_path: Path, budget_ms: float) -> None:
    model = str(_model(tmp_path).path)
    heard = Concealer(RATE, 1, PACKET, model=model, budget_ms=budget_ms, provider="cpu")
    assert heard.push(None).shape == (PACKET, 1)
    heard.close()
    with pytest.raises((ConfigError, ModelError), match=r"provider is 'abacus'; known: auto"):
        Concealer(RATE, 1, PACKET, model=model, budget_ms=budget_ms, provider="abacus")
