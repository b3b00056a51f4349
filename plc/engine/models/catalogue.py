"""The networks of the package by name, and others by path."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from plc.engine.models.kinds import KINDS
from plc.engine.models.manifest import Manifest
from plc.errors import MissingExtraError, ModelError, printable_lines, unknown
from plc.extras import install_command

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

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
        f"{what} comes with the extra papers: {install_command('papers')} --find-links FOLDER, "
        "where plc_engine_papers-*.whl lies in the folder; or plc models --papers with that file"
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


def models_table(models: Sequence[Manifest]) -> "Table":
    """Return a table of networks: name, use and size."""
    from rich.table import Table

    table = Table(title="networks", caption="plc models NAME: training, figures, licence")
    table.add_column("name", no_wrap=True)
    table.add_column("use", overflow="fold")
    table.add_column("size", no_wrap=True, justify="right")
    for model in models:
        use = f"{_purpose(model)}; {_rates(model)}"
        table.add_row(_cell(model.name), _cell(use), f"{model.bytes / 1e6:.1f} MB")
    return table


def model_table(model: Manifest) -> "Table":
    """Return a table of all that a manifest says."""
    from rich.table import Table

    table = Table(title=_cell(model.name), show_header=False, show_lines=True)
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")

    def add(field: str, value: str) -> None:
        table.add_row(field, _cell(value))

    add("for", _purpose(model))
    add("file", f"{model.onnx_path}\n{model.bytes} bytes, SHA-256 {model.sha256}")
    add("network", f"{_count(model.parameters)} parameters, ONNX opset {model.opset}")
    top = "all" if model.top_hz is None else f"to {model.top_hz / 1000:g} kHz"
    add("grid", f"bins of {model.bin_hz:g} Hz, {top}")
    add("rates", _rates(model))
    add("drafts", ", ".join(model.drafts))
    add("licence", model.licence)
    # Not what says nothing, such as that it came after no other.
    training = {k: v for k, v in model.training.items() if k != "sources" and v not in ("", [], {})}
    sources = model.training.get("sources")
    parts = {
        "training": training,
        "sources": sources if isinstance(sources, Mapping) else {},
        "figures": model.figures,
    }
    for title, values in parts.items():
        add(title, "\n".join(f"{name}: {_inline(v)}" for name, v in values.items()))
    return table


def _cell(text: str) -> "Text":
    """Return lines of a manifest that command nothing."""
    from rich.text import Text

    return Text(printable_lines(text))


def _purpose(model: Manifest) -> str:
    if KINDS[model.kind].generator:
        return f"{model.content}, generated notes of {model.horizon_ms:g} ms"
    return f"{model.content}, {model.kind}, gaps to {model.horizon_ms:.3g} ms"


def _rates(model: Manifest) -> str:
    low, high = (f"{rate / 1000:g}" for rate in model.sample_rates)
    return f"{high} kHz" if low == high else f"{low} to {high} kHz"


def _count(parameters: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if parameters >= size:
            return f"{parameters / size:.3g} {unit}"
    return str(parameters)


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
