"""The search for cells: supernet and hypernetwork, optimised in turn on two halves of the data.

`config` and `presets` say what is searched; `problem` is what is optimised,
`searcher` and `estimators` how, `schedule` when; `finalist_scores` compares cells at the end,
`ensemble` runs several searches, `run` is the whole. `fronts` answers a λ, `folder` reads a run.
Names for others: `SearchConfig`, `PRESETS`, `Searcher`, `read_run`, `load_front`, `make_front`.
"""
