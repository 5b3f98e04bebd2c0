"""Files of images through a network, against the pixels that training would have read."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nas
from cells.errors import InputError
from nas.__main__ import main
from nas.data.image_folder import find_images
from nas.data.pixels import decode_all
from nas.export import predict
from nas.export.safetensors import save_network
from nas.export.training_data import TrainingData
from tests.export.conftest import CLASSES

NOISE = np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with images of six kinds, a hidden one and a link to the folder itself."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    colour = [Image.fromarray(each) for each in NOISE]
    colour[0].resize((8, 8)).save(folder / "0 as trained.png")
    colour[1].save(folder / "1 large.jpg")
    colour[2].convert("L").save(folder / "2 grey.bmp")
    turned = Image.Exif()
    turned[0x0112] = 6
    colour[3].save(folder / "3 turned.png", exif=turned)
    clear = colour[4].convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "more" / "4 clear.png")
    colour[5].save(folder / "more" / "5.gif")
    (folder / ".hidden.png").write_bytes(b"not looked at")
    (folder / "more" / "up").symlink_to(folder)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Returns the exit status of `python -m nas predict`."""
    monkeypatch.setattr(sys, "argv", ["nas", "predict", *map(str, arguments)])
    try:
        main()
    except SystemExit as exit:
        return int(exit.code or 0)
    return 0


def expected(model: Path, files: Sequence[Path]) -> torch.Tensor:
    """Probabilities by another way, image by image: as training reads a folder of size 8."""
    network = nas.load(model)
    images = torch.cat([torch.from_numpy(decode_all([f], 8)).expand(-1, 3, -1, -1) for f in files])
    with torch.no_grad():
        return torch.softmax(network(network.data.normalise(images)), 1)


def test_each_kind_of_file_is_seen_as_in_training(
    models: dict[str, Path], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(path for path in photos.rglob("[0-9]*"))
    assert len(files) == 6
    wanted = expected(models["darts"], files)
    monkeypatch.setattr(predict, "BATCH_SIZE", 4)
    found = list(nas.predict(models["darts"], [photos]))
    assert [each.path for each in found] == files
    for each, row in zip(found, wanted, strict=True):
        in_order = torch.tensor([each.probabilities[name] for name in CLASSES])
        torch.testing.assert_close(in_order, row)
        assert each.class_name == CLASSES[int(row.argmax())]
        assert list(each.probabilities.values()) == sorted(each.probabilities.values())[::-1]


def test_a_network_of_one_channel_takes_grey(models: dict[str, Path], tmp_path: Path) -> None:
    Image.fromarray(NOISE[0, :9, :8]).save(tmp_path / "colour.png")
    Image.fromarray(NOISE[0, :9, :8]).convert("L").save(tmp_path / "grey.png")
    grey, colour = nas.predict(
        models["nasbench201"], [tmp_path / "grey.png", tmp_path / "colour.png"]
    )
    assert grey.probabilities == colour.probabilities
    network = nas.load(models["nasbench201"])
    images = torch.from_numpy(decode_all([tmp_path / "grey.png"], None))
    with torch.no_grad():
        wanted = torch.softmax(network(network.data.normalise(images)), 1)[0]
    assert [grey.probabilities[name] for name in CLASSES] == pytest.approx(wanted.tolist())


def test_a_network_of_other_channels_takes_no_files(photos: Path) -> None:
    data = TrainingData("two", CLASSES, (0.5, 0.5), (0.2, 0.2), (2, 8, 8))
    with pytest.raises(InputError, match="of 2 channels, files of images have 1 or 3"):
        next(predict.image_batches(data, [photos / "1 large.jpg"], 1))


def test_files_folders_and_globs(photos: Path) -> None:
    names = ["0 as trained.png", "1 large.jpg", "2 grey.bmp", "3 turned.png"]
    top = [photos / name for name in names]
    below = [photos / "more" / "4 clear.png", photos / "more" / "5.gif"]
    assert find_images([photos]) == top + below
    assert find_images([f"{photos}/*.png"]) == [top[0], top[3]]
    (photos / "more" / "up").unlink()
    assert find_images([f"{photos}/**/*.gif", top[1]]) == [below[1], top[1]]
    assert find_images([top[3], f"{photos}/**"]) == [top[3], *top[:3], *below]
    assert find_images([photos / ".hidden.png"]) == [photos / ".hidden.png"]
    (photos / "[1].png").touch()
    assert find_images([photos / "[1].png"]) == [photos / "[1].png"]
    (photos / "empty").mkdir()
    for nothing in (photos / "empty", f"{photos}/*.tiff"):
        with pytest.raises(InputError, match="no image in"):
            find_images([photos, nothing])
    with pytest.raises(InputError, match="no image is named"):
        find_images([])


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_images_are_fitted_as_in_training(
    fit: str, models: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    network = nas.load(models["darts"])
    save_network(tmp_path / "model.safetensors", network, replace(network.data, fit=fit))
    again = nas.load(tmp_path / "model.safetensors")
    assert again.data.fit == fit and network.data.fit == "stretch"
    file = photos / "1 large.jpg"
    images = torch.from_numpy(decode_all([file], 8, fit))
    with torch.no_grad():
        wanted = again(again.data.normalise(images)).softmax(dim=1)[0]
    (found,) = nas.predict(tmp_path / "model.safetensors", [file])
    assert [found.probabilities[name] for name in CLASSES] == pytest.approx(wanted.tolist())
    (stretched,) = nas.predict(models["darts"], [file])
    assert found.probabilities != pytest.approx(stretched.probabilities)


def test_a_line_for_each_image(
    models: dict[str, Path],
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = photos / "1 large.jpg"
    (wanted,) = nas.predict(models["darts"], [file])
    ranked = list(wanted.probabilities.items())
    assert run(monkeypatch, models["darts"], file, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "path": str(file),
        "class": wanted.class_name,
        "probabilities": pytest.approx(wanted.probabilities),
    }
    assert run(monkeypatch, models["darts"], file, photos / "5", photos, "--top", "2") == 1
    printed = capsys.readouterr()
    lines = [line.split("\t") for line in printed.out.splitlines()]
    assert len(lines) == 2 * 6  # the one named twice counts once
    shown = {CLASSES[0]: "disc", CLASSES[1]: 'a "ring"\\nor two', CLASSES[2]: "λ-förmig\\t\\"}
    assert lines[:2] == [[str(file), shown[name], f"{value:.4f}"] for name, value in ranked[:2]]
    assert [line.split(":")[0] for line in printed.err.splitlines()] == ["error", "note"]
    assert run(monkeypatch, models["darts"], file, "--json", "--top", "1") == 0
    assert list(json.loads(capsys.readouterr().out)["probabilities"]) == [wanted.class_name]


def test_columns_are_aligned_on_a_terminal(
    models: dict[str, Path],
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(monkeypatch, models["darts"], photos, "--top", "3") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["path", "class", "probability"]
    assert len(lines) == 18
    column = head.index("class")
    assert {line[column - 2 : column] for line in lines} == {"  "}
    assert {len(line) for line in lines} == {len(head)}


def test_a_damaged_file_stops_no_other(
    models: dict[str, Path],
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = photos / "1 large.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert run(monkeypatch, models["darts"], photos, "--json") == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 5
    line, said = printed.err.splitlines()
    assert said == "note: 1 of 5 images are transparent: they lie on white"
    assert line.startswith(f"error: cannot read the image {str(damaged)!r}")
    with pytest.raises(InputError, match="cannot read the image"):
        list(nas.predict(models["darts"], [photos]))


def test_what_a_user_can_get_wrong(
    models: dict[str, Path],
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments, told in (
        ([photos / "absent.safetensors", photos], "no network file"),
        ([models["darts"]], "required: FILE"),
        ([models["darts"], f"{photos}/*.tiff"], "no image in"),
        ([models["darts"], photos, "--top", "0"], "--top must be at least 1, got 0"),
    ):
        assert run(monkeypatch, *arguments) == 2
        printed = capsys.readouterr()
        assert not printed.out
        (line,) = printed.err.splitlines()
        assert line.startswith("error: ") and told in line
