"""Settings of images and their classes."""

from dataclasses import dataclass
from typing import Annotated

from nas.data.pixels import FITS, STRETCH
from nas.runtime.settings import Between, Count, OneOf, Seed, Settings, Text, at_least

AUTO, CLASSIFICATION, REGRESSION = "auto", "classification", "regression"
TaskName = Annotated[str, OneOf("task", (AUTO, CLASSIFICATION, REGRESSION))]


@dataclass(frozen=True, kw_only=True)
class ImagesConfig(Settings):
    """Images, and their parts."""

    data: Text = "digits"
    """digits, mnist, fashion, cifar10, cifar100, an .npz file, a folder of images, a .csv or .json
    list of files and labels, or hf:NAME, a data set of Hugging Face. Where images are transparent
    they lie on white."""
    image_size: Annotated[int | None, at_least(1)] = None
    """Side in pixels to which images from files are brought."""
    image_fit: Annotated[str, OneOf("fit", FITS)] = STRETCH
    """How: stretch (without regard to the aspect), crop (the middle) or pad (with black)."""
    val_fraction: Between = 0.5
    """Share of the training images on which the architecture is trained."""
    split_seed: Seed = 0
    """Fixes the train, validation and (where the data set has none of its own) test parts."""
    shrink: Count = 1
    """The supernet sees means of this many by this many pixels; costs stay those of full images."""


ACCURACY, BALANCED_ACCURACY = METRICS = ("accuracy", "balanced_accuracy")


@dataclass(frozen=True, kw_only=True)
class ClassesConfig(Settings):
    """Classes of unequal size."""

    class_weights: Annotated[str, OneOf("class weights", ("none", "balanced"))] = "none"
    """none, or balanced: the loss of an image counts the more, the rarer its class."""
    metric: Annotated[str, OneOf("metric", METRICS)] = ACCURACY
    """What networks are compared by: accuracy, or balanced_accuracy, the mean over classes of the
    share that is recognised."""
