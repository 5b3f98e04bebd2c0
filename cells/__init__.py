"""What networks are made of: operations, search spaces, cells, supernets, networks.

Names for others: `OPS`, `SPACES`, `SearchSpace`, `Genotype`, `read_genotype`, `Skeleton`,
`Supernet`, `Network`, `CostTable`, `InputError`.
"""
