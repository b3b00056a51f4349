"""The generator of a run, as a player of notes.

What it plays, and how that is written, is in :mod:`plc.papers.note_player`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plc_training.papers.notes import NotesNetwork, NotesTask
from plc_training.train.run import open_best


@dataclass(frozen=True, slots=True)
class Orchestra:
    """A trained generator with its task."""

    task: NotesTask
    network: NotesNetwork

    @property
    def sample_rate(self) -> int:
        """Of its notes, in Hz."""
        return self.task.sample_rate

    @property
    def lowest(self) -> int:
        """Its lowest MIDI pitch."""
        return self.task.lowest

    @property
    def highest(self) -> int:
        """Its highest MIDI pitch."""
        return self.task.highest

    @property
    def latent(self) -> int:
        """Numbers of a latent."""
        return self.network.generator.latent

    @torch.no_grad()
    def arrays(
        self, latents: NDArray[np.float32], pitches: NDArray[np.integer]
    ) -> list[NDArray[np.float32]]:
        """Return the samples of notes; see :class:`plc.papers.note_player.Player`."""
        labels = torch.from_numpy(np.asarray(pitches, np.float32) - np.float32(self.lowest))
        made = self.network(torch.from_numpy(latents), labels).numpy()
        return [self.task.representation.inverse(array) for array in made]


def open_generator(folder: Path) -> Orchestra:
    """Return the best generator of a run.

    Raises
    ------
    ConfigError
        If the folder holds no run of this task, or no best weights yet.
    """
    task, network = open_best(folder, NotesTask)
    assert isinstance(network, NotesNetwork)
    return Orchestra(task, network)
