"""One session for all who use a network."""

import gc
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from plc.engine.models.onnx_file import GraphSummary
from plc.engine.runtime import shared
from plc.engine.runtime.onnx_network import GapNetwork, NetworkShape, open_network
from plc.engine.runtime.shared import BoundSession, OpenSession, SharedSessions
from plc.errors import ModelError
from tests.plc.tiny_models import write_model

pytest.importorskip("onnxruntime")

SHAPE = NetworkShape(bins=9, frames=8)
OTHER_SHAPE = NetworkShape(bins=9, frames=10)


@pytest.fixture(autouse=True)
def sessions(monkeypatch: pytest.MonkeyPatch) -> SharedSessions:
    made = SharedSessions()
    monkeypatch.setattr(shared, "sessions", made)
    return made


def session_of(network: GapNetwork) -> BoundSession:
    """Return what runs a network."""
    assert isinstance(network._session, BoundSession)
    return network._session


def fake(size: int = 1) -> OpenSession:
    return OpenSession(object(), size, {}, GraphSummary())


def test_streams_of_one_network_share_its_session_and_no_memory(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    first, second, wider = (
        open_network(path, shape, providers="cpu") for shape in (SHAPE, SHAPE, OTHER_SHAPE)
    )
    opened = session_of(first).opened
    assert opened is session_of(second).opened is session_of(wider).opened
    assert len(opened.proved) == 2
    assert not np.shares_memory(session_of(first).inputs[0], session_of(second).inputs[0])
    assert not np.shares_memory(session_of(first).output, session_of(second).output)
    first.cancel()  # of one stream, not of the other
    spectra, lost = (np.zeros_like(array) for array in session_of(second).inputs)
    assert second.run(spectra, lost, np.zeros_like(session_of(second).output))


def test_a_file_that_was_replaced_is_another_network(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    path = write_model(tmp_path)
    first = open_network(path, SHAPE, providers="cpu")
    other = write_model(tmp_path / "new", "lost")
    shutil.copy(other.with_suffix(".onnx"), path.with_suffix(".onnx"))
    with pytest.raises(ModelError, match=r"SHA-256|bytes"):  # of another manifest
        open_network(path, SHAPE, providers="cpu")
    shutil.copy(other.with_suffix(".json"), path.with_suffix(".json"))
    second = open_network(path, SHAPE, providers="cpu")
    assert session_of(second).opened is not session_of(first).opened
    assert second.manifest.sha256 != first.manifest.sha256


def test_what_nobody_uses_is_kept_while_it_is_small(sessions: SharedSessions) -> None:
    half = shared.KEPT_BYTES // 2
    used = sessions.get("used", lambda: fake(shared.KEPT_BYTES))
    for name in ("a", "b", "c"):
        sessions.get(name, lambda: fake(half))
    gc.collect()
    assert sessions.find("used") is used  # too large to be kept, but in use
    assert sessions.find("a") is None
    assert sessions.find("b") is not None
    sessions.get("b", lambda: pytest.fail("it is open"))
    sessions.get("d", lambda: fake(half))
    gc.collect()
    assert sessions.find("b") is not None  # it was used after c
    assert sessions.find("c") is None


def test_threads_that_ask_at_once_open_it_once(sessions: SharedSessions) -> None:
    together = threading.Barrier(8)
    opened: list[int] = []
    got: list[OpenSession] = []

    def open_it() -> OpenSession:
        opened.append(threading.get_ident())
        return fake()

    def ask() -> None:
        together.wait()
        got.append(sessions.get("one", open_it))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    assert len(set(map(id, got))) == 1


def test_one_that_cannot_be_opened_is_tried_again(sessions: SharedSessions) -> None:
    def refuse() -> OpenSession:
        raise RuntimeError("not now")

    with pytest.raises(RuntimeError, match="not now"):
        sessions.get("one", refuse)
    made = fake()
    assert sessions.get("one", lambda: made) is made
