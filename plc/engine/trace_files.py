"""Files of traces: which packets of a stream are lost."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.errors import AudioFileError, TraceError
from plc.notice import counted
from plc.whole_files import write_whole

# G.192's word of a lost packet; and how a file of its words begins, in either byte order.
_LOST_WORD = 0x6B20
_WORDS = {b" k": "<u2", b"!k": "<u2", b"k ": ">u2", b"k!": ">u2"}


def read_trace(path: str | Path) -> NDArray[np.bool_]:
    """Return the trace in a file: text, or one of the forms of ITU-T G.192.

    Text has one digit a packet, ``1`` lost and ``0`` received, in the order of the packets. Blanks,
    commas and line ends between digits are optional; ``#`` starts a comment that ends with its
    line.

    G.192 [1]_ has a word of 16 bits for each packet, of either byte order: 0x6b21 received and
    0x6b20 lost. It may stand alone, or before the number of bits and a word for each bit, which are
    not looked at. Its low byte may stand alone, too: 0x21 received and 0x20 lost.

    Parameters
    ----------
    path : str or Path, the file

    Returns
    -------
    bool, shape (packets,)
        True = lost; at least one packet.

    Raises
    ------
    TraceError
        If the file cannot be read, holds no packet, or anything but the above.

    References
    ----------
    .. [1] ITU-T G.192, "A common digital parallel interface for speech standardization
       activities", 1996; the forms are those of the tools of ITU-T G.191.
    """
    text = _content(path)
    if text[:2] in _WORDS:
        return _of_words(path, text)
    if b"!" in text and not text.strip(b" !"):
        return np.equal(np.frombuffer(text, np.uint8), _LOST_WORD & 0xFF)
    bare = re.sub(rb"#[^\r\n]*", b"", text.removeprefix(b"\xef\xbb\xbf"))
    digits = bare.translate(None, b" \t\r\n,\x0b\x0c")
    packets = np.frombuffer(digits, np.uint8) - np.uint8(ord("0"))
    if (packets > 1).any():
        raise TraceError(_first_fault(path, bare))
    if not packets.size:
        told = "; of blanks alone it might be all lost by G.192 in bytes: write 1s" if text else ""
        raise TraceError(
            f"the trace {path} holds no packets; expected one 0 or 1 for each packet"
            f"{'' if text.strip(b' ') else told}"
        )
    return packets.astype(np.bool_)


def _of_words(path: str | Path, data: bytes) -> NDArray[np.bool_]:
    """Return the trace of G.192's words, alone or before the bits of each packet."""
    words = np.frombuffer(data[: len(data) & ~1], _WORDS[data[:2]]).tolist()
    at, lost = 0, []
    while at < len(words) and words[at] | 1 == _LOST_WORD | 1:
        lost.append(words[at] == _LOST_WORD)
        at += 1
        if at < len(words) and words[at] | 1 != _LOST_WORD | 1:
            at += 1 + words[at]  # the number of bits, and these
    if at != len(words) or len(data) % 2:
        raise TraceError(
            f"{path} is cut or damaged after {counted(len(lost), 'packet')}: expected 0x6b21 or "
            "0x6b20 of G.192 for each, alone or before its number of bits and these"
        )
    return np.array(lost, np.bool_)


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TraceError(f"cannot read the trace {path}: {error.strerror}") from error


def packet_samples_of_trace(path: str | Path) -> int | None:
    """Return the packet length of a trace's comment, in samples, or None.

    The comment is what ``plc lose`` writes: ``# packets of 441 samples, 1 = lost``.
    """
    about = rb"#[^\r\n]*packets of (\d+) samples"
    stated = Path(path).is_file() and re.search(about, _content(path))  # a pipe was read already
    return int(stated.group(1)) if stated else None


def write_trace(
    path: str | Path, trace: ArrayLike, comments: Sequence[str] = (), overwrite: bool = True
) -> None:
    """Write ``trace`` to a text file for :func:`read_trace`, whole or not at all.

    Parameters
    ----------
    path : str or Path, the text file
    trace : array_like of bool, shape (packets,), True = lost
    comments : sequence of str
        Lines to put on top, without the ``#``.
    overwrite : bool
        Whether a file that is there is replaced.

    Raises
    ------
    TraceError
        If it cannot be written, or is there and may not be replaced.
    """
    lost = np.asarray(trace, np.bool_)
    if lost.ndim != 1:
        raise TraceError(f"a trace has the shape (packets,); got {lost.shape}")
    lines = np.full((lost.size, 2), ord("\n"), np.uint8)
    lines[:, 0] = ord("0") + lost
    head = "".join(f"# {line}\n" for line in comments)
    try:
        write_whole(Path(path), head.encode() + lines.tobytes(), overwrite)
    except AudioFileError as error:
        raise TraceError(str(error)) from error


def _first_fault(path: str | Path, text: bytes) -> str:
    for number, line in enumerate(re.split(rb"\r\n|\r|\n", text), start=1):
        fault = re.search(rb"[^01\s,][^\s,]*|(?<=[01])[^01\s,]+", line)
        if fault:
            found = fault.group()[:20].decode("utf-8", "replace")
            return (
                f"{path}, line {number}: found {found!r}; expected 0 (received) or 1 (lost), or a "
                "file of ITU-T G.192"
            )
    raise AssertionError("called for a text without a fault")
