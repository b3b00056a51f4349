"""Pure tones and chirps: the signals by their definition, and scores that are known beforehand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from plc.engine.networks.encoder import ContextEncoder
from plc.errors import ConfigError
from plc_bench.papers import probes
from plc_bench.papers.probes import (
    BETWEEN_NOTES,
    ON_NOTES,
    OVER_FREQUENCY,
    chirp,
    measure_probes,
    probe_tones,
    result_tables,
    tone,
)
from tests.plc.engine.networks.test_encoder import write_context_encoder

RATE = 16_000
# Of the spectra of 512 samples in sixteen times as many points.
BIN_HZ = RATE / (16 * 512)


def silent() -> ContextEncoder:
    return ContextEncoder(lambda contexts: np.zeros((len(contexts), 257, 11), np.float32))


def spectrum(x: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.abs(np.fft.rfft(x * np.hanning(x.size), 16 * x.size))


def test_tones_cover_the_notebooks_frequencies_and_an_octave_of_notes() -> None:
    tones = probe_tones(800)
    sweep = [each.frequency_hz for each in tones if each.place == OVER_FREQUENCY]
    assert len(sweep) == 800
    assert sweep[0] == pytest.approx(10**1.3)
    assert sweep[-1] == pytest.approx(10**3.9)
    np.testing.assert_allclose(np.diff(np.log10(sweep)), 2.6 / 799)
    notes = [each.frequency_hz for each in tones if each.place == ON_NOTES]
    np.testing.assert_allclose(notes, 440.0 * 2.0 ** (np.arange(13) / 12))
    between = [each.frequency_hz for each in tones if each.place == BETWEEN_NOTES]
    np.testing.assert_allclose(between, 440.0 * 2.0 ** ((np.arange(12) + 0.5) / 12))


def test_a_tone_has_its_frequency_amplitude_and_phase() -> None:
    x = tone(1000.0, 0.5)
    assert x.shape == (5120,)
    assert x.dtype == np.float32
    assert np.argmax(spectrum(x)) * RATE / (16 * 5120) == pytest.approx(1000.0, abs=0.5)
    assert np.abs(x).max() == pytest.approx(0.1, abs=1e-3)
    assert x[0] == pytest.approx(0.1 * np.sin(0.5), abs=1e-6)


def test_the_chirps_rise_by_500_hz_each() -> None:
    x = chirp()
    assert x.shape == (5120,)
    assert x[0] == pytest.approx(5.0)
    for part, share in ((slice(0, 512), 0.05), (slice(-512, None), 0.95)):
        levels = spectrum(x[part])
        for k in range(5):
            expected_hz = 500.0 * (3 * k + 1 + share)
            near = slice(*(round((expected_hz + d) / BIN_HZ) for d in (-250, 250)))
            found_hz = (near.start + np.argmax(levels[near])) * BIN_HZ
            assert found_hz == pytest.approx(expected_hz, abs=20.0)


def test_neither_silence_nor_prediction_fills_the_chirps() -> None:
    scores = probes._scores(probes.chirp(), {"silent": silent()})
    assert scores["silent: before phase"] == pytest.approx(0.0, abs=1e-6)
    # But for the ends of the fill, which are bent to meet the context.
    assert scores["silent"] == pytest.approx(0.0, abs=0.5)
    # Prediction from either side meets at two frequencies: no better than silence.
    assert scores["lpc"] < 1.0


def test_scores_of_tones_are_means_over_their_phases(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probes, "opened_encoder", lambda model: silent())
    monkeypatch.setattr(probes, "_SEMITONES", 1)
    monkeypatch.setattr(probes, "TONES", 2)
    model = write_context_encoder(tmp_path, is_complex=False, name="silent")
    done: list[None] = []
    scores = measure_probes(["tones"], [str(model)], 1, lambda: done.append(None))
    assert [score.probe for score in scores] == [
        *[OVER_FREQUENCY] * 2,
        ON_NOTES,
        BETWEEN_NOTES,
        ON_NOTES,
    ]
    assert len(done) == 5
    note = scores[2]
    assert note.frequency_hz == 440.0
    each = [probes._scores(tone(440.0, phase), {"silent": silent()}) for phase in (0.0, np.pi)]
    assert note.snr_ms_db["lpc"] == pytest.approx(np.mean([one["lpc"] for one in each]))
    assert note.snr_ms_db["lpc"] > 25.0
    console = Console(width=200)
    with console.capture() as capture:
        for table in result_tables(scores):
            console.print(table)
    text = capture.get()
    assert "on notes (2)" in text
    assert "authors, magnitude, instruments: before phase" in text


def test_an_unknown_probe_is_refused() -> None:
    with pytest.raises(ConfigError, match="'tone'; known: tones, chirp"):
        measure_probes(["tone"], [])
