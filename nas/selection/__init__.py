"""From a distribution over cells to a cell: for a λ, for a budget, among finalists.

`front` answers, `finalists` are cells scored alike, `naswot` scores without training, `evolution`
and `pareto` are what they are compared with.
Names for others: `Front`, `Finalists`, `pareto`, `hypervolume`.
"""
