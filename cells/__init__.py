"""What networks are made of: operations, search spaces, cells, supernets, networks."""
