"""Generated notes: pitches of each way, and a MIDI file as a generator plays it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.errors import AudioFileError
from plc.papers.midi import Key, Score
from plc.papers.note_player import (
    FADE_MS,
    PEAK,
    Player,
    along_scale,
    at_random,
    interpolated,
    perform,
    within,
    write_sounds,
)

RATE, SAMPLES = 8000, 2000


class Constant:
    """A generator whose notes are level 1 for each of their samples, from 60 to 71."""

    sample_rate, lowest, highest, latent = RATE, 60, 71, 3

    def __init__(self) -> None:
        self.played: list[tuple[tuple[float, ...], int]] = []

    def arrays(
        self, latents: NDArray[np.float32], pitches: NDArray[np.integer]
    ) -> list[NDArray[np.float32]]:
        pairs = zip(latents, pitches, strict=True)
        self.played += [(tuple(latent.tolist()), int(pitch)) for latent, pitch in pairs]
        return [np.full(SAMPLES, 0.5, np.float32) for _ in pitches]


def score(*keys: Key, drums: int = 0) -> Score:
    return Score(keys, drums)


def test_each_way_has_the_documents_pitches_and_latents() -> None:
    rng = np.random.default_rng(0)
    player = Constant()
    same: Player = player
    assert {sound.pitch for sound in at_random(same, 200, rng)} == set(range(60, 72))
    player.played.clear()
    assert [sound.pitch for sound in along_scale(player, 12, rng)] == list(range(60, 72))
    assert len({latent for latent, _ in player.played}) == 1
    player.played.clear()
    assert len({sound.pitch for sound in interpolated(player, 3, rng)}) == 1
    first, middle, last = (np.array(latent) for latent, _ in player.played)
    np.testing.assert_allclose(middle, (first + last) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("pitch", "wanted"), [(60, 60), (71, 71), (59, 71), (72, 60), (0, 60), (127, 67)]
)
def test_pitches_move_by_octaves_into_the_range(pitch: int, wanted: int) -> None:
    assert within(pitch, 60, 71) == wanted


def test_a_pitch_without_an_octave_in_range_is_skipped() -> None:
    assert within(65, 60, 64) is None
    assert within(52, 60, 64) == 64


def test_notes_are_mixed_where_they_overlap_and_fade_where_keys_go_up() -> None:
    long = Key(0.0, 1.0, 60, 127, 0)
    played = perform(Constant(), score(long, Key(0.1, 0.15, 64, 127, 0)))
    assert (played.notes, played.transposed, played.skipped) == (2, 0, 0)
    x = played.samples
    fade = round(FADE_MS * RATE / 1000)
    assert x.max() == pytest.approx(PEAK)
    np.testing.assert_allclose(x[:800], PEAK / 2, atol=1e-6)
    np.testing.assert_allclose(x[800:1200], PEAK, atol=1e-6)
    assert (np.diff(x[1200 : 1200 + fade]) < 0).all()
    np.testing.assert_allclose(x[1200 + fade : SAMPLES], PEAK / 2, atol=1e-6)
    assert not x[SAMPLES:].any(), "a sound ends, however long its key is held"


def test_velocity_is_loudness_and_channels_are_instruments() -> None:
    player = Constant()
    soft, other = Key(1.0, 2.0, 60, 64, 0), Key(2.0, 3.0, 60, 127, 1)
    played = perform(player, score(Key(0.0, 1.0, 60, 127, 0), soft, other))
    assert played.samples[RATE] / played.samples[0] == pytest.approx(64 / 127)
    assert len(player.played) == 2, "one sound for each channel and pitch"
    assert len({latent for latent, _ in player.played}) == 2
    again = perform(Constant(), score(Key(0.0, 1.0, 60, 127, 0), soft, other))
    np.testing.assert_array_equal(played.samples, again.samples)


def test_what_is_moved_skipped_and_left_out_is_counted() -> None:
    class Narrow(Constant):
        highest = 64

    keys = [Key(0.0, 1.0, pitch, 100, 0) for pitch in (60, 72, 65)]
    played = perform(Narrow(), score(*keys, drums=4))
    counts = (played.notes, played.transposed, played.skipped, played.drums)
    assert counts == (2, 1, 1, 4)
    with pytest.raises(AudioFileError, match="no note has an octave from 60 to 64"):
        perform(Narrow(), score(keys[2]))


def test_files_are_not_replaced_unasked(tmp_path: Path) -> None:
    player = Constant()
    sounds = along_scale(player, 2, np.random.default_rng(0))
    paths = write_sounds(player, sounds, tmp_path / "new")
    assert [path.name for path in paths] == ["000-60.wav", "001-71.wav"]
    assert soundfile.info(paths[0]).samplerate == RATE
    with pytest.raises(AudioFileError, match="exists"):
        write_sounds(player, sounds, tmp_path / "new")
    write_sounds(player, sounds, tmp_path / "new", overwrite=True)
    with pytest.raises(AudioFileError, match="cannot write"):
        write_sounds(player, sounds, paths[0])
