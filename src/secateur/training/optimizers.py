"""Optimizers, by the name that a recipe has for them or by a function of the user's.

    sgd       w <- w - lr * buf,  buf <- momentum * buf + g + decay * w
    adamw     w <- w - lr * (m / (sqrt(v) + eps) + decay * w)       Loshchilov & Hutter 2019
    muon      w <- w - lr * (orthogonalised momentum + decay * w)   Jordan et al. 2024; for matrices only

The state of every one of them follows a cut (`secateur.surgery.cutting`), and a checkpoint holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from secateur.errors import InputError, unknown
from secateur.surgery.optimizer_state import RATE_SCALE
from secateur.training.recipe import CUSTOM, OPTIMIZERS, Recipe

Groups = list[dict[str, Any]]
Factory = Callable[[Groups], Optimizer]
"""Makes an optimizer of parameter groups: dictionaries with "params" and "weight_decay"."""


def build(recipe: Recipe, groups: Groups, factory: Factory | None = None) -> Optimizer:
    """Make the optimizer that a recipe names, of these parameter groups.

    Args:
        factory: what makes it, where the recipe says that it is a user's own (`Recipe.with_own_optimizer`).

    Raises:
        InputError: where the network has nothing that the optimizer can step, or the factory makes none.
    """
    if (factory is None) is (recipe.optimizer == CUSTOM):
        raise InputError(
            f"an own optimizer goes with Recipe.with_own_optimizer(), got the recipe's '{recipe.optimizer}' "
            f"and {'no' if factory is None else 'a'} function that makes one"
        )
    if factory is not None:
        return _custom(factory, groups)
    return named(recipe.optimizer, groups, recipe.lr, recipe.momentum)


def named(name: str, groups: Groups, lr: float, momentum: float = 0.9) -> Optimizer:
    """Make an optimizer by its name; `momentum` is of SGD."""
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr)
    if name == "muon":
        return MuonWithAdamW(groups, lr)
    raise unknown("optimizer", name, OPTIMIZERS)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give every parameter group its rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(RATE_SCALE, 1.0)


def parameters_of(optimizer: Optimizer) -> Iterable[nn.Parameter]:
    """All that it steps, as they are now."""
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def _custom(factory: Factory, groups: Groups) -> Optimizer:
    """Ask the user's function; the recipe's rate multiplies those that it sets."""
    made = factory([_without_decay(group) for group in groups])
    if not isinstance(made, Optimizer):
        raise InputError(
            f"optimizer= makes a torch.optim.Optimizer of parameter groups, got {type(made).__name__}: "
            "write for example optimizer=lambda groups: torch.optim.RAdam(groups, lr=1e-3)"
        )
    wanted = {id(parameter) for group in groups for parameter in group["params"]}
    if wanted - {id(parameter) for parameter in parameters_of(made)}:
        raise InputError(
            "optimizer= must step all parameters that it is given: pass the groups on as they are"
        )
    for group in made.param_groups:
        group[RATE_SCALE] = float(group["lr"]) * group.get(RATE_SCALE, 1.0)
    return made


def _without_decay(group: dict[str, Any]) -> dict[str, Any]:
    """The group as the user's function is given it: without a weight decay, where that is its own to set."""
    return {name: value for name, value in group.items() if name != "weight_decay" or value is not None}


class MuonWithAdamW(Optimizer):
    """Steps matrices by Muon and all else by AdamW, at one rate (torch scales Muon's to match AdamW's).

    torch's Muon takes weights of two dimensions: linear layers and embeddings, so it suits transformers. The
    weights of convolutions are AdamW's.

    Raises:
        InputError: where there is no matrix, or this torch has no Muon.
    """

    def __init__(self, groups: Groups, lr: float):
        kind = getattr(torch.optim, "Muon", None)
        if kind is None:
            raise InputError(f"muon came with torch 2.9, this is {torch.__version__}: choose adamw")
        matrices, rest = _split(groups, True), _split(groups, False)
        if not matrices:
            raise InputError("muon steps matrices (linear layers), and the network has none: choose adamw")
        super().__init__([*groups], {"lr": lr})
        self.parts: list[Optimizer] = [kind(matrices, lr=lr, adjust_lr_fn="match_rms_adamw")]
        if rest:
            self.parts.append(torch.optim.AdamW(rest, lr=lr))
        self._share()

    def _share(self) -> None:
        """Have one state and one list of groups for all parts: what a cut changes here it changes there."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        for part in self.parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step every part."""
        for part in self.parts:
            part.step()


def _split(groups: Groups, matrices: bool) -> Groups:
    """The parameters that are matrices, or those that are not, in groups of the same settings."""
    split = [
        {**group, "params": [p for p in group["params"] if (p.dim() == 2) is matrices]} for group in groups
    ]
    return [group for group in split if group["params"]]
