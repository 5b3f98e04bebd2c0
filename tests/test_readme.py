"""Every command and every piece of Python in README.md, the tutorial and the how-tos, as typed.

What asks, draws or loads runs for real, on a tiny run put where the pages' first commands would
have left theirs; lottery tickets are trained for one epoch, and the networks of the pieces
of Python, too. Searches and retrainings that are commands are followed up to the point at which
they would start.
"""

import glob
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import nas.commands.search_jobs
import nas.retraining.family
import nas.retraining.run
import nas.run
from cells.notation import read_genotype
from cells.space import SPACES
from nas.cell_search.config import SearchConfig
from nas.commands.export import command as export
from nas.objective.costs import read_latencies
from nas.retraining.config import RetrainConfig
from nas.retraining.job import Job
from nas.retraining.run import retrain
from nas.run import search
from nas.runtime.files import make_folder, read_config, write_json
from nas.weight_search.config import WeightConfig

ROOT = Path(__file__).parent.parent
PAGES = {
    path.stem: re.findall(r"```(\w+)\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for path in (
        ROOT / "README.md",
        *(ROOT / "docs" / f"{name}.md" for name in ("index", "tutorial")),
        *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    )
}
"""Name of a page -> its blocks, each a language and a text."""
COMMANDS = list(
    dict.fromkeys(
        re.sub("^nas ", "python -m nas ", line.split("  #")[0].strip())
        for blocks in PAGES.values()
        for language, block in blocks
        if language == "sh"
        for line in block.replace("\\\n", "").splitlines()
        if line.startswith(("python ", "make ", "nas "))
    )
)
SNIPPETS = {
    name: [block for language, block in blocks if language == "python"]
    for name, blocks in PAGES.items()
}


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
    (folder / "data").mkdir()
    rows = "".join(f"{k % 7},{k % 5},{k % 7 + 0.5}\n" for k in range(50))
    (folder / "data" / "boston.csv").write_text(f"rm,age,medv\n{rows}")
    boston = replace(mlp, data=str(folder / "data" / "boston.csv"), target="medv")
    search(boston, folder / "runs" / "boston")
    (folder / "photos").mkdir()
    Image.new("L", (8, 8)).save(folder / "photos" / "black.png")
    for name in ("shapes", "phone", "x", "s0", "s1", "s2"):
        shutil.copytree(run_folder, folder / "runs" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(SNIPPETS["tutorial"][0], "shapes.py", "exec"), {})
    shapes = replace(config, data=str(folder / "shapes"), image_size=32, stem_stride=4)
    retrain(shapes, folder / "runs" / "shape")
    shutil.copyfile(genotype, folder / "shape.json")
    return folder


def test_pages_show_commands_and_python() -> None:
    assert len(COMMANDS) > 40
    assert {name for name, snippets in SNIPPETS.items() if snippets} == {
        "README", "tutorial", "operation", "phone", "python",
    }  # fmt: skip


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
    if "ask" in args and "--out" in args:
        (place / args[args.index("--out") + 1]).unlink(missing_ok=True)
    if "compare" in args:
        (place / "compare.html").unlink(missing_ok=True)
    if "lottery" in args:
        args[args.index("--epochs") + 1] = "1"
    if (
        "export" in args and "--int8" not in args
    ):  # the others are exported in tests of their own, as they take longer
        args[args.index("--to") + 1] = "source"
    started: list[Any] = []
    monkeypatch.setattr(nas.run, "search", lambda config, *_, **__: started.append(config))

    monkeypatch.setattr(nas.run, "dry_run", lambda config: started.append(config) or [])

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
    if "--launcher" in args:  # jobs of a cluster are only put together

        def put_together(run: Path, cells: int, rest: list[str], **_: Any) -> list[Any]:
            started.extend(
                job.config for job in nas.retraining.family.family_jobs(run, cells, rest)
            )
            return []

        monkeypatch.setattr(nas.retraining.family, "retrain_family", put_together)
        monkeypatch.setattr(
            nas.commands.search_jobs, "launch_search", lambda config, *_: started.append(config)
        )
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
    if args[0] == "-m" and args[2] == "predict" and not args[4].endswith(".csv"):
        assert f"{args[4].replace('photos', 'photos/black.png')}\t" in printed.out


BRIEF = "epochs=1, warmup_epochs=0, channels=2, chance=0, grid=3"
"""What makes a search take a second."""


def run_python(name: str, *changes: tuple[str, str]) -> dict[str, Any]:
    """Runs what a page shows, from the first line to the last, with some texts changed."""
    text = "\n".join(SNIPPETS[name])
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    names: dict[str, Any] = {}
    exec(compile(text, name, "exec"), names)
    return names


@pytest.mark.parametrize(("name", "out"), [("README", "own"), ("python", "python-small")])
def test_python(name: str, out: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    brief = f'out="runs/{out}", epochs=1, warmup_epochs=0'
    names = run_python(name, ("epochs=80", BRIEF), (f'out="runs/{out}"', brief))
    assert names["logits"].shape == (1, 10)
    assert 0 <= names["trained"].accuracy <= 1


def test_the_tutorials_onnx_file(place: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(place)
    export(["runs/shape/model.safetensors", "--to", "onnx"])
    capsys.readouterr()
    exec(compile(SNIPPETS["tutorial"][1], "tutorial", "exec"), {})
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert list(printed) == ["disc", "square", "triangle"]
    assert sum(map(float, printed.values())) == pytest.approx(1, abs=0.002)


def test_a_new_operation(place: Path) -> None:
    """In a process of its own, as the registries are changed."""
    (snippet,) = SNIPPETS["operation"]
    assert "epochs=10, finalists=100" in snippet
    done = subprocess.run(
        [sys.executable, "-c", snippet.replace("epochs=10, finalists=100", BRIEF)],
        cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["0.01", "0.1", "1.0"]
    config = read_config(place / "runs" / "wide" / "config.json")
    assert config["space"] == "wide201"


def test_latencies_of_a_phone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    run_python("phone", ("range(50)", "range(3)"))
    choices, measured = read_latencies(place / "phone" / "phone.csv", SPACES["nasbench201"])
    assert choices.shape == (3, 6) and (measured > 0).all()


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
