import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.runtime.onnx_network import (
    GapNetwork,
    NetworkShape,
    network_signature,
    open_network,
)
from plc.errors import ConfigError, ModelError
from tests.plc.tiny_models import BEFORE, onnx, write_bytes, write_model

pytest.importorskip("onnxruntime")

SHAPE = NetworkShape(bins=9, frames=8)


def gaps(
    shape: NetworkShape, drafts: int = 1, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    spectra = rng.standard_normal((shape.batch, drafts, 2, shape.bins, shape.frames))
    lost = rng.random((shape.batch, shape.frames))
    out = np.full((shape.batch, 2, shape.bins, shape.frames - BEFORE), 7.0, np.float32)
    return spectra.astype(np.float32), lost.astype(np.float32), out


def test_the_network_gets_the_drafts_and_its_output_comes_back(tmp_path: Path) -> None:
    network = open_network(write_model(tmp_path, "lost"), SHAPE)
    spectra, lost, out = gaps(SHAPE)
    assert network.run(spectra, lost, out)
    np.testing.assert_allclose(
        out, spectra[:, 0, :, :, BEFORE:] + lost[:, None, None, BEFORE:], atol=1e-6
    )


def test_drafts_keep_their_order(tmp_path: Path) -> None:
    path = write_model(tmp_path, "last", drafts=("forward", "backward"))
    network = open_network(path, SHAPE)
    spectra, lost, out = gaps(SHAPE, drafts=2)
    assert network.run(spectra, lost, out)
    np.testing.assert_array_equal(out, spectra[:, 1, :, :, BEFORE:])


@pytest.mark.parametrize(
    "shape", [SHAPE, NetworkShape(9, 11), NetworkShape(5, 8), NetworkShape(9, 8, batch=4)]
)
def test_a_network_runs_at_the_shape_that_it_was_opened_for(
    tmp_path: Path, shape: NetworkShape
) -> None:
    network = open_network(write_model(tmp_path), shape)
    for turn in range(2):
        spectra, lost, out = gaps(shape, seed=turn)
        assert network.run(spectra, lost, out)
        np.testing.assert_array_equal(out, spectra[:, 0, :, :, BEFORE:])


def test_another_shape_is_refused_by_its_name(tmp_path: Path) -> None:
    network = open_network(write_model(tmp_path), SHAPE)
    with pytest.raises(ConfigError, match=r"opened for \(1, 1, 2, 9, 8\)"):
        network.run(*gaps(NetworkShape(9, 9)))


def test_nan_is_counted_and_never_written(tmp_path: Path) -> None:
    network = open_network(write_model(tmp_path, "root"), SHAPE)
    spectra, lost, out = gaps(SHAPE)
    before = out.copy()
    assert not network.run(spectra, lost, out)  # the root of a negative number
    np.testing.assert_array_equal(out, before)
    assert "NaN" in network.last_error
    assert network.run(np.abs(spectra), lost, out)
    np.testing.assert_allclose(out, np.sqrt(np.abs(spectra[:, 0, :, :, BEFORE:])), rtol=1e-6)


def test_running_allocates_nothing_on_this_side(tmp_path: Path) -> None:
    shape = NetworkShape(bins=257, frames=40)
    network = open_network(write_model(tmp_path), shape)
    arguments = gaps(shape)
    network.run(*arguments)
    tracemalloc.start()
    network.run(*arguments)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_096  # the output alone has 78 KB


def test_a_cancelled_run_counts_as_failed_and_the_next_one_works(tmp_path: Path) -> None:
    network = open_network(write_model(tmp_path), SHAPE)
    spectra, lost, out = gaps(SHAPE)
    bound: Any = network._session
    session = bound.opened.raw
    plain = session.run_with_iobinding

    def cancelled(*arguments: Any) -> None:
        network.cancel()  # what another thread does while this one runs
        plain(*arguments)

    session.run_with_iobinding = cancelled
    assert not network.run(spectra, lost, out)
    assert "terminate" in network.last_error
    session.run_with_iobinding = plain
    assert network.run(spectra, lost, out)


def test_the_report_says_where_it_runs_and_what_opening_cost(tmp_path: Path) -> None:
    report = open_network(write_model(tmp_path), SHAPE, providers="cpu").report
    assert report.model == "pass"
    assert report.provider == "cpu"
    assert report.refused == {}
    assert not report.cuda_graph
    assert report.load_ms > 0.0
    assert report.warm_up_ms > 0.0


def test_weights_that_are_not_the_manifests_are_refused_before_they_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "plc.engine.runtime.session.read_graph", lambda *_: pytest.fail("it was parsed")
    )
    path = write_model(tmp_path)
    weights = path.with_suffix(".onnx")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        open_network(path, SHAPE)
    weights.write_bytes(data[:-1])
    with pytest.raises(ModelError, match=f"{len(data) - 1} bytes; its manifest says {len(data)}"):
        open_network(path, SHAPE)
    weights.write_bytes(bytes(data) + b"\x00")
    with pytest.raises(ModelError, match=f"over {len(data)} bytes"):
        open_network(path, SHAPE)
    weights.unlink()
    with pytest.raises(ModelError, match="belongs beside"):
        open_network(path, SHAPE)


def test_what_is_no_network_is_refused_though_its_hash_fits(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a model is one file of standard ONNX"):
        open_network(write_bytes(tmp_path, b"no network at all"), SHAPE)


def test_external_data_never_reaches_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outside(model: Any) -> None:
        entry = model.graph.initializer[0].external_data.add()
        entry.key, entry.value = "location", "secret"

    monkeypatch.setattr(
        "plc.engine.runtime.session.runtime", lambda: pytest.fail("the runtime was loaded")
    )
    with pytest.raises(ModelError, match="external data"):
        open_network(write_model(tmp_path, change=outside), SHAPE)


def test_a_graph_that_the_runtime_refuses_is_a_model_error_with_its_reason(tmp_path: Path) -> None:
    def unknown(model: Any) -> None:
        model.graph.node[0].op_type = "Gaither"

    with pytest.raises(ModelError, match=r"no provider runs it: cpu: .*Gaither"):
        open_network(write_model(tmp_path, change=unknown), SHAPE, providers="cpu")


def test_a_graph_that_lies_about_its_output_is_refused_at_opening(tmp_path: Path) -> None:
    def skip_one_more(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "begin":
                tensor.CopyFrom(
                    onnx.helper.make_tensor("begin", onnx.TensorProto.INT64, [1], [BEFORE + 1])
                )

    with pytest.raises(ModelError, match="fails on"):
        open_network(write_model(tmp_path, change=skip_one_more), SHAPE)


def test_a_graph_of_fixed_size_refuses_other_shapes_at_opening(tmp_path: Path) -> None:
    def fix_bins(model: Any) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 33

    path = write_model(tmp_path, change=fix_bins)
    with pytest.raises(ModelError, match=r"spectra \(b, 1, 2, 33, n\); expected \(1, 1, 2, 9, 8\)"):
        open_network(path, SHAPE)
    assert open_network(path, NetworkShape(33, 8)).report.provider == "cpu"


def test_another_opset_than_the_manifests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="opset 18; its manifest says 17"):
        open_network(write_model(tmp_path, opset=17), SHAPE)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"shape": NetworkShape(9, BEFORE)}, "nothing to fill"),
        ({"shape": NetworkShape(0, 9)}, "nothing to fill"),
        ({"providers": "gpu"}, "provider is 'gpu'; known: auto, tensorrt, cuda, cpu"),
        ({"providers": []}, "no provider"),
    ],
)
def test_settings_out_of_range_are_refused(
    tmp_path: Path, settings: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        open_network(write_model(tmp_path), **{"shape": SHAPE, **settings})


def test_the_papers_network_is_not_opened_as_one_of_drafts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which has other inputs"):
        open_network(write_model(tmp_path, kind="context_encoder"), SHAPE)


def test_a_signature_holds_the_contracts_shapes(tmp_path: Path) -> None:
    manifest = Manifest.read(write_model(tmp_path, kind="inpaint", context_frames_after=3))
    signature = network_signature(manifest, NetworkShape(bins=9, frames=12, batch=5))
    assert dict(signature.inputs) == {"spectra": (5, 1, 2, 9, 12), "lost": (5, 12)}
    assert signature.output == ("filled", (5, 2, 9, 12 - BEFORE - 3))


def test_a_network_keeps_nothing_of_the_callers_arrays(tmp_path: Path) -> None:
    network: GapNetwork = open_network(write_model(tmp_path), SHAPE)
    spectra, lost, out = gaps(SHAPE)
    network.run(spectra, lost, out)
    kept = out.copy()
    spectra[:] = 0.0
    network.keep_warm()
    np.testing.assert_array_equal(out, kept)
    assert dataclasses.is_dataclass(network.report)
