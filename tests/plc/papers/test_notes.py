"""The generator of notes in the package, without torch."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from plc.engine.models.catalogue import find
from plc.engine.models.manifest import Manifest
from plc.errors import ConfigError, ModelError
from plc.papers.notes import NoteGenerator


@pytest.fixture(scope="module")
def generator() -> NoteGenerator:
    return NoteGenerator(find("notes-mel"))


def test_notes_have_the_length_and_level_of_sound(generator: NoteGenerator) -> None:
    noise = np.random.default_rng(0).standard_normal((3, generator.latent)).astype(np.float32)
    made = generator.arrays(noise, np.array([44, 57, 70]))
    assert (generator.sample_rate, generator.lowest, generator.highest) == (8000, 44, 70)
    for sound in made:
        assert sound.shape == (generator.samples,)
        assert np.isfinite(sound).all()
        assert np.abs(sound).max() > 1e-3
    again = generator.arrays(noise, np.array([44, 57, 70]))
    for first, second in zip(made, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_pitch_and_latent_change_the_note(generator: NoteGenerator) -> None:
    noise = np.random.default_rng(1).standard_normal((2, generator.latent)).astype(np.float32)
    low, high = generator.arrays(noise[[0, 0]], np.array([50, 62]))
    other = generator.arrays(noise[[1]], np.array([50]))[0]
    assert not np.allclose(low, high, atol=1e-2)
    assert not np.allclose(low, other, atol=1e-2)


def changed(**fields: object) -> Manifest:
    manifest = find("notes-mel")
    values = {name: getattr(manifest, name) for name in manifest.__slots__ if name != "path"}
    return Manifest.from_fields({**values, **fields}, manifest.path)


def test_models_that_are_no_generators_are_refused() -> None:
    with pytest.raises(ConfigError, match="model speech is of kind causal; expected kind notes"):
        NoteGenerator(find("speech"))
    training = dict(find("notes-mel").training)
    with pytest.raises(ModelError, match="training lacks its settings"):
        NoteGenerator(changed(training={**training, "settings": None}))
    settings = dict(training["settings"])
    with pytest.raises(ModelError, match="representation is 'taste'"):
        NoteGenerator(
            changed(training={**training, "settings": settings | {"representation": "taste"}})
        )
    with pytest.raises(ModelError, match="latent is -1"):
        NoteGenerator(changed(training={**training, "settings": settings | {"latent": -1}}))
