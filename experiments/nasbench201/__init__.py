"""Fronts of NAS-Bench-201, where every cell's accuracy is known."""
