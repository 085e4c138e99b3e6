"""Secateur: the best neural network inside a size budget.

    import secateur as sc
    model = sc.models.wide_resnet(depth=40, width=2, num_classes=10)
    result = sc.compare(model, data="digits", budgets=["params=25%"])
    sc.save(model, "out/"); model = sc.load("out/")
    small = sc.Architecture.of(model).scaled_to("params=300k").build()

and with any other model:

    model = sc.prune(model, method="fisher", budget="macs=40%", data=loader)
    sc.save(model, "small/"); model = sc.load("small/", factory=build)

Your images, as they lie; what was understood is in the repr:

    data = sc.load_data("photos/", image_size=64); print(data); sc.compare("wrn-16-1", data=data)

What comes of it can be used:

    sc.load("small/").classes; sc.predict("small/", "photo.jpg"); sc.evaluate("small/", "photos/")
    print(sc.measure("small/"))  # sizes, and times on every runtime, now and before pruning

or published:

    sc.push("small/", "ann/small"); model = sc.load("hf:ann/small")

Names are loaded when they are first used, so that the command line answers without loading torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from secateur.records.ours import VERSION

__version__ = VERSION


if TYPE_CHECKING:
    from secateur import data, deploy, methods, models
    from secateur.architecture.architecture import Architecture
    from secateur.architecture.artefact import artefact_of as artefact
    from secateur.architecture.opening import inspect_model as inspect
    from secateur.architecture.saved import load_model as load
    from secateur.architecture.saved import save_model as save
    from secateur.budget import Budget, Limits
    from secateur.compare.run import CompareResult, compare, plan
    from secateur.data import load_data
    from secateur.errors import InputError, TrainingError
    from secateur.network.metrics import Metric
    from secateur.network.task import Task
    from secateur.runs.evaluate import evaluate
    from secateur.runs.measuring import measure
    from secateur.runs.predict import predict
    from secateur.runs.prune_channels import PruneSettings
    from secateur.runs.push import push
    from secateur.surgery.computed_weights import make_permanent
    from secateur.surgery.copies_alike import follow
    from secateur.training.average import Average
    from secateur.training.loaders import Loaders
    from secateur.training.prune import prune
    from secateur.training.recalibration import recalibrate
    from secateur.training.recipe import Recipe

_HOMES = {
    "Architecture": "secateur.architecture.architecture:Architecture",
    "Average": "secateur.training.average:Average",
    "Budget": "secateur.budget:Budget",
    "CompareResult": "secateur.compare.run:CompareResult",
    "InputError": "secateur.errors:InputError",
    "Limits": "secateur.budget:Limits",
    "Loaders": "secateur.training.loaders:Loaders",
    "Metric": "secateur.network.metrics:Metric",
    "PruneSettings": "secateur.runs.prune_channels:PruneSettings",
    "Recipe": "secateur.training.recipe:Recipe",
    "Task": "secateur.network.task:Task",
    "TrainingError": "secateur.errors:TrainingError",
    "artefact": "secateur.architecture.artefact:artefact_of",
    "compare": "secateur.compare.run:compare",
    "evaluate": "secateur.runs.evaluate:evaluate",
    "follow": "secateur.surgery.copies_alike:follow",
    "inspect": "secateur.architecture.opening:inspect_model",
    "load": "secateur.architecture.saved:load_model",
    "load_data": "secateur.data:load_data",
    "make_permanent": "secateur.surgery.computed_weights:make_permanent",
    "measure": "secateur.runs.measuring:measure",
    "plan": "secateur.compare.run:plan",
    "predict": "secateur.runs.predict:predict",
    "prune": "secateur.training.prune:prune",
    "push": "secateur.runs.push:push",
    "recalibrate": "secateur.training.recalibration:recalibrate",
    "save": "secateur.architecture.saved:save_model",
}

__all__ = [
    "Architecture",
    "Average",
    "Budget",
    "CompareResult",
    "InputError",
    "Limits",
    "Loaders",
    "Metric",
    "PruneSettings",
    "Recipe",
    "Task",
    "TrainingError",
    "artefact",
    "compare",
    "data",
    "deploy",
    "evaluate",
    "follow",
    "inspect",
    "load",
    "load_data",
    "make_permanent",
    "measure",
    "methods",
    "models",
    "plan",
    "predict",
    "prune",
    "push",
    "recalibrate",
    "save",
]


if not TYPE_CHECKING:  # which would take any name for one that is there

    def __getattr__(name: str) -> Any:
        if name in ("data", "deploy", "methods", "models"):
            return import_module(f"secateur.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'secateur' has no attribute '{name}'")
        module, _, attribute = _HOMES[name].partition(":")
        return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    """Give what there is to use, as completion in a shell and in notebooks shows it."""
    return sorted([*__all__, "__version__"])


class _Door(ModuleType):
    """Keeps `sc.compare` the function: importing the folder of that name would bind the folder here."""

    @property
    def compare(self) -> Any:
        """The function; it has the folder's files as attributes, for `import secateur.compare.run as run`."""
        function = __getattr__("compare")  # type: ignore[name-defined]
        for name, module in list(sys.modules.items()):
            folder, _, file = name.rpartition(".")
            if folder == f"{__name__}.compare":
                setattr(function, file, module)
        return function

    @compare.setter
    def compare(self, folder: ModuleType) -> None:
        """Ignore it: what is imported from the folder is found without."""


sys.modules[__name__].__class__ = _Door
