"""Extras: the shell command that installs an optional library."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plc.errors import MissingExtraError

_DISTRIBUTION = "plc-engine"


def install_command(*extras: str) -> str:
    """Return the command that adds extras to this installation.

    It names the checkout or the wheel that this package came from, as no index has it; without
    extras it brings the package alone.
    """
    names = f"[{','.join(extras)}]" if extras else ""
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{checkout}{names}')}"
    origin = _origin()
    if "://" in origin:
        return f"pip install {shlex.quote(f'{_DISTRIBUTION}{names} @ {origin}')}"
    return f"pip install {shlex.quote(origin + names)}"


@contextmanager
def needed(what: str, *extras: str) -> Iterator[None]:
    """Raise MissingExtraError if an import in the block fails; extras bring its library."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{what}: {install_command(*extras)}") from error


def _origin() -> str:
    """Return the package's origin: a file, a folder or a URL (PEP 610), or its wheel's name."""
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    try:
        installed = metadata.distribution(_DISTRIBUTION)
        stated = json.loads(installed.read_text("direct_url.json") or "{}").get("url", "")
        tags = re.findall(r"^Tag: (\S+)$", installed.read_text("WHEEL") or "", re.MULTILINE)
        wheel = f"{_DISTRIBUTION.replace('-', '_')}-{installed.version}-{(tags or ['*'])[0]}.whl"
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return f"{_DISTRIBUTION.replace('-', '_')}-*.whl"
    url = urlsplit(stated)
    return unquote(url.path) if url.scheme == "file" else stated or wheel
