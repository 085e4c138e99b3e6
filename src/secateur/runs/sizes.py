"""How large a network is: what `measure` and `forecast` say of it beside its times."""

from __future__ import annotations

from torch import nn

from secateur.errors import InputError
from secateur.network.activations import peak_activation_bytes
from secateur.network.masks import count_nonzeros
from secateur.network.run_errors import RUN_ERRORS
from secateur.network.weights import count_params, count_weights
from secateur.records.measured import Sizes
from secateur.surgery.anatomy import anatomy_of


def sizes_of(model: nn.Module, file_bytes: int) -> Sizes:
    """Count a network that carries its anatomy; MACs and activations are of one example of its inputs."""
    anatomy = anatomy_of(model)
    return Sizes(
        file_bytes=file_bytes,
        params=count_params(model),
        weights=count_weights(model),
        nonzeros=count_nonzeros(model),
        macs=anatomy.costs.now["macs"],
        nonzero_macs=anatomy.costs.nonzero_macs(model),
        peak_activation_bytes=_peak(model, anatomy.inputs),
    )


def _peak(model: nn.Module, inputs: object) -> int | None:
    try:
        return peak_activation_bytes(model, inputs)
    except (*RUN_ERRORS, InputError):  # tensors that have no memory of their own
        return None
