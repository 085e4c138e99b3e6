"""Learning from a teacher besides: the original network, in evaluation mode, on the same batches.

    logits      L = (1 - w) * L_task + w * T^2 * KL(softmax(t / T) || softmax(s / T))     `logits_term`
    attention   L = L_task + w / 2 * sum_j |Q_Sj - Q_Tj|^2                                `attention_term`
                Q_j = vec(F_j) / |vec(F_j)|,  F_j = sum_c A_jc^2                          `attention_map`

t and s are the logits of teacher and student, T the temperature, w the weight; A_j (C, H, W) is what a
network gives at the end of stage j; all are means over the batch. T^2 keeps the gradient of soft targets as
large as that of hard ones. The sum over channels makes maps of networks of other widths comparable, cut ones
among them.

References: Hinton et al. 2015 (arXiv:1503.02531), section 2; Zagoruyko & Komodakis 2017 (arXiv:1612.03928),
eq. (2), with the squared norm. (They divide 1000 by the size of the map for w: 1 to 16 for maps of 32x32 to
8x8; ours is 1 at any size.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.device import Runtime
from secateur.errors import InputError
from secateur.network.counting import count_model_macs
from secateur.network.inputs import Inputs, call, logits_of, map_inputs, take_first
from secateur.network.modes import in_evaluation
from secateur.network.task import Task
from secateur.training.feature_maps import Size, spatial_ends, watching
from secateur.training.recipe import Recipe


def logits_term(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL of the softened scores, the mean over examples (and positions): (N, K, ...) twice -> scalar.

    Reference: Hinton et al. 2015, section 2.
    """
    soft = F.log_softmax(student.float() / temperature, 1)
    wanted = F.log_softmax(teacher.float() / temperature, 1)
    divergence = F.kl_div(soft, wanted, reduction="none", log_target=True).sum(1)
    return divergence.mean() * temperature**2


def attention_map(activations: Tensor) -> Tensor:
    """Where a network looks: the sum of squares over channels, as a unit vector. (N, C, H, W) -> (N, H * W).

    Reference: Zagoruyko & Komodakis 2017, section 3.1, F_sum^2.
    """
    return F.normalize(activations.float().square().sum(1).flatten(1))


def attention_term(student: dict[Size, Tensor], teacher: dict[Size, Tensor]) -> Tensor:
    """Half the sum over the stages of the squared distance of attention, the mean over examples, scalar.

    Reference: Zagoruyko & Komodakis 2017, eq. (2).
    """
    apart = [attention_map(student[size]) - attention_map(teacher[size]) for size in teacher]
    return torch.stack([each.square().sum(1).mean() for each in apart]).sum() / 2


class NoTeacher:
    """Teaches nothing: the loss is the task's."""

    macs = 0

    def watching(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Around a forward pass of the student."""
        return nullcontext()

    def taught(self, loss: Tensor, inputs: Inputs, output: Any) -> Tensor:
        """The loss that the student learns by."""
        return loss


class Teacher(NoTeacher):
    """The network that is learnt from.

    Args:
        model: trained; it stays as it is.

    Attributes:
        macs: of one of its forward passes, for one example.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, runtime: Runtime):
        self.model = in_evaluation(runtime.place(model)).requires_grad_(False)
        self.recipe, self.runtime = recipe, runtime
        self.layout = runtime.layout(self.model)
        self.macs = count_model_macs(self.model)

    @torch.no_grad()
    def output(self, inputs: Inputs) -> Any:
        """What it gives for the batch of the student."""
        with self.runtime.autocast(self.recipe.precision):
            return call(self.model, map_inputs(inputs, self._arranged))

    def _arranged(self, x: Tensor) -> Tensor:
        return self.runtime.arrange(x, self.layout) if x.dim() == 4 and x.is_floating_point() else x


class LogitsTeacher(Teacher):
    """Hinton et al. 2015."""

    def taught(self, loss: Tensor, inputs: Inputs, output: Any) -> Tensor:
        weight, scores = self.recipe.distill_weight, logits_of(self.output(inputs))
        soft = logits_term(logits_of(output), scores, self.recipe.temperature)
        return (1 - weight) * loss + weight * soft


class AttentionTeacher(Teacher):
    """Zagoruyko & Komodakis 2017.

    Args:
        student: as it is at the beginning; what is cut from it changes no size of a map.
        inputs: a few examples, by which the layers are found.

    Raises:
        InputError: where the two have no feature maps of the same size.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, runtime: Runtime, student: nn.Module, inputs: Inputs
    ):
        super().__init__(model, recipe, runtime)
        self.own, self.students = common_ends(self.model, student, map_inputs(inputs, self._arranged))
        self.seen: dict[Size, Tensor] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        with watching(model, self.students) as self.seen:
            yield

    def taught(self, loss: Tensor, inputs: Inputs, output: Any) -> Tensor:
        with watching(self.model, self.own) as wanted:
            self.output(inputs)
        seen, self.seen = self.seen, {}
        return loss + self.recipe.distill_weight * attention_term(seen, wanted)


def common_ends(
    teacher: nn.Module, student: nn.Module, inputs: Inputs
) -> tuple[dict[Size, str], dict[Size, str]]:
    """Find where both networks have feature maps of the same sizes, in both.

    Raises:
        InputError: where there is no such size.
    """
    ours, theirs = spatial_ends(teacher, inputs), spatial_ends(student, inputs)
    sizes = [size for size in ours if size in theirs]
    if not sizes:
        raise InputError(
            "distilling attention needs feature maps (N, C, H, W) of one size in teacher and student, got "
            f"{_listed(ours)} and {_listed(theirs)}: choose --distill logits"
        )
    return {size: ours[size] for size in sizes}, {size: theirs[size] for size in sizes}


def check_task(recipe: Recipe, task: Task) -> None:
    """Raise InputError where the recipe's distillation makes no sense for the task."""
    if recipe.distills and recipe.distill == "logits" and task.name != "classification":
        raise InputError(
            f"distilling logits takes scores of classes, got the task {task.name}: choose attention"
        )


def teacher_of(
    model: nn.Module | None,
    recipe: Recipe,
    runtime: Runtime,
    task: Task,
    student: nn.Module,
    examples: Iterator[tuple[Inputs, Any]],
) -> NoTeacher:
    """Make what the student learns from, as the recipe says.

    Args:
        examples: batches, the first of which is looked at where layers have to be found.

    Raises:
        InputError: where the recipe and the teacher, the task or the networks do not go together.
    """
    if not recipe.distills:
        return NoTeacher()
    if model is None:
        raise InputError(f"distilling {recipe.distill} needs a teacher, got none: pass one, or leave it out")
    check_task(recipe, task)
    if recipe.distill == "logits":
        return LogitsTeacher(model, recipe, runtime)
    few = take_first(next(examples)[0], 2)
    return AttentionTeacher(model, recipe, runtime, student, few)


def _listed(ends: dict[Size, str]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in ends) or "none"
