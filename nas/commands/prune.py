"""Prunes generated networks: python -m nas prune RUN."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from cells.errors import unknown
from nas.runtime.commandline import Parser
from nas.runtime.files import write_atomically
from nas.weight_search.evidence import means
from nas.weight_search.networks import Generated
from nas.weight_search.pruning import RULES, SHARES, curve, prune, ranks


def command(args: Sequence[str]) -> None:
    """Writes accuracy against the share removed, or the pruned network.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    parser = Parser(
        prog="python -m nas prune",
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
    given = parser.parse_args(args)
    generated = Generated.load(given.run)
    posteriors = generated.at([given.lam])
    if given.by not in RULES:
        raise unknown("pruning rule", given.by, RULES)
    if given.share is not None:
        order = ranks(posteriors, given.by)
        tables = [table[0, 0] for table in prune(means(posteriors), order, given.by, given.share)]
        out = (
            given.out or given.run / f"pruned-{given.by}-{given.lam:g}-{given.share:g}.safetensors"
        )
        generated.save(out, given.lam, tables=tables)
        left = sum(int((table != 0).sum()) for table in tables)
        print(f"{left:,} of {generated.chain.num_params:,} parameters left in {out}")
        return
    out = given.out or given.run / f"prune-{given.by}-{given.lam:g}.csv"
    task = generated.task()
    found = curve(task, generated.chain, posteriors, task.test, given.by)[..., 0]
    text = io.StringIO()
    writer = csv.writer(text)
    name = "rmse" if task.regression else "accuracy"
    writer.writerow(["removed", *(f"{name}_run{run}" for run in range(found.shape[1]))])
    print(f"removed  {name}, mean over {found.shape[1]} runs")
    for share, row in zip(SHARES, found, strict=True):
        writer.writerow([share, *row.tolist()])
        print(f"{100 * share:5.0f} %  {float(row.mean()):.4f}")
    write_atomically(out, text.getvalue().encode())
    print(f"table in {out}")
