"""A file or a folder for each published table or figure that is reproduced or beaten."""
