"""Session descriptions (SDP, RFC 8866): address, codec and format of RTP streams.

Of a description only its audio is looked at: port, address, codec, rate, channels, packet length,
redundancy. What else stands there is passed over, as the standard asks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from plc.errors import ConfigError
from plc.transport.rtp.codecs import CODECS, STATIC_CODINGS, samples_per_tick, usual_rate
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.rtp.srtp import SrtpKey, parse_crypto
from plc.transport.rtp.udp import Endpoint

_LARGEST_BYTES = 1 << 20
_CONTENTS = {"speaker": "speech", "speech": "speech", "music": "music"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioMedia:
    """One audio stream of a description.

    Attributes
    ----------
    endpoint : Endpoint, where it is to be received
    codec : str, one of :data:`~plc.transport.rtp.codecs.CODECS`
    payload_type, sample_rate, channels : int, of it
    packet_ms : float or None, length of a packet, if it is stated
    red_payload_type : int or None, payload type of redundancy, if there is some
    second : Endpoint or None, where the same packets come by a second path (RFC 7104)
    beside : tuple of (int, str)
        Other payload types of the same rate and channels, and their codecs.
    not_played : tuple of str, other codecs, of another rate or channels, and their payload types
    is_secure : bool, whether it is said to be SRTP
    content : str
        ``"music"`` or ``"speech"``, where it is said (``a=content``: RFC 4796, whose ``speaker`` is
        speech, and the two words themselves), else ``"auto"``.
    key : SrtpKey or None
        What it is sealed with (RFC 4568). It is read from descriptions, and written to none.
    """

    endpoint: Endpoint
    codec: str
    payload_type: int
    sample_rate: int
    channels: int
    packet_ms: float | None = None
    red_payload_type: int | None = None
    second: Endpoint | None = None
    beside: tuple[tuple[int, str], ...] = ()
    not_played: tuple[str, ...] = ()
    is_secure: bool = False
    key: SrtpKey | None = None
    content: str = "auto"


@dataclass(slots=True)
class _Section:
    """Lines of one ``m=audio``, as far as they are understood."""

    port: int
    payload_types: list[int]
    host: str
    is_secure: bool = False
    key: SrtpKey | None = None
    maps: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    packet_ms: float | None = None
    content: str = "auto"
    name: str = ""
    """By which groups call it (``a=mid``)."""


def parse_sdp(text: str) -> list[AudioMedia]:
    """Return a description's audio streams with a supported codec, in order.

    Raises
    ------
    ConfigError
        If there is none.
    """
    host = "0.0.0.0"
    sections: list[_Section] = []
    second_of: dict[str, str] = {}
    for line in text.splitlines():
        kind, _, value = line.strip().partition("=")
        if kind == "m":
            section = _begin_section(value, host)
            sections.append(section or _Section(0, [], host))
        elif kind == "c":
            address = _connection(value)
            if address and sections:
                sections[-1].host = address
            elif address:
                host = address
        elif kind == "a" and sections:
            _read_attribute(value, sections[-1])
        elif kind == "a" and (found := re.fullmatch(r"group:DUP (\S+) (\S+)", value.strip())):
            second_of[found.group(1)] = found.group(2)
    media = _paths_joined(sections, second_of)
    if not media:
        raise ConfigError(
            f"the description has no audio in one of {', '.join(CODECS)}; expected a line such as "
            "m=audio 5004 RTP/AVP 96 and a=rtpmap:96 L16/48000/2"
        )
    return media


def _paths_joined(sections: list[_Section], second_of: dict[str, str]) -> list[AudioMedia]:
    named = {section.name: section for section in sections if section.name}
    media = []
    for section in sections:
        stream = _stream_of(section)
        if stream is None or (section.name and section.name in second_of.values()):
            continue
        other = named.get(second_of.get(section.name, ""))
        if other is not None and _stream_of(other) is not None:
            stream = replace(stream, second=Endpoint(other.host, other.port))
        media.append(stream)
    return media


def read_sdp(path: str | Path) -> list[AudioMedia]:
    """Return the audio streams of a description's file; raise ConfigError without one."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"cannot read the description {path}: {error.strerror}") from error
    return parse_sdp(text)


def media_of(packetizer: Packetizer, to: Endpoint, block: int, key: SrtpKey | None) -> AudioMedia:
    """Return the description of a sent stream, ``block`` samples in a packet."""
    codec = packetizer.codec
    return AudioMedia(
        endpoint=to,
        codec=codec.name,
        payload_type=packetizer.payload_type,
        sample_rate=codec.sample_rate,
        channels=codec.channels,
        packet_ms=1000.0 * block / codec.sample_rate,
        red_payload_type=packetizer.red_payload_type if packetizer.redundancy else None,
        key=key,
    )


def build_sdp(media: Sequence[AudioMedia], name: str = "plc") -> str:
    """Return a description of these streams."""
    first = media[0].endpoint.host
    lines = ["v=0", f"o=- 0 0 IN {_address(first)}", f"s={name}", "t=0 0"]
    for stream in media:
        types = [stream.payload_type]
        if stream.red_payload_type is not None:
            types.insert(0, stream.red_payload_type)
        listed = " ".join(str(number) for number in types)
        profile = "RTP/SAVP" if stream.is_secure or stream.key is not None else "RTP/AVP"
        coding = f"{stream.codec.upper()}/{_clock_rate(stream)}"
        lines += [
            f"m=audio {stream.endpoint.port} {profile} {listed}",
            f"c=IN {_address(stream.endpoint.host)}",
            f"a=rtpmap:{stream.payload_type} {coding}/{_listed_channels(stream)}",
        ]
        if stream.red_payload_type is not None:
            repeated = f"{stream.payload_type}/{stream.payload_type}"
            lines += [
                f"a=rtpmap:{stream.red_payload_type} red/{_clock_rate(stream)}",
                f"a=fmtp:{stream.red_payload_type} {repeated}",
            ]
        if stream.packet_ms is not None:
            lines.append(f"a=ptime:{stream.packet_ms:g}")
    return "\r\n".join(lines) + "\r\n"


def _begin_section(value: str, host: str) -> _Section | None:
    found = re.fullmatch(r"audio (\d{1,5})(?:/\d+)? RTP/(S?)AVPF? ([\d ]+)", value.strip())
    if not found or not 0 < int(found.group(1)) < 65536:
        return None
    types = [int(number) for number in found.group(3).split() if int(number) < 128]
    return _Section(int(found.group(1)), types, host, is_secure=bool(found.group(2)))


def _connection(value: str) -> str | None:
    found = re.fullmatch(r"IN IP[46] ([\w.:]+)(?:/\d+)*", value.strip())
    return found.group(1) if found else None


def _read_attribute(value: str, section: _Section) -> None:
    name, _, rest = value.partition(":")
    if name == "rtpmap":
        found = re.fullmatch(r"(\d{1,3}) ([\w-]+)/(\d{1,6})(?:/(\d{1,2}))?", rest.strip())
        if found:
            coding, rate = found.group(2).lower(), int(found.group(3))
            if coding == "g722":
                rate = usual_rate(coding)  # stated is the clock's
            channels = int(found.group(4) or 1)
            section.maps[int(found.group(1))] = (coding, rate, channels)
    elif name == "crypto":
        # The first that is understood, as they stand in order of preference.
        section.key = section.key or parse_crypto(rest)
    elif name == "mid":
        section.name = rest.strip()
    elif name == "content":
        words = re.findall(r"\w+", rest.lower())
        section.content = next((_CONTENTS[word] for word in words if word in _CONTENTS), "auto")
    elif name == "ptime":
        found = re.fullmatch(r"\d{1,4}(?:\.\d{1,6})?", rest.strip())
        section.packet_ms = float(rest) if found and float(rest) > 0.0 else None


def _stream_of(section: _Section) -> AudioMedia | None:
    red = None
    found: list[tuple[int, str, int, int]] = []
    for number in section.payload_types:
        codec, rate, channels = section.maps.get(number) or STATIC_CODINGS.get(number, ("", 0, 0))
        if codec == "red" and not found:
            red = number
        elif codec in CODECS and rate > 0 and 1 <= channels <= 8:
            found.append((number, codec, rate, channels))
    if not found:
        return None
    (number, codec, rate, channels), *rest = found
    return AudioMedia(
        endpoint=Endpoint(section.host, section.port),
        codec=codec,
        payload_type=number,
        sample_rate=rate,
        channels=channels,
        packet_ms=section.packet_ms,
        red_payload_type=red,
        beside=tuple(each[:2] for each in rest if each[2:] == (rate, channels)),
        not_played=tuple(f"{each[1]} ({each[0]})" for each in rest if each[2:] != (rate, channels)),
        is_secure=section.is_secure or section.key is not None,
        key=section.key,
        content=section.content,
    )


def _address(host: str) -> str:
    return f"IP{6 if ':' in host else 4} {host}"


def _clock_rate(stream: AudioMedia) -> int:
    return stream.sample_rate // samples_per_tick(stream.codec)


def _listed_channels(stream: AudioMedia) -> int:
    # RFC 7587, section 7: Opus is always listed with two.
    return 2 if stream.codec == "opus" else stream.channels
