"""What surrounds a run: random streams, processes, signals, files, settings, command lines.

Nothing here knows of architectures. Every draw has a generator of its own (`streams`), every file
is whole or absent (`files`, `checkpoint`), every user's error takes one line (`commandline`).
Names for others: `stream`, `Processes`, `StopSignal`, `Stopped`, `write_atomically`, `run_script`.
"""
