"""What data would take is known from their heads, and refused in a line before it is taken."""

from __future__ import annotations

import gzip
import io
import json
import struct
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hostile import memory_kb
from secateur.architecture.architecture import Architecture
from secateur.architecture.family import FamilyOrigin
from secateur.budget import COUNTERS
from secateur.data import held_tables, load_data, memory
from secateur.data.decode import Encoded, decode
from secateur.data.memory import TURNS, Turns
from secateur.data.preprocessing import PixelFormat, Preprocessing
from secateur.data.reading import Reading
from secateur.errors import InputError
from test_hostile_files import NETWORK


def png(value: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, value).save(content, "PNG")
    return content.getvalue()


def table_of(images, kind=None):
    rows = [{"bytes": each, "path": None} for each in images] if kind == "struct" else list(images)
    column = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if kind else None)
    return pa.table({"image": column, "label": [index % 2 for index in range(len(images))]})


@pytest.fixture
def little(monkeypatch):
    """Say how much memory is there."""

    def there(size: int) -> None:
        monkeypatch.setattr(memory, "available_memory", lambda: size)

    return there


@pytest.mark.parametrize("kind", ["struct", None])
def test_what_repeats_in_a_parquet_is_held_once(tmp_path, kind):
    """With 600 rows of one image of 3 MB, 1.2 kB on the disk took 5 GB; here are fewer."""
    path = tmp_path / "x.parquet"
    image = png(7) + bytes(500_000)
    pq.write_table(table_of([image] * 60, kind), path, compression="zstd", dictionary_pagesize_limit=2**30)
    assert path.stat().st_size < 2000
    file = held_tables.TableFile.opened(path)
    assert file.demand(["image"]) < 3 * 500_000
    table = file.read(["image"])
    assert table.nbytes < 2 * 500_000
    rows = held_tables.cells(table["image"], "x")
    values = {id(row["bytes"] if kind else row) for row in rows}
    assert (len(rows), len(values)) == (60, 1)


def test_a_table_that_will_not_find_room_is_refused_by_its_head(tmp_path, little, monkeypatch):
    rng = np.random.default_rng(0)
    images = [png(index) + rng.bytes(20_000) for index in range(50)]
    pq.write_table(table_of(images, "struct"), tmp_path / "x.parquet", row_group_size=10)
    monkeypatch.setattr(held_tables.TableFile, "read", lambda *_: pytest.fail("read"))
    little(2_000_000)
    said = r"reading its tables would take about 2\.1 MB of memory, but 2\.0 MB are available: name fewer"
    with pytest.raises(InputError, match=said):
        load_data(str(tmp_path))
    with pytest.raises(InputError, match=said):
        load_data(str(tmp_path), task="regression")


def test_a_row_group_that_cannot_be_shared_is_read_row_by_row_until_memory_ends(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images = [png(index) + rng.bytes(50_000) for index in range(40)]
    pq.write_table(table_of(images), tmp_path / "x.parquet")
    expected = load_data(str(tmp_path / "x.parquet")).fingerprint
    monkeypatch.setattr(held_tables, "_MOST_SHARED", 1000)
    assert load_data(str(tmp_path / "x.parquet"), image_size=8).fingerprint == expected
    monkeypatch.setattr(held_tables, "_STEP", 100_000)
    monkeypatch.setattr(memory, "available_memory", lambda: 1_000_000)
    with pytest.raises(InputError, match=r"its images would take about 1\.0 MB of memory"):
        held_tables.TableFile.opened(tmp_path / "x.parquet").read(["image", "label"])


def test_tables_with_repeated_images_are_read_as_ever(tmp_path):
    """Dictionaries, plain pages, nulls, several row groups: the same bytes as pyarrow itself gives."""
    images = [png(index % 3) for index in range(30)]
    for name, options in {
        "shared": {},
        "plain": {"use_dictionary": False},
        "falling-back": {"dictionary_pagesize_limit": 100},
    }.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table_of(images, "struct"), path, row_group_size=7, **options)
        table = held_tables.TableFile.opened(path).read(["image", "label"])
        assert [row["bytes"] for row in held_tables.cells(table["image"], "x")] == images
        assert held_tables.cells(table["label"], "x") == pq.read_table(path)["label"].to_pylist()


# --- images ---------------------------------------------------------------------------------------------


def test_an_image_that_takes_more_than_there_is_is_named_before_it_is_decoded(tmp_path, little):
    path = tmp_path / "a.png"
    path.write_bytes(png(1, (2000, 2000), "L"))
    little(79_000_000)
    said = r"to decode it takes about 80\.0 MB of memory, and 79\.0 MB are available: save it smaller"
    with pytest.raises(InputError, match=rf"a\.png is not \({said}\)"):
        decode({"all": Encoded([path], [0], [str(path)])}, ("a",), Reading(image_size=4))
    with pytest.raises(InputError, match=said):
        Preprocessing(PixelFormat(1, 4, 4), (0.5,), (0.5,)).pixels(path)
    little(81_000_000)
    decode({"all": Encoded([path], [0], [str(path)])}, ("a",), Reading(image_size=4))


def test_a_large_jpeg_that_is_decoded_at_a_reduced_scale_needs_little(little):
    content = io.BytesIO()
    Image.new("L", (4000, 4000)).save(content, "JPEG")
    little(10_000_000)
    found = decode({"all": Encoded([content.getvalue()], [0], ["x"])}, ("a",), Reading(image_size=8))
    assert found.images.shape == (1, 1, 8, 8)


def test_large_images_wait_for_each_other(little):
    """Four threads, and memory for two of their images: never three at a time, and all are done."""
    little(100_000_000)
    turns, lock, now, most, done = Turns(), threading.Lock(), [0], [0], []

    def work() -> None:
        with turns.taking(45_000_000):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1
                done.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (most[0], len(done)) == (2, 6)
    with turns.taking(100_000_000):  # and nothing is left in hand
        pass


def test_small_images_ask_nobody(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: pytest.fail("asked"))
    with TURNS.taking(2**24 - 1):
        pass


# --- lists, labels, arrays ------------------------------------------------------------------------------


def test_a_list_whose_every_line_has_a_key_of_its_own_is_refused(tmp_path, little):
    """20,000 lines, 500 kB: 400 million cells."""
    (tmp_path / "0.png").write_bytes(png(0))
    lines = "".join(json.dumps({f"key{index}": 1}) + "\n" for index in range(20_000))
    (tmp_path / "metadata.jsonl").write_text(lines)
    little(2**32)
    before = memory_kb()
    with pytest.raises(InputError, match=r"its 400,000,000 cells would take about 6\.4 GB of memory"):
        load_data(str(tmp_path / "metadata.jsonl"))
    assert memory_kb() - before < 100_000


def test_as_many_labels_as_images_are_refused(tmp_path, little):
    rows = ["file,tags"]
    for index in range(12):
        (tmp_path / f"{index}.png").write_bytes(png(index))
        rows.append(f"{index}.png," + "|".join(f"{index}-{tag}" for tag in range(1000)))
    (tmp_path / "tags.csv").write_text("\n".join(rows))
    little(570_000)
    with pytest.raises(InputError, match=r"its rows would take|12,000 labels for each of 12 images"):
        load_data(str(tmp_path), task="multilabel")
    little(2_000_000)
    load_data(str(tmp_path), task="multilabel")


def test_arrays_that_will_not_find_room_are_refused_by_their_heads(tmp_path, little):
    little(1_000_000)
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((1000, 32, 32), np.uint8), labels=np.arange(1000))
    with pytest.raises(InputError, match=r"its arrays would take about 2\.1 MB of memory"):
        load_data(str(tmp_path / "x.npz"))
    idx = tmp_path / "idx"
    idx.mkdir()
    pixels = bytes([0, 0, 8, 3]) + struct.pack(">III", 1000, 32, 32)
    (idx / "images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels + bytes(32 * 32 * 1000)))
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 1000) + bytes([0, 1] * 500)
    (idx / "labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    with pytest.raises(InputError, match=r"its 1,000 images would take about 2\.0 MB of memory"):
        load_data(str(idx))


# --- networks -------------------------------------------------------------------------------------------


def test_conv4_on_very_large_images_is_counted_without_memory(tmp_path):
    """Its first linear layer reads 89 million features, of which a closed form names each: 1.5 GB."""
    content = json.loads((NETWORK / "architecture.json").read_text())
    content["arguments"]["image_size"] = 3344
    (tmp_path / "architecture.json").write_text(json.dumps(content))
    before = memory_kb()
    with pytest.raises(InputError, match="make 22901752906 parameters, but the file says 2425930"):
        Architecture.load(tmp_path)
    assert memory_kb() - before < 200_000


@pytest.mark.parametrize("name", ["conv4", "resnet18"])
def test_large_images_are_counted_to_the_same_numbers(name, monkeypatch):
    origin = FamilyOrigin(name, {"num_classes": 10, "in_channels": 3, "image_size": [64, 64]} | WIDE[name])
    widths = [max(1, width // 3) for width in origin.widths]
    closed = {resource: origin.cost(widths, resource) for resource in ("params", "macs")}
    monkeypatch.setattr("secateur.network.counting._LARGE", 100)
    assert {resource: origin.cost(widths, resource) for resource in ("params", "macs")} == closed
    assert closed["params"] == COUNTERS["params"](origin.skeleton(widths))


WIDE = {"conv4": {"width": 0.25}, "resnet18": {"width": 0.125}}
