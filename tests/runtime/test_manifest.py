"""A run that goes on in the same surroundings is exact; in others it says what differs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cells.errors import InputError
from nas.runtime.manifest import MANIFEST, is_exact, note_resume, write_manifest
from nas.runtime.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))


def values(folder: Path) -> dict[str, Any]:
    return json.loads((folder / MANIFEST).read_text())


def test_a_run_tells_what_it_depends_on(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"seed": 3, "lr": 0.1, "seeds": [1, 2]}, {"rows": "5 aa"}, ALONE)
    found = values(tmp_path)
    assert found["exact"] is True
    assert found["seeds"] == {"seed": 3, "seeds": [1, 2]}
    assert found["data"] == {"rows": "5 aa"}
    (first,) = found["surroundings"]
    assert first["torch"] == torch.__version__
    assert first["threads"] == torch.get_num_threads()
    assert len(first["revision"]) == 16
    note_resume(tmp_path, "step 7", ALONE)
    assert values(tmp_path) == found and is_exact(tmp_path)


def test_a_resume_elsewhere_is_marked_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(tmp_path, {}, {}, ALONE)
    former = values(tmp_path)
    former["surroundings"][0] |= {"torch": "2.0.0", "gpu": "another"}
    (tmp_path / MANIFEST).write_text(json.dumps(former))
    for _ in range(2):
        note_resume(tmp_path, "step 7", ALONE)
    assert capsys.readouterr().out == (
        "not exact from step 7 on: gpu 'another' before, None now; torch '2.0.0' before, "
        f"{torch.__version__!r} now\n"
    )
    found = values(tmp_path)
    assert not is_exact(tmp_path)
    assert [each["from"] for each in found["surroundings"]] == ["the beginning", "step 7"]
    assert found["surroundings"][0] == former["surroundings"][0]


def test_a_run_without_a_manifest_is_not_called_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not is_exact(tmp_path)
    note_resume(tmp_path, "step 7", ALONE)
    assert "what it began with is not recorded" in capsys.readouterr().out
    note_resume(tmp_path, "step 9", ALONE)
    assert capsys.readouterr().out == ""
    assert not is_exact(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"surroundings": []}', '{"surroundings": [1]}']
)
def test_a_damaged_manifest_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json"):
        note_resume(tmp_path, "step 7", ALONE)
