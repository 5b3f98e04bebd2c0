"""What the tests of faults share: the process that forks, and undisturbed runs."""

from collections.abc import Iterator

import pytest
from forks import Forks
from trials import Trials


@pytest.fixture(scope="session")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """Runs as forks of one process."""
    forks = Forks()
    yield Trials(forks, tmp_path_factory.mktemp("trials"))
    forks.close()
