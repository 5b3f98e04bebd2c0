"""How parameters move: a step of every search, hypergradients, and what keeps costs in bounds.

`search` takes the steps, `kind` says what a search must offer; `bilevel` and `best_response` have
the gradients, `constraints` keep bounds, `progressive` has the stages of DrNAS, `perturbation` and
`curvature` are of SDARTS, `rates` has the cosine.
Names for others: `Search`, `SearchKind`, `CostConstraint`, `first_order`, `finite_difference`,
`exact`.
"""
