"""What is looked at before anything is trained, where networks learn from another one."""

from __future__ import annotations

from secateur.architecture.architecture import Architecture
from secateur.architecture.foreign import EXAMPLES
from secateur.data.batches import first_images
from secateur.network.inputs import Inputs, take_first
from secateur.network.task import Task
from secateur.training.batches import AnyData
from secateur.training.distillation import check_task, common_ends
from secateur.training.loaders import Loaders
from secateur.training.recipe import Recipe


def check_teaching(
    student: Architecture, teacher: Architecture, recipe: Recipe, task: Task, data: AnyData
) -> None:
    """Raise InputError where the recipe's distillation does not suit the task or the networks."""
    if not recipe.distills:
        return
    check_task(recipe, task)
    if recipe.distill == "attention":
        common_ends(teacher.build(seed=0), student.build(seed=0), _examples(data))


def _examples(data: AnyData) -> Inputs:
    """A few inputs as the networks take them, on the CPU."""
    if isinstance(data, Loaders):
        return take_first(data.example[0], EXAMPLES)
    return first_images(data, EXAMPLES)
