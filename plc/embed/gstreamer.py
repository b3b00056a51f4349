"""Build ``plcconceal``, the element of GStreamer in C, and see whether GStreamer finds it.

The plugin is ``plc_gstreamer.c`` with libplc inside; the package's networks lie beside it.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from plc.embed.library import CFLAGS, HERE, build_library
from plc.embed.models import ALL, write_models
from plc.embed.toolchain import COMPILER, Tool, find, run
from plc.errors import ConfigError

SOURCE = HERE / "plc_gstreamer.c"
PLUGIN, MODELS = "libgstplc.so", "plc.plcm"
"""What is installed; the plugin looks for its networks by that name in its own folder."""

_INSPECT = Tool(
    "GStreamer",
    ("gst-inspect-1.0",),
    "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good",
    "GST_INSPECT",
)
_FLAGS = Tool(
    "GStreamer's headers",
    ("pkg-config",),
    "pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev",
    "PKG_CONFIG",
)
_LONGEST_S = 60.0


def user_folder() -> Path:
    """Return where GStreamer looks for a user's plugins."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "gstreamer-1.0" / "plugins"


def install(
    folder: str | Path | None = None, tell: Callable[[str], None] = lambda line: None
) -> Path:
    """Build the plugin into a folder, look whether GStreamer finds the element; return the file.

    Parameters
    ----------
    folder : path, optional
        Other than the user's; GST_PLUGIN_PATH must then name it.
    tell : callable
        Called with a line for each thing done, from any thread.

    Raises
    ------
    ConfigError
        If GStreamer, its headers or a compiler are not installed, the folder cannot be written, or
        GStreamer does not find the element.
    """
    find(_INSPECT)
    _flags()
    with tempfile.TemporaryDirectory() as work:
        build_library(work, tell=tell)
        build_plugin(Path(work), Path(folder or user_folder()))
    return check(folder)


def build_plugin(library: Path, folder: Path) -> None:
    """Build the plugin on a built library, with the package's networks beside it.

    Parameters
    ----------
    library : path
        Folder of ``libplc.a`` and ``plc.h``.
    folder : path
        Where to; made if it is not there. What is there is replaced, each file at once.

    Raises
    ------
    ConfigError
        As for :func:`install`.
    """
    into = folder.resolve()
    sources = [f"-I{library}", str(SOURCE), str(library / "libplc.a")]
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into) as work:
            made = Path(work, PLUGIN)
            linked = [*_flags(), "-lm", "-ldl", "-Wl,--exclude-libs,ALL", "-o", str(made)]
            run([*find(COMPILER), *CFLAGS, "-shared", *sources, *linked])
            write_models(Path(work))
            Path(work, ALL).replace(into / MODELS)
            made.replace(into / PLUGIN)  # a program that uses the one before keeps it
    except OSError as error:
        raise ConfigError(f"cannot write to {into}: {error.strerror}") from error


def check(folder: str | Path | None = None) -> Path:
    """Return the plugin's file, if GStreamer finds the element in it.

    Parameters
    ----------
    folder : path, optional, as for :func:`install`

    Raises
    ------
    ConfigError
        If GStreamer is not installed or does not find the element.
    """
    file = Path(folder or user_folder()).resolve() / PLUGIN
    extra = {} if folder is None else {"GST_PLUGIN_PATH": str(file.parent)}
    with tempfile.TemporaryDirectory() as work:
        extra["GST_REGISTRY"] = str(Path(work, "registry.bin"))
        try:
            done = subprocess.run(
                [*find(_INSPECT), "plcconceal"],
                env=dict(os.environ) | extra,
                capture_output=True,
                text=True,
                timeout=_LONGEST_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError("gst-inspect-1.0 plcconceal does not end") from error
    if done.returncode == 0:
        return file
    if not file.exists():
        raise ConfigError(f"{file} is not there: plc gstreamer install")
    reason = " ".join(done.stderr.split())[-600:] or "it does not say why"
    raise ConfigError(f"GStreamer does not load {file}: {reason}")


def _flags() -> list[str]:
    asked = [*find(_FLAGS), "--cflags", "--libs", "gstreamer-1.0"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(
            f"building plcconceal needs {_FLAGS.what}: apt-get install {_FLAGS.package}"
        )
    return done.stdout.split()
