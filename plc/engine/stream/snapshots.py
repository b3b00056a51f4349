"""Streams as bytes, to go on in another process.

A snapshot is a head, the stream's block, and a signature over both::

    "plcsnap4" │ sign of the key │ size of all, of the head │ head: JSON       │ block │ HMAC-SHA256
    8 bytes    │ 8               │ 8 and 4, little-endian   │ as :class:`Head` │       │ 32 bytes

The sign of the key tells another key from a change. It and the signature (RFC 2104) tell a key that
can be guessed to whoever tries, so keys are random.

Of the block there are a bit for each word, whether it is not 0, and the words that are not: a
general compression makes a quarter less of it, and takes fifteen times as long. The signature is
checked before anything else is looked at: a block that somebody made up would have compiled code
read and write anywhere.
"""

import contextlib
import hashlib
import hmac
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import plc
from plc.errors import ConfigError, PlcError, SnapshotError
from plc_kernels.build.library import SOURCES
from plc_kernels.stream.layout import REALS

LEAST_KEY = 16
"""Bytes of the shortest key."""
_MAGIC = b"plcsnap4"
_FAMILY = 7
"""Bytes of it that snapshots of all versions begin with."""
_FRONT = struct.Struct("<8s8sQI")
_SIGNATURE = hashlib.sha256().digest_size


class _Version(msgspec.Struct):
    plc: str


class Head(msgspec.Struct, forbid_unknown_fields=True):
    """The description of a stream at the front of its snapshot.

    Attributes
    ----------
    layout : str, :func:`layout_of` of the format's streams
    of : str
        The class that held the stream: ``"Concealer"`` or ``"ConcealerPool"``.
    settings : dict, with which the stream was opened
    detected_dropouts : int
        Counted so far: the one counter that is in no block.
    state : dict, values that are in no block
    plc : str, version of the package
    """

    of: str
    layout: str
    settings: dict[str, Any]
    detected_dropouts: int
    state: dict[str, Any] = {}
    plc: str = msgspec.field(default_factory=lambda: plc.__version__)


def layout_of(block: NDArray[np.int64]) -> str:
    """Return a hash that two processes must share to hand a stream over.

    It covers the kernels' sources and a new block's size and settings, but no measured times.
    """
    words = block[:REALS].tobytes() + block.size.to_bytes(8, "little")
    return hashlib.sha256(SOURCES + words).hexdigest()


def check_key(key: bytes) -> None:
    """Raise a :class:`ConfigError` if a key is none, or can be guessed."""
    if not isinstance(key, bytes) or len(key) < LEAST_KEY:
        raise ConfigError(
            f"key is {type(key).__name__} of {len(key) if isinstance(key, bytes) else 0}; give "
            f"{LEAST_KEY} secret bytes or more, such as secrets.token_bytes(32), to all processes"
        )


def pack(block: NDArray[np.int64], head: Head, key: bytes) -> bytes:
    """Return a stream as bytes, signed with a key."""
    told = msgspec.json.encode(head)
    used = block != 0
    body = np.packbits(used).tobytes(), block[used].tobytes()
    size = _FRONT.size + len(told) + sum(map(len, body)) + _SIGNATURE
    front = _FRONT.pack(_MAGIC, _sign_of(key), size, len(told))
    signed = b"".join([front, told, *body])
    return signed + hmac.digest(key, signed, "sha256")


def _sign_of(key: bytes) -> bytes:
    return hmac.digest(key, _MAGIC, "sha256")[:8]


def unpack(snapshot: bytes, key: bytes, of: str) -> tuple[Head, bytes]:
    """Return the head and the packed block of a snapshot of a stream that was in ``of``.

    Raises
    ------
    SnapshotError
        If it is none, was changed, was signed with another key, or is of another version.
    """
    if not isinstance(snapshot, bytes | bytearray | memoryview):
        raise SnapshotError(
            f"a snapshot is {type(snapshot).__name__}; give what snapshot() returned: bytes, "
            "and to a pool a list of them"
        )
    whole = bytes(snapshot)
    size = _check_front(whole, key)
    signed, signature = whole[:-_SIGNATURE], whole[-_SIGNATURE:]
    if not hmac.compare_digest(hmac.digest(key, signed, "sha256"), signature):
        raise SnapshotError("the snapshot was changed on its way")
    told = signed[_FRONT.size : _FRONT.size + size]
    try:
        version = msgspec.json.decode(told, type=_Version).plc
        if version != plc.__version__:
            raise SnapshotError(
                f"the snapshot is of plc {version}, this is {plc.__version__}: hand streams over "
                "between processes of one version"
            )
        head = msgspec.json.decode(told, type=Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"the snapshot's head is of another version: {error}") from error
    if head.of != of:
        raise SnapshotError(f"the snapshot is of a stream of a {head.of}, this is a {of}")
    return head, signed[_FRONT.size + size :]


def _check_front(whole: bytes, key: bytes) -> int:
    """Return the size of the head; raise SnapshotError if this is not all of a snapshot."""
    if not whole.startswith(_MAGIC[:_FAMILY]) or len(whole) < _FRONT.size + _SIGNATURE:
        raise SnapshotError(f"these {len(whole)} bytes are no snapshot of a stream, or cut")
    magic, sign, size, head = _FRONT.unpack_from(whole)
    if magic != _MAGIC:
        raise SnapshotError("the snapshot is of another version of plc, or was changed on its way")
    if size != len(whole):
        raise SnapshotError(
            f"the snapshot was cut or changed: {len(whole)} bytes, where it says {size}"
        )
    if not hmac.compare_digest(sign, _sign_of(key)):
        raise SnapshotError("the snapshot was signed with another key, or changed on its way")
    return int(head)


@contextlib.contextmanager
def of_its_settings() -> Iterator[None]:
    """Raise a :class:`SnapshotError` where settings of a snapshot raise any error."""
    try:
        yield
    except SnapshotError:
        raise
    except (PlcError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise SnapshotError(
            f"the snapshot's stream has other settings than this version takes: {error}"
        ) from error


def fill(blocks: Sequence[NDArray[np.int64]], head: Head, body: bytes, layout: str) -> None:
    """Restore a snapshot's state in a new stream.

    ``blocks``, each int64, shape (words,), are the stream's, written one after another; ``layout``
    is the :func:`layout_of` of its format here.

    Raises
    ------
    SnapshotError
        If blocks are laid out otherwise here; the stream is as before.
    """
    size = sum(block.size for block in blocks)
    mask = -(-size // 8)  # bytes
    used = np.unpackbits(np.frombuffer(body[:mask], np.uint8), count=size).astype(bool)
    if head.layout != layout or len(body) != mask + 8 * np.count_nonzero(used):
        raise SnapshotError(
            "the snapshot's stream is laid out otherwise than here: its process has other networks "
            "or kernels, or chose others for the time that they take there"
        )
    words = np.zeros(size, np.int64)
    words[used] = np.frombuffer(body[mask:], np.int64)
    for block in blocks:
        block[:], words = words[: block.size], words[block.size :]
