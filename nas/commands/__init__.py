"""The commands behind `nas VERB`, or `python -m nas VERB`: a file each, with `command(args)`.

A command reads its options, calls what does the work, and prints. Nothing else in `nas` exits the
program. `nas/__main__.py` lists the verbs; `completions/` holds what shells complete.
"""
