"""What a run depends on besides its settings: with the same of it, the same run gives the same.

`manifest.json` of a run folder holds the seeds, the fingerprint of the data, and the surroundings:
versions, processor, threads, the code of this project. A run that goes on elsewhere is marked as
not exact, with what differs.
"""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cells.errors import InputError
from cells.strict_json import show
from nas.runtime.course import course_of
from nas.runtime.files import CONFIG, read_config, write_json
from nas.runtime.processes import Processes, describe_machine

MANIFEST = "manifest.json"
SEEDS = ("seed", "seeds", "split_seed")
"""Settings that fix what is drawn."""


@cache
def revision() -> str:
    """Returns 16 hex digits of SHA-256 over the code in `nas` and `cells`, names and contents."""
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for folder in ("cells", "nas"):
        for file in sorted((root / folder).rglob("*.py")):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def surroundings(processes: Processes) -> dict[str, Any]:
    """Returns what a run depends on besides its settings and data, JSON values by name."""
    found = {
        "revision": revision(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torchvision": version("torchvision"),
        "system": f"{platform.system()} {platform.machine()}",
        **describe_machine(processes),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if processes.device.type == "cuda":
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return found


def write_manifest(
    folder: Path, config: Mapping[str, Any], fingerprint: Mapping[str, str], processes: Processes
) -> None:
    """Writes what a run begins with.

    Args:
        config: settings as JSON values.
        fingerprint: of the data.
    """
    values = {
        "exact": True,
        "seeds": {name: config[name] for name in SEEDS if name in config},
        "data": dict(fingerprint),
        "surroundings": [{"from": "the beginning", **surroundings(processes)}],
    }
    write_json(folder / MANIFEST, values)


def note_resume(folder: Path, where: str, processes: Processes) -> None:
    """Notes that a run goes on; if something differs it is marked as not exact, and that is said.

    Args:
        where: how far it has come, e.g. "step 70".

    Raises:
        InputError: if the manifest is damaged.
    """
    path, now = folder / MANIFEST, surroundings(processes)
    if not path.exists():  # the run began before there were manifests
        values: dict[str, Any] = {"exact": False, "surroundings": []}
        differs = ["what it began with is not recorded"]
    else:
        values = read_config(path)
        former = values.get("surroundings")
        if type(former) is not list or not former or type(former[-1]) is not dict:
            raise InputError(f"{path} is damaged: remove it, the run is then marked as not exact")
        names = sorted((now.keys() | former[-1].keys()) - {"from"})
        differs = [
            f"{name} {show(former[-1].get(name))} before, {show(now.get(name))} now"
            for name in names
            if former[-1].get(name) != now.get(name)
        ]
    if differs:
        values["exact"] = False
        values["surroundings"].append({"from": where, **now})
        write_json(path, values)
        print(f"not exact from {where} on: {'; '.join(differs)}", flush=True)


def note_course(folder: Path, where: str, config: Any, why: str) -> None:
    """Notes that the length of a run changes, which is then not that of a run from the beginning.

    Args:
        where: how far it has come, e.g. "step 70".
        config: the settings from there on, with `to_dict`; config.json has them, too.
        why: what has changed it.
    """
    path = folder / MANIFEST
    values = read_config(path) if path.exists() else {}
    values["exact"] = False
    courses = values.get("courses")
    former = courses if type(courses) is list else []
    values["courses"] = [*former, {"from": where, "why": why, **course_of(config)}]
    write_json(path, values)
    write_json(folder / CONFIG, config.to_dict())


def is_exact(folder: Path) -> bool:
    """Whether all of a run was done in the same surroundings, as far as is known."""
    path = folder / MANIFEST
    return path.exists() and read_config(path).get("exact") is True
