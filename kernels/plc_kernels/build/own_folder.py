"""Folders that only this user can write to: for locks, and machine code that runs once read.

Whoever can write to a folder of compiled code decides what runs here; whoever can open a lock can
hold it for ever. So a folder is looked at before anything in it is: it belongs to this user, no
other may write to it, it is no link, and no folder above it can be exchanged by anybody. What is
not so is not used. Windows has no such owners and modes; its folders of a user are that user's.
"""

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

# A container may show what belongs to users that it does not know as this one's.
_NOBODY = 65534


def cache_root() -> Path:
    """Return the user's folder for this package's caches: ``PLC_CACHE_DIR`` or the system's.

    That may be a link, which is followed here: systemd gives a service with ``DynamicUser=`` one.

    Raises
    ------
    RuntimeError
        If nobody knows this user's home, or the links are a circle.
    """
    given = os.environ.get("PLC_CACHE_DIR")
    if given:
        return Path(given).resolve()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (base / "plc-engine").resolve()


def own_folder(name: str) -> tuple[Path | None, str]:
    """Return a folder of this user alone, or None and the reason.

    It is in :func:`cache_root`; where that cannot be used, and ``PLC_CACHE_DIR`` does not insist on
    it, in one of the system's temporary folder that has the user's number in its name.
    """
    whys = []
    for root in _roots():
        why = mistrust(root) or mistrust(root / name)
        if not why:
            return root / name, ""
        whys.append(why)
    return None, "; ".join(whys) or "this user has no folder"


def _roots() -> list[Path]:
    roots = []
    with contextlib.suppress(RuntimeError):  # nobody knows this user's home
        roots.append(cache_root())
    if not os.environ.get("PLC_CACHE_DIR") and hasattr(os, "getuid"):
        with contextlib.suppress(OSError):
            roots.append(Path(tempfile.gettempdir()) / f"plc-engine-{os.getuid()}")
    return roots


def mistrust(folder: Path) -> str:
    """Make a folder, with mode 0700; return why it cannot be trusted, or nothing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        why = foreign(folder)
    except OSError as error:
        return f"{folder} cannot be made: {error.strerror}"
    if not why and not os.access(folder, os.W_OK | os.X_OK):
        why = f"{folder} cannot be written"
    return why


def foreign(folder: Path) -> str:
    """Return why another user may change a folder's files, or nothing.

    Raises
    ------
    OSError
        If it cannot be looked at.
    """
    if os.name != "posix":
        return ""
    user = os.getuid()
    state = folder.lstat()
    if stat.S_ISLNK(state.st_mode):
        return f"{folder} is a link"
    if not stat.S_ISDIR(state.st_mode):
        return f"{folder} is no folder"
    if state.st_uid != user:
        return f"{folder} belongs to another user"
    if state.st_mode & 0o022:
        return f"{folder} can be written by other users: chmod go-w it"
    for above in folder.resolve().parents:
        state = above.stat()
        if state.st_uid not in (user, 0, _NOBODY):
            return f"{above} belongs to another user"
        if state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX:
            return f"{above} can be written by all users"
    return ""
