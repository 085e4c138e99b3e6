"""Data sets and results from strangers, damaged at random: images, tables, lists, arrays, archives, pages."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from hostile import Kind, damage
from secateur.data import load_data
from secateur.data.decode import Encoded, decode
from secateur.data.formats import decodable
from secateur.data.pixels import PixelFormat
from secateur.data.preprocessing import Preprocessing
from secateur.data.reading import Reading
from secateur.deploy.predicted import in_words
from secateur.records.device_table import read_table
from secateur.records.failed import Failed
from secateur.records.measured import Measured
from secateur.records.quantized import Agreement, Calibration, Quantized
from secateur.records.winner import LabelErrors, Miss, Pair, Winner
from secateur.report.winner import parts
from secateur.runs.life import Alive, state_of
from secateur.runs.made import Made
from secateur.runs.store import RunStore
from secateur.runs.tracking.mark import Mark, Marks
from test_device_table import images as device_images
from test_device_table import table_of, tiny
from test_measure import MEASURED

SHIPPED = Path(__file__).parents[1] / "results" / "shipped" / "conv4-1"
SIDE = 8
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)

# --- whole files ----------------------------------------------------------------------------------------


def encoded(kind: str, **options: object) -> bytes:
    """A small image in one of Pillow's formats, in the richest mode that it writes."""
    image = Image.fromarray(PIXELS)
    for mode in ("RGB", "P", "1"):
        content = io.BytesIO()
        try:
            image.convert(mode).save(content, kind, **options)
        except (OSError, ValueError):
            continue
        return content.getvalue()
    raise AssertionError(kind)


def fits() -> bytes:
    values = {"SIMPLE": "T", "BITPIX": 8, "NAXIS": 2, "NAXIS1": SIDE, "NAXIS2": SIDE}
    cards = [f"{name:8}= {value:>20}" for name, value in values.items()]
    header = "".join(f"{card:80}" for card in (*cards, "END"))
    return f"{header:2880}".encode() + bytes(SIDE * SIDE).ljust(2880, b"\0")


def cur() -> bytes:
    bitmap = struct.pack("<IiiHHIIiiII", 40, SIDE, 2 * SIDE, 1, 24, 0, 0, 0, 0, 0, 0)
    bitmap += PIXELS.tobytes() + bytes(4 * SIDE)
    entry = struct.pack("<BBBBHHII", SIDE, SIDE, 0, 0, 0, 0, len(bitmap), 22)
    return struct.pack("<HHH", 0, 2, 1) + entry + bitmap


XPM = b'/* XPM */\nstatic char *a[] = {\n"2 2 2 1",\n"a c #ff0000",\n"b c #00ff00",\n"ab",\n"ba"\n};\n'
PSD = struct.pack(">4sH6xHIIHHIII", b"8BPS", 1, 3, SIDE, SIDE, 8, 3, 0, 0, 0)
FTEX = struct.pack("<4s8i", b"FTEX", 65537, SIDE, SIDE, 1, 1, 1, 32, SIDE**2 * 3)
UNWRITTEN = {
    "CUR": cur,
    "DCX": lambda: struct.pack("<III", 0x3ADE68B1, 12, 0) + encoded("PCX"),
    "PSD": lambda: PSD + b"\0\0" + PIXELS.transpose(2, 0, 1).tobytes(),
    "SUN": lambda: struct.pack(">8I", 0x59A66A95, SIDE, SIDE, 8, SIDE**2, 1, 0, 0) + bytes(SIDE**2),
    "XPM": lambda: XPM,
    "FITS": fits,
    "FTEX": lambda: FTEX + PIXELS.tobytes(),
}
"""Formats that Pillow reads and does not write."""


def image_kinds() -> dict[str, bytes]:
    """A name -> one whole image: every format of the list, and modes of their own."""
    found = {kind: UNWRITTEN[kind]() if kind in UNWRITTEN else encoded(kind) for kind in decodable()}
    sixteen = io.BytesIO()
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256).save(sixteen, "PNG")
    clear = io.BytesIO()
    Image.fromarray(np.dstack([PIXELS, PIXELS[..., :1]])).save(clear, "PNG")
    turned = Image.Exif()
    turned[0x0112] = 6
    moving = encoded("GIF", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])])
    more = {"TGA": encoded("TGA"), "PNG 16": sixteen.getvalue(), "PNG clear": clear.getvalue()}
    more |= {"GIF moving": moving, "TIFF turned": encoded("TIFF", exif=turned)}
    return {**found, **more, "JPEG turned": encoded("JPEG", exif=turned)}


READING = Reading(image_size=4)
PREPROCESSING = Preprocessing(PixelFormat(3, 4, 4), (0.5,) * 3, (0.5,) * 3)


def read_image(path: Path) -> None:
    """As a data set's, and as what `predict` is given."""
    found = decode({"all": Encoded([path], [0], [str(path)])}, ("a",), READING)
    assert found.images.shape[2:] == (4, 4)
    PREPROCESSING.pixels(path)


def read_data(path: Path) -> None:
    load_data(str(path), image_size=4)


def read_numbers(path: Path) -> None:
    load_data(str(path), image_size=4, task="regression")


def read_labels(path: Path) -> None:
    load_data(str(path), image_size=4, task="multilabel", label_column="tags")


def read_winner(path: Path) -> None:
    found = Winner.load(path)
    parts(found)
    json.dumps(found.to_json(), allow_nan=False)


def read_measured(path: Path) -> None:
    found = Measured.load(path)
    repr(found)
    found._repr_html_()


def read_run(path: Path) -> None:
    """What `runs list` and who makes runs look at beside the record."""
    store = RunStore(path.parents[2])
    scores = store.scores(path.parent.name)
    assert scores is None or scores.numel() >= 0
    str(state_of(store, path.parent.name).text)


def png(value: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(PIXELS + np.uint8(value)).save(content, "PNG")
    return content.getvalue()


def write_data(root: Path) -> dict[str, Kind]:
    """Data sets of six images each, in every form that is read but folders of files."""
    images, labels = [png(10 * i) for i in range(12)], [i % 2 for i in range(12)]
    features = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    struct_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": each, "path": None} for each in images], struct_type)
    table = pa.table({"image": cells, "label": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    kinds: dict[str, Kind] = {}

    def add(name: str, content: bytes, read=read_data, folder: str = "", whole: bool = False) -> Path:
        """A file in a folder of its own; `whole`: the folder is what is read."""
        place = root / (folder or name.replace(".", "-"))
        place.mkdir(exist_ok=True)
        (place / name).write_bytes(content)
        kinds[f"{place.name}/{name}" if folder else name] = Kind(
            place / name, (lambda path: read(path.parent)) if whole else read
        )
        return place / name

    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=5)
    add("images.parquet", buffer.getvalue())
    buffer = io.BytesIO()
    numbers = pa.table({"image": pa.array(images), "price": [i / 3 for i in range(12)]})
    pq.write_table(numbers, buffer, compression="zstd", use_dictionary=False)
    add("numbers.parquet", buffer.getvalue(), read_numbers)
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    add("images.arrow", buffer.getvalue())

    rows = [(f"{i}.png", labels[i], "red|blue" if i % 2 else "green") for i in range(12)]
    lists = {
        "labels.csv": "file,label\n" + "".join(f"{name},{label}\n" for name, label, _ in rows),
        "metadata.jsonl": "".join(json.dumps({"file_name": n, "label": k}) + "\n" for n, k, _ in rows),
        "labels.tsv": "file\tlabel\tsplit\n"
        + "".join(f"{n}\t{label}\t{'test' if i > 7 else 'train'}\n" for i, (n, label, _) in enumerate(rows)),
    }
    for name, text in lists.items():
        for i, image in enumerate(images):
            add(f"{i}.png", image, folder=f"of-{name.partition('.')[2]}")
        add(name, text.encode(), folder=f"of-{name.partition('.')[2]}", whole=True)
    for name, kind in [*kinds.items()]:
        if name.endswith(".png"):
            del kinds[name]
            assert kind.path.is_file()
    shutil.copytree(root / "of-csv", root / "of-tags", ignore=shutil.ignore_patterns("labels.csv"))
    tags = "file,tags\n" + "".join(f"{name},{tag}\n" for name, _, tag in rows)
    add("tags.csv", tags.encode(), read_labels, folder="of-tags")

    arrays = {"x_train": np.stack([PIXELS] * 8), "y_train": labels[:8], "x_test": np.stack([PIXELS] * 4)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, y_test=labels[:4])
    add("arrays.npz", buffer.getvalue())
    for split, count in (("train", 8), ("t10k", 4)):
        pixels = bytes([0, 0, 8, 3]) + struct.pack(">III", count, SIDE, SIDE) + bytes(range(64)) * count
        add(f"{split}-images-idx3-ubyte", pixels, folder="idx", whole=True)
        told = bytes([0, 0, 8, 1]) + struct.pack(">I", count) + bytes(labels[:count])
        add(f"{split}-labels-idx1-ubyte.gz", gzip.compress(told), folder="idx", whole=True)
    for name in ("data_batch_1.bin", "test_batch.bin"):
        content = b"".join(bytes([label]) + bytes(3072) for label in labels[:6])
        add(name, content, folder="cifar", whole=True)
    add("batches.meta.txt", b"a\nb\n", folder="cifar", whole=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i, image in enumerate(images):
            archive.writestr(f"{'ab'[i % 2]}/{i}.png", image)
    add("photos.zip", buffer.getvalue())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for i, image in enumerate(images):
            member = tarfile.TarInfo(f"{'ab'[i % 2]}/{i}.png")
            member.size = len(image)
            tar.addfile(member, io.BytesIO(image))
    add("photos.tar.gz", buffer.getvalue())

    saved = root / "saved"
    saved.mkdir()
    for split in ("train", "test"):
        shutil.copytree(root / "images-arrow", saved / split)
        state = {"_data_files": [{"filename": "images.arrow"}]}
        (saved / split / "state.json").write_text(json.dumps(state))
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    kinds["saved/state.json"] = Kind(saved / "train" / "state.json", lambda _: read_data(saved))
    kinds["saved/dataset_dict"] = Kind(saved / "dataset_dict.json", lambda _: read_data(saved))
    return kinds


WINNER = Winner(
    weights_sha256="0" * 16,
    fingerprint="0" * 16,
    arm="fisher-tuned",
    budget="params=10%",
    seed=0,
    run_id="train-0123456789ab-s0",
    task="classification",
    n=100,
    wrong=3,
    classes=("a", "b"),
    confusion=((50, 2), (1, 47)),
    pairs=(Pair(true="a", said="b", n=2),),
    labels=(LabelErrors(name="a", n=50, missed=2, invented=1),),
    worst=(Miss(index=3, true="a", said="b", confidence=0.9, image="data:image/png;base64,AAAA"),),
)
QUANTIZED = Quantized(
    file="model.int8.onnx",
    runtime="onnxruntime",
    how="static",
    weight_bits=8,
    activations="int8",
    macs=100,
    int8_macs=90,
    bytes_before=400,
    bytes_after=110,
    calibration=Calibration(data="digits", split="train", n=256, method="minmax"),
    held_out=Agreement(n=100, same=99, chance=0.1, error=0.01),
    quality=None,
    latency=None,
    versions={"onnx": "1"},
)


def write_folder(root: Path) -> dict[str, Kind]:
    """What test_hostile_files.py does not read of a folder: device table, winner, scores and so on."""
    folder = root / "runs" / "train-0123456789ab-s0"
    (root / "best").mkdir(parents=True)
    folder.mkdir(parents=True)
    shutil.copy(SHIPPED / "record.json", root / "best" / "record.json")
    contents = {
        "device.json": table_of(tiny(), device_images()),
        "measured.json": MEASURED,
        "winner.json": WINNER,
        "model.int8.onnx.json": QUANTIZED,
        f"runs/{folder.name}/alive.json": Alive(
            pid=1, host="elsewhere", since=1.0, label="a run", environment={"secateur": "0.1.0"}
        ),
        f"runs/{folder.name}/failed.json": Failed(
            run_id=folder.name, label="a run", error="it failed", environment={"secateur": "0.1.0"}
        ),
        f"runs/{folder.name}/tracked.json": Marks(services={"wandb": Mark(place="0123456789ab", epoch=3)}),
    }
    for name, content in contents.items():
        (root / name).write_text(json.dumps(content.to_json()))
    save_file({"test": torch.tensor([1, 0, 1], dtype=torch.uint8)}, folder / "scores.safetensors")
    read: dict[str, Callable[[Path], object]] = {
        "device.json": lambda path: in_words(read_table(path), str(path)),
        "measured.json": read_measured,
        "winner.json": read_winner,
        "model.int8.onnx.json": lambda path: str(Quantized.load(path).share),
        "best/record.json": Made.read,
    }
    kinds = {name: Kind(root / name, reads) for name, reads in read.items()}
    for name in ("alive.json", "failed.json", "scores.safetensors"):
        kinds[name] = Kind(folder / name, read_run)
    kinds["tracked.json"] = Kind(folder / "tracked.json", lambda path: Marks.in_folder(path.parent))
    return kinds


# --- mutations ------------------------------------------------------------------------------------------

IMAGE_GROWTH_KB = 2_200_000
"""A header may claim 89 million pixels, for which 20 bytes each are taken at most."""


@pytest.fixture
def uncached(monkeypatch):
    monkeypatch.setenv("SECATEUR_CACHE_LIMIT", "0")


def kinds_of_images(root: Path) -> dict[str, Kind]:
    kinds = {}
    for name, content in image_kinds().items():
        path = root / f"{name.replace(' ', '-')}{'.tga' if name == 'TGA' else '.img'}"
        path.write_bytes(content)
        kinds[name] = Kind(path, read_image)
    return kinds


WHOLE = {"images": kinds_of_images, "data sets": write_data, "a folder of ours": write_folder}
COUNTS = {"images": (76, 4000), "data sets": (76, 4000), "a folder of ours": (70, 2500)}
"""Kind -> mutations in the default tier, in the slow one."""


@pytest.mark.parametrize("which", WHOLE)
def test_whole_files_are_read(which, tmp_path, uncached):
    for kind in WHOLE[which](tmp_path).values():
        kind.read(kind.path)


@pytest.mark.parametrize("which", WHOLE)
def test_damaged_files_are_refused_in_a_line_or_harmless(which, tmp_path, uncached):
    counts = damage(WHOLE[which](tmp_path), COUNTS[which][0], 0, tmp_path, IMAGE_GROWTH_KB).values()
    assert sum(each.refused for each in counts) > 10, counts
    assert sum(each.harmless for each in counts) > 10, counts


@pytest.mark.slow
@pytest.mark.parametrize("which", WHOLE)
def test_ten_thousand_damaged_files(which, tmp_path, uncached):
    damage(WHOLE[which](tmp_path), COUNTS[which][1], 1, tmp_path, IMAGE_GROWTH_KB)
