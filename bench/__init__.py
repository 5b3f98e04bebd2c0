"""Time and memory: `python -m bench` measures everything in docs/results/speed.md."""
