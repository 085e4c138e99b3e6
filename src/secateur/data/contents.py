"""What a folder or a file holds, and who reads it: images, tables, arrays, an archive."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from secateur.data.archives import is_archive, stem_of, unpacked
from secateur.data.arrays import read_npz
from secateur.data.binary_files import is_cifar, is_idx, read_cifar, read_idx
from secateur.data.cache_files import cache_folder
from secateur.data.folders import list_by, list_folder
from secateur.data.hub import is_saved, saved_tables
from secateur.data.labels import assign, said_of
from secateur.data.layout import folder_at, through_wrappers
from secateur.data.listing import Listing
from secateur.data.reading import Reading
from secateur.data.table_files import beside_class_folders, group_tables
from secateur.data.tables import read_tables
from secateur.data.tasks import refuse_other_tasks, set_masks_aside
from secateur.data.tree import LISTS, TABLES, Folder, Scan, scan
from secateur.data.unread import advice, advice_for_folder
from secateur.errors import InputError
from secateur.records.found import plain

BESIDE_TABLES = "images beside the tables"
UNNAMED = "tables that name no split"
LED_OUT = "links and paths out of the archive"


@dataclass(frozen=True)
class Source:
    """Images that were found and not read yet.

    Args:
        name: what the data set is called ("cifar10", a folder's basename, "hf:owner/name").
        files: what its content depends on; empty if no file tells (nothing is cached then).
        read: lists the encoded images; they can be decoded until the block ends.
        temporary: the images lie in files that are gone when the block ends.
        left_out, remarks: known already, and not of the listing.
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[], AbstractContextManager[Listing]]
    temporary: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def lazily(read: Callable[[], Listing]) -> Callable[[], AbstractContextManager[Listing]]:
    """Listings that need nothing to be tidied up."""
    return lambda: nullcontext(read())


def source_of(path: Path, name: str, reading: Reading) -> Source:
    """What a folder or a file holds.

    Raises:
        InputError: nothing that is read, and what to do.
    """
    return folder_source(path, name, reading) if path.is_dir() else file_source(path, reading)


# --- files ----------------------------------------------------------------------------------------------


def file_source(path: Path, reading: Reading) -> Source:
    """What one file holds: an archive, a table, a list, arrays."""
    extension = path.suffix.lower()
    if is_archive(path):
        return Source(stem_of(path), (path,), lambda: _read_archive(path, reading), temporary=True)
    if extension == ".npz":
        return Source(path.stem, (path,), lazily(lambda: read_npz(path)))
    if extension in TABLES:
        return Source(path.stem, (path,), lazily(lambda: read_tables({"all": [path]}, path.parent, reading)))
    if extension in LISTS:
        return _list_source(path, reading)
    raise advice(path)


def _list_source(path: Path, reading: Reading) -> Source:
    """The images that a list names, in its folder and below."""
    found = scan(path.parent)
    listing, used = list_by(path, found.root, reading)
    files = tuple(
        Path(image) for part in listing.splits.values() for image in part.images if isinstance(image, Path)
    )
    eager = _eager(listing)
    return replace(eager, name=path.parent.resolve().name, files=(*used, *files))


@contextmanager
def _read_archive(path: Path, reading: Reading) -> Iterator[Listing]:
    with unpacked(path, cache_folder()) as there:
        folder = there.folder
        source = folder_source(folder, stem_of(path), reading)
        with source.read() as listing:
            left_out = Counter(source.left_out) + Counter(listing.left_out) + Counter({LED_OUT: there.left})
            splits = {
                split: replace(part, names=_renamed(part.names, folder, path))
                for split, part in listing.splits.items()
            }
            yield replace(
                listing, splits=splits, left_out=dict(left_out), remarks=(*source.remarks, *listing.remarks)
            )


def _renamed(names: Sequence[str], folder: Path, archive: Path) -> list[str]:
    """Names for messages: in the archive, not where it was unpacked."""
    return [name.replace(str(folder), plain(str(archive))) for name in names]


# --- folders --------------------------------------------------------------------------------------------


def folder_source(path: Path, name: str, reading: Reading) -> Source:
    """What a folder holds: saved data sets and tables first, then class folders or lists, then arrays."""
    found = scan(path)
    source = (
        _told(found, reading) or _saved(found, reading) or _tables(found, reading) or _images(found, reading)
    )
    return replace(source, name=name)


def _eager(
    listing: Listing, left_out: Mapping[str, int] | None = None, remarks: Sequence[str] = ()
) -> Source:
    """The source of images that are listed already: what is left out is no matter of the cache."""
    bare = replace(listing, left_out={}, remarks=())
    files = tuple(
        image for part in listing.splits.values() for image in part.images if isinstance(image, Path)
    )
    counted = {**(left_out or {}), **listing.left_out}
    return Source("", files, lambda: nullcontext(bare), False, counted, (*remarks, *listing.remarks))


def _told(found: Scan, reading: Reading) -> Source | None:
    """Splits that the user names and that are files, or folders with tables."""
    if not reading.splits:
        return None
    root = found.root
    groups = {split: _tables_named(root, name) for split, name in reading.splits.items()}
    if not any(groups.values()):
        return None
    for split, files in groups.items():
        if not files:
            raise InputError(
                "splits must all be tables or all folders of classes, but "
                f"'{plain(reading.splits[split])}' of {plain(str(root.path))} has no table, and another "
                "has: name files, or folders that have them"
            )
    return _table_source(found, groups, reading, {})


def _tables_named(root: Folder, name: str) -> list[Path]:
    """The tables that a split is said to be; InputError where there is nothing of the name."""
    if Path(name).suffix.lower() in TABLES:
        path = Path(os.path.normpath(root.path / name))
        known = {str(table) for folder in root.walk() for table in folder.tables}
        if str(path) not in known:
            raise InputError(
                f"--splits names files below {plain(str(root.path))}, but '{plain(name)}' is not there"
            )
        return [path]
    return [table for folder in folder_at(root, name, "splits").walk() for table in folder.tables]


def _saved(found: Scan, reading: Reading) -> Source | None:
    root = found.root
    if not is_saved(root):
        return None
    groups, remarks, others = saved_tables(root)
    return replace(_table_source(found, groups, reading, others), remarks=remarks)


def _tables(found: Scan, reading: Reading) -> Source | None:
    """Tables anywhere below; their files' and folders' names say which split they are."""
    tables = [
        table for folder in found.root.walk() for table in folder.tables if table.suffix.lower() == ".parquet"
    ]
    if not tables or reading.classes_in is not None or beside_class_folders(found.root, tables):
        return None
    groups, unnamed = group_tables(sorted(tables), found.root.path)
    where = plain(str(found.root.path))
    left_out = {UNNAMED: unnamed} if unnamed else {}
    chosen = groups if "all" in groups else assign(groups, where)
    return replace(_table_source(found, chosen, reading, left_out), remarks=said_of(groups))


def _table_source(
    found: Scan, groups: Mapping[str, Sequence[Path]], reading: Reading, left_out: Mapping[str, int]
) -> Source:
    root = found.root

    def read() -> Listing:
        listing = read_tables(groups, root.path, reading)
        used = {image for part in listing.splits.values() for image in part.images if isinstance(image, Path)}
        beside = root.count - len(used)
        more = {BESIDE_TABLES: beside} if beside > 0 else {}
        return replace(listing, left_out={**listing.left_out, **more})

    files = tuple(path for paths in groups.values() for path in paths)
    counted = {**left_out, **{what: n for what, n in found.left_out().items() if what != ".json"}}
    return Source("", files, lazily(read), left_out=counted)


def _images(found: Scan, reading: Reading) -> Source:
    """Class folders, images with a list, or arrays."""
    root = found.root
    if not root.count:
        return _arrays(found)
    set_masks_aside(root)
    if reading.classes_in is not None:
        inner, remarks = root, []
    else:
        refuse_other_tasks(root)
        inner = root if reading.splits else through_wrappers(root)
        remarks = [] if inner is root else [f"read from {plain(str(inner.path.relative_to(root.path)))}/"]
    listing, lists = list_folder(inner, reading)
    unused = Counter(
        path.suffix.lower()
        for folder in root.walk()
        for path in [*folder.lists, *folder.tables]
        if path not in lists
    )
    source = _eager(listing, found.left_out() + unused, remarks)
    return replace(source, files=(*lists, *source.files))


def _arrays(found: Scan) -> Source:
    """A folder without images: MNIST's files, CIFAR's, one .npz; else what to do."""
    for folder in found.root.walk():
        files = [path for path, _ in folder.others]
        where = plain(str(folder.path))
        if idx := [path for path in files if is_idx(path)]:
            return Source("", tuple(idx), lazily(lambda idx=idx, where=where: read_idx(idx, where)))  # type: ignore[misc]
        if cifar := [path for path in files if is_cifar(path)]:
            names = [path for path in files if path.suffix == ".txt"]
            read = lazily(lambda cifar=cifar, where=where: read_cifar(cifar, where))  # type: ignore[misc]
            return Source("", (*cifar, *names), read)
        npz = [path for path in files if path.suffix.lower() == ".npz"]
        if len(npz) == 1:
            return Source("", (npz[0],), lazily(lambda npz=npz: read_npz(npz[0])))  # type: ignore[misc]
    raise advice_for_folder(found)
