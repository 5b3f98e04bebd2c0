"""Hypergradients: closed forms, finite differences and double backward compared."""
