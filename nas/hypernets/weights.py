"""A hypernetwork of weights: λ -> the posterior of the layers of many networks at once."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from cells.chain import Chain
from nas.hypernets.forms import Hypernet, build_hypernet
from nas.runtime.streams import stream
from nas.weights.posteriors import Posterior, Posteriors, initial_means


class WeightHypernet(nn.Module):
    """Maps λ to the posteriors of all layers, for every member at once."""

    def __init__(
        self,
        chain: Chain,
        form: str,
        seeds: Sequence[int],
        *,
        own: Tensor | None = None,
        sigma: tuple[float, float] | None = (0.05, 0.3),
        noisy_target: bool = False,
        knots: int = 7,
        hidden: int = 50,
        rank: int = 2,
    ) -> None:
        """
        Args:
            chain: the network.
            form: name of a hypernetwork's form; unused for networks of their own.
            seeds: one for each run.
            own: unit positions (lams,) of the λs for which each run has a network by itself; None
                for a hypernetwork, the only member of its run.
            sigma: standard deviation of all weights to begin with, at the smallest and the largest
                λ; where the form is not linear in log λ, their geometric mean. None for points.
            noisy_target: whether it generates the noise of a regression's targets, too.
            knots: see `nas.hypernets.forms.Sizes`, as `hidden` and `rank`.
        """
        super().__init__()
        self.chain = chain
        self.runs = len(seeds)
        self.own = own
        self._forms: dict[str, Hypernet] = {}
        self.tables = nn.ParameterDict()
        self._point = sigma is None
        sizes = {"knots": knots, "hidden": hidden, "rank": rank}
        for number, layer in enumerate(chain.layers):
            means = [initial_means(layer, stream(seed, f"means/{number}", 0)) for seed in seeds]
            lines = [(m, m) for m in means]
            self._add(f"{number}_mean", form, seeds, lines, sizes)
            if sigma is not None:
                shape = (layer.outputs, layer.fan_in + 1)
                low, high = (torch.full(shape, math.log(s)) for s in sigma)
                lines = [(low, high)] * len(seeds)
                self._add(f"{number}_log_sigma", form, seeds, lines, sizes)
        if noisy_target:
            zeros = [(torch.zeros(1, 1), torch.zeros(1, 1))] * len(seeds)
            self._add("log_noise", form, seeds, zeros, sizes)

    def _add(
        self,
        name: str,
        form: str,
        seeds: Sequence[int],
        lines: Sequence[tuple[Tensor, Tensor]],
        sizes: Mapping[str, Any],
    ) -> None:
        """Adds the hypernetworks of one table, which begin near one line in u for each run."""
        if self.own is not None:
            tables = [torch.lerp(*line, float(u)) for line in lines for u in self.own]
            self.tables[f"{name}_table"] = nn.Parameter(torch.stack(tables))
            return
        members = []
        for seed, line in zip(seeds, lines, strict=True):
            generator = stream(seed, f"hypernet/{name}", 0)
            rows, columns = line[0].shape
            member = build_hypernet(form, rows, columns, 1, **sizes, generator=generator)
            member.add_line(*line)
            members.append(member)
        parameters, _ = stack_module_state(members)
        for part, value in parameters.items():
            self.tables[f"{name}_{part}"] = nn.Parameter(value.detach())
        if form == "piecewise":  # what all λs have in common is learned once, not at every knot
            self.tables[f"{name}_common"] = nn.Parameter(
                torch.zeros(len(seeds), *lines[0][0].shape)
            )
        self._forms[name] = members[0].to("meta")

    @property
    def num_params(self) -> int:
        """Counts the trained numbers of one run."""
        return sum(p.numel() for p in self.parameters()) // self.runs

    def forward(self, unit_lams: Tensor) -> Posteriors:
        """Generates the posteriors of all members.

        Args:
            unit_lams: (members, lams) in [0, 1]; unused for networks of their own.

        Returns:
            Of (members, lams) networks.
        """
        layers = [
            Posterior(
                self._table(f"{n}_mean", unit_lams),
                None if self._point else self._table(f"{n}_log_sigma", unit_lams),
            )
            for n in range(len(self.chain.layers))
        ]
        noise = self._table("log_noise", unit_lams)[..., 0, 0] if self.noisy_target else None
        return Posteriors(layers, noise)

    @property
    def noisy_target(self) -> bool:
        """Whether the noise of a regression's targets is generated, too."""
        return any(name.startswith("log_noise") for name in self.tables)

    def _table(self, name: str, unit_lams: Tensor) -> Tensor:
        prefix = f"{name}_"
        values = {
            key.removeprefix(prefix): value
            for key, value in self.tables.items()
            if key.startswith(prefix)
        }
        if self.own is not None:
            return values["table"][:, None]
        common = values.pop("common", None)
        form = self._forms[name]

        def one(values: dict[str, Tensor], unit: Tensor) -> Tensor:
            table: Tensor = functional_call(form, values, (unit[:, None],))
            return table

        tables: Tensor = vmap(one)(values, unit_lams)
        return tables if common is None else tables + common[:, None]

    def at(self, unit_lams: Tensor) -> Posteriors:
        """Generates the posteriors of every run at some λs.

        Args:
            unit_lams: (lams,) in [0, 1]; of networks of their own the nearest λs answer.

        Returns:
            Of (runs, lams) networks.
        """
        device = next(self.parameters()).device
        if self.own is None:
            return self(unit_lams.float().to(device).expand(self.runs, -1))
        nearest = (unit_lams[:, None].to(self.own) - self.own).abs().argmin(dim=1)
        whole = self(unit_lams.new_zeros(1))
        rows = torch.arange(self.runs)[:, None] * len(self.own) + nearest  # (runs, lams)
        return whole.at((rows, 0))

    @torch.no_grad()
    def load(self, posteriors: Posteriors) -> None:
        """Sets the weights of networks of their own.

        Args:
            posteriors: of (runs, own λs) networks.
        """
        assert self.own is not None
        for number, layer in enumerate(posteriors.layers):
            for part, table in layer._asdict().items():
                if table is not None:
                    self.tables[f"{number}_{part}_table"].copy_(table.flatten(0, 1))
        if posteriors.log_noise is not None:
            self.tables["log_noise_table"].copy_(posteriors.log_noise.reshape(-1, 1, 1))
