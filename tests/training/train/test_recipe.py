"""Recipes: every mistake is named."""

from pathlib import Path

import pytest

from plc.errors import ConfigError
from plc_training.data.segments import InpaintPlan
from plc_training.tasks.context_encoder import ContextEncoderSettings
from plc_training.tasks.context_encoder_plan import ContextEncoderPlan
from plc_training.tasks.inpaint import InpaintSettings
from plc_training.train.recipe import (
    MODEL_PREFIX,
    TASKS,
    Recipe,
    parse_recipe,
    read_recipe,
    recipe_names,
)
from tests.options import ran

TEXT = read_recipe("tiny").text


def parsed(text: str) -> Recipe:
    return parse_recipe(text, "test", "test.toml")


def test_a_recipe_becomes_what_it_says() -> None:
    recipe = parsed(TEXT)
    assert isinstance(recipe.train, InpaintPlan)
    assert isinstance(recipe.settings, InpaintSettings)
    assert recipe.train == recipe.valid
    assert recipe.train.gaps_ms == (32.0, 40.0)
    assert recipe.train.per_second == {"music": 6.0, "any": 6.0}
    assert recipe.settings.channels == (8, 12)
    assert recipe.schedule.steps == 12
    assert recipe.model.name == "tiny"
    assert recipe.task_type.domains(recipe.train) == ("music", "any")


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_package_is_valid(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.task.kind in TASKS
    if recipe.task.begin_from and not recipe.task.begin_from.startswith(MODEL_PREFIX):
        begun = read_recipe(recipe.task.begin_from)
        for size in ("bin_hz", "channels", "gru", "width"):
            assert getattr(begun.settings, size, 0) == getattr(recipe.settings, size, 0)
        # The same weights look at as many frames as there are, and what they learnt of few is kept.
        before, now = (getattr(each.settings, "context_frames", 0) for each in (begun, recipe))
        assert before <= now
        # With new drafts before the last.
        assert set(begun.train.lines) <= set(recipe.train.lines)
        assert begun.train.lines[-1] == recipe.train.lines[-1]


def test_splits_differ_in_what_they_name() -> None:
    text = TEXT.replace("[settings]", "[data.valid]\nseed = 5\ngaps_ms = [40.0]\n\n[settings]")
    recipe = parsed(text)
    assert (recipe.train.seed, recipe.valid.seed) == (0, 5)
    assert isinstance(recipe.valid, InpaintPlan)
    assert recipe.valid.gaps_ms == (40.0,)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('kind = "inpaint"', 'kind = "sideways"', "task.kind is 'sideways'; expected inpaint"),
        ('kind = "inpaint"', "", "task.kind is missing; expected a text"),
        ("margin = 704", "margin = 704.5", r"data.margin is 704.5; expected a whole number"),
        ("margin = 704", "margins = 704", "data.margins is unknown; known: sample_rate, margin"),
        ("margin = 704", "margin = 100", "data.margin is 100 samples; .* need at least"),
        ("[32.0, 40.0]", "[32.0, '40']", r"data.gaps_ms\[1\] is '40'; expected a number"),
        ("[32.0, 40.0]", "[]", "data.gaps_ms is empty"),
        ("[32.0, 40.0]", "[32.0, -1.0]", "data.gaps_ms is .*; expected above 0"),
        ("[data]", "[data]\nspeeds = [1.0, 0.4]", "data.speeds is .*; expected 1 and others"),
        ("[32.0, 40.0]", "32.0", "data.gaps_ms is 32.0; expected a list"),
        ("music = 6.0", "musik = 6.0", "data names 'musik'; known domains: music"),
        ("music = 6.0", "music = true", "data.per_second.music is True; expected a number"),
        ("channels = [8, 12]", "channels = [8, 12.0]", r"settings.channels\[1\] is 12.0"),
        ("gru = 16", "gru = 0", "settings.gru is 0; expected a whole number, at least 1"),
        ("{ music = 1.0, any = 1.0 }", "{ speech = 1.0 }", "gives no weight to any domain"),
        ("steps = 12", 'steps = "12"', "schedule.steps is '12'; expected a whole number"),
        ('content = "any"', 'content = "noise"', "model.content is 'noise'; expected music"),
        (
            "[model]\n",
            "[model]\nhorizon_ms = -1.0\n",
            "model.horizon_ms is -1.0; expected a number, at least 0",
        ),
        ("[model]\n", "[model]\nweight_bits = 4\n", "model.weight_bits is 4; known: 16, 8"),
        ("[model]\n", "[model]\nhorizon_ms = 9.0\n", "is for causal models, not inpaint"),
        ("[model]", "[modle]", "modle is unknown; known: task, data"),
        ("[task]", "[task", "not valid TOML"),
    ],
)
def test_a_mistake_is_refused_by_its_name(old: str, new: str, match: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=f"test.toml: .*{match}"):
        parsed(TEXT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("lookaheads = [1]", "lookaheads = []", "data.lookaheads is empty"),
        ("lookaheads = [1]", "lookaheads = [0]", r"data.lookaheads is .*; expected above 0"),
        ("packet_ms = 20.0", "packet_ms = 12.0", "a gap of 192 samples; expected a multiple of"),
        ("beyond = 560", "beyond = 300", "data.beyond is 300 samples; expected at least 512"),
        ("packet_ms = 20.0", "packet_ms = 40.0", "data.beyond is 560 samples; .* at least 640"),
        ("margin = 720", "margin = 400", "data.margin is 400 samples; .* need at least"),
    ],
)
def test_a_mistake_about_streams_that_wait_is_refused(old: str, new: str, match: str) -> None:
    text = read_recipe("tiny_bridge").text
    assert old in text
    with pytest.raises(ConfigError, match=f"test.toml: .*{match}"):
        parsed(text.replace(old, new, 1))


def test_lines_of_different_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="differ in the rate or length"):
        parsed(TEXT.replace("[settings]", "[data.valid]\nmargin = 900\n\n[settings]"))


def test_the_papers_recipes_take_a_width_and_a_loss() -> None:
    text = read_recipe("context_encoder").text
    recipe = parsed(text)
    assert isinstance(recipe.train, ContextEncoderPlan)
    assert recipe.settings == ContextEncoderSettings(width=1, loss="published")
    with pytest.raises(ConfigError, match=r"settings\.gru is unknown; known: width, complex, line"):
        parsed(text + "\n[settings]\ngru = 3\n")
    with pytest.raises(ConfigError, match=r"settings\.width is 3; expected 1 or 4 or 16"):
        parsed(text + "\n[settings]\nwidth = 3\n")


def test_what_is_added_to_straight_lines_are_magnitudes() -> None:
    text = read_recipe("context_encoder_line").text
    assert parsed(text).settings == ContextEncoderSettings(width=4, line=True, loss="decibel")
    with pytest.raises(ConfigError, match="line adds to magnitudes"):
        parsed(text.replace("line = true", "line = true\ncomplex = true"))


def test_an_unknown_name_is_answered_by_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"in the package: .*tiny"):
        read_recipe("tyni")


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    assert read_recipe(path).name == read_recipe(str(path)).name == "mine"
    with pytest.raises(ConfigError, match="cannot read"):
        read_recipe(tmp_path / "absent.toml")


def test_the_fingerprint_tells_what_changes_the_weights() -> None:
    base = parsed(TEXT).fingerprint()
    assert parsed("# a comment\n" + TEXT).fingerprint() == base
    assert parsed(TEXT.replace('name = "tiny"', 'name = "other"')).fingerprint() == base
    assert parsed(TEXT.replace("checkpoint_s = 3600", "checkpoint_s = 60")).fingerprint() == base
    for old, new in (("gru = 16", "gru = 17"), ("steps = 12", "steps = 13"), ("704", "720")):
        assert parsed(TEXT.replace(old, new)).fingerprint() != base
    assert parsed(TEXT).with_steps(13).fingerprint() != base
    assert parsed(TEXT).with_steps(None).fingerprint() == base


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("inpaint", "127c9dbfc36ffb94"),
        ("causal_music_passages", "bc3fb57b81245cfb"),
        ("bridge_speech_contour", "c28a80a73d522ac5"),
        ("context_encoder_complex", "38ef61e4801a9cf6"),
    ],
)
def test_runs_that_began_under_a_shipped_recipe_continue(name: str, fingerprint: str) -> None:
    assert read_recipe(name).fingerprint() == fingerprint


def test_recipes_are_listed_with_a_sentence_each() -> None:
    from plc.programs.cli.app import app

    told = ran(app, "train")
    listed = dict(line.split(": ", 1) for line in told.stdout.splitlines())
    assert set(listed) < set(recipe_names())
    assert {"inpaint_music_longer", "causal_speech_dense"} < set(listed)
    assert all(about and not about.endswith(".") for about in listed.values())
