"""Build backend: setuptools, with editable installations that type checkers can read.

The packages lie in four source roots. Setuptools then installs an editable package by an import
hook, which mypy and pyright do not run. Here it is a path file that names the four roots.
"""

import base64
import hashlib
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_ROOTS = (".", "kernels", "bench", "training")
_WHEEL = "Wheel-Version: 1.0\nGenerator: plc-engine\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_editable(
    wheel_directory: str,
    config_settings: Mapping[str, object] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Write a wheel of the metadata and a path file (PEP 660); return its name."""
    with tempfile.TemporaryDirectory() as folder:
        name = build_meta.prepare_metadata_for_build_editable(folder, config_settings)
        files = {
            f"{name}/{path.relative_to(Path(folder, name)).as_posix()}": path.read_bytes()
            for path in Path(folder, name).rglob("*")
            if path.is_file() and path.name != "RECORD"
        }
    files[f"{name}/WHEEL"] = _WHEEL.encode()
    here = Path(__file__).resolve().parents[1]
    project = name.removesuffix(".dist-info")
    paths = "".join(f"{(here / root).resolve()}\n" for root in _ROOTS)
    files[f"__editable__.{project}.pth"] = paths.encode()
    rows = [f"{path},{_digest(data)},{len(data)}\n" for path, data in files.items()]
    files[f"{name}/RECORD"] = "".join([*rows, f"{name}/RECORD,,\n"]).encode()
    wheel = f"{project}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, wheel), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return wheel


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
