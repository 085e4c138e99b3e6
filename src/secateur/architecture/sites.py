"""Channel groups in `architecture.json`, and read back from it: no network is run, and none is traced.

A file is anybody's: what it says of a network is held against that network, entry by entry, before it is cut.
docs/architecture.md describes every key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from secateur.architecture.patterns import as_pattern, bounds_of, count_of, is_pattern, numbers_of
from secateur.errors import InputError
from secateur.surgery.cutting import CHANNELWISE, Axis, in_size, out_size
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup, Frozen, Site

Json = dict[str, Any]
_MOST_AXIS = 600  # characters


def sites_as_json(group: ChannelGroup) -> list[Json]:
    """Write down the sites of a group; entries are left out where each channel is the entry of its number."""
    found = []
    for site in group.sites:
        flat = site.entries.flatten().tolist()
        own = {} if flat == list(range(group.width)) else {"entries": as_pattern(flat)}
        flags = {name: True for name in ("read", "write") if getattr(site, name)}
        found.append({"axis": ":".join(site.axis), **own, **flags})
    return found


def frozen_as_json(graph: ChannelGraph) -> list[Json]:
    """Write down what cannot be cut, and why, each in a line."""
    return [{"name": each.name, "width": each.width, "reason": _line(each.reason)} for each in graph.frozen]


def _line(reason: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in reason)
    return " ".join(printable.split())[:1000] or "no reason is known"


def kept_as_json(kept: Sequence[int] | None) -> Json:
    """Write down which channels of a group are left, where it is not the first ones."""
    return {"kept": as_pattern(list(kept))} if kept is not None else {}


def kept_from(groups: Sequence[Json]) -> dict[str, tuple[int, ...]]:
    """Read which channels are left of the groups that say so; their form has been checked."""
    return {each["name"]: tuple(numbers_of(each["kept"]).tolist()) for each in groups if "kept" in each}


def kept_in(identity: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Read the same of an identity, which has it by name."""
    return {name: tuple(numbers_of(text).tolist()) for name, text in identity.get("kept", {}).items()}


def problem_with_sites(group: Json) -> str | None:
    """Say what is wrong with the form of a group's sites and kept channels; None: nothing."""
    sites, name = group.get("sites"), ascii(group.get("name"))[:80]
    if not isinstance(sites, list) or not sites:
        return f'"sites" of the group {name} must be a list of them, got {ascii(sites)[:80]}'
    for site in sites:
        if problem := _problem_with_site(site, group["of"]):
            return f"{problem} in the group {name}, got {ascii(site)[:80]}"
    if "kept" not in group:
        return None
    kept = group["kept"]
    if not is_pattern(kept) or count_of(kept) != group["width"] or bounds_of(kept)[1] >= group["of"]:
        said = ascii(kept)[:80]
        return f'"kept" of the group {name} must name as many of its channels as are left, got {said}'
    numbers = numbers_of(kept)
    if bounds_of(kept)[0] < 0 or not bool((numbers[1:] > numbers[:-1]).all()):
        return f'"kept" of the group {name} must name each channel once, ascending, got {ascii(kept)[:80]}'
    return None


def _problem_with_site(site: Any, width: int) -> str | None:
    axis = site.get("axis") if isinstance(site, dict) else None
    if not isinstance(axis, str) or ":" not in axis or not axis.isprintable() or len(axis) > _MOST_AXIS:
        return 'a site must have an "axis", "LAYER:out", "LAYER:in" or "LAYER:PARAMETER@DIMENSION"'
    if any(not isinstance(site.get(flag, False), bool) for flag in ("read", "write")):
        return '"read" and "write" of a site must be true, false or left out'
    if "entries" not in site:
        return None
    entries = site["entries"]
    if not is_pattern(entries) or not count_of(entries) or count_of(entries) % width:
        return f'"entries" of a site must be whole numbers, equally many for each of {width} channels,'
    return None


def graph_of(content: Json, whole: nn.Module, source: str) -> ChannelGraph:
    """Make the graph that a file describes, of the uncut network that its factory built.

    Args:
        content: of the file; its form has been checked.

    Raises:
        InputError: where the network has no such layer, axis or entry, or an entry belongs to two channels.
    """
    modules = dict(whole.named_modules(remove_duplicate=False))
    free: dict[Axis, Tensor] = {}
    groups = []
    for each in content["groups"]:
        sites = [_site(site, each, modules, free, source) for site in each["sites"]]
        groups.append(ChannelGroup(each["name"], tuple(sites), each["of"], each.get("sets", "")))
    frozen = [Frozen(each["name"], each["width"], each["reason"]) for each in content.get("frozen", [])]
    return ChannelGraph.of(whole, groups, frozen)


def _site(
    site: Json, group: Json, modules: Mapping[str, nn.Module], free: dict[Axis, Tensor], source: str
) -> Site:
    """Make a site of a group; its entries are taken from those that are free yet."""
    name, _, kind = site["axis"].rpartition(":")
    axis, size = (name, kind), _size_along(modules.get(name), kind)
    who = f"{source}: the group '{group['name']}' lies along '{axis[0][:80]}:{axis[1][:80]}'"
    if size is None:
        raise InputError(
            f"{who}, which the network that the factory builds does not have: it was changed, or is another"
        )
    text = site.get("entries", f"0 {group['of']}x1")
    low, high = bounds_of(text)
    if low < 0 or high >= size or count_of(text) > size:
        raise InputError(
            f"{who}, which has {size} entries in the network that the factory builds, and more in the file: "
            "it was changed, or it is another one"
        )
    entries = numbers_of(text)
    left = free.setdefault(axis, torch.ones(size, dtype=torch.bool))
    if len(entries.unique()) < len(entries) or not bool(left[entries].all()):
        raise InputError(f"{who}, of which an entry belongs to one channel; the file names it for several")
    left[entries] = False
    return Site(axis, entries.view(group["of"], -1), site.get("read", False), site.get("write", False))


def _size_along(module: nn.Module | None, kind: str) -> int | None:
    """Count the entries of an axis of a module; None where it has no such axis. Nothing of it is run."""
    if module is None:
        return None
    mixes = isinstance(module, (_ConvNd, nn.Linear))
    if kind == "in":
        return in_size(module) if mixes else None
    if kind == "out":
        return (out_size(module) or None) if mixes or isinstance(module, CHANNELWISE) else None
    own, _, dim = kind.partition("@")
    value = module._parameters.get(own, module._buffers.get(own))
    if value is None or not dim.isdecimal() or len(dim) > 2 or int(dim) >= value.dim():
        return None
    return value.shape[int(dim)]
