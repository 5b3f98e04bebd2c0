"""A model of what cells of the space of DARTS reach on CIFAR-10, which no search ever sees.

The labels are predictions themselves: the validation accuracy in per cent that the surrogate of
NAS-Bench-301 (Zela et al. 2022; 8 cells of 32 channels, 100 epochs) gives to 1 218 cells. A
Gaussian process on simple features of a cell is fitted to them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import kendalltau
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cells.cell import Skeleton
from cells.cost import CostTable, cost_table
from cells.errors import InputError
from cells.notation import from_darts
from cells.sampling import Choices
from cells.space import find_space
from experiments.records import read_table

FILE = "nasbench301_cifar10.csv.gz"
SPACE = find_space("darts")
LENGTH, AMPLITUDE, NOISE = 28.0, 1.28, 1e-3
"""Of the radial basis function, in standard deviations of features and of accuracies; the noise is
a share of the variance. They are those of the file's README, and nothing is fitted here but the
function itself."""
FOLDS = 5
LEAST_R2, LEAST_TAU = 0.89, 0.79
"""Quality in cross-validation below which nothing is measured."""
MOST_SKIPS, MOST_FREE = 7, 13
"""Skip connections, and operations without parameters, of the 16 of a cell that labels cover."""

_SKIP = SPACE.ops.index("skip_connect")
_POOLS = [SPACE.ops.index(name) for name in ("max_pool_3x3", "avg_pool_3x3")]
_SEPARABLE = [column for column, name in enumerate(SPACE.ops) if name.startswith("sep_conv")]
_DILATED = [column for column, name in enumerate(SPACE.ops) if name.startswith("dil_conv")]
_EDGES = len(SPACE.cell_edges)


def params_table(channels: int = 16) -> CostTable:
    """Counts the parameters of networks of 8 cells for 10 classes, without an auxiliary head."""
    size = {"in_channels": 3, "num_classes": 10, "height": 32, "width": 32}
    return cost_table("params", Skeleton(space=SPACE, channels=channels, num_cells=8, **size))


def supported(cell: Choices) -> bool:
    """Tells whether the labels cover cells like this one; of others a prediction means nothing."""
    skips = sum(op == _SKIP for op in cell)
    free = sum(op == _SKIP or op in _POOLS for op in cell)
    return skips <= MOST_SKIPS and free <= MOST_FREE


def features(cells: Sequence[Choices], params: CostTable) -> np.ndarray:
    """Describes cells by numbers, (n, features) float64.

    For the normal and the reduction cell: which operation stands on each edge; how many there are
    of each, and of separable, dilated and pooling ones; how many edges come from each input and
    from inner nodes; what leaves each state; the depth of each node, the mean and the largest; the
    convolutions on the longest path to each node. And the parameters of the whole network.
    """
    sizes = params.totals(torch.tensor(cells)).tolist()
    return np.array(
        [
            [*_of_kind(cell[:_EDGES]), *_of_kind(cell[_EDGES:]), size]
            for cell, size in zip(cells, sizes, strict=True)
        ],
        dtype=np.float64,
    )


def _of_kind(ops: Sequence[int]) -> list[float]:
    """Describes one cell, operations (14,) by edge."""
    kept = [
        (source, target, op)
        for (source, target), op in zip(SPACE.cell_edges, ops, strict=True)
        if op != SPACE.none
    ]
    columns = range(1, len(SPACE.ops))
    counts = [sum(op == column for _, _, op in kept) for column in columns]
    families = [sum(op in family for _, _, op in kept) for family in (_SEPARABLE, _DILATED, _POOLS)]
    first, last = SPACE.num_inputs, SPACE.num_inputs + SPACE.num_nodes
    leaving = [sum(source == state for source, _, _ in kept) for state in range(last - 1)]
    depth, convolved = [0] * last, [0] * last
    for source, target, op in kept:  # in the order of targets
        depth[target] = max(depth[target], depth[source] + 1)
        heavy = op in _SEPARABLE or op in _DILATED
        convolved[target] = max(convolved[target], convolved[source] + heavy)
    return [
        *(float(op == column) for op in ops for column in columns),
        *counts,
        *families,
        *leaving[:first],
        sum(leaving[first:]),
        *leaving,
        *depth[first:],
        max(depth),
        sum(depth[first:]) / SPACE.num_nodes,
        *convolved[first:],
    ]


class Quality(NamedTuple):
    """How well the surrogate reproduces labels that it was not fitted to."""

    r2: float
    """Share of the variance that it explains."""
    tau: float
    """Kendall's rank correlation."""
    rmse: float
    """Per cent of accuracy."""


class Surrogate:
    """Predicts the accuracy of cells of the space of DARTS.

    Attributes:
        cells: those with labels.
        accuracy: (n,) their labels, per cent.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: holds the file of labels.

        Raises:
            InputError: if it does not.
        """
        rows = read_table(folder, FILE)
        self.cells: list[Choices] = [from_darts(row["genotype"]).choices() for row in rows]
        self.accuracy = np.array([float(row["accuracy"]) for row in rows])
        self._params = params_table(32)
        self._features = features(self.cells, self._params)
        self._model = _model().fit(self._features, self.accuracy)

    def quality(self) -> Quality:
        """Measures the surrogate by cross-validation.

        Raises:
            InputError: if it is too bad to measure anything with.
        """
        folds = KFold(FOLDS, shuffle=True, random_state=0)
        predicted = cross_val_predict(_model(), self._features, self.accuracy, cv=folds)
        errors = predicted - self.accuracy
        quality = Quality(
            float(1 - (errors**2).mean() / self.accuracy.var()),
            float(kendalltau(predicted, self.accuracy).statistic),
            float(np.sqrt((errors**2).mean())),
        )
        if quality.r2 < LEAST_R2 or quality.tau < LEAST_TAU:
            raise InputError(
                f"the surrogate has R² {quality.r2:.3f} and τ {quality.tau:.3f} in "
                f"cross-validation, less than {LEAST_R2} and {LEAST_TAU}: restore a copy of {FILE}"
            )
        return quality

    def predict(self, cells: Sequence[Choices]) -> np.ndarray:
        """Returns the accuracies (n,) in per cent; see `supported` for where they mean anything."""
        predicted: np.ndarray = self._model.predict(features(cells, self._params))
        return predicted


def _model() -> Pipeline:
    kernel = ConstantKernel(AMPLITUDE**2) * RBF(LENGTH)
    process = GaussianProcessRegressor(kernel, alpha=NOISE, optimizer=None, normalize_y=True)
    return make_pipeline(StandardScaler(), process)
