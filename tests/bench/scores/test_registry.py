import math

import numpy as np
import pytest

from plc.errors import ConfigError
from plc_bench.scores import registry, speech
from tests.signals import noise, tones

RATE = 16_000


def trace_of(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.array([digit == "1" for digit in text])


def test_a_class_of_bursts_is_what_its_name_says() -> None:
    trace = trace_of("0100110001110011110")
    lost = registry.lost_by_class(trace, 160, RATE)  # packets of 10 ms
    packets = {name: mask.reshape(-1, 160).all(axis=1) for name, mask in lost.items()}
    assert (packets[""] == trace).all()
    assert np.flatnonzero(packets["single"]).tolist() == [1]
    assert np.flatnonzero(packets["30ms"]).tolist() == [9, 10, 11, 14, 15, 16, 17]
    assert np.flatnonzero(packets["2nd"]).tolist() == [5, 10, 15]
    assert np.flatnonzero(packets["3rd"]).tolist() == [11, 16]
    # Four packets of 7.5 ms whose samples were rounded are 30 ms.
    lost = registry.lost_by_class(trace_of("01111"), 83, 11_025)  # 7.5 ms are 82.7 samples
    assert lost["30ms"].sum() == 4 * 83
    assert not registry.lost_by_class(trace_of("0111"), 83, 11_025)["30ms"].any()


def test_a_metric_of_a_class_is_the_metric_over_its_losses_alone() -> None:
    trace = trace_of("00100011110000")
    lost = registry.lost_by_class(trace, 160, RATE)
    signal = noise(1, 160 * trace.size)[:, None]
    played = signal.copy()
    played[lost["single"]] = 0.0  # NMSE 0 dB
    played[lost["30ms"]] *= 2.0  # NMSE 0 dB, 6 dB louder
    names = ("nmse", "nmse_single", "level_single", "level_30ms", "nmse_30ms", "level")
    got = registry.score(names, registry.Comparison(signal, played, lost[""], RATE), lost)
    assert got["nmse_single"] == got["nmse_30ms"] == pytest.approx(0.0, abs=1e-6)
    assert got["level_single"] == -math.inf
    assert got["level_30ms"] == pytest.approx(20 * math.log10(2), abs=1e-6)
    louder, all_of_it = (signal[lost[one]].astype(float) for one in ("30ms", ""))
    expected = 10 * math.log10(4 * (louder**2).sum() / (all_of_it**2).sum())
    assert got["level"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
def test_spectra_made_once_give_what_the_metrics_define(channels: int) -> None:
    trace = trace_of("0010001111000000100110000")
    lost = registry.lost_by_class(trace, 160, RATE)
    signal = np.stack([noise(n, 160 * trace.size) for n in range(channels)], axis=1)
    played = np.where(lost[""][:, None], 0.3 * signal + 0.01, signal)
    comparison = registry.Comparison(signal, played, lost[""], RATE)
    for burst_class, mask in lost.items():
        for name in ("lsd", "mel"):
            expected = registry.METRICS[name].score(signal, played, mask, RATE)
            assert comparison.score(name, mask) == pytest.approx(expected, rel=1e-12), burst_class


def test_a_class_without_a_burst_is_not_defined() -> None:
    lost = registry.lost_by_class(trace_of("0010"), 800, RATE)
    names = [f"{name}_30ms" for name, one in registry.METRICS.items() if one.of_bursts]
    signal = noise(1, 3200)[:, None]
    short = registry.lost_by_class(trace_of("0010"), 160, RATE)
    got = registry.score(
        names, registry.Comparison(signal[:640], signal[:640], short[""], RATE), short
    )
    assert all(math.isnan(value) for value in got.values()), got
    assert lost["30ms"].any()


def test_music_has_no_scores_of_speech() -> None:
    signal = tones(1, RATE, 1600)[:, None]
    lost = registry.lost_by_class(trace_of("0100000000"), 160, RATE)
    music = registry.Comparison(signal, 0.5 * signal, lost[""], RATE, domain="instruments")
    got = registry.score(("pesq", "nmse"), music, lost)
    assert math.isnan(got["pesq"])
    assert got["nmse"] == pytest.approx(20 * math.log10(0.5), abs=1e-6)


@pytest.mark.parametrize("name", ["nmsee", "", "lsd_", "lsd_double", "zeros_single", "pesq_30ms"])
def test_an_unknown_metric_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown metric"):
        registry.check_metrics([name])


def test_every_metric_scores_a_damaged_clip() -> None:
    signal = tones(1, RATE, 2 * RATE)[:, None]
    damaged = signal.copy()
    damaged[8000:8320] = 0.0
    lost = damaged[:, 0] == 0.0
    for name, metric in registry.METRICS.items():
        # Of the others in test_speech.py, test_similarity.py and test_frechet.py.
        if not (metric.of_speech or name in ("fad", "visqol-audio", "zimtohrli")):
            perfect = metric.score(signal, signal, lost, RATE)
            score = metric.score(signal, damaged, lost, RATE)
            assert score > perfect if metric.lower_is_better else score < perfect, name


@pytest.mark.parametrize("name", ["pesq", "stoi"])
def test_scores_of_speech_are_taken_at_16_khz_of_the_mean_channel(name: str) -> None:
    pytest.importorskip({"pesq": "pesq", "stoi": "pystoi"}[name], reason="not installed")
    pytest.importorskip("soxr", reason="soxr is not installed")
    signal = np.stack([tones(1, 48_000, 96_000)] * 2, axis=1)
    score = registry.METRICS[name].score(signal, signal, np.zeros(96_000, np.bool_), 48_000)
    assert score == pytest.approx({"pesq": 4.644, "stoi": 1.0}[name], abs=0.001)


def test_of_speech_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None if name == "pesq" else name)
    names, why = registry.asked_for(("nmse", "speech", "stoi"))
    assert names == ("nmse", "plcmos", "plcmos-bad", "distillmos", "stoi", "words")
    assert why == "left out: pesq; not installed: pesq"
    assert registry.asked_for(("pesq",)) == (("pesq",), "")


def test_a_judge_that_taught_says_so() -> None:
    assert registry.label("plcmos") == "PLCMOS (taught)"
    assert registry.label("bands_2nd") == "bands dB, 2nd packets"


@pytest.mark.parametrize(("plcmos", "share"), [(2.49, 100.0), (2.5, 0.0)])
def test_the_share_of_bad_clips_stands_beside_the_mean(
    monkeypatch: pytest.MonkeyPatch, plcmos: float, share: float
) -> None:
    monkeypatch.setattr(speech, "plcmos", lambda _: plcmos)
    metrics, _ = registry.asked_for(("nmse", "plcmos", "pesq"))
    assert metrics == ("nmse", "plcmos", "plcmos-bad", "pesq")
    assert registry.asked_for(metrics) == (metrics, "")
    signal = tones(1, RATE, 1600)[:, None]
    lost = registry.lost_by_class(trace_of("0100000000"), 160, RATE)
    scores = registry.score(metrics[:3], registry.Comparison(signal, signal, lost[""], RATE), lost)
    assert scores["plcmos-bad"] == share
