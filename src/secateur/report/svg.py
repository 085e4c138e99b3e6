"""From a matplotlib figure to markup that stands in a page: small, in the page's colours and font, described.

Of what matplotlib writes, all that a page does not need is left out: one group around each line, a style for
each mark, numbers to six places, a font for each word. Marks are written once and used. What is not to be
lost is where things are: coordinates are kept to a hundredth of a pixel.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from secateur.records.ours import MARK

from . import drawing
from .charts import plain
from .palette import INK, SANS, dark, named_in, variable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT_SIZE = 12.0
"""Of texts that say nothing else, in pixels."""
_NUMBER = re.compile(r"-?\d+\.\d+")
_DROPPED = {
    "clip-path",
    "font-family",
    "font-variant",
    "stroke-linejoin",
    "stroke-miterlimit",
    "id",
    "version",
    "stroke-dashoffset",
}
_USUAL = {
    ("stroke-width", "1"),
    ("stroke-linecap", "square"),
    ("stroke-linecap", "butt"),
    ("stroke-opacity", "1"),
}
_LINE = re.compile(r"M[-\d.]+ [-\d.]+(?:L[-\d.]+ [-\d.]+)+")
_DOT = re.compile(r"M0 ([\d.]+)(?:C[^CLMz]*){8}z$")
"""A circle, as matplotlib draws it."""
_TIP = re.compile(r"tip-\d+$")
Attributes = dict[str, str]


@dataclass(frozen=True)
class _Node:
    """An element; `inside` is markup."""

    tag: str
    attributes: Attributes
    inside: str = ""

    def __str__(self) -> str:
        said = "".join(f' {key}="{escape(value)}"' for key, value in self.attributes.items())
        return f"<{self.tag}{said}>{self.inside}</{self.tag}>" if self.inside else f"<{self.tag}{said}/>"

    @property
    def look(self) -> Attributes:
        """What it can share with a neighbour: all but where it is."""
        return {key: value for key, value in self.attributes.items() if key not in ("d", "x", "y")}

    def goes_with(self, other: _Node) -> bool:
        """Whether the two can be drawn as one."""
        if (self.tag, self.look) != (other.tag, other.look) or "transform" in self.attributes:
            return False
        return self.tag in ("use", "text") or (self.tag, self.look.get("fill")) == ("path", "none")


def tip(index: int) -> str:
    """The id to give to what has a text of its own when it is pointed at: the index of that text."""
    return f"tip-{index}"


def markup(
    figure: Figure,
    name: str,
    alt: str,
    *,
    tips: Mapping[int, str] | None = None,
    css: str = "",
    clipped: bool = False,
) -> str:
    """A figure as an `svg` element.

    Args:
        figure: of `drawing.page_figure`, drawn in the colours of `palette`.
        name: of the drawing on its page, a word; none other there has it.
        alt: what the figure shows, in words.
        tips: index -> the text of what was given `tip(index)`.
        css: the element's classes.
        clipped: whether lines may reach beyond their axes, and are cut off there.
    """
    root = ET.fromstring(drawing.encode(figure, "svg"))
    return _Page(name, tips or {}, clipped).written(root, plain(alt), css)


class _Page:
    """Writes one drawing."""

    def __init__(self, name: str, tips: Mapping[int, str], clipped: bool) -> None:
        self.name, self.tips, self.clipped = name, tips, clipped
        self.marks: dict[str, str] = {}
        self.paths: dict[str, str] = {}

    def written(self, root: ET.Element, alt: str, css: str) -> str:
        inside = _joined(found for child in root for found in self.nodes(child))
        used = {mark: path for path, mark in self.paths.items() if f'#{mark}"' in inside}
        shared = "".join(str(_Node("path", {"id": mark, "d": path})) for mark, path in used.items())
        shared += "".join(self._window(node) for node in root.iter() if node.tag.endswith("clipPath"))
        box = root.get("viewBox", "0 0 1 1")
        attributes = {
            **({"class": css} if css else {}),
            "viewBox": box,
            "width": box.split()[2],
            "role": "img",
            "aria-label": alt,
            "font-size": f"{FONT_SIZE:g}",
            "fill": variable(INK),
        }
        return str(_Node("svg", attributes, (f"<defs>{shared}</defs>" if shared else "") + inside))

    def nodes(self, node: ET.Element) -> list[_Node]:
        """What a page needs of a node."""
        tag = node.tag.rpartition("}")[2]
        if tag in ("metadata", "style", "clipPath"):
            return []
        if tag == "defs":
            for child in node:
                self._define(child)
            return []
        if tag == "g":
            return self._group(node)
        attributes = _plain(node)
        if self.clipped and "clip-path" in node.attrib:
            attributes["clip-path"] = node.attrib["clip-path"].replace("(#", f"(#{self.name}-")
        if tag == "use":
            return [self._mark(_used(node), attributes)]
        return [_text(node, attributes) if tag == "text" else _Node(tag, attributes)]

    def _define(self, node: ET.Element) -> None:
        """A mark that is used by others, once for each outline; its colours are said where it is used."""
        old = node.get("id")
        if old is not None and not node.tag.endswith(("clipPath", "style")):
            path = _short(node.get("d", ""))
            self.marks[old] = path
            self.paths.setdefault(path, f"{self.name}-{len(self.paths)}")

    def _window(self, node: ET.Element) -> str:
        """Where lines are cut off."""
        if not self.clipped:
            return ""
        (shape,) = node
        inside = str(_Node(shape.tag.rpartition("}")[2], _plain(shape)))
        return str(_Node("clipPath", {"id": f"{self.name}-{node.get('id')}"}, inside))

    def _mark(self, old: str, attributes: Attributes) -> _Node:
        """A mark at its place; a dot without an outline as the round end of a line without length."""
        path = self.marks[old]
        dot = _DOT.match(path)
        if dot is None or "stroke" in attributes:
            return _Node("use", {**attributes, "href": f"#{self.paths[path]}"})
        look = {"fill": "none", "stroke": attributes["fill"], "stroke-linecap": "round"}
        if opacity := attributes.get("fill-opacity") or attributes.get("opacity"):
            look["stroke-opacity"] = opacity
        width = f"{2 * float(dot[1]):g}"
        return _Node("path", {"d": f"M{attributes['x']} {attributes['y']}h0", "stroke-width": width, **look})

    def _group(self, node: ET.Element) -> list[_Node]:
        """Its inside; as one element where it has a text of its own."""
        name = node.get("id", "")
        inside = [found for child in node for found in self.nodes(child)]
        if name.startswith("matplotlib.axis"):  # lines first, so that they are one
            inside.sort(key=lambda found: found.tag == "text")
        said = self.tips.get(int(name.rpartition("-")[2])) if _TIP.match(name) else None
        if inside and said is not None:
            title = f"<title>{escape(said, quote=False)}</title>"
            return [_Node("g", {"class": "tip"}, title + _joined(inside))]
        return inside


def _used(node: ET.Element) -> str:
    return next(value for key, value in node.attrib.items() if key.endswith("href"))[1:]


def _plain(node: ET.Element) -> Attributes:
    """A node's attributes and style as attributes, in the page's colours."""
    found = {key: value for key, value in node.attrib.items() if not key.endswith("href")}
    style = found.pop("style", "")
    for part in filter(None, (part.strip() for part in style.split(";"))):
        key, _, value = part.partition(":")
        found[key.strip()] = value.strip()
    kept = {key: _value(key, value) for key, value in found.items() if key not in _DROPPED}
    return {key: value for key, value in kept.items() if (key, value) not in _USUAL}


def _text(node: ET.Element, attributes: Attributes) -> _Node:
    """Without what every text has, and without a turn by nothing."""
    kept = dict(attributes)
    if kept.get("transform", "").startswith(("rotate(-0 ", "rotate(0 ")):
        del kept["transform"]
    if size := kept.pop("font-size", "").removesuffix("px"):
        kept["font-size"] = size
    for key, value in (("font-size", f"{FONT_SIZE:g}"), ("text-anchor", "start"), ("fill", variable(INK))):
        if kept.get(key) == value:
            del kept[key]
    return _Node("text", kept, escape(node.text or "", quote=False))


def _value(key: str, value: str) -> str:
    if key in ("fill", "stroke") and value.startswith("#"):
        return variable(value)
    return _short(value) if key in ("d", "x", "y", "transform", "stroke-width", "width", "height") else value


def _short(text: str) -> str:
    """Numbers to a hundredth, and no more space than paths need.

    Example:
        >>> _short("M 101.363636 160 \\nL 101.3 -0.001 \\nz\\n")
        'M101.36 160L101.3 0z'
    """
    text = _NUMBER.sub(lambda found: f"{round(float(found[0]), 2) + 0.0:.10g}", text)
    if text[:1] != "M":
        return text.strip()
    return _steps(re.sub(r"\s*([A-Za-z])\s*", r"\1", text).strip())


def _steps(path: str) -> str:
    """A line through points as steps from each to the next, which is shorter; all else as it is.

    Example:
        >>> _steps("M10 20L10.5 20L11 19.25L12 18"), _steps("M10 20L30 20L50 20"), _steps("M1 2L3 4z")
        ('M10 20l.5 0 .5-.75 1-1.25', 'M10 20L50 20', 'M1 2L3 4z')
    """
    if not _LINE.fullmatch(path):
        return path
    points = [tuple(round(100 * float(v)) for v in pair.split()) for pair in path[1:].split("L")]
    if len(points) == 3 and any(len({point[axis] for point in points}) == 1 for axis in (0, 1)):
        first, _, last = path.split("L")  # a mean on its interval: both ends say it
        return f"{first}L{last}"
    if len(points) < 4:
        return path
    steps = [_hundredths(b - a) for one, two in pairwise(points) for a, b in zip(one, two, strict=True)]
    apart = "".join(step if step[0] == "-" else f" {step}" for step in steps)
    return f"{path.partition('L')[0]}l{apart.strip()}"


def _hundredths(number: int) -> str:
    text = f"{abs(number) / 100:.2f}".rstrip("0").rstrip(".") or "0"
    return ("-" if number < 0 else "") + (text[1:] if text.startswith("0.") else text)


def _joined(nodes: Iterable[_Node]) -> str:
    """As markup, neighbours that look the same as one: lines as one line, marks and texts in a group."""
    runs: list[list[_Node]] = []
    for node in nodes:
        if runs and runs[-1][0].goes_with(node):
            runs[-1].append(node)
        else:
            runs.append([node])
    return "".join(map(_as_one, runs))


def _as_one(run: list[_Node]) -> str:
    first = run[0]
    if len(run) == 1:
        return str(first)
    if first.tag == "path":
        return str(_Node("path", {"d": "".join(node.attributes["d"] for node in run), **first.look}))
    shared = {key: value for key, value in first.look.items() if key != "href"}
    own = ("x", "y", "href")
    inside = (
        _Node(node.tag, {key: value for key, value in node.attributes.items() if key in own}, node.inside)
        for node in run
    )
    return str(_Node("g", shared, "".join(map(str, inside))))


def picture(figure: Figure, alt: str, *, night: bool = False, tips: Mapping[int, str] | None = None) -> str:
    """A figure as an SVG file that stands alone, where no page gives colours their values.

    Args:
        figure, alt, tips: as of `markup`.
        night: for dark paper; else for light.
    """
    inline = markup(figure, "p", alt, tips=tips)
    for color in named_in([inline]):
        inline = inline.replace(variable(color), dark(color) if night else color)
    height = figure.get_figheight() * 72
    alone = f'xmlns="http://www.w3.org/2000/svg" height="{height:g}" font-family="{SANS}"'
    begin, _, rest = inline.replace("<svg ", f"<svg {alone} ", 1).partition(">")
    return f"{begin}><metadata>{MARK}</metadata>{rest}\n"
