"""Fronts in the space of DARTS beside random cells of their size, by a surrogate of the truth."""
