"""SRTP: packets that are encrypted and signed by a shared key (RFC 3711), by libsrtp.

A :class:`SrtpKey` is a master key with its salt, given as SDES has it (RFC 4568). The receiver
opens what comes, the sender seals what goes; both do so in one call for each datagram, and raise
nothing for what a datagram holds. Replays are refused by their numbers, all else by its tag.

SRTP counts how often the 16-bit numbers of a stream have wrapped, and sends that count to nobody.
Where libsrtp guesses it wrong, the tags say it (:mod:`plc.transport.rtp.srtp_index`).
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plc.errors import ConfigError
from plc.extras import needed
from plc.transport.rtp.codecs import open_codec
from plc.transport.rtp.packets import (
    HEADER_BYTES,
    SEQUENCE_BITS,
    RtpPacket,
    build_rtp,
    is_rtcp,
    ssrc_of,
)
from plc.transport.rtp.srtp_index import Indices

SUITES = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
_KEY_BYTES = 30  # a key of 16 and a salt of 14
_KEY_FILE_BYTES = 4096
# Senders that a receiver opens packets of, in its whole life: libsrtp remembers each.
SOURCES_MAX = 1024
# Header of RTCP, index and tag: what is shorter is none.
_RTCP_BYTES_MIN = 8 + 4 + 10
# pylibsrtp's buffer, less what libsrtp asks for behind a packet.
SEALED_BYTES_MAX = 1500 - (16 + 128)
_REPLAYS = ("replay check failed", "packet index is too old")
_FORGED = "authentication failure"
_UNFIT = (*_REPLAYS, _FORGED)
# The most by which an index may advance.
_HALF_TURN = (1 << SEQUENCE_BITS - 1) - 1
_EXPECTED = (
    "expected 30 bytes (AES key and salt) in Base64, alone or as SUITE:BASE64, SUITE one of "
    f"{', '.join(SUITES)}"
)


@dataclass(frozen=True, slots=True)
class SrtpKey:
    """A master key with its salt; never shown.

    Parameters
    ----------
    master : bytes, key (16 bytes) and salt (14)
    suite : str, one of :data:`SUITES`
    """

    master: bytes = field(repr=False)
    suite: str = SUITES[0]

    def __post_init__(self) -> None:
        """Check the length and the suite."""
        if self.suite not in SUITES:
            raise ConfigError(f"the suite of the SRTP key is unknown; supported: {SUITES}")
        if not isinstance(self.master, bytes) or len(self.master) != _KEY_BYTES:
            raise ConfigError(f"the SRTP key has another length; {_EXPECTED}")


def parse_key(text: str) -> SrtpKey:
    """Return the key in ``BASE64`` or ``SUITE:BASE64``.

    Raises
    ------
    ConfigError
        If it is none. The text is not repeated.
    """
    suite, colon, coded = text.strip().rpartition(":")
    if colon and suite not in SUITES:
        raise ConfigError(f"the suite of the SRTP key is unknown; {_EXPECTED}")
    return SrtpKey(_decoded(coded), suite or SUITES[0])


def _decoded(coded: str) -> bytes:
    try:
        return base64.b64decode(coded.encode(), validate=True)
    except (ValueError, binascii.Error):
        # From None: the error's text may hold what was given.
        raise ConfigError(f"the SRTP key is not Base64; {_EXPECTED}") from None


def read_key(path: Path) -> SrtpKey:
    """Return the key in a file's first line; raise ConfigError without one."""
    try:
        with path.open("rb") as file:
            content = file.read(_KEY_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read the key file {path}: {error.strerror}") from error
    lines = content.decode("ascii", "replace").split("\n")
    try:
        return parse_key(lines[0])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_crypto(value: str) -> SrtpKey | None:
    """Return the key in the value of SDP's ``a=crypto`` (RFC 4568); None for another kind.

    Other suites, several keys, key indices (MKI) and session parameters are of another kind.
    """
    found = re.fullmatch(
        r"\d{1,9} ([A-Z0-9_]+) inline:([A-Za-z0-9+/]{40})(?:\|(?:2\^)?\d{1,15})?", value.strip()
    )
    if not found or found.group(1) not in SUITES:
        return None
    return SrtpKey(_decoded(found.group(2)), found.group(1))


@dataclass(slots=True)
class SrtpStats:
    """Counters of a receiver."""

    opened_packets: int = 0
    forged_packets: int = 0
    """With a tag that is not of this key: another key, no SRTP, or changed on the way."""
    replayed_packets: int = 0
    """That were opened before: sent again by somebody, or doubled on the way."""
    malformed_packets: int = 0
    """Too short, too long, or no RTP."""
    excess_packets: int = 0
    """Of one sender too many."""


class SrtpReceiver:
    """Opens the datagrams of one path.

    Raises
    ------
    MissingExtraError
        If pylibsrtp or cryptography is not installed.
    """

    def __init__(self, key: SrtpKey) -> None:
        self._srtp = _import_srtp()
        self._key = key
        self._session = _session(self._srtp, key, "SSRC_ANY_INBOUND")
        tag_bytes = 10 if key.suite.endswith("80") else 4
        self._least = HEADER_BYTES + tag_bytes
        self._indices = Indices(key.master, tag_bytes)
        self._sources: set[int] = set()
        self.stats = SrtpStats()

    def open(self, datagram: bytes) -> bytes | None:
        """Return the RTP or RTCP in a datagram; None, counted, if it is not to be believed."""
        if is_rtcp(datagram):
            sender = int.from_bytes(datagram[4:8], "big")
            return self._open(datagram, sender, _RTCP_BYTES_MIN, self._session.unprotect_rtcp)
        return self._open(datagram, ssrc_of(datagram), self._least, self._session.unprotect)

    def _open(
        self, datagram: bytes, sender: int, least: int, unprotect: Callable[[bytes], bytes]
    ) -> bytes | None:
        stats = self.stats
        if len(datagram) < least:
            stats.malformed_packets += 1
            return None
        if sender not in self._sources and len(self._sources) >= SOURCES_MAX:
            stats.excess_packets += 1
            return None
        index = None
        try:
            opened = unprotect(datagram)
        except (self._srtp.Error, ValueError) as error:
            if not is_rtcp(datagram) and str(error).startswith(_UNFIT):
                index = self._indices.find(datagram)
            if index is None:
                self._count(str(error))
                return None
            opened = self._open_at(index, datagram)
        self._sources.add(sender)
        stats.opened_packets += 1
        if not is_rtcp(datagram):
            self._indices.note(datagram, index)
        return opened

    def _open_at(self, index: int, datagram: bytes) -> bytes:
        """Return a packet of another index than libsrtp takes it for."""
        ssrc, own = ssrc_of(datagram), _session(self._srtp, self._key, "SSRC_ANY_OUTBOUND")
        # Packets of our own move it there, each by half a turn.
        for at in range(_HALF_TURN, index, _HALF_TURN):
            empty = RtpPacket(0, at % (1 << SEQUENCE_BITS), 0, ssrc, b"")
            sealed = own.protect(build_rtp(empty))
            if at > self._indices.newest(ssrc):
                self._session.unprotect(sealed)
        opened: bytes = self._session.unprotect(datagram)
        return opened

    def _count(self, why: str) -> None:
        if why.startswith(_REPLAYS):
            self.stats.replayed_packets += 1
        elif why == _FORGED:
            self.stats.forged_packets += 1
        else:
            self.stats.malformed_packets += 1


class SrtpSender:
    """Seals the packets of one stream.

    Attributes
    ----------
    failed : int, packets that could not be sealed, as they were too long; none leaves unsealed

    Raises
    ------
    MissingExtraError
        If pylibsrtp is not installed.
    """

    def __init__(self, key: SrtpKey) -> None:
        self._srtp = _import_srtp()
        self._session = _session(self._srtp, key, "SSRC_ANY_OUTBOUND")
        self.failed = 0

    def seal(self, packet: bytes) -> bytes | None:
        """Return a packet of RTP or RTCP sealed; None, counted, if that cannot be."""
        protect = self._session.protect_rtcp if is_rtcp(packet) else self._session.protect
        try:
            sealed: bytes = protect(packet)
        except (self._srtp.Error, ValueError):
            self.failed += 1
            return None
        return sealed


def merged(receivers: list[SrtpReceiver]) -> dict[str, int] | None:
    """Return the counters of several paths together; None without any."""
    if not receivers:
        return None
    each = [asdict(receiver.stats) for receiver in receivers]
    return {name: sum(counts[name] for counts in each) for name in each[0]}


class SrtpTold:
    """Reports of refused packets, once for each kind."""

    def __init__(self, receivers: list[SrtpReceiver]) -> None:
        self._receivers = receivers
        self._told: set[str] = set()

    def tell(self, where: str, note: Callable[..., None]) -> None:
        """Report each kind of refused packet once, as the event ``srtp_refused``."""
        counts = merged(self._receivers)
        if counts is None:
            return
        for kind in ("forged", "replayed", "malformed", "excess"):
            number = counts[f"{kind}_packets"]
            if number and kind not in self._told:
                self._told.add(kind)
                why = _why(kind, counts["opened_packets"] > 0)
                says = f"{where} refuses {why}; none is played"
                note("srtp_refused", stream=where, kind=kind, packets=number, says=says)


def _why(kind: str, has_opened: bool) -> str:
    if kind == "forged" and not has_opened:
        return (
            "packets that this key does not open: compare the keys and suites, and that the sender "
            "sends SRTP"
        )
    return {
        "forged": "packets that were not sealed with this key",
        "replayed": (
            "packets whose numbers came before (replayed, doubled on the way, or of a sender that "
            "began again with the same SSRC and key)"
        ),
        "malformed": "datagrams that are not SRTP",
        "excess": f"packets of more than {SOURCES_MAX} senders; start again for new ones",
    }[kind]


def check_sealable(
    codec: str, sample_rate: int, channels: int, block: int, copies: int = 0
) -> None:
    """Raise ConfigError if packets are too long to be sealed.

    Parameters
    ----------
    codec : str, one of :data:`~plc.transport.rtp.codecs.CODECS`; of Opus any packet can be sealed
    sample_rate, channels : int, of it
    block : int, samples of a packet
    copies : int, earlier payloads that each packet repeats
    """
    if codec == "opus":
        return  # at most 1275 bytes
    silence = np.zeros((block, channels), np.float32)
    payload = len(open_codec(codec, sample_rate, channels).encode(silence))
    size = HEADER_BYTES + 1 + payload + copies * (4 + payload) if copies else HEADER_BYTES + payload
    if size > SEALED_BYTES_MAX:
        raise ConfigError(
            f"packets have {size} bytes; as SRTP they have at most {SEALED_BYTES_MAX}: send "
            "shorter ones (--packet-ms)"
        )


def _session(srtp: Any, key: SrtpKey, direction: str) -> Any:
    number = key.suite.rpartition("_")[2]
    profile = getattr(srtp.Policy, f"SRTP_PROFILE_AES128_CM_SHA1_{number}")
    policy = srtp.Policy(
        key=key.master, ssrc_type=getattr(srtp.Policy, direction), srtp_profile=profile
    )
    return srtp.Session(policy)


def _import_srtp() -> Any:
    with needed("SRTP needs pylibsrtp, which is not installed", "rtp"):
        import pylibsrtp
    return pylibsrtp
