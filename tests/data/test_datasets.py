"""Data sets and their parts, augmentation against plain loops, batches as a function of step."""

import gc
import io
import multiprocessing
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets
import torchvision.transforms.functional as TF
from PIL import Image
from sklearn.datasets import load_digits

from cells.errors import InputError
from nas.data.augmentation import Augmentation, apply_noise, augment, draw_noise, normalise
from nas.data.batches import Batches, Split, evaluation_batches, stratified_split
from nas.data.datasets import load_data

NOTHING = Augmentation()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator())


def numbered(n: int) -> Split:
    """Images of 4x4 pixels that hold their own number, which is their label as well."""
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 4, 4)
    return Split(images.contiguous(), torch.arange(n))


def counts(split: Split) -> list[int]:
    return torch.bincount(split.labels).tolist()


# ------------------------------------------------------------------------------ data sets


def test_digits_are_those_of_scikit_learn() -> None:
    data = load_data("digits", Path("nowhere"))
    assert (data.channels, data.height, data.width, data.num_classes) == (1, 8, 8, 10)
    assert (len(data.train), len(data.test)) == (1438, 359)  # class by class
    # Class counts as in the UCI description of the test part of optdigits.
    both = np.add(counts(data.train), counts(data.test)).tolist()
    assert both == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # Every image is there once, with its label: the two parts are disjoint and complete.
    images = torch.cat([data.train.images, data.test.images]).numpy()
    dots = np.rint(images.reshape(-1, 64) * (16 / 255)).astype(int)
    labels = torch.cat([data.train.labels, data.test.labels]).tolist()
    want = load_digits()
    found = sorted((tuple(d), y) for d, y in zip(dots.tolist(), labels, strict=True))
    assert found == sorted(
        (tuple(d), y) for d, y in zip(want.data.astype(int).tolist(), want.target, strict=True)
    )
    assert not data.flip


def test_digits_test_part_is_fixed_by_the_seed() -> None:
    first, again, other = (load_data("digits", Path(), split_seed=s).test.images for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_mnist(data_root: Path, data_file: Callable[[str], Path]) -> None:
    data_file("MNIST/raw/train-images-idx3-ubyte")
    data = load_data("mnist", data_root)
    # Counts and moments as published with the data set.
    assert counts(data.train) == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert counts(data.test) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.mean == pytest.approx((0.1307,), abs=5e-5)
    assert data.std == pytest.approx((0.3081,), abs=5e-5)
    assert (data.channels, data.height, data.width, data.flip) == (1, 28, 28, False)
    alive = [
        o for o in gc.get_objects() if issubclass(type(o), torch.Tensor) and o.numel() > 40_000_000
    ]
    assert any(o is data.train.images for o in alive)
    assert {o.dtype for o in alive} == {torch.uint8}, "a copy of the set in another type is alive"
    assert not multiprocessing.active_children()


def test_fashion(data_root: Path, data_file: Callable[[str], Path]) -> None:
    data_file("FashionMNIST/raw/train-images-idx3-ubyte")
    data = load_data("fashion", data_root)
    assert (counts(data.train), counts(data.test)) == ([6000] * 10, [1000] * 10)
    assert data.mean == pytest.approx((0.2860,), abs=5e-5)
    assert data.std == pytest.approx((0.3530,), abs=5e-5)
    assert data.flip and data.classes[0] == "T-shirt/top"


def test_cifar10_from_npz(data_root: Path, data_file: Callable[[str], Path]) -> None:
    file = data_file("cifar10.npz")
    data = load_data("cifar10", data_root)
    assert (counts(data.train), counts(data.test)) == ([5000] * 10, [1000] * 10)
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=5e-5)
    assert data.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=5e-5)
    assert (data.channels, data.height, data.width, data.flip) == (3, 32, 32, True)
    with np.load(file) as arrays:
        first = arrays["x_test"][0]
    assert torch.equal(data.test.images[0], TF.pil_to_tensor(Image.fromarray(first)))
    assert data.classes[int(data.test.labels[0])] == "cat"  # the first test image shows a cat


def test_cifar100_in_the_format_of_its_publisher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    rows = np.random.default_rng(0).integers(256, size=(6, 3072), dtype=np.uint8)
    batch = {"data": rows, "fine_labels": [0, 1, 2, 0, 1, 2]}
    names = {"fine_label_names": ["apple", "baby", "bear"]}
    for file, content in (("train", batch), ("test", batch), ("meta", names)):
        (folder / file).write_bytes(pickle.dumps(content))
    cls = torchvision.datasets.CIFAR100
    monkeypatch.setattr(cls, "train_list", [["train", None]])  # no checksum
    monkeypatch.setattr(cls, "test_list", [["test", None]])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": None})
    data = load_data("cifar100", tmp_path)
    # A row holds the red, the green and the blue plane, one after the other.
    assert torch.equal(data.train.images, torch.from_numpy(rows).view(6, 3, 32, 32))
    assert data.train.labels.tolist() == batch["fine_labels"]
    assert data.classes == ("apple", "baby", "bear") and data.flip


def test_a_failed_download_says_where_to_put_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    message = refusal("mnist", tmp_path)
    assert "cannot read or download 'mnist'" in message
    assert f"put its files in {str(tmp_path / 'MNIST/raw')!r}" in message


# ----------------------------------------------------------------------------------- npz


def arrays(**changes: Any) -> dict[str, Any]:
    """A valid .npz of 6 training and 3 test images of 5x4 pixels, with some arrays changed."""
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(256, size=(6, 5, 4, 3), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": rng.integers(256, size=(3, 5, 4, 3), dtype=np.uint8),
        "y_test": np.array([2, 1, 0]),
        **changes,
    }


def save(path: Path, content: dict[str, Any]) -> str:
    np.savez(path, **content)
    return str(path)


def refusal(source: str, root: Path = Path(), **options: Any) -> str:
    """The message with which a source is refused, after checking that it is a single line."""
    with pytest.raises(InputError) as caught:
        load_data(source, root, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_npz(tmp_path: Path) -> None:
    content = arrays()
    data = load_data(save(tmp_path / "mine.npz", content), Path())
    assert (data.name, data.num_classes, data.classes, data.flip) == ("mine", 3, tuple("012"), 0)
    assert (data.channels, data.height, data.width) == (3, 5, 4)
    assert data.train.images.is_contiguous() and data.train.labels.dtype == torch.int64
    assert data.test.labels.tolist() == [2, 1, 0]
    scaled = content["x_train"] / 255
    assert data.mean == pytest.approx(scaled.mean((0, 1, 2)), abs=1e-12)
    assert data.std == pytest.approx(scaled.std((0, 1, 2)), abs=1e-12)
    assert np.array_equal(data.train.images.permute(0, 2, 3, 1), content["x_train"])


def test_npz_of_grey_images_with_a_constant_channel(tmp_path: Path) -> None:
    grey = {"x_train": np.full((6, 5, 4), 51, np.uint8), "x_test": np.zeros((3, 5, 4), np.uint8)}
    data = load_data(save(tmp_path / "grey.npz", arrays(**grey)), Path())
    assert data.train.images.shape == (6, 1, 5, 4)
    assert data.mean == pytest.approx((0.2,), abs=1e-15) and data.std == (1.0,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_train": np.zeros((6, 5, 4, 3))}, "x_train float64, x_test uint8: store all .* alike"),
        ({"x_train": np.zeros((6, 5, 4, 3), "M8[s]")}, "store all of them alike"),
        ({"x_train": np.zeros((6, 9, 8, 6), np.uint8)}, "not tell .* first or last: add an array"),
        ({"x_train": np.zeros((6, 20), np.uint8)}, r"x_train .* \(6, 20\)"),
        ({"x_train": np.zeros((0, 5, 4), np.uint8)}, r"x_train .* \(0, 5, 4\)"),
        ({"x_test": np.zeros((3, 5, 5, 3), np.uint8)}, "3x5x4 images .* 3x5x5 images"),
        ({"x_test": np.zeros((3, 5, 4), np.uint8)}, "3x5x4 images .* 1x5x4 images"),
        ({"y_train": np.arange(5)}, r"y_train .* shape \(5,\).*\(6,\)"),
        ({"y_train": np.zeros(6)}, "y_train .* float64.*integers"),
        ({"y_train": np.array([0, 1, -2, 0, 1, 2])}, "y_train .* label -2"),
        ({"y_train": np.array([0, 1, 7, 0, 1, 7])}, "leave out some of 0 … 7.*all parts"),
        ({"y_train": np.array([0, 1, 10**15, 0, 1, 2])}, "leave out some.*renumber"),
        ({"y_train": np.zeros(6, int)}, "classes: 1.*at least 2"),
        ({"y_test": np.array([0, 3, 1])}, r"test label 3 .* outside the classes 0 … 2"),
        ({"y_test": np.array([0, 2**64 - 1, 1], np.uint64)}, "test label .* outside the classes"),
        ({"y_test": b"text"}, "y_test .* labels are integers"),
        ({"x_val": np.zeros((1, 5, 4, 3), np.uint8)}, "one of x_val and y_val"),
    ],
)
def test_npz_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    source = save(tmp_path / "bad.npz", arrays(**changes))
    with pytest.raises(InputError, match=words):
        load_data(source, Path())
    refusal(source)


def test_six_bands_last_are_read(tmp_path: Path) -> None:
    bands = {
        f"x_{part}": np.ones((n, 8, 8, 6), np.uint8) for part, n in (("train", 6), ("test", 3))
    }
    data = load_data(save(tmp_path / "bands.npz", arrays(**bands)), Path())
    assert (data.channels, data.height, data.width) == (6, 8, 8)


def test_npz_with_missing_keys(tmp_path: Path) -> None:
    content = arrays()
    content["y_tset"] = content.pop("y_test")
    message = refusal(save(tmp_path / "bad.npz", content))
    assert "lacks y_test" in message and "y_tset" in message


class Marker:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.path,)


def test_pickled_objects_in_npz_are_never_executed(tmp_path: Path) -> None:
    objects = np.array([Marker(tmp_path / "executed")] * 6, dtype=object)
    assert "cannot read" in refusal(save(tmp_path / "bad.npz", arrays(y_train=objects)))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(objects))
    assert "cannot read" in refusal(str(tmp_path / "pickle.npz"))
    assert not (tmp_path / "executed").exists()


def test_damaged_npz(tmp_path: Path) -> None:
    whole = Path(save(tmp_path / "whole.npz", arrays())).read_bytes()
    not_an_array = io.BytesIO()
    with zipfile.ZipFile(not_an_array, "w") as file:
        for key in arrays():
            file.writestr(f"{key}.npy", "no array")
    flipped = bytearray(whole)
    flipped[200] ^= 1  # inside the first array: the checksum of zip must notice
    for damaged in (b"", b"text", whole[:-40], bytes(flipped), not_an_array.getvalue()):
        (tmp_path / "bad.npz").write_bytes(damaged)
        assert "bad.npz" in refusal(str(tmp_path / "bad.npz"))


# ------------------------------------------------------------------------------- folders


def draw(path: Path, value: int, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    """Writes an image of one colour; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)


def make_folder(root: Path, mode: str = "RGB") -> str:
    """Ten images for each of two classes; red counts 0 … 9 for cats, 100 … 109 for dogs."""
    for label, name in enumerate(("cat", "dog")):
        for i in range(10):
            draw(root / name / f"{i}.png", 100 * label + i, mode=mode)
    return str(root)


def test_folder_of_classes(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "pets")
    (tmp_path / "pets/cat/.hidden").write_text("left by a file manager")
    data = load_data(source, Path(), split_seed=1)
    assert (data.name, data.classes, data.flip) == ("pets", ("cat", "dog"), True)
    assert (data.channels, data.height, data.width) == (3, 4, 6)
    assert (counts(data.train), counts(data.test)) == ([8, 8], [2, 2])
    for part in (data.train, data.test):
        assert torch.equal(part.images[:, 0, 0, 0] >= 100, part.labels == 1)
        assert not part.images[:, 1:].any()
    red = torch.cat([data.train.images, data.test.images])[:, 0, 0, 0]
    assert sorted(red.tolist()) == [*range(10), *range(100, 110)]
    again = load_data(source, Path(), split_seed=1)
    assert torch.equal(data.train.images, again.train.images)


def test_folder_with_its_own_test_part(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", mode="L")
    draw(tmp_path / "test/dog/a.png", 200, mode="L")
    data = load_data(str(tmp_path), Path())
    assert data.train.images[:, 0, 0, 0].tolist() == [*range(10), *range(100, 110)]
    assert data.test.images.unique().tolist() == [200] and data.test.labels.tolist() == [1]
    assert data.channels == 1
    draw(tmp_path / "test/dog/b.png", 7)  # one coloured image makes all of them RGB
    data = load_data(str(tmp_path), Path())
    assert data.train.images[3].unique().tolist() == [3] and data.channels == 3
    assert data.test.images[1, :, 0, 0].tolist() == [7, 0, 0]


def test_a_validation_folder_stands_in_for_a_test_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", mode="L")
    draw(tmp_path / "val/dog/a.png", 200, mode="L")
    assert load_data(str(tmp_path), Path()).test.images.unique().tolist() == [200]
    before = load_data(str(tmp_path), Path()).fingerprint
    (tmp_path / "val").rename(tmp_path / "test")
    assert load_data(str(tmp_path), Path()).test.images.unique().tolist() == [200]
    draw(tmp_path / "val/dog/a.png", 201, mode="L")
    data = load_data(str(tmp_path), Path())
    assert data.val is not None and data.val.images.unique().tolist() == [201]
    assert data.test.images.unique().tolist() == [200]
    assert data.fingerprint.keys() - before.keys() == {"files for validation"}
    whole = data.whole()
    assert whole.val is None and len(whole.train) == 21 and int(whole.train.images.max()) == 201
    assert (whole.mean, whole.std) == (data.mean, data.std)


def test_a_class_may_have_folders_of_its_own(tmp_path: Path) -> None:
    source = make_folder(tmp_path)
    flat = load_data(source, Path())
    (tmp_path / "cat/old/older").mkdir(parents=True)
    for name in ("3.png", "4.png"):
        (tmp_path / "cat" / name).rename(tmp_path / "cat/old/older" / name)
    data = load_data(source, Path())
    assert data.classes == ("cat", "dog")
    assert (counts(data.train), counts(data.test)) == (counts(flat.train), counts(flat.test))
    (tmp_path / "train").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / name).rename(tmp_path / "train" / name)
    alone = load_data(source, Path())
    assert torch.equal(alone.train.images, data.train.images)


def test_folder_resized(tmp_path: Path) -> None:
    source = make_folder(tmp_path)
    draw(tmp_path / "cat/large.png", 50, size=(40, 30))
    assert "large.png' has 30x40 pixels" in refusal(source)
    data = load_data(source, Path(), image_size=5)
    assert (data.height, data.width) == (5, 5)
    assert 50 in torch.cat([data.train.images, data.test.images])[:, 0].unique()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    source = make_folder(tmp_path)
    whole = (tmp_path / "cat/0.png").read_bytes()
    sixteen_bits = io.BytesIO()
    Image.new("I;16", (6, 4)).save(sixteen_bits, "PNG")
    contents = {
        "text": b"notes",
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "sixteen bits": sixteen_bits.getvalue(),
        "huge": bomb(20_000, 20_000),
        "large": bomb(10_000, 10_000),  # Pillow itself would only warn of these
    }
    for name, content in contents.items():
        file = tmp_path / "dog" / f"{name}.png"
        file.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = refusal(source, image_size=4)
        assert f"cannot read the image {str(file)!r}" in message
        if name in ("huge", "large"):
            assert "pixels" in message and ("too many" in message or "exceeds limit" in message)
        file.unlink()
    (tmp_path / "cat/inner").mkdir()
    (tmp_path / "cat/inner/notes.txt").touch()
    assert "inner/notes.txt" in refusal(source, image_size=4)


def test_folder_refused(tmp_path: Path) -> None:
    assert ": 0, at least 2" in refusal(str(tmp_path))
    draw(tmp_path / "cat/0.png", 1)
    assert ": 1, at least 2" in refusal(str(tmp_path))
    (tmp_path / "dog").mkdir()
    message = refusal(str(tmp_path))
    assert "dog" in message and "is empty" in message
    draw(tmp_path / "dog/0.png", 1)
    assert "single image" in refusal(str(tmp_path))
    assert "got 0" in refusal(str(tmp_path), image_size=0)
    make_folder(tmp_path / "both/train")
    (tmp_path / "both/test").mkdir()
    assert "test images: 0" in refusal(str(tmp_path / "both"))
    draw(tmp_path / "both/test/dgo/0.png", 1)
    assert "did you mean 'dog'?" in refusal(str(tmp_path / "both"))


def test_sources_refused(tmp_path: Path) -> None:
    assert "did you mean 'mnist'?" in refusal("mnits")
    told = refusal("photos/cats", image_size=32)
    assert f"no such file or folder: 'photos/cats', looked for in {str(Path.cwd())!r}" in told
    assert f"nor is there a folder 'photos', looked for in {str(Path.cwd())!r}" in refusal("photos")
    assert refusal("/photos").startswith("no such file or folder: '/photos'; check")
    assert "name is empty: name one" in refusal("")
    assert "no such file or folder: 'mine.npz'" in refusal("mine.npz")
    (tmp_path / "notes.txt").touch()
    assert "neither a .npz file nor a folder" in refusal(str(tmp_path / "notes.txt"))
    assert "only for files" in refusal("digits", image_size=8)


# --------------------------------------------------------------------------------- splits


@pytest.mark.parametrize("fraction", [0.5, 0.2, 0.013, 0.99])
def test_split_is_disjoint_complete_and_stratified(fraction: float) -> None:
    sizes = [2, 3, 31, 97]
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator())]
    whole = Split(numbered(len(labels)).images, labels)
    first, second = stratified_split(whole, fraction, seed=5)
    for part in (first, second):  # an image's number says which label it must have
        assert torch.equal(labels[part.images[:, 0, 0, 0].long()], part.labels)
    numbers = torch.cat([first.images, second.images])[:, 0, 0, 0]
    assert sorted(numbers.tolist()) == list(range(len(labels)))
    for size, kept, count in zip(sizes, counts(first), counts(second), strict=True):
        assert abs(count - fraction * size) <= 1 and kept + count == size
        assert 1 <= count < size
    again = stratified_split(whole, fraction, seed=5)[1].images
    other = stratified_split(whole, fraction, seed=6)[1].images
    assert torch.equal(again, second.images) and not torch.equal(other, second.images)


def test_split_refused() -> None:
    with pytest.raises(InputError, match="class 0 has a single image"):
        stratified_split(numbered(3), 0.5, 0)
    for fraction in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match=f"between 0 and 1, got {fraction}"):
            stratified_split(numbered(3), fraction, 0)


# --------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_is_torchvisions(channels: int) -> None:
    images = random_images(3, channels, 5, 4)
    mean, std = (0.4914, 0.4822, 0.4465)[:channels], (0.247, 0.2435, 0.2616)[:channels]
    x = normalise(images, mean, std)
    torch.testing.assert_close(x, TF.normalize(images / 255, mean, std), rtol=1e-5, atol=1e-6)
    assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("channels", "flip"), [(1, False), (3, False), (3, True)])
def test_crop_is_that_of_a_plain_loop(channels: int, flip: bool) -> None:
    images = random_images(40, channels, 7, 5)
    augmentation = Augmentation(crop_padding=3, flip=flip)
    noise = draw_noise(augmentation, images.shape, generator(1))
    x = apply_noise(images, augmentation, (0.0,) * channels, (1 / 255,) * channels, noise)
    for image, result, top, left, mirror in zip(images, x, *noise[:3].tolist(), strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (3, 3), (3, 3)))
        crop = padded[:, top : top + 7, left : left + 5]
        if flip and mirror:
            crop = crop[:, :, ::-1]
        np.testing.assert_allclose(result.numpy(), crop, atol=1e-4)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_every_draw_is_uniform_and_independent() -> None:
    n = 40_000
    noise = draw_noise(Augmentation(crop_padding=2), (n, 1, 4, 3), generator(2))
    for i, choices_i in enumerate((5, 5, 2, 4, 3)):
        for j, choices_j in enumerate((5, 5, 2, 4, 3)[:i]):
            cells = choices_i * choices_j
            observed = torch.bincount(noise[i] * choices_j + noise[j], minlength=cells)
            assert len(observed) == cells
            deviation = (observed - n / cells).abs().max()
            assert deviation < 4.5 * (n / cells) ** 0.5, f"draws {i} and {j}"


def test_one_transformation_leaves_the_draws_of_the_others() -> None:
    images = random_images(16, 1, 8, 8)
    flipped = augment(images, Augmentation(flip=True), (0.5,), (0.25,), generator())
    both = augment(images, Augmentation(flip=True, cutout=4), (0.5,), (0.25,), generator())
    assert torch.equal(both, flipped.where(both != 0, 0.0)) and not torch.equal(both, flipped)


def test_flip_mirrors_one_image_in_two() -> None:
    images = random_images(1000, 1, 2, 3)
    plain = normalise(images, (0.5,), (0.25,))
    x = augment(images, Augmentation(flip=True), (0.5,), (0.25,), generator())
    kept = (x == plain).flatten(1).all(1)
    mirrored = (x == plain.flip(3)).flatten(1).all(1)
    assert (kept | mirrored).all()
    assert abs(int(mirrored.sum()) - 500) < 4 * 250**0.5


@pytest.mark.parametrize("side", [2, 4, 16])
def test_cutout_at_every_centre_is_that_of_its_authors(side: int) -> None:
    height, width = 6, 5
    centres = torch.cartesian_prod(torch.arange(height), torch.arange(width)).T  # (2, 30)
    noise = torch.cat([torch.zeros(3, 30, dtype=torch.int64), centres])
    images = torch.full((30, 2, height, width), 255, dtype=torch.uint8)
    x = apply_noise(images, Augmentation(cutout=side), (0.5,) * 2, (0.25,) * 2, noise)
    for result, row, column in zip(x, *centres.tolist(), strict=True):
        mask = np.full((height, width), 2.0)  # (1 - 0.5) / 0.25
        top, bottom = np.clip((row - side // 2, row + side // 2), 0, height)
        left, right = np.clip((column - side // 2, column + side // 2), 0, width)
        mask[top:bottom, left:right] = 0
        assert (result.numpy() == mask).all()


def test_cutout_of_odd_side_is_centred_and_clipped() -> None:
    noise = torch.tensor([[0, 0], [0, 0], [0, 0], [2, 0], [3, 0]])  # centres (2, 3) and (0, 0)
    x = apply_noise(
        torch.full((2, 1, 7, 7), 255, dtype=torch.uint8),
        Augmentation(cutout=3),
        (0.0,),
        (1.0,),
        noise,
    )
    assert (x == 0).flatten(1).sum(1).tolist() == [9, 4]
    assert not x[0, 0, 1:4, 2:5].any() and not x[1, 0, :2, :2].any()


def test_augmentation_refused() -> None:
    with pytest.raises(InputError, match="crop_padding must be at least 0, got -1"):
        Augmentation(crop_padding=-1)
    with pytest.raises(InputError, match="cutout must be at least 0, got -2"):
        Augmentation(cutout=-2)


# -------------------------------------------------------------------------------- batches


def batches(split: Split, batch_size: int, **changes: Any) -> Batches:
    options = {"seed": 0, "name": "train", "augmentation": NOTHING, "mean": (0.0,), "std": (1.0,)}
    return Batches(split, batch_size, **{**options, **changes})


def epoch(source: Batches, number: int) -> list[int]:
    steps = range(number * source.steps_per_epoch, (number + 1) * source.steps_per_epoch)
    return [label for step in steps for label in source.batch(step)[1].tolist()]


def test_an_epoch_sees_each_image_once_in_an_order_of_its_own() -> None:
    source = batches(numbered(60), 12)
    assert source.steps_per_epoch == 5
    first, second = epoch(source, 0), epoch(source, 1)
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second != list(range(60)) != first
    x, y = source.batch(7)
    assert torch.equal(torch.round(x[:, 0, 0, 0] * 255).long(), y)


def test_only_full_batches() -> None:
    source = batches(numbered(62), 12)
    assert source.steps_per_epoch == 5
    assert len(set(epoch(source, 0))) == 60
    assert set().union(*(epoch(source, i) for i in range(5))) == set(range(62))


def test_fewer_images_than_a_batch() -> None:
    source = batches(numbered(7), 12)
    assert source.steps_per_epoch == 1
    assert sorted(source.batch(0)[1].tolist()) == list(range(7))
    assert source.batch(0)[1].tolist() != source.batch(1)[1].tolist()


ALL = Augmentation(crop_padding=2, flip=True, cutout=3)


def test_a_batch_follows_from_its_number() -> None:
    split = Split(random_images(30, 1, 8, 8), torch.arange(30))
    source, other = (batches(split, 8, augmentation=ALL) for _ in range(2))
    in_order = [source.batch(step) for step in range(7)]
    for step in (6, 0, 3, 3, 5):
        x, y = other.batch(step)
        assert torch.equal(x, in_order[step][0]) and torch.equal(y, in_order[step][1])
    assert not torch.equal(in_order[0][1], batches(split, 8, seed=1).batch(0)[1])
    assert not torch.equal(in_order[0][1], batches(split, 8, name="validation").batch(0)[1])


def test_augmentation_is_drawn_afresh_at_every_step() -> None:
    same = random_images(1, 1, 8, 8).expand(20, 1, 8, 8).contiguous()
    source = batches(Split(same, torch.arange(20)), 1, augmentation=ALL)
    assert source.steps_per_epoch == 20
    assert len({source.batch(step)[0].numpy().tobytes() for step in range(20)}) > 15


def test_processes_together_see_the_batch_of_one() -> None:
    split = Split(random_images(50, 3, 8, 8), torch.arange(50))
    options: dict[str, Any] = {"augmentation": ALL, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    joint = batches(split, 12, **options)
    for world in (2, 3):
        shares = [batches(split, 12, rank=rank, world=world, **options) for rank in range(world)]
        for step in (0, 3, 4, 9):
            parts = [share.batch(step) for share in shares]
            assert all(len(y) == 12 // world for _, y in parts)
            for one, many in zip(joint.batch(step), zip(*parts, strict=True), strict=True):
                assert torch.equal(one, torch.cat(many))


def test_batch_size_refused() -> None:
    with pytest.raises(InputError, match=r"12 images does not divide among 5 processes.*multiple"):
        batches(numbered(60), 12, world=5)
    with pytest.raises(InputError, match=r"batch of 7 images .* at most 7"):
        batches(numbered(7), 12, world=2)
    with pytest.raises(InputError, match="1 or more, got 0"):
        batches(numbered(7), 0)


def test_evaluation_sees_every_image_in_order() -> None:
    split = Split(random_images(10, 1, 4, 4), torch.arange(10))
    parts = list(evaluation_batches(split, 4, (0.5,), (0.25,)))
    assert [len(y) for _, y in parts] == [4, 4, 2]
    assert torch.equal(torch.cat([y for _, y in parts]), split.labels)
    assert torch.equal(torch.cat([x for x, _ in parts]), normalise(split.images, (0.5,), (0.25,)))
