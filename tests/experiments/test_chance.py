"""What random cells reach, against numpy's own least squares and against simulation."""

import numpy as np
import pytest

from experiments.chance import Chance, verdict

SIZES = np.array([6e3, 9e3, 12e3, 18e3, 25e3, 33e3, 50e3])
SCATTER = np.array([0.3, -0.5, 0.1, 0.4, -0.2, -0.3, 0.2])


def points(accuracies: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(SIZES.tolist(), accuracies.tolist(), strict=True))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_curve_that_is_a_line_is_found(count: int) -> None:
    accuracies = 0.2 + 0.05 * np.log(SIZES)
    chance = Chance(points(accuracies)[:count])
    assert chance.accuracy(30_000) == pytest.approx(0.2 + 0.05 * np.log(30_000))
    assert (chance.low, chance.high, chance.count) == (SIZES[0], SIZES[count - 1], count)
    assert (chance.deviation is None) == (count < 7)
    assert chance.error([30_000]) == (None if count < 7 else pytest.approx(0, abs=1e-9))


def test_curve_and_errors_are_those_of_numpy() -> None:
    """Its coefficients and their covariance, unscaled, for powers of log size in falling order."""
    accuracies = 80 + 3 * np.log(SIZES) - 0.1 * np.log(SIZES) ** 2 + SCATTER
    chance = Chance(points(accuracies))
    coefficients, covariance = np.polyfit(np.log(SIZES), accuracies, 2, cov="unscaled")
    residuals = accuracies - np.polyval(coefficients, np.log(SIZES))
    deviation = np.sqrt((residuals**2).sum() / 4)
    assert chance.deviation == pytest.approx(deviation)
    cells = [(10_000.0, 84.0), (21_000.0, 86.0), (47_000.0, 85.0)]
    expected = np.polyval(coefficients, np.log([size for size, _ in cells]))
    assert [chance.accuracy(size) for size, _ in cells] == pytest.approx(expected)
    assert chance.ahead(cells) == pytest.approx((255 - expected.sum()) / 3)
    row = np.mean([np.log(size) ** np.array([2, 1, 0]) for size, _ in cells], axis=0)
    variance = deviation**2 * (1 / 3 + row @ covariance @ row)
    assert chance.error([size for size, _ in cells]) == pytest.approx(np.sqrt(variance), rel=1e-6)


def test_the_error_is_that_of_random_cells() -> None:
    """Three more cells like the seven: how far their mean is off, over 4 000 draws."""
    draw = np.random.default_rng(0)
    others = [8_000.0, 20_000.0, 45_000.0]
    ahead, variances = [], []
    for _ in range(4000):
        chance = Chance(points(85 + draw.normal(size=7)))
        ahead.append(chance.ahead([(size, 85 + draw.normal()) for size in others]))
        error = chance.error(others)
        assert error is not None
        variances.append(error**2)
    assert np.mean(variances) == pytest.approx(np.var(ahead), rel=0.1)
    assert np.mean(ahead) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("ahead", "error", "expected"),
    [
        (1.0, 0.49, "yes"),
        (-1.0, 0.49, "no"),
        (1.0, 0.51, "undecided"),
        (-1.0, 0.51, "undecided"),
        (0.0, 0.0, "undecided"),
        (1.0, None, ""),
    ],
)
def test_a_verdict_takes_two_standard_errors(
    ahead: float, error: float | None, expected: str
) -> None:
    assert verdict(ahead, error) == expected
