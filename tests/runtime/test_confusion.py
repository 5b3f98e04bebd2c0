"""Counts of classes, against scikit-learn's."""

import csv
import io

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, recall_score
from sklearn.utils.class_weight import compute_class_weight

from nas.runtime.confusion import (
    balanced_accuracy,
    balanced_weights,
    confusion,
    recalls,
    to_csv,
)

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.tensor([0] * 50 + [1] * 7 + [3] * 20)  # of class 2 there is no example
LOGITS = torch.randn(77, 4, generator=GENERATOR) + torch.nn.functional.one_hot(LABELS, 4)


def test_counts_are_those_of_scikit_learn() -> None:
    counts, predicted = confusion(LOGITS, LABELS), LOGITS.argmax(1)
    assert counts.tolist() == confusion_matrix(LABELS, predicted, labels=range(4)).tolist()
    present = [0, 1, 3]
    wanted = recall_score(LABELS, predicted, labels=present, average=None)
    assert recalls(counts)[present].tolist() == pytest.approx(wanted)
    # Of the classes that occur; scikit-learn warns of a predicted one that does not.
    assert balanced_accuracy(counts) == pytest.approx(sum(wanted) / 3)
    both = LABELS != 3
    assert balanced_accuracy(confusion(LOGITS[both, :2], LABELS[both])) == pytest.approx(
        balanced_accuracy_score(LABELS[both], LOGITS[both, :2].argmax(1))
    )


def test_weights_are_those_of_scikit_learn() -> None:
    labels = torch.tensor([0] * 50 + [1] * 7 + [2] * 20)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    found = balanced_weights(labels, 3)
    assert found.tolist() == pytest.approx(wanted.tolist())
    assert float(found[labels].mean()) == pytest.approx(1)


def test_a_table_that_can_be_read() -> None:
    counts = torch.tensor([[3, 1], [0, 0]])
    rows = list(csv.reader(io.StringIO(to_csv(counts, ["a,b", "recall"]).decode())))
    assert rows == [
        ["class \\ taken for", "a,b", "recall", "recall"],
        ["a,b", "3", "1", "0.7500"],
        ["recall", "0", "0", ""],
    ]
