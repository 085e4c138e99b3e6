"""Watching a model run: which operator runs in which module, and what it does to marks and outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


class ModuleWatch(TorchDispatchMode):
    """Knows in which module an operator runs; a base for those that want to know more."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self._inside: list[str] = []
        self._hooks: list[Any] = []

    @property
    def where(self) -> str:
        """The innermost module at present, by its dotted name, or the model's class."""
        return (self._inside[-1] if self._inside else "") or type(self.model).__name__

    def __enter__(self) -> Any:
        for name, module in self.model.named_modules():
            self._hooks.append(module.register_forward_pre_hook(self._entered(name)))
            self._hooks.append(module.register_forward_hook(self._left(name)))
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*exc)

    def _entered(self, name: str) -> Callable[..., None]:
        return lambda *_: self._inside.append(name)

    def _left(self, name: str) -> Callable[..., None]:
        def left(module: nn.Module, _inputs: Any, output: Any) -> None:
            self._inside.pop()
            self.gave(name, module, output)

        return left

    def gave(self, name: str, module: nn.Module, output: Any) -> None:
        """Follow a module that has returned `output`; what a base does nothing with."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@dataclass
class Step:
    """An operator that ran, or a layer's output; by module."""

    module: str
    operator: str
    output: Tensor | None = None


class StepWatch(ModuleWatch):
    """Follows which operators run in which modules, and what the layers give."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.steps: list[Step] = []

    @property
    def last(self) -> str:
        """The operator that ran last or was about to run, and its module."""
        operator = next((step.operator for step in reversed(self.steps) if step.operator), "the model")
        return f"{operator} in {self.where}"

    def gave(self, name: str, module: nn.Module, output: Any) -> None:
        if not list(module.children()) and isinstance(output, Tensor):
            self.steps.append(Step(name, "", output))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.steps.append(Step(self._inside[-1] if self._inside else "", func.overloadpacket.__name__))
        return func(*args, **(kwargs or {}))


class SpreadWatch(ModuleWatch):
    """Finds the first operator whose output is all NaN though none of its inputs was; it is told of each."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.culprit: str | None = None
        self._sure = False

    def saw(self, func: Any, args: Any, result: Any) -> None:
        """Look at what an operator was given, and gave."""
        if self._sure or func.is_view:
            return
        given = [_share(t) for t in flat_tensors(args)]
        partly = max((share for share in given if share < 1), default=0)
        for share in (_share(t) for t in flat_tensors(result)):
            # To all is certain; to more of as many entries is the best guess (a window over channels).
            grown = share > 1.01 * max(given, default=0)
            if partly and (share == 1 or (grown and self.culprit is None)):
                self.culprit = f"{func.overloadpacket.__name__} in {self.where}"
                self._sure = share == 1
                break


def _share(x: Tensor) -> float:
    """Measure which part of a tensor is marked, in [0, 1]."""
    return float(x.isnan().float().mean()) if x.is_floating_point() and x.numel() > 1 else 0


def flat_tensors(values: Any) -> list[Tensor]:
    """List the tensors among arguments, however they are wrapped, in order."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, (tuple, list)):
        return [tensor for value in values for tensor in flat_tensors(value)]
    if isinstance(values, dict):
        return [tensor for value in values.values() for tensor in flat_tensors(value)]
    return []
