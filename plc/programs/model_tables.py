"""Networks as tables, for ``plc models``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from plc.engine.models.kinds import KINDS
from plc.engine.models.manifest import Manifest
from plc.errors import printable_lines

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


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
