"""ONNX files: verified by size and SHA-256 before anything parses them.

A file that was verified once is read again only if its inode, size or times differ.
"""

import hashlib
import os
from pathlib import Path

from plc.engine.models.manifest import Manifest
from plc.errors import ModelError

_verified: dict[Path, tuple[tuple[int, ...], str]] = {}
"""By path: the state of the file when it was read, and the SHA-256 of its bytes."""


def read_weights(manifest: Manifest) -> bytes:
    """Read the ONNX file and verify it by its manifest.

    Raises
    ------
    ModelError
        If the file is missing, or its size or SHA-256 differs.
    """
    path = manifest.onnx_path
    try:
        with path.open("rb") as file:
            state = _state(os.fstat(file.fileno()))
            data = file.read(manifest.bytes + 1)
    except OSError as error:
        raise _unreadable(manifest, error) from error
    if len(data) != manifest.bytes:
        counted = f"over {manifest.bytes}" if len(data) > manifest.bytes else str(len(data))
        raise ModelError(
            f"{path}: {counted} bytes; its manifest says {manifest.bytes}: the file is cut short "
            "or another one; fetch both again"
        )
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != manifest.sha256:
        raise ModelError(
            f"{path}: SHA-256 is {sha256[:16]}…; its manifest says "
            f"{manifest.sha256[:16]}…: the file was changed; fetch both again"
        )
    _verified[path] = state, sha256
    return data


def check_weights(manifest: Manifest) -> None:
    """Verify the ONNX file as :func:`read_weights`; read it only if it changed.

    For a network whose session is open: the session holds bytes that were verified, so a change
    that the file's state does not show is harmless.
    """
    try:
        state = _state(manifest.onnx_path.stat())
    except OSError as error:
        raise _unreadable(manifest, error) from error
    if _verified.get(manifest.onnx_path) != (state, manifest.sha256):
        read_weights(manifest)


def _state(found: os.stat_result) -> tuple[int, ...]:
    """Return a file's state: device, inode, size and times."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _unreadable(manifest: Manifest, error: OSError) -> ModelError:
    return ModelError(
        f"cannot read {manifest.onnx_path}: {error.strerror or error}; it belongs beside "
        f"{manifest.path}"
    )
