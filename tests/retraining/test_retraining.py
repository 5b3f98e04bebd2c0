"""Retraining, from settings to result, on scikit-learn's digits with tiny networks."""

import json
import math
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import confusion_matrix, recall_score
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import nas
import retrain as script
from cells.cell import Skeleton, State
from cells.cost import cost_table
from cells.errors import InputError
from cells.genotype import Genotype
from cells.network import Network
from cells.notation import read_genotype
from cells.space import SPACES
from cells.supernet import Supernet
from nas.cell_search.config import SearchConfig
from nas.data.batches import Batches, Split
from nas.data.datasets import ImageData, load_data
from nas.retraining.config import (
    PRESETS,
    RetrainConfig,
    choose_preset,
    fine_tuning,
    read_retraining,
    resolve,
)
from nas.retraining.inherit import estimate_statistics
from nas.retraining.job import Job, read_state
from nas.retraining.run import retrain, retrain_each
from nas.retraining.trainer import Trainer
from nas.runtime import checkpoint
from nas.runtime.files import write_json
from nas.runtime.processes import Processes
from nas.weights.gaussian import to_gaussian
from nas.weights.kernels import to_generated

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
ALONE = Processes(0, 1, torch.device("cpu"))

TINY = RetrainConfig(
    genotype=CELL,
    data="digits",
    channels=4,
    num_cells=2,
    epochs=2,
    batch_size=256,  # 5 steps an epoch
    warmup_epochs=1,
    crop_padding=1,
    cutout=2,
    flip=True,
    drop_path=0.3,
    auxiliary_weight=0.4,
    label_smoothing=0.1,
    device="cpu",
)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", Path("."))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    retrain(replace(TINY, seeds=(0, 3)), folder)
    return folder


def make(config: RetrainConfig, data: ImageData) -> Trainer:
    genotype = read_genotype(config.genotype)
    return Trainer(resolve(config, genotype), genotype, data, ALONE, seed=0)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def assert_same_networks(folder: Path, other: Path) -> None:
    """Bit by bit; the order of the files' metadata is left to safetensors."""
    for name in ("model.safetensors", "model-seed-3.safetensors"):
        found, expected = load_file(folder / name), load_file(other / name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The log without its times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


# ---------------------------------------------------------------- what a run leaves


def test_every_file_is_there(finished: Path) -> None:
    names = {path.name for path in finished.iterdir() if "checkpoint" not in path.name}
    assert names == {
        *(".owner", "config.json", "genotype.json", "manifest.json", "metrics.jsonl"),
        *("model.safetensors", "model-seed-3.safetensors", "result.json", "confusion.csv"),
        *("CARD.md", "cell.svg"),
    }
    assert read_genotype(finished / "genotype.json") == read_genotype(CELL)
    assert read_retraining(finished) == replace(
        TINY, seeds=(0, 3), split_seed=0, stem_stride=1, image_fit="stretch"
    )
    log = rows(finished)
    assert [(row["step"], row["seed"], row["epoch"]) for row in log] == [
        *((5, 0, 1), (10, 0, 2)),
        *((15, 3, 1), (20, 3, 2)),
    ]
    assert log[1]["loss"] < log[0]["loss"]


def test_the_result_is_that_of_the_models(finished: Path, digits: ImageData) -> None:
    result = read_json(finished / "result.json")
    images = (digits.test.images.float() / 255 - digits.mean[0]) / digits.std[0]
    for name, tested in zip(
        ("model.safetensors", "model-seed-3.safetensors"), result["test_accuracy"], strict=True
    ):
        network = nas.load(finished / name)
        right = (network(images).argmax(dim=1) == digits.test.labels).double().mean()
        assert tested == pytest.approx(float(right), abs=1e-12)
        assert network.data.classes == digits.classes
    first, second = result["test_accuracy"]
    assert first != second
    assert result["mean"] == pytest.approx((first + second) / 2)
    assert result["std"] == pytest.approx(abs(first - second) / math.sqrt(2))
    counts = [int((digits.test.labels == label).sum()) for label in range(10)]
    assert result["classes"] == [*"0123456789"] and result["metric"] == "accuracy"
    assert result["majority"] == pytest.approx(max(counts) / sum(counts))
    assert result["genotype"] == read_genotype(CELL).id
    assert (result["epochs"], len(result["seconds"])) == (2, 2)


def test_the_result_tells_what_each_class_is_taken_for(finished: Path, digits: ImageData) -> None:
    result = read_json(finished / "result.json")
    images = (digits.test.images.float() / 255 - digits.mean[0]) / digits.std[0]
    counts, balanced = np.zeros((10, 10), int), []
    for name in ("model.safetensors", "model-seed-3.safetensors"):
        predicted = nas.load(finished / name)(images).argmax(dim=1)
        counts += confusion_matrix(digits.test.labels, predicted, labels=range(10))
        balanced.append(float(recall_score(digits.test.labels, predicted, average="macro")))
    assert result["confusion"] == counts.tolist()
    assert result["balanced_accuracy"] == pytest.approx(balanced)
    head, *lines = (finished / "confusion.csv").read_text().splitlines()
    assert head == "class \\ taken for,0,1,2,3,4,5,6,7,8,9,recall"
    assert [[*map(int, line.split(",")[1:11])] for line in lines] == counts.tolist()


def test_classes_are_weighed_and_compared_by_their_size(
    digits: ImageData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = (digits.train.labels != 9) | (torch.arange(len(digits.train)) < 200)
    train = Split(digits.train.images[kept], digits.train.labels[kept])
    plain = replace(TINY, auxiliary_weight=0.0, drop_path=0.0, label_smoothing=0.0)
    trainer = make(replace(plain, class_weights="balanced"), replace(digits, train=train))
    x, y = trainer.batches.batch(0)
    with torch.no_grad():
        losses = -trainer.network.train()(x).log_softmax(1)[torch.arange(len(y)), y]
    weights = compute_sample_weight("balanced", train.labels.numpy())
    of_class = {label: weight for label, weight in zip(train.labels.tolist(), weights, strict=True)}
    wanted = sum(
        of_class[label] * loss for label, loss in zip(y.tolist(), losses.tolist(), strict=True)
    )
    trainer.advance()
    trainer.look()
    assert trainer.means()["loss"] == pytest.approx(wanted / len(y), rel=1e-5)

    result = retrain(replace(TINY, epochs=1, metric="balanced_accuracy"), tmp_path / "run")
    assert result is not None and result["mean"] == result["balanced_accuracy"][0]
    said = capsys.readouterr().out
    assert f"test balanced accuracy {100 * result['mean']:.2f} %" in said


@pytest.mark.parametrize(("accuracy", "warned"), [(0.1, True), (0.9, False)])
def test_no_better_than_the_most_frequent_class_is_told(
    accuracy: float, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    tenth = round(35.9 * accuracy)  # of each class
    found = torch.full((10, 10), 0).fill_diagonal_(tenth)
    monkeypatch.setattr(Trainer, "test", lambda self: found)
    retrain(replace(TINY, epochs=1), tmp_path / "run")
    found = "warning: to name the most frequent class alone gives 10." in capsys.readouterr().err
    assert found == warned


def test_costs_are_those_of_the_built_network(finished: Path) -> None:
    costs = read_json(finished / "result.json")["costs"]
    assert set(map(type, costs.values())) == {int}
    network = nas.load(finished / "model.safetensors")
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 8, 8))
    assert costs["flops"] == counter.get_total_flops() / 2  # torch counts a multiply–add as two
    exported = load_file(finished / "model.safetensors")
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert costs["params"] == sum(
        tensor.numel() for name, tensor in exported.items() if not name.endswith(statistics)
    )


def test_published_sizes() -> None:
    preset = PRESETS["cifar10"]
    assert preset.channels is not None and preset.num_cells is not None
    skeleton = Skeleton(SPACES["darts"], 3, 10, 32, 32, preset.channels, preset.num_cells)
    params = cost_table("params", skeleton)
    for name, millions in (("DARTS_V1", 3.2), ("DARTS_V2", 3.3), ("PC_DARTS_cifar", 3.6)):
        assert round(params.total(read_genotype(name).choices()) / 1e6, 1) == millions
    assert params.total(read_genotype("DARTS_V2").choices()) == 3_349_342


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("step", "number", "at_once", "saved"),
    [
        (2, None, 1, (0,)),
        (7, signal.SIGTERM, 1, (7,)),
        (15, None, 1, (10, 0)),
        (13, signal.SIGTERM, 2, (7, 7)),  # in the second epoch of both
    ],
)
def test_an_interrupted_run_ends_bitwise_the_same(
    finished: Path, step: int, number: signal.Signals | None, at_once: int, saved: tuple[int, ...],
    tmp_path: Path, interrupted: Any,
) -> None:  # fmt: skip
    """By a signal, after which it saves, or at once, after which it redoes the epoch."""
    config, folder = replace(TINY, seeds=(0, 3)), tmp_path / "run"
    with interrupted(Trainer, step, number):
        retrain(config, folder, at_once=at_once)
    assert not (folder / "result.json").exists()
    states = (read_state(folder, seed, read_retraining(folder)) for seed in (0, 3))
    assert tuple(state["step"] for state in states if state) == saved
    again = Job(read_retraining(folder), folder, resume=True)
    ((job, result),) = retrain_each([again], at_once=at_once)
    assert job == again and result == read_json(folder / "result.json")
    assert_same_networks(folder, finished)
    assert sorted(rows(folder), key=lambda row: row["step"]) == rows(finished)
    expected = read_json(finished / "result.json")
    assert result | {"seconds": None} == expected | {"seconds": None}


def test_jobs_come_as_they_are_done(tmp_path: Path) -> None:
    longer = Job(replace(TINY, seeds=(0, 1)), tmp_path / "longer")
    shorter = Job(replace(TINY, epochs=1, batch_size=512), tmp_path / "shorter")
    done = []
    for job, _ in retrain_each([longer, shorter], at_once=3):
        done.append(job)
        assert (tmp_path / "longer" / "result.json").exists() == (longer in done)
    assert done == [shorter, longer]


def test_a_finished_run_has_nothing_left_to_do(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    retrain(read_retraining(folder), folder, resume=True)
    assert_same_networks(folder, finished)
    for name in ("config.json", "metrics.jsonl", "result.json", "checkpoint-seed-3.pt"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()


def test_resuming_refuses_other_settings(finished: Path, tmp_path: Path) -> None:
    config = read_retraining(finished)
    with pytest.raises(InputError, match=r"another configuration: lr was 0\.1, now 0\.2"):
        retrain(replace(config, lr=0.2), finished, resume=True)
    folder = shutil.copytree(finished, tmp_path / "run")
    write_json(folder / "config.json", replace(config, lr=0.2).to_dict())
    with pytest.raises(InputError, match=r"checkpoint-seed-0.pt is from another configuration"):
        retrain(replace(config, lr=0.2), folder, resume=True)


def test_a_checkpoint_without_its_hash_is_never_begun_anew(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    for path in folder.glob("checkpoint-seed-3*"):
        if path.name != "checkpoint-seed-3.pt":
            path.unlink()
    config = read_retraining(folder)
    with pytest.raises(InputError, match=r"has no checkpoint-seed-3\.pt\.sha256 beside it"):
        read_state(folder, 3, config)
    (folder / "checkpoint-seed-3.pt").unlink()
    assert read_state(folder, 3, config) is None


def test_a_loss_that_is_not_a_number_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batches.batch

    def poisoned(self: Batches, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = batch(self, step)
        return (x * math.nan if step == 7 else x), y

    monkeypatch.setattr(Batches, "batch", poisoned)
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="loss became nan, its gradient nan at step 7 of seed 0"):
        retrain(TINY, folder)
    state = checkpoint.load(folder / "checkpoint-seed-0.pt")
    assert state["step"] == 5
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


# ---------------------------------------------------------------- one step


def test_drop_path_keeps_expectations() -> None:
    network = Network(read_genotype(CELL), Skeleton(SPACES["nasbench201"], 1, 10, 8, 8, 4, 1))
    network.drop_path = 0.3
    torch.manual_seed(0)
    out = network._run_edge(nn.ReLU(), 0, State(torch.ones(100_000, 1, 1, 1))).flatten()
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.7])
    deviation = math.sqrt(0.3 / 0.7 / len(out))  # of the mean of n examples
    assert abs(float(out.mean()) - 1) < 4 * deviation
    assert torch.equal(network.eval()._run_edge(nn.ReLU(), 0, State(out)), out)


def test_drop_path_leaves_the_identity_alone() -> None:
    genotype = Genotype.from_choices(SPACES["nasbench201"], [1] * 6)  # skip_connect everywhere
    network = Network(genotype, Skeleton(SPACES["nasbench201"], 1, 10, 8, 8, 4, 1))
    x = torch.randn(16, 1, 8, 8)
    before = network(x)
    network.drop_path = 0.9
    assert torch.equal(network(x), before)


def test_the_learning_rate_is_torchs_own_schedule(digits: ImageData) -> None:
    trainer = make(replace(TINY, epochs=4, warmup_epochs=2, lr=0.3, lr_min=0.01), digits)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.3)
    warm, total = 10, 20
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warm, 1.0, warm - 1)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR
    expected = []
    for step in range(total):
        if step == warm:
            rise = fall(optimizer, total - warm, 0.01)  # type: ignore[assignment]
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rise.step()
    found = []
    for trainer.step in range(total):
        found.append(trainer.lr())
    assert found == pytest.approx(expected)


def test_a_step_is_sgd_on_the_weighted_losses_of_both_heads(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In float64, as the ReLU of a value near zero depends on its rounding.
    batch = Batches.batch

    def doubled(self: Batches, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = batch(self, step)
        return x.double(), y

    monkeypatch.setattr(Batches, "batch", doubled)
    trainer = make(replace(TINY, drop_path=0.0, warmup_epochs=0, grad_clip=1e-2), digits)
    trainer.network.double()
    twin = Network(read_genotype(CELL), trainer.network.skeleton, auxiliary=True).double()
    twin.load_state_dict(trainer.network.state_dict())
    x, y = trainer.batches.batch(0)
    smooth = torch.eye(10).double()[y] * 0.9 + 0.01  # label smoothing 0.1 over ten classes
    main, auxiliary = (-(z.log_softmax(1) * smooth).sum(1).mean() for z in twin.with_auxiliary(x))
    (main + 0.4 * auxiliary).backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in twin.parameters()))
    trainer.advance()
    for before, after in zip(twin.parameters(), trainer.network.parameters(), strict=True):
        gradient = before.grad * 1e-2 / norm + 5e-4 * before
        expected = before - 0.1 * (gradient + 0.9 * gradient)  # Nesterov's first step
        assert torch.allclose(after, expected, rtol=0, atol=1e-9)


def test_bfloat16_and_compilation_change_nothing_but_rounding(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The eager backend traces the network without spending a minute on generating code.
    original = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: original(self, backend="eager"))
    config = replace(TINY, drop_path=0.0, num_cells=1)
    plain = make(config, digits)
    compiled = make(replace(config, compile=True), digits)
    rough = make(replace(config, precision="bfloat16"), digits)
    losses: list[list[float]] = [[], [], []]
    for trainer, seen in zip((plain, compiled, rough), losses, strict=True):
        for _ in range(3):
            trainer.advance()
            trainer.look()
            seen.append(trainer.averages["loss"].mean)
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] == pytest.approx(losses[2], abs=0.05)
    assert (plain.precision, rough.precision) == ("float32", "bfloat16")
    assert rough.network.body.classifier.weight.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recorded_step_is_the_step_itself(digits: ImageData, precision: str) -> None:
    processes = Processes(0, 1, torch.device("cuda", 0))
    config = replace(TINY, drop_path=0.0, precision=precision, device="cuda")
    genotype = read_genotype(CELL)
    config, seen = resolve(config, genotype), []
    for record in (True, False):
        trainer = Trainer(config, genotype, digits, processes, seed=0)
        trainer.record_at = trainer.record_at if record else None
        with torch.cuda.stream(trainer.stream):
            for _ in range(10):
                trainer.advance()
            assert (trainer._graph is not None) == record
            seen.append(torch.stack(trainer._unseen).cpu())
    assert len({float(loss) for loss in seen[0][:, 0]}) == 10
    torch.testing.assert_close(seen[0], seen[1], rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_goes_on_where_there_is_no_gpu(tmp_path: Path) -> None:
    config, folder = replace(TINY, drop_path=0.0, device="cuda"), tmp_path / "run"
    retrain(config, folder)
    trainer = make(config, load_data("digits", Path(".")))
    trainer.restore(checkpoint.load(folder / "checkpoint-seed-0.pt"))
    trainer.advance()
    trainer.look()
    assert math.isfinite(trainer.averages["loss"].mean)


# ---------------------------------------------------------------- inheriting

TABLES = {"params": {"base": 0.0, "table": torch.zeros(6, 5, dtype=torch.float64)}}


POINT = pytest.mark.parametrize("search", ["point"], indirect=True)


@pytest.fixture(params=["point", "gaussian", "generated"])
def search(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Supernet]:
    """The folder of a search, as far as retraining reads it, and its supernet."""
    config = SearchConfig(data="digits", channels=4, num_cells=2, weights=request.param)
    supernet = Supernet(Skeleton(SPACES["nasbench201"], 1, 10, 8, 8, 4, 2))
    if request.param == "gaussian":
        to_gaussian(supernet, torch.Generator(), sigma=0.1)
    if request.param == "generated":
        to_generated(supernet, torch.Generator(), config.kernel_embedding)
    state = {"config": config.to_dict(), "step": 9, "supernet": supernet.state_dict()}
    folder = tmp_path / "search"
    folder.mkdir()
    write_json(folder / "config.json", config.to_dict())
    checkpoint.save(folder / "checkpoint.pt", state | {"hypernet": {}, "tables": TABLES})
    return folder, supernet.eval()


def test_inherited_networks_compute_what_the_supernet_did(
    search: tuple[Path, Supernet], digits: ImageData
) -> None:
    folder, supernet = search
    network = (trainer := make(replace(TINY, inherit=str(folder)), digits)).network
    batches = [trainer.batches.batch(step)[0] for step in range(5)]
    # Statistics are estimated over an epoch, so that it can be evaluated at once.
    stem, norm = network.body.stem
    outputs = stem(torch.cat(batches))
    assert torch.allclose(norm.running_mean, outputs.mean(dim=(0, 2, 3)), atol=1e-6)
    # With the statistics of the batch at hand, as in the supernet, it is the supernet.
    expected = supernet.discrete(batches[3], read_genotype(CELL).choices())
    assert torch.allclose(network.train()(batches[3]), expected, atol=1e-5)


@POINT
def test_inheriting_takes_the_searchs_settings(search: tuple[Path, Supernet]) -> None:
    folder, _ = search
    preset = fine_tuning(replace(PRESETS["digits"], genotype=CELL, device="cpu"))
    result = retrain(replace(preset, inherit=str(folder)), folder / "retrained")
    assert result is not None and result["epochs"] == 1
    config = read_json(folder / "retrained" / "config.json")
    assert (config["data"], config["channels"], config["num_cells"]) == ("digits", 4, 2)


@POINT
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "mnist"}, "has data 'digits', not 'mnist'"),
        ({"channels": 8}, "has channels 4, not 8"),
        ({"num_cells": 3}, "has num_cells 2, not 3: leave --num-cells out"),
        ({"split_seed": 1}, "has split_seed 0, not 1"),
        ({"genotype": "DARTS_V2"}, "is of space 'nasbench201', the genotype of 'darts'"),
    ],
)
def test_inheriting_refuses_another_network(
    search: tuple[Path, Supernet], changes: dict[str, Any], message: str
) -> None:
    folder, _ = search
    config = RetrainConfig(**{"genotype": CELL, "inherit": str(folder), "device": "cpu"} | changes)
    with pytest.raises(InputError, match=message):
        retrain(config, folder / "retrained")
    assert not (folder / "retrained").exists()


def test_inheriting_refuses_operations_that_saw_fewer_channels(tmp_path: Path) -> None:
    config = SearchConfig(data="digits", channels=4, num_cells=2, partial_channels=(2,))
    write_json(tmp_path / "config.json", config.to_dict())
    state = {"config": config.to_dict(), "step": 9, "supernet": {}, "hypernet": {}}
    checkpoint.save(tmp_path / "checkpoint.pt", state | {"tables": TABLES})
    retraining = RetrainConfig(genotype=CELL, inherit=str(tmp_path), device="cpu")
    with pytest.raises(InputError, match=r"saw 1/2 of the channels: leave --inherit out"):
        retrain(retraining, tmp_path / "retrained")


def test_statistics_are_means_over_all_batches() -> None:
    norm = nn.BatchNorm2d(3).double()
    batches = torch.randn(7, 16, 3, 4, 4).double() * 2 + 1
    estimate_statistics(nn.Sequential(norm), batches)
    assert torch.allclose(norm.running_mean, batches.mean(dim=(0, 1, 3, 4)))
    variances = batches.transpose(1, 2).flatten(2).var(dim=2)
    assert torch.allclose(norm.running_var, variances.mean(dim=0))
    assert norm.momentum == 0.1


# ---------------------------------------------------------------- settings


def test_what_is_left_open_is_taken_from_the_search() -> None:
    searched = {"data": "fashion", "channels": 20, "num_cells": 5, "split_seed": 7, "lr": "x"}
    genotype = replace(read_genotype(CELL), search=searched)
    found = resolve(RetrainConfig(), genotype)
    assert (found.data, found.channels, found.num_cells, found.split_seed) == ("fashion", 20, 5, 7)
    found = resolve(RetrainConfig(data="digits", channels=8), genotype)
    # The split belongs to the search's own images.
    assert (found.data, found.channels, found.num_cells, found.split_seed) == ("digits", 8, 5, 0)
    with pytest.raises(InputError, match=r"search has split_seed 7, not 3: .*leave --split-seed"):
        resolve(RetrainConfig(split_seed=3), genotype)
    assert resolve(RetrainConfig(split_seed=7), genotype).split_seed == 7
    assert resolve(RetrainConfig(data="digits", split_seed=3), genotype).split_seed == 3
    found = resolve(PRESETS["cifar10"], genotype)
    assert (found.channels, found.num_cells) == (36, 20)
    found = resolve(RetrainConfig(data="digits"), read_genotype("DARTS_V2"))
    assert (found.channels, found.num_cells) == (16, 3)


def test_the_preset_follows_the_data(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    replace(read_genotype(CELL), search={"data": "mnist"}).save(path)
    assert choose_preset("fashion", "digits", None) is PRESETS["fashion"]
    assert choose_preset(None, "digits", str(path)) is PRESETS["digits"]
    assert choose_preset(None, None, str(path)) is PRESETS["mnist"]
    assert choose_preset(None, "images/", str(path)) is PRESETS["default"]
    assert choose_preset(None, None, "DARTS_V2") is PRESETS["default"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"lr": math.nan}, "lr must be positive and finite, got nan"),
        ({"lr": -0.1}, "lr must be positive"),
        ({"drop_path": 1.0}, "drop_path must be at least 0 and less than 1, got 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing must be at least 0 and less than 1, got -0.1"),
        ({"weight_decay": math.inf}, "weight_decay must be"),
        ({"precision": "bfloat61"}, "did you mean 'bfloat16'"),
        ({"seeds": ()}, "seeds must be different and at least one"),
        ({"seeds": (1, 1)}, "seeds must be different"),
        ({"warmup_epochs": 101}, r"warmup_epochs must be at most epochs \(100\), got 101"),
        ({"momentum": 0.0}, "nesterov needs a momentum"),
        ({"channels": 0}, "channels must be at least 1"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RetrainConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"genotype": ""}, "no genotype: name one"),
        ({"genotype": "DARTS_V3"}, "did you mean"),
        ({"data": None}, "name one with --data"),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"inherit": "nowhere"}, "nowhere is not the folder of a search"),
        ({"image_size": 8}, "only for files of images"),
    ],
)
def test_nothing_is_left_of_a_run_that_cannot_begin(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        retrain(replace(TINY, **changes), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(InputError, match="finished exists"):
        retrain(replace(TINY, data="no data to be read"), finished)  # told before that is noticed
    assert before == {path: path.read_bytes() for path in finished.iterdir()}


@POINT
def test_only_retrainings_are_gone_on_with(search: tuple[Path, Supernet], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config.json"):
        read_retraining(tmp_path)
    with pytest.raises(InputError, match=r"folder of a search: go on with search\.py --resume"):
        read_retraining(search[0])
    (tmp_path / "config.json").write_text('{"seeds": [0], "qqq": 1}')
    with pytest.raises(
        InputError, match="unknown setting 'qqq': choose from tensorboard, device, threads"
    ):
        read_retraining(tmp_path)


# ---------------------------------------------------------------- the command

OPTIONS = "--data digits --channels 4 --num-cells 2 --epochs 1 --batch-size 256 --device cpu"


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["retrain.py", *args])
    script.main()


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [*OPTIONS.split(), "--warmup-epochs", "0", "--seeds", "1", "2"]
    run(monkeypatch, "--genotype", CELL, *options)
    folder = Path(f"runs/retrain-{read_genotype(CELL).id}")
    assert read_json(folder / "config.json")["label_smoothing"] == PRESETS["digits"].label_smoothing
    result = read_json(folder / "result.json")
    out = capsys.readouterr().out
    assert f"{100 * result['mean']:.2f} ± {100 * result['std']:.2f} %" in out
    assert str(folder / "model.safetensors") in out
    run(monkeypatch, "digits", "--genotype", CELL, *options)
    assert folder.with_name(f"{folder.name}-2").is_dir()
    run(monkeypatch, "--resume", str(folder))
    assert read_json(folder / "result.json") == result
    run(monkeypatch, "--genotype", CELL, *options, "--at-once", "2", "--out", "together")
    together = read_json(Path("together") / "result.json")
    assert together | {"seconds": None} == result | {"seconds": None}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["cifar", "--genotype", CELL], "unknown preset 'cifar': did you mean 'cifar10'?"),
        (["--genotype", CELL, "--epoch", "3"], "did you mean '--epochs'"),
        (["--genotype", CELL, "--epochs", "three"], "epochs"),
        (["--data", "digits"], "no genotype: name one"),
        (["--genotype", CELL, "--at-once", "0"], "at-once must be at least 1, got 0"),
        (["--genotype", CELL, "--at-once", "two"], "at-once must be an integer, got 'two'"),
        (["--genotype", "nothing.json"], "no genotype file"),
        (["--resume", "nowhere"], "nowhere is not the folder of a retraining"),
    ],
)
def test_errors_take_one_line(
    args: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, *args)
    lines = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert len(lines) == 1 and message in lines[0]
    assert list(tmp_path.iterdir()) == []
