"""Cells of five λs, random cells and DARTS, all retrained alike with small networks."""
