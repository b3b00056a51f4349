"""The sidecar's frames: any bytes, cut anywhere, give frames or one error."""

import math
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.embed.served_stream import EmbeddedConfig, Format
from plc.embed.wire import (
    HEADER,
    HELLO_LIMIT,
    Code,
    FrameKind,
    FrameReader,
    WireError,
    pack,
    pack_error,
    pack_hello,
    pack_ready,
    parse_error,
    parse_hello,
    parse_ready,
)
from plc.engine.config import CONTENTS
from plc.errors import ConfigError
from tests.examples import examples
from tests.plc.configs import embedded

LIMIT = 64

Parsed = tuple[list[tuple[int, int, int, bytes]], str | None]


def parse(pieces: list[bytes], limit: int = LIMIT) -> Parsed:
    """Return the frames in ``pieces`` and the error they end in."""
    reader = FrameReader(limit)
    frames: list[tuple[int, int, int, bytes]] = []
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                room = reader.room()
                assert 0 < len(room) <= HEADER.size + limit
                count = min(len(room), len(rest))
                room[:count] = rest[:count]
                reader.came(count)
                rest = rest[count:]
                while (frame := reader.next()) is not None:
                    frames.append((frame.kind, frame.flags, frame.sequence, bytes(frame.payload)))
    except WireError as error:
        return frames, str(error)
    return frames, None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in pairwise(ends)]


frames_ = st.builds(
    pack,
    st.sampled_from(FrameKind),
    st.binary(max_size=LIMIT),
    flags=st.integers(0, 255),
    sequence=st.integers(0, 2**32 - 1),
)
places_ = st.lists(st.integers(0, 10_000), max_size=12)


@given(st.lists(frames_, max_size=8), places_)
@examples(800)
def test_frames_come_out_as_they_were_packed_however_they_are_cut(
    frames: list[bytes], places: list[int]
) -> None:
    parsed, error = parse(cut(b"".join(frames), places))
    assert error is None
    assert [pack(FrameKind(k), p, flags=f, sequence=s) for k, f, s, p in parsed] == frames


@given(st.lists(frames_ | st.binary(max_size=80), max_size=8).map(b"".join), places_)
@examples(1200)
def test_any_bytes_mean_the_same_however_they_are_cut(data: bytes, places: list[int]) -> None:
    assert parse(cut(data, places)) == parse([data])


@given(st.binary(max_size=200))
@examples(1000)
def test_any_bytes_are_a_hello_or_an_error(payload: bytes) -> None:
    for text in (payload, b"PLC1" + payload):
        try:
            opened = parse_hello(text)
        except (WireError, ConfigError):
            continue
        assert isinstance(opened, EmbeddedConfig)


@given(
    st.builds(
        embedded,
        sample_rate=st.integers(8000, 192_000),
        channels=st.integers(1, 8),
        packet_samples=st.integers(192, 960),
        format=st.sampled_from(Format),
        lookahead=st.integers(0, 16),
        budget_ms=st.none() | st.floats(min_value=0.0, exclude_min=True, allow_nan=False),
        seed=st.integers(0, 2**32 - 1),
        method=st.text(min_size=1, max_size=60),
        model=st.text(min_size=1, max_size=60),
        content=st.sampled_from(CONTENTS),
        detect_dropouts=st.booleans(),
    )
)
def test_settings_survive_the_wire(settings_: EmbeddedConfig) -> None:
    frames, error = parse([pack_hello(settings_)], HELLO_LIMIT)
    assert error is None
    assert parse_hello(frames[0][3]) == settings_


def test_names_that_are_left_out_are_auto() -> None:
    opened = parse_hello(pack_hello(embedded(method="", model=""))[HEADER.size :])
    assert (opened.stream.method, opened.stream.model) == ("auto", "auto")


def test_a_hello_has_the_bytes_that_the_documentation_says() -> None:
    hello = pack_hello(
        embedded(sample_rate=48_000, channels=2, packet_samples=480, format=Format.INT16)
    )
    fixed = struct.pack("<IIIHBB", 48_000, 480, 0, 0, 2, 2) + struct.pack("<d", math.nan)
    names = struct.pack("<II", 4, 4) + b"auto" + b"auto"
    assert hello == struct.pack("<IBBHI", 44, 1, 0, 0, 0) + b"PLC1" + fixed + names


def test_a_hello_of_another_version_is_told_apart() -> None:
    hello = pack_hello(embedded()).replace(b"PLC1", b"PLC9")
    with pytest.raises(WireError, match="this server speaks") as caught:
        parse_hello(hello[HEADER.size :])
    assert caught.value.code is Code.VERSION


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((slice(0, 4), b"PLC9"), "begins with"),
        ((slice(19, 20), b"\x07"), "format is 7"),
        ((slice(19, 20), b"\x83"), "format is 3"),
        ((slice(19, 20), b"\x31"), "content is 3"),
        ((slice(28, 32), b"\xff\xff\xff\xff"), "names of"),
        ((slice(36, 40), b"\xff\xff\xff\xff"), "not UTF-8"),
    ],
)
def test_a_wrong_field_is_named(change: tuple[slice, bytes], says: str) -> None:
    payload = bytearray(pack_hello(embedded())[HEADER.size :])
    payload[change[0]] = change[1]
    with pytest.raises(WireError, match=says):
        parse_hello(bytes(payload))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (HEADER.pack(0, 77, 0, 0, 0), "kind 77"),
        (HEADER.pack(0, 2, 0, 1, 0), "where 0 belongs"),
        (HEADER.pack(LIMIT + 1, 2, 0, 0, 0), "at most 64"),
        (HEADER.pack(2**32 - 1, 2, 0, 0, 0), "at most 64"),
    ],
)
def test_a_header_that_cannot_be_is_refused_before_its_payload_comes(
    data: bytes, says: str
) -> None:
    frames, error = parse([data])
    assert frames == []
    assert error is not None
    assert says in error


def test_a_reader_keeps_what_came_early_when_longer_frames_are_allowed() -> None:
    reader = FrameReader(LIMIT)
    data = pack(FrameKind.END) + pack(FrameKind.PUSH, bytes(40))[:20]
    reader.room()[: len(data)] = data
    reader.came(len(data))
    first = reader.next()
    assert first is not None
    assert first.kind is FrameKind.END
    reader.allow(4000)
    assert reader.waiting == 20
    rest = pack(FrameKind.PUSH, bytes(40))[20:]
    reader.room()[: len(rest)] = rest
    reader.came(len(rest))
    second = reader.next()
    assert second is not None
    assert bytes(second.payload) == bytes(40)


def test_answers_are_read_back() -> None:
    assert parse_ready(pack_ready(960, 1920)[HEADER.size :]) == (960, 1920)
    assert parse_error(pack_error(Code.BUSY, "full")[HEADER.size :]) == (4, "full")
    with pytest.raises(WireError, match="READY of 3"):
        parse_ready(b"abc")
    with pytest.raises(WireError, match="version 9"):
        parse_ready(struct.pack("<HHII", 9, 0, 0, 0))
    with pytest.raises(WireError, match="ERROR of 1"):
        parse_error(b"a")


def test_settings_that_have_no_place_in_a_hello_are_refused() -> None:
    with pytest.raises(ConfigError, match="255 bytes"):
        pack_hello(embedded(model="m" * 256))
    with pytest.raises(ConfigError, match="cannot be sent"):
        pack_hello(embedded(seed=-1))
