"""Settings of the choice of cells at the end."""

from dataclasses import dataclass
from typing import Annotated

from cells.errors import InputError
from nas.runtime.settings import Count, NotNegative, OneOf, Settings, at_least, from_to
from nas.selection.evolution import POPULATION

SOURCES = ("drawn", "mixed", "random", "evolved")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig(Settings):
    """The cells that are chosen at the end."""

    finalists: Annotated[int, from_to(0, 20_000)] = 0
    """Cells drawn for all λs at the end and scored on validation images. The position of λ in its
    range is then one in the range of their log costs, and the best near it is chosen; 0 chooses
    the discretised cell of q(γ|λ)."""
    finalist_source: Annotated[str, OneOf("finalist source", SOURCES)] = "drawn"
    """Where finalists come from: drawn from q(γ|λ); random cells of all costs; mixed, half of each;
    evolved, all that a regularised evolution of likelihood against cost has scored. `finalists`
    limits each alike."""
    naswot: NotNegative = 0.15
    """What one unit of a finalist's NASWOT score is worth, in nats per example; 0 for nothing. The
    score tells, without training, how differently a cell's network responds to different images."""
    searches: Count = 1
    """Searches that share the finalists, each with weights and a hypernetwork of its own: cells are
    drawn from all distributions and scored by the mean likelihood of all supernets. One seed alone
    ranks cells less surely. With threads set, they run side by side, a process each."""
    grid: Annotated[int, from_to(1, 10_000)] = 41
    """λs of the final front, evenly spaced in log λ."""
    eval_images: Annotated[int, at_least(2)] = 5000
    """Validation images on which each cell of the front is scored with the supernet's weights."""
    chance: Annotated[int, from_to(0, 10_000)] = 100
    """Random cells, evenly over the cost, that are scored as the front's: they are the band in
    front.svg and tell whether the front is above chance. Each takes as long as a cell of the front;
    0 leaves them out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.searches > 1 and not self.finalists:
            raise InputError(
                f"{self.searches} searches have nothing but finalists in common: add "
                "--finalists 500, or --searches 1"
            )
        source, count = self.finalist_source, self.finalists
        if source != "drawn" and not count:
            raise InputError(
                f"finalist_source {source!r} needs finalists to score: add --finalists 500, or "
                "--finalist-source drawn"
            )
        if source == "evolved" and count <= POPULATION:
            raise InputError(
                f"finalist_source 'evolved' begins with {POPULATION} random cells: finalists must "
                f"be more than that, got {count}"
            )
        if source == "mixed" and count == 1:
            raise InputError(
                "finalist_source 'mixed' takes half of them at random: finalists must be at "
                "least 2, got 1"
            )
