"""Models as flat files, which C and WebAssembly read in place of ONNX."""

from pathlib import Path

from plc.errors import ConfigError
from plc.models.catalogue import available
from plc.models.manifest import Manifest
from plc.networks.drafts import ContourDraft
from plc.predict.contour import contour_model
from plc.runtime.native import planned
from plc_kernels.stream.model import flat_model

SUFFIX = ".plcm"


def flat_file(manifest: Manifest) -> bytes | None:
    """Return a model as a flat file; None if it is not one that C can run.

    Raises
    ------
    ModelError
        If its files are not sound.
    """
    if manifest.drafts != ContourDraft.names or manifest.top_hz is None:
        return None
    found = planned(manifest, manifest.sample_rates[0])
    if found is None:
        return None
    grid = manifest.horizon_ms, manifest.bin_hz
    return flat_model(*found, contour_model(), manifest.sample_rates, *grid)


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
