"""Put ``plcconceal`` where GStreamer finds it, and see whether it does.

GStreamer's plugin for Python runs the system's interpreter, not that of a virtual environment; but
an interpreter of the same minor version loads the same compiled packages. So what is installed is
one small file that names this environment's folders, and refuses another version with a reason.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from plc.errors import ConfigError
from plc.extras import install_command

_PACKAGES = (
    "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-python3-plugin-loader python3-gst-1.0 gir1.2-gst-plugins-base-1.0"
)
FILE = "plcconceal.py"
_LONGEST_S = 60.0

_TEMPLATE = '''"""plcconceal, for GStreamer's Python loader; written by plc gstreamer install."""

import sys

_BUILT_FOR = {version!r}
if sys.version_info[:2] != _BUILT_FOR:
    raise ImportError(
        "plcconceal was installed from Python %d.%d, and GStreamer runs Python %d.%d; install plc "
        "in an environment of that version, and run its plc gstreamer install"
        % (_BUILT_FOR + tuple(sys.version_info[:2]))
    )
for _folder in reversed({folders!r}):
    if _folder not in sys.path:
        sys.path.insert(0, _folder)

from plc.embed.gstreamer.element import __gstelementfactory__  # noqa: E402, F401
'''


@dataclass(frozen=True, slots=True)
class Installed:
    """State of an installation."""

    file: Path
    python: str
    """Version that GStreamer runs."""
    element: bool
    """Whether GStreamer finds it now."""
    problem: str | None
    """Why it does not."""


def user_folder() -> Path:
    """Return where GStreamer looks for a user's plugins in Python."""
    return Path.home() / ".gstreamer-1.0" / "plugins" / "python"


def install(folder: str | Path | None = None) -> Installed:
    """Write the plugin's file, and look whether GStreamer finds the element.

    Parameters
    ----------
    folder : path, optional
        Other than the user's; GST_PLUGIN_PATH must then name the folder above it, and its own
        name be ``python``.

    Raises
    ------
    ConfigError
        If GStreamer or its loader is not installed, runs another version of Python, or the file
        cannot be written.
    """
    target = Path(folder).resolve() if folder is not None else user_folder()
    if target.name != "python":
        raise ConfigError(f"{target} is not called python; GStreamer looks into no other folder")
    loaded = loader_python()
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if loaded != ours:
        raise ConfigError(
            f"GStreamer runs Python {loaded}, this is {ours}: its compiled packages cannot be "
            f"loaded there; python{loaded} -m venv DIR, DIR/bin/{install_command()}, and then "
            "DIR/bin/plc gstreamer install"
        )
    file = target / FILE
    text = _TEMPLATE.format(version=tuple(sys.version_info[:2]), folders=_folders())
    try:
        target.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}") from error
    return check(folder)


def check(folder: str | Path | None = None) -> Installed:
    """Look whether GStreamer finds the element, in a registry of its own.

    Parameters
    ----------
    folder : path, optional
        As for :func:`install`.

    Raises
    ------
    ConfigError
        If GStreamer or its loader is not installed.
    """
    target = Path(folder).resolve() if folder is not None else user_folder()
    file = target / FILE
    python = loader_python()
    extra = {} if folder is None else {"GST_PLUGIN_PATH": str(target.parent)}
    done = _inspect("plcconceal", _clean_environment() | extra)
    if done.returncode == 0:
        here = _inspect("plcconceal", dict(os.environ) | extra)
        problem = None
        if here.returncode:
            problem = (
                "GStreamer's Python is led astray by the PATH here, in which another python3 comes "
                "first; leave the virtual environment, or begin with PATH=/usr/bin:$PATH"
            )
        return Installed(file, python, True, problem)
    if not file.exists():
        return Installed(file, python, False, f"{file} is not there: plc gstreamer install")
    problem = " ".join(done.stderr.split())[-600:] or "GStreamer does not say why"
    return Installed(file, python, False, problem)


def loader_python() -> str:
    """Return the version of Python that GStreamer's loader runs, such as ``3.11``.

    Raises
    ------
    ConfigError
        If it cannot be found out.
    """
    if shutil.which("gst-inspect-1.0") is None:
        raise ConfigError(f"GStreamer is not installed; apt-get install {_PACKAGES}")
    done = _inspect("python", _clean_environment())
    place = re.search(r"^\s*Filename\s+(\S.*)$", done.stdout, re.MULTILINE)
    if done.returncode or place is None:
        raise ConfigError(f"GStreamer's loader for Python is missing; apt-get install {_PACKAGES}")
    version = re.search(rb"libpython(3\.\d+)", Path(place.group(1)).read_bytes())
    if version is None:
        raise ConfigError(f"{place.group(1)} does not say which Python it runs")
    return version.group(1).decode()


def _inspect(what: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Ask GStreamer about a plugin or element, with a fresh registry."""
    with tempfile.TemporaryDirectory() as folder:
        registry = str(Path(folder) / "registry.bin")
        try:
            return subprocess.run(
                ["gst-inspect-1.0", what],
                env=environment | {"GST_REGISTRY": registry},
                capture_output=True,
                text=True,
                timeout=_LONGEST_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"gst-inspect-1.0 {what} does not end") from error


def _clean_environment() -> dict[str, str]:
    """Return the environment without variables that mislead the system's Python."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    own = {str(Path(sys.executable).parent)}
    folders = kept.get("PATH", os.defpath).split(os.pathsep)
    others = [folder for folder in folders if folder not in own and "pyenv" not in folder]
    return kept | {"PATH": os.pathsep.join(["/usr/bin", "/bin", *others])}


def _folders() -> list[str]:
    """Return where this environment's packages, and a checkout's, are imported from.

    Those of an environment below this one, which a ``.pth`` file adds, are found by what is needed
    most.
    """
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    for name in ("plc", "plc_kernels", "numpy", "numba", "onnxruntime"):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:  # there may be no numba
            folders.append(str(Path(spec.origin).parents[1]))
    return list(dict.fromkeys(folders))
