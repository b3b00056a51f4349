"""Versions of a clip on a page: what is stored, and the pictures."""

import io

import numpy as np
import pytest

from plc.files.pages import listening


def test_a_difference_is_stored_where_it_is_small_and_mostly_silent() -> None:
    reference = np.zeros((100, 1), np.int16)
    played = reference.copy()
    played[10:20] = 5
    stored, is_difference = listening.difference_or_whole(reference + np.int16(7), played + 7)
    assert is_difference
    np.testing.assert_array_equal(stored, played)
    assert not listening.difference_or_whole(reference, reference + np.int16(1))[1]
    reference[0], played[0] = -32768, 32767  # 17 bits
    stored, is_difference = listening.difference_or_whole(reference, played)
    assert not is_difference
    np.testing.assert_array_equal(stored, played)


def test_a_spectrogram_marks_what_was_lost() -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    rate = 8_000
    signal = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    lost = np.zeros(rate, np.bool_)
    lost[4000:4800] = True
    png = listening.spectrogram_png(np.where(lost, 0.0, signal), lost, rate, loudest_db=40.0)
    pixels = np.asarray(image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    red = pixels[0, :, 0] > 200
    width = pixels.shape[1]
    assert np.flatnonzero(red).tolist() == list(range(width // 2, width * 6 // 10))
    brightness = pixels[10:].sum(axis=2)
    assert brightness[:, : width // 3].max() > 500  # the sine
    assert brightness[:, width * 53 // 100 : width * 57 // 100].max() < 60  # the hole
