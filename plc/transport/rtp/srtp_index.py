"""Find the index of a sealed packet where libsrtp takes another (RFC 3711, section 3.3.1).

Only 16 bits of it are sent. libsrtp takes the index nearest to the newest one, which is wrong after
an outage of more than half a turn, and for a stream that has turned before it is first heard. The
tag is made of the index, too, and tells which of the next counts of turns is right. Only what lies
beyond the newest index is tried, so that nothing is opened twice, and tries are limited by the
packets opened and refused before, so that forged ones cost little more than to refuse them.
"""

import hmac

from plc.extras import needed
from plc.transport.rtp.packets import SEQUENCE_BITS, ssrc_of

# Turns beyond the newest index: 18 hours of packets of 1 ms.
_TURNS_MAX = 1024
# Tries at once, for all sources; each packet that is opened or refused allows for more.
_TRIES_MAX, _TRIES_FOR_OPENED, _TRIES_FOR_REFUSED = 64.0, 1.0, 0.5
# A packet is tried with the next turns, and with so many of those beyond, which take turns.
_NEXT, _MORE_MAX = 3, 12
# So little behind the newest it is a double: 4 bytes of a tag are not tried in vain.
_DOUBLES, _SHORT_TAG_BYTES = range(128), 4
_TURN = 1 << SEQUENCE_BITS


class Indices:
    """Indices of a session's packets; raises MissingExtraError without cryptography."""

    def __init__(self, master: bytes, tag_bytes: int) -> None:
        self._key, self._tag_bytes = _authentication_key(master), tag_bytes
        self._newest: dict[int, int] = {}
        self._tried = 0
        self._credit = _TRIES_MAX

    def newest(self, ssrc: int) -> int:
        """Return the newest index of a source; -1 without any."""
        return self._newest.get(ssrc, -1)

    def note(self, datagram: bytes, index: int | None = None) -> None:
        """Take in a packet that was opened, and its index where libsrtp took another."""
        newest = self.newest(ssrc_of(datagram))
        if index is not None:
            self._tried = 0
        else:
            index = newest - _behind(newest, datagram)
        self._newest[ssrc_of(datagram)] = max(newest, index)
        self._credit = min(self._credit + _TRIES_FOR_OPENED, _TRIES_MAX)

    def find(self, datagram: bytes) -> int | None:
        """Return the index of a packet that libsrtp refused; None if none makes its tag."""
        self._credit = min(self._credit + _TRIES_FOR_REFUSED, _TRIES_MAX)
        newest = self.newest(ssrc_of(datagram))
        is_double = self._tag_bytes <= _SHORT_TAG_BYTES and _behind(newest, datagram) in _DOUBLES
        if self._credit < 2 * _NEXT or is_double:
            return None
        more = min(int(self._credit) - _NEXT, _MORE_MAX)
        beyond = range(_NEXT + self._tried, _NEXT + self._tried + more)
        self._tried = (self._tried + more) % _TURNS_MAX
        self._credit -= _NEXT + more
        sealed, tag = datagram[: -self._tag_bytes], datagram[-self._tag_bytes :]
        for turns in (*range(_NEXT), *beyond):
            count = newest // _TURN + turns
            index: int = count * _TURN + int.from_bytes(datagram[2:4], "big")
            if index > newest:
                made = hmac.digest(self._key, sealed + count.to_bytes(4, "big"), "sha1")
                if hmac.compare_digest(made[: self._tag_bytes], tag):
                    return index
        return None


def _behind(newest: int, datagram: bytes) -> int:
    """Return by how much libsrtp takes a packet to lie behind; no index is below 0."""
    number = int.from_bytes(datagram[2:4], "big")
    behind = (newest - number + _TURN // 2) % _TURN - _TURN // 2
    return behind if behind <= newest else behind - _TURN


def _authentication_key(master: bytes) -> bytes:
    """Return the key of the tags (RFC 3711, section 4.3: AES in counter mode, label 1)."""
    with needed("SRTP needs cryptography, which is not installed", "rtp"):
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    begin = int.from_bytes(master[16:], "big") ^ 1 << 48
    counter = modes.CTR((begin << 16).to_bytes(16, "big"))
    key: bytes = Cipher(algorithms.AES(master[:16]), counter).encryptor().update(bytes(20))
    return key
