"""Jobs of an engine: what cannot be launched, and what a failed job says. Runs as jobs are tested
where they are, in tests/retraining/test_family.py."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cells.errors import InputError
from nas.runtime.commandline import options, parse
from nas.runtime.jobs import JobsConfig, Work, launch, take_jobs, works
from nas.weight_search.lottery import LotteryConfig


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # which jobs set


def test_options_have_names_and_values() -> None:
    config = JobsConfig(job_options=("gpus_per_node=2", "slurm_partition=long"))
    assert config.options() == {"gpus_per_node": 2, "slurm_partition": "long"}
    for text in ("gpus", "=2", "gpus="):
        with pytest.raises(InputError, match=f"job_options are KEY=VALUE, got '{text}'"):
            JobsConfig(job_options=(text,))
    with pytest.raises(InputError, match="unknown launcher 'slrum': did you mean 'slurm'"):
        JobsConfig(launcher="slrum")


def test_options_of_jobs_are_taken_off_a_command_line() -> None:
    args = ["digits", "--jobs", "3", "--job-options", "a=1", "b=c", "--lam-low", "-1", "--help"]
    assert take_jobs(args) == JobsConfig(jobs=3, job_options=("a=1", "b=c"))
    assert args == ["digits", "--lam-low", "-1", "--help"]


def test_parts_of_a_run_are_jobs_between_its_beginning_and_its_end(tmp_path: Path) -> None:
    parts = {"0": Path("x"), "7": Path("x/7")}
    first, other, last = works(Path("x"), ["begin"], ["go", "on"], tmp_path, parts)
    assert (first.begin, first.go_on, first.after) == (
        ("begin", "--only", "0"), ("go", "on", "--only", "0"), (),
    )  # fmt: skip
    assert other.begin == other.go_on == ("go", "on", "--only", "7")
    assert other.after == ("x/7",)
    assert last.begin == last.go_on == ("go", "on")
    assert last.after == (first.mark, other.mark) and len({first.mark, other.mark, last.mark}) == 3


def test_a_command_line_gives_its_settings_back() -> None:
    config = LotteryConfig(layers=("32", "8"), epochs=3, device="cpu")
    assert parse(LotteryConfig, LotteryConfig(), options(vars(config)), "x") == config


def test_a_failed_job_is_told_after_the_others(tmp_path: Path) -> None:
    """A run that fails, one that waits for it, and one that ends well, again."""
    logs = tmp_path / "logs"
    logs.mkdir()
    bad, good = (works(tmp_path / verb, [verb], (), logs)[0] for verb in ("serach", "--help"))
    Path(bad.mark).touch()  # of a launch before
    waiting = replace(good, after=(bad.mark,))
    done = []
    with pytest.raises(InputError) as error:
        for work in launch([bad, waiting, good], JobsConfig(launcher="local", jobs=1), logs):
            done.append(work)
    assert done == [good]
    assert str(error.value) == (
        f"1 of 3 jobs failed, logs are in {logs}, the same command goes on: "
        f"{tmp_path / 'serach'}: error: unknown command 'serach': did you mean 'search'?"
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (JobsConfig(launcher="slurm"), r"launcher 'slurm': .*srun"),
        (JobsConfig(launcher="local", job_options=("nonsense=1",)), "launcher 'local': .*nonsense"),
    ],
)
def test_a_launcher_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: JobsConfig, message: str
) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    with pytest.raises(InputError, match=message):
        next(launch([Work("x", (), (), "x")], config, tmp_path / "logs"))
