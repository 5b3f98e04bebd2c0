"""Signals: saved and left, saved and gone on, left at once; and handlers are put back."""

import builtins
import os
import signal
from collections.abc import Iterator

import pytest

from nas.runtime.script import run_script
from nas.runtime.signals import STOPPING, Interrupted, Stopped, StopSignal, held_back, interruptible


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """SIGHUP is not ignored, as it is where the tests run under `nohup`; all is put back."""
    former = {number: signal.getsignal(number) for number in (*STOPPING, signal.SIGUSR1)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_is_a_flag_and_the_second_leaves(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with pytest.raises(Stopped), StopSignal() as stop:
        assert stop.received is None
        send(number)
        assert stop.received == number
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        with pytest.raises(Interrupted, match="SIGTERM"):
            send(signal.SIGTERM)
        assert stop.received == number
        raise Stopped(number, "step 7", "the same command")
    assert signal.getsignal(number) is former


@pytest.mark.parametrize("number", STOPPING)
def test_one_that_nobody_has_heeded_is_not_lost(number: signal.Signals) -> None:
    """As during the last save of a training, after which there is more to do."""
    expected = KeyboardInterrupt if number == signal.SIGINT else Interrupted
    with interruptible():
        with pytest.raises(expected), StopSignal():
            send(number)
        with StopSignal() as stop:
            pass
        assert stop.received is None


def test_one_signal_asks_to_save_and_go_on() -> None:
    former = signal.getsignal(signal.SIGUSR1)
    with StopSignal() as stop:
        send(signal.SIGUSR1)
        assert stop.asked_to_save and stop.received is None
    assert signal.getsignal(signal.SIGUSR1) is former


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(), StopSignal() as stop:
            send(signal.SIGHUP)
            assert stop.received is None
    finally:
        signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize("number", STOPPING)
def test_outside_of_the_steps_a_script_says_how_to_go_on(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        run_script(lambda: send(number))
    assert leaving.value.code == 128 + number
    out, err = capsys.readouterr()
    assert out == "" and err == (
        f"error: stopped by {number.name}; what was saved is whole: give the same command again, "
        "or go on with --resume and the run's folder\n"
    )


@pytest.mark.parametrize("second", STOPPING)
def test_a_second_one_does_not_disturb_the_last_line(
    second: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped() -> None:
        raise Stopped(signal.SIGTERM, "step 7", "the same command")

    lines: list[object] = []
    monkeypatch.setattr(builtins, "print", lambda line: (send(second), lines.append(line)))
    with pytest.raises(SystemExit) as leaving:
        run_script(stopped)
    assert leaving.value.code == 128 + signal.SIGTERM and len(lines) == 1


def test_a_signal_waits_for_the_end_of_a_block_and_a_second_does_not() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(Interrupted) as caught, interruptible():
        with held_back():
            signal.raise_signal(signal.SIGTERM)
            reached.append("the end")
        reached.append("too far")
    assert caught.value.received == signal.SIGTERM and reached == ["the end"]
    with pytest.raises(Interrupted), interruptible(), held_back():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        reached.append("too far")
    assert reached == ["the end"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_a_lack_of_memory_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as leaving:
        run_script(main)
    assert leaving.value.code == 2
    assert capsys.readouterr().err.startswith("error: out of memory: lower --batch-size")
