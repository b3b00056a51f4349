"""JSON configurations of generated notes: what they become, and what is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from plc.errors import ConfigError
from plc_training.papers.configuration import TRANSFORMS
from plc_training.papers.notes import NotesPlan, NotesSettings
from plc_training.train.loop import learning_rate
from plc_training.train.recipe import Recipe, parse_recipe, read_recipe

# The example of the program's documentation, without what it does not share with the task.
EXAMPLE: dict[str, Any] = {
    "name": "mag-if test config",
    "comments": "dummy_configuration",
    "output_path": "output/path",
    "loaderConfig": {
        "data_path": "path/to/audio",
        "att_dict_path": "path/to/metadata",
        "shuffle": False,
        "attribute_list": ["pitch"],
        "pitch_range": [40, 70],
        "load_metadata": True,
    },
    "transformConfig": {
        "transform": "mag-if",
        "fade_out": True,
        "fft_size": 1024,
        "win_size": 1024,
        "n_frames": 64,
        "hop_size": 256,
        "log": True,
        "ifreq": True,
        "sample_rate": 16000,
        "audio_length": 16000,
    },
    "modelConfig": {
        "formatLayerType": "default",
        "ac_gan": True,
        "downSamplingFactor": [[16, 16], [8, 8], [4, 4], [2, 2], [1, 1]],
        "imagefolderDataset": True,
        "maxIterAtScale": [50, 50, 50, 50, 90],
        "alphaJumpMode": "linear",
        "transposed": False,
        "depthScales": [5, 5, 5, 5, 4],
        "miniBatchSize": [2, 2, 2, 2, 2],
        "dimLatentVector": 2,
        "perChannelNormalization": True,
        "lossMode": "WGANGP",
        "lambdaGP": 10.0,
        "leakyness": 0.2,
        "miniBatchStdDev": True,
        "baseLearningRate": 0.0006,
        "dimOutput": 2,
        "weightConditionG": 5.0,
        "weightConditionD": 5.0,
        "attribKeysOrder": {"pitch": 0},
        "startScale": 0,
        "skipAttDfake": [],
    },
}


def changed(key: str, value: Any) -> dict[str, Any]:
    """Return the example with one value by its dotted key; None: without it."""
    made = copy.deepcopy(EXAMPLE)
    *groups, last = key.split(".")
    table = made[groups[0]] if groups else made
    table.pop(last, None)
    if value is not None:
        table[last] = value
    return made


def read(values: Any, folder: Path) -> Recipe:
    path = folder / "mine.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return read_recipe(path)


def test_every_setting_has_its_counterpart(tmp_path: Path) -> None:
    recipe = read(EXAMPLE, tmp_path)
    assert recipe.train == NotesPlan(sample_rate=16000, samples=64 * 256 - 1)
    assert recipe.settings == NotesSettings(
        representation="magnitude-if",
        widths=(5, 5, 5, 5, 4),
        latent=2,
        lowest=40,
        highest=70,
        scale_steps=50,
        label_weight=5.0,
    )
    schedule = recipe.schedule
    assert (schedule.steps, schedule.batch, schedule.beta1, schedule.beta2) == (290, 2, 0.0, 0.99)
    assert {learning_rate(schedule, step) for step in (0, 100, 289)} == {0.0006}
    assert (recipe.name, recipe.model.name) == ("mine", "mag-if-test-config")


def test_the_run_keeps_a_recipe_that_reads_as_the_same(tmp_path: Path) -> None:
    recipe = read(EXAMPLE, tmp_path)
    again = parse_recipe(recipe.text, "mine", "recipe.toml")
    assert again.fingerprint() == recipe.fingerprint()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_of_the_program_is_known(name: str, tmp_path: Path) -> None:
    values = changed("transformConfig.transform", name)
    wanted = "magnitude-if" if name == "specgrams" else TRANSFORMS[name]
    settings = read(values, tmp_path).settings
    assert isinstance(settings, NotesSettings)
    assert settings.representation == wanted


def test_without_frames_the_length_is_in_samples(tmp_path: Path) -> None:
    plan = read(changed("transformConfig.n_frames", None), tmp_path).train
    assert plan == NotesPlan(sample_rate=16000, samples=16000)


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("loaderConfig.size", 1000, "loaderConfig.size is 1000, which has no counterpart"),
        ("loaderConfig.filter", ["acoustic"], "loaderConfig.filter"),
        ("modelConfig.leakyness", 0.02, "modelConfig.leakyness is 0.02; here it is 0.2"),
        ("modelConfig.ac_gan", False, "modelConfig.ac_gan is false; here it is true"),
        ("modelConfig.lossMode", "DCGAN", "modelConfig.lossMode"),
        ("modelConfig.maxIterAtScale", [50, 60, 50, 50, 90], "all scales but the last"),
        ("modelConfig.maxIterAtScale", [50, 50], "expected 5 whole numbers"),
        ("modelConfig.miniBatchSize", [4, 4, 4, 4, 2], "all scales have the same"),
        ("modelConfig.depthScales", None, "modelConfig.depthScales is null"),
        ("modelConfig.downSamplingFactor", [[2, 2], [1, 1]], "5 scales have"),
        ("modelConfig.weightConditionG", 1.0, "here they are equal"),
        ("modelConfig.dimLatentVector", 2.5, "dimLatentVector is 2.5"),
        ("modelConfig.baseLearningRate", "fast", 'baseLearningRate is "fast"'),
        ("transformConfig.transform", "wavelet", 'transform is "wavelet"; known: waveform, stft'),
        ("transformConfig.ifreq", False, "mag-if has instantaneous frequencies"),
        ("transformConfig.win_size", 2048, "win_size is 2048; at 16000 Hz it is 1024"),
        ("loaderConfig.pitch_range", [70, 40], "the lowest and the highest"),
        ("loaderConfig", [], "loaderConfig is \\[\\]; expected an object"),
        ("speed", 2, "speed is 2, which has no counterpart"),
    ],
)
def test_what_would_be_another_training_is_refused_by_name(
    key: str, value: Any, match: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"mine.json: .*{match}"):
        read(changed(key, value), tmp_path)


def test_a_growth_of_its_own_is_refused(tmp_path: Path) -> None:
    values = copy.deepcopy(EXAMPLE)
    values["modelConfig"] |= {"alphaNJumps": [600] * 5, "alphaSizeJumps": [32] * 5}
    with pytest.raises(ConfigError, match="fade scale 1 in over 19200 steps; here it is 25"):
        read(values, tmp_path)
    values["modelConfig"] |= {"alphaNJumps": [5] * 5, "alphaSizeJumps": [5] * 5}
    assert read(values, tmp_path).schedule.steps == 290


@pytest.mark.parametrize("text", ["", "[]", '{"name": ', "[" * 100_000])
def test_what_is_no_object_of_settings_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.json: "):
        read(text, tmp_path)
