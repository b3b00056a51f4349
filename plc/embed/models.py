"""Models as files that C and WebAssembly read in place of ONNX."""

from collections.abc import Sequence
from pathlib import Path

from plc.engine.models.catalogue import available, find
from plc.engine.models.kinds import KINDS
from plc.engine.models.manifest import Manifest
from plc.engine.networks.flat import flat_file
from plc.errors import ConfigError, ModelError, why
from plc_kernels.stream.model_file import pack

SUFFIX = ".plcm"
ALL = f"all{SUFFIX}"
"""The file that holds all of them, one after another."""


def model_file(manifest: Manifest) -> bytes | None:
    """Return a model's file, from which C makes the block; None if there is none.

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


def write_models(folder: Path, models: Sequence[str | Path] = ()) -> list[Path]:
    """Write models that C can run; return the files.

    Parameters
    ----------
    folder : path
        Where to; made if it is not there. Files are ``NAME.plcm``, and :data:`ALL`.
    models : sequence of str or path
        Names, or manifests; without any, all of the package that C can run.

    Raises
    ------
    ConfigError
        If the folder cannot be written.
    ModelError
        If a model's files are not sound, or C cannot run one that was named.
    """
    found = {
        each.name: model_file(each) for each in [find(model) for model in models] or available()
    }
    refused = [name for name, data in found.items() if data is None and models]
    if refused:
        raise ModelError(
            f"model {refused[0]} is none that C can run: give a network of streams, of a recipe as "
            "those of the package have"
        )
    files = {f"{name}{SUFFIX}": data for name, data in found.items() if data is not None}
    files[ALL] = b"".join(files.values())
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
            written.append(folder / name)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {why(error)}") from error
    return written
