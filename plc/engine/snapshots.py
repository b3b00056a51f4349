"""Streams as bytes, to go on in another process.

A snapshot is a head, the stream's block, and a signature over both::

    "plcsnap3" │ size of the head │ head: JSON       │ block │ HMAC-SHA256
    8 bytes    │ 4, little-endian │ as :class:`Head` │       │ 32 bytes (RFC 2104)

Of the block there are a bit for each word, whether it is not 0, and the words that are not: a
general compression makes a quarter less of it, and takes fifteen times as long. The signature is
checked before anything else is looked at: a block that somebody made up would have compiled code
read and write anywhere.
"""

import hashlib
import hmac
import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import plc
from plc.errors import ConfigError, SnapshotError
from plc_kernels.prebuilt import SOURCES
from plc_kernels.stream.layout import HEADER

LEAST_KEY = 16
"""Bytes of the shortest key."""
_MAGIC = b"plcsnap3"
_SIZE = struct.Struct("<I")
_SIGNATURE = hashlib.sha256().digest_size


class Head(msgspec.Struct, forbid_unknown_fields=True):
    """What a snapshot says of itself.

    Attributes
    ----------
    layout : str
        :func:`layout_of` of the format's streams.
    settings : dict
        With which the stream was opened.
    detected_dropouts : int
        Counted so far: the one counter that is in no block.
    plc : str
        Version of the package.
    """

    layout: str
    settings: dict[str, Any]
    detected_dropouts: int
    plc: str = msgspec.field(default_factory=lambda: plc.__version__)


def layout_of(block: NDArray[np.int64]) -> str:
    """Return what two processes must have in common to hand a stream over.

    That is what their kernels write in a block, and where.

    Parameters
    ----------
    block : int64, shape (words,)
        Of a new stream of a format.
    """
    words = block[:HEADER].tobytes() + _SIZE.pack(block.size)
    return hashlib.sha256(SOURCES + words).hexdigest()


def check_key(key: bytes) -> None:
    """Raise a :class:`ConfigError` if a key is none, or can be guessed."""
    if not isinstance(key, bytes) or len(key) < LEAST_KEY:
        raise ConfigError(
            f"key is {type(key).__name__} of {len(key) if isinstance(key, bytes) else 0}; give "
            f"{LEAST_KEY} secret bytes or more, such as secrets.token_bytes(32), to all processes"
        )


def pack(block: NDArray[np.int64], head: Head, key: bytes) -> bytes:
    """Return a stream as bytes.

    Parameters
    ----------
    block : int64, shape (words,)
    head : Head
        Of its stream.
    key : bytes
        For the signature.
    """
    told = msgspec.json.encode(head)
    used = block != 0
    body = np.packbits(used).tobytes(), block[used].tobytes()
    signed = b"".join([_MAGIC, _SIZE.pack(len(told)), told, *body])
    return signed + hmac.digest(key, signed, "sha256")


def unpack(snapshot: bytes, key: bytes) -> tuple[Head, bytes]:
    """Return the head and the packed block of a snapshot.

    Raises
    ------
    SnapshotError
        If it is none, was changed, was signed with another key, or is of another version.
    """
    if not isinstance(snapshot, bytes | bytearray | memoryview):
        raise SnapshotError(
            f"a snapshot is {type(snapshot).__name__}; give a list of those that snapshot returned"
        )
    whole = bytes(snapshot)
    if len(whole) < len(_MAGIC) + _SIZE.size + _SIGNATURE or not whole.startswith(_MAGIC):
        raise SnapshotError(f"these {len(whole)} bytes are no snapshot of a stream")
    signed, signature = whole[:-_SIGNATURE], whole[-_SIGNATURE:]
    if not hmac.compare_digest(hmac.digest(key, signed, "sha256"), signature):
        raise SnapshotError("the snapshot was changed, cut, or signed with another key")
    (size,) = _SIZE.unpack_from(signed, len(_MAGIC))
    begin = len(_MAGIC) + _SIZE.size
    head = msgspec.json.decode(signed[begin : begin + size], type=Head)
    if head.plc != plc.__version__:
        raise SnapshotError(
            f"the snapshot is of plc {head.plc}, this is {plc.__version__}: hand streams over "
            "between processes of one version"
        )
    return head, signed[begin + size :]


def fill(block: NDArray[np.int64], head: Head, body: bytes, layout: str) -> None:
    """Make a new stream what a snapshot was.

    Raises
    ------
    SnapshotError
        If blocks are laid out otherwise here; the stream is as before.
    """
    if head.layout != layout:
        raise SnapshotError(
            "the snapshot's stream is laid out otherwise than here: its process has other networks "
            "or kernels"
        )
    mask = -(-block.size // 8)  # bytes
    used = np.unpackbits(np.frombuffer(body[:mask], np.uint8), count=block.size).astype(bool)
    block[:] = 0
    block[used] = np.frombuffer(body[mask:], np.int64)
