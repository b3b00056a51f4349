"""RTP and RED: round trips, every kind of malformed bytes, numbers that wrap."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.transport.rtp.packets import (
    HEADER_BYTES,
    RED_BLOCKS_MAX,
    Malformed,
    RedBlock,
    RtpPacket,
    Unwrapper,
    build_red,
    build_rtp,
    parse_red,
    parse_rtp,
)
from tests.examples import examples

# RTCP takes the second bytes 192 to 223: payload types 64 to 95 with the marker.
payload_types = st.integers(0, 127).filter(lambda number: not 64 <= number <= 95)
packets = st.builds(
    RtpPacket,
    payload_type=payload_types,
    sequence=st.integers(0, 2**16 - 1),
    timestamp=st.integers(0, 2**32 - 1),
    ssrc=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=64),
    marker=st.booleans(),
    csrcs=st.lists(st.integers(0, 2**32 - 1), max_size=15).map(tuple),
)


def header(first: int = 0x80, second: int = 96, payload: bytes = b"") -> bytes:
    """Return a packet, written out from the picture in RFC 3550, section 5.1."""
    return struct.pack("!BBHII", first, second, 7, 8, 9) + payload


@given(packets)
def test_what_was_built_is_parsed_back(packet: RtpPacket) -> None:
    assert parse_rtp(build_rtp(packet)) == packet


def test_the_header_has_the_layout_of_the_standard() -> None:
    packet = RtpPacket(96, 0x1234, 0x56789ABC, 0xDEF01234, b"\xaa\xbb", marker=True, csrcs=(5,))
    assert build_rtp(packet).hex() == "81e0123456789abcdef0123400000005aabb"


@pytest.mark.parametrize("size", range(HEADER_BYTES))
def test_a_cut_header_is_short(size: int) -> None:
    assert parse_rtp(header()[:size]) is Malformed.SHORT


@pytest.mark.parametrize("version", [0, 1, 3])
def test_another_version_is_refused(version: int) -> None:
    assert parse_rtp(header(first=version << 6)) is Malformed.VERSION


@pytest.mark.parametrize("kind", [192, 200, 201, 223])
def test_rtcp_on_the_same_port_is_told_apart(kind: int) -> None:
    assert parse_rtp(header(second=kind)) is Malformed.RTCP


@pytest.mark.parametrize("sources", range(1, 16))
def test_missing_contributing_sources_are_noticed(sources: int) -> None:
    for there in range(4 * sources):
        assert parse_rtp(header(0x80 | sources, payload=bytes(there))) is Malformed.CSRC


def test_a_header_extension_is_skipped_and_a_cut_one_refused() -> None:
    extension = struct.pack("!HHI", 0xBEDE, 1, 0)
    whole = header(0x90, payload=extension + b"sound")
    packet = parse_rtp(whole)
    assert isinstance(packet, RtpPacket)
    assert packet.payload == b"sound"
    for size in range(HEADER_BYTES, HEADER_BYTES + len(extension)):
        assert parse_rtp(whole[:size]) is Malformed.EXTENSION


def test_padding_is_taken_off() -> None:
    packet = parse_rtp(header(0xA0, payload=b"sound\0\0\3"))
    assert isinstance(packet, RtpPacket)
    assert packet.payload == b"sound"


@pytest.mark.parametrize("payload", [b"", b"\0", b"ab\0", b"ab\4", b"\xff"])
def test_impossible_padding_is_refused(payload: bytes) -> None:
    assert parse_rtp(header(0xA0, payload=payload)) is Malformed.PADDING


def test_a_packet_of_padding_alone_has_an_empty_payload() -> None:
    packet = parse_rtp(header(0xA0, payload=b"\0\0\3"))
    assert isinstance(packet, RtpPacket)
    assert packet.payload == b""


@examples(500)
@given(st.binary(max_size=120))
def test_any_bytes_give_a_packet_or_a_reason(datagram: bytes) -> None:
    packet = parse_rtp(datagram)
    assert isinstance(packet, RtpPacket | Malformed)
    if isinstance(packet, RtpPacket):
        assert len(packet.payload) <= len(datagram) - HEADER_BYTES


@examples(500)
@given(packets, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4))
def test_a_packet_with_bytes_turned_gives_a_packet_or_a_reason(
    packet: RtpPacket, changes: list[tuple[int, int]]
) -> None:
    datagram = bytearray(build_rtp(packet))
    for place, value in changes:
        datagram[place % len(datagram)] = value
    assert isinstance(parse_rtp(bytes(datagram)), RtpPacket | Malformed)


# ---- redundancy ---------------------------------------------------------------------------------

blocks = st.lists(
    st.builds(
        RedBlock,
        payload_type=st.integers(0, 127),
        offset=st.integers(1, 2**14 - 1),
        payload=st.binary(max_size=40),
    ),
    max_size=4,
)


@given(blocks, st.integers(0, 127), st.binary(max_size=40))
def test_redundant_blocks_are_parsed_back(
    older: list[RedBlock], payload_type: int, payload: bytes
) -> None:
    everything = [*older, RedBlock(payload_type, 0, payload)]
    assert parse_red(build_red(everything)) == everything


def test_redundancy_has_the_layout_of_the_standard() -> None:
    # RFC 2198, section 4: F=1, type 5, offset 160, length 2; then F=0, type 5.
    built = build_red([RedBlock(5, 160, b"ab"), RedBlock(5, 0, b"cd")])
    assert built == bytes([0x85, 160 >> 6, (160 & 63) << 2, 2, 5]) + b"abcd"


def test_blocks_that_a_header_cannot_describe_are_left_out() -> None:
    primary = RedBlock(0, 0, b"now")
    for block in (RedBlock(0, 2**14, b""), RedBlock(0, 1, bytes(1024)), RedBlock(0, 0, b"")):
        assert parse_red(build_red([block, primary])) == [primary]


def test_cut_redundancy_is_refused() -> None:
    whole = build_red([RedBlock(5, 160, b"ab"), RedBlock(5, 0, b"")])
    for size in range(5):
        assert parse_red(whole[:size]) is Malformed.RED_HEADER
    for size in range(5, len(whole)):
        assert parse_red(whole[:size]) is Malformed.RED_LENGTH


def test_more_blocks_than_anybody_sends_are_refused_at_their_header() -> None:
    primary = RedBlock(5, 0, b"now")
    most = [RedBlock(5, k + 1, b"") for k in range(RED_BLOCKS_MAX)]
    assert parse_red(build_red([*most, primary])) == [*most, primary]
    # What is built has the newest; what is refused is not read to its end.
    assert parse_red(build_red([RedBlock(5, 99, b""), *most, primary])) == [*most, primary]
    header = build_red([RedBlock(5, 1, b""), RedBlock(5, 0, b"")])[:4]
    assert parse_red(header * (RED_BLOCKS_MAX + 1)) is Malformed.RED_BLOCKS
    assert parse_red(header * 10_000 + b"\x05") is Malformed.RED_BLOCKS


@examples(500)
@given(st.binary(max_size=80))
def test_any_payload_gives_blocks_or_a_reason(payload: bytes) -> None:
    parsed = parse_red(payload)
    if not isinstance(parsed, Malformed):
        assert sum(len(block.payload) for block in parsed) < len(payload)
        assert parsed[-1].offset == 0


# ---- numbers that wrap --------------------------------------------------------------------------


@given(
    st.sampled_from([16, 32]),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(-30_000, 32_767), max_size=50),
)
def test_numbers_unwrap_to_what_was_wrapped(bits: int, first: int, steps: list[int]) -> None:
    unwrapper = Unwrapper(bits)
    first %= 1 << bits
    assert unwrapper.unwrap(first) == first
    newest = first
    for step in steps:
        truth = newest + step
        assert unwrapper.peek(truth % (1 << bits)) == truth
        assert unwrapper.unwrap(truth % (1 << bits)) == truth
        newest = max(newest, truth)
        assert unwrapper.newest == newest


def test_a_number_behind_the_first_one_is_negative_rather_than_a_turn_ahead() -> None:
    unwrapper = Unwrapper(16)
    unwrapper.unwrap(2)
    assert unwrapper.unwrap(65535) == -1
    assert unwrapper.unwrap(3) == 3


def test_a_reset_forgets_the_turns() -> None:
    unwrapper = Unwrapper(16)
    unwrapper.unwrap(65535)
    assert unwrapper.unwrap(0) == 65536
    unwrapper.reset()
    assert unwrapper.unwrap(0) == 0
