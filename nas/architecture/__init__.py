"""The distribution q(γ|λ) over architectures, and the discrete one that is taken from it.

`relaxations` turn logits into weights of operations, `distribution` says what a hypernetwork's
output means, `discretise` chooses one operation per edge, `budgets` keeps within bounds on costs.
Names for others: `ArchitectureDistribution`, `RELAXATIONS`, `RULES`, `discretise`, `Budgets`.
"""
