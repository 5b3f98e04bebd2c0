"""How often images of each class are taken for each other one."""

import csv
import io
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_CLASSES = 100
"""Of which `result.json` holds the whole matrix."""


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Counts examples by their class and the one that is predicted.

    Args:
        logits: (batch, classes).
        labels: (batch,) class indices.

    Returns:
        int64 (classes, classes), a row for each true class, on the CPU.
    """
    classes = logits.shape[-1]
    pairs = labels * classes + logits.argmax(dim=-1)
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes).cpu()


def recalls(counts: Tensor) -> Tensor:
    """Returns the share of each class that is recognised, float64 (classes,); NaN without examples.

    Args:
        counts: (classes, classes), see `confusion`.
    """
    return counts.diagonal().double() / counts.sum(dim=1)


def balanced_accuracy(counts: Tensor) -> float:
    """Returns the mean recall of the classes that have examples, in [0, 1].

    Args:
        counts: (classes, classes), see `confusion`.
    """
    return float(recalls(counts).nanmean())


def balanced_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Returns weights with which all classes count alike, and all examples together as before.

    Args:
        labels: (n,) class indices.

    Returns:
        float32 (classes,) on the labels' device, n / (classes × examples of the class).
    """
    counts = torch.bincount(labels, minlength=num_classes).clamp(min=1)
    return (len(labels) / (num_classes * counts.double())).float()


def to_csv(counts: Tensor, classes: Sequence[str]) -> bytes:
    """Returns a table: a row for each true class, with its recall, a column for each predicted one.

    Args:
        counts: (classes, classes), see `confusion`.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["class \\ taken for", *classes, "recall"])
    for name, row, recall in zip(classes, counts.tolist(), recalls(counts).tolist(), strict=True):
        writer.writerow([name, *row, f"{recall:.4f}" if recall == recall else ""])
    return text.getvalue().encode("utf-8")
