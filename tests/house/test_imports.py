"""The import direction, kept by a test: between packages, layers, sub-packages and modules."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import plc

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "plc_kernels": ROOT / "kernels",
    "plc": ROOT,
    "plc_bench": ROOT / "bench",
    "plc_training": ROOT / "training",
}
FORBIDDEN = {
    "plc_kernels": {"plc", "plc_bench", "plc_training", "torch", "onnxruntime"},
    "plc": {"plc_bench", "plc_training", "torch"},
    "plc_bench": {"plc_training", "torch"},
}
# Commands join all packages; each is imported inside the command that needs it.
JOINING = ("plc.programs.cli.demo", "plc.programs.cli.measure")

# From the bottom upwards. What stands in one row does not know the others of the row; a module that
# is in no sub-package is a layer of its own name.
LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "plc": (
        (
            *("errors", "extras", "jsonable", "notice", "processor_time", "compiled"),
            *("kept_costs", "ending", "whole_files", "children", "quiet"),
        ),
        ("engine",),
        ("cli",),
        ("embed", "files"),
        ("transport",),
        ("papers", "restore"),
        ("programs",),
        ("__main__",),
    ),
    "plc.engine": (
        ("predict", "models", "loss", "trace_files"),
        ("spans", "runtime"),
        ("networks", "ahead"),
        ("stream",),
        ("many",),
    ),
    "plc.files": (
        ("containers", "scratch", "distances"),
        ("tags",),
        ("formats",),
        ("audio",),
        ("writing",),
        ("jobs",),
        ("fill",),
        ("marks", "recordings", "streamed", "parallel", "whole"),
        ("pages", "cluster"),
        ("cli",),
    ),
    "plc.restore": (
        ("detect",),
        ("folders",),
        ("records",),
        ("repair",),
        ("choosing",),
        ("cli",),
    ),
    "plc.transport": (
        ("cards", "rtp"),
        ("service",),
        ("live",),
        ("relay",),
        ("captured", "metrics"),
        ("cli",),
    ),
    "plc_kernels": (
        ("build",),
        ("spectra", "network"),
        ("signal",),
        ("stream", "papers"),
        ("receive",),
        ("emit",),
    ),
    "plc_bench": (
        ("base",),
        ("scores", "traces"),
        ("peers",),
        ("quality",),
        ("gaps", "restore", "timing", "robust"),
        ("papers",),
        ("report",),
        ("cli",),
        ("__main__",),
    ),
    "plc_training": (
        ("networks", "data"),
        ("tasks",),
        ("train",),
        ("export", "fits", "papers", "restore"),
        ("cli",),
        ("__main__",),
    ),
}


# What each room uses of the engine, by module. A name goes as soon as it is not used.
ENGINE: dict[str, dict[str, str]] = {
    "cli": {
        "stream.methods": "METHODS RECORDING_METHODS",
    },
    "embed": {
        "models.catalogue": "available find",
        "models.kinds": "KINDS",
        "models.manifest": "Manifest",
        "networks.flat": "flat_file",
        "stream.concealer": "Concealer",
        "stream.config": "StreamConfig StreamSettings",
        "stream.samples": "Packet",
        "stream.stats": "Stats",
    },
    "files": {
        "loss": "Bernoulli GilbertElliott LossSource TraceLosses",
        "models.catalogue": "available find",
        "models.kinds": "KINDS opener",
        "models.manifest": "Manifest",
        "networks.gap_filler": "GapFiller Hints check_kind find_models",
        "networks.gap_spectra": "GapSpectra",
        "predict.baselines": "Baseline",
        "predict.contour_model": "contour_model",
        "predict.ladder": "Ladders Rung",
        "predict.sides": "SIDE_RUNG bridged_along_the_pitch continued dithered fill_between",
        "predict.similar": "MATCH_MS REACH_S SimilarPassages fast_length find_passages",
        "runtime.onnx_network": "open_network",
        "spans": "bursts_of gaps_of lost_spans merge_spans",
        "stream.concealer": "Concealer",
        "stream.concealment": "StepPrediction",
        "stream.config": (
            "MAX_CHANNELS OPEN PACKET_MS RecordingConfig SETTINGS StreamConfig "
            "StreamSettings check_content samples_of_packet"
        ),
        "stream.memory": "StreamMemory",
        "stream.methods": (
            "BASELINES FILE_METHODS LADDER_METHODS RECORDING_METHODS rung_of stream_models"
        ),
        "stream.samples": "Packet Samples as_signal mask_of",
        "stream.warm": "warm_up",
        "trace_files": "packet_samples_of_trace read_trace write_trace",
    },
    "papers": {
        "models.manifest": "Manifest",
        "models.onnx_file": "GraphSummary",
        "networks.gap_filler": "GapFiller Hints check_answer check_drafts check_kind check_rate",
        "networks.other_rate": "OtherRate TAPS",
        "networks.spectral_fill": "bent interpolated padded with_phase",
        "runtime.providers": "Signature",
        "runtime.session": "open_session",
    },
    "programs": {
        "loss": "GilbertElliott",
        "models.catalogue": "PAPERS available find models_folder",
        "models.kinds": "KINDS",
        "models.manifest": "Manifest",
        "predict.baselines": "Baseline squared_sine",
        "runtime.attempts": "TELLS",
        "runtime.known": "KernelNetwork planned",
        "runtime.onnx_network": "NetworkShape network_signature open_network",
        "runtime.priority": "ADVICE locks_memory refusal_of",
        "runtime.providers": "gpu_name installed_providers",
        "runtime.session": "runtime",
        "runtime.shared": "SessionReport",
        "runtime.threads": "Level",
        "stream.concealer": "Concealer",
        "stream.config": "samples_of_packet",
        "stream.methods": "BASELINES FILE_METHODS METHODS",
        "spans": "gaps_of",
        "stream.warm": "cache_folder compiled",
        "trace_files": "write_trace",
    },
    "restore": {
        "stream.config": "RecordingConfig",
        "stream.samples": "FLOAT32 Packet Samples as_array as_signal",
    },
    "transport": {
        "loss": "GilbertElliott LossSource TraceLosses",
        "spans": "gaps_of",
        "trace_files": "read_trace",
        "runtime": "standing",
        "runtime.priority": "Priority Wish",
        "runtime.standing": "StandingThread",
        "runtime.threads": "Level OneThread aside leave take",
        "stream.concealer": "Concealer",
        "stream.config": "OPEN StreamConfig StreamSettings samples_of_packet",
        "stream.samples": "Bytes INT16 Packet Samples as_signal of_bytes",
        "stream": "warm",
        "stream.stats": "Stats TimeHistogram percentiles",
    },
}

# The workshop of archives: a wing with one door. Nothing else imports it but tables of commands and
# these names of plc; and it uses few names of the engine and of files. Their numbers only fall.
WING = ("plc.restore", "plc_bench.restore", "plc_training.restore")
DOORS = {"plc.programs.cli.app", "plc_bench.cli.detection"}
LAZY = ["Detector", "Finding", "detect"]
MOST_USED = {"plc.engine": 9, "plc.files": 35}  # files: 20


def modules_of(package: str) -> dict[str, Path]:
    """Return the files of a package by the names of their modules."""
    folder = FOLDERS[package]
    found = {}
    for path in sorted((folder / package).rglob("*.py")):
        name = ".".join(path.relative_to(folder).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = {name: path for package in FOLDERS for name, path in modules_of(package).items()}


@cache
def tree_of(module: str) -> ast.Module:
    """Return a module, parsed once for all tests that read it."""
    return ast.parse(MODULES[module].read_text())


def statements(node: ast.AST, runtime: bool = False) -> Iterator[ast.AST]:
    """Yield all statements below a node; for the runtime without those for checkers of types."""
    test = node.test if runtime and isinstance(node, ast.If) else None
    typing = isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
    for field in ("orelse",) if typing else ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, field, []):
            yield child
            yield from statements(child, runtime)


def imports_of(module: str, runtime: bool = False) -> Iterator[str]:
    """Yield what a module imports, wherever in it: modules of ours by their full names."""
    for node in statements(tree_of(module), runtime):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in MODULES:
                    yield name
                elif node.module == "plc" and alias.name in plc._HOMES:
                    yield plc._HOMES[alias.name]
                else:
                    yield node.module


def layer_of(module: str) -> tuple[str, str]:
    """Return a module's package and its part of that package: a sub-package or a lone module."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0]


def part_of(module: str, room: str) -> str:
    """Return a module's part of a package or a room; empty where it is not inside."""
    return module[len(room) + 1 :].partition(".")[0] if module.startswith(f"{room}.") else ""


@cache
def graph_of(runtime: bool = False) -> dict[str, list[str]]:
    """Return what of ours each module imports; who imports a name from plc imports its home."""
    return {
        name: sorted({each for each in imports_of(name, runtime) if each in MODULES} - {name})
        for name in MODULES
        if name != "plc"
    }


def upward(graph: dict[str, list[str]]) -> list[str]:
    """Return the imports that point to a higher layer, or to another part of the same one."""
    found = []
    for room, rows in LAYERS.items():
        height = {each: row for row, names in enumerate(rows) for each in names}
        for module, imported in graph.items():
            part = part_of(module, room)
            for other in imported if part else []:
                other_part = part_of(other, room)
                if other_part in ("", part):
                    continue
                apart = height[part] - height[other_part]
                lone = MODULES[f"{room}.{other_part}"].name != "__init__.py"
                if apart < 0 or (apart == 0 and not lone):
                    found.append(f"{module} -> {other}")
    return found


def circle(graph: dict[str, list[str]]) -> list[str]:
    """Return the names on some circle; none: an empty list."""
    left = {name: set(others) for name, others in graph.items()}
    while ends := [name for name, others in left.items() if not others & set(left)]:
        for name in ends:
            del left[name]
    if not left:
        return []
    path = [min(left)]
    while True:
        following = min(left[path[-1]] & set(left))
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_downwards(package: str) -> None:
    modules = modules_of(package)
    assert modules
    for name in modules:
        if name not in JOINING:
            roots = {each.split(".")[0] for each in imports_of(name)}
            assert not roots & FORBIDDEN[package], name


@pytest.mark.parametrize("package", LAYERS)
def test_every_part_of_a_package_has_a_layer(package: str) -> None:
    parts = {part_of(name, package) for name in MODULES} - {""}
    assert parts == {each for row in LAYERS[package] for each in row}


def test_layers_are_built_on_lower_ones() -> None:
    assert upward(graph_of()) == []


def is_of(module: str, *rooms: str) -> bool:
    """Return whether a module is a room, or in one."""
    return any(f"{module}.".startswith(f"{room}.") for room in rooms)


def names_used(package: str, *rooms: str) -> dict[str, str]:
    """Return the names of a package that rooms import, by the package's modules."""
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for node in statements(tree_of(module)) if is_of(module, *rooms) else ():
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                home = node.module if isinstance(node, ast.ImportFrom) and node.module else ""
                home = plc._HOMES.get(alias.name, home) if home == "plc" else home
                if is_of(home, package):
                    part = home.removeprefix(package).removeprefix(".")
                    found.setdefault(part, set()).add(alias.name)
    return {part: " ".join(sorted(names)) for part, names in sorted(found.items())}


@pytest.mark.parametrize("room", ENGINE)
def test_a_room_uses_few_names_of_the_engine(room: str) -> None:
    assert names_used("plc.engine", f"plc.{room}") == ENGINE[room]


def test_the_wing_has_one_door() -> None:
    into = {
        module
        for module, imported in graph_of().items()
        if not is_of(module, *WING) and any(is_of(each, *WING) for each in imported)
    }
    assert into == DOORS
    assert sorted(name for name, home in plc._HOMES.items() if is_of(home, *WING)) == LAZY


@pytest.mark.parametrize("package", MOST_USED)
def test_the_wing_uses_few_names(package: str) -> None:
    used = sum(len(names.split()) for names in names_used(package, *WING).values())
    assert used == MOST_USED[package], "use fewer, or lower the entry"


def test_only_the_table_of_kinds_names_the_papers() -> None:
    named = [
        module
        for module, path in MODULES.items()
        if layer_of(module)[0] == "plc" and "plc.papers" in path.read_text()
    ]
    assert [each for each in named if layer_of(each)[1] != "papers"] == ["plc.engine.models.kinds"]


def test_no_kernel_calls_one_of_another_file_of_papers() -> None:
    # The engine's machine code stays valid when one of these changes: see
    # plc_kernels.build.library.
    papers = "plc_kernels.papers."
    for module, imported in graph_of().items():
        if layer_of(module)[0] == "plc_kernels":
            assert not [each for each in imported if each.startswith(papers)], module


def test_no_circle_between_modules() -> None:
    assert circle(graph_of()) == []
