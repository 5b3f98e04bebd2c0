"""Prunes generated networks: python -m nas prune RUN."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cells.errors import InputError, unknown
from nas.reports.page import attempt_page
from nas.reports.weights_page import write_weights_page
from nas.runtime.commandline import Parser, called
from nas.runtime.files import write_csv
from nas.runtime.owner import owning
from nas.weight_search.evidence import means
from nas.weight_search.networks import Generated
from nas.weight_search.pruning import RULES, SHARES, curve, prune, ranks, without_idle_units


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("prune"),
        description="Accuracy on the test part against the share that is removed.",
    )
    parser.add_argument("run", type=Path, help="folder of a search in the space mlp")
    parser.add_argument("--lam", type=float, required=True, help="the network's λ")
    parser.add_argument("--by", default="density", help=f"rule: {', '.join(RULES)}")
    parser.add_argument("--share", type=float, help="write the network with this share removed")
    parser.add_argument(
        "--out", type=Path,
        help="CSV file, or with --share the network (default RUN/prune-RULE-LAM.csv, or "
        "RUN/pruned-RULE-LAM-SHARE.safetensors)",
    )  # fmt: skip
    return parser


def command(args: Sequence[str]) -> None:
    """Writes accuracy against the share removed, or the pruned network.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    generated = Generated.load(given.run)
    posteriors = generated.at([given.lam])
    if given.by not in RULES:
        raise unknown("pruning rule", given.by, RULES)
    if given.share is not None:
        order = ranks(posteriors, given.by)
        tables = [table[0, 0] for table in prune(means(posteriors), order, given.by, given.share)]
        left = sum(int((table != 0).sum()) for table in tables)
        units = sum(map(len, tables[:-1]))
        tables = without_idle_units(tables)
        out = (
            given.out or given.run / f"pruned-{given.by}-{given.lam:g}-{given.share:g}.safetensors"
        )
        generated.save(out, given.lam, tables=tables)
        size = sum(table.numel() for table in tables)
        print(f"{left:,} of {generated.chain.num_params:,} parameters are not 0")
        print(
            f"{sum(map(len, tables[:-1])):,} of {units:,} hidden units change what comes out: "
            f"{size:,} parameters in {out}"
        )
        return
    out = given.out or given.run / f"prune-{given.by}-{given.lam:g}.csv"
    task = generated.task()
    found = curve(task, generated.chain, posteriors, task.test, given.by)[..., 0]
    name = "test_rmse" if task.regression else "test_accuracy"
    print(f"removed  {name.replace('_', ' ')}, mean over {found.shape[1]} runs")
    rows = []
    for share, values in zip(SHARES, found, strict=True):
        by_run = {f"{name}_run{run}": value for run, value in enumerate(values.tolist())}
        rows.append({"removed": share} | by_run)
        print(f"{100 * share:5.0f} %  {float(values.mean()):.4f}")
    write_csv(out, rows)
    print(f"table in {out}")
    if given.out is None:  # the page shows the tables of its folder
        # A search that goes on owns it, and writes the page itself.
        with suppress(InputError), owning(given.run):
            attempt_page(
                given.run, lambda: write_weights_page(given.run, generated.config.to_dict())
            )
