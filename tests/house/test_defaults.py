"""A setting's default has one value: in Python, in C, on pages of browsers and in documents."""

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from plc import ConcealerPool, PlayoutBuffer
from plc.engine.loss import GilbertElliott
from plc.engine.stream.config import DEFAULT_BUDGET_SHARE, PACKET_MS, StreamConfig
from plc.transport.cli.live import _PRESETS
from plc.transport.rtp.delay import MAX_DELAY_MS, DelayConfig
from plc.transport.rtp.pieces import MOST_AHEAD_S
from plc_bench.cli.quality import quality
from plc_bench.quality.conditions import Condition
from tests.house.test_documents import DOCUMENTS, ROOT


def defaults(source: Any) -> dict[str, Any]:
    """Return what a class or function takes where nothing is given."""
    known = inspect.signature(source).parameters.values()
    return {each.name: each.default for each in known if each.default not in (each.empty, None)}


# A stream's and a buffer's: a name of either means the same everywhere.
STREAM = defaults(StreamConfig) | {"packet_ms": PACKET_MS}
SETTINGS = STREAM | defaults(PlayoutBuffer)
DELAY, CONDITION = defaults(DelayConfig), defaults(Condition)

HEADER, LIBRARY, ELEMENT = (f"plc/embed/{n}" for n in ("plc.h.in", "plc.c", "plc_gstreamer.c"))
MODULE, USAGE, METHOD = "plc/data/web/plc.mjs", "docs/usage.md", "docs/measuring.md"
# Setting, its value there, the file, and where in it the value stands.
STATED = [
    ("delay_ms", SETTINGS["delay_ms"], HEADER, r"\bdelay_ms;.*; (\d+) \*/"),
    ("max_delay_ms", SETTINGS["max_delay_ms"], HEADER, r"\bmost_delay_ms;.*; (\d+) \*/"),
    ("most_ahead_s", SETTINGS["most_ahead_s"] * 1000, HEADER, r"\bmost_ahead_ms;.*; (\d+) \*/"),
    ("delay_ms", SETTINGS["delay_ms"], LIBRARY, r"usual = \{sizeof usual, (\d+),"),
    ("max_delay_ms", SETTINGS["max_delay_ms"], LIBRARY, r"usual = \{sizeof usual, \d+, (\d+),"),
    ("most_ahead_s", SETTINGS["most_ahead_s"] * 1000, LIBRARY, r"usual = \{.*, (\d+)\};"),
    ("MAX_DELAY_MS", MAX_DELAY_MS, LIBRARY, r"given->delay_ms > (\d+)"),
    ("MAX_DELAY_MS", MAX_DELAY_MS, LIBRARY, r"given->most_delay_ms > (\d+)"),
    ("MAX_DELAY_MS", MAX_DELAY_MS, HEADER, r"\bdelay_ms;.*up to (\d+);"),
    ("MAX_DELAY_MS", MAX_DELAY_MS, MODULE, r"\[MOST_DELAY_MS, .*\] = \[(\d+),"),
    ("MOST_AHEAD_S", MOST_AHEAD_S * 1000, LIBRARY, r"given->most_ahead_ms > (\d+)"),
    ("MOST_AHEAD_S", MOST_AHEAD_S * 1000, HEADER, r"\bmost_ahead_ms;.*up to (\d+);"),
    ("MOST_AHEAD_S", MOST_AHEAD_S, MODULE, r"\[MOST_DELAY_MS, .*\] = \[\d+, (\d+),"),
    ("sample_rate", STREAM["sample_rate"], LIBRARY, r"options->sample_rate = (\d+);"),
    ("sample_rate", STREAM["sample_rate"] / 1000, "docs/start/c.md", r"/\* (\d+) kHz, mono"),
    ("channels", STREAM["channels"], LIBRARY, r"options->channels = (\d+);"),
    ("packet_ms", PACKET_MS * 48, LIBRARY, r"options->packet_samples = (\d+);"),
    ("packet_ms", PACKET_MS, ELEMENT, r"#define USUAL_MS ([\d.]+)"),
    ("packet_ms", PACKET_MS, "docs/start/c.md", r"/\* 48 kHz, mono, (\d+) ms"),
    ("budget_ms", DEFAULT_BUDGET_SHARE * 1000, ELEMENT, r"budget_ms = ([\d.]+) \*"),
    ("budget_ms", DEFAULT_BUDGET_SHARE * 10, METHOD, r"has ([\d.]+) ms for packets of 10 ms"),
    ("encoding", SETTINGS["encoding"], MODULE, r'encoding = "(\w+)"'),
    *(
        (name, STREAM[name], USAGE, rf'\| `{name}` \| `?"?(\w+)')
        for name in ("lookahead", "content", "model", "method", "prepare")
    ),
    (
        "expected_loss",
        100 * defaults(ConcealerPool.capacity)["expected_loss"],
        USAGE,
        r"(\d+) % \(`e",
    ),
    (
        "max_delay_ms of relays",
        DELAY["max_delay_ms"],
        "docs/benchmarks.md",
        r"y_ms=(\d+)`, as by d",
    ),
    *(
        (f"{name} of --preset {preset}", given[name], "docs/live.md", rf"\| `{preset}` \|.*{form}")
        for preset, given in _PRESETS.items()
        for name, form in (("max_delay_ms", r", (\d+) ms \|"), ("reserve_ms", r"ms \| (\d+) \|"))
    ),
    ("loss", 100 * CONDITION["loss"], METHOD, r"Elliott, (\d+) %"),
    ("mean_burst", CONDITION["mean_burst"], METHOD, r"mean burst ([\d.]+) packets"),
]
# How a kind of file states a default in passing.
FORMS = {
    ".md": r"`(\w+)` \(([\d.]+)\)",
    ".html": r"\b(\w+) \(([\d.]+)\)",
    ".mjs": r"[{,]\s*(\w+) = ([\d.]+)\b",
}
# Defaults that are another's on purpose, and names that are no settings.
OTHERS = {
    ("max_delay_ms", "PlayoutBuffer"),
    ("sample_rate", "G711"),
    ("sample_rate", "Outcome"),
    ("packets", "_Run"),
    ("spread", "Costs"),
}


@pytest.mark.parametrize(
    ("setting", "value", "file", "form"), STATED, ids=lambda each: str(each).rpartition("/")[2]
)
def test_a_default_is_stated_as_python_has_it(
    setting: str, value: Any, file: str, form: str
) -> None:
    found = re.search(form, (ROOT / file).read_text("utf-8"))
    assert found, f"{file} does not state {setting}, {value}, any longer: {form}"
    stated = type(value)(found[1])
    assert stated == value, (
        f"{setting} is {value} in Python, and {file} says {stated}: {found[0]!r}"
    )


def stated_in_passing() -> Iterator[tuple[str, str, float]]:
    """Yield file, setting and value of each default of streams and buffers that a page has."""
    for path in [*DOCUMENTS, *(ROOT / "plc/data/web").glob("plc*")]:
        form = FORMS.get(path.suffix)
        for name, value in re.findall(form, path.read_text("utf-8")) if form else ():
            setting = re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)
            if setting in SETTINGS:
                yield str(path.relative_to(ROOT)), setting, float(value)


def test_pages_and_documents_name_no_other_default() -> None:
    found = list(stated_in_passing())
    wrong = [
        f"{setting} is {SETTINGS[setting]} in Python, and {file} says {value:g}"
        for file, setting, value in found
        if value != SETTINGS[setting]
    ]
    assert not wrong, "; ".join(wrong)
    waits = {"delay_ms", "max_delay_ms", "most_ahead_s", "packet_ms"}
    for file in (MODULE, "plc/data/web/plc.html"):
        assert waits <= {setting for page, setting, _ in found if page == file}
    assert {USAGE, "docs/start/agent.md"} <= {file for file, *_ in found}


def numbers_of(node: ast.AST) -> Iterator[tuple[str, float]]:
    """Yield the fields of a class, or the parameters of a function, that have a number."""
    pairs: list[tuple[str, ast.expr | None]] = []
    if isinstance(node, ast.ClassDef):
        fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
        pairs = [(ast.unparse(each.target), each.value) for each in fields]
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        named, last = node.args, [*node.args.posonlyargs, *node.args.args]
        last = last[len(last) - len(named.defaults) :] + named.kwonlyargs
        pairs = list(
            zip([each.arg for each in last], [*named.defaults, *named.kw_defaults], strict=True)
        )
    for name, value in pairs:
        number = value.value if isinstance(value, ast.Constant) else None
        if isinstance(number, int | float) and number and number is not True:
            yield name, float(number)


def test_a_setting_of_one_name_has_one_default_in_python() -> None:
    found = {"packet_ms": {PACKET_MS: ["PACKET_MS"]}}
    for path in sorted((ROOT / "plc").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        owners: dict[ast.AST, str] = {}
        for node in ast.walk(tree):
            of = owners.get(node) or str(getattr(node, "name", ""))
            if isinstance(node, ast.ClassDef):
                owners.update((each, of) for each in node.body)
            for name, value in numbers_of(node):
                if (name, of) not in OTHERS:
                    place = f"{path.relative_to(ROOT)} ({of})"
                    found.setdefault(name, {}).setdefault(value, []).append(place)
    said = [f"{name} has several defaults: {each}" for name, each in found.items() if len(each) > 1]
    assert not said, "; ".join(said)


def test_commands_that_take_a_list_have_the_defaults_of_what_they_run() -> None:
    given = defaults(quality)
    assert float(given["loss"]) == CONDITION["loss"], "loss"
    assert float(given["burst"]) == CONDITION["mean_burst"], "burst"
    assert CONDITION["mean_burst"] == defaults(GilbertElliott)["mean_burst"], "mean_burst"
    assert float(given["packet_ms"]) == CONDITION["packet_ms"] == PACKET_MS, "packet_ms"
