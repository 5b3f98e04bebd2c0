"""What weights are besides points: Gaussian, generated, or posteriors of many networks at once.

`gaussian` gives a supernet a mean-field posterior, `kernels` makes its kernels from embeddings,
`posteriors` are those of layers in a row.
Names for others: `to_gaussian`, `kl`, `to_generated`, `Posterior`, `Posteriors`.
"""
