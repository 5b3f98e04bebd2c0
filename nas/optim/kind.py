"""What `nas.run` needs to know of a kind of search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cells.genotype import Genotype
from nas.optim.search import Search
from nas.runtime.processes import Processes


@dataclass(frozen=True, kw_only=True)
class SearchKind:
    """A kind of search: its settings, its checkpoint, its beginning and its end."""

    config: type
    """Class of its settings; they have `device` and `to_dict`."""
    presets: Mapping[str, Any]
    """Its presets, by name."""
    recognises: Callable[[Mapping[str, Any]], bool]
    """Tells whether settings, as JSON values, are its own."""
    read_config: Callable[[dict[str, Any]], Any]
    """Rebuilds settings from their JSON values; raises InputError if they are refused."""
    state_keys: frozenset[str]
    """What its checkpoints hold, at least."""
    check_state: Callable[[dict[str, Any], Any], None]
    """Refuses, given its settings, a checkpoint of another form; raises `Misfit`."""
    begin: Callable[[Any, Processes, dict[str, Any] | None], Search]
    """Builds the search from its settings, and from a checkpoint if one is given."""
    rehearse: Callable[[Any, Path], None]
    """Does what `complete` does after the last step, but little of it, in a folder for a while.

    What can be refused then is refused before the first step. Called in the main process alone; it
    prints nothing and leaves the search as it was.
    """
    complete: Callable[[Any, Path, bool], None]
    """Runs a search to its end and reports it in its folder, given whether it was resumed."""
    describe: Callable[[Any], str]
    """Says in a line what data a search is about."""
    rough_bytes: Callable[[Any], int]
    """Bytes that a step of a search does not exceed, from its sizes alone."""
    trial: Callable[[Any, int], Search]
    """Builds a search like one that there is, on its data, with another batch size."""
    after: Callable[[Any, Path], dict[str, float]]
    """Seconds of what `complete` does after the last step, by name, from samples of it.

    Given a folder for a while, in which it leaves as large a report as the run will have.
    """
    within: Callable[[Any, dict[str, float], float], dict[str, float]] = (
        lambda search, after, seconds: after
    )
    """Has a search do less after its last step, where that would leave too little of some seconds
    for the steps; given what `after` returned, returns the same of what it does now."""
    epoch_ends: Callable[[Any, Path], None] = lambda search, folder: None
    """What else a search does at the end of an epoch, given the run's folder."""
    middle: Callable[[Any], Genotype] | None = None
    """A cell of about middle cost, as a search begins; None where there are no cells."""
    side_by_side: Callable[[Any], tuple[float, int]] = lambda search: (1.0, 1)
    """By how much longer all searches of a run take than one, and in how many processes."""
    complete_first: Callable[[Any, Path], None] | None = None
    """Runs the first of several searches of a run to its end, begins the others, and reports
    nothing; None where a run is one search."""
    with_method: Callable[[Any, str, Sequence[str], str], Any] | None = None
    """Reads a command line, and a method's name, over default settings; None without methods.

    Called with the default settings, the method, the options, and the program's name.
    """
