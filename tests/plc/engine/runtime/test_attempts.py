"""What becomes of providers that do not start, do not agree, or lose their engines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plc.engine.models.manifest import Manifest
from plc.engine.models.onnx_file import GraphSummary
from plc.engine.runtime.attempts import (
    AbsentError,
    EngineCache,
    RefusedError,
    open_first,
    open_with_engines,
    open_with_graph,
    prove,
)
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.shared import OpenSession, SessionReport
from plc.errors import ModelError
from tests.plc.tiny_models import fields

SIGNATURE = Signature((("spectra", (2, 3)),), ("filled", (2, 3)))
MANIFEST = Manifest.from_fields(fields(), Path("tiny.json"))


class Session:
    """A bound session that computes ``spoil`` of its input and the runs before."""

    def __init__(
        self, provider: str = "cuda", spoil: Callable[[Any, int], Any] = lambda x, runs: x
    ) -> None:
        self.report = SessionReport(model="tiny", provider=provider)
        self.signature = SIGNATURE
        self.on_gpu = provider != "cpu"
        self.opened = OpenSession(object(), 1, {}, GraphSummary())
        self.inputs = [np.zeros((2, 3), np.float32)]
        self.output = np.zeros((2, 3), np.float32)
        self.runs = 0
        self._spoil = spoil

    def run(self) -> None:
        self.output[...] = self._spoil(self.inputs[0], self.runs)
        self.runs += 1


OUTCOMES: list[tuple[dict[str, Exception | None], str, dict[str, str]]] = [
    ({"tensorrt": None, "cuda": None, "cpu": None}, "tensorrt", {}),
    ({"tensorrt": RefusedError("a:\n b"), "cuda": None}, "cuda", {"tensorrt": "a: b"}),
    (
        {"tensorrt": AbsentError("none"), "cuda": RefusedError("no device"), "cpu": None},
        "cpu",
        {"tensorrt": "none", "cuda": "no device"},
    ),
    ({"cpu": None}, "cpu", {}),
]


@pytest.mark.parametrize(("outcomes", "used", "refused"), OUTCOMES)
def test_the_first_provider_that_serves_is_used_and_the_others_reasons_are_kept(
    outcomes: dict[str, Exception | None], used: str, refused: dict[str, str]
) -> None:
    tried: list[str] = []

    def open_one(name: str) -> Any:
        tried.append(name)
        error = outcomes[name]
        if error is not None:
            raise error
        return Session(name)

    report = open_first(list(outcomes), open_one, MANIFEST).report
    assert report.provider == used
    assert report.refused == refused
    assert tried == [*refused, used]


def test_without_a_provider_that_serves_all_reasons_are_named() -> None:
    def open_one(name: str) -> Any:
        raise RefusedError(f"{name} is broken")

    what = "no provider runs it: cuda: cuda is broken; cpu: cpu is broken; plc doctor"
    with pytest.raises(ModelError, match=what):
        open_first(["cuda", "cpu"], open_one, MANIFEST)
    with pytest.raises(ModelError, match="no provider runs it: none is installed"):
        open_first([], open_one, MANIFEST)


def never() -> Any:
    pytest.fail("the CPU is not needed")


def proved(spoil: Callable[[Any, int], Any]) -> Session:
    session: Any = Session("cuda", spoil)
    prove(session, lambda: Session("cpu"))  # type: ignore[arg-type, return-value]  # a fake
    made: Session = session
    return made


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x, runs: x * 1.01,
        lambda x, runs: x * np.float32("nan"),
        lambda x, runs: np.zeros_like(x),
    ],
)
def test_a_gpu_whose_output_is_wrong_is_refused(spoil: Callable[[Any, int], Any]) -> None:
    with pytest.raises(RefusedError, match="differs from the CPU's"):
        proved(spoil)


def test_a_graph_that_replays_its_first_result_is_found_out() -> None:
    kept: dict[str, Any] = {}
    with pytest.raises(RefusedError, match="differs from the CPU's"):
        proved(lambda x, runs: kept.setdefault("output", x.copy()))


def test_rounding_is_no_reason_to_refuse_a_gpu() -> None:
    session = proved(lambda x, runs: x * np.float32(1.0 + 1e-7))
    assert session.opened.proved == {SIGNATURE}
    assert not session.inputs[0].any()


def test_a_session_is_proved_once_and_a_run_that_raises_refuses_it() -> None:
    cpu: Any = Session("cpu")
    prove(cpu, never)
    runs = cpu.runs
    prove(cpu, never)
    assert cpu.runs == runs

    def fail(x: Any, runs: int) -> Any:
        raise RuntimeError("out of memory")

    broken: Any = Session("cpu", fail)
    with pytest.raises(RefusedError, match=r"fails on .*spectra.*: out of memory"):
        prove(broken, never)


@pytest.mark.parametrize(
    ("with_graph", "captured", "note"),
    [
        (None, True, ""),
        (RefusedError("a node runs on the CPU"), False, "cuda without CUDA graphs: a node"),
    ],
)
def test_graphs_are_captured_where_they_work(
    with_graph: Exception | None, captured: bool, note: str
) -> None:
    notes: list[str] = []

    def open_it(graph: bool) -> Any:
        if graph and with_graph is not None:
            raise with_graph
        return Session()

    session = open_with_graph(open_it, "cuda", notes)
    assert session.report.cuda_graph == captured
    assert "".join(notes).startswith(note)
    assert bool(notes) == bool(note)


def test_a_provider_that_does_not_start_is_not_tried_again_without_graphs() -> None:
    tried: list[bool] = []

    def open_it(graph: bool) -> Any:
        tried.append(graph)
        raise AbsentError("no device")

    with pytest.raises(AbsentError):
        open_with_graph(open_it, "cuda", [])
    assert tried == [True]


class TensorRt:
    """Builds an engine where there is none; loads it else."""

    def __init__(self, loads: bool = True, builds: bool = True) -> None:
        self.did: list[str] = []
        self._works = {"load": loads, "build": builds}

    def __call__(self, folder: Path) -> Any:
        engine = folder / "tiny.engine"
        did = "load" if engine.exists() else "build"
        self.did.append(did)
        engine.write_bytes(b"engine")
        if not self._works[did]:
            raise RefusedError(f"{did} failed")
        return Session("tensorrt")


def open_engines(root: Path, tensorrt: TensorRt, device: str = "") -> tuple[Any, list[str]]:
    notes: list[str] = []
    session = open_with_engines(EngineCache(root, {"device": device}), tensorrt, notes)
    return session.report, notes


def test_engines_are_built_once_and_then_loaded(tmp_path: Path) -> None:
    tensorrt = TensorRt()
    first, second = (open_engines(tmp_path, tensorrt)[0] for _ in range(2))
    assert tensorrt.did == ["build", "load"]
    assert first.engine_cache == second.engine_cache == next(tmp_path.iterdir())


def test_kept_engines_that_fail_are_built_again_once(tmp_path: Path) -> None:
    open_engines(tmp_path, TensorRt())
    tensorrt = TensorRt(loads=False)
    report, notes = open_engines(tmp_path, tensorrt)
    assert tensorrt.did == ["load", "build"]
    assert report.engine_cache is not None
    assert notes == [f"kept engines in {report.engine_cache} failed, were built again: load failed"]


def test_engines_that_cannot_be_built_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="build failed"):
        open_engines(tmp_path, TensorRt(builds=False))
    assert list(tmp_path.iterdir()) == []
