"""The evidence lower bound: likelihood, costs, prices, and its gradient from sampled cells.

`elbo` puts the terms of `terms` together; `prices` makes one loss of likelihood and costs, `costs`
measures them, `likelihood` records passes on a GPU, `score_function` is the second estimator.
Names for others: `NegativeElbo`, `ObjectiveConfig`, `Terms`, `StepInputs`.
"""
