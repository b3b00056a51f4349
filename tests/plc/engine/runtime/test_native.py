"""Networks as kernels: which run so, with what error against ONNX Runtime, shared by streams."""

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import Concealer
from plc.engine.loss import GilbertElliott
from plc.engine.models.catalogue import available, find
from plc.engine.models.manifest import Manifest
from plc.engine.networks import flat
from plc.engine.runtime import known, native
from plc.engine.runtime.native import open_network
from plc.engine.runtime.onnx_network import GapNetwork, NetworkShape, network_signature
from plc.engine.runtime.shared import SessionReport, SharedSessions
from plc.engine.runtime.worker import Runnable
from plc.engine.stream import outside
from plc.errors import MissingExtraError, ModelError
from plc.extras import install_command
from plc_kernels.network.layers import run_network
from tests.installed import needs_numba

Reals = NDArray[np.float32]

STREAMS = [each.name for each in available() if each.kind in ("causal", "bridge")]


def _shape(manifest: Manifest, batch: int = 1) -> NetworkShape:
    rate = max(16_000, manifest.sample_rates[0]) if manifest.content == "music" else 0
    rate = rate or manifest.sample_rates[0]
    return NetworkShape(manifest.bins(rate), manifest.frames(rate), batch)


def _gap(shape: NetworkShape, seed: int = 0, drafts: int = 2) -> tuple[Reals, Reals, Reals]:
    rng = np.random.default_rng(seed)
    spectra = rng.standard_normal((shape.batch, drafts, 2, shape.bins, shape.frames), np.float32)
    lost = rng.random((shape.batch, shape.frames), np.float32)
    return spectra, lost, np.zeros((0,), np.float32)


def _out(network: GapNetwork) -> Reals:
    return np.full(network._session.output.shape, 7.0, np.float32)


def _distance(made: Reals, other: Reals) -> float:
    """Return the root of the error's share of power.

    The kernels take inputs of layers in 4095 steps. Where a bin's drafts cancel, the little that is
    left of them tells the phase of what is added, so single bins may be far apart.
    """
    return float(np.linalg.norm(made - other) / np.linalg.norm(other))


class _Both:
    """A network that runs as kernels and in ONNX Runtime, and keeps how far they are apart."""

    on_gpu = False

    def __init__(self, manifest: Manifest, shape: NetworkShape, apart: list[float]) -> None:
        self._native = open_network(manifest, shape)
        self._runtime = open_network(manifest, shape, providers="cpu")
        self._theirs = _out(self._runtime)
        self._apart = apart

    def run(self, spectra: Reals, lost: Reals, out: Reals) -> bool:
        assert self._native.run(spectra, lost, out)
        assert self._runtime.run(spectra, lost, self._theirs)
        self._apart.append(_distance(out, self._theirs))
        return True

    def keep_warm(self) -> None:
        """Do nothing."""

    def cancel(self) -> None:
        """Do nothing."""


def test_all_networks_of_the_package_for_streams_run_as_kernels() -> None:
    assert STREAMS == ["music", "speech", "speech-bridge", "speech-narrowband"]
    for name in STREAMS:
        manifest = find(name)
        report = open_network(manifest, _shape(manifest)).report
        assert (report.model, report.provider) == (name, "native")
        assert report.load_ms >= 0.0 <= report.warm_up_ms


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("speech", 16_000),
        ("speech", 48_000),
        ("speech-narrowband", 8_000),
        ("speech-bridge", 16_000),
        ("speech-bridge", 48_000),
        ("music", 48_000),
    ],
)
def test_of_real_losses_the_kernels_make_what_onnx_runtime_makes(
    name: str, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    soxr = pytest.importorskip("soxr")
    apart: list[float] = []

    def open_both(manifest: Manifest, shape: NetworkShape, _: str) -> Runnable:
        return _Both(manifest, shape, apart)

    monkeypatch.setattr(outside, "open_outside", open_both)
    clip = "music" if name == "music" else "speech"
    path = str(files("plc") / "data" / f"{clip}.flac")
    signal, clip_rate = soundfile.read(path, dtype="float32", always_2d=True)
    signal = soxr.resample(signal[: 4 * clip_rate, 0], clip_rate, rate)
    packet = rate // 50
    trace = GilbertElliott(0.2, 1.5).trace(signal.size // packet, 2)
    settings: dict[str, Any] = {"lookahead": 1} if name == "speech-bridge" else {}
    settings |= {"model": name, "provider": "cpu", "budget_ms": float("inf")}
    with Concealer(rate, 1, packet, **settings) as concealer:
        for k, lost in enumerate(trace):
            heard = signal[k * packet : (k + 1) * packet, None]
            concealer.push(None if lost else heard.astype(np.float32))
    assert len(apart) > 9
    assert np.median(apart) < 5e-3
    assert max(apart) < 0.1


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("batch", [1, 2])
def test_of_noise_they_are_hardly_further_apart(name: str, batch: int) -> None:
    pytest.importorskip("onnxruntime")
    manifest = find(name)
    shape = _shape(manifest, batch)
    ours, theirs = open_network(manifest, shape), open_network(manifest, shape, providers="cpu")
    mine, other = _out(ours), _out(theirs)
    for seed, level in enumerate((1e-3, 1.0, 30.0)):
        spectra, lost, _ = _gap(shape, seed, len(manifest.drafts))
        spectra *= np.float32(level)
        assert ours.run(spectra, lost, mine)
        assert theirs.run(spectra, lost, other)
        assert _distance(mine, other) < 2e-2


def test_without_onnx_runtime_a_stream_has_its_networks() -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'onnxruntime' else found(name, *rest)\n"
        "from plc import Concealer\n"
        "with Concealer(16_000, 1, 320, lookahead=1, budget_ms=float('inf')) as c:\n"
        "    print({of: v['model'] for of, v in c.describe()['networks'].items()})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == (
        "{'speech': 'speech', 'music': 'music', 'speech, bridged': 'speech-bridge'}"
    ), done.stderr


def test_a_provider_by_name_is_onnx_runtimes() -> None:
    pytest.importorskip("onnxruntime")
    manifest = find("speech-narrowband")
    assert open_network(manifest, _shape(manifest), providers="cpu").report.provider == "cpu"


class _Opened:
    """A session as ONNX Runtime's, for what chooses between it and the kernels."""

    inputs: ClassVar[list[Reals]] = []
    output = np.zeros(1, np.float32)

    def __init__(self, provider: str, refused: dict[str, str]) -> None:
        self.report = SessionReport(model="", provider=provider, refused=refused)
        self.on_gpu = provider != "cpu"

    def run(self) -> None:
        """Do nothing."""

    def cancel(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("works", "refused", "used"), [("cuda", {}, "cuda"), ("cpu", {"cuda": "no driver"}, "native")]
)
def test_a_gpu_that_works_comes_before_the_kernels(
    monkeypatch: pytest.MonkeyPatch, works: str, refused: dict[str, str], used: str
) -> None:
    monkeypatch.setattr(native, "gpu_installed", lambda: True)
    monkeypatch.setattr(native, "open_session", lambda *_, **__: _Opened(works, refused))
    manifest = find("speech-narrowband")
    report = open_network(manifest, _shape(manifest)).report
    assert (report.provider, report.refused) == (used, refused)


def test_where_no_gpu_is_installed_onnx_runtime_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "gpu_installed", lambda: False)
    monkeypatch.setattr(native, "open_session", pytest.fail)
    manifest = find("speech-narrowband")
    assert open_network(manifest, _shape(manifest)).report.provider == "native"


def test_without_onnx_runtime_a_network_of_another_graph_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(known, "KNOWN", {})
    monkeypatch.setattr(native, "opened", SharedSessions())
    monkeypatch.setattr(flat, "_shared", {})
    _copied(tmp_path)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("cpu"))):
        Concealer(8_000, 1, 160, model=str(tmp_path / "mine.json"))


def test_streams_share_the_weights() -> None:
    manifest = find("speech-narrowband")
    a, b = (open_network(manifest, _shape(manifest)) for _ in range(2))
    sessions: list[Any] = [a._session, b._session]
    assert sessions[0]._arguments[1] is sessions[1]._arguments[1]
    assert sessions[0]._arguments[4] is not sessions[1]._arguments[4]


def test_networks_of_two_streams_do_not_disturb_each_other() -> None:
    manifest = find("speech-narrowband")
    shape = _shape(manifest)
    a, b = (open_network(manifest, shape) for _ in range(2))
    first, second, again = _out(a), _out(b), _out(a)
    spectra, lost, _ = _gap(shape)
    assert a.run(spectra, lost, first)
    assert b.run(2.0 * spectra, lost, second)
    assert a.run(spectra, lost, again)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_a_run_asks_for_no_memory() -> None:
    manifest = find("speech")
    network = open_network(manifest, _shape(manifest))
    spectra, lost, _ = _gap(_shape(manifest))
    out = _out(network)
    network.run(spectra, lost, out)
    tracemalloc.start()
    network.run(spectra, lost, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_096


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_leave_nothing_behind(value: float) -> None:
    manifest = find("speech")
    network = open_network(manifest, _shape(manifest))
    spectra, lost, _ = _gap(_shape(manifest))
    wanted, out = _out(network), _out(network)
    assert network.run(spectra, lost, wanted)
    hostile = spectra.copy()
    hostile[0, 1, 0, 40, manifest.context_frames + 2] = value
    assert not network.run(hostile, lost, out)
    assert "NaN" in network.last_error
    np.testing.assert_array_equal(out, 7.0)
    assert network.run(spectra, lost, out)
    np.testing.assert_array_equal(out, wanted)


def _copied(folder: Path, name: str = "speech-narrowband", **changes: Any) -> Manifest:
    """Return a network of the package as a file of a user's, with another manifest."""
    manifest = find(name)
    shutil.copy(manifest.onnx_path, folder / "mine.onnx")
    dataclasses.replace(manifest, name="mine", **changes).write(folder / "mine.json")
    return Manifest.read(folder / "mine.json")


def test_a_users_network_of_the_same_graph_runs_as_kernels(tmp_path: Path) -> None:
    manifest = _copied(tmp_path)
    assert open_network(manifest, _shape(manifest)).report.provider == "native"


@pytest.mark.parametrize("name", STREAMS)
def test_a_network_that_was_trained_on_runs_as_kernels(tmp_path: Path, name: str) -> None:
    onnx = pytest.importorskip("onnx")
    manifest = _copied(tmp_path, name)
    model = onnx.load(manifest.onnx_path)
    for each in model.graph.initializer:
        values = onnx.numpy_helper.to_array(each)
        if values.dtype.kind == "f" and values.size > 4:
            each.raw_data = (values * values.dtype.type(0.9)).tobytes()
    data = model.SerializeToString()
    manifest.onnx_path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    path = manifest.onnx_path.with_suffix(".json")
    dataclasses.replace(manifest, sha256=digest, bytes=len(data)).write(path)
    again = Manifest.read(path)
    assert open_network(again, _shape(again)).report.provider == "native"


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    manifest = _copied(tmp_path)
    open_network(manifest, _shape(manifest))
    data = bytearray(manifest.onnx_path.read_bytes())
    data[len(data) // 2] ^= 1
    manifest.onnx_path.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        open_network(manifest, _shape(manifest))


def test_a_manifest_that_does_not_fit_the_graph_is_not_for_the_kernels(tmp_path: Path) -> None:
    manifest = _copied(tmp_path, context_frames=15)
    assert native.open_native(manifest, network_signature(manifest, _shape(manifest))) is None


def test_inputs_that_do_not_fit_the_graph_are_refused(tmp_path: Path) -> None:
    manifest = _copied(tmp_path, drafts=("contour",))
    with pytest.raises(ModelError, match="inputs have spectra"):
        open_network(manifest, _shape(manifest))


def test_another_number_of_frames_is_another_plan() -> None:
    manifest = find("speech-narrowband")
    shape = _shape(manifest)
    longer = dataclasses.replace(shape, frames=shape.frames + 3)
    a, b = open_network(manifest, shape), open_network(manifest, longer)
    for network in (a, b):
        assert network.report.provider == "native"
    assert _out(b).shape[3] == _out(a).shape[3] + 3


@needs_numba
def test_the_kernel_is_closed_to_further_compilation() -> None:
    native.warm_up()
    kernel: Any = run_network
    assert not kernel._can_compile
    assert len(kernel.signatures) == 1
