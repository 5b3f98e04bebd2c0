"""How many faults are tried, and from which draw on."""

import os

import pytest

FAULTS = int(os.environ.get("FAULTS", "0"))
"""Kills of each kind of run; 0 for a few faults of each sort, see `test_few`."""
SEED = int(os.environ.get("SEED", "0"))
whole = pytest.mark.skipif(not FAULTS, reason="part of `make campaign`, which sets FAULTS")
