"""Every method of the literature beside random cells of equal cost."""
