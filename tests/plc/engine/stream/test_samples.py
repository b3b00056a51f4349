"""Packets as callers push them: what is refused, and what comes back."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import plc
from plc import Concealer, PlayoutBuffer
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.samples import as_packet, as_signal, check_missing, check_out
from plc.errors import PacketError
from plc_kernels.signal.packet import INT16_SCALE

SHAPE = (160, 2)
CONFIG = StreamConfig(sample_rate=16_000, channels=2, packet_samples=160)
MONO = StreamConfig(sample_rate=16_000, channels=1, packet_samples=160)
PACKET = np.arange(-16_000, 16_000, 100, dtype=np.int16).reshape(160, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_a_packet_is_of_int16_or_of_float32(dtype: Any) -> None:
    for shape, config in (((160, 2), CONFIG), ((160, 1), MONO), ((160,), MONO)):
        packet = np.zeros(shape, dtype)
        assert as_packet(packet, config) is packet


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (np.zeros((160, 2)), "packet is float64; push a numpy array of float32"),
        (np.zeros((160, 2), np.uint16), "or None for a lost packet$"),
        (np.zeros((160, 2), ">i2"), "packet is >i2"),
        ([[0.0, 0.0]] * 160, "packet is list"),
        (np.zeros(320, np.float32), r"shape \(320,\); this stream takes \(160, 2\)"),
        (np.zeros(160, np.float32), r"shape \(160,\)"),
        (np.zeros((160, 2, 1), np.float32), r"shape \(160, 2, 1\)"),
        (np.zeros((161, 2), np.int16), "packet_samples=160, channels=2 at 16000 Hz"),
        (np.zeros((0, 2), np.int16), r"shape \(0, 2\)"),
    ],
)
def test_what_is_no_packet_of_the_stream_is_refused(packet: Any, message: str) -> None:
    with pytest.raises(PacketError, match=message):
        as_packet(packet, CONFIG)


FLOATS = (PACKET / np.float32(INT16_SCALE)).astype(np.float32)


@pytest.mark.parametrize(
    "packet",
    [
        FLOATS.astype(np.float64),
        FLOATS.astype(">f4"),
        np.ascontiguousarray(FLOATS.T),
        FLOATS.reshape(-1),
        FLOATS.tolist(),
        PACKET.astype(">i2"),
        PACKET.astype(np.int32) * 65_536,
        PACKET.astype(np.int64),
    ],
    ids=["float64", ">f4", "channels first", "interleaved", "list", ">i2", "int32", "int64"],
)
def test_the_line_that_an_error_gives_mends_the_packet(packet: Any) -> None:
    with pytest.raises(PacketError) as refused:
        as_packet(packet, CONFIG)
    line = re.search(r"(?:push|give) ((?:np|packet)\S*(?: .*)?)$", str(refused.value))
    assert line is not None, refused.value
    mended = as_packet(eval(line[1], {"np": np, "packet": packet}), CONFIG)
    if mended.dtype == np.int16:
        np.testing.assert_array_equal(mended, PACKET)
    else:
        np.testing.assert_array_equal(mended, FLOATS)


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_the_line_that_an_error_gives_mends_a_signal(channels: int) -> None:
    signal = np.arange(64.0 * channels).reshape(channels, 64)
    with pytest.raises(PacketError, match=r"give np.asarray\(signal, np.float32\)$"):
        as_signal(signal)
    with pytest.raises(PacketError, match=r"channels come last here.*give signal.T$"):
        as_signal(np.asarray(signal, np.float32))
    assert as_signal(np.asarray(signal, np.float32).T).shape == (64, channels)


def test_bytes_of_unsigned_sound_are_mended() -> None:
    silence = np.full((160, 2), 128, np.uint8)
    with pytest.raises(
        PacketError, match=r"give \(np.asarray\(packet, np.float32\) - 128\) / 128$"
    ):
        as_packet(silence, CONFIG)


def test_bytes_are_int16_and_others_are_refused_with_what_would_do() -> None:
    """Half as many may be half a packet, or µ-law: nobody can tell by the size."""
    words = PACKET.astype("<i2").tobytes()
    twice: Any = np.repeat(np.frombuffer(words, np.uint8), 2)
    strided, square = memoryview(twice)[::2], memoryview(words).cast("B", (320, 2))
    data: Any
    for data in (words, bytearray(words), memoryview(words), memoryview(words).cast("c"), strided,
                 square):  # fmt: skip
        np.testing.assert_array_equal(as_packet(data, CONFIG), PACKET)
    with pytest.raises(PacketError, match=r"^packet cannot be read: .*give bytes of int16 .*2 ch"):
        as_packet(bytes(321), CONFIG)
    with pytest.raises(PacketError, match=r"shape \(100, 2\)(?!.*G711)"):
        as_packet(words[:400], CONFIG)
    with pytest.raises(PacketError, match=r"of float32, push np.frombuffer\(packet, np.float32\)"):
        as_packet(FLOATS.tobytes(), CONFIG)
    pushed = stream()
    for _ in range(20):
        pushed.push(words)
    heard = pushed.stats.packets
    with pytest.raises(PacketError, match=r"of µ-law, push plc.transport.rtp.codecs.G711\("):
        pushed.push(words[:320])
    assert pushed.stats.packets == heard


def put(piece: Any) -> Any:
    """Return what a playout buffer plays of a piece."""
    buffer = PlayoutBuffer(16_000, 2, delay_ms=0.0)
    buffer.put(piece)
    return buffer.take(160)[0]


@pytest.mark.parametrize("flat", [False, True])
def test_a_memoryview_of_numbers_is_what_its_format_says(flat: bool) -> None:
    array: Any
    view: Any
    for array in (PACKET, FLOATS, PACKET[::-1], FLOATS.T.copy().T):
        array = array.reshape(-1) if flat else array
        for view in (memoryview(array), memoryview(array).toreadonly()):
            np.testing.assert_array_equal(as_packet(view, CONFIG), array.reshape(SHAPE))
            np.testing.assert_array_equal(as_signal(view), array)
            np.testing.assert_array_equal(put(view), put(array.reshape(SHAPE)))
    for kind in ("i4", "i8", "u2", "u4", "f8", "i1", "f2", ">i2", ">f4", "?"):
        array = PACKET.astype(kind).reshape(-1 if flat else SHAPE)
        view = memoryview(array)
        for take in (lambda each: as_packet(each, CONFIG), put, as_signal):
            with pytest.raises(PacketError, match=r"(packet|signal) is "):
                take(view)
    unknown, released = memoryview(bytes(640)).cast("P"), memoryview(bytes(640))
    released.release()
    for view in (unknown, released):
        with pytest.raises(PacketError, match=r"^packet cannot be read: "):
            as_packet(view, CONFIG)


class OfDlpack:
    """What has no array protocol but that of DLPack."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **settings: Any) -> Any:
        return self._array.__dlpack__(**settings)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def test_any_array_protocol_is_taken_without_a_copy() -> None:
    packet: Any = OfDlpack(FLOATS)
    assert np.shares_memory(as_packet(packet, CONFIG), FLOATS)
    assert np.shares_memory(as_signal(packet), FLOATS)
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(PACKET.copy())
    assert np.shares_memory(as_packet(tensor, CONFIG), tensor.numpy())
    heard = stream().push(tensor)
    np.testing.assert_array_equal(heard, PACKET)


def test_masked_samples_are_not_played() -> None:
    whole = np.ma.masked_array(np.full((160, 1), 0.1, np.float32), mask=False)
    masked = np.ma.masked_array(whole.data, mask=np.arange(160)[:, None] < 80)
    pool, buffer = plc.ConcealerPool(), PlayoutBuffer(16_000, method="ar")
    ids = pool.open(1, sample_rate=16_000, packet_samples=160, method="ar")
    stream = Concealer(16_000, packet_samples=160, method="ar")
    stream.push(whole.data)  # the next one is as the last
    takers: list[Callable[[Any], object]] = [
        *(stream.push, buffer.put),
        lambda packet: pool.push(ids, packet[None], [True]),
        lambda signal: plc.conceal(signal, [False], sample_rate=16_000, packet_samples=160),
        lambda signal: plc.inpaint(signal, [(80, 90)], sample_rate=16_000, method="ar"),
        lambda signal: plc.detect(signal, sample_rate=16_000),
    ]
    for take in takers:
        take(whole)
        with pytest.raises(PacketError, match=r"masked .* give \w+\.data, .*filled\(np\.nan\)"):
            take(masked)


def test_a_tensor_that_numpy_cannot_read_is_refused_with_what_would_do() -> None:
    torch = pytest.importorskip("torch")
    message = r"Tensor, which numpy cannot read: .* such as packet.detach\(\).cpu\(\)"
    for tensor in (
        torch.zeros((160, 2), requires_grad=True),
        torch.zeros((160, 2), device="meta"),
        torch.zeros((160, 2), dtype=torch.bfloat16),
    ):
        with pytest.raises(PacketError, match=message):
            as_packet(tensor, CONFIG)
    with pytest.raises(PacketError, match=r"give np.asarray\(packet, np.float32\)$"):
        as_packet(torch.zeros((160, 2), dtype=torch.float64), CONFIG)


@given(st.lists(st.integers(0, 160), min_size=2, max_size=8, unique=True))
def test_parts_in_order_with_something_between_them_may_be_missing(edges: list[int]) -> None:
    edges.sort()
    check_missing(list(zip(edges[::2], edges[1::2], strict=False)), CONFIG)


@pytest.mark.parametrize(
    "missing",
    [
        [(5, 5)],
        [(6, 5)],
        [(-1, 4)],
        [(0, 161)],
        [(10, 20), (20, 30)],
        [(10, 20), (15, 30)],
        [(10, 20), (5, 8)],
        [(10, 20), (150, 161)],
        [(0.5, 3.7)],
        [(0, 3, 1)],
        (0, 3),
        np.array([(0, 3), (5, 8)]),
        iter([(0, 3)]),
        None,
    ],
)
def test_other_parts_are_refused(missing: Any) -> None:
    with pytest.raises(PacketError, match="give parts of 0 to 160 in order"):
        check_missing(missing, CONFIG)
    concealer = Concealer(16_000, 2, 160)
    with pytest.raises(PacketError, match="give parts of 0 to 160 in order"):
        concealer.push(np.zeros((160, 2), np.float32), missing=missing)


def test_out_is_of_the_dtype_of_the_stream() -> None:
    check_out(np.zeros((160, 2), np.float32), False, SHAPE)
    check_out(np.zeros((160, 2), np.int16), True, SHAPE)
    with pytest.raises(PacketError, match=r"C-contiguous int16 array of shape \(160, 2\)"):
        check_out(np.zeros((160, 2), np.float32), True, SHAPE)
    with pytest.raises(PacketError, match="C-contiguous float32"):
        check_out(np.zeros((160, 2), np.int16), False, SHAPE)


def read_only() -> NDArray[np.float32]:
    out = np.zeros((160, 2), np.float32)
    out.setflags(write=False)
    return out


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((159, 2), np.float32),
        np.zeros((2, 160), np.float32).T,
        np.zeros((320, 2), np.float32)[::2],
        np.zeros(160, np.float32),
        bytearray(4 * 320),
        read_only(),
    ],
    ids=["short", "transposed", "strided", "flat", "no array", "read-only"],
)
def test_out_that_cannot_be_written_is_refused(out: Any) -> None:
    with pytest.raises(PacketError, match="out must be a writable C-contiguous float32"):
        check_out(out, False, SHAPE)


def stream(**settings: Any) -> Concealer:
    return Concealer(16_000, 2, 160, method="ar", **settings)


@pytest.mark.parametrize("lookahead", [0, 2])
def test_a_packet_comes_back_in_its_dtype_and_full_scale_is_one(lookahead: int) -> None:
    for packet in (PACKET, PACKET.astype(np.float32) / np.float32(INT16_SCALE)):
        concealer = stream(lookahead=lookahead)
        played = [concealer.push(packet[::-1]) for _ in range(lookahead + 1)]
        assert played[-1].dtype == packet.dtype
        np.testing.assert_array_equal(played[-1], packet[::-1])
    # What goes in as int16 comes out as float32 where float32 follows, and the other way round.
    concealer = stream(lookahead=1)
    concealer.push(PACKET)
    floats = concealer.push(np.zeros((160, 2), np.float32))
    np.testing.assert_array_equal(floats, PACKET / np.float32(INT16_SCALE))
    concealer.push(PACKET)
    np.testing.assert_array_equal(concealer.flush(), PACKET)


def test_samples_beyond_full_scale_are_clipped_in_int16_alone() -> None:
    concealer = stream(lookahead=1)
    loud = np.linspace(-1.5, 1.5, 320, dtype=np.float32).reshape(160, 2)
    concealer.push(loud)
    np.testing.assert_array_equal(concealer.push(loud), loud)
    played = concealer.push(np.zeros((160, 2), np.int16))
    assert (played.min(), played.max()) == (-32768, 32767)


def test_missing_parts_are_concealed_whatever_stands_in_them() -> None:
    concealer = stream()
    packet = np.full((160, 2), np.float32(0.5))
    packet[30:50] = np.nan
    concealer.push(packet, missing=[(40, 50)])
    assert concealer.stats.invalid_packets == 1
    concealer.reset()
    played = concealer.push(packet, missing=[(30, 50)])
    assert concealer.stats.invalid_packets == 0
    assert concealer.stats.concealed_samples == 20
    np.testing.assert_array_equal(played[:30], packet[:30])
    assert np.isfinite(played).all()
    np.testing.assert_array_equal(played[90:], packet[90:])  # behind the crossfade


@pytest.mark.parametrize("lookahead", [0, 1])
def test_a_stream_of_which_nothing_arrived_is_silent(lookahead: int) -> None:
    concealer = stream(lookahead=lookahead)
    for k in range(40):
        spoilt = np.full((160, 2), np.float32(np.nan))
        missing = [(0, 160)]
        played = concealer.push(None if k % 2 else spoilt, missing=() if k % 2 else missing)
        assert not played.any()
    assert not concealer.flush().any()
    assert concealer.stats.concealed_samples == 40 * 160


def test_an_unsound_packet_leaves_its_dtype_behind() -> None:
    concealer = stream()
    concealer.push(PACKET)
    assert concealer.push(None).dtype == np.int16
    assert concealer.push(np.full((160, 2), np.float32(np.inf))).dtype == np.float32
    assert concealer.push(None).dtype == np.float32


def test_out_is_of_the_dtype_of_the_packet_or_the_one_before_it() -> None:
    concealer = stream(lookahead=1)
    floats, integers = np.zeros((160, 2), np.float32), np.zeros((160, 2), np.int16)
    assert concealer.push(None, floats) is floats
    assert concealer.push(PACKET, integers) is integers
    assert concealer.push(None, integers) is integers
    np.testing.assert_array_equal(integers, PACKET)
    with pytest.raises(PacketError, match="out must be a writable C-contiguous int16"):
        concealer.push(None, floats)
    assert concealer.flush().dtype == np.int16
    assert concealer.push(None, floats) is floats
    concealer.push(PACKET)
    concealer.reset()
    assert concealer.flush().dtype == np.float32


def test_what_is_refused_does_not_advance_the_stream() -> None:
    concealer, untouched = stream(), stream()
    packet = PACKET.astype(np.float32) / np.float32(INT16_SCALE)
    refused: list[tuple[Any, dict[str, Any]]] = [
        (PACKET[:-1], {}),
        (PACKET, {"missing": [(4, 4)]}),
        (PACKET, {"out": np.zeros((160, 2), np.float32)}),
        (None, {"out": np.zeros((160, 2), np.int16)}),
    ]
    for k in range(20):
        wrong, keywords = refused[k % 4]
        with pytest.raises(PacketError):
            concealer.push(wrong, **keywords)
        pushed = None if k % 5 == 4 else packet
        np.testing.assert_array_equal(concealer.push(pushed), untouched.push(pushed))
    assert concealer.stats.packets == 20


def test_a_packet_may_be_pushed_into_itself() -> None:
    packet = PACKET.copy()
    assert stream().push(packet, packet) is packet
    np.testing.assert_array_equal(packet, PACKET)
