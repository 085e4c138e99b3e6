"""Running statistics of batch norms, computed anew: what a cut without training needs.

A batch norm scales by the mean and the variance that its input had in training. Where channels before it are
gone and nothing is trained, its input is another, and the network is worth much less than its weights are.
`recalibrate` puts in their place what the input is now:

    n = sum_b n_b                                      values of a channel, over every batch (and place) b
    mean = sum_b n_b mean_b / n
    var = (sum_b M2_b + sum_b n_b (mean_b - mean)^2) / (n - 1)         M2_b = sum (x - mean_b)^2

which are the mean and the unbiased variance of all values together, added up in float64 (Chan et al. 1979).
It is not the average that forgets of training, and not torch's `momentum=None`, the plain average of the
batches' variances, which leaves out how far their means lie apart.

In these passes each batch norm scales by its own batch, as in training, so that the next layer sees what it
will see: the usual way (`torch.optim.swa_utils.update_bn`; "precise" statistics, Wu & Johnson 2021,
arXiv:2105.07576, section 3). Batches have to be mixed, therefore, and not too small: 100 examples of one
class are not scaled as 100 of all. Everything else (dropout, stochastic depth) is as in evaluation.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.data import Data, epoch_batches
from secateur.errors import InputError, kind_and_line
from secateur.network.examples import Examples
from secateur.network.inputs import LABELS, Inputs, call, in_words, on_device
from secateur.network.modes import in_evaluation, modes_kept
from secateur.network.plain import bare
from secateur.surgery.anatomy import read_for
from secateur.training.loaders import Loaders
from secateur.training.seeds import derived_seed

Network = TypeVar("Network", bound=nn.Module)

_VALUES = 2**22  # taken at once, in float64: 32 MB
_OF_DATA = 500  # examples a batch, where data of our own are given
_NAMED = 4  # layers that a message names


def recalibrate(model: Network, batches: Iterable[Any] | Data | Loaders | Tensor) -> Network:
    """Compute the running statistics of every batch norm anew, over batches of training inputs.

    Weights stay as they are; so do `momentum`, `num_batches_tracked`, the mode of every module, random
    generators, and batch norms without running statistics or of frozen kinds (torchvision's
    `FrozenBatchNorm2d`). A layer that is used several times gets what it sees in all of them together. Where
    `torch.distributed` has several processes, every one calls it, and the statistics are of all their
    batches.

    Args:
        model: any network on any device; of a compiled or parallel one the network inside.
        batches: as `sc.prune` takes them, (inputs, targets) or dictionaries with labels; or inputs alone: a
            tensor, a dictionary, a tuple of one. Several positional inputs are the first of a pair:
            ((a, b), None). One tensor is one batch. Of `sc.load_data` or `sc.Loaders` the training split.

    Returns:
        `model`, changed in place; as it was, with a warning, where it has no batch norm to recalibrate.

    Raises:
        InputError: where there is no batch, the model does not run on one, one has a single value for each
            channel, or statistics are not finite. The model is then as it was.

    Example:
        >>> model = sc.recalibrate(model, loader)  # doctest: +SKIP
    """
    found = recalibrated(model, batches)
    if found is None:
        warnings.warn(
            f"{type(bare(model)).__name__} has no batch norm with running statistics to recalibrate",
            stacklevel=2,
        )
    elif found.idle:
        warnings.warn(f"not recalibrated, as no batch runs through them: {found.idle_words}", stacklevel=2)
    return model


@dataclass(frozen=True)
class Recalibrated:
    """What was recalibrated, on how much.

    Attributes:
        norms: batch norms with new statistics.
        examples, batches: that they are of.
        idle: names of batch norms that no batch ran through; they are as they were.
    """

    norms: int
    examples: int
    batches: int
    idle: tuple[str, ...] = ()

    @property
    def idle_words(self) -> str:
        """The layers left out, short."""
        more = f" and {len(self.idle) - _NAMED} more" if len(self.idle) > _NAMED else ""
        return ", ".join(self.idle[:_NAMED]) + more

    def __str__(self) -> str:
        layers = f"{self.norms} batch norm" + "s" * (self.norms > 1)
        left = f"; not {self.idle_words}, which the batches do not run through" if self.idle else ""
        return f"{layers} recalibrated on {self.examples:,} examples{left}"


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Find the batch norms that have running statistics, by name; one that is shared, once."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        and module.track_running_stats
        and module.running_mean is not None
        and module.running_var is not None
    }


@torch.no_grad()
def recalibrated(model: nn.Module, batches: Iterable[Any] | Data | Loaders | Tensor) -> Recalibrated | None:
    """Do as `recalibrate` says; None where there is no batch norm to recalibrate, and nothing was run."""
    model = bare(model)
    norms = batch_norms(model)
    for name, norm in norms.items():
        if norm.running_mean is not None and nn.parameter.is_lazy(norm.running_mean):
            raise InputError(
                f"{name} has no statistics yet (a lazy layer): run the network once on inputs first"
            )
    if not norms:
        return None
    moments = {name: Moments() for name in norms}
    examples = count = 0
    with _restored(model, norms) as restore, _watching(norms, moments):
        for count, inputs in enumerate(_inputs_of(batches, model), 1):
            _run(model, inputs, count)
            examples += Examples.by_shape(read_for(model, inputs)).count
        if not count:
            raise InputError(
                "no batch to recalibrate on: pass an iterable of batches, a DataLoader for example"
            )
        restore()
        seen = {name: found.over_processes() for name, found in moments.items()}
        _set(norms, seen)
    idle = tuple(name for name, found in seen.items() if not found.n)
    return Recalibrated(len(norms) - len(idle), examples, count, idle)


@dataclass
class Moments:
    """Count, mean and summed squared deviations of every channel, pooled over all that it was shown.

    Attributes:
        n: values of each channel.
        mean, m2: float64 (C,); None before the first.
    """

    n: int = 0
    mean: Tensor | None = field(default=None)
    m2: Tensor | None = field(default=None)

    def take(self, x: Tensor) -> None:
        """Add the values of a batch.

        Args:
            x: (N, C, ...), of any floating point.
        """
        rows = max(1, _VALUES // max(1, x[:1].numel()))
        for part in x.detach().split(rows):
            if part.device.type == "mps":  # which has no float64
                part = part.cpu()
            values = part.double().transpose(0, 1).flatten(1)
            mean = values.mean(1)
            self.add(values.shape[1], mean, (values - mean[:, None]).square_().sum(1))

    def add(self, n: int, mean: Tensor, m2: Tensor) -> None:
        """Add what is known of other values, exactly.

        Args:
            n: how many, of each channel.
            mean, m2: of them, float64 (C,).
        """
        if self.mean is None or self.m2 is None or not self.n:
            self.n, self.mean, self.m2 = n, mean, m2
            return
        if not n:
            return
        total, apart = self.n + n, mean.to(self.mean.device) - self.mean
        self.m2 = self.m2 + m2.to(self.m2.device) + apart.square() * (self.n * n / total)
        self.mean, self.n = self.mean + apart * (n / total), total

    def variance(self) -> Tensor:
        """The unbiased variance (C,)."""
        assert self.m2 is not None
        return self.m2 / (self.n - 1)

    def over_processes(self) -> Moments:
        """Pool with the other processes' moments, where there are any: the same then in all of them."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return self
        mine = (self.n, *(None if each is None else each.cpu() for each in (self.mean, self.m2)))
        all_of_them: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(all_of_them, mine)
        pooled = Moments()
        for n, mean, m2 in all_of_them:
            if n:
                pooled.add(n, mean, m2)
        return pooled


def _inputs_of(batches: Iterable[Any] | Data | Loaders | Tensor, model: nn.Module) -> Iterator[Inputs]:
    """The inputs of every batch."""
    if isinstance(batches, Tensor):
        yield batches
        return
    if isinstance(batches, Data):
        order = torch.Generator().manual_seed(derived_seed(0, "recalibrating"))
        place = next((tensor.device for tensor in model.buffers()), torch.device("cpu"))
        batches = epoch_batches(batches.train, batches, batch_size=_OF_DATA, device=place, generator=order)
    elif isinstance(batches, Loaders):
        batches = batches.train.batches(derived_seed(0, "recalibrating"))
    try:
        drawn = iter(batches)
    except TypeError:
        raise InputError(
            f"batches are an iterable, a DataLoader for example, or one tensor; got {type(batches).__name__}"
        ) from None
    for batch in drawn:
        yield _inputs_in(batch)


def _inputs_in(batch: Any) -> Inputs:
    """What the network is called with, of a batch with targets or without."""
    if isinstance(batch, (Tensor, Examples)):
        return batch
    if isinstance(batch, Mapping):
        return {key: value for key, value in batch.items() if key not in LABELS}
    if isinstance(batch, (tuple, list)) and len(batch) in (1, 2):
        return batch[0]
    got = f"{len(batch)} items" if isinstance(batch, (tuple, list)) else type(batch).__name__
    raise InputError(
        f"a batch to recalibrate on is (inputs, targets), a tensor, or a dictionary, got {got}: put several "
        "inputs into a tuple, ((a, b), None)"
    )


def _run(model: nn.Module, inputs: Inputs, number: int) -> None:
    """Run one batch; InputError, in one line, where that fails."""
    try:
        call(model, on_device(inputs, model))
    except InputError as error:
        raise InputError(f"batch {number}: {error}") from None
    except Exception as error:  # somebody's code
        raise InputError(
            f"{type(model).__name__} cannot be run on batch {number}, {in_words(inputs)}: "
            f"{kind_and_line(error)}: recalibrate on batches as it was trained on"
        ) from None


@contextmanager
def _watching(norms: Mapping[str, _BatchNorm], moments: Mapping[str, Moments]) -> Iterator[None]:
    """Have every batch norm show what it is given."""

    def watch(name: str) -> Any:
        def see(_module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            x = args[0] if args else next(iter(kwargs.values()))
            if x.numel() // max(1, x.shape[1]) < 2:
                raise InputError(
                    f"{name} gets {tuple(x.shape)}, of which there is no variance: a channel needs 2 values; "
                    "pass larger batches, or drop_last=True"
                )
            moments[name].take(x)

        return see

    with ExitStack() as stack:
        for name, norm in norms.items():
            stack.callback(norm.register_forward_pre_hook(watch(name), with_kwargs=True).remove)
        yield


@contextmanager
def _restored(model: nn.Module, norms: Mapping[str, _BatchNorm]) -> Iterator[Any]:
    """Have batch norms, alone of all, in training; modes, buffers and generators are put back at the end.

    Yields:
        What puts the buffers back before that.
    """
    own = [(buffer, buffer.clone()) for norm in norms.values() for buffer in norm.buffers(recurse=False)]

    def restore() -> None:
        for buffer, value in own:
            buffer.copy_(value)

    device = next(iter(norms.values())).running_mean.device  # type: ignore[union-attr]
    cuda = [device] if device.type == "cuda" else []
    with modes_kept(model), torch.random.fork_rng(devices=cuda):
        in_evaluation(model)
        for norm in norms.values():
            norm.training = True
        try:
            yield restore
        except BaseException:
            restore()
            raise


def _set(norms: Mapping[str, _BatchNorm], seen: Mapping[str, Moments]) -> None:
    """Write the statistics; InputError, with nothing written, where they are no finite numbers."""
    new: list[tuple[Tensor, Tensor]] = []
    for name, found in seen.items():
        if found.mean is None:
            continue
        pairs = ((norms[name].running_mean, found.mean), (norms[name].running_var, found.variance()))
        for buffer, value in pairs:
            assert buffer is not None
            value = value.to(buffer.device, buffer.dtype)
            if not bool(value.isfinite().all()):
                kind = str(buffer.dtype).removeprefix("torch.")
                raise InputError(
                    f"the statistics of {name} must be finite in {kind}, got inf or NaN: look for such "
                    "numbers in the batches and the weights"
                )
            new.append((buffer, value))
    for buffer, value in new:
        buffer.copy_(value)
