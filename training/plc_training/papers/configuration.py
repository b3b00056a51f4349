"""JSON configurations of generated notes, read as recipes.

They are those of the document's program [1]_. Their keys become those of a recipe of the task
``notes``. A key that is unknown, and a value that would make another network or training than it
says, are refused by name. Keys of ``WITHOUT_EFFECT`` say where files lie or how they are read:
options of ``plc train`` say that here.

==================================================  ================================================
key                                                 becomes
==================================================  ================================================
``loaderConfig.pitch_range``                        ``settings.lowest``, ``settings.highest``
``transformConfig.transform``, ``ifreq``            ``settings.representation``
``sample_rate``; ``n_frames`` times ``hop_size``,   ``data.sample_rate``; ``data.samples``
less 1, or ``audio_length``
``modelConfig.depthScales``, ``dimLatentVector``    ``settings.widths``, ``settings.latent``
``maxIterAtScale``                                  ``settings.scale_steps``, ``schedule.steps``
``miniBatchSize``, ``baseLearningRate``             ``schedule.batch``, ``schedule.learning_rate``
``weightConditionG``, ``weightConditionD``          ``settings.label_weight``
==================================================  ================================================

References
----------
.. [1] J. Nistal, S. Lattner, G. Richard, "Comparing representations for audio synthesis using
   generative adversarial networks", EUSIPCO, 2020, arXiv 2006.09266.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plc.errors import ConfigError
from plc.papers.representations.spectral import BIN_HZ
from plc_kernels.spectra.windows import grid_window_samples
from plc_training.papers.progressive import LEAK

TRANSFORMS: Mapping[str, str] = {
    "waveform": "waveform",
    "stft": "complex",
    "specgrams": "magnitude-phase",
    "mag-if": "magnitude-if",
    "mel": "mel",
    "mfcc": "mfcc",
    "cqt": "constant-q",
    "cq_nsgt": "nsgt",
}
"""Representations by the program's names; ``specgrams`` with ``ifreq`` is that of ``mag-if``."""
WITHOUT_EFFECT = (
    "comments",
    "output_path",
    "loaderConfig.data_path",
    "loaderConfig.att_dict_path",
    "loaderConfig.load_metadata",
    "loaderConfig.shuffle",
    "modelConfig.imagefolderDataset",
    "modelConfig.dimOutput",
)
"""Keys that are accepted: ``--data`` and ``--out`` say what they say."""
FIXED: Mapping[str, Any] = {
    "loaderConfig.attribute_list": ["pitch"],
    "transformConfig.fade_out": True,
    "transformConfig.log": True,
    "modelConfig.formatLayerType": "default",
    "modelConfig.ac_gan": True,
    "modelConfig.alphaJumpMode": "linear",
    "modelConfig.transposed": False,
    "modelConfig.perChannelNormalization": True,
    "modelConfig.lossMode": "WGANGP",
    "modelConfig.lambdaGP": 10.0,
    "modelConfig.leakyness": LEAK,
    "modelConfig.miniBatchStdDev": True,
    "modelConfig.attribKeysOrder": {"pitch": 0},
    "modelConfig.startScale": 0,
    "modelConfig.skipAttDfake": [],
}
"""Keys that have one value here."""
_READ = (
    "name",
    "loaderConfig.pitch_range",
    *(f"transformConfig.{key}" for key in ("transform", "ifreq", "sample_rate", "audio_length")),
    *(f"transformConfig.{key}" for key in ("n_frames", "hop_size", "win_size", "fft_size")),
    *(f"modelConfig.{key}" for key in ("downSamplingFactor", "maxIterAtScale", "depthScales")),
    *(f"modelConfig.{key}" for key in ("alphaNJumps", "alphaSizeJumps", "miniBatchSize")),
    *(f"modelConfig.{key}" for key in ("dimLatentVector", "baseLearningRate")),
    *(f"modelConfig.{key}" for key in ("weightConditionG", "weightConditionD")),
)
_GROUPS = ("loaderConfig", "transformConfig", "modelConfig")
_VALIDATIONS = 10
# The program's defaults.
_RATE, _LEARNING_RATE, _LABEL_WEIGHT = 16_000, 1e-3, 10.0


def recipe_of_json(text: str, path: Path) -> str:
    """Return the TOML text of a recipe for a JSON configuration.

    Raises
    ------
    ConfigError
        If it is no such configuration, or none that can be trained here.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ConfigError("holds no object of settings")
        return _toml(_tables(_Values(_flat(values)), path))
    except (ValueError, RecursionError) as error:
        said = f"not valid JSON: {error}" if not isinstance(error, ConfigError) else error
        raise ConfigError(f"{path}: {said}") from error


class _Values:
    """Values by their dotted keys."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        known = {*_READ, *WITHOUT_EFFECT, *FIXED}
        for key, value in values.items():
            if key not in known:
                raise ConfigError(
                    f"{key} is {_shown(value)}, which has no counterpart here; leave it out. Notes "
                    "are chosen by the folder given to --data"
                )
            if key in FIXED and value != FIXED[key]:
                raise ConfigError(f"{key} is {_shown(value)}; here it is {_shown(FIXED[key])}")

    def number(self, key: str, default: float | None = None) -> float:
        """Return a number above 0."""
        value: Any = self._values.get(key, default)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and 0 < value < 1e9):
            raise ConfigError(f"{key} is {_shown(value)}; expected a number above 0")
        return float(value)

    def whole(self, key: str, default: int | None = None) -> int:
        """Return a whole number above 0."""
        value = self.number(key, default)
        if value != int(value):
            raise ConfigError(f"{key} is {value:g}; expected a whole number")
        return int(value)

    def wholes(self, key: str, count: int | None = None) -> list[int]:
        """Return whole numbers above 0, of a number if it is given."""
        found = self._values.get(key)
        good = isinstance(found, list) and all(type(item) is int and item > 0 for item in found)
        if not good or not found or (count is not None and len(found) != count):
            many = "" if count is None else f"{count} "
            raise ConfigError(f"{key} is {_shown(found)}; expected {many}whole numbers above 0")
        return list(found)

    def alike(self, key: str, count: int) -> int:
        """Return the one number of a list of equal ones."""
        numbers = self.wholes(key, count)
        if len(set(numbers)) > 1:
            raise ConfigError(f"{key} is {numbers}; here all scales have the same")
        return numbers[0]

    def given(self, key: str) -> Any:
        """Return a value, or None."""
        return self._values.get(key)


def _tables(values: _Values, path: Path) -> dict[str, dict[str, Any]]:
    rate = values.whole("transformConfig.sample_rate", _RATE)
    widths = values.wholes("modelConfig.depthScales")
    scales = len(widths)
    steps = values.wholes("modelConfig.maxIterAtScale", scales)
    if len(set(steps[:-1])) > 1:
        raise ConfigError(
            f"modelConfig.maxIterAtScale is {steps}; here all scales but the last have the same"
        )
    _check_growth(values, steps)
    weights = [
        values.number(f"modelConfig.weightCondition{player}", _LABEL_WEIGHT) for player in "GD"
    ]
    if weights[0] != weights[1]:
        raise ConfigError(
            f"modelConfig.weightConditionG and weightConditionD are {weights}; here they are equal"
        )
    lowest, highest = _pitches(values)
    name = str(values.given("name") or path.stem)
    return {
        "task": {"kind": "notes"},
        "data": {"sample_rate": rate, "samples": _samples(values, rate)},
        "settings": {
            "representation": _representation(values),
            "widths": widths,
            "latent": values.whole("modelConfig.dimLatentVector"),
            "lowest": lowest,
            "highest": highest,
            "scale_steps": steps[0],
            "label_weight": weights[0],
        },
        "schedule": {
            "steps": sum(steps),
            "batch": values.alike("modelConfig.miniBatchSize", scales),
            "learning_rate": values.number("modelConfig.baseLearningRate", _LEARNING_RATE),
            "decay": "none",
            "beta1": 0.0,
            "beta2": 0.99,
            "warm_up": 1,
            "weight_decay": 0.0,
            "clip_norm": 0.0,
            "validate_every": max(1, sum(steps) // _VALIDATIONS),
        },
        "model": {
            "name": re.sub(r"[^A-Za-z0-9._-]", "-", name)[:64].lstrip("._-") or "notes",
            "content": "music",
            "licence": "not said",
        },
    }


def _representation(values: _Values) -> str:
    name = values.given("transformConfig.transform")
    if name not in TRANSFORMS:
        raise ConfigError(
            f"transformConfig.transform is {_shown(name)}; known: {', '.join(TRANSFORMS)}"
        )
    steps = values.given("transformConfig.ifreq")
    if name == "specgrams" and steps is True:
        return TRANSFORMS["mag-if"]
    if name == "mag-if" and steps is False:
        raise ConfigError("transformConfig.ifreq is false; mag-if has instantaneous frequencies")
    return TRANSFORMS[name]


def _samples(values: _Values, rate: int) -> int:
    window = grid_window_samples(rate, BIN_HZ)
    expected = {"win_size": window, "fft_size": window, "hop_size": window // 4}
    for key, samples in expected.items():
        found = values.whole(f"transformConfig.{key}", samples)
        if found != samples:
            raise ConfigError(
                f"transformConfig.{key} is {found}; at {rate} Hz it is {samples} here"
            )
    if values.given("transformConfig.n_frames") is None:
        return values.whole("transformConfig.audio_length")
    return values.whole("transformConfig.n_frames") * expected["hop_size"] - 1


def _pitches(values: _Values) -> tuple[int, int]:
    lowest, highest = values.wholes("loaderConfig.pitch_range", 2)
    if not lowest <= highest <= 127:
        raise ConfigError(
            f"loaderConfig.pitch_range is {[lowest, highest]}; expected the lowest and the highest "
            "MIDI pitch, up to 127"
        )
    return lowest, highest


def _check_growth(values: _Values, steps: Sequence[int]) -> None:
    """Refuse scales and fading that do not fit the task."""
    sizes = [[2**k, 2**k] for k in reversed(range(len(steps)))]
    found = values.given("modelConfig.downSamplingFactor")
    if found is not None and found != sizes:
        raise ConfigError(
            f"modelConfig.downSamplingFactor is {_shown(found)}; here {len(steps)} scales have "
            f"{_shown(sizes)}"
        )
    if all(values.given(f"modelConfig.alpha{each}") is None for each in ("NJumps", "SizeJumps")):
        return
    jumps, lengths = (
        values.wholes(f"modelConfig.alpha{each}", len(steps)) for each in ("NJumps", "SizeJumps")
    )
    # The first scale has none before it.
    for scale in range(1, len(steps)):
        fading = jumps[scale] * lengths[scale]
        if fading != steps[0] // 2:
            raise ConfigError(
                f"modelConfig.alphaNJumps and alphaSizeJumps fade scale {scale} in over {fading} "
                f"steps; here it is {steps[0] // 2}, half of the first scale's: leave them out"
            )


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Return values by dotted keys."""
    flat = {key: value for key, value in values.items() if key not in _GROUPS}
    for group in _GROUPS:
        part = values.get(group, {})
        if not isinstance(part, dict):
            raise ConfigError(f"{group} is {_shown(part)}; expected an object")
        flat |= {f"{group}.{key}": value for key, value in part.items()}
    return flat


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["# Made from a JSON configuration."]
    for name, table in tables.items():
        # Texts, numbers and lists of numbers are alike in JSON and TOML.
        lines += [
            "",
            f"[{name}]",
            *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
        ]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
