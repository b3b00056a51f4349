"""Every error that ``plc`` raises on purpose.

::

    PlcError
    ├── ConfigError        a setting that cannot work            (also a ValueError)
    ├── CapacityError      more streams than a pool's limit      (also a RuntimeError)
    ├── PacketError        a packet of the wrong shape or type   (also a ValueError)
    ├── ConcurrentPushError  two threads at one stream           (also a RuntimeError)
    ├── AudioFileError     a file that cannot be read or written (also an OSError)
    ├── TraceError         a trace that does not fit             (also a ValueError)
    ├── SnapshotError      a stream's snapshot that is refused   (also a ValueError)
    ├── ModelError         a network that is refused             (also a ValueError)
    ├── NetworkError       a socket that cannot be opened        (also an OSError)
    ├── DeviceError        a sound card that cannot be opened    (also an OSError)
    └── MissingExtraError  an optional library that is absent    (also an ImportError)

A message says what was given, what would do, and what to do about it.
"""

import difflib
import errno
import functools
import inspect
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, ParamSpec, SupportsIndex, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

# Control, format, surrogates, separators of lines and paragraphs.
_COMMANDS = ("Cc", "Cf", "Cs", "Zl", "Zp")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class PlcError(Exception):
    """Above all errors of this package; catch it to catch them all."""


class ConfigError(PlcError, ValueError):
    """A setting is out of its range or contradicts another."""


class CapacityError(PlcError, RuntimeError):
    """More streams are to join a pool than its limit."""


class PacketError(PlcError, ValueError):
    """A pushed packet has the wrong shape, dtype or size."""


class ConcurrentPushError(PlcError, RuntimeError):
    """A stream is called while another thread is at work on it."""


class AudioFileError(PlcError, OSError):
    """An audio file is missing, empty, truncated, or in no known format."""


class TraceError(PlcError, ValueError):
    """A trace file is malformed or does not fit the audio."""


class SnapshotError(PlcError, ValueError):
    """A stream's snapshot was changed, or is of another version, format or key."""


class ModelError(PlcError, ValueError):
    """A network or its manifest is missing, damaged or cannot run."""


class NetworkError(PlcError, OSError):
    """A socket cannot be opened: its port is taken, or its address is not ours or not found."""


class DeviceError(PlcError, OSError):
    """A sound card is missing, ambiguous, or refuses the format."""


class MissingExtraError(PlcError, ImportError):
    """A feature needs a library that is not installed; the message names the command."""


def unknown(
    what: str, given: object, known: Iterable[str], more: str = "", where: str = "known"
) -> str:
    """Return the message for a name of ``what`` that is none of the known ones."""
    names = list(known)
    return f"{what} is {given!r}; {where}: {', '.join(names)}{more}{most_like(given, names)}"


def check_settings(of: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ConfigError if one of the keywords given to ``of`` is not known."""
    names = list(known)
    for name in given:
        if name not in names:
            settings = ", ".join(names)
            raise ConfigError(f"{of}: {name} is unknown; known: {settings}{most_like(name, names)}")


def keywords_in_words(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function answer a keyword that it does not have with ConfigError, in words."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            # Raised by the call itself, not within it.
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                name = function.__qualname__.removesuffix(".__init__")
                known = list(inspect.signature(function).parameters)
                check_settings(name, kwargs, [each for each in known if each != "self"])
            raise

    return call


def most_like(given: object, names: Sequence[str]) -> str:
    """Return ``"; did you mean 'NAME'?"`` for the name most like the given one, if one is."""
    found = difflib.get_close_matches(str(given), names, 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def not_copied(remedy: str) -> Callable[[object, SupportsIndex], NoReturn]:
    """Return a ``__reduce_ex__`` for objects that hold resources of this process alone.

    Pickling and copying raise ``TypeError``, which names the remedy.
    """

    def refuse(this: object, _: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"{type(this).__name__} cannot be pickled or copied: it holds memory by address, "
            f"threads or sockets of this process; {remedy}"
        )

    return refuse


def in_a_line(error: BaseException) -> str:
    """Return an error's message in one line, or its type."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: object) -> str:
    r"""Return a text that cannot command a terminal.

    Control characters, separators of lines and marks of direction become escapes such as ``\x1b``;
    bytes of names that are no UTF-8 stay, as the command's streams write them.
    """
    return "".join(map(_shown, str(text)))


def printable_lines(text: str) -> str:
    """Return a text of several lines that cannot command a terminal."""
    return "\n".join(map(printable, text.split("\n")))


def _shown(letter: str) -> str:
    if letter.isprintable() or letter == " " or "\udc80" <= letter <= "\udcff":
        return letter
    if unicodedata.category(letter) not in _COMMANDS:
        return letter
    code = ord(letter)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def why(error: BaseException) -> str:
    """Return a library's or the system's reason, without our path; with advice for a full disk."""
    said = str(getattr(error, "error_string", "")).removeprefix("Error : ").rstrip(".")  # soundfile
    said = said or getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, FileExistsError):
        said = "a file stands where a folder is to be; name another"
    full = isinstance(error, OSError) and error.errno in _FULL
    return f"{said} (the disk is full: make room, or choose another place)" if full else said
