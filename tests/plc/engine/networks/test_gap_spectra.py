"""From samples to the network's spectra and back."""

import numpy as np
import pytest

pytest.importorskip("onnx")

from plc.engine.models.manifest import Manifest
from plc.engine.networks.gap_spectra import GapSpectra
from plc.errors import ConfigError
from plc_kernels.spectra.gap import hold_answer
from tests.plc.tiny_models import fields
from tests.signals import noise


def _manifest(**changes: object) -> Manifest:
    return Manifest.from_fields(fields(**changes))


def _two_sided(after: int, top_hz: float | None) -> Manifest:
    return _manifest(context_frames_after=after, top_hz=top_hz, kind="inpaint")


def _echo(gap: GapSpectra, manifest: Manifest) -> None:
    """Answer as a network would that gives its last draft back."""
    stop = gap.spectra.shape[4] - manifest.context_frames_after
    gap.filled[:] = gap.spectra[:, -1, :, :, manifest.context_frames : stop]


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("top_hz", [None, 2000.0])
def test_spectra_given_back_are_the_draft(
    sample_rate: int, after: int, top_hz: float | None
) -> None:
    manifest = _two_sided(after, top_hz) if after else _manifest(top_hz=top_hz)
    gap = GapSpectra(manifest, sample_rate, 2)
    gap.rows[:] = noise(1, gap.rows.size).reshape(gap.rows.shape)
    gap.analyse()
    _echo(gap, manifest)
    out = gap.synthesise()
    draft = gap.rows[:, -1, gap.gap_start : gap.gap_start + gap.horizon]
    np.testing.assert_allclose(out, draft, atol=2e-6)


def test_spectra_are_numpys() -> None:
    manifest = _manifest(top_hz=None)
    gap = GapSpectra(manifest, 16_000, 1)
    gap.rows[:] = noise(2, gap.rows.size).reshape(gap.rows.shape)
    gap.analyse()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 320)
    for frame in range(gap.spectra.shape[4]):
        expected = np.fft.rfft(hann * gap.rows[0, 0, frame * 80 : frame * 80 + 320])
        found = gap.spectra[0, 0, 0, :, frame] + 1j * gap.spectra[0, 0, 1, :, frame]
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_what_is_lost_is_counted_by_samples() -> None:
    gap = GapSpectra(_two_sided(2, None), 16_000, 1)
    for length in (1, 80, 333, gap.horizon):
        gap.set_gap(length)
        lost = np.zeros(gap.samples)
        lost[gap.gap_start : gap.gap_start + length] = 1.0
        shares = [lost[80 * t : 80 * t + 320].mean() for t in range(gap.lost.shape[1])]
        np.testing.assert_allclose(gap.lost[0], shares, atol=1e-6)


def test_bins_that_a_low_rate_has_not_are_zero() -> None:
    manifest = _manifest(top_hz=8000.0)
    gap = GapSpectra(manifest, 8000, 1)
    gap.rows[:] = noise(3, gap.rows.size).reshape(gap.rows.shape)
    gap.analyse()
    assert gap.spectra.shape[3] == manifest.bins(8000) == 161
    assert not gap.spectra[:, :, :, 81:].any()


def test_a_fill_begins_as_the_draft() -> None:
    manifest = _manifest(top_hz=None)
    gap = GapSpectra(manifest, 48_000, 1)
    gap.rows[:] = 0.5
    gap.analyse()
    gap.filled[:] = 0.0
    out = gap.synthesise()
    assert out[0, 0] == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(out[0, 48:], 0.0, atol=1e-6)
    assert np.abs(np.diff(out[0, :48])).max() < 0.011


@pytest.mark.parametrize("weight", [1.0, 0.4, 0.0])
def test_what_a_network_changes_is_held_to_what_the_draft_may_lack(weight: float) -> None:
    manifest = _manifest(top_hz=None)
    gap = GapSpectra(manifest, 16_000, 2)
    gap.rows[:] = noise(4, gap.rows.size).reshape(gap.rows.shape)
    gap.analyse()
    _echo(gap, manifest)
    draft = gap.filled.copy()
    gap.filled[:, 0, 40] += 5.0
    gap.filled[:, 1, 90] -= 0.01
    error = 1e-4
    errors = np.array([error, 0.0])
    hold_answer(gap._grid, gap._by_row, gap._context, errors, 0.5, weight, gap.filled)
    energy = np.sum((0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 320)) ** 2)
    most = np.sqrt(0.5 * error * energy)
    np.testing.assert_allclose((gap.filled - draft)[0, 0, 40], weight * most, rtol=1e-3)
    np.testing.assert_allclose((gap.filled - draft)[0, 1, 90], -0.01 * weight, atol=1e-6)
    np.testing.assert_allclose(gap.filled[1], draft[1], atol=1e-6)  # no error: the draft


def test_both_ends_of_a_two_sided_fill_are_the_draft() -> None:
    gap = GapSpectra(_two_sided(2, None), 48_000, 1)
    gap.set_gap(960)
    gap.rows[:] = 0.5
    gap.analyse()
    gap.filled[:] = 0.0
    out = gap.synthesise()
    assert out[0, 0] == out[0, -1] == pytest.approx(0.5, abs=0.01)


def test_a_model_for_other_rates_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"8000 to 48000 Hz.*96000"):
        GapSpectra(_manifest(), 96_000, 1)
