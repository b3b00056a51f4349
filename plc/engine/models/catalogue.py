"""The networks of the package by name, and others by path."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plc.engine.models.kinds import KINDS
from plc.engine.models.manifest import Manifest
from plc.errors import ModelError, printable_lines, unknown
from plc.notice import counted

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

LIST_COLUMNS = 80
"""The list of networks is no wider."""


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
    ModelError
        If there is none, or it is not valid.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix in (".json", ".onnx") or len(path.parts) > 1:
        return Manifest.read(path.with_suffix(".json") if path.suffix == ".onnx" else path)
    known = available(folder)
    for manifest in known:
        if manifest.name == name_or_path:
            return manifest
    names = [manifest.name for manifest in known] or ["none"]
    more = "; a file is given by its path, such as ./my-model.json"
    raise ModelError(unknown("model", name_or_path, names, more, "in the package"))


def models_table(models: Sequence[Manifest]) -> "Table":
    """Return a table of networks: use, size, training, quality.

    Two columns, so that it can be read on a terminal of :data:`LIST_COLUMNS`.
    """
    from rich.table import Table

    table = Table(title="networks (figures: when trained)", show_lines=True)
    table.add_column("name", no_wrap=True)
    table.add_column("for, rates, size; trained; figures", overflow="fold")
    for model in models:
        figures = [f"{name}: {value:.4g}" for name, value in _chosen(model.figures).items()]
        size = f"{model.bytes / 1e6:.1f} MB, {_count(model.parameters)} parameters"
        parts = (
            f"{_purpose(model)}; {_rates(model)}",
            f"{size}; {model.licence}",
            "\n".join(_trained(model.name, model.training)),
            "\n".join(figures),
        )
        table.add_row(_cell(model.name), _cell("\n".join(part for part in parts if part)))
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


def _trained(name: str, training: Mapping[str, Any]) -> list[str]:
    """Return the recipes, steps and data of a network's training."""
    lines = list(training.get("after", ()))
    if "recipe" in training:
        steps = training.get("step", training.get("steps", "?"))
        lines.append(f"{training['recipe']}, {steps} steps")
    segments = training.get("segments")
    if isinstance(segments, Mapping):
        lines += [f"{domain}: {count} segments" for domain, count in segments.items()]
    sources = training.get("sources")
    if isinstance(sources, Mapping) and sources:
        lines.append(f"{counted(len(sources), 'source')}: plc models {name}")
    return lines


def _chosen(figures: Mapping[str, float]) -> Mapping[str, float]:
    """Return the figures of a test split, or else of validation."""
    tested = {name: value for name, value in figures.items() if name.startswith("test ")}
    return tested or {name: value for name, value in figures.items() if "draft_" not in name}


def _count(parameters: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if parameters >= size:
            return f"{parameters / size:.3g} {unit}"
    return str(parameters)


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
