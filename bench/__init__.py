"""Time and memory: `python -m bench` measures the CPU tables of docs/results/speed.md."""
