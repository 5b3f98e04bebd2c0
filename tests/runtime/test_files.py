"""Run folders: made once, named anew where they are taken, read back only whole."""

import json
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from cells.errors import InputError
from nas.cell_search.config import SearchConfig
from nas.cell_search.folder import read_run
from nas.cell_search.presets import PRESETS
from nas.run import require_same_run
from nas.runtime import checkpoint
from nas.runtime.files import make_folder, read_config, refuse_existing, write_json
from nas.runtime.settings import FREE


def test_a_folder_is_made_with_its_parents(tmp_path) -> None:
    path = tmp_path / "a" / "b" / "run"
    assert make_folder(path, exact=True, config={}) == path
    assert path.is_dir()


def test_a_folder_appears_with_all_that_it_begins_with_or_not_at_all(tmp_path) -> None:
    def fill(draft: Path) -> None:
        assert not (tmp_path / "run").exists()
        (draft / "genotype.json").write_text("{}")

    def fail(draft: Path) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        make_folder(tmp_path / "run", exact=True, config={}, fill=fail)
    assert list(tmp_path.iterdir()) == []
    path = make_folder(tmp_path / "run", exact=True, config={"lr": 0.1}, fill=fill)
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "genotype.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_taken_name_is_counted_up(tmp_path) -> None:
    path = tmp_path / "run"
    made = [make_folder(path, exact=False, config={}) for _ in range(3)]
    assert [folder.name for folder in made] == ["run", "run-2", "run-3"]
    (tmp_path / "run-4").write_text("a file counts, too")
    assert make_folder(path, exact=False, config={}).name == "run-5"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_exact_name_that_is_taken_is_refused(tmp_path, kind) -> None:
    path = tmp_path / "run"
    path.mkdir() if kind == "folder" else path.write_text("mine")
    for refuse in (lambda: make_folder(path, exact=True, config={}), lambda: refuse_existing(path)):
        with pytest.raises(InputError) as error:
            refuse()
        assert str(error.value) == (
            f"{path} exists: choose another --out, or go on with --resume {path}"
        )
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    refuse_existing(tmp_path / "free")


def test_json_comes_back(tmp_path) -> None:
    path = tmp_path / "config.json"
    values = PRESETS["digits"].to_dict() | {"lam": [0.1 + 0.2, 1e-300]}
    write_json(path, values)
    assert read_config(path) == values == json.loads(path.read_text())
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("text, told", [
    ('{"a": 1, "a": 2}', "'a' stands twice"),
    ("[1]", "not a JSON object"), ("[" * 10_000, "not JSON"), ("{", "not JSON"),
    ('{"a": ' + "1" * 5000 + "}", "not JSON"), (" " * (1 << 20) + "{}", "more than 1 MiB"),
])  # fmt: skip
def test_a_bad_config_gets_one_line(tmp_path, text: str, told: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=rf"config\.json.*{told}"):
        read_config(tmp_path / "config.json")


def test_a_finished_run_comes_back(run_folder) -> None:
    config, state = read_run(run_folder)
    assert (
        config.to_dict() == state["config"] == json.loads((run_folder / "config.json").read_text())
    )
    assert config == SearchConfig(
        data="digits", data_root="data", channels=4, num_cells=2, epochs=3, warmup_epochs=1,
        batch_size=128, w_lr=0.1, arch_lr=0.3, arch_kl=0.1, grid=21, eval_images=100, threads=1,
        device="cpu",
    )  # fmt: skip
    # 1797 digits, 80 % to train on, half of them for the weights, in whole batches of 128
    assert state["step"] == 3 * (1797 * 8 // 10 // 2 // 128)


OTHER = {
    int: lambda value: value + 1,
    float: lambda value: value / 2,
    bool: lambda value: not value,
    str: {
        "data": "mnist", "space": "darts", "hypernet": "linear",
        "relax": "softmax", "temperature_schedule": "constant", "weights": "gaussian",
        "discretise": "strongest_inputs", "order": "second", "precision": "bfloat16",
        "estimator": "score", "trained_cells": "prior", "price": "product",
        "resource": "sampled", "regulariser": "zero_one", "constraint": "projection",
        "perturb": "random", "lam_unit": "raw", "finalist_source": "random",
        "image_fit": "crop", "class_weights": "balanced", "metric": "balanced_accuracy",
    },
    tuple: {
        "costs": ("flops",), "lam_low": (0.01,), "lam_high": (5.0,), "bounds": ("params=8M",),
        "partial_channels": (2,), "keep_ops": (2,),
    },
    type(None): {
        "image_size": 28, "lam": (0.5,), "latency_file": "phone.csv", "arch_kl_end": 0.001,
        "arch_lr_end": 0.0, "steps": 5, "op_probs": (0.1, 0.2, 0.2, 0.4, 0.1),
    },
}  # fmt: skip


# What other settings want beside them.
COMPANIONS: dict[str, dict[str, Any]] = {
    "perturb": {"relax": "softmax"},
    "hessian": {"relax": "softmax"},
    "bounds": {"bounds": ("params=9M",), "constraint": "multiplier"},
    "constraint": {"bounds": ("params=9M",), "constraint": "multiplier"},
    "price": {"lam_unit": "raw"},
    "keep_ops": {"keep_ops": (3,)},
    "finalist_source": {"finalists": 100},
    "searches": {"finalists": 100},
}


@pytest.mark.parametrize("name", [f.name for f in fields(SearchConfig) if f.name not in FREE])
def test_every_setting_belongs_to_its_checkpoint(name) -> None:
    config = SearchConfig(**COMPANIONS.get(name, {}))
    other = OTHER[type(getattr(config, name))]
    value = other[name] if isinstance(other, dict) else other(getattr(config, name))
    changed = replace(config, **{name: value})
    state = dict.fromkeys(("step", "supernet", "hypernet", "tables")) | {"config": config.to_dict()}
    require_same_run(config, state, Path("run"))
    wanted = config.to_dict()[name], changed.to_dict()[name]
    message = f"another configuration: {name} was {wanted[0]!r}, now {wanted[1]!r}; leave"
    with pytest.raises(InputError, match=re.escape(message)):
        require_same_run(changed, state, Path("run"))


def test_a_run_may_go_on_elsewhere() -> None:
    config = SearchConfig(device="cpu")
    state = dict.fromkeys(("step", "supernet", "hypernet", "tables")) | {"config": config.to_dict()}
    require_same_run(replace(config, device="cuda", data_root="elsewhere"), state, Path("run"))


@pytest.mark.parametrize("part", ["config", "step", "supernet", "hypernet", "tables"])
def test_a_checkpoint_without_a_part_is_refused(run_folder, tmp_path, part) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    state = checkpoint.load(folder / "checkpoint.pt")
    del state[part]
    checkpoint.save(folder / "checkpoint.pt", state)
    with pytest.raises(InputError, match=r"checkpoint\.pt is not the checkpoint of a search"):
        read_run(folder)
