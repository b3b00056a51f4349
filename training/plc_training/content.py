"""Fit :data:`plc.content.MODEL`, which tells speech from music.

    python -m plc_training.content --data CORPUS --data DEBIAN

From every clip a few places are drawn, each heard with 8 s, 1 s and 128 ms on either side, as a
file's gap is. Domains count alike, and so do the libraries in them. Printed are the model and, for
the clips that validate, how far the probability is from the truth.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from plc.content import expanded, features
from plc.engine_cache import cache_root
from plc.errors import PlcError
from plc_bench.corpus import clip_seed
from plc_bench.metrics import GAP_RMS_MIN, rms
from plc_training.display import Display
from plc_training.library import Clip, Decoded, decode_library, find_library, read_samples

RATE = 16_000
REACHES_S = (8.0, 1.0, 0.128)
_GAP = round(0.064 * RATE)
_DOMAINS = ("music", "instruments", "speech")
_PENALTY = 1e-4
_NEWTON_STEPS = 50


def examples(
    clip: NDArray[np.float32], places: int, rng: np.random.Generator
) -> Iterator[list[NDArray[np.float64]]]:
    """Yield the features of places in a clip, for each reach."""
    for _ in range(places):
        edge = round(REACHES_S[-1] * RATE)
        if clip.size <= 2 * edge + _GAP:
            return
        start = int(rng.integers(edge, clip.size - edge - _GAP))
        stop = start + _GAP
        if rms(clip[start:stop]) < GAP_RMS_MIN:
            continue
        found = []
        for reach_s in REACHES_S:
            reach = round(reach_s * RATE)
            sides = [clip[max(0, start - reach) : start], clip[stop : stop + reach]]
            made = features(sides, RATE)
            if made is not None:
                found.append(made)
        if len(found) == len(REACHES_S):
            yield found


def fitted(
    found: NDArray[np.float64], speech: NDArray[np.bool_], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the model of a weighted logistic regression, by Newton's method.

    Parameters
    ----------
    found : float64, shape (n, 8)
        Features.
    speech : bool, shape (n,)
        What they are of.
    share : float64, shape (n,)
        How much each counts; they sum to 1.

    Returns
    -------
    float64, shape (3, 17)
        As :data:`plc.content.MODEL`.
    """
    inputs = expanded(found)
    means, deviations = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
    inputs = np.c_[(inputs - means) / deviations, np.ones(len(inputs))]
    weights = np.zeros(inputs.shape[1])
    penalty = _PENALTY * np.eye(weights.size)
    for _ in range(_NEWTON_STEPS):
        said = 1.0 / (1.0 + np.exp(-np.clip(inputs @ weights, -50.0, 50.0)))
        slope = inputs.T @ (share * (said - speech)) + penalty @ weights
        curvature = (inputs.T * (share * said * (1.0 - said))) @ inputs + penalty
        weights -= np.linalg.solve(curvature, slope)
    return np.stack([np.append(means, 0.0), np.append(deviations, 1.0), weights])


def fit(
    data: Annotated[list[Path], typer.Option(help="Libraries, as plc train has them.")],
    clips: Annotated[int, typer.Option(help="At most, of each domain of a library.")] = 200,
    places: Annotated[int, typer.Option(help="In each clip.")] = 3,
    cache: Annotated[Path | None, typer.Option(help="Of decoded audio.")] = None,
) -> None:
    """Fit what tells speech from music, and print it."""
    rng = np.random.default_rng(0)
    chosen, groups = [], {}
    for number, folder in enumerate(data):
        by_domain: dict[tuple[int, str, str], list[Clip]] = {}
        for clip in find_library(folder):
            if clip.domain in _DOMAINS:
                by_domain.setdefault((number, clip.domain, clip.split), []).append(clip)
        for group, members in by_domain.items():
            for k in rng.permutation(len(members))[:clips]:
                chosen.append(members[k])
                groups[members[k].path] = group
    display = Display()
    folder = (cache or cache_root() / "training") / str(RATE)
    with display.stage("decoding", len(chosen)) as advance:
        decoded, failures = decode_library(chosen, RATE, folder, 1, advance)
    display.failures(failures)
    rows, of = [], []
    with display.stage("listening", len(decoded)) as advance:
        for each in decoded:
            for made in _heard(each, places):
                rows.append(made)
                of.append(groups[each.clip.path])
            advance()
    report(np.array(rows), of)


def report(rows: NDArray[np.float64], of: list[tuple[int, str, str]]) -> None:
    """Print the model of the rows to train with, and its errors on those that validate."""
    found = rows.reshape(-1, rows.shape[-1])
    groups = [group for group in of for _ in REACHES_S]
    split = np.array([group[2] for group in groups])
    domain = np.array([group[1] for group in groups])
    speech = domain == "speech"
    train = split == "train"
    share = np.zeros(len(found))
    kinds = {group for group in groups if group[2] == "train"}
    for group in kinds:
        members = np.array([each == group for each in groups])
        libraries = sum(other[1] == group[1] for other in kinds)
        # Music and instruments together count as much as speech.
        content = 0.5 if group[1] == "speech" else 0.25
        share[members] = content / libraries / members.sum()
    model = fitted(found[train], speech[train], share[train])
    inputs = (expanded(found) - model[0, :-1]) / model[1, :-1]
    said = 1.0 / (1.0 + np.exp(-np.clip(inputs @ model[2, :-1] + model[2, -1], -50.0, 50.0)))
    reach = np.tile(REACHES_S, len(of))
    for kind in _DOMAINS:
        for seconds in REACHES_S:
            members = (split == "valid") & (domain == kind) & (reach == seconds)
            if members.any():
                error = float(np.abs(said[members] - speech[members]).mean())
                typer.echo(f"{kind}, {seconds:g} s on either side: {error:.3f} from the truth")
    typer.echo(np.array2string(model, separator=", ", precision=5, max_line_width=100))


def _heard(decoded: Decoded, places: int) -> Iterator[list[NDArray[np.float64]]]:
    rng = np.random.default_rng(clip_seed(decoded.clip.path.name, 0))
    yield from examples(read_samples(decoded), places, rng)


def main() -> None:
    """Run the command; an error of ours becomes one line on stderr."""
    try:
        typer.run(fit)
    except PlcError as error:
        typer.echo(f"plc_training.content: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
