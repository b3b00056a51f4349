import numpy as np
import pytest

from plc.engine.config import StreamConfig
from plc.engine.samples import Samples
from plc.errors import PacketError
from plc_kernels.packet import INT16_SCALE

CONFIG = StreamConfig(sample_rate=16_000, channels=2, packet_samples=160)
PACKET = np.arange(320, dtype=np.int16).reshape(160, 2)


def test_rows_are_the_packet_and_come_back_in_its_dtype() -> None:
    samples = Samples(CONFIG)
    rows = np.ones((2, 160), np.float32)
    for packet in (PACKET, PACKET.astype(np.float32) / np.float32(INT16_SCALE)):
        samples.check(packet)
        assert samples.unpack(packet[::-1], (), rows)
        np.testing.assert_array_equal(rows[:, ::-1].T, PACKET / INT16_SCALE)
        back = samples.pack(rows, None)
        assert back.dtype == packet.dtype
        np.testing.assert_array_equal(back, packet[::-1])


def test_missing_parts_are_zeros_whatever_stands_in_them() -> None:
    samples = Samples(CONFIG)
    packet = np.full((160, 2), np.float32(0.5))
    packet[30:50] = np.nan
    rows = np.ones((2, 160), np.float32)
    assert not samples.unpack(packet, ((40, 50),), rows)
    assert samples.unpack(packet, ((30, 50),), rows)
    assert not rows[:, 30:50].any()
    assert (rows[:, :30] == 0.5).all()


def test_out_is_of_the_dtype_of_the_packet_or_the_one_before_it() -> None:
    samples = Samples(CONFIG)
    floats, integers = np.zeros((160, 2), np.float32), np.zeros((160, 2), np.int16)
    samples.check_out(floats, None)
    samples.check_out(integers, integers)
    samples.unpack(integers, (), np.zeros((2, 160), np.float32))
    samples.check_out(integers, None)
    assert samples.empty(7).dtype == np.int16
    with pytest.raises(PacketError, match="out must be a writable C-contiguous int16"):
        samples.check_out(floats, None)
    samples.reset()
    assert samples.empty(7).dtype == np.float32
    with pytest.raises(PacketError, match="give parts of 0 to 160 in order"):
        samples.check_missing(((10, 20), (20, 30)))
