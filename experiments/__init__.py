"""One file for each published table or figure that is reproduced or beaten."""
