"""What an installation has, and whether it works, in a few lines."""

from pathlib import Path

import pytest
import torch

from cells.errors import InputError
from nas.commands.doctor import command


def test_doctor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    command(["--device", "cpu", "--data-root", str(tmp_path)])
    out = {line[:20].strip(): line[21:] for line in capsys.readouterr().out.splitlines()}
    assert out["torch"] == torch.__version__
    assert out["data mnist"] == f"found in {tmp_path}"
    assert out["data cifar100"] == "absent, fetched when asked for"
    assert out["a small search"].startswith("works, ")
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


def test_an_unknown_device_is_one_line() -> None:
    with pytest.raises(InputError, match="no device 'nonsense'"):
        command(["--device", "nonsense"])
