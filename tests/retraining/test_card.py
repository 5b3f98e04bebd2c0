"""The card beside retrained networks: its facts, its command, names that Markdown would read."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import nas.retraining.run
from cells.notation import read_genotype
from nas.commands.retrain import command
from nas.data.datasets import ImageData, load_data
from nas.retraining.card import card, command_of, escape
from nas.retraining.config import PRESETS, RetrainConfig, fine_tuning, read_retraining, resolve

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
TINY = RetrainConfig(
    genotype=CELL, data="digits", channels=4, num_cells=2, epochs=1, batch_size=256,
    warmup_epochs=0, cutout=2, flip=True, lr=0.03, nesterov=False, seeds=(0, 3), device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", Path("."))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a run") / "of 'two' seeds"
    nas.retraining.run.retrain(TINY, folder)
    return folder


def asked_by(line: str, monkeypatch: pytest.MonkeyPatch) -> RetrainConfig:
    """What a command line asks `retrain` for."""
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(nas.retraining.run, "retrain", lambda config, *_, **__: seen.append(config))
        program, module, package, verb, *words = shlex.split(line)
        assert (program, module, package, verb) == ("python", "-m", "nas", "retrain")
        command(words)
    (config,) = seen
    return config


def test_the_card_says_what_the_result_says(finished: Path) -> None:
    text = (finished / "CARD.md").read_text()
    result = json.loads((finished / "result.json").read_text())
    accuracy = f"{100 * result['mean']:.2f} ± {100 * result['std']:.2f} %, seeds 0, 3"
    assert f"| Test accuracy | {accuracy} |" in text
    assert f"| Parameters | {result['costs']['params']:,} |" in text
    assert "digits: 1,438 training and 359 test images of 1×8×8, 10 classes" in text
    assert "not known to this program" in text
    named = re.findall(r"^!\[.+\]\((\S+)\)$|^\| (\S+\.safetensors) \|", text, re.MULTILINE)
    assert [a or b for a, b in named] == [
        "cell.svg", "model.safetensors", "model-seed-3.safetensors",
    ]  # fmt: skip
    assert all((finished / (a or b)).is_file() for a, b in named)


def test_its_command_makes_the_same_networks(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = re.findall(r"```sh\n(.*)\n```", (finished / "CARD.md").read_text())
    config = asked_by(line, monkeypatch)
    genotype = read_genotype(config.genotype)
    assert genotype == read_genotype(finished / "genotype.json")
    wanted = read_retraining(finished)
    assert replace(resolve(config, genotype), genotype=wanted.genotype) == wanted


@pytest.mark.parametrize(
    "config",
    [
        *PRESETS.values(),
        replace(fine_tuning(PRESETS["default"]), inherit="runs/a b", warmup_epochs=1),
        replace(PRESETS["default"], data="my `data`\n$(id)", compile=True, epochs=2),
    ],
)
def test_every_configuration_is_written_whole(
    config: RetrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = read_genotype(CELL)
    data = config.data or "digits"
    config = resolve(replace(config, data=data), replace(cell, search={"data": data}))
    found = asked_by(command_of(Path("runs/x"), config), monkeypatch)
    assert found == replace(config, genotype=str(Path("runs/x/genotype.json")))


def test_names_of_others_stay_names(digits: ImageData) -> None:
    hostile = "<script>|`a`](b)\n# *x* \x1b[31m"
    config = resolve(replace(TINY, data=hostile), read_genotype(CELL))
    result = {
        "mean": 0.5, "std": None, "seeds": [0],
        "test_accuracy": [0.5], "metric": "accuracy", "majority": 0.1,
        "costs": {"params": 1, "flops": 2}, "epochs": 1, "precision": "float32", "seconds": [1.0],
    }  # fmt: skip
    text = card(
        Path("``` x"), config, replace(read_genotype(CELL), name=hostile), digits, result,
        {0: "model.safetensors"}, "cell.svg",
    )  # fmt: skip
    fence = "````"
    above, command, below = text.split(f"{fence}sh\n")[0], *text.split(fence)[1:]
    assert above.splitlines()[0] == f"# {escape(hostile)}"
    assert "<script>" not in re.sub(r"\\.", "", above) and "\x1b" not in above
    assert len(re.findall(r"^# ", text.replace(command, ""), re.MULTILINE)) == 1
    assert "not known to this program" in above and below.strip() == ""


def test_escaping_is_undone_by_markdown() -> None:
    for text in ("a_b*c*", "[x](y)", "1|2", "`code`", "λ-förmig"):
        assert re.sub(r"\\(.)", r"\1", escape(text)) == text
    assert escape("a\tb\n") == r"a\\tb\\n"
