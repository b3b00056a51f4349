"""Keep libraries from writing to stderr."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence libraries on file descriptor 2; Python's stderr still works.

    PortAudio and ALSA print a dozen lines where there is no card, ONNX Runtime several for every
    provider that does not start.
    """
    try:
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except OSError:
        yield
        return
    before = sys.stderr
    try:
        same = before.fileno() == 2
    except (OSError, ValueError, AttributeError):
        same = False
    ours = os.fdopen(os.dup(kept), "w", buffering=1, errors="backslashreplace") if same else before
    if sys.stderr is not None:
        sys.stderr.flush()
    os.dup2(nowhere, 2)
    sys.stderr = ours
    try:
        yield
    finally:
        sys.stderr = before
        if same:
            ours.close()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
