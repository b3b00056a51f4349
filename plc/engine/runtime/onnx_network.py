"""The network as a function of arrays: STFTs of drafts in, STFT of the fill out.

:meth:`GapNetwork.run` copies in, runs, looks for NaN and copies out. It allocates nothing; it
counts failures and raises none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.catalogue import find
from plc.engine.models.kinds import KINDS
from plc.engine.models.manifest import Manifest
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.session import open_session
from plc.engine.runtime.shared import BoundSession
from plc.errors import ConfigError, in_a_line


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Shape of one inference: batch, frames, bins."""

    bins: int
    frames: int
    batch: int = 1


def network_signature(manifest: Manifest, shape: NetworkShape) -> Signature:
    """Return the inputs and the output of a causal or inpaint model.

    Raises
    ------
    ConfigError
        If the shape leaves no frames to fill.
    """
    batch, bins, frames = shape.batch, shape.bins, shape.frames
    filled = frames - manifest.context_frames - manifest.context_frames_after
    if min(batch, bins, filled) < 1:
        raise ConfigError(
            f"{manifest.name}: batch {batch}, {bins} bins and {frames} frames leave nothing to "
            f"fill; give at least 1, 1 and "
            f"{manifest.context_frames + manifest.context_frames_after + 1}"
        )
    lines = (batch, len(manifest.drafts), 2, bins, frames)
    return Signature(
        (("spectra", lines), ("lost", (batch, frames))), ("filled", (batch, 2, bins, filled))
    )


class GapNetwork:
    """A causal or inpaint network, ready to run; used by one thread at a time."""

    def __init__(self, manifest: Manifest, session: BoundSession) -> None:
        self.manifest = manifest
        self.report = session.report
        self.batch = len(session.output)
        self.on_gpu = session.on_gpu
        self.last_error = ""
        self._session = session
        self._finite = np.empty(session.output.shape, np.bool_)

    def run(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        """Fill the gaps; return whether ``out`` was written, which only a sound result is.

        Parameters
        ----------
        spectra : float32, shape (batch, drafts, 2, bins, frames)
            Real and imaginary part of every draft's STFT.
        lost : float32, shape (batch, frames), share of each frame's samples that lies in the gap
        out : float32, shape (batch, 2, bins, filled frames), written, STFT of the fill

        Raises
        ------
        ConfigError
            If the shape is another than at opening.
        """
        try:
            filled = self.answers(spectra, lost)
        except ConfigError:
            raise
        except Exception as error:  # ONNX Runtime's have no common class of their own
            return self._fail(in_a_line(error))
        np.isfinite(filled, out=self._finite[: len(filled)])
        if not self._finite[: len(filled)].all():
            return self._fail("the network returned NaN or infinity")
        np.copyto(out, filled)
        return True

    def _fail(self, why: str) -> bool:
        self.last_error = why
        return False

    def answers(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the answer of :meth:`run`, valid until the next run; exceptions pass through.

        The batch may be smaller than the one at opening, and the answer may not be finite.
        """
        session, rows = self._session, len(spectra)
        own_spectra, own_lost = session.inputs
        if rows > self.batch or spectra.shape[1:] != own_spectra.shape[1:]:
            raise ConfigError(
                f"spectra have the shape {spectra.shape}; opened for {own_spectra.shape}"
            )
        np.copyto(own_spectra[:rows], spectra)
        np.copyto(own_lost[:rows], lost)
        session.run()
        return session.output[:rows]

    def keep_warm(self) -> None:
        """Run once on the present buffers, for nothing; exceptions pass through."""
        self._session.run()

    def cancel(self) -> None:
        """Cancel a run in another thread; the run counts as failed."""
        self._session.cancel()


def open_network(
    model: str | Path | Manifest, shape: NetworkShape, *, providers: str | Sequence[str] = "auto"
) -> GapNetwork:
    """Return a network that ONNX Runtime runs: verified, bound and warm.

    Parameters
    ----------
    model : str, Path or Manifest
        Name of one in the package, path of a manifest (or of the ONNX file beside it), or the
        manifest itself.
    shape : NetworkShape, of every inference
    providers : as for :func:`~plc.engine.runtime.session.open_session`

    Raises
    ------
    MissingExtraError, ModelError, ConfigError
        As for :func:`~plc.engine.runtime.session.open_session`.
    """
    manifest = model if isinstance(model, Manifest) else find(model)
    if KINDS[manifest.kind].own_ports:
        raise ConfigError(
            f"{manifest.name} is of kind {manifest.kind}, which has other inputs: plc inpaint "
            "opens it, and of kind context_encoder Concealer(model=...) with lookahead"
        )
    signature = network_signature(manifest, shape)
    return GapNetwork(manifest, open_session(manifest, signature, providers=providers))
