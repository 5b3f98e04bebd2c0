"""The other searches of a run, in processes of their own."""

import os
import signal
import subprocess
import time

import pytest

from nas.cell_search.ensemble import is_at_rest


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not tell of stopped ones")
def test_a_process_rests_while_it_is_stopped_and_when_it_has_ended() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        for number, rests in (
            (signal.SIGSTOP, True), (signal.SIGCONT, False),
            (signal.SIGSTOP, True), (signal.SIGKILL, True),
        ):  # fmt: skip
            assert is_at_rest(process) != rests or number == signal.SIGKILL
            process.send_signal(number)
            while is_at_rest(process) != rests:
                time.sleep(0.01)
        assert process.wait() == -signal.SIGKILL
