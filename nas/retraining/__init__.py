"""A genotype as a network of its own: trained from scratch or from a search's weights, tested once.

`config` has the settings, `trainer` the training of one network with one seed, `job` a retraining
and its folder, `run` several of them, `inherit` the weights of a search, `family` cells of a front.
Names for others: `RetrainConfig`, `retrain`, `retrain_each`, `retrain_family`.
"""
