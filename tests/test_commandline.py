"""The command line: options over a configuration, and `search.py` as its user sees it."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import search
from cells.errors import InputError
from nas import run as runs
from nas.cell_search.config import SearchConfig
from nas.cell_search.presets import PRESETS
from nas.retraining.config import RetrainConfig
from nas.run import ALL_PRESETS
from nas.runtime import checkpoint
from nas.runtime.commandline import Parser, parse, take, take_timeout
from nas.runtime.settings import Settings

ROOT = Path(__file__).parent.parent
TINY = [
    "--space", "nasbench201", "--channels", "2", "--num-cells", "1", "--epochs", "1",
    "--warmup-epochs", "0", "--batch-size", "512", "--grid", "2", "--eval-images", "10",
]  # fmt: skip

# -------------------------------------------------------------------- options


@dataclass(frozen=True, kw_only=True)
class Options(Settings):
    """Options of every kind."""

    count: int = 1
    """How many."""
    rate: float = 0.5
    """How fast."""
    names: tuple[str, ...] = ("a",)
    """Which."""
    sizes: tuple[float, ...] | None = None
    """How large."""
    on: bool = False
    """Whether."""
    long_name: str = "x"
    """What."""


def test_options_go_over_the_default() -> None:
    default = Options(count=7, long_name="kept")
    args = ["--rate", "1e-3", "--names", "p", "q", "--sizes", "-1", "2", "--on", "True"]
    expected = Options(
        count=7, rate=1e-3, names=("p", "q"), sizes=(-1.0, 2.0), on=True, long_name="kept"
    )
    assert parse(Options, default, args, "prog") == expected
    assert parse(Options, default, [], "prog") == default
    assert parse(Options, default, ["--long_name", "y"], "prog").long_name == "y"
    assert parse(Options, default, ["--long-name=--y"], "prog").long_name == "--y"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--cuont", "3"], "unknown option '--cuont': did you mean '--count'?"),
        (["--nothing-like-it=3"], "unknown option '--nothing-like-it': choose from --count"),
        (["--count", "ten"], "argument --count: invalid int value: 'ten'; see prog --help"),
        (["--count", "1.5"], "argument --count: invalid int value: '1.5'"),
        (["--count"], "argument --count: expected one argument"),
        (["--rate", "fast"], "argument --rate: invalid float value: 'fast'"),
        (["--sizes", "x"], "argument --sizes: invalid float value: 'x'"),
        (["--on", "maybe"], "argument --on: must be True or False, got 'maybe'"),
        (["stray"], "unrecognized arguments: stray"),
        (["-x"], "unrecognized arguments: -x"),
    ],
)
def test_bad_options_are_named_in_one_line(args, message) -> None:
    with pytest.raises(InputError) as error:
        parse(Options, Options(), args, "prog")
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 130


def test_none_and_bare_switches() -> None:
    default = Options(sizes=(1.0,))
    assert parse(Options, default, ["--on"], "prog").on is True
    assert parse(Options, Options(on=True), ["--on", "no"], "prog").on is False
    assert parse(SearchConfig, SearchConfig(image_size=3), ["--image-size", "none"], "x") == (
        SearchConfig()
    )


@pytest.mark.parametrize("config", [*ALL_PRESETS.values(), RetrainConfig()])
def test_help_shows_what_is_common_first(config, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        parse(type(config), config, ["--help"], "prog")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    first, *groups = text.split("\n\n")[1:]
    assert first.startswith("What most runs set:") and len(first.splitlines()) < 40
    assert re.findall(r"^  --([a-z-]+)", first, re.MULTILINE) == [
        *(name.replace("_", "-") for name in config.common), "help",
    ]  # fmt: skip
    shown = re.findall(r"^  --([a-z0-9-]+)", text, re.MULTILINE)
    assert sorted(shown) == sorted([*(f.name.replace("_", "-") for f in fields(config)), "help"])
    assert all(re.match(r"[A-Z].*:\n", group) for group in groups)


def test_take_removes_an_option_and_its_value() -> None:
    for form in (["--out", "x"], ["--out=x"]):
        args = ["digits", *form, "--seed", "1"]
        assert take(args, "--out") == "x"
        assert args == ["digits", "--seed", "1"]
    args = ["digits", "--outer", "x"]
    assert take(args, "--out") is None and args == ["digits", "--outer", "x"]
    for args in (["--out"], ["--out", "--seed", "1"], ["--out="], ["--out", ""]):
        with pytest.raises(InputError, match="option --out needs a value"):
            take(args, "--out")


def test_a_timeout_is_from_a_second_to_a_day() -> None:
    args = ["digits", "--timeout", "2.5", "--seed", "1"]
    assert take_timeout(args) == 2.5 and args == ["digits", "--seed", "1"]
    assert take_timeout(args) is None
    for text in ("0.9", "86401", "nan", "inf", "-1", "soon"):
        with pytest.raises(InputError, match=f"from 1 to 86400 seconds, got '{text}'"):
            take_timeout([f"--timeout={text}"])


def test_argparse_tells_its_errors_in_one_line() -> None:
    parser = Parser(prog="prog")
    parser.add_argument("--count", type=int)
    with pytest.raises(InputError, match=r"^argument --count: invalid int value: 'x'; see prog "):
        parser.parse_args(["--count", "x"])


# -------------------------------------------------------------------- search.py


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    monkeypatch.setattr(sys, "argv", ["search.py", *map(str, args)])
    search.main()


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def refusal(monkeypatch, capsys, here) -> Any:
    """Runs search.py, which must leave with 2, one line on stderr, and nothing written."""

    def refuse(*args: object) -> str:
        before, folders = content(here), sorted(here.rglob("*"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as leave:
            run(monkeypatch, *args)
        out, err = capsys.readouterr()
        assert leave.value.code == 2 and out == ""
        assert re.fullmatch(r"error: [^\n]+\n", err), err
        assert content(here) == before and sorted(here.rglob("*")) == folders
        return err

    return refuse


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_usage_names_the_presets(monkeypatch, capsys, here, args) -> None:
    run(monkeypatch, *args)
    out, err = capsys.readouterr()
    assert err == "" and all(preset in out for preset in PRESETS)
    assert all(option in out for option in ("--config", "--resume", "--out", "digits --help"))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["digit"], "unknown preset, file or folder 'digit': did you mean 'digits'?"),
        (["my/photo"], "my/photo does not exist: check the path, or name a preset"),
        (["--epochs", "3"], "a preset comes first: one of digits, mnist, fashion"),
        (["digits", "mnist"], "unrecognized arguments: mnist"),
        (["digits", "--epoch", "3"], "unknown option '--epoch': did you mean '--epochs'?"),
        (["digits", "--space", "dart"], "unknown search space 'dart': did you mean 'darts'?"),
        (["digits", "--data", "digit"], "unknown data set 'digit': did you mean 'digits'?"),
        (["digits", "--costs", "parms"], "unknown cost 'parms': did you mean 'params'?"),
        (["digits", "--lam", "-0.5"], "λ must be positive and finite, got -0.5"),
        (["digits", "--lam", "nan"], "λ must be positive and finite, got nan"),
        (["digits", "--lam-low", "2", "--lam-high", "1"], "low 2.0 is above high 1.0; swap"),
        (["digits", "--lam-low", "1", "--lam-high", "1.0000000000000002"], "is too narrow: widen"),
        (["mlp", "--lam-low", "1", "--lam-high", "1.0000000000000002"], "is too narrow: widen"),
        (["digits", "--data", "d\udcff/x.npz"], "must be UTF-8 text: rename the file or folder"),
        (["digits", "--latency-file", "\udcff.csv"], "latency_file must be UTF-8 text: rename"),
        (["digits", "--seed", "1" * 21], f"seed must have at most 20 digits, got {'1' * 21}"),
        (["digits", "--split-seed=-" + "1" * 21], "split_seed must have at most 20 digits"),
        (["mlp", "--seed", "1" * 21], "seed must have at most 20 digits"),
        (["digits", "--grid", "1000000000"], "grid must be from 1 to 10000, got 1000000000"),
        (["mlp", "--grid", "1000000000"], "grid must be from 1 to 10000, got 1000000000"),
        (["mlp", "--draws", "1000000000"], "draws must be from 1 to 100000, got 1000000000"),
        (["digits", "--finalists", "1000000000"], "finalists must be from 0 to 20000, got"),
        (["digits", "--eval-images", "1"], "eval_images must be at least 2, got 1"),
        (["digits", "--arch-kl-end", "inf"], "arch_kl_end must be at least 0, got inf"),
        (["digits", "--epochs", "ten"], "--epochs: invalid int value: 'ten'"),
        (["digits", "--device", "cuda:99"], "no device 'cuda:99'"),
        (["digits", "--data", "nowhere.npz"], "no such file or folder: 'nowhere.npz', looked"),
        (["digits", "--image-size", "16"], "image size 16 is only for files of images"),
        (["digits", "--out"], "option --out needs a value"),
        (["--config"], "option --config needs a value"),
        (["--config", "nowhere/config.json"], "nowhere/config.json: check the path"),
        (["--resume", "nowhere"], "nowhere is not the folder of a search"),
        (["--resume", "a", "--out", "b"], "--resume goes on in the run's own folder"),
        (["--resume", "a", "--config", "b"], "--resume goes on in the run's own folder"),
        (["--resume", "a", "--method", "b"], "--resume goes on in the run's own folder"),
        (["digits", "--method", "dart"], "unknown method 'dart': did you mean 'darts'?"),
        (["digits", "--method", "rc-darts"], "constraint 'projection' has nothing to bound"),
        (["digits", "--method", "gdas", "--perturb", "random"], "perturb 'random' moves the"),
        (["mlp-digits", "--method", "darts"], "--method is for cells, preset 'mlp-digits' has"),
    ],
)
def test_bad_commands_get_one_line(refusal, args, message) -> None:
    assert message in refusal(*args)


def test_a_users_own_options_have_the_last_word_over_a_methods(monkeypatch, here) -> None:
    started: list[Any] = []
    monkeypatch.setattr(runs, "search", lambda config, *_, **__: started.append(config))
    own = ["--relax", "gumbel", "--lam-high", "3", "--bounds", "params=9k", "flops=1M"]
    run(monkeypatch, "digits", "--method", "rc-darts", *own)
    (config,) = started
    assert (config.relax, config.lam_high, config.constraint) == ("gumbel", (3.0,), "projection")
    assert config.bounds == ("params=9k", "flops=1M")
    assert config.epochs == PRESETS["digits"].epochs
    run(monkeypatch, "digits", "--method", "evolution", "--epochs", "7")
    assert (started[1].epochs, started[1].warmup_epochs) == (7, 7)


def front_without_latency(folder: Path) -> list[dict[str, str]]:
    """The rows of front.csv but for what was measured by the clock."""
    with open(folder / "front.csv", newline="", encoding="utf-8") as file:
        return [{k: v for k, v in r.items() if "latency" not in k} for r in csv.DictReader(file)]


def test_a_configuration_repeats_its_run(monkeypatch, here, run_folder) -> None:
    before = content(run_folder)
    run(monkeypatch, "--config", run_folder / "config.json", "--out", "again")
    again = here / "again"
    assert front_without_latency(again) == front_without_latency(run_folder)
    assert (again / "config.json").read_bytes() == before["config.json"]
    first, second = (checkpoint.load(f / "checkpoint.pt") for f in (run_folder, again))
    for part in ("supernet", "hypernet"):
        for name, value in first[part].items():
            assert torch.equal(second[part][name], value), name
    assert content(run_folder) == before


def test_options_go_over_a_configuration(monkeypatch, here, run_folder) -> None:
    run(monkeypatch, "--config", run_folder / "config.json", *TINY, "--lam", "0.3")
    folder = here / "runs" / run_folder.name  # named after the run it came from
    config = json.loads((folder / "config.json").read_text())
    assert config == json.loads((run_folder / "config.json").read_text()) | {
        "channels": 2, "num_cells": 1, "epochs": 1, "warmup_epochs": 0, "batch_size": 512,
        "grid": 2, "eval_images": 10, "lam": [0.3],
    }  # fmt: skip
    assert len(front_without_latency(folder)) == 1


def test_a_run_never_goes_into_a_folder_that_exists(monkeypatch, here, refusal) -> None:
    taken = here / "runs" / "digits"
    taken.mkdir(parents=True)
    (taken / "mine.txt").write_text("keep")
    assert "runs/digits exists: choose another --out" in refusal(
        "digits", *TINY, "--out", "runs/digits"
    )
    run(monkeypatch, "digits", *TINY)
    assert content(taken) == {"mine.txt": b"keep"}
    assert {path.name for path in (here / "runs").iterdir()} == {"digits", "digits-2"}
    assert (here / "runs" / "digits-2" / "front.csv").is_file()


# -------------------------------------------------------------------- damaged runs


@pytest.fixture
def copy(here: Path, run_folder: Path) -> Path:
    """A copy of a finished run, without the checkpoint before the last."""
    folder = here / "copy"
    shutil.copytree(run_folder, folder)
    for path in folder.glob("checkpoint.previous*"):
        path.unlink()
    return folder


def test_a_changed_setting_is_named(refusal, copy) -> None:
    message = refusal("--resume", copy, "--w-lr", "0.2")
    assert "w_lr was 0.1, now 0.2; leave the option out" in message


def test_a_checkpoint_of_another_configuration_is_refused(refusal, copy) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_cells": 3}))
    message = refusal("--resume", copy)
    assert "is from another configuration: num_cells was 2, now 3" in message


def test_a_checkpoint_cut_short_is_refused(refusal, copy) -> None:
    path = copy / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is cut short" in refusal("--resume", copy)


def test_a_checkpoint_that_is_gone_is_refused(refusal, copy) -> None:
    (copy / "checkpoint.pt").unlink()
    assert "no checkpoint" in refusal("--resume", copy)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_pickled_code_is_never_run(refusal, copy, tmp_path_factory) -> None:
    marker = tmp_path_factory.mktemp("payload") / "was-run"
    path = copy / "checkpoint.pt"
    torch.save({"config": Payload(marker)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name("checkpoint.pt.sha256").write_text(f"{digest}  checkpoint.pt\n")
    assert "holds pickled code, which is never run" in refusal("--resume", copy)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # it would have been


def test_a_checkpoint_of_something_else_is_refused(refusal, copy) -> None:
    checkpoint.save(copy / "checkpoint.pt", {"model": {}, "step": 3})
    (copy / "checkpoint.previous.pt").unlink()
    assert "is not the checkpoint of a search" in refusal("--resume", copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 500_000, "is not JSON"),
        ("[" * 2_000_000, "has more than 1 MiB"),
        ("[1, 2]", "is not a JSON object"),
        ('{"epoch": 3}', "unknown setting 'epoch': did you mean 'epochs'?"),
        ('{"epochs": "ten"}', "setting 'epochs' must be an integer, got 'ten'"),
        ('{"epochs": 1.5}', "setting 'epochs' must be an integer, got 1.5"),
        ('{"lam": [NaN]}', "λ must be positive and finite, got nan"),
        ('{"w_lr": Infinity}', "w_lr must be positive and finite, got inf"),
    ],
    ids=lambda text: text[:20],
)
@pytest.mark.parametrize("option", ["--config", "--resume"])
def test_a_damaged_configuration_is_refused(refusal, copy, option, text, message) -> None:
    path = copy / "config.json"
    path.write_text(text)
    assert message in refusal(option, path if option == "--config" else copy)


def test_a_configuration_that_is_no_text_is_refused(refusal, copy) -> None:
    (copy / "config.json").write_bytes(b"\x80\xff")
    assert "is not UTF-8 text" in refusal("--resume", copy)


def test_signals_are_heeded_before_torch_is_imported() -> None:
    """Which takes seconds: a signal meanwhile would end in a traceback."""
    code = "import nas.__main__, retrain, search, sys; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_shorter_run_has_a_shorter_warmup(capsys: pytest.CaptureFixture[str]) -> None:
    default = replace(SearchConfig(), epochs=120, warmup_epochs=60)

    def read(*args: str) -> tuple[int, int]:
        config = parse(SearchConfig, default, args, "search.py digits")
        return config.epochs, config.warmup_epochs

    assert read("--epochs", "240") == (240, 60)
    assert read("--epochs", "61") == (61, 60)
    assert capsys.readouterr().err == ""
    assert read("--epochs", "30") == (30, 15)
    assert capsys.readouterr().err == "warm-up: 15 of 30 epochs, not 60\n"
    assert read("--epochs=1") == (1, 0)
    assert read("--epochs", "30", "--warmup-epochs", "3") == (30, 3)
    with pytest.raises(InputError, match="warmup_epochs must be at most"):
        read("--epochs", "30", "--warmup-epochs", "31")
