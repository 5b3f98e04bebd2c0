"""How parameters move: the loop of every search, hypergradients, and what keeps costs in bounds.

`loop` takes the steps, `kind` says what a search must offer; `bilevel` and `best_response` have
the gradients, `constraints` keep bounds, `progressive` has the stages of DrNAS, `perturbation` and
`curvature` are of SDARTS, `rates` has the cosine.
Names for others: `Loop`, `SearchKind`, `CostConstraint`, `first_order`, `finite_difference`,
`exact`.
"""
