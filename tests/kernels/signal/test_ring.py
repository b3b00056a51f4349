"""The ring between a sound card and the engine."""

import ctypes
import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.transport.cards.card_ring import Ring
from plc_kernels.signal import ring


def ramp(begin: int, n: int, channels: int) -> NDArray[np.float32]:
    whole = np.arange(begin * channels, (begin + n) * channels, dtype=np.float32)
    return whole.reshape(n, channels)


@given(
    channels=st.integers(1, 3),
    capacity=st.integers(1, 40),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=60),
)
def test_what_is_written_is_read_once_and_in_order(
    channels: int, capacity: int, steps: list[tuple[bool, int]]
) -> None:
    tested = Ring(capacity, channels)
    written = read = 0
    for writes, n in steps:
        if writes:
            done = tested.write(ramp(written, n, channels))
            assert done == min(n, capacity - (written - read))
            written += done
        else:
            out = np.full((n, channels), -1.0, np.float32)
            done = tested.read(out)
            assert done == min(n, written - read)
            assert np.array_equal(out[:done], ramp(read, done, channels))
            assert (out[done:] == -1.0).all()
            read += done
        assert tested.waiting == written - read
        assert tested.room == capacity - tested.waiting


def test_two_threads_lose_and_mix_up_nothing() -> None:
    tested, total = Ring(997, 2), 200_000
    read: list[NDArray[np.float32]] = []

    def write() -> None:
        begin = 0
        while begin < total:
            begin += tested.write(ramp(begin, min(311, total - begin), 2) % 65_536)

    writer = threading.Thread(target=write)
    writer.start()
    count = 0
    while count < total:
        out = np.zeros((173, 2), np.float32)
        done = tested.read(out)
        count += done
        read.append(out[:done])
    writer.join()
    assert np.array_equal(np.concatenate(read), ramp(0, total, 2) % 65_536)


def test_an_input_that_finds_no_room_counts_what_it_drops() -> None:
    tested = Ring(100, 1)
    tested.take_in(ramp(0, 80, 1), False)
    tested.take_in(ramp(80, 80, 1), True)
    assert (tested.missed, tested.passed, tested.callbacks) == (60, 160, 2)
    assert (tested.breaks, tested.largest, tested.waiting) == (1, 80, 100)
    out = np.zeros((100, 1), np.float32)
    assert tested.read(out) == 100
    assert np.array_equal(out, ramp(0, 100, 1))


def test_an_output_that_finds_too_little_plays_silence_and_counts_it() -> None:
    tested = Ring(100, 2)
    tested.write(1.0 + ramp(0, 30, 2))
    out = np.full((50, 2), np.nan, np.float32)
    tested.give_out(out, False)
    assert np.array_equal(out[:30], 1.0 + ramp(0, 30, 2))
    assert (out[30:] == 0.0).all()
    assert (tested.missed, tested.passed, tested.largest) == (20, 50, 50)


def test_callbacks_of_machine_code_do_what_the_kernels_do() -> None:
    # PortAudio's PaStreamCallback.
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_void_p,
    )
    record = prototype(ring.device_callback(True))
    play = prototype(ring.device_callback(False))
    by_code, by_kernel = Ring(64, 2), Ring(64, 2)
    for turn in range(7):
        given_ = ramp(100 * turn, 20, 2)
        flags = int(turn == 3)
        assert record(given_.ctypes.data, None, 20, None, flags, by_code.address) == 0
        by_kernel.take_in(given_, bool(flags))
        n = 15 + 3 * (turn % 2)
        outs = np.full((2, n, 2), np.nan, np.float32)
        assert play(None, outs[0].ctypes.data, n, None, 0, by_code.address) == 0
        by_kernel.give_out(outs[1], False)
        assert np.array_equal(outs[0], outs[1])
    for name in ("waiting", "missed", "passed", "callbacks", "breaks", "largest"):
        assert getattr(by_code, name) == getattr(by_kernel, name), name
    assert by_code.breaks == 1
