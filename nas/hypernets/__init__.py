"""Hypernetworks: from λ to the logits of an architecture, or to the weights of a network.

`lambda_range` draws λs and places them in [0, 1]; `forms` has the functions of that position,
`architecture` and `weights` build them for the two kinds of search.
Names for others: `LambdaRange`, `Hypernet`, `HYPERNETS`, `WeightHypernet`.
"""
