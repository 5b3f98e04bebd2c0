"""Every command and every piece of Python in README.md, as a reader would type them.

What asks, draws or loads runs for real, on a tiny run put where the README's first commands would
have left theirs; lottery tickets are trained for one epoch, and the networks of the piece
of Python, too. Searches and retrainings that are commands are followed up to the point at which
they would start.
"""

import glob
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import nas.retraining.family
import nas.retraining.run
import nas.run
from cells.notation import read_genotype
from nas.cell_search.config import SearchConfig
from nas.retraining.config import RetrainConfig
from nas.retraining.job import Job
from nas.retraining.run import retrain
from nas.run import search
from nas.runtime.files import make_folder, write_json
from nas.weight_search.config import WeightConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip()
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
    if line.startswith(("python ", "make "))
]
SNIPPETS = [block for language, block in BLOCKS if language == "python"]


@pytest.fixture(scope="module")
def place(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks as the README's reader's does."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(run_folder, folder / "runs" / "digits")
    genotype = next((folder / "runs" / "digits" / "genotypes").glob("00-*.json"))
    config = RetrainConfig(genotype=str(genotype), epochs=1, warmup_epochs=0, device="cpu")
    retrain(config, folder / "runs" / "small")
    mlp = WeightConfig(data="digits", layers=("32",), epochs=1, grid=3, draws=1, device="cpu")
    search(mlp, folder / "runs" / "mlp")
    search(replace(mlp, weights="point", val_fraction=0.2), folder / "runs" / "decay")
    (folder / "photos").mkdir()
    Image.new("L", (8, 8)).save(folder / "photos" / "black.png")
    return folder


def test_readme_shows_commands_and_python() -> None:
    assert len(COMMANDS) > 12
    assert SNIPPETS


@pytest.mark.parametrize("command", COMMANDS)
def test_command(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    program, *words = shlex.split(command)
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[0]}:", makefile, flags=re.MULTILINE)
        return
    args = [path for word in words for path in sorted(glob.glob(word)) or [word]]
    if "lottery" in args:
        args[args.index("--epochs") + 1] = "1"
    if (
        "export" in args and "--int8" not in args
    ):  # the others are exported in tests of their own, as they take longer
        args[args.index("--to") + 1] = "source"
    started: list[Any] = []
    monkeypatch.setattr(nas.run, "search", lambda config, *_, **__: started.append(config))

    result = {"mean": 0.5, "std": None, "costs": {"params": 1, "flops": 1}, "seconds": [1.0]}

    def start_each(jobs: Sequence[Job], **_: Any) -> Iterator[tuple[Job, dict[str, Any]]]:
        for job in jobs:
            started.append(job.config)
            assert job.folder is not None
            write_json(make_folder(job.folder, exact=True, config={}) / "result.json", result)
            yield job, result

    monkeypatch.setattr(
        nas.retraining.run, "retrain", lambda config, *_, **__: started.append(config)
    )
    monkeypatch.setattr(nas.retraining.family, "retrain_each", start_each)
    monkeypatch.setattr(sys, "argv", args[1:] if args[0] == "-m" else args)
    before = {path for path in place.rglob("*") if path.is_file()}
    if args[0] == "-m":
        # A module that is to be run must not have been imported before.
        monkeypatch.delitem(sys.modules, f"{args[1]}.__main__", raising=False)
        runpy.run_module(args[1], run_name="__main__")
    else:
        runpy.run_path(str(ROOT / args[0]), run_name="__main__")
    if args[0] == "search.py":
        assert isinstance(started[0], SearchConfig | WeightConfig)
    elif args[0] == "retrain.py" or args[2] == "family":
        assert isinstance(started[0], RetrainConfig)
        assert read_genotype(started[0].genotype)
    elif args[2] in ("draw", "export", "generate", "prune", "lottery", "tune"):
        assert {path for path in place.rglob("*") if path.is_file()} - before
    printed = capsys.readouterr()
    assert "error" not in printed.err
    assert args[0] != "-m" or args[2] != "report" or printed.out == "runs/digits/report.html\n"
    assert args[0] != "-m" or args[2] != "predict" or "photos/black.png\t" in printed.out


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_python(snippet: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    brief = "epochs=1, warmup_epochs=0, channels=2, chance=0, grid=3"
    snippet = snippet.replace("epochs=80", brief).replace(
        'out="runs/own"', 'out="runs/own", epochs=1, warmup_epochs=0'
    )
    assert brief in snippet and "runs/own" in snippet
    exec(compile(snippet, "README.md", "exec"), names)
    assert names["logits"].shape == (1, 10)
    assert 0 <= names["trained"].accuracy <= 1


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=str)
def test_pages_are_whole(path: Path) -> None:
    """No place left to fill in, and every file that a page links to is there."""
    text = path.read_text(encoding="utf-8")
    assert "%%" not in text
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", sorted((ROOT / "genotypes").glob("*.json")), ids=lambda p: p.stem)
def test_cells_tell_nothing_about_the_machine_they_were_found_on(path: Path) -> None:
    genotype = read_genotype(path.stem)
    assert genotype.name == path.stem
    assert not {"data_root", "device"} & genotype.search.keys()
    assert not re.search(r'"/', path.read_text(encoding="utf-8"))
