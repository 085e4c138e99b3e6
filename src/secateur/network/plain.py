"""The network inside its wrappings (compiled, parallel), and what kinds of networks cannot be cut at all."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrize import is_parametrized

from secateur.errors import InputError
from secateur.network.weights import weight_layers

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.ao.nn.sparse.quantized")


def bare(model: nn.Module) -> nn.Module:
    """Unwrap what `torch.compile`, `DataParallel` or `DistributedDataParallel` made of a network.

    Example:
        >>> bare(nn.DataParallel(nn.Linear(2, 3)))
        Linear(in_features=2, out_features=3, bias=True)
    """
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # of torch.compile
            model = inner
        else:
            return model


def handle_of(handle: nn.Module, model: nn.Module) -> nn.Module:
    """Give back the wrapping in which a network came, now that it was cut: it compiles anew when it is used.

    `DistributedDataParallel` has laid out its gradients for what was there before: there it is the network.
    """
    if bare(handle) is not model or isinstance(handle, nn.parallel.DistributedDataParallel):
        return model
    return handle


def check_plain(model: nn.Module) -> None:
    """Raise InputError, with the remedy, for a kind of network whose layers cannot be cut."""
    if not isinstance(model, nn.Module):
        raise InputError(f"a model is a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            "a torch.jit.ScriptModule is a finished program, of which no layer can be cut: pass the module "
            "that it was scripted or traced from, and script that again afterwards"
        )
    for name, module in model.named_modules():
        where, kind = name or type(model).__name__, type(module)
        if kind.__module__.startswith(_QUANTISED):
            raise InputError(
                f"{where} is a quantised {kind.__name__}, of which no channel can be cut: prune the network "
                "before it is quantised"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(f"{where} is a torch.jit.ScriptModule, which cannot be cut: pass a plain module")
        _check_masks(name, where, module)
    _check_weights(model)


def _check_masks(name: str, where: str, module: nn.Module) -> None:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod):
            own = hook._tensor_name
            at = f"model.get_submodule('{name}')" if name else "model"
            raise InputError(
                f"{where} has its {own} masked by torch.nn.utils.prune: make the zeros permanent first, "
                f"torch.nn.utils.prune.remove({at}, '{own}'), or all of them: sc.make_permanent(model)"
            )


def _check_weights(model: nn.Module) -> None:
    layers = weight_layers(model)
    if not layers:
        raise InputError(
            f"nothing in {type(model).__name__} can be pruned: it has no convolution and no linear layer"
        )
    for name, layer in layers.items():
        weight = None if is_parametrized(layer) else layer._parameters.get("weight")
        if isinstance(weight, Tensor) and nn.parameter.is_lazy(weight):
            raise InputError(
                f"{name} has no weights yet (a lazy layer): run the network once on inputs first"
            )
        if isinstance(weight, Tensor) and not weight.is_floating_point():
            raise InputError(
                f"{name} has weights of {str(weight.dtype).removeprefix('torch.')} numbers, of which no "
                "channel can be cut: prune the network before it is quantised"
            )
