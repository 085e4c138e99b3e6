"""Networks in a folder: architecture, weights, artefact, what ties them together; written and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.artefact import Artefact, TrainedOn, carry_artefact, read_artefact, told
from secateur.architecture.file import ARCHITECTURE_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE, WEIGHTS_FILE
from secateur.architecture.foreign import ForeignOrigin
from secateur.architecture.from_transformers import described
from secateur.architecture.hub import network_at
from secateur.architecture.likeness import difference, given_in_evaluation
from secateur.architecture.opening import Factory
from secateur.architecture.origin import Origin
from secateur.architecture.sites import kept_from
from secateur.atomic import make_folder, part_folder, scratch, sync_folder, write_bytes, write_json
from secateur.data.preprocessing import Preprocessing
from secateur.errors import InputError, UnreadableError, kind_and_line
from secateur.network.copies import copied
from secateur.network.finite import check_finite
from secateur.network.modes import in_evaluation
from secateur.network.plain import bare
from secateur.network.run_errors import RUN_ERRORS
from secateur.network.sparse_file import rounded
from secateur.network.tensor_files import load_state, repeats, written_state
from secateur.network.weight_file import content_of, open_tensors
from secateur.records.manifest import MANIFEST_FILE, Manifest, check_whole
from secateur.records.measured import MEASURED_FILE
from secateur.records.out import check_out, expanded
from secateur.records.reading import read_json
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.costs import state_shapes

FILES = (MANIFEST_FILE, ARCHITECTURE_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE, MEASURED_FILE, WEIGHTS_FILE)
"""What a saved network may have beside what a run leaves, in the order in which they take their places."""

_WIDEST = 16
"""Bytes of the widest number that a tensor can hold."""


def save_model(
    model: nn.Module,
    directory: str | Path,
    *,
    data: TrainedOn | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    artefact: Artefact | None = None,
    sparse: bool = True,
    values: str = "exact",
) -> None:
    """Write a network into a folder, which is made if need be.

    `architecture.json` and `model.safetensors`, and `artefact.json` where it is known what its classes are
    called and what it takes: a network that was loaded knows it.

    Args:
        model: of a built-in family, of `transformers`, or one that was pruned or inspected.
        directory: the folder; files of these names that Secateur wrote are replaced.
        data: what it was trained on, as `load_data` gives it: names its classes and says what it takes.
        classes: their names, in the order of its scores; in place of the data's.
        preprocessing: what makes an input of an image; in place of the data's.
        artefact: the whole of it, in place of all of these.
        sparse: whether the file may be a sparse one (docs/sparse-file.md), where zeros make that smaller:
            `load` reads both. False: any reader of safetensors opens it.
        values: of a sparse file: "exact", or "float32" or "float16", to which its nonzeros are rounded: what
            is loaded has the rounded ones, in the network's own dtype. The model itself stays as it is.

    What was written is read back and compared before it takes its place: the state to the bit, and the
    outputs on the inputs that the network was inspected with, which agree to the bit or, where another kernel
    adds up in another order, to 1e-4 of the largest (1e-9 in float64, 2e-2 in half precision).

    Raises:
        InputError: where weights or statistics of a batch norm are not finite (other buffers may hold what
            they like), the folder holds files of these names that Secateur did not write, what is read back
            is another network, or values shall be rounded of a network that is not written sparse; nothing is
            left then but what was there before.

    Of a network of `transformers` its configuration too, so that the folder can be loaded without a factory.

    Example:
        >>> sc.save(model, "out/"); model = sc.load("out/")  # doctest: +SKIP
        >>> sc.save(model, "out/", data=data); sc.load("out/").classes  # doctest: +SKIP
        >>> sc.save(model, "small/", values="float16")  # doctest: +SKIP
    """
    directory = expanded(directory, "the folder to save in")
    model = bare(model)
    architecture = Architecture.of(model)
    check_finite(model, "the network to be saved")
    known = artefact or told(model, architecture.classes, data, classes, preprocessing)
    check_out(directory, FILES)
    make_folder(directory)
    with part_folder(directory, "saving") as made:
        _write(model, architecture, made, content_of(written_state(model), sparse=sparse, values=values))
        if known is not None:
            write_json(made / ARTEFACT_FILE, known.for_file())
        kept = model if values == "exact" else _with_rounded(model, values)
        if reason := _other_than_saved(kept, architecture.origin, made):
            raise InputError(f"the network cannot be saved: {reason}")
        write_json(made / MANIFEST_FILE, Manifest.of_folder(made).to_json())
        for name in FILES:  # the architecture before the weights, as it makes them known as ours
            if (made / name).exists():
                (made / name).replace(directory / name)
            else:
                (directory / name).unlink(missing_ok=True)  # of another network that was saved here
            # One by one, or the weights may be there after a loss of power, and not what came before.
            sync_folder(directory)


def rehearse(origin: Origin) -> None:
    """Save and load a copy of a network with a channel less in each group, before anything is trained.

    Raises:
        InputError: where what pruning leaves could not be saved, or would be another network once loaded.
    """
    if not isinstance(origin, ForeignOrigin):
        return
    with torch.random.fork_rng(devices=[]), scratch() as made:
        small = origin.rehearsed()
        _write(small, Architecture.of(small), made, content_of(written_state(small)))
        if reason := _other_than_saved(small, origin, made):
            raise InputError(f"what pruning leaves of the network could not be saved: {reason}")


def _with_rounded(model: nn.Module, values: str) -> nn.Module:
    """Copy a network with the values that a file of it holds."""
    found = copied(model)
    load_state(found, rounded(found.state_dict(), values))
    return found


def _write(model: nn.Module, architecture: Architecture, directory: Path, weights: bytes) -> None:
    """Write what any network has: architecture, weights, and of one of `transformers` what makes it."""
    write_json(directory / ARCHITECTURE_FILE, architecture.to_dict())
    write_bytes(directory / WEIGHTS_FILE, weights)
    origin = architecture.origin
    theirs = described(origin.anatomy.whole or model) if isinstance(origin, ForeignOrigin) else None
    if theirs is not None:
        write_json(directory / TRANSFORMERS_FILE, theirs)


def _other_than_saved(model: nn.Module, origin: Origin, directory: Path) -> str | None:
    """Load a network from the files that were written of it; say what is not the same, None: nothing.

    Without a factory it is made of a copy of the whole network that was inspected.
    """
    try:
        factory = origin.again if isinstance(origin, ForeignOrigin) else None
        with torch.random.fork_rng(devices=[]):
            loaded = _read(Architecture.load(directory, factory), directory)
        anatomy = anatomy_of(model)
        reason = difference(model, loaded, anatomy.graph, anatomy.inputs)
    except UnreadableError:
        raise
    except InputError as error:
        return str(error).replace(f"{directory}/", "")
    if reason is None:
        return None
    return (
        f"loaded again, it is another one: {reason}. The factory must build the same code every time, with "
        "the same numbers in all that is not in the state dict"
    )


def load_model(
    directory: str | Path, factory: Factory | None = None, like: Architecture | None = None
) -> Any:
    """Rebuild the network that `save_model` wrote, in evaluation mode, on the CPU.

    Where the folder has an `artefact.json`, it knows its classes, `model.classes`, and what it takes:
    `model(model.preprocess("photo.jpg"))`.

    Args:
        directory: the folder; or `hf:OWNER/NAME`, what `secateur push` put on the Hugging Face Hub.
        factory: builds the whole network, where it is not of a built-in family: its own class is then what
            comes back. Nothing is imported that the files name; a model class of `transformers` is looked up
            in that package, and built from `transformers.json`.
        like: an architecture of the same whole network, which then need not be built and traced again, and
            which says what inputs the network runs on.

    Returns:
        The network, a plain `nn.Module` as wide as it was saved.

    Raises:
        InputError: where a file is missing, damaged, or not of the network that the others are of, or weights
            are not finite; they are compared with the architecture by shape before anything is allocated.
    """
    directory = network_at(directory, "the folder to load")
    if like is not None:  # it would be built and traced again, and may run on images of another size
        architecture = _like(like, directory / ARCHITECTURE_FILE)
    else:
        architecture = Architecture.load(directory / ARCHITECTURE_FILE, factory)
    model = _read(architecture, directory)
    if isinstance(architecture.origin, ForeignOrigin):
        _check_runs(model, architecture.origin, directory)
    artefact = read_artefact(directory, architecture.classes)
    check_whole(directory)  # last: what is wrong with one file is said better by whoever reads it
    if artefact:
        carry_artefact(model, artefact)
    return model


def _read(architecture: Architecture, directory: Path) -> Any:
    """Rebuild a network and put the weights of a folder into it; for evaluation."""
    path = directory / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"no weights at '{path}': name a folder with {ARCHITECTURE_FILE} and {WEIGHTS_FILE}")
    skeleton = architecture.skeleton()
    expected, again = state_shapes(skeleton), repeats(skeleton)
    file = open_tensors(path)
    found = file.shapes()
    names = {name: name if name in found else again.get(name, name) for name in expected}
    found |= {name: found[one] for name, one in names.items() if one in found}
    if found != expected:
        wrong = min(name for name in found.keys() | expected if found.get(name) != expected.get(name))
        raise InputError(
            f"{path}: the weights must have the architecture's shapes, but {ascii(wrong)[:200]} is "
            f"{found.get(wrong, 'missing')} instead of {expected.get(wrong, 'absent')}"
        )
    tensors = file.tensors(_WIDEST * sum(map(math.prod, expected.values())))
    _check_kinds(skeleton, {name: tensors[one] for name, one in names.items()}, path)
    model = architecture.rebuild()
    load_state(model, {name: tensors[one] for name, one in names.items()})
    check_finite(model, str(path))
    return in_evaluation(model)


def _check_kinds(skeleton: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise InputError where a file's floats are whole numbers, or the reverse; any width is right."""
    for name, value in skeleton.state_dict().items():
        found, wanted = tensors[name].dtype, value.dtype
        if found != wanted and not (found.is_floating_point and wanted.is_floating_point):
            raise InputError(
                f"{path}: the weights must have the network's dtypes, but {ascii(name)[:200]} is {found} "
                f"instead of {wanted}: its header was edited or damaged"
            )


def _check_runs(model: nn.Module, origin: ForeignOrigin, source: Path) -> None:
    """Raise InputError where the cut network does not run, though the whole one does on the file's inputs."""
    inputs, whole = origin.anatomy.inputs, origin.anatomy.whole
    assert whole is not None
    try:
        expected = given_in_evaluation(whole, inputs)
    except RUN_ERRORS:
        return  # lengths or ids that only real data have
    shapes = [tuple(each.shape) for each in expected]
    try:
        found = [tuple(each.shape) for each in given_in_evaluation(model, inputs)]
        said = f"gives {found[:4]}, and the whole one {shapes[:4]}" if found != shapes else ""
    except RUN_ERRORS as error:
        said = f"fails: {kind_and_line(error)}"
    if said:
        raise InputError(
            f"{source}: cut as the file says, the network that the factory builds {said}: it was changed, or "
            "it is another one"
        )


def _like(like: Architecture, path: Path) -> Architecture:
    """Read widths and kept channels in an architecture file that we wrote ourselves, of a network at hand."""
    groups = read_json(path)["groups"]
    widths = {group["name"]: group["width"] for group in groups}
    return Architecture.at(like.origin, [widths[name] for name in like.group_names()], kept_from(groups))
