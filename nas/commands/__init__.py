"""The commands behind `python -m nas VERB`: one file each, with a function `command(args)`.

A command reads its options, calls what does the work, and prints. Nothing else in `nas` exits the
program. `nas/__main__.py` lists the verbs.
"""
