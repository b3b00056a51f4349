"""Files that are whole or not there.

A new file is written under a name of its own beside its place, and renamed when it is complete::

    .NAME.HASH.TOKEN.part      its beginning, a hash of all of NAME, and a number that nobody has

So an interrupted run leaves no half file behind. Whoever writes holds a lock on it (``flock``),
which ends with the process: what nobody holds was left by a process that was killed, and may go.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import unicodedata
from pathlib import Path

from plc.errors import AudioFileError, why

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

# Of a name in that of its file in the making: names have 255 bytes at most, on some disks 143.
_NAME_BYTES = 48
_HASH_DIGITS = 16
_UNIQUE_BYTES = 8
_ATTEMPTS = 8
# What the system answers where a file system has no links, or nothing else of the kind.
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV)


def check_new(target: Path, overwrite: bool) -> None:
    """Refuse to write over a file unasked; raise AudioFileError before anything was written."""
    if not overwrite and os.path.lexists(target):
        raise AudioFileError(f"{target} exists; give --overwrite, or another name")


def behind(target: Path) -> Path:
    """Return where a target leads: as it is, or through a link to a file, as ``cp`` does.

    Raises
    ------
    AudioFileError
        If it is a link of another user's, or one to something else than a file.
    """
    try:
        link = target.lstat()
        if not stat.S_ISLNK(link.st_mode):
            return target
        place = target.resolve(strict=True)
        is_file = place.is_file()
    except FileNotFoundError as error:
        if not target.is_symlink():
            return target
        raise AudioFileError(f"{target} is a link to nothing; remove it first") from error
    except (OSError, RuntimeError) as error:
        raise AudioFileError(f"cannot write {target}: {why(error)}") from error
    if hasattr(os, "getuid") and link.st_uid not in (0, os.getuid()):
        raise AudioFileError(f"{target} is a link of another user's; remove it, or name its target")
    if not is_file:
        raise AudioFileError(f"{target} is a link to {place}, which is not a file; name a file")
    return place


def open_beside(place: Path) -> tuple[Path, int]:
    """Make a new file beside ``place``; return it, open and locked.

    Its mode, and as far as that is allowed its owner and group, are those of the file whose place
    it will take; of a new one, what the umask leaves.

    Raises
    ------
    AudioFileError
        If it cannot be made.
    """
    try:
        before = place.stat()
    except OSError:
        before = None
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o777
    try:
        partial, descriptor = _made(place, mode)
        if before is not None and hasattr(os, "fchmod"):
            _take_over(descriptor, before, mode)
    except OSError as error:
        raise AudioFileError(f"cannot write {place}: {why(error)}") from error
    return partial, descriptor


def put(partial: Path, place: Path, overwrite: bool = True) -> None:
    """Give a complete file its name.

    Parameters
    ----------
    partial, place : Path
        The file, and where it shall stand, of one file system.
    overwrite : bool
        Whether a file that is there is replaced. If not, one that came while this one was written
        stays, too.

    Raises
    ------
    OSError
        If that fails; FileExistsError for a file that stays.
    """
    if not overwrite:
        try:
            os.link(partial, place)
            partial.unlink()
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        if os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))
    os.replace(partial, place)


def take_over(path: Path, place: Path) -> None:
    """Give a file the owner, group and mode of its forerunner."""
    if not hasattr(os, "fchmod"):
        return
    with contextlib.suppress(OSError):
        before = place.lstat()
        if stat.S_ISREG(before.st_mode):
            _take_over(path, before, stat.S_IMODE(before.st_mode) & 0o777)


def write_whole(path: Path, data: bytes, overwrite: bool = True) -> None:
    """Write a small file, whole or not at all.

    A pipe or a device is written to as it is.

    Raises
    ------
    AudioFileError
        If it cannot be written, or is there and may not be replaced.
    """
    check_new(path, overwrite)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        place = behind(path)
        remove_leftovers(place)
        partial, descriptor = open_beside(place)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            put(partial, place, overwrite)
        finally:
            partial.unlink(missing_ok=True)
    except AudioFileError:
        raise
    except OSError as error:
        check_new(path, overwrite)  # it may have come meanwhile
        raise AudioFileError(f"cannot write {path}: {why(error)}") from error


def leftovers(place: Path) -> list[Path]:
    """Return unfinished files of killed processes at ``place``."""
    name = re.compile(
        rf"({re.escape(_beginning(place))}[0-9a-f]{{{2 * _UNIQUE_BYTES}}}\.part)(\.tags)?", re.S
    )
    found = []
    with contextlib.suppress(OSError), os.scandir(place.parent) as entries:
        for entry in entries:
            whole = name.fullmatch(entry.name)
            if whole and not is_held(place.with_name(whole[1])) and not is_held(Path(entry.path)):
                found.append(Path(entry.path))
    return sorted(found)


def remove_leftovers(place: Path) -> None:
    """Remove unfinished files of killed processes at ``place``."""
    for path in leftovers(place):
        with contextlib.suppress(OSError):
            path.unlink()


def hold(descriptor: int, path: Path) -> bool:
    """Lock an open file until it is closed; return whether it is ours and still there.

    On a file system without locks it is ours, too.
    """
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def is_held(path: Path) -> bool:
    """Return whether a process writes a file, or may do so.

    A link, a pipe, and a file of another user or on a file system without locks may be.
    """
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return True
        if fcntl is None:
            return False
        if about.st_uid != os.getuid():
            return True
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def identity(path: Path) -> tuple[int, int] | None:
    """Return device and number of a file or folder, alike under all its names, or None."""
    try:
        about = path.stat()
    except (OSError, ValueError):
        return None
    return about.st_dev, about.st_ino


def folds_case(folder: Path) -> bool:
    """Return whether ``A`` and ``a`` are one name in a folder."""
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    swapped = folder.parent / folder.name.swapcase()
    return swapped != folder and identity(swapped) == identity(folder)


def folded(name: str) -> str:
    """Return a name as file systems without case see it."""
    return unicodedata.normalize("NFC", name).casefold()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _made(place: Path, mode: int) -> tuple[Path, int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    for _ in range(_ATTEMPTS):
        token = secrets.token_hex(_UNIQUE_BYTES)
        partial = place.with_name(f"{_beginning(place)}{token}.part")
        descriptor = os.open(partial, flags, mode)
        if hold(descriptor, partial):
            return partial, descriptor
        # Another process looked whether it was a leftover, or took it for one.
        os.close(descriptor)
        partial.unlink(missing_ok=True)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(place))


def _beginning(place: Path) -> str:
    """Return how the names begin of files that will take a place."""
    name = os.fsencode(place.name)
    kept = name[:_NAME_BYTES].decode("utf-8", "ignore")
    return f".{kept}.{hashlib.sha256(name).hexdigest()[:_HASH_DIGITS]}."


def _take_over(made: Path | int, before: os.stat_result, mode: int) -> None:
    """Give a file, open or not, owner, group and mode of another; no rights for other groups."""
    now = os.stat(made)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.chown(made, before.st_uid, before.st_gid)
        except OSError:
            mode &= ~0o070 if now.st_gid != before.st_gid else 0o777
    os.chmod(made, mode)
