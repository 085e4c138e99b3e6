"""The four hooks that every method is, and what a resumable run asks of it besides.

The training loop knows nothing else; a user's own loop calls the same four:

    model = method.prepare(model)
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) + method.penalty(model)
        loss.backward(); optimizer.step(); optimizer.zero_grad()
        model = method.after_step(model, optimizer)
    model = method.finalize(model)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from secateur.names import LayerShares
from secateur.surgery.optimizer_state import Optimizers


class Method:
    """Does nothing at all: plain training. Every method derives from it and overrides what it needs."""

    name = "dense"
    package: ClassVar[str | None] = None
    """Who offers it, and in which version, where it is another package (`registry.offered`)."""

    takes_steps: ClassVar[bool] = False
    """Whether it has a schedule, over the number of optimizer steps that it is given as `steps`."""

    default_shares: ClassVar[LayerShares | None] = None
    """How it shares its weights out over layers, where it takes `layer_shares`; None: it takes none."""

    takes_loss: ClassVar[bool] = False
    """Whether it scores by the loss itself, which it is then given as `loss`, of (output, targets)."""

    @property
    def takes_padding(self) -> bool:
        """Whether activations may have more channels than their layers say, the rest zeros, in training.

        That is faster (`models.padding`), and only a method that looks at activations can mind. So other
        people's methods have to say so.
        """
        return type(self) is Method

    def prepare(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]] | None = None) -> nn.Module:
        """Called once before the first step; may attach hooks or parametrizations.

        `batches` of the training data, (inputs, labels), are for methods that score before they train.
        """
        return model

    @property
    def found(self) -> list[str]:
        """What it found out in `prepare` that a user should know, a line each."""
        return []

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """What to hand to the optimizer: every parameter of the prepared model, with its weight decay."""
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]

    def penalty(self, model: nn.Module) -> Tensor:
        """A term that is added to the task loss; scalar."""
        return torch.zeros((), device=next(model.parameters()).device)

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Called after every optimizer step; may change the model and the optimizer's state with it."""
        return model

    def advance(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Do what is due before the next step; called once when a run begins or is continued."""
        return model

    def before_evaluation(self, model: nn.Module) -> None:
        """Called before the network is measured, in the middle of training or at its end.

        Its weights are then the averages of `secateur.training.average` where a recipe asks for them.
        """

    def finalize(self, model: nn.Module) -> nn.Module:
        """The finished network: a plain module, with no hooks or parametrizations left."""
        return model

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, JSON-able; without budget and number of steps."""
        return {"method": self.name}

    def remaining(self, model: nn.Module) -> float | None:
        """The share of the weights that the method counts as kept, before the cut; None: it cuts at once."""
        return None

    @property
    def finished(self) -> bool:
        """Whether the method has reached its goal, for phases that last until then."""
        return False

    @property
    def schedule_place(self) -> float | None:
        """How far in the schedule of the learning rate the next step is, in [0, 1]; None: as the training."""
        return None

    @property
    def about_to_cut(self) -> bool:
        """Whether the next `after_step` is the first that removes channels."""
        return False

    @property
    def about_to_zero(self) -> bool:
        """Whether the next `after_step` cuts all weights that go, and training goes on with the others."""
        return False

    @property
    def cuts_at_once(self) -> bool:
        """Whether all that goes is removed in one step."""
        return False

    @property
    def completion(self) -> float:
        """How far towards `finished`, in [0, 1], for progress bars."""
        return 0.0

    def progress(self) -> dict[str, float]:
        """Numbers for the training history, e.g. {"removed": 12}."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Tensors that a resumed run needs; with `state` everything that `restore` takes."""
        return {}

    def state(self) -> dict[str, Any]:
        """JSON-able state that a resumed run needs."""
        return {}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take back what `state` and `tensors` gave. Called after `prepare`."""
