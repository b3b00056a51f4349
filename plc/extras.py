"""Extras: the shell command that installs an optional library."""

import shlex
from pathlib import Path

_DISTRIBUTION = "plc-engine"


def install_command(*extras: str) -> str:
    """Return the command that adds extras to this installation.

    It names the checkout or the wheel that this package came from, as no index has it.

    Parameters
    ----------
    *extras : str
        Names of ``[project.optional-dependencies]``, such as ``"bench"``.
    """
    names = f"[{','.join(extras)}]"
    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{checkout}{names}')}"
    return f"pip install {shlex.quote(_origin() + names)}"


def _origin() -> str:
    """Return the installed file or folder (PEP 610), or the distribution's name."""
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    try:
        stated = metadata.distribution(_DISTRIBUTION).read_text("direct_url.json")
        url = urlsplit(json.loads(stated or "{}").get("url", ""))
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return _DISTRIBUTION
    return unquote(url.path) if url.scheme == "file" else _DISTRIBUTION
