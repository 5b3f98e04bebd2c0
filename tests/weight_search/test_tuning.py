"""λ of generated networks, tuned: both ways, their command, and what is refused."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from scipy.optimize import minimize_scalar
from torch import Tensor

from cells.chain import Chain
from cells.errors import InputError
from nas.commands import generate as generated
from nas.commands import prune
from nas.commands import tune as command
from nas.data.batches import Examples
from nas.data.examples import Task, load_task
from nas.hypernets.weights import WeightHypernet
from nas.optim.best_response import hypergradient
from nas.run import any_config, search
from nas.runtime import checkpoint
from nas.runtime.processes import Processes
from nas.weight_search.config import WeightConfig
from nas.weight_search.evidence import mean_nll
from nas.weight_search.networks import Generated
from nas.weight_search.problem import WeightProblem
from nas.weight_search.searcher import WeightSearcher
from nas.weight_search.tuning import tune, tuned_rows

ALONE = Processes(0, 1, torch.device("cpu"))
POINT = WeightConfig(
    data="digits", layers=("8",), weights="point", val_fraction=0.2, epochs=2, batch_size=256,
    grid=3, device="cpu", knots=3, draws=2,
)  # fmt: skip
LOCAL = replace(POINT, tune="local", runs=2, hypernet="lowrank")


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task("digits", Path("data"), val_fraction=0.2)


@pytest.fixture(scope="module")
def local_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "local"
    search(LOCAL, folder)
    return folder


def moved(config: WeightConfig, task: Task, steps: int) -> WeightSearcher:
    searcher = WeightSearcher(config, ALONE, task)
    for _ in range(steps):
        searcher.advance()
    return searcher


def run(module: object, monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    module.command(list(map(str, args)))


# ---------------------------------------------------------------- ridge regression, whole


class Line:
    """A regression by one linear layer, whose noise is learned with its weights.

    At its optimum w = (XᵀX + λσ²/σ₀² I)⁻¹ Xᵀy, with a column of ones in X, and σ² is the mean of
    the squared errors. It is found here by turns.
    """

    def __init__(self, prior_variance: float) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(260, 20, generator=generator)
        y = 0.5 * x[:, :5].sum(dim=1) + torch.randn(260, generator=generator)
        parts = [Examples(x[a:b], y[a:b]) for a, b in ((0, 40), (40, 240), (240, 260))]
        self.task = Task("line", parts[0], parts[2], 1, True, 0.0, 1.0, parts[1])
        self.prior_variance = prior_variance

    def solution(self, lam: float) -> tuple[Tensor, float]:
        """Weights (21,), the last the bias, and σ²."""
        x, y = self._columns(self.task.train)
        variance, gram = 1.0, x.T @ x
        for _ in range(200):
            penalty = lam * variance / self.prior_variance * torch.eye(21, dtype=torch.float64)
            w = torch.linalg.solve(gram + penalty, x.T @ y)
            variance = float((y - x @ w).square().mean())
        return w, variance

    def validation_loss(self, lam: float) -> float:
        w, variance = self.solution(lam)
        x, y = self._columns(self.task.val)
        error = float((y - x @ w).square().mean())
        return (error / variance + math.log(2 * math.pi * variance)) / 2

    @staticmethod
    def _columns(part: Examples) -> tuple[Tensor, Tensor]:
        x = part.x.double()
        return torch.cat([x, x.new_ones(len(x), 1)], dim=1), part.y.double()


LINE = Line(0.1)
REGRESSION = WeightConfig(
    layers=(), weights="point", val_fraction=0.5, lam_low=0.03, lam_high=100.0, batch_size=40,
    epochs=1000, w_lr=0.02, device="cpu", grid=7, knots=9, prior_variance=0.1,
)  # fmt: skip


def test_a_linear_network_by_itself_is_ridge_regression() -> None:
    searcher = moved(replace(REGRESSION, hypernet="none"), LINE.task, 1000)
    problem = searcher.problem
    assert problem.own_lams is not None
    found = problem.hypernet(torch.zeros(7, 1))
    for number, lam in enumerate(problem.own_lams.tolist()):
        w, variance = LINE.solution(lam)
        ours = found.layers[0].mean[number, 0, 0].detach()
        torch.testing.assert_close(ours.double(), w, rtol=0, atol=0.002)
        assert float(found.log_noise[number, 0].detach()) == pytest.approx(
            math.log(variance) / 2, abs=0.002
        )


@pytest.mark.parametrize("way", ["none", "local"])
def test_both_ways_find_the_lam_of_ridge_regression(way: str) -> None:
    best = minimize_scalar(
        lambda log: LINE.validation_loss(math.exp(log)),
        bounds=(math.log(0.03), math.log(100.0)),
        method="bounded",
    )
    lam = math.exp(best.x)
    assert 2 < lam < 40
    assert LINE.validation_loss(lam) < min(map(LINE.validation_loss, (lam / 4, lam * 4))) - 0.02
    config = replace(REGRESSION, tune=way, epochs=500, runs=2)
    problem = moved(config, LINE.task, 500).problem
    tuned = Generated(config, problem.chain, problem.hypernet, problem.tuned_lams)
    found = tune(tuned, LINE.task)
    assert found.log().tolist() == pytest.approx([best.x] * 2, abs=0.1)
    rows = tuned_rows(tuned, found, LINE.task)
    assert [row["seed"] for row in rows] == [0, 1]
    for row in rows:
        assert row["val_nll"] == pytest.approx(best.fun, abs=0.003)


@pytest.mark.parametrize("form", ["linear", "lowrank", "piecewise", "mlp"])
def test_the_hypergradient_is_the_finite_difference(digits: Task, form: str) -> None:
    """Through every form, and networks with a hidden layer."""
    chain = Chain.parse(("6",), digits.input_shape, 10)
    hypernet = WeightHypernet(chain, form, (0, 1), sigma=None).double()
    with torch.no_grad():
        for number, table in enumerate(hypernet.tables.values()):
            generator = torch.Generator().manual_seed(number)
            table.add_(0.3 * torch.randn(table.shape, generator=generator, dtype=torch.float64))
    part = Examples(digits.val.x[:50].double(), digits.val.y[:50])

    def loss(unit_lams: Tensor) -> Tensor:
        return mean_nll(chain, hypernet(unit_lams[:, None]), part)[:, 0]

    units = torch.tensor([0.3, 0.85], dtype=torch.float64)
    _, grads = hypergradient(loss, units)
    with torch.no_grad():
        wanted = (loss(units + 1e-6) - loss(units - 1e-6)) / 2e-6
    assert float(wanted.abs().min()) > 1e-3
    torch.testing.assert_close(grads, wanted, rtol=1e-5, atol=1e-7)


# ---------------------------------------------------------------- the local way on digits


@pytest.mark.parametrize("weights", ["point", "gaussian"])
def test_runs_tune_side_by_side_as_they_do_one_by_one(digits: Task, weights: str) -> None:
    config = replace(LOCAL, weights=weights)
    together = moved(config, digits, 6).problem
    assert together.tuned_lams is not None
    for number in range(2):
        alone = moved(replace(config, seed=number, runs=1), digits, 6).problem
        assert float(alone.tuned_lams) == pytest.approx(
            float(together.tuned_lams[number]), rel=1e-5
        )
        assert abs(math.log(float(alone.tuned_lams)) - math.log(10) / 2) > 1e-3
    assert float(together.tuned_lams[0]) != float(together.tuned_lams[1])


def test_weights_are_trained_about_the_lam_of_their_run(digits: Task) -> None:
    config = replace(LOCAL, lams_per_step=4000, tune_width=0.2)
    problem = WeightProblem(config, ALONE, digits)
    assert problem.descent is not None
    problem.descent.unit_lams.copy_(torch.tensor([0.3, 0.7]))
    for log, lam in zip(
        problem.sample("train", 0).lams.log(), problem.tuned_lams.tolist(), strict=True
    ):
        assert float(log.mean()) == pytest.approx(math.log(lam), abs=0.02)
        assert float(log.std()) == pytest.approx(0.2, rel=0.05)


def test_an_interrupted_local_search_goes_on_to_the_same_end(
    local_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, count = WeightSearcher.advance, 0

    def stop_in_the_second_epoch(self: WeightSearcher) -> None:
        nonlocal count
        advance(self)
        count += 1
        if count == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(WeightSearcher, "advance", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        search(LOCAL, tmp_path / "halved")
    monkeypatch.setattr(WeightSearcher, "advance", advance)
    state = checkpoint.load(tmp_path / "halved" / "checkpoint.pt")
    assert 0 < state["step"] < 8
    search(LOCAL, tmp_path / "halved", state=state)
    ours, wanted = (checkpoint.load(f / "checkpoint.pt") for f in (tmp_path / "halved", local_run))
    assert torch.equal(ours["tuned"]["unit_lams"], wanted["tuned"]["unit_lams"])
    tables = wanted["hypernet"]
    assert all(torch.equal(ours["hypernet"][name], tables[name]) for name in tables)
    assert (tmp_path / "halved" / "front.csv").read_bytes() == (
        local_run / "front.csv"
    ).read_bytes()


def test_the_record_has_the_lams_and_the_validation_loss(local_run: Path) -> None:
    last = json.loads((local_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["lam"] == pytest.approx(Generated.load(local_run).tuned.tolist())
    assert 0 < last["val_nll"] < 5


def test_the_command_writes_the_network_of_every_run(
    local_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "tuned"
    run(command, monkeypatch, local_run, "--out", out)
    with (out / "tuned.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (local_run / "front.csv").open() as file:
        assert rows == list(csv.DictReader(file))
    ours = Generated.load(local_run)
    task = ours.task()
    for number, row in enumerate(rows):
        assert f"λ = {float(row['lam']):.4g}" in capsys.readouterr().out or number
        with safe_open(out / f"network-{number}.safetensors", "pt") as file:
            assert not [name for name in file.keys() if "sigma" in name]  # noqa: SIM118
        network = ours.network(float(row["lam"]), number)
        with torch.no_grad():
            outputs = network(task.val.x)
        loss = torch.nn.functional.cross_entropy(outputs, task.val.y)
        assert float(row["val_nll"]) == pytest.approx(float(loss), rel=1e-4)
        accuracy = (outputs.argmax(dim=1) == task.val.y).float().mean()
        assert float(row["val_accuracy"]) == pytest.approx(float(accuracy), abs=1e-6)
    with pytest.raises(InputError, match="exists: choose another --out"):
        run(command, monkeypatch, local_run, "--out", out)


def test_a_local_search_answers_near_its_lam_alone(local_run: Path) -> None:
    ours = Generated.load(local_run)
    near = float(ours.tuned[0])
    assert ours.network(1.5 * near)
    with pytest.raises(InputError, match=r"λ = 0\.1 is far from what this search learned, λ = "):
        ours.network(0.1)


def test_fine_tuning_goes_on_from_the_lam_that_was_learned(local_run: Path, tmp_path: Path) -> None:
    ours = Generated.load(local_run)
    lam = float(ours.tuned[0])
    alone = replace(POINT, hypernet="none", runs=2, lam=lam, start=str(local_run), w_lr=1e-9)
    search(alone, tmp_path / "alone")
    theirs = Generated.load(tmp_path / "alone").at([lam])
    for one, other in zip(ours.at([lam]).layers, theirs.layers, strict=True):
        torch.testing.assert_close(one.mean, other.mean, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="start has weights 'point', this search 'gaussian'"):
        search(replace(alone, weights="gaussian"), tmp_path / "other")


# ---------------------------------------------------------------- the validation part


def test_the_front_has_validation_columns_where_there_is_such_a_part(tmp_path: Path) -> None:
    config = replace(POINT, epochs=1)
    search(config, tmp_path / "with")
    search(replace(config, val_fraction=0.0), tmp_path / "without")
    header = (tmp_path / "with" / "front.csv").read_text().splitlines()[0]
    assert header == "lam,evidence,log_likelihood,kl,train_accuracy,val_nll,val_accuracy"
    assert "val" not in (tmp_path / "without" / "front.csv").read_text()
    with pytest.raises(InputError, match="held no examples out of its training: search once more"):
        ours = Generated.load(tmp_path / "without")
        tune(ours, ours.task())


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "fixed"}, "unknown kind of weights 'fixed'"),
        ({"tune": "global"}, "unknown way to tune 'global'"),
        ({"val_fraction": 1.0}, "val_fraction must be at least 0 and below 1, got 1.0"),
        ({"tune": "local", "val_fraction": 0.0}, "add --val-fraction 0.2"),
        ({"tune": "local", "hypernet": "none"}, "leave --hypernet none out"),
        ({"tune": "local", "lam_low": 1.0, "lam_high": 1.0}, "needs a range, not λ = 1.0 alone"),
        ({"tune_width": 0.0}, "tune_width must be positive"),
    ],
)
def test_bad_settings_get_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(POINT, **changes)


def test_settings_survive_json() -> None:
    assert any_config(LOCAL.to_dict()) == LOCAL


def test_networks_by_themselves_cannot_be_tuned(digits: Task) -> None:
    problem = WeightProblem(replace(POINT, hypernet="none"), ALONE, digits)
    with pytest.raises(
        InputError, match="networks by themselves have no way from one λ to the next"
    ):
        tune(Generated(problem.config, problem.chain, problem.hypernet), digits)


def test_points_have_no_density(
    local_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lam = float(Generated.load(local_run).tuned[0])
    with pytest.raises(InputError, match="needs Gaussian weights: choose from magnitude, filter"):
        run(prune, monkeypatch, local_run, "--lam", lam)
    run(prune, monkeypatch, local_run, "--lam", lam, "--by", "magnitude", "--out", tmp_path / "p")
    assert (tmp_path / "p").is_file()
    run(generated, monkeypatch, local_run, "--lam", lam, "--out", tmp_path / "n")
    assert (tmp_path / "n").is_file()
