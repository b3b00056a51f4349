"""The package's models as flat files, for C and WebAssembly."""

from pathlib import Path

from plc.errors import ConfigError
from plc.models.catalogue import available
from plc.networks.flat import flat_file

SUFFIX = ".plcm"


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
    files = {f"{each.name}{SUFFIX}": flat_file(each) for each in available()}
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
