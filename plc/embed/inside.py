"""Programs that are there, started with ``libplc_inside.so`` before their decoders.

The library is the wheel's; in a checkout it is built once, which takes minutes, and kept in the
user's cache with the networks.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from plc.embed.library import CARRIED, INSIDE_SOURCE, build_library
from plc.embed.models import ALL, write_models
from plc.embed.packaging import INSIDE
from plc.errors import ConfigError, why
from plc_kernels.build.library import SOURCES
from plc_kernels.build.own_folder import own_folder

MODELS = "plc.plcm"
"""Networks, which the library looks for beside itself."""


def kept_library(tell: Callable[[str], None] = lambda line: None) -> Path:
    """Return the library in the user's cache, with networks beside it, made if it is not there.

    ``tell`` is called with a line for each thing done, from any thread. It raises
    :class:`ConfigError` if the user has no folder for caches, or it cannot be built.
    """
    cache, reason = own_folder("inside")
    if cache is None:
        raise ConfigError(f"there is no folder for the library: {reason}")
    sources = SOURCES + b"".join(
        path.read_bytes() for path in sorted(INSIDE_SOURCE.parent.glob("*.[ch]*"))
    )
    folder = cache / hashlib.sha256(sources).hexdigest()[:16]
    library = folder / INSIDE
    if not (library.is_file() and (folder / MODELS).is_file()):
        built = CARRIED if CARRIED.is_dir() else build_library(folder, tell=tell).library.parent
        models = write_models(folder)
        Path(folder / ALL).replace(folder / MODELS)
        for path in models[:-1]:
            path.unlink()
        if built != folder:
            shutil.copy(built / INSIDE, f"{library}.{os.getpid()}")
            Path(f"{library}.{os.getpid()}").replace(library)
    return library


def start(
    command: Sequence[str],
    models: Path | None = None,
    is_logged: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Become a program, with the library before its decoders.

    Parameters
    ----------
    command : sequence of str
        The program, looked for as a shell does, and its arguments.
    models : path, optional
        Networks, as ``plc c models`` writes them, other than the package's.
    is_logged : bool
        Whether it says at its end what was made up.
    tell : callable, as for :func:`kept_library`

    Raises
    ------
    ConfigError
        If the program or the models are not there, or the library's path has a space or a colon.
    """
    program = shutil.which(command[0])
    if program is None:
        raise ConfigError(f"there is no program {command[0]}")
    if models is not None and not models.is_file():
        raise ConfigError(f"there is no file {models}")
    library = str(kept_library(tell))
    if set(" :") & set(library):
        raise ConfigError(f"{library} has a space or a colon: name another PLC_CACHE_DIR")
    before = os.environ.get("LD_PRELOAD")
    added = {"LD_PRELOAD": f"{library}:{before}" if before else library}
    added |= {"PLC_INSIDE_MODELS": str(models.resolve())} if models else {}
    added |= {"PLC_INSIDE_LOG": "1"} if is_logged else {}
    try:
        os.execve(program, list(command), dict(os.environ) | added)
    except OSError as error:
        raise ConfigError(f"{program} cannot be started: {why(error)}") from error
