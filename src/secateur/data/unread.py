"""What is not read, and what to do instead: one line for every kind of file that people have."""

from __future__ import annotations

from pathlib import Path

from secateur.data.archives import is_archive
from secateur.data.formats import hint
from secateur.data.tree import Scan
from secateur.errors import InputError
from secateur.records.found import counted, listed, plain

_AS_FILES = "write the images as files, DIR/CLASS/*.png, or as an .npz with x_train, y_train, x_test, y_test"
_ADVICE = {
    (".h5", ".hdf5", ".hdf", ".mat"): f"HDF5 and MATLAB files are not read: {_AS_FILES}",
    (".tfrecord", ".tfrecords"): f"TFRecord files are not read: {_AS_FILES}",
    (".pkl", ".pickle", ".pt", ".pth", ".p"): f"pickled files can run code and are never opened: {_AS_FILES}",
    (".npy",): "one .npy has no labels: write an .npz with images and labels (numpy.savez)",
    (
        ".rar",
        ".7z",
        ".z01",
        ".gz",
        ".bz2",
        ".xz",
    ): "it is packed in a way that is not read: unpack it, and pass the folder",
    (".mdb", ".lmdb", ".beton", ".db", ".sqlite"): f"databases are not read: {_AS_FILES}",
    (
        ".json",
        ".xml",
        ".yaml",
        ".yml",
        ".txt",
    ): "pass the folder that has the images in class folders, or a labels.csv",
    (
        ".mp4",
        ".avi",
        ".mov",
        ".mkv",
        ".webm",
    ): "videos are not read: write their frames as files, DIR/CLASS/*.png",
}
_CIFAR_PICKLES = ("data_batch_1", "test_batch")
_CIFAR100_PICKLES = {"train", "test", "meta"}


def advice(path: Path) -> InputError:
    """What to do with a file that holds no data set that is read."""
    for extensions, way in _ADVICE.items():
        if path.suffix.lower() in extensions:
            return InputError(
                f"a data set is a folder, an archive or a table, but {plain(str(path))} is none: {way}"
            )
    return InputError(
        f"a data set is a folder, a .zip or .tar, an .npz, a .parquet or a .csv, but '{plain(str(path))}' "
        "is another file: pass the folder that holds it"
    )


def advice_for_folder(found: Scan) -> InputError:
    """What to do with a folder in which nothing is an image."""
    root = found.root
    where = plain(str(root.path))
    files = [path for folder in root.walk() for path, _ in folder.others]
    names = {path.name for path in files}
    if names & {*_CIFAR_PICKLES} or names >= _CIFAR100_PICKLES:
        return InputError(
            f"pickled files can run code and are never opened, but {where} is CIFAR's Python version: "
            "fetch the binary version (cifar-10-binary.tar.gz, cifar-100-binary.tar.gz), which is read as "
            "it is"
        )
    if shards := [path for path in files if is_archive(path)]:
        return _packed(shards, where)
    for extensions, way in _ADVICE.items():
        there = [
            path.name for path in files if path.suffix.lower() in extensions or _record(path.name, extensions)
        ]
        if there and extensions[0] not in (".json",):
            return InputError(f"no images in {where}, which has {listed(there, 4)}: {way}")
    if npz := [path.name for path in files if path.suffix.lower() == ".npz"]:
        return InputError(f"no images in {where}, which has {listed(npz, 4)}: pass one of them")
    return _nothing(found, where)


def _record(name: str, extensions: tuple[str, ...]) -> bool:
    """TFRecord shards are called `train.tfrecord-00000-of-00010`."""
    return ".tfrecord" in extensions and ".tfrecord" in name.lower()


def _packed(archives: list[Path], where: str) -> InputError:
    if len(archives) == 1:
        return InputError(
            f"no images in {where}, but {plain(archives[0].name)}: pass --data {plain(str(archives[0]))}, "
            "or unpack it"
        )
    tars = [path for path in archives if path.suffix == ".tar"]
    kind = " (WebDataset shards are not read as such)" if len(tars) == len(archives) else ""
    return InputError(
        f"no images in {where}, but {len(archives)} archives, "
        f"{listed([path.name for path in archives], 4)}{kind}: unpack them into DIR/CLASS/, or pass one of "
        "them"
    )


def _nothing(found: Scan, where: str) -> InputError:
    root, kinds = found.root, found.left_out()
    for folder in root.walk():
        kinds.update(path.suffix.lower() for path in folder.lists)
    if way := hint(kinds):
        there = ", ".join(counted(kind, count) for kind, count in kinds.most_common(4))
        return InputError(f"no class folders in {where} have images that can be read: it has {there}: {way}")
    there = ", ".join(counted(kind, count) for kind, count in kinds.most_common(4))
    but = f" (it has {there})" if there else ""
    return InputError(
        f"no class folders in {where}{but}: expected {where}/CLASS/*.jpg, one folder for each class"
    )
