"""Networks that are not ours, opened: a module, what a factory builds, or again what a file describes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from secateur.architecture.building import Build, built, factory_name, layout_hash, layout_without_memory
from secateur.architecture.family import FamilyOrigin
from secateur.architecture.file import WITH_SITES
from secateur.architecture.foreign import ForeignOrigin
from secateur.architecture.from_transformers import described, factory_from, name_of
from secateur.architecture.likeness import difference
from secateur.architecture.numbers import with_numbers
from secateur.architecture.origin import Kept, carried_origin, carry_origin
from secateur.architecture.sites import graph_of, kept_from
from secateur.errors import InputError, first_line, kind_and_line
from secateur.models import FACTORIES, Family
from secateur.network.copies import copied
from secateur.network.described import describe_inputs, examples_described
from secateur.network.inputs import Inputs, call, check_runs, logits_of, on_device
from secateur.network.modes import in_evaluation, modes_kept
from secateur.network.plain import bare
from secateur.network.run_errors import RUN_ERRORS
from secateur.network.tensor_files import check_state
from secateur.progress import reporter_for
from secateur.surgery.anatomy import (
    Anatomy,
    anatomy_of,
    known_anatomy,
    open_model,
    open_unrun,
    open_with_graph,
)
from secateur.surgery.costs import state_shapes
from secateur.surgery.depth import shortened
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.tracing import trace

Factory = Callable[..., nn.Module]


def inspect_model(
    model: nn.Module,
    inputs: Inputs,
    *,
    factory: Build | None = None,
    seed: int = 0,
    batch_dim: int | None = None,
    progress: bool = False,
) -> Anatomy:
    """Find and prove the channel groups of any model, and remember how it is made again: `sc.inspect`.

    Args:
        model: any module that runs; it is not changed, but carries its anatomy from now on. What
            `torch.compile` and `DataParallel` make of one is unwrapped.
        inputs: a few real examples, as the model takes them: a tensor, a tuple, or a dictionary.
        factory: builds a fresh network of the same shape, for all that trains one from scratch; its module
            and name are written into `architecture.json`.
        seed: of the channel sets, weights and random inputs of the proof.
        batch_dim: the dimension along which examples lie, 1 for (time, batch, features); it is found by
            running the model, and needs to be said only where that does not tell.
        progress: show on stderr how far the proof is: a bar with the time left on a terminal, else lines.

    Returns:
        The anatomy: `graph.groups`, `graph.frozen` with reasons, `costs`.

    Raises:
        InputError: where the model does not run on the inputs, or nothing in it can be pruned.

    Example:
        >>> sc.inspect(model, images).graph.groups  # doctest: +SKIP
    """
    model = bare(model)
    if isinstance(model, Family):
        return open_for(model, inputs)
    if isinstance(model, nn.Module):
        carry_origin(model, None)
    with reporter_for(sys.stderr) if progress else nullcontext():
        anatomy = open_model(model, inputs, seed=seed, batch_dim=batch_dim)
    if factory is not None:
        _come_from(model, factory, anatomy)
    return anatomy


def _come_from(model: nn.Module, factory: Build, anatomy: Anatomy) -> None:
    """Have an opened network know its factory; InputError where that builds another one."""
    assert anatomy.whole is not None
    _check_same(factory, anatomy)
    classes = classes_of(anatomy.whole, anatomy.inputs)
    carry_origin(model, ForeignOrigin(factory_name(factory), {}, factory, anatomy.uncut(), classes=classes))


def open_for(model: nn.Module, inputs: Inputs, *, factory: Build | None = None) -> Anatomy:
    """Open a model for the inputs that it will run on: MACs, latency and proof are of their shapes.

    One that was opened for others before, or is of a built-in family at another image size, follows them.

    Raises:
        InputError: where it does not run on them, or nothing in it can be pruned.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"a model is a torch.nn.Module, got {type(model).__name__}")
    check_runs(model, inputs)
    if isinstance(model, Family):
        _fit_family(model, inputs)
        return anatomy_of(model)
    known = known_anatomy(model)
    if known is None:
        return inspect_model(model, inputs, factory=factory)
    if factory is not None and known.whole is not None and getattr(origin_of(model), "build", None) is None:
        _come_from(model, factory, known)
    inputs = known.as_examples(inputs)
    if describe_inputs(inputs) == describe_inputs(known.inputs):
        return known
    origin = origin_of(model)
    anatomy = known.at_inputs(model, inputs)
    assert origin is not None
    assert anatomy.whole is not None
    whole = anatomy.uncut().at_inputs(copied(anatomy.whole), inputs)
    carry_origin(model, replace(origin, anatomy=whole, _program=None))
    return anatomy


def _fit_family(model: Family, inputs: Inputs) -> None:
    """Have a built-in network know the size of the images that it runs on; its weights take any."""
    if isinstance(inputs, Tensor) and inputs.dim() == 4 and tuple(inputs.shape[1:]) != model.input_shape:
        size = list(inputs.shape[2:])
        FamilyOrigin(model.factory, {**model.arguments, "image_size": size}).skeleton(
            model.widths
        )  # or refuses
        model.arguments["image_size"] = size


def _check_same(factory: Build, anatomy: Anatomy) -> None:
    """Raise InputError where a factory does not build the network inspected: its tensors, its code."""
    name, whole = factory_name(factory), anatomy.whole
    assert whole is not None
    with torch.random.fork_rng(devices=[]):
        other = built(factory, name)
    check_state(other)
    if state_shapes(other) != state_shapes(whole):
        raise InputError(
            f"the factory '{name}' builds a network with other tensors than the model: pass the one that the "
            "model was built with"
        )
    if reason := difference(whole, other, anatomy.graph, anatomy.inputs, state=False):
        raise InputError(
            f"the factory '{name}' builds another network than the model: given the same weights, {reason}. "
            "Pass the one that the model was built with"
        )


def origin_of(model: nn.Module) -> ForeignOrigin | None:
    """Look up where an opened model comes from; without a factory it is named after its class.

    None for a model that was not opened, also where its parts are of built-in families.
    """
    anatomy = known_anatomy(model)
    if anatomy is None:
        return None
    origin = carried_origin(model)
    if isinstance(origin, ForeignOrigin) and origin.anatomy.skipped != anatomy.skipped:
        origin = _without_blocks(origin, anatomy)
        carry_origin(model, origin)
    if not isinstance(origin, ForeignOrigin) or origin.anatomy.whole is not anatomy.whole:
        whole = anatomy.uncut()
        assert whole.whole is not None
        classes = classes_of(whole.whole, anatomy.inputs)
        theirs = described(whole.whole)
        name = factory_name(type(model)) if theirs is None else name_of(theirs)
        build = None if theirs is None else _buildable(theirs)
        origin = ForeignOrigin(name, {}, build and shortened(build, whole.skipped), whole, classes=classes)
        carry_origin(model, origin)
    return origin


def _without_blocks(origin: ForeignOrigin, anatomy: Anatomy) -> ForeignOrigin:
    """The origin of a network from which blocks are gone: its factory builds it without them."""
    build = origin.build and shortened(origin.build, anatomy.skipped)
    return ForeignOrigin(origin.name, origin.arguments, build, anatomy.uncut(), classes=origin.classes)


def _buildable(theirs: dict[str, Any]) -> Build | None:
    """What builds a network of `transformers` again; None where it is made of parts that are downloaded."""
    try:
        return factory_from(theirs)
    except InputError:
        return None


def open_factory(
    build: Build,
    inputs: Inputs,
    *,
    name: str,
    arguments: dict[str, Any],
    pretrained: Build | None = None,
) -> ForeignOrigin:
    """Build the whole network once, and find and prove its channel groups.

    Args:
        build: calls the factory with `arguments`.
        pretrained: the same with weights to start from, where there are any.

    Raises:
        InputError: where the factory gives no module, or nothing in it can be pruned.
    """
    model = built(build, name)
    anatomy = open_model(model, inputs)
    return ForeignOrigin(name, arguments, build, anatomy, pretrained, classes_of(model, anatomy.inputs))


def read_foreign(
    content: dict[str, Any], source: str, factory: Factory | None
) -> tuple[ForeignOrigin, tuple[int, ...], Kept]:
    """Read origin, widths and kept channels from an architecture file whose form is right.

    Nothing is imported, and the network that the factory builds is not run.

    Raises:
        InputError: where no factory is given, or it builds another network than the file describes.
    """
    name = content["factory"]
    skipped = content.get("skipped", {}) if content["schema"] >= WITH_SITES else {}
    if factory is None:
        raise InputError(
            f"{source}: the network is of '{name[:80]}', which is not built in and which a file may not "
            f"import: pass the factory (sc.load(directory, factory=build), or --factory {name[:80]}). "
            f"Built in are {', '.join(FACTORIES)}"
        )
    try:
        inputs = examples_described(content.get("input"))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    factory = shortened(factory, skipped)
    if (layout := layout_without_memory(factory, content["arguments"])) not in (None, content["layout"]):
        raise _of_other_tensors(source, layout, content["layout"])
    groups, build = content["groups"], partial(factory, **content["arguments"])
    model = built(build, name)
    if (layout := layout_hash(state_shapes(model))) != content["layout"]:
        raise _of_other_tensors(source, layout, content["layout"])
    if content["schema"] < WITH_SITES:
        anatomy = _traced(model, inputs, groups, name, source)
        origin = ForeignOrigin(name, content["arguments"], build, anatomy, classes=classes_of(model, inputs))
    else:
        graph = with_numbers(graph_of(content, model, source), content, model, source)
        anatomy = open_unrun(in_evaluation(model.cpu()), graph, inputs, skipped)
        origin = ForeignOrigin(name, content["arguments"], build, anatomy, classes=content["classes"])
    by_name = {group["name"]: group["width"] for group in groups}
    widths, kept = tuple(by_name[name] for name in origin.names), kept_from(groups)
    try:
        origin.skeleton(widths)
        origin.anatomy_at(widths, kept)
    except RUN_ERRORS as error:
        raise InputError(
            f"{source}: the network that the factory builds cannot be cut as the file says "
            f"({kind_and_line(error)}): it was changed, or it is another one"
        ) from None
    return origin, widths, kept


def _of_other_tensors(source: str, built: str | None, saved: str) -> InputError:
    return InputError(
        f"{source}: the factory builds a network with other tensors (layout {built}) than the one that was "
        f"saved ({saved}): pass the same factory"
    )


def _traced(
    model: nn.Module, inputs: Inputs, groups: Sequence[Mapping[str, Any]], name: str, source: str
) -> Anatomy:
    """Open a network whose groups were proved before, as a file of schema 2 says: it is traced."""
    try:
        graph = trace(model, inputs)
    except InputError:
        raise
    except Exception as error:  # the user's code on inputs that a file describes
        raise InputError(
            f"{source}: the network that '{name}' builds does not take the inputs described: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from None
    return open_with_graph(model, _with_groups(graph, groups, name, source), inputs)


def _with_groups(
    graph: ChannelGraph, groups: Sequence[Mapping[str, Any]], name: str, source: str
) -> ChannelGraph:
    """Tie the channels as a file says, and freeze the groups that it does not name."""
    for group in groups:
        if group["name"] not in graph.groups:
            raise InputError(
                f"{source}: the network that '{name}' builds has no channel group '{group['name']}': it was "
                "changed, or it is another one"
            )
        if group.get("sets"):
            graph = graph.with_group(graph.groups[group["name"]].tied(group["sets"]))
        if graph.width(group["name"]) != group["of"]:
            raise InputError(
                f"{source}: '{group['name']}' has {graph.width(group['name'])} channels in the network that "
                f"'{name}' builds, and {group['of']} in the file: it was changed, or it is another one"
            )
    known = {group["name"] for group in groups}
    return graph.without({n: "not proved when the file was written" for n in graph.groups if n not in known})


@torch.no_grad()
def classes_of(model: nn.Module, inputs: Inputs) -> int | None:
    """Count the scores that a model gives for an example; None where its output has none."""
    try:
        with modes_kept(model):
            logits = logits_of(call(in_evaluation(model), on_device(inputs, model)))
    except InputError:
        return None
    return logits.shape[1] if logits.dim() > 1 else None
