"""Scores of generated sounds against their definitions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_bench.papers.generated import (
    Kernels,
    frames_distance,
    inception_score,
    with_interval,
)
from plc_bench.scores.frechet import frechet_distance


def posteriors(seed: int, sounds: int = 30, classes: int = 5) -> NDArray[np.float64]:
    powers = np.exp(2 * np.random.default_rng(seed).standard_normal((sounds, classes)))
    made: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return made


def vectors(seed: int, count: int, size: int = 4) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal((count, size))


def test_the_inception_score_is_that_of_its_definition() -> None:
    p = posteriors(0)
    marginal = p.mean(axis=0)
    each = [sum(row[k] * np.log(row[k] / marginal[k]) for k in range(5)) for row in p]
    assert inception_score(p) == pytest.approx(np.exp(np.mean(each)), rel=1e-6)


def test_the_inception_score_goes_from_one_to_the_number_of_classes() -> None:
    assert inception_score(np.eye(7)) == pytest.approx(7.0)
    assert inception_score(np.full((10, 7), 1 / 7)) == pytest.approx(1.0)
    assert inception_score(np.tile(np.eye(7)[:1], (10, 1))) == pytest.approx(1.0)


def test_the_kernel_distance_is_that_of_its_definition() -> None:
    a, b = vectors(1, 9), vectors(2, 7) + 0.5

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float(16.0 / (16.0 + ((x - y) ** 2).sum()))

    within_a = np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    within_b = np.mean([kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    between = np.mean([kernel(x, y) for x in a for y in b])
    wanted = within_a + within_b - 2 * between
    assert Kernels.of(a, b).distance() == pytest.approx(wanted, rel=1e-9)


def test_the_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    alike = [
        Kernels.of(vectors(seed, 20), vectors(seed + 500, 20)).distance() for seed in range(90)
    ]
    apart = Kernels.of(vectors(0, 20), vectors(500, 20) + 1.0).distance()
    assert abs(np.mean(alike)) < 3 * np.std(alike) / np.sqrt(len(alike))
    assert apart > 5 * np.std(alike)


def test_weights_count_sounds_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    weights = np.array([0, 2, 1, 3])
    p = posteriors(5, sounds=4)
    assert inception_score(p, weights) == pytest.approx(inception_score(np.repeat(p, weights, 0)))
    frames, other = rng.standard_normal((4, 3, 2)), rng.standard_normal((4, 3, 2))
    wanted = frechet_distance(np.repeat(frames, weights, 0).reshape(-1, 2), other.reshape(-1, 2))
    assert frames_distance([*frames], [*other], weights) == pytest.approx(wanted)
    one = np.array([1, 1, 1, 1])
    kernels = Kernels.of(vectors(6, 4), vectors(7, 4))
    assert kernels.distance(one, one) == pytest.approx(kernels.distance())


def test_an_interval_holds_its_figure_and_narrows_with_the_sounds() -> None:
    widths = []
    for count in (20, 500):
        values = np.random.default_rng(8).random(count)

        def mean(
            weights: NDArray[np.integer] | None = None, of: NDArray[np.float64] = values
        ) -> float:
            return float(np.average(of, weights=weights))

        figure = with_interval(mean, [count], seed=1)
        assert figure.low < figure.value < figure.high
        assert figure.value == mean()
        assert figure == with_interval(mean, [count], seed=1)
        widths.append(figure.high - figure.low)
        wanted = 2 * 1.96 * values.std() / np.sqrt(count)
        assert widths[-1] == pytest.approx(wanted, rel=0.25)
    assert widths[1] < widths[0] / 3
    assert figure.text(".3f") == f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
