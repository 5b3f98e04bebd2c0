"""Jobs of an engine: what cannot be launched, and what a failed job says. Runs as jobs are tested
where they are, in tests/retraining/test_family.py."""

import os
import sys
from pathlib import Path

import pytest

from cells.errors import InputError
from nas.runtime.commandline import options, parse
from nas.runtime.jobs import JobsConfig, Work, launch
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


def test_a_command_line_gives_its_settings_back() -> None:
    config = LotteryConfig(layers=("32", "8"), epochs=3, device="cpu")
    assert parse(LotteryConfig, LotteryConfig(), options(vars(config)), "x") == config


def test_a_failed_job_is_told_after_the_others(tmp_path: Path) -> None:
    """A run that leaves no result, beside one whose result is there."""
    (tmp_path / "there").touch()
    verbs = ("serach",), ("--help",)
    works = [
        Work(str(tmp_path / "bad"), verbs[0], (), str(tmp_path / "bad" / "result.json")),
        Work(str(tmp_path / "good"), verbs[1], (), str(tmp_path / "there")),
    ]
    done = []
    with pytest.raises(InputError) as error:
        for work in launch(works, JobsConfig(launcher="local", jobs=1), tmp_path / "logs"):
            done.append(work)
    assert done == works[1:]
    assert str(error.value) == (
        f"1 of 2 jobs failed, logs are in {tmp_path / 'logs'}, the same command goes on: "
        f"{tmp_path / 'bad'}: error: unknown command 'serach': did you mean 'search'?"
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
