"""Portable, pickle-free description of a network: which factory, which arguments, which widths.

An architecture rebuilds, re-initialises, rescales, saves and loads a network of the built-in families. Its
file, `architecture.json`, is meant to be read by people:

    {"format": "secateur-architecture", "schema": 1,
     "factory": "wide_resnet", "arguments": {"depth": 16, ...},
     "groups": [{"name": "blocks.0", "width": 11, "of": 16,
                 "layers": ["blocks.0.conv1", "blocks.0.bn2", "blocks.0.conv2"]}, ...],
     "params": 43612, "macs": 402176}

`width` is the group's present width, `of` the factory's own. Loading imports nothing that the file names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from secateur.atomic import write_bytes, write_json
from secateur.budget import COUNTERS, Budget, count_model_macs, count_params, fit_scale
from secateur.errors import InputError, unknown
from secateur.models import FACTORIES, Family

FORMAT = "secateur-architecture"
SCHEMA = 1
ARCHITECTURE_FILE = "architecture.json"
WEIGHTS_FILE = "model.safetensors"
_MAX_FILE_BYTES = 1_000_000
_MAX_WIDTH = 1_000_000
_MAX_PARAMS = 10**10


@dataclass(frozen=True)
class Architecture:
    """A network of a built-in family without its weights; compare with `==`.

    Attributes:
        factory: a key of `secateur.models.FACTORIES`.
        arguments: the factory's arguments but `widths`.
        widths: the width of every prunable group, in network order.
    """

    factory: str
    arguments: dict[str, Any] = field(hash=False)
    widths: tuple[int, ...]

    @classmethod
    def of(cls, model: nn.Module) -> Architecture:
        """The architecture of a network as it is now, pruned or not.

        Raises:
            InputError: where the model is not one of the built-in families.
        """
        if not isinstance(model, Family):
            raise InputError(
                f"an architecture needs a network of a built-in family, got {type(model).__name__}: "
                f"build it with one of secateur.models ({', '.join(FACTORIES)})"
            )
        return cls(model.factory, json.loads(json.dumps(model.arguments)), model.widths)

    @classmethod
    def from_identity(cls, identity: dict[str, Any]) -> Architecture:
        """What `identity` was taken of."""
        return cls(identity["factory"], identity["arguments"], tuple(identity["widths"]))

    @classmethod
    def from_factory(cls, factory: str, arguments: dict[str, Any]) -> Architecture:
        """The factory's own widths; InputError where it refuses the arguments."""
        return cls.of(_construct(factory, arguments, None))

    def build(self, seed: int | None = None) -> Family:
        """A freshly initialised network on the CPU; `seed` makes it repeatable and spares the global RNG."""
        with _seeded(seed):
            return _construct(self.factory, self.arguments, self.widths, device="cpu")

    def skeleton(self) -> Family:
        """The network on the meta device: shapes only, nothing is allocated."""
        return _construct(self.factory, self.arguments, self.widths)

    def with_widths(self, widths: Sequence[int]) -> Architecture:
        """The same family member with other group widths."""
        return replace(self, widths=tuple(widths))

    def with_arguments(self, **changes: Any) -> Architecture:
        """Rebuilt with changed factory arguments and the factory's own widths."""
        return Architecture.from_factory(self.factory, {**self.arguments, **changes})

    @property
    def params(self) -> int:
        """Number of parameters."""
        return count_params(self.skeleton())

    @property
    def macs(self) -> int:
        """MACs of one inference (convention: `secateur.budget`)."""
        return count_model_macs(self.skeleton())

    def cost(self, resource: str) -> int:
        """The count of a budget's resource."""
        return COUNTERS[resource](self.skeleton())

    def scaled_to(self, budget: Budget | str) -> Architecture:
        """Copycat: every group's width times one alpha, the largest that meets the budget.

        A relative budget is a share of *this* architecture. Widths round to within one channel of alpha times
        the width, met and never exceeded (`secateur.budget.fit_scale`).

        Raises:
            InputError: where even widths of 1 are too many.

        Reference: Crowley et al. 2018, section 3.2: B(N_i, alpha N_mj, N_o).
        """
        budget = Budget.parse(budget)
        limit = budget.limit(self.cost(budget.resource))
        return self.with_widths(
            fit_scale(
                self.widths,
                lambda widths: self.with_widths(widths).cost(budget.resource),
                limit,
                f"scaled {self.factory} group widths",
            )[1]
        )

    def narrowed_to(self, budget: Budget | str) -> Architecture:
        """The factory's own shape with every layer times one k, the largest that meets the budget: WRN-d-k.

        Families with residual stages scale the stages, every middle layer as wide as its block's output;
        plain chains scale every layer. A relative budget is a share of *this* architecture.

        Raises:
            InputError: where one channel a layer is too many.

        Reference: Crowley et al. 2018, section 3.1 (the yellow curve of Fig. 1).
        """
        budget = Budget.parse(budget)
        limit = budget.limit(self.cost(budget.resource))
        if "stages" not in self.arguments:
            return self.with_arguments().scaled_to(replace(budget, amount=Fraction(limit), relative=False))

        def with_stages(stages: list[int]) -> Architecture:
            return self.with_arguments(stages=stages)

        what = f"{self.factory} stage widths"
        stages = self.arguments["stages"]
        return with_stages(
            fit_scale(stages, lambda widths: with_stages(widths).cost(budget.resource), limit, what)[1]
        )

    def group_names(self) -> tuple[str, ...]:
        """The names of the prunable groups, in network order."""
        return tuple(group.name for group in self.skeleton().groups)

    def identity(self) -> dict[str, Any]:
        """What makes two architectures the same, for hashing into a run's identity."""
        return {"factory": self.factory, "arguments": self.arguments, "widths": list(self.widths)}

    def to_dict(self) -> dict[str, Any]:
        """The content of `architecture.json`."""
        own = _construct(self.factory, self.arguments, None).widths
        groups = [
            {
                "name": group.name,
                "width": width,
                "of": of,
                "layers": [layer for layer in (group.producer, group.norm, group.consumer) if layer],
            }
            for group, width, of in zip(self.skeleton().groups, self.widths, own, strict=True)
        ]
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "factory": self.factory,
            "arguments": self.arguments,
            "groups": groups,
            "params": self.params,
            "macs": self.macs,
        }

    @classmethod
    def from_dict(cls, content: Any, source: str = "architecture") -> Architecture:
        """Check and read the content of `architecture.json`; InputError names what is wrong with it."""
        problem = _problem_with(content)
        if problem:
            raise InputError(f"{source}: {problem}")
        own = _construct(content["factory"], content["arguments"], None)
        names = [group["name"] for group in content["groups"]]
        if names != [group.name for group in own.groups]:
            raise InputError(
                f"{source}: the groups must be those of {content['factory']} in order, got {names[:4]}..."
            )
        found = cls.of(own).with_widths([group["width"] for group in content["groups"]])
        if found.params != content.get("params", found.params):
            raise InputError(
                f"{source}: the widths make {found.params:,} parameters, but the file says "
                f"{content['params']}: it was edited or damaged"
            )
        return found

    def save(self, path: str | Path) -> None:
        """Write `architecture.json` (or the named file), whole or not at all."""
        path = Path(path)
        write_json(path / ARCHITECTURE_FILE if path.is_dir() else path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Architecture:
        """Read a file, or the `architecture.json` of a folder; InputError names what is wrong with it."""
        path = Path(path)
        path = path / ARCHITECTURE_FILE if path.is_dir() else path
        if not path.is_file():
            raise InputError(
                f"no architecture at '{path}': name an {ARCHITECTURE_FILE} or a folder that holds one"
            )
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(
                f"{path}: an architecture file holds at most {_MAX_FILE_BYTES:,} bytes, got "
                f"{path.stat().st_size:,}"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}: not valid JSON ({type(error).__name__}): it was cut off or is another kind of file"
            ) from None
        return cls.from_dict(content, str(path))


def save_model(model: nn.Module, directory: str | Path) -> None:
    """Write `architecture.json` and `model.safetensors` into `directory`, which is made if need be.

    Example:
        >>> sc.save(model, "out/"); model = sc.load("out/")  # doctest: +SKIP
    """
    directory = Path(directory)
    architecture = Architecture.of(model)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_bytes(directory / WEIGHTS_FILE, save(tensors))
    architecture.save(directory / ARCHITECTURE_FILE)


def load_model(directory: str | Path) -> Family:
    """Rebuild the network that `save_model` wrote, in evaluation mode, on the CPU.

    Raises:
        InputError: where a file is missing, damaged, or the two do not belong together; weights are compared
            with the architecture by shape before anything is allocated.
    """
    directory = Path(directory)
    architecture = Architecture.load(directory / ARCHITECTURE_FILE)
    path = directory / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"no weights at '{path}': name a folder with {ARCHITECTURE_FILE} and {WEIGHTS_FILE}")
    expected = {name: tuple(tensor.shape) for name, tensor in architecture.skeleton().state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            if found != expected:
                wrong = sorted(
                    name for name in found.keys() | expected if found.get(name) != expected.get(name)
                )
                raise InputError(
                    f"{path}: the weights must have the architecture's shapes, but '{wrong[0]}' is "
                    f"{found.get(wrong[0], 'missing')} instead of {expected.get(wrong[0], 'absent')}"
                )
            model = architecture.build(seed=0)
            model.load_state_dict({name: file.get_tensor(name) for name in expected})
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a readable safetensors file ({error}): it was cut off or is another kind of file"
        ) from None
    return model.eval()


def _construct(
    factory: str, arguments: dict[str, Any], widths: Sequence[int] | None, device: str = "meta"
) -> Family:
    if factory not in FACTORIES:
        raise unknown("model family", factory, FACTORIES)
    try:
        with torch.device(device), _ShapesOnly() if device == "meta" else nullcontext():
            return FACTORIES[factory](**arguments, widths=widths)
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from None


class _ShapesOnly(TorchFunctionMode):
    """Skips initialisation, which on the meta device fills nothing, yet costs more than all the rest."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_):
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _problem_with(content: Any) -> str | None:
    """What an architecture file gets wrong, in one clause; None if its form is right."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return f'not an architecture file (it must be an object with "format": "{FORMAT}")'
    if content.get("schema") != SCHEMA:
        return (
            f"schema {SCHEMA} is read here, got {content.get('schema')!r}: it was written by another version"
        )
    if not isinstance(content.get("factory"), str) or not isinstance(content.get("arguments"), dict):
        return '"factory" must be a name and "arguments" an object'
    if any(_size_of(value) > 4096 for value in content["arguments"].values()):
        return '"arguments" must be small numbers: nothing of that size is built'
    groups = content.get("groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        return '"groups" must be a list of objects'
    for group in groups:
        width = group.get("width")
        if not isinstance(group.get("name"), str) or type(width) is not int or not 1 <= width <= _MAX_WIDTH:
            return f'every group needs a "name" and a "width" from 1 to {_MAX_WIDTH:,}, got {str(group)[:80]}'
    return None


def _size_of(value: Any) -> float:
    """The largest magnitude in an argument: a number, or a list of numbers; infinite for anything else."""
    if isinstance(value, list) and len(value) <= 4:
        return max((_size_of(item) for item in value), default=0)
    return abs(value) if type(value) in (int, float) and value == value else float("inf")
