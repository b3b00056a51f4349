"""The networks of the package by name, and others by path."""

from importlib import resources
from pathlib import Path

from plc.engine.models.manifest import Manifest
from plc.errors import MissingExtraError, ModelError, unknown

PAPERS = {
    "gacela-music-375": "gacela",
    "gacela-music-750": "gacela",
    "notes-mel": "notes",
    "paper-instruments": "context_encoder",
    "paper-music": "context_encoder",
}
"""Networks of papers, and their kinds: a checkout has them, of a release a wheel of their own."""


def models_folder() -> Path:
    """Return the folder of the networks in the package; it need not exist."""
    return Path(str(resources.files("plc"))) / "data" / "models"


def available(folder: Path | None = None) -> list[Manifest]:
    """Return the manifests in a folder by name; by default the package's.

    Raises
    ------
    ModelError
        If one of them is not valid.
    """
    paths = sorted((folder or models_folder()).glob("*.json"))
    return sorted(map(Manifest.read, paths), key=lambda manifest: manifest.name)


def absent_paper(what: str) -> MissingExtraError:
    """Return the error for a network of a paper that is not there."""
    return MissingExtraError(
        f"{what} comes beside the wheels of a release, in no index: pip install --no-index "
        "FOLDER/plc_engine_papers-VERSION-py3-none-any.whl; or plc models --papers with that file"
    )


def find(name_or_path: str | Path, folder: Path | None = None) -> Manifest:
    """Return a manifest by name or path.

    Parameters
    ----------
    name_or_path : str or Path
        A name; or the path of a manifest or of the ONNX file beside it, which has a folder or
        one of the two endings in it.
    folder : Path, optional
        Where names are looked up; the package's models by default.

    Raises
    ------
    ModelError, MissingExtraError
        If there is none, or it is not valid; if it is a paper's, and those are not there.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix in (".json", ".onnx") or len(path.parts) > 1:
        return Manifest.read(path.with_suffix(".json") if path.suffix == ".onnx" else path)
    known = available(folder)
    for manifest in known:
        if manifest.name == name_or_path:
            return manifest
    if folder is None and name_or_path in PAPERS:
        raise absent_paper(f"the network {name_or_path}")
    names = [manifest.name for manifest in known] or ["none"]
    more = "; a file is given by its path, such as ./my-model.json"
    raise ModelError(unknown("model", name_or_path, names, more, "in the package"))
