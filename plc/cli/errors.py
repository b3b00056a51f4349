"""Errors of the command: a line on stderr, and an exit status.

One place for all commands. Errors of ours say what they have to; those of the system get what
Python leaves out of them: the file, and that a disk is full. A fault of ours keeps its traceback.
"""

import codecs
import errno
import os
import re
import sys
from typing import Any, TextIO

from plc.errors import PlcError, most_like, why

REFUSED = 1
# What a write meets that does not know the name of its file: that to stdout, above all.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO)
# Of what was given, a line repeats no more: a path may have 4096.
_LINE_CHARACTERS = 6000
_HANDLER = "plc.names"
_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


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


# What replaces an option that is gone, by command (empty: all) and name.
_FORMER = {
    ("", "--key"): "--key-file FILE, whose first line is the key",
    ("", "--no-view"): "2>FILE, as meters are for terminals",
    ("", "--budget-ms"): "budget_ms= of the library",
    ("inpaint", "--kinds"): "--gaps FILE, by plc detect --kinds … --labels FILE",
    ("detect", "--codec"): "--sdp FILE",
    ("detect", "--picture"): "--labels FILE, or plc repair --dry-run --report FILE",
    ("inpaint", "--picture"): "--report FILE",
    ("conceal", "--picture"): "--report FILE",
    ("conceal", "--mask-out"): "made_up= of the library; plc inpaint takes the same --trace",
    ("repair", "--codec"): "--sdp FILE",
    ("web", "--host"): "--export DIR for another server",
    ("latency", "--quick"): "--seconds 4",
    ("train", "--cache"): "PLC_CACHE_DIR=FOLDER in the environment",
} | {
    ("impair", f"--{name}"): "plc impair loss=10%,burst=2,jitter=30 …; --help has the words"
    for name in ("loss", "burst", "delay-ms", "jitter-ms", "reorder", "duplicate", "rate-kbit-s")
}


def put_in_words(error: Any) -> None:
    """Let the parser's error for a misused command name the given value and the allowed ones.

    Typer's own words name its classes, or an argument that is there. An option that is gone is
    answered by its replacement.
    """
    parameter, context = getattr(error, "param", None), getattr(error, "ctx", None)
    option = getattr(error, "option_name", "")
    for command in ("", getattr(context, "info_name", None) or ""):
        if replacement := _FORMER.get((command, option)):
            error.format_message = lambda: f"{option} is gone; give {replacement}"
            return
    if parameter is None or context is None:
        return
    cause = getattr(error.__cause__, "errors", None)
    if type(error).__name__ == "MissingParameter":
        said = _missing(parameter, context)
    elif callable(cause):
        said = f"Invalid value for {parameter.opts[-1]}: {_not_of_a_type(cause()[0])}"
    else:
        return
    error.format_message = lambda: said


def _missing(parameter: Any, context: Any) -> str:
    if parameter.param_type_name == "option":
        option = parameter.opts[0]
        return f"{option} is missing; give {option} {parameter.metavar or 'VALUE'}"
    needed = [
        each
        for each in context.command.params
        if each.param_type_name == "argument" and each.required
    ]
    names: list[str] = [each.metavar or each.name + "..." * (each.nargs < 0) for each in needed]
    if parameter.nargs < 0 and len(needed) > 1:  # the last name was taken for the last of them
        return f"{' or '.join(names)} is missing; give {' '.join(names)}, {names[-1]} last"
    meant = f" ({parameter.help.partition('.')[0]})" if parameter.help else ""
    name, listed = names[needed.index(parameter)], " ".join(names)
    return f"{name} is missing; give {listed}{meant}"


def _not_of_a_type(cause: dict[str, Any]) -> str:
    given, kind, limits = cause["input"], cause["type"], cause.get("ctx", {})
    if kind == "value_error":  # one of ours, or a choice
        said = cause["msg"].removeprefix("Value error, ")
        names = re.findall(r"'([^']*)'", said)
        return f"{said.rstrip('.')}{most_like(given, names[1:])}"
    wanted = (
        "a number"
        if kind.startswith("float") or kind == "finite_number"
        else "a whole number"
        if kind.startswith("int")
        else "; ".join(
            f"{_LIMITS[name]} {limit}" for name, limit in limits.items() if name in _LIMITS
        )
    )
    return f"{given!r} will not do; give {wanted}" if wanted else str(cause["msg"])


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
