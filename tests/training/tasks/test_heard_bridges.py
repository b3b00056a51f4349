"""The task that judges whole streams that wait: its pieces, and what fills their gaps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from plc.engine.models.catalogue import find
from plc.errors import ConfigError
from plc_training.data.segments import Segments
from plc_training.networks.onnx_graph import load_onnx
from plc_training.tasks.bridge import BridgeTask
from plc_training.tasks.heard import (
    HeardBridgeSettings,
    HeardBridgeTask,
    HeardTask,
    _flat,
)
from plc_training.tasks.heard_bridges import HeardBridgePlan
from plc_training.tasks.heard_plan import JUDGED, PLAYED, REST
from plc_training.train.recipe import parse_recipe, read_recipe
from tests.training.clips import segments_of
from tests.training.tasks.test_heard import RATE, speech, with_plcmos

RECIPE = read_recipe("bridge_speech_heavy")
assert isinstance(RECIPE.train, HeardBridgePlan)
assert isinstance(RECIPE.settings, HeardBridgeSettings)
PLAN = replace(RECIPE.train, piece_s=3.0, losses=(0.33,), burst=(3.0,))
SETTINGS = RECIPE.settings


def pieces(lookahead: int) -> Segments:
    plan = replace(PLAN, lookaheads=(lookahead,))
    made, _ = next(plan.cut(speech(2, 6.0)[-3 * RATE :], "speech", np.random.default_rng(1)))
    return segments_of(made[None])


class Deaf(HeardBridgeTask):
    """The task without its judges."""

    def __init__(self, segments: Segments) -> None:
        BridgeTask.__init__(self, PLAN.bursts, SETTINGS, segments, segments)
        self._pieces = PLAN
        self._stays = torch.ones(self._filled)


@pytest.mark.parametrize("lookahead", [1, 2])
def test_the_network_that_played_the_pieces_fills_them_as_they_were_played(lookahead: int) -> None:
    segments = pieces(lookahead)
    task = Deaf(segments)
    network = task.make_network()
    load_onnx(find("speech-bridge").onnx_path.read_bytes(), network, "speech-bridge")
    network.eval()
    batch = task._heard(segments, np.array([0]), 0)
    assert int(batch["real"].sum()) >= 3
    with torch.no_grad():
        fill = task._fill(network(*task.inputs(batch)), _flat(batch))
        streams = task._streams(fill, batch)[0].numpy()
    lines = segments.at_their_level(np.array([0]))[0]
    peak = float(segments.peaks[0])
    assert np.abs(streams - lines[PLAYED]).max() < 0.03 * peak
    judged = lines[JUDGED] > 0.0
    assert np.abs(lines[REST][judged]).max() < 0.002 * peak
    assert np.abs(streams[judged]).max() > 0.05 * peak


@with_plcmos
def test_gaps_are_learnt_from_scores_of_whole_pieces() -> None:
    segments = pieces(1)
    task = HeardBridgeTask(PLAN, SETTINGS, segments, segments)
    assert not isinstance(task, HeardTask)
    network = task.make_network()
    batch = task.batch(1, np.random.default_rng(0))
    loss = task.loss(network(*task.inputs(batch)), batch)
    for moved in torch.autograd.grad(loss, list(network.head.parameters())):
        assert bool(torch.isfinite(moved).all())
        assert float(moved.abs().sum()) > 0.0
    with torch.no_grad():
        assert {"better", "plcmos", "spectrum"} <= set(task.validate(network))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sample_rate = 16000\npacket", "sample_rate = 48000\npacket", "the judges hear 16000"),
        ("piece_s = 5.0", "piece_s = 1.0", "more than 1 s"),
        ("burst = [1.5, 1.5, 3.0, 2.0, 2.0]", "burst = [1.5]", "burst has 1 values"),
        ("lookaheads = [1, 2, 2]", "lookaheads = [1]", "bridges 640 samples"),
        ('model = "speech-bridge"', 'model = "speech"', "bridges 0 samples"),
        ("beyond = 720", "beyond = 100", "data.beyond"),
    ],
)
def test_what_no_training_survives_is_refused(old: str, new: str, message: str) -> None:
    assert old in RECIPE.text
    with pytest.raises(ConfigError, match=message):
        parse_recipe(RECIPE.text.replace(old, new), "r", "r")
