"""The package's models as files that C and WebAssembly read in place of ONNX."""

from pathlib import Path

from plc.errors import ConfigError
from plc.models.catalogue import available
from plc.models.kinds import KINDS
from plc.models.manifest import Manifest
from plc.networks.flat import flat_file
from plc_kernels.stream.model_file import pack

SUFFIX = ".plcm"
ALL = f"all{SUFFIX}"
"""The file that holds all of them, one after another."""


def model_file(manifest: Manifest) -> bytes | None:
    """Return a model's file, of which C makes that block; None if there is no such.

    Raises
    ------
    ModelError
        If its files are not sound.
    """
    kind = KINDS[manifest.kind]
    if not kind.stream or kind.filler:
        return None
    block = flat_file(manifest)
    return None if block is None else pack(block)


def write_models(folder: Path) -> list[Path]:
    """Write every model of the package that C can run; return the files.

    Parameters
    ----------
    folder : path
        Where to; made if it is not there. Files are ``NAME.plcm``, and :data:`ALL`.

    Raises
    ------
    ConfigError
        If the folder cannot be written.
    ModelError
        If a model's files are not sound.
    """
    found = {each.name: model_file(each) for each in available()}
    files = {f"{name}{SUFFIX}": data for name, data in found.items() if data is not None}
    files[ALL] = b"".join(files.values())
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
            written.append(folder / name)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from error
    return written
