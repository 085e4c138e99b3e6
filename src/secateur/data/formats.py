"""Which files are images: whatever Pillow opens, asked by content and not by name.

Only raster formats that Pillow decodes itself are asked for: EPS, PDF and WMF start other programs, and the
scientific containers (HDF5, GRIB) have no pixels without a plug-in.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.errors import require_packages

if TYPE_CHECKING:
    from PIL import Image

READING = "reading images"

# Formats that can be told by their first bytes.
_BY_CONTENT = (
    *(
        "JPEG",
        "MPO",
        "PNG",
        "GIF",
        "WEBP",
        "TIFF",
        "BMP",
        "DIB",
        "PPM",
        "JPEG2000",
        "AVIF",
        "HEIF",
        "ICO",
        "CUR",
    ),
    *("ICNS", "PCX", "DCX", "SGI", "QOI", "DDS", "PSD", "SUN", "XBM", "XPM", "MSP", "BLP", "FITS", "FTEX"),
)
# A TGA begins with no sign: only a file that is called so is tried as one.
_BY_NAME = {".tga": "TGA", ".icb": "TGA", ".vda": "TGA", ".vst": "TGA"}
HEIC = frozenset([".heic", ".heif", ".hif", ".heics", ".heifs"])
_RAW = frozenset(
    (
        *(".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".dng", ".raf", ".rw2", ".orf"),
        *(".pef", ".srw", ".x3f", ".3fr", ".kdc", ".dcr", ".mrw", ".erf", ".mef", ".mos", ".iiq", ".rwl"),
    )
)
_HEAD = 64  # bytes that tell a format

NO_EXTENSION = "without extension"
UNREADABLE = "unreadable"


@cache
def decodable() -> tuple[str, ...]:
    """Pillow's names of the formats that are told by content and that this installation decodes."""
    require_packages("PIL", what=READING)
    from PIL import Image

    _register_heic()
    Image.init()
    return tuple(name for name in _BY_CONTENT if name in Image.OPEN)


def open_image(source: Path | bytes) -> Image.Image:
    """Open a file, or a file's content; nothing is decoded yet.

    Raises:
        OSError, ValueError, SyntaxError: what Pillow and the file system raise for what is no readable image.
    """
    formats = decodable()
    from PIL import Image

    if isinstance(source, bytes):
        return Image.open(io.BytesIO(source), formats=formats)
    by_name = _BY_NAME.get(source.suffix.lower())
    return Image.open(source, formats=[by_name, *formats] if by_name else formats)


def left_out_because(path: Path) -> str | None:
    """None if the file is, or is called like, an image; else the reason: ".heic", "without extension", ...

    A broken file that is called like an image is one: to read it is refused, later, by name. A file that is
    called otherwise is an image if its content says so.
    """
    extension = path.suffix.lower()
    if extension in _image_extensions():
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return UNREADABLE
    if extension not in _RAW and _begins_like_image(path, head):
        return None
    return extension or NO_EXTENSION


def hint(reasons: Iterable[str]) -> str:
    """What would make files readable that were left out for these reasons; "" if nothing is known to.

    Example:
        >>> hint([".txt", ".heic"])
        "for .heic run `pip install 'secateur[heic]'`"
    """
    found = set(reasons)
    heic, raw = sorted(found & HEIC), sorted(found & _RAW)
    ways = []
    if heic and "HEIF" not in decodable():
        ways.append(f"for {', '.join(heic)} run `pip install 'secateur[heic]'`")
    if raw:
        ways.append(f"export {', '.join(raw)} (raw sensor data) as JPEG or PNG")
    return "; ".join(ways)


@cache
def _image_extensions() -> frozenset[str]:
    """What images are called: those of the formats that this installation decodes."""
    formats = {*decodable(), *_BY_NAME.values()}
    from PIL import Image

    return frozenset(name for name, kind in Image.registered_extensions().items() if kind in formats)


def _begins_like_image(path: Path, head: bytes) -> bool:
    """Whether a decoder accepts the first bytes and then the file's header."""
    from PIL import Image

    accepts = [Image.OPEN[name][1] for name in decodable()]
    try:
        if not any(accept is not None and accept(head) for accept in accepts):
            return False
        with open_image(path):
            return True
    except Exception:  # decoders raise whatever they meet in a file that is none of theirs
        return False


def _register_heic() -> None:
    """Let Pillow open HEIC if the extra `secateur[heic]` is installed."""
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def is_hidden(path: Path) -> bool:
    """Whether the name begins with a dot; macOS's `._photo.jpg` does."""
    return os.path.basename(path).startswith(".")
