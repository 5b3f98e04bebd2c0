"""Settings of a search: what is refused, and that they survive JSON."""

import dataclasses
import json
import math
from typing import Any

import pytest

from cells.cost import COSTS
from cells.errors import InputError
from cells.space import SPACES
from nas.architecture.relaxations import RELAXATIONS, SCHEDULES
from nas.cell_search.config import SearchConfig, config_from_dict
from nas.cell_search.presets import PRESETS
from nas.cell_search.schedule import Schedule
from nas.hypernets.forms import HYPERNETS

NAN, INF = math.nan, math.inf


def refused(**values: Any) -> str:
    """The message with which settings are refused, which is one line."""
    with pytest.raises(InputError) as error:
        SearchConfig(**values)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        # λ
        ({"lam": (0.0,)}, ["λ must be positive", "0.0"]),
        ({"lam": (-0.5,)}, ["λ must be positive", "-0.5"]),
        ({"lam": (NAN,)}, ["λ must be positive", "nan"]),
        ({"lam_low": (0.0,)}, ["λ must be positive", "0.0"]),
        ({"lam_high": (INF,)}, ["λ must be positive and finite", "inf"]),
        ({"lam_low": (2.0,), "lam_high": (1.0,)}, ["empty range", "2.0", "1.0", "swap"]),
        ({"lam": (1.0, 2.0)}, ["lam must have as many", "(params)", "that is 1, got 2"]),
        ({"lam": ()}, ["lam must have as many", "got 0"]),
        (
            {"costs": ("params", "flops"), "lam_low": (1.0, 1.0, 1.0)},
            ["lam_low", "(params, flops)", "that is 1 or 2, got 3"],
        ),
        # names
        ({"space": "dart"}, ["search space 'dart'", "did you mean 'darts'"]),
        ({"space": "x"}, ["search space 'x'", "choose from darts, darts_free, nasbench201"]),
        ({"costs": ("parms",)}, ["cost 'parms'", "did you mean 'params'"]),
        ({"hypernet": "gibs"}, ["hypernetwork 'gibs'", "did you mean 'gibbs'"]),
        ({"relax": "gumble"}, ["relaxation 'gumble'", "did you mean 'gumbel'"]),
        ({"temperature_schedule": "lin"}, ["schedule 'lin'", "did you mean 'linear'"]),
        ({"lam_unit": "row"}, ["unit of λ 'row'", "did you mean 'raw'"]),
        ({"discretise": "probable"}, ["rule 'probable'", "did you mean 'most_probable'"]),
        ({"weights": "gauss"}, ["weights 'gauss'", "did you mean 'gaussian'"]),
        ({"order": "third"}, ["order 'third'", "choose from first, second, exact"]),
        ({"precision": "float16"}, ["precision 'float16'", "did you mean 'bfloat16'"]),
        # costs
        ({"costs": ()}, ["at least one", "()"]),
        ({"costs": ("params", "params")}, ["different", "params"]),
        ({"costs": ("kl",)}, ["'kl'", "--weights gaussian"]),
        ({"costs": ("kl",), "weights": "generated"}, ["'kl'", "--weights gaussian"]),
        ({"weights": "generate"}, ["weights 'generate'", "did you mean 'generated'"]),
        ({"kernel_embedding": 0}, ["kernel_embedding must be at least 1, got 0"]),
        # the score estimator and the prior
        ({"estimator": "scores"}, ["estimator 'scores'", "did you mean 'score'"]),
        ({"estimator": "score", "relax": "softmax"}, ["'score'", "relax 'straight_through'"]),
        ({"estimator": "score", "order": "second"}, ["'score'", "order 'first'", "'second'"]),
        ({"trained_cells": "all"}, ["trained cells 'all'", "choose from lambda, prior"]),
        ({"op_probs": (0.5, 0.5)}, ["op_probs", "5 values, for none, skip_connect", "got 2"]),
        ({"op_probs": (0.5, 0.5, 0.0, 0.0, 0.0)}, ["op_probs must be positive"]),
        ({"op_probs": (0.5, 0.2, 0.2, 0.2, 0.2)}, ["add up to 1"]),
        # finalists from elsewhere
        ({"finalist_source": "evolve"}, ["finalist source 'evolve'", "did you mean 'evolved'"]),
        ({"finalist_source": "random"}, ["finalist_source 'random'", "add --finalists 500"]),
        ({"finalist_source": "evolved"}, ["finalist_source 'evolved'", "add --finalists 500"]),
        ({"finalist_source": "mixed"}, ["finalist_source 'mixed'", "or --finalist-source drawn"]),
        ({"finalist_source": "evolved", "finalists": 64}, ["64 random cells", "got 64"]),
        ({"finalist_source": "mixed", "finalists": 1}, ["'mixed'", "at least 2, got 1"]),
        (
            {"finalist_source": "random", "finalists": 9, "lam": (0.5,)},
            ["finalist_source 'random'", "single λ 0.5 of params", "lam_low and lam_high"],
        ),
        # several searches
        ({"searches": 2}, ["2 searches", "add --finalists 500, or --searches 1"]),
        (
            {"searches": 2, "finalists": 9, "costs": ("kl",), "weights": "gaussian"},
            ["cost 'kl'", "weights of one search", "--searches 1"],
        ),
        ({"arch_kl_end": 0.0}, ["positive at both ends, got 0.01 and 0.0"]),
        # numbers
        ({"epochs": 2, "warmup_epochs": 3}, ["warmup_epochs", "at most epochs (2), got 3"]),
        ({"val_fraction": 0.0}, ["val_fraction", "0.0"]),
        ({"val_fraction": 1.0}, ["val_fraction", "1.0"]),
        ({"val_fraction": NAN}, ["val_fraction", "nan"]),
        ({"grid": 0}, ["grid must be from 1 to 10000, got 0"]),
        ({"grid": 10_001}, ["grid must be from 1 to 10000, got 10001"]),
        ({"finalists": -1}, ["finalists must be from 0 to 20000, got -1"]),
        ({"finalists": 20_001}, ["finalists must be from 0 to 20000, got 20001"]),
        ({"eval_images": 1}, ["eval_images must be at least 2, got 1"]),
        ({"knots": 1}, ["knots must be at least 2, got 1"]),
        *(({name: 0}, [f"{name} must be at least 1, got 0"]) for name in (
            "epochs", "batch_size", "lams_per_step", "latency_batch",
            "channels", "num_cells", "hidden", "rank", "image_size", "shrink",
            "score_lams", "searches",
        )),
        *(({name: -1}, [f"{name} must be at least 0, got -1"]) for name in (
            "warmup_epochs", "threads", "crop_padding", "cutout", "arch_kl",
            "arch_lr_end", "w_lr_min", "w_weight_decay", "arch_weight_decay",
        )),
        *(({name: NAN}, [f"{name} must be at least 0, got nan"]) for name in (
            "arch_kl", "w_lr_min", "w_weight_decay",
        )),
        *(({name: value}, [f"{name} must be positive and finite, got {value}"]) for name in (
            "w_lr", "w_grad_clip", "arch_lr", "prior_variance", "initial_sigma", "temperature",
            "temperature_end",
        ) for value in (0.0, -1.0, NAN, INF)),
        *(({name: value}, [f"{name} must be at least 0 and less than 1, got {value}"]) for name in (
            "w_momentum", "arch_beta1",
        ) for value in (-1, 1.0, NAN)),
    ],
    ids=str,
)  # fmt: skip
def test_bad_values_are_named_with_the_remedy(values, words) -> None:
    message = refused(**values)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("epochs", "ten", "an integer, got 'ten'"),
        ("epochs", 1.5, "an integer, got 1.5"),
        ("epochs", True, "an integer, got True"),
        ("epochs", None, "an integer, got None"),
        ("w_lr", "fast", "a number, got 'fast'"),
        ("w_lr", [0.1], "a number, got [0.1]"),
        ("flip", 1, "true or false, got 1"),
        ("space", ["darts"], "a text, got ['darts']"),
        ("space", {}, "a text, got {}"),
        ("image_size", "big", "an integer or null, got 'big'"),
        ("lam", "x", "a list of numbers or null, got 'x'"),
        ("lam", 0.3, "a list of numbers or null, got 0.3"),
        ("lam", ["x"], "a list of numbers or null, got ['x']"),
        ("lam_low", None, "a list of numbers, got None"),
        ("keep_ops", [2.5], "a list of integers, got [2.5]"),
        ("partial_channels", 4, "a list of integers, got 4"),
        ("costs", "params", "a list of texts, got 'params'"),
        ("costs", [["params"]], "a list of texts, got [['params']]"),
    ],
)
def test_json_of_a_wrong_type_is_refused(name, value, wanted) -> None:
    with pytest.raises(InputError) as error:
        config_from_dict({name: value})
    assert str(error.value) == f"setting {name!r} must be {wanted}"


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(InputError, match="unknown setting 'epoch': did you mean 'epochs'"):
        config_from_dict({"epoch": 3})


def test_former_settings_are_read_at_the_value_that_is_built_in() -> None:
    assert config_from_dict({"replay": 16, "arch_beta2": 0.999}) == SearchConfig()
    with pytest.raises(InputError, match="replay is 16 in this version, got 3: go on with the"):
        config_from_dict({"replay": 3})


def test_the_hypernetworks_learning_rate_follows_a_cosine() -> None:
    schedule = Schedule(SearchConfig(arch_lr=0.04, arch_lr_end=0.02, epochs=4), 10)
    assert [schedule.arch_lr(step) for step in (0, 20, 40)] == pytest.approx([0.04, 0.03, 0.02])
    assert Schedule(SearchConfig(arch_lr=0.04, epochs=4), 10).arch_lr(20) == 0.04


def test_the_price_of_the_distribution_falls_exponentially() -> None:
    schedule = Schedule(SearchConfig(arch_kl=0.04, arch_kl_end=0.01, epochs=4), 10)
    prices = [schedule.arch_kl_price(step) for step in (0, 20, 40)]
    assert prices == pytest.approx([0.04, 0.02, 0.01])
    assert Schedule(SearchConfig(arch_kl=0.04, epochs=4), 10).arch_kl_price(20) == 0.04


@pytest.mark.parametrize("name", PRESETS)
def test_settings_survive_json(name) -> None:
    config = PRESETS[name]
    values = json.loads(json.dumps(config.to_dict()))
    assert values.keys() == {field.name for field in dataclasses.fields(SearchConfig)}
    assert config_from_dict(values) == config


def test_settings_that_no_preset_has_survive_json() -> None:
    config = SearchConfig(
        costs=("flops", "kl"), weights="gaussian", lam=(1e-300, 0.1 + 0.2), image_size=32
    )
    again = config_from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config and again.lam == (1e-300, 0.30000000000000004)


def test_whole_numbers_do_for_real_ones() -> None:
    config = config_from_dict({"w_lr": 1, "lam": [2], "lam_low": [1]})
    assert config.w_lr == 1.0 and config.lam_range().low == config.lam_range().high == (2,)


def test_one_lam_serves_all_costs() -> None:
    costs = ("params", "flops")
    found = SearchConfig(costs=costs, lam_low=(0.1,), lam_high=(2.0, 3.0)).lam_range()
    assert (found.low, found.high) == ((0.1, 0.1), (2.0, 3.0))
    single = SearchConfig(costs=costs, lam=(0.3,)).lam_range()
    assert single.low == single.high == (0.3, 0.3)


def test_every_name_is_accepted() -> None:
    for field, names in (
        ("space", SPACES), ("hypernet", HYPERNETS), ("relax", RELAXATIONS)
    ):  # fmt: skip
        for name in names:
            assert getattr(SearchConfig(**{field: name}), field) == name
    assert SearchConfig(costs=COSTS, weights="gaussian").lam_range().num_costs == len(COSTS)


def test_the_data_root_comes_from_the_environment(monkeypatch) -> None:
    monkeypatch.delenv("NAS_DATA", raising=False)
    assert SearchConfig().data_root == "data"
    monkeypatch.setenv("NAS_DATA", "/some/where")
    assert SearchConfig().data_root == "/some/where"


def test_presets_are_of_their_data_and_may_be_searched() -> None:
    assert {name: config.data for name, config in PRESETS.items()} == {
        "digits": "digits",
        "mnist": "mnist",
        "fashion": "fashion",
        "cifar10": "cifar10",
        "darts-cc": "cifar10",
        "nasbench201": "cifar10",
        "images": "cifar10",
    }
    # The search of the DARTS paper, section 3.1 and appendix A.1.
    darts = PRESETS["cifar10"]
    assert (darts.space, darts.num_cells, darts.channels) == ("darts", 8, 16)
    assert (darts.epochs, darts.batch_size, darts.w_lr, darts.w_momentum) == (50, 64, 0.025, 0.9)
    assert (darts.w_weight_decay, darts.w_grad_clip, darts.w_lr_min) == (3e-4, 5, 0.001)
    assert (darts.arch_lr, darts.arch_beta1) == (3e-4, 0.5)
    assert (darts.arch_weight_decay, darts.val_fraction, darts.relax) == (1e-3, 0.5, "softmax")
    # DARTS-CC, configs/mini_cifar_hyper_final/cifar_hyper.cfg; Adam's rates in its controller.
    theirs = PRESETS["darts-cc"]
    assert (theirs.num_cells, theirs.channels, theirs.batch_size, theirs.epochs) == (3, 16, 64, 50)
    assert (theirs.w_lr, theirs.w_lr_min, theirs.w_momentum) == (0.025, 0.001, 0.9)
    assert (theirs.w_weight_decay, theirs.w_grad_clip, theirs.val_fraction) == (3e-4, 5, 0.5)
    assert (theirs.arch_lr, theirs.arch_beta1) == (1e-3, 0.5)
    assert (theirs.arch_weight_decay, theirs.arch_kl, theirs.cutout) == (1e-3, 0, 0)
    assert (theirs.hypernet, theirs.knots, theirs.lams_per_step) == ("piecewise", 5, 1)
    assert (theirs.lam_range().low, theirs.lam_range().high) == ((1e-8,), (1e-4,))
    assert (theirs.costs, theirs.lam_unit, theirs.order) == (("params",), "raw", "second")
    schedule = SCHEDULES[theirs.temperature_schedule]
    temperatures = [  # 1.0 − 0.016 for each epoch
        schedule(epoch / 50, theirs.temperature, theirs.temperature_end) for epoch in range(50)
    ]
    assert temperatures == pytest.approx([1 - 0.016 * epoch for epoch in range(50)])


def test_several_searches_differ_by_their_seeds_alone() -> None:
    config = SearchConfig(searches=3, finalists=9, seed=7)
    others = [config.search_config(number) for number in (1, 2)]
    elsewhere = dataclasses.replace(config, seed=8).search_config(1)
    seeds = {7, elsewhere.seed, *(other.seed for other in others)}
    assert len(seeds) == 4 and all(0 <= seed < 2**31 for seed in seeds)
    assert [dataclasses.replace(other, searches=3, seed=7) for other in others] == [config, config]
    assert others == [config.search_config(number) for number in (1, 2)]
