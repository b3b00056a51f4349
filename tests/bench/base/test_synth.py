import numpy as np
import pytest

from plc_bench.base.synth import music


@pytest.mark.parametrize("channels", [1, 3])
def test_the_made_music_is_music_of_its_seed(channels: int) -> None:
    piece = music(16_000, 1.5, channels, seed=4)
    assert piece.shape == (24_000, channels)
    assert piece.dtype == np.float32
    assert np.abs(piece).max() == pytest.approx(0.7)
    np.testing.assert_array_equal(piece, music(16_000, 1.5, channels, seed=4))
    assert (piece != music(16_000, 1.5, channels, seed=5)).any()
    # Tonal: a few bins hold nearly all the energy.
    power = np.sort(np.abs(np.fft.rfft(piece[:, 0])) ** 2)[::-1]
    assert power[: power.size // 20].sum() > 0.95 * power.sum()
