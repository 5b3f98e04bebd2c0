"""What surrounds a run: its loop, random streams, processes, signals, files, settings.

Nothing here knows of architectures. All that trains goes through one loop (`loop`). Every draw has
a generator of its own (`streams`), every run folder and checkpoint is whole or absent (`files`,
`checkpoint`), every user's error takes one line (`commandline`).
Names for others: `Training`, `stream`, `Processes`, `StopSignal`, `Stopped`, `run_script`.
"""
