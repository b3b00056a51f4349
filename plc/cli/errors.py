"""Errors of the command: a line on stderr, and an exit status.

One place for all commands. Errors of ours say what they have to; those of the system get what
Python leaves out of them: the file, and that a disk is full. A fault of ours keeps its traceback.
"""

import codecs
import errno
import os
import sys
from typing import TextIO

from plc.errors import PlcError, why

REFUSED = 1
INTERRUPTED = 130
# What a write meets that does not know the name of its file: that to stdout, above all.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO)
# Of what was given, a line repeats no more: a path may have 4096.
_LINE_CHARACTERS = 6000
_HANDLER = "plc.names"


def line_of(error: Exception) -> str | None:
    """Return an error as one line, or None for a defect."""
    if isinstance(error, PlcError):
        said = str(error)
    elif isinstance(error, OSError):
        # A reader of our output that has left is no error; Click ends for it without a word.
        if error.errno == errno.EPIPE:
            return None
        place = error.filename
        if place is None and error.errno in _OF_WRITING:
            place = "cannot write the result"
        said = why(error) if place is None else f"{os.fsdecode(place)}: {why(error)}"
    elif isinstance(error, UnicodeError):
        said = f"a name or a text is in no coding that can be used here: {error}"
    elif isinstance(error, ValueError) and "integer string conversion" in str(error):
        said = "a number has more digits than any that is taken here"
    elif isinstance(error, OverflowError):
        said = f"a number is too large: {error}"
    elif isinstance(error, MemoryError):
        said = "there is not enough memory for that"
    else:
        return None
    line = " ".join(said.split())
    return line if len(line) <= _LINE_CHARACTERS else line[: _LINE_CHARACTERS - 1] + "…"


def mend_streams() -> None:
    """Let stdout and stderr take any name, and fail cleanly when closed.

    Python has none at all for a descriptor that is closed at the start, which would then be that
    of the next file opened. Names of files that are not UTF-8 leave as the bytes they are.
    """
    codecs.register_error(_HANDLER, _bytes_of_names)
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # For reading: what is written to stdout is to fail, as it goes nowhere.
            flags = os.O_RDWR if name == "stderr" else os.O_RDONLY
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if number and getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", buffering=1, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)


def flush(stream: TextIO) -> OSError | None:
    """Flush a stream; return the error, if any, and empty its buffer."""
    try:
        stream.flush()
    except OSError as error:
        # Else the interpreter tries once more at its end, and complains in its own way.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return None if error.errno == errno.EPIPE else error
    return None


def _bytes_of_names(error: UnicodeError) -> tuple[str | bytes, int]:
    """Restore a name's undecodable bytes, and escape other characters."""
    assert isinstance(error, UnicodeEncodeError)
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":
        return bytes([ord(letter) - 0xDC00]), error.start + 1
    return f"\\u{ord(letter):04x}", error.start + 1
