import numpy as np
import pytest

from plc_kernels.signal.packet import pack_float32, pack_int16, unpack_float32, unpack_int16
from tests.signals import noise


def test_float32_comes_out_bit_for_bit() -> None:
    packet = noise(0, 96).reshape(48, 2)
    rows = np.empty((2, 48), np.float32)
    assert unpack_float32(packet, 0, 48, rows)
    np.testing.assert_array_equal(rows, packet.T)
    out = np.empty_like(packet)
    pack_float32(rows, out)
    np.testing.assert_array_equal(out, packet)


def test_every_int16_comes_out_bit_for_bit() -> None:
    packet = np.arange(-32768, 32768, dtype=np.int16).reshape(-1, 2)
    rows = np.empty((2, 32768), np.float32)
    assert unpack_int16(packet, 0, 32768, rows)
    assert rows.min() == -1.0
    out = np.empty_like(packet)
    pack_int16(rows, out)
    np.testing.assert_array_equal(out, packet)


def test_int16_clips_instead_of_wrapping() -> None:
    rows = np.array([[1.0, 1.5, -1.5, 100.0]], np.float32)
    out = np.empty((4, 1), np.int16)
    pack_int16(rows, out)
    assert out.ravel().tolist() == [32767, 32767, -32768, 32767]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e9, -1e30])
@pytest.mark.parametrize("place", [(0, 0), (47, 1)])
def test_one_unsound_sample_is_noticed(bad: float, place: tuple[int, int]) -> None:
    packet = noise(0, 96).reshape(48, 2)
    packet[place] = bad
    assert not unpack_float32(packet, 0, 48, np.empty((2, 48), np.float32))


def test_loud_but_sound_samples_pass() -> None:
    packet = np.full((4, 1), 1e5, np.float32)
    assert unpack_float32(packet, 0, 4, np.empty((1, 4), np.float32))
