"""Session descriptions, read and written."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from plc.errors import ConfigError
from plc.programs.cli.app import app
from plc.transport.cli.options import ReceiverOptions
from plc.transport.cli.rtp import as_described
from plc.transport.rtp.sdp import AudioMedia, build_sdp, parse_sdp, read_sdp
from plc.transport.rtp.udp import Endpoint
from tests.examples import examples

FFMPEG = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=No Name
c=IN IP4 127.0.0.1
t=0 0
a=tool:libavformat 59.27.100
m=audio 5004 RTP/AVP 96
b=AS:768
a=rtpmap:96 L16/48000/1
"""


def test_what_ffmpeg_writes_is_read() -> None:
    (media,) = parse_sdp(FFMPEG)
    assert media == AudioMedia(
        endpoint=Endpoint("127.0.0.1", 5004),
        codec="l16",
        payload_type=96,
        sample_rate=48_000,
        channels=1,
    )


def test_other_codecs_of_a_description_are_kept_and_those_of_other_samples_named() -> None:
    text = "v=0\nc=IN IP4 192.0.2.1\nm=audio 9000 RTP/AVP 0 111 8 101\n"
    text += "a=rtpmap:111 opus/48000/2\na=rtpmap:101 telephone-event/8000\n"
    (media,) = parse_sdp(text)
    assert (media.codec, media.beside, media.not_played) == (
        "pcmu",
        ((8, "pcma"),),
        ("opus (111)",),
    )


def test_static_payload_types_need_no_map() -> None:
    text = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9000 RTP/AVP 8 0\r\na=ptime:20\r\n"
    (media,) = parse_sdp(text)
    assert (media.codec, media.payload_type, media.sample_rate) == ("pcma", 8, 8000)
    assert media.packet_ms == 20.0


def test_two_descriptions_of_one_stream_are_its_two_paths() -> None:
    # RFC 7104, section 4; ST 2110-30 describes streams so.
    text = (
        "v=0\r\ns=a\r\nt=0 0\r\na=group:DUP primary secondary\r\n"
        "m=audio 5004 RTP/AVP 98\r\nc=IN IP4 239.1.1.1/32\r\na=rtpmap:98 L24/48000/2\r\n"
        "a=ptime:1\r\na=mid:primary\r\n"
        "m=audio 5004 RTP/AVP 98\r\nc=IN IP4 239.2.1.1/32\r\na=rtpmap:98 L24/48000/2\r\n"
        "a=ptime:1\r\na=mid:secondary\r\n"
        "m=audio 5006 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\na=mid:other\r\n"
    )
    both, other = parse_sdp(text)
    assert both.endpoint == Endpoint("239.1.1.1", 5004)
    assert both.second == Endpoint("239.2.1.1", 5004)
    assert (both.codec, both.channels, both.packet_ms) == ("l24", 2, 1.0)
    assert other.second is None


def test_video_and_unknown_codecs_are_passed_over() -> None:
    text = (
        "c=IN IP4 192.0.2.1\nm=video 5000 RTP/AVP 97\na=rtpmap:97 H264/90000\n"
        "m=audio 5002 RTP/AVP 98\na=rtpmap:98 iLBC/8000\n"
        "m=audio 5004 RTP/AVP 99 111\nc=IN IP6 2001:db8::1\n"
        "a=rtpmap:99 red/48000/2\na=rtpmap:111 opus/48000/2\na=fmtp:99 111/111\n"
    )
    (media,) = parse_sdp(text)
    assert media.endpoint == Endpoint("2001:db8::1", 5004)
    assert (media.codec, media.payload_type, media.red_payload_type) == ("opus", 111, 99)


streams = st.builds(
    AudioMedia,
    endpoint=st.builds(
        Endpoint, host=st.sampled_from(["127.0.0.1", "2001:db8::7"]), port=st.integers(1, 65535)
    ),
    codec=st.just("l16"),
    payload_type=st.integers(96, 110),
    sample_rate=st.sampled_from([8000, 44_100, 48_000]),
    channels=st.integers(1, 8),
    packet_ms=st.sampled_from([None, 2.5, 10.0, 20.0]),
    red_payload_type=st.sampled_from([None, 120]),
)


@given(st.lists(streams, min_size=1, max_size=4))
def test_what_was_written_is_read_back(media: list[AudioMedia]) -> None:
    text = build_sdp(media)
    assert parse_sdp(text) == media
    assert re.fullmatch(r"(?:[a-z]=[^\r\n]+\r\n)+", text)


@examples(300)
@given(st.text(alphabet=st.sampled_from(list("vcoamt=:/ 0123456789IN4PRTVAaudiortpmL16\n"))))
def test_any_text_gives_streams_or_a_refusal(text: str) -> None:
    try:
        media = parse_sdp("m=audio 5004 RTP/AVP 96\n" + text)
    except ConfigError:
        return
    assert media


def test_a_relay_describes_what_it_sends_and_no_recording(tmp_path: Path) -> None:
    path, here = tmp_path / "a.sdp", ("--listen", "udp://127.0.0.1:0", "--to")
    options = ("--codec", "l24", "--channels", "2", "--packet-ms", "1", "--seconds", "0")
    ends = (*here, "udp://127.0.0.1:9", *here, str(tmp_path / "a.wav"))
    CliRunner().invoke(app, ["relay", *ends, *options, "--sdp-out", str(path)])
    [media] = read_sdp(path)
    assert media == AudioMedia(
        endpoint=Endpoint("127.0.0.1", 9), codec="l24", payload_type=media.payload_type,
        sample_rate=48_000, channels=2, packet_ms=1.0,
    )  # fmt: skip


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_sdp(tmp_path / "none.sdp")
    path = tmp_path / "a.sdp"
    path.write_bytes(b"\xff\xfe" + FFMPEG.encode())
    assert len(read_sdp(path)) == 1


@pytest.mark.parametrize(
    ("said", "content"),
    [("speaker", "speech"), ("main,Speaker", "speech"), ("music", "music"), ("slides", "auto")],
)
def test_what_plays_is_read_where_it_is_said(said: str, content: str) -> None:
    text = f"m=audio 5004 RTP/AVP 96\na=rtpmap:96 L16/48000/2\na=content:{said}\n"
    (media,) = parse_sdp(text)
    assert media.content == content
    assert as_described(ReceiverOptions(), media).content == content
    assert as_described(ReceiverOptions(content="music"), media).content == "music"
