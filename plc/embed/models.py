"""The package's models as files that C and WebAssembly read in place of ONNX."""

from pathlib import Path

from plc.errors import ConfigError
from plc.models.catalogue import available
from plc.models.manifest import Manifest
from plc.networks.flat import flat_file
from plc.runtime.native import planned_apart
from plc_kernels.stream.model_file import pack

SUFFIX = ".plcm"


def model_file(manifest: Manifest) -> bytes | None:
    """Return a model's file, of which C makes that block; None if there is no such.

    Raises
    ------
    ModelError
        If its files are not sound.
    """
    block, found = flat_file(manifest), planned_apart(manifest, manifest.sample_rates[0])
    if block is None or found is None:
        return None
    _, weights, adapters = found
    return pack(block, weights, adapters)


def write_models(folder: Path) -> list[Path]:
    """Write every model of the package that C can run; return the files.

    Parameters
    ----------
    folder : path
        Where to; made if it is not there. Files are ``NAME.plcm``.

    Raises
    ------
    ConfigError
        If the folder cannot be written.
    ModelError
        If a model's files are not sound.
    """
    files = {f"{each.name}{SUFFIX}": model_file(each) for each in available()}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            if data is not None:
                (folder / name).write_bytes(data)
                written.append(folder / name)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}") from error
    return written
