"""What random cells reach: accuracy as a curve over parameters, and how sure it is."""

from collections.abc import Sequence

import numpy as np

COEFFICIENTS = 3
"""Of a parabola."""
LEAST = 2.0
"""Standard errors from which a difference counts as one."""


class Chance:
    """Accuracy of random cells as a parabola in the logarithm of parameters, by least squares.

    Attributes:
        count: how many random cells there are.
        low: parameters of the smallest of them.
        high: parameters of the largest; what the curve says beyond either is extrapolation.
        deviation: standard deviation of a random cell from the curve, s = √(RSS / (n − 3)); None
            if there are too few sizes for a parabola, where a line takes its place.
    """

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        """
        Args:
            points: parameters, > 0, and accuracy of each random cell; two sizes at least.
        """
        sizes = np.array([size for size, _ in points], dtype=float)
        accuracies = np.array([accuracy for _, accuracy in points], dtype=float)
        self.count = len(points)
        self.low, self.high = float(sizes.min()), float(sizes.max())
        # The logarithms are centred, so that their squares are not nearly multiples of them.
        self._centre = float(np.log(sizes).mean())
        enough = len(np.unique(sizes)) > COEFFICIENTS
        self._powers = np.arange(COEFFICIENTS if enough else 2)
        design = self._design(sizes)
        self._coefficients = np.linalg.lstsq(design, accuracies, rcond=None)[0]
        self.deviation: float | None = None
        if enough:
            residuals = accuracies - design @ self._coefficients
            self.deviation = float(np.sqrt(residuals @ residuals / (len(points) - COEFFICIENTS)))
            self._inverse = np.linalg.inv(design.T @ design)

    def accuracy(self, params: float) -> float:
        """Expected accuracy of a random cell with so many parameters."""
        return float(self._design([params])[0] @ self._coefficients)

    def ahead(self, cells: Sequence[tuple[float, float]]) -> float:
        """Mean of what cells, (parameters, accuracy), have above the curve."""
        return float(np.mean([accuracy - self.accuracy(params) for params, accuracy in cells]))

    def error(self, params: Sequence[float]) -> float | None:
        """Standard deviation that `ahead` would have for random cells of these sizes.

        s · √(1/m + x̄ᵀ (XᵀX)⁻¹ x̄): m cells scatter about the curve, and the curve itself is
        estimated from the rows X; x̄ is the mean of the cells' rows (the variance of a prediction by
        least squares). None without `deviation`.
        """
        if self.deviation is None:
            return None
        mean = self._design(params).mean(axis=0)
        return self.deviation * float(np.sqrt(1 / len(params) + mean @ self._inverse @ mean))

    def _design(self, sizes: Sequence[float] | np.ndarray) -> np.ndarray:
        return (np.log(np.asarray(sizes, dtype=float)) - self._centre)[:, None] ** self._powers


def verdict(ahead: float, error: float | None) -> str:
    """Whether a difference is above 0: yes, no (below), undecided; nothing without an error."""
    if error is None:
        return ""
    if abs(ahead) < LEAST * error or ahead == 0:
        return "undecided"
    return "yes" if ahead > 0 else "no"
