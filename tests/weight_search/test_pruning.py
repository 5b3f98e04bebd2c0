"""Pruning: exactly the share that is asked for, in the order of its rule."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import nas
from cells.chain import Chain, module_of
from cells.errors import InputError
from nas.cell_search.folder import read_run
from nas.commands import generate as generated_module
from nas.commands import prune as prune_module
from nas.run import search
from nas.runtime import checkpoint
from nas.weight_search.config import WeightConfig
from nas.weight_search.evidence import means, quality
from nas.weight_search.networks import Generated
from nas.weight_search.pruning import RULES, SHARES, curve, prune, ranks, without_idle_units
from nas.weights.posteriors import Posterior, Posteriors

CHAIN = Chain.parse(("6",), (4,), 3)
CHAIN_OF_RUN = Chain.parse(("12",), (1, 8, 8), 10)


def random_posteriors(*networks: int) -> Posteriors:
    generator = torch.Generator().manual_seed(0)
    layers = [
        Posterior(*torch.randn(2, *networks, layer.outputs, layer.fan_in + 1, generator=generator))
        for layer in CHAIN.layers
    ]  # fmt: skip
    return Posteriors(layers, None)


def flat(tables: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([table.flatten(-2) for table in tables], dim=-1)


@pytest.mark.parametrize("rule", ["density", "magnitude"])
def test_exactly_a_share_is_removed_the_least_first(rule: str) -> None:
    found = random_posteriors(2, 5)
    order, tables = ranks(found, rule), means(found)
    scores = flat([RULES[rule](layer) for layer in found.layers])
    total = CHAIN.num_params
    for share in (0.0, 0.1, 0.333, 0.5, 0.9, 1.0):
        kept = flat(prune(tables, order, rule, share))
        removed = (kept == 0) & (flat(tables) != 0)
        assert bool((removed.sum(dim=-1) == round(share * total)).all())
        assert torch.equal(kept[~removed], flat(tables)[~removed])
        if 0 < share < 1:
            worst_kept = scores.masked_fill(removed, torch.inf).amin(dim=-1)
            best_removed = scores.masked_fill(~removed, -torch.inf).amax(dim=-1)
            assert bool((best_removed <= worst_kept).all())


def test_density_goes_by_mean_over_deviation() -> None:
    mean = torch.tensor([[0.1, 1.0, -2.0, 0.5]])
    log_sigma = torch.tensor([[0.01, 5.0, 1.0, 0.1]]).log()
    one = Posteriors([Posterior(mean, log_sigma)], None)
    assert ranks(one, "density")[0].tolist() == [[3, 0, 1, 2]]  # 10, 0.2, 2, 5 deviations
    assert ranks(one, "magnitude")[0].tolist() == [[0, 2, 3, 1]]


def test_filters_go_as_a_whole_and_outputs_stay() -> None:
    found = random_posteriors(3)
    order, tables = ranks(found, "filter"), means(found)
    hidden, last = prune(tables, order, "filter", 0.5)
    assert torch.equal(last, tables[-1])
    norms = tables[0][..., :-1].abs().sum(dim=-1)
    for network in range(3):
        gone = [row for row in range(6) if not hidden[network, row].any()]
        assert sorted(gone) == sorted(norms[network].argsort()[:3].tolist())


@pytest.mark.parametrize("layers", [("6",), ("5", "4"), ("conv3", "pool", "conv4", "6")])
def test_idle_units_go_and_nothing_changes(layers: tuple[str, ...]) -> None:
    """Units without weights, or that nothing reads, and then those that only such ones read."""
    torch.manual_seed(0)
    chain = Chain.parse(layers, (2, 6, 4) if "pool" in layers else (7,), 3)
    tables = [torch.randn(layer.outputs, layer.fan_in + 1) for layer in chain.layers]
    x = torch.randn(5, *chain.input_shape)
    assert [len(table) for table in without_idle_units(tables)] == [len(t) for t in tables]
    for number, table in enumerate(tables[:-1]):
        table[1] = 0
        readers = tables[number + 1][:, :-1].reshape(len(tables[number + 1]), len(table), -1)
        readers[:, 2] = 0
    found = without_idle_units(tables)
    assert [len(table) for table in found[:-1]] == [len(table) - 2 for table in tables[:-1]]
    smaller, names = chain.narrowed(layers, [len(table) for table in found])
    assert Chain.parse(names, chain.input_shape, 3) == smaller
    assert smaller.num_params < chain.num_params and smaller.flops < chain.flops
    wanted = module_of(chain, tables)(x)
    torch.testing.assert_close(module_of(smaller, found)(x), wanted)


def test_a_layer_keeps_a_unit() -> None:
    tables = [torch.zeros(4, 3), torch.ones(2, 5)]
    found = without_idle_units(tables)
    assert [tuple(table.shape) for table in found] == [(1, 3), (2, 2)]
    assert found[1][:, -1].tolist() == [1.0, 1.0]


def test_bad_wishes_get_one_line() -> None:
    found = random_posteriors(1)
    with pytest.raises(InputError, match="unknown pruning rule 'size'"):
        ranks(found, "size")
    with pytest.raises(InputError, match=r"must lie in 0 … 1, got 1\.5"):
        prune(means(found), ranks(found, "magnitude"), "magnitude", 1.5)


# ---------------------------------------------------------------- from a run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlp") / "run"
    config = WeightConfig(
        data="digits", layers=("12",), epochs=20, batch_size=128, w_lr=0.02, runs=2, device="cpu",
        grid=3, draws=1,
    )  # fmt: skip
    search(config, folder)
    return folder


def call(module: object, monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    module.command(list(args))


def test_a_network_is_an_ordinary_module(run: Path) -> None:
    generated = Generated.load(run)
    task = generated.task()
    accuracy = quality(task, generated.chain, means(generated.at([3.0])), task.test)
    for number in range(2):
        module = generated.network(3.0, number)
        counted = (module(task.test.x).argmax(dim=1) == task.test.y).double().mean()
        assert float(counted) == pytest.approx(float(accuracy[number, 0]))
        assert float(counted) > 0.8
    with pytest.raises(InputError, match=r"λ = 1000.0 is outside the searched range"):
        generated.network(1000.0)


def test_most_numbers_can_go(run: Path) -> None:
    generated = Generated.load(run)
    task = generated.task()
    found = curve(task, generated.chain, generated.at([0.1, 10.0]), task.test, "density")
    assert found.shape == (len(SHARES), 2, 2)
    half = SHARES.index(0.5)
    assert bool((found[half] > found[0] - 0.05).all())
    assert bool((found[-1] < found[0]).all())


def test_commands_leave_a_curve_and_a_network(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(prune_module, monkeypatch, str(run), "--lam", "10", "--by", "magnitude")
    with (run / "prune-magnitude-10.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["removed", "test_accuracy_run0", "test_accuracy_run1"]
    assert [float(row[0]) for row in rows[1:]] == list(SHARES)
    accuracy = 100 * float(rows[1][2])  # nothing removed, second run
    capsys.readouterr()
    call(generated_module, monkeypatch, str(run), "--lam", "10", "--seed-number", "1")
    told = capsys.readouterr().out
    assert f"test accuracy {accuracy:.2f} %, with the means of the weights" in told
    path = run / "network-10.safetensors"
    with safe_open(path, "pt") as file:
        module = Generated.load(run).network(10.0, 1)
        for name, tensor in module.state_dict().items():
            assert torch.equal(file.get_tensor(name), tensor)
        assert '"lam": 10.0' in file.metadata()["network"]
    call(prune_module, monkeypatch, str(run), "--lam", "10", "--share", "0.75")
    left, smaller = capsys.readouterr().out.splitlines()[-2:]
    total = CHAIN_OF_RUN.num_params
    assert left == f"{total - round(0.75 * total)} of {total} parameters are not 0"
    generated = Generated.load(run)
    posteriors = generated.at([10.0])
    zeroed = prune(means(posteriors), ranks(posteriors, "density"), "density", 0.75)
    wanted = module_of(CHAIN_OF_RUN, [table[0, 0] for table in zeroed])
    network = nas.load(run / "pruned-density-10-0.75.safetensors")
    images = torch.randint(256, (50, 1, 8, 8), dtype=torch.uint8)
    x = network.data.normalise(images)
    torch.testing.assert_close(network(x), wanted(x), atol=1e-6, rtol=1e-6)
    size = sum(parameter.numel() for parameter in network.parameters())
    assert 0 < size < total and not network.log_sigmas
    assert f" {size} parameters in" in smaller
    assert network.data.classes == tuple("0123456789")
    with pytest.raises(InputError, match="exists: choose another --out"):
        call(generated_module, monkeypatch, str(run), "--lam", "10")
    with pytest.raises(InputError, match=r"--seed-number must lie in 0 … 1, got 2"):
        call(generated_module, monkeypatch, str(run), "--lam", "1", "--seed-number", "2")


def test_networks_by_themselves_exist_for_their_lams_alone(run: Path, tmp_path: Path) -> None:
    config = replace(Generated.load(run).config, hypernet="none", epochs=1, grid=2)
    search(config, tmp_path / "none")
    generated = Generated.load(tmp_path / "none")
    assert generated.at([0.1, 100.0]).layers[0].mean.shape == (2, 2, 12, 65)
    with pytest.raises(InputError, match=r"λ = 3.0 has no network: .* λ = 0.1, 100"):
        generated.at([3.0])


def test_what_is_no_such_run_gets_one_line(run: Path, run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the checkpoint of a search in the space mlp"):
        Generated.load(run_folder)
    state = checkpoint.load(run / "checkpoint.pt")
    state["hypernet"] = dict(list(state["hypernet"].items())[1:])
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    with pytest.raises(InputError, match="does not fit its own configuration"):
        Generated.load(tmp_path)
    state = checkpoint.load(run / "checkpoint.pt")
    for data, message in (
        ("[" * 9999, "data does not fit"),
        ("[]", "data does not fit"),
        (state["task"]["data"].replace('"classes"', '"x"'), "its classes must be of type list"),
        (3, "data must be a text of JSON, got 3"),
    ):
        damaged = state | {"task": state["task"] | {"data": data}}
        checkpoint.save(tmp_path / "checkpoint.pt", damaged)
        with pytest.raises(InputError, match=rf"checkpoint.pt is damaged .*{message}"):
            Generated.load(tmp_path)
    older = state | {"task": {k: v for k, v in state["task"].items() if k != "data"}}
    checkpoint.save(tmp_path / "checkpoint.pt", older)
    assert Generated.load(tmp_path).data() == Generated.load(run).data()
    with pytest.raises(InputError, match="is a search in the space mlp: it has no cells"):
        read_run(run)
