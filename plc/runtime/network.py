"""The network as a function of arrays: STFTs of drafts in, STFT of the fill out.

:func:`open_network` takes a model by name or by its manifest, and the shapes that will be run.
:meth:`GapNetwork.run` copies in, runs, looks for NaN and copies out; it allocates nothing, and what
goes wrong in it is counted, not raised.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.models.catalogue import find
from plc.models.manifest import Manifest
from plc.runtime.providers import Signature
from plc.runtime.session import BoundSession, open_session


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What one inference works on: so many gaps at once, of so many frames and bins."""

    bins: int
    frames: int
    batch: int = 1


def network_signature(manifest: Manifest, shape: NetworkShape) -> Signature:
    """Return what the graph of a causal or inpaint model takes and gives.

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
    """A causal or inpaint network, ready to run on declared shapes; for one thread at a time.

    Attributes
    ----------
    manifest : Manifest
        Of the model.
    report : SessionReport
        Where it runs.
    runs, failed : int
        Inferences, and those whose result was not usable.
    last_error : str
        Why the last of these was not.
    """

    def __init__(
        self, manifest: Manifest, session: BoundSession, shapes: Sequence[NetworkShape]
    ) -> None:
        self.manifest = manifest
        self.report = session.report
        self.runs = 0
        self.failed = 0
        self.last_error = ""
        self._session = session
        self._index = {inputs[0].shape: i for i, inputs in enumerate(session.inputs)}
        self._finite = [np.empty(output.shape, np.bool_) for output in session.outputs]
        self.shapes = tuple(shapes)

    @property
    def on_gpu(self) -> bool:
        """Whether it cools down when idle, so that :meth:`keep_warm` matters."""
        return self._session.on_gpu

    def run(
        self,
        spectra: NDArray[np.float32],
        lost: NDArray[np.float32],
        out: NDArray[np.float32],
    ) -> bool:
        """Fill the gaps; return whether ``out`` was written, which only a sound result is.

        Parameters
        ----------
        spectra : float32, shape (batch, drafts, 2, bins, frames)
            Real and imaginary part of every draft's STFT.
        lost : float32, shape (batch, frames)
            Share of each frame's samples that lies in the gap.
        out : float32, shape (batch, 2, bins, filled frames), written
            STFT of the fill.

        Raises
        ------
        ConfigError
            If the shape was not declared at opening.
        """
        index = self._index.get(spectra.shape)
        if index is None:
            raise ConfigError(
                f"spectra have the shape {spectra.shape}; opened for "
                f"{', '.join(map(str, self._index))}"
            )
        session = self._session
        np.copyto(session.inputs[index][0], spectra)
        np.copyto(session.inputs[index][1], lost)
        self.runs += 1
        try:
            session.run(index)
        except Exception as error:  # ONNX Runtime's have no common class of their own
            return self._fail(str(error) or type(error).__name__)
        output = session.outputs[index]
        np.isfinite(output, out=self._finite[index])
        if not self._finite[index].all():
            return self._fail("the network returned NaN or infinity")
        np.copyto(out, output)
        return True

    def _fail(self, why: str) -> bool:
        self.failed += 1
        self.last_error = why
        return False

    def keep_warm(self) -> None:
        """Run once on what lies in the buffers, for nothing; exceptions pass through."""
        self._session.run(0)

    def cancel(self) -> None:
        """Make a run in another thread end soon; it then counts as failed."""
        self._session.cancel()


def open_network(
    model: str | Path | Manifest,
    shapes: Sequence[NetworkShape],
    *,
    providers: str | Sequence[str] = "auto",
    threads: int = 1,
    cuda_graph: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> GapNetwork:
    """Return a network that is verified, bound and warm.

    Parameters
    ----------
    model : str, Path or Manifest
        Name of one in the package, path of a manifest (or of the ONNX file beside it), or the
        manifest itself.
    shapes : sequence of NetworkShape
        All that will be run, 1 to 64.
    providers, threads, cuda_graph, clock
        As for :func:`open_session`.

    Raises
    ------
    MissingExtraError, ModelError, ConfigError
        As for :func:`open_session`.
    """
    manifest = model if isinstance(model, Manifest) else find(model)
    if manifest.kind == "paper":
        raise ConfigError(
            f"{manifest.name} is the paper's network; it fills whole files only: plc inpaint"
        )
    signatures = [network_signature(manifest, shape) for shape in shapes]
    session = open_session(
        manifest,
        signatures,
        providers=providers,
        threads=threads,
        cuda_graph=cuda_graph,
        clock=clock,
    )
    return GapNetwork(manifest, session, shapes)
