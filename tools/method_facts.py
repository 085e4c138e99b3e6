"""What the code says of every method and arm: for the generated parts of docs/methods."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from secateur.budget import COMPARED, MEASURED
from secateur.compare.arms import ARMS
from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.errors import InputError
from secateur.methods import CHANNEL_METHODS, METHODS, Method
from secateur.methods.gradients import GradientCriterion
from secateur.methods.layer_shares import LAYER_SHARES
from secateur.methods.masked import MaskedMethod
from secateur.records.results import Results
from secateur.runs.method_settings import SETTABLE, written
from secateur.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
COUNTED = ("digits-wrn-16-1", "params=25%")
"""The recorded comparison that the cost of arms for channels is read from, and its budget."""

_PAGE_OF = {"fisher-tuned": "fisher"}


@cache
def page_of(arm: str) -> str:
    """The page that an arm stands on: its method's, or its own where it only trains a smaller network."""
    found = ARMS[arm]
    if isinstance(found, WeightArm):
        return found.method(Sparsity(), 0).name
    return _PAGE_OF.get(arm, arm)


_OURS = tuple(name for name, kind in METHODS.items() if kind.__module__.startswith("secateur."))
PAGES = (*_OURS, *sorted({page_of(arm) for arm in ARMS} - set(METHODS)))
"""Every page: of a method, and of the arms that only train a smaller network."""


def arms_of(page: str) -> list[str]:
    """The arms of a page, in their order."""
    return [arm for arm in ARMS if page_of(arm) == page]


def what(page: str) -> str:
    """In one sentence."""
    if page in METHODS:
        return (inspect.getdoc(METHODS[page]) or "").split("\n")[0].removesuffix(
            " (see `ChannelPruning`)."
        ).rstrip(".") + "."
    meaning = ARMS[page].meaning
    return meaning[0].upper() + meaning[1:] + "."


def prunes(page: str) -> str:
    """What goes."""
    if page not in METHODS:
        return "nothing: a smaller network is trained"
    return "single weights" if page in SETTABLE else "whole channels"


def data_needed(page: str) -> str:
    """Whether it has to see training data."""
    kind = METHODS.get(page)
    if kind is None:
        return "yes: it trains"
    if issubclass(kind, GradientCriterion):
        return "yes: it looks at gradients"
    if page in CHANNEL_METHODS:
        return "no: not for the cut (`train=False`)"
    if kind.takes_loss:
        return "yes: it looks at gradients before training"
    return "for tuning: not for the cut" if issubclass(kind, MaskedMethod) else "yes: it works while training"


@cache
def budgets(page: str) -> tuple[str, ...]:
    """The resources that its budgets may be in, each of them tried."""
    if page not in METHODS:
        return ARMS[page].limited_in
    return tuple(resource for resource in (*COMPARED, MEASURED) if _takes(page, resource))


def _takes(name: str, resource: str) -> bool:
    kind: Any = METHODS[name]
    steps = {"steps": 10} if kind.takes_steps else {}
    amount = "1s@torch" if resource == MEASURED else "60%"
    try:
        kind(f"{resource}={amount}", **steps)
    except InputError:
        return False
    return True


def cost(page: str) -> str:
    """Training MACs in units of the unpruned network's training, as the repository counts them."""
    found = [_cost_of(arm) for arm in arms_of(page)]
    if not found:
        return "as [fisher](fisher.md)" if page in CHANNEL_METHODS else "–"
    return ", ".join(dict.fromkeys(found))


@cache
def _counted() -> Results:
    return Results.load(ROOT / "results" / COUNTED[0] / "results.json")


def _cost_of(name: str) -> str:
    arm = ARMS[name]
    if isinstance(arm, WeightArm):
        recipe = Recipe()
        shares = arm.shares(recipe, Sparsity())
        epochs = shares.epochs + (shares.training.epochs if shares.training else 0)
        return f"{epochs / recipe.epochs:.2f}"
    results = _counted()
    (row,) = (row for row in results.summary if (row.arm, row.budget) == (name, COUNTED[1]))
    whole = sum(point.train_compute for point in results.dense) / len(results.dense)
    found = f" + {row.discovery_compute / whole:.2f} to find it" if row.discovery_compute else ""
    return f"{row.train_compute / whole:.2f}{found}"


@dataclass(frozen=True)
class Setting:
    """One argument of a method, as it is said in a table."""

    name: str
    default: str
    range: str
    meaning: str


def settings(page: str) -> list[Setting]:
    """Every argument of a method: of its constructor and of what holds its settings."""
    if page not in METHODS:
        return []
    kind = METHODS[page]
    config = _config(page)
    found = {name: (default, hint) for name, default, hint in _parameters(kind)}
    homes: tuple[type, ...] = kind.__mro__
    if config is not None:
        hints = get_type_hints(config)
        found |= {each.name: (each.default, hints[each.name]) for each in fields(config)}
        homes = (*config.__mro__, *homes)
    if kind.default_shares is None:
        found.pop("layer_shares", None)
    said, ranges = _meanings(homes), _ranges(homes)
    return [
        Setting(
            name,
            _default(kind, name, default),
            ranges.get(name) or _allowed(kind, name, hint),
            said.get(name, ""),
        )
        for name, (default, hint) in found.items()
    ]


def _config(name: str) -> type | None:
    """The class that holds a method's settings, where one does."""
    kind: Any = METHODS[name]
    made = kind("nonzeros=60%", **({"steps": 10} if kind.takes_steps else {})) if name in SETTABLE else None
    if made is None:
        made = kind("params=60%", **({"steps": 10} if kind.takes_steps else {}))
    config = getattr(made, "config", None)
    return type(config) if is_dataclass(config) else None


def _parameters(kind: type[Method]) -> Iterator[tuple[str, Any, Any]]:
    """(name, default, type) of the constructor's, and of its bases' where it hands the rest on to them."""
    seen: set[str] = set()
    for home in kind.__mro__:
        begin: Any = vars(home).get("__init__")
        if begin is None:
            continue
        hints, parameters = get_type_hints(begin), inspect.signature(begin).parameters.values()
        for each in parameters:
            if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL) and each.name not in {"self", *seen}:
                seen.add(each.name)
                yield each.name, each.default, hints[each.name]
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            return


def _default(kind: type[Method], name: str, value: Any) -> str:
    if value is MISSING or value is inspect.Parameter.empty:
        return "needed"
    if name == "layer_shares":
        return f"`{kind.default_shares}`"
    if name == "budget" or (value in ((), None) and name in ("constraints", "loss", "removals", "keep")):
        return "none"
    if is_dataclass(value):
        return "none"
    return f"`{written(value)}`"


def _allowed(kind: type[Method], name: str, hint: Any) -> str:
    """What values may be, by their type, where no check says it."""
    if name == "scope":
        return ", ".join(f"`{scope}`" for scope in kind.scopes())  # type: ignore[attr-defined]
    if name == "layer_shares":
        return ", ".join(f"`{share}`" for share in LAYER_SHARES)
    if name == "mode":
        return "`exact`, `faithful`"
    words = {bool: "`true`, `false`", int: "whole", float: "a number"}
    return words.get(hint, "")


def _ranges(homes: tuple[type, ...]) -> dict[str, str]:
    """What the checks of a class say that its settings must be: their keys, read off its source."""
    found: dict[str, list[str]] = {}
    for home in homes:
        if home.__module__.startswith("secateur"):
            for text in _strings(home):
                name, must, rest = text.partition(" must ")
                if must and name.isidentifier():
                    rest = re.sub(r"^(lie |be )", "", rest)
                    if rest not in found.setdefault(name, []):
                        found[name].append(rest)
    return {name: "; ".join(texts) for name, texts in found.items()}


@cache
def _strings(home: type) -> tuple[str, ...]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(home)))
    keys = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys]
    return tuple(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def _meanings(homes: tuple[type, ...]) -> dict[str, str]:
    """What docstrings say of arguments and attributes, a class's own before those of its bases."""
    found: dict[str, str] = {}
    for home in homes:
        for name, text in _documented(home):
            if not re.match(r"(as of|see|those of|of) `", text):
                found.setdefault(name, text)
    return found


@cache
def _documented(home: type) -> tuple[tuple[str, str], ...]:
    """(name, what is said of it) of a docstring's Args and Attributes; `a, b: text` is said of both."""
    found, names, inside = [], [], False
    for line in inspect.cleandoc(home.__doc__ or "").split("\n"):
        if re.match(r"\S", line):
            inside = line.strip() in ("Args:", "Attributes:")
        elif inside and (entry := re.match(r" {4}([a-z_][\w, ]*): (.*)", line)):
            names = [(name.strip(), [entry[2]]) for name in entry[1].split(",")]
            found += names
        elif inside and line.strip():
            for _, texts in names:
                texts.append(line.strip())
    return tuple((name, " ".join(texts)) for name, texts in found)
