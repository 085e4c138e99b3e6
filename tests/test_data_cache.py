"""Decoded images on disk: keyed by all they were made of, bounded, mapped where memory is short."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from secateur.data import cache_files, load_data, mapped, memory, store
from secateur.data.batches import check_batch
from secateur.data.cache import cached
from secateur.data.decode import Decoded, Encoded, decode
from secateur.data.mapped import gathered, pieces
from secateur.data.reading import Reading
from secateur.data.store import Place
from secateur.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SECATEUR_CACHE_LIMIT", raising=False)


def make(root: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for k in range(12):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(root / name / f"{k:02}.png")
    return root


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.is_dir() else []


class Made:
    """Counts how often a data set of two images in one file each is decoded."""

    def __init__(self, *images: Path) -> None:
        self.images, self.times = images, 0

    def __call__(self, place: Place) -> Decoded:
        self.times += 1
        encoded = {"all": Encoded(self.images, range(len(self.images)), [str(path) for path in self.images])}
        return decode(encoded, tuple(str(path) for path in self.images), place=place)


@pytest.fixture
def images(tmp_path) -> list[Path]:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for value, path in enumerate(paths):
        Image.new("L", (4, 4), 10 + value).save(path)
    return paths


def test_the_second_time_nothing_is_decoded_and_all_is_the_same(images):
    made = Made(*images)
    first, second = (cached(images, Reading(), made) for _ in range(2))
    assert made.times == 1
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)
    for name in ("sizes", "classes", "codec", "smallest", "largest", "left_out", "remarks", "format"):
        assert getattr(first, name) == getattr(second, name)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: Image.new("L", (4, 4), 99).save(path), id="content"),
        pytest.param(lambda path: os.utime(path, ns=(0, 0)), id="time"),
        pytest.param(
            lambda path: (path.rename(path.with_suffix(".x")), shutil.copy2(path.with_suffix(".x"), path)),
            id="another file of the same size and time",
        ),
    ],
)
@pytest.mark.parametrize("named", [False, True], ids=["key", "named by a table"])
def test_a_changed_file_is_decoded_again(tmp_path, images, change, named):
    table = tmp_path / "table"
    table.write_text("a.png, b.png")
    made, files = Made(*images), [table] if named else images
    cached(files, Reading(), made)
    change(images[0])
    again = cached(files, Reading(), made)
    assert made.times == 2
    assert int(again.images[0, 0, 0, 0]) == int(np.asarray(Image.open(images[0]))[0, 0])
    cached(files, Reading(), made)
    assert made.times == 2


@pytest.mark.parametrize(
    "other", [{"image_size": 4}, {"fit": "pad"}, {"background": "black"}, {"skip_unreadable": True}]
)
def test_other_options_are_other_pixels(images, other):
    made = Made(*images)
    cached(images, Reading(), made)
    cached(images, Reading(**other), made)
    assert made.times == 2


def test_a_newer_pillow_decodes_again(images, monkeypatch):
    made = Made(*images)
    cached(images, Reading(), made)
    monkeypatch.setattr("PIL.__version__", "99.0")
    cached(images, Reading(), made)
    assert made.times == 2


def test_files_that_change_while_they_are_read_are_read_again(tmp_path, images):
    class Writing(Made):
        def __call__(self, place):
            found = super().__call__(place)
            if self.times <= self.most:
                Image.new("L", (4, 4), 100 + self.times).save(images[0])
            return found

    made = Writing(*images)
    made.most = 1
    found = cached(images, Reading(), made)
    assert made.times == 2
    assert int(found.images[0, 0, 0, 0]) == 101
    assert len(files_in(tmp_path / "cache")) == 1
    made.most = 9
    Image.new("L", (4, 4), 1).save(images[0])
    with pytest.raises(InputError, match="files must not change while they are read"):
        cached(images, Reading(), made)


def test_a_cache_file_is_a_whole_safetensors_file(tmp_path):
    from safetensors.torch import load_file

    data = load_data(str(make(tmp_path / "photos")))
    (path,) = files_in(tmp_path / "cache")
    content = load_file(path)
    assert content["images"].shape == (24, *data.shape)
    assert content["labels"].bincount().tolist() == [12, 12]
    path.write_bytes(path.read_bytes()[:-3])
    assert load_data(str(tmp_path / "photos")).fingerprint == data.fingerprint
    assert load_file(path).keys() == content.keys()


# --- its size -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("1.5 tb", 1500 * 10**9), ("500", 500), ("0", 0), ("3k", 3000), ("", 20 * 10**9)],
)
def test_limits(monkeypatch, text, size):
    monkeypatch.setenv("SECATEUR_CACHE_LIMIT", text)
    assert cache_files.cache_limit() == size


def test_a_limit_that_is_no_size(monkeypatch):
    monkeypatch.setenv("SECATEUR_CACHE_LIMIT", "plenty")
    with pytest.raises(InputError, match="SECATEUR_CACHE_LIMIT is a size like 20GB or 500MB, got 'plenty'"):
        cache_files.cache_limit()


def test_what_was_not_used_for_longest_is_removed(tmp_path, monkeypatch):
    roots = [make(tmp_path / name, seed) for seed, name in enumerate("abc")]
    for root in roots[:2]:
        load_data(str(root))
    first, second = sorted(files_in(tmp_path / "cache"), key=lambda path: path.stat().st_mtime_ns)
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    monkeypatch.setattr(cache_files, "_in_use", set())
    load_data(str(roots[0]))  # a use: now the second is the older
    monkeypatch.setattr(cache_files, "_in_use", set())
    monkeypatch.setenv("SECATEUR_CACHE_LIMIT", str(first.stat().st_size * 2 + 100))
    load_data(str(roots[2]))
    left = files_in(tmp_path / "cache")
    assert len(left) == 2
    assert first in left
    assert second not in left


def test_what_this_process_reads_is_not_removed(tmp_path, monkeypatch):
    data = load_data(str(make(tmp_path / "a")))
    monkeypatch.setenv("SECATEUR_CACHE_LIMIT", "6000")  # one of them has 4.6 kB and what is known of it
    load_data(str(make(tmp_path / "b", 1)))
    assert len(files_in(tmp_path / "cache")) == 2
    assert data.fingerprint == load_data(str(tmp_path / "a")).fingerprint


def test_a_limit_of_0_keeps_nothing_and_the_images_are_there(tmp_path, monkeypatch):
    plain = load_data(str(make(tmp_path / "a"))).fingerprint
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setenv("SECATEUR_CACHE_LIMIT", "0")
    assert load_data(str(tmp_path / "a")).fingerprint == plain
    assert files_in(tmp_path / "cache") == []


def test_abandoned_parts_are_removed_and_fresh_ones_are_not(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    old, new = folder / ".data-x.1-y.part", folder / ".data-x.2-z.part"
    old.touch()
    new.touch()
    day = time.time() - 25 * 3600
    os.utime(old, (day, day))
    load_data(str(make(tmp_path / "a")))
    assert not old.exists()
    assert new.exists()


# --- memory ---------------------------------------------------------------------------------------------


@pytest.fixture
def little_memory(monkeypatch):
    """As many bytes of memory and of disk as a test says, or all of the disk."""

    def limit(ram: int, disk: int | None = None) -> None:
        for module in (store, mapped):
            monkeypatch.setattr(module, "available_memory", lambda: ram)
            if disk is not None:
                monkeypatch.setattr(module, "available_disk", lambda folder: disk)

    return limit


def test_what_memory_does_not_hold_is_mapped_and_is_the_same(tmp_path, little_memory):
    plain = load_data(str(make(tmp_path / "photos")))
    shutil.rmtree(tmp_path / "cache")
    little_memory(100)
    data = load_data(str(tmp_path / "photos"))
    assert data.fingerprint == plain.fingerprint
    for name in ("train", "val", "test"):
        assert torch.equal(getattr(data, name).images, getattr(plain, name).images)
    assert (data.mean, data.std) == (plain.mean, plain.std)
    assert len(files_in(tmp_path / "cache")) == 1  # copies of splits have no name


def test_where_neither_memory_nor_disk_holds_it_one_line_says_so(tmp_path, little_memory):
    root = make(tmp_path / "photos")
    little_memory(100, 0)
    with pytest.raises(
        InputError, match=r"24 images of 3x8x8 take 4\.6 kB once decoded, but 100 bytes of memory"
    ):
        load_data(str(root))
    little_memory(10**9, 0)
    assert len(load_data(str(root)).test) == 5


def test_splits_that_fit_nowhere(little_memory):
    images = torch.zeros(100, 1, 8, 8, dtype=torch.uint8)
    little_memory(100, 0)
    with pytest.raises(InputError, match=r"a split of 50 images takes 3\.2 kB, but 100 bytes of memory"):
        gathered(images, torch.arange(0, 100, 2))
    assert gathered(images, torch.arange(10, 60)).data_ptr() == images[10].data_ptr()  # a view costs nothing


def test_mapped_images_are_read_in_pieces_and_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "_PIECE", 2 * 2**20)
    content = np.random.default_rng(0).integers(0, 256, (16, 1, 1024, 1024), np.uint8)
    (tmp_path / "file").write_bytes(b"x" * 100 + content.tobytes())
    with (tmp_path / "file").open("rb") as file:
        images = mapped.mapped(file, 100, content.shape)
    before = psutil.Process().memory_info().shared
    total = sum(int(piece.sum(dtype=torch.int64)) for piece in pieces(images))
    assert psutil.Process().memory_info().shared - before < 8 * 2**20  # of 16 MiB
    assert total == int(content.sum(dtype=np.int64))
    assert np.array_equal(images.numpy(), content)


def test_a_batch_that_cannot_be_held_is_refused(monkeypatch):
    digits = load_data("digits")
    check_batch(digits, 128, torch.device("cpu"))
    monkeypatch.setattr("secateur.data.batches.available_memory", lambda: 128 * 64 * 8 - 1)
    with pytest.raises(
        InputError, match=r"128 images of 1x8x8 take at least 65\.5 kB and 65\.5 kB are avail"
    ):
        check_batch(digits, 128, torch.device("cpu"))
    check_batch(digits, 128, torch.device("cuda"))  # its own memory is another


def test_limits_of_the_process_and_of_its_group_count(tmp_path, monkeypatch):
    plenty = memory.available_memory()
    assert 0 < plenty <= psutil.virtual_memory().total
    monkeypatch.setattr(memory, "_of_limit", lambda: iter([12345]))
    assert memory.available_memory() == 12345
    for name, value in (("memory.max", "9000"), ("memory.current", "5000")):
        (tmp_path / name).write_text(value)
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 1000\nactive_file 500\n")
    names = ("memory.max", "memory.current", "memory.stat")
    monkeypatch.setattr(memory, "_group_files", lambda: iter([tuple(tmp_path / name for name in names)]))
    assert memory.available_memory() == 9000 - (5000 - 1500)
    (tmp_path / "memory.max").write_text("max")
    assert memory.available_memory() == 12345


def test_a_folder_that_cannot_be_written_has_no_disk(tmp_path):
    (tmp_path / "file").touch()
    assert memory.available_disk(tmp_path / "file" / "cache") in (0, memory.available_disk(tmp_path))
    assert memory.available_disk(tmp_path / "new" / "folder") > 0
