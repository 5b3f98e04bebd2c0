"""The space `mlp`, the degenerate cell: λ generates the weights themselves.

`config` has the settings, `problem` the bound, `searcher` what moves, `run` the whole; `networks`
answers a λ after a search. `evidence`, `pruning`, `lottery` and `tuning` are what is asked of them.
Names for others: `WeightConfig`, `WeightSearcher`, `Generated`.
"""
