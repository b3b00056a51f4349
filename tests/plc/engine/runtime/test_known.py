"""Networks as kernels: which graphs are known, with what error against ONNX Runtime."""

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plc import Concealer
from plc.engine.models.catalogue import available, find
from plc.engine.models.manifest import Manifest
from plc.engine.networks import flat
from plc.engine.runtime import known
from plc.engine.runtime.known import KernelNetwork, planned
from plc.engine.runtime.onnx_network import NetworkShape, network_signature, open_network
from plc.errors import MissingExtraError
from plc.extras import install_command

STREAMS = [each.name for each in available() if each.kind in ("causal", "bridge")]


def _rate(manifest: Manifest) -> int:
    return max(16_000 if manifest.content == "music" else 0, manifest.sample_rates[0])


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("batch", [1, 2])
def test_the_kernels_make_what_onnx_runtime_makes(name: str, batch: int) -> None:
    """As far as inputs of layers in 4095 steps allow; streams show the same of real losses."""
    pytest.importorskip("onnxruntime")
    manifest = find(name)
    rate = _rate(manifest)
    shape = NetworkShape(manifest.bins(rate), manifest.frames(rate), batch)
    found = planned(manifest, rate)
    assert found is not None
    signature = network_signature(manifest, shape)
    rng = np.random.default_rng(0)
    for level in (1e-3, 1.0, 30.0):
        spectra, lost = (rng.standard_normal(size, np.float32) for _, size in signature.inputs)
        spectra, lost = np.float32(level) * spectra, np.clip(lost, 0.0, 1.0)
        mine, theirs = np.full((2, *signature.output[1]), 7.0, np.float32)
        assert KernelNetwork(found).run(spectra, lost, mine)
        assert open_network(manifest, shape, providers="cpu").run(spectra, lost, theirs)
        assert np.linalg.norm(mine - theirs) < 2e-2 * np.linalg.norm(theirs)


def test_all_networks_of_the_package_for_streams_run_as_kernels() -> None:
    assert STREAMS == ["music", "speech", "speech-bridge", "speech-narrowband"]
    assert all(planned(find(name), _rate(find(name))) for name in STREAMS)
    assert planned(find("music-inpaint"), 48_000) is None


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


def test_without_onnx_runtime_a_network_of_another_graph_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(known, "KNOWN", {})
    monkeypatch.setattr(flat, "_shared", {})
    _copied(tmp_path)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("cpu"))):
        Concealer(8_000, 1, 160, model=str(tmp_path / "mine.json"))


def _copied(folder: Path, name: str = "speech-narrowband", **changes: Any) -> Manifest:
    """Return a network of the package as a file of a user's, with another manifest."""
    manifest = find(name)
    shutil.copy(manifest.onnx_path, folder / "mine.onnx")
    dataclasses.replace(manifest, name="mine", **changes).write(folder / "mine.json")
    return Manifest.read(folder / "mine.json")


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
    assert planned(Manifest.read(path), _rate(manifest)) is not None


def test_a_manifest_that_does_not_fit_the_graph_is_not_for_the_kernels(tmp_path: Path) -> None:
    assert planned(_copied(tmp_path, context_frames=15), 8_000) is None
