"""The ear model of PEAQ, against its formulas and values that others published.

Those marked [1]_ are of M. Holters and U. Zölzer, "GstPEAQ: an open source implementation of the
PEAQ algorithm", DAFx, 2015, and the tests of that program; those marked [2]_ of P. Kabal's report.
"""

import math

import numpy as np
import pytest

from plc_bench.scores import ear
from tests.signals import sine

RATE = ear.SAMPLE_RATE
STEP = np.concatenate([-np.ones(1024), np.zeros(1), np.ones(1023)])
RAMP = (np.arange(2048) - 1024) / 1024
RISING = np.arange(1.0, 110.0)


def test_the_bands_are_those_of_the_recommendation() -> None:
    edges_hz, centres_hz = ear.band_edges_hz(), ear.centres_hz()
    assert centres_hz.size == 109
    np.testing.assert_allclose(edges_hz[:3], [80.0, 103.445, 127.023], atol=0.001)
    np.testing.assert_allclose(centres_hz[:2], [91.708, 115.216], atol=0.001)
    assert edges_hz[-1] == pytest.approx(18_000.0)


def test_a_sine_of_full_scale_has_92_db() -> None:
    heard = ear.listen(sine(1019.5, RATE, RATE, 1.0))
    np.testing.assert_allclose(10 * np.log10(heard.power[:, 43]), 92.0, atol=1e-4)


def test_spectra_are_as_published() -> None:  # [1]_
    power = np.abs(np.fft.rfft(RAMP * ear._window())) ** 2
    published = [45.753615, 22360.651865, 4986.494394, 1246.108826, 498.382618]
    np.testing.assert_allclose(np.sqrt(power[:5]), published, rtol=1e-6)
    published = [0.0, 141.467357, 272.377031, 152.374914, 93.913964]
    weighted = np.sqrt(power * ear._middle_ear())
    np.testing.assert_allclose(weighted[:5], published, rtol=1e-6)


def test_excitation_is_as_published() -> None:  # [1]_: two frames that do not overlap
    power = np.abs(np.fft.rfft(np.stack([STEP, RAMP]) * ear._window())) ** 2
    unsmeared = ear.spread(ear.in_bands(power * ear._middle_ear()) + ear.internal_noise())
    bands = [0, 1, 50, 108]
    published = [4444.479818, 3458.307890, 1.214735, 1.037901]
    np.testing.assert_allclose(unsmeared[1, bands], published, rtol=1e-5)
    lasting = np.maximum(ear.smoothed(unsmeared, ear._keep(0.030)), unsmeared)
    published = [1471383.154403, 1784862.319735, 364925.163245, 56.833883]
    np.testing.assert_allclose(lasting[1, bands], published, rtol=1e-5)


def test_a_band_spreads_as_its_formula_says() -> None:
    pitch = 10 ** np.random.default_rng(1).uniform(0, 8, (2, 109))
    centres_hz = ear.centres_hz()

    def shares(of: float, band: int) -> list[float]:
        rises_db = -24 - 230 / centres_hz[band] + 2 * math.log10(of)
        slopes_db = [27.0 if band > other else rises_db for other in range(109)]
        powers = [10 ** (0.1 * 0.25 * abs(k - band) * -abs(slopes_db[k])) for k in range(109)]
        if rises_db > 0:
            powers[band:] = [10 ** (0.025 * (k - band) * rises_db) for k in range(band, 109)]
        return [power / sum(powers) for power in powers]

    def added(values: list[float]) -> list[float]:
        parts = [[v * s for s in shares(v, band)] for band, v in enumerate(values)]
        return [sum(part[k] ** 0.4 for part in parts) ** 2.5 for k in range(109)]

    plain = added([1.0] * 109)
    for row, made in zip(pitch, ear.spread(pitch), strict=True):
        np.testing.assert_allclose(made, np.array(added(row.tolist())) / plain, rtol=1e-9)


def test_modulation_is_as_published() -> None:  # [1]_: the same excitation twice
    modulation, average = ear.modulation(np.stack([RISING, RISING]))
    ends = [0, 108]
    np.testing.assert_allclose(modulation[0, ends], [7.337918, 13.028187], rtol=1e-6)
    np.testing.assert_allclose(modulation[1, ends], [3.653446, 0.914025], rtol=1e-6)
    np.testing.assert_allclose(average[:, 0], [0.327362, 0.547559], rtol=3e-6)


def test_adaptation_is_as_published() -> None:  # [1]_: falling against rising excitation
    both = np.stack([RISING, RISING])
    reference, test = ear.adapted(both, both[:, ::-1])
    bands = [0, 43, 108]
    np.testing.assert_allclose(reference[0, bands], [0.327362, 38.113783, 1.781147], rtol=3e-6)
    np.testing.assert_allclose(test[0, bands], [1.006854, 38.943315, 0.699325], rtol=3e-6)
    np.testing.assert_allclose(reference[1, ends := [0, 108]], [0.547559, 1.757436], rtol=3e-6)
    np.testing.assert_allclose(test[1, ends], [1.583720, 0.680369], rtol=3e-6)


def test_a_tone_of_40_db_has_the_loudness_that_is_published() -> None:  # [2]_; not 1 sone
    tone = sine(1000.0, RATE, RATE, 10 ** ((40 - 92) / 20))
    assert ear.loudness(ear.listen(tone).excitation)[-1] == pytest.approx(0.584, abs=0.001)
