"""Unix sockets of servers: one at a path, open to this user alone."""

import os
import socket
import stat
from pathlib import Path

from plc.errors import NetworkError

_BACKLOG = 128


def listen_at(path: Path) -> socket.socket:
    """Return a listening socket at a path, for this user alone.

    Raises
    ------
    NetworkError
        If something else is there, another server listens, or there are no such sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise NetworkError("this system has no Unix sockets for Python")
    _make_way(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # so that there is no moment at which others could connect
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise NetworkError(
            f"cannot make a socket at {path}: {reason}; take a short path in a folder of yours"
        ) from error
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def _make_way(path: Path) -> None:
    """Remove a socket without server; raise for any other file."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # nothing is there; or the bind will say what is wrong
    if not stat.S_ISSOCK(mode):
        raise NetworkError(f"{path} is not a socket; take another path, or remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            reason = error.strerror or str(error)
            raise NetworkError(f"the socket {path} is in use: {reason}") from error
    raise NetworkError(f"another server listens at {path}; end it, or take another path")


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return a file's device and inode."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
