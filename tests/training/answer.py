"""A network that answers with one of its drafts: what it is worth is known."""

import torch
from torch import Tensor, nn

# Context frames before the gap, of every task that is tested with it.
_BEFORE = 4


class Answer(nn.Module):
    """Answers with the spectra of one of the drafts, without the frames around the gap's.

    Parameters
    ----------
    draft : int
        Index among the drafts.
    after : int
        Context frames after the gap; before it there are four.
    """

    def __init__(self, draft: int, after: int = 0) -> None:
        super().__init__()
        self._draft = draft
        self._after = after
        self.weight = nn.Parameter(torch.zeros(1))  # says which device it is on

    def forward(self, spectra: Tensor, lost: Tensor) -> Tensor:
        frames = slice(_BEFORE, spectra.shape[-1] - self._after)
        return spectra[:, self._draft, :, :, frames]
