"""The names that settings can have, as types: editors complete them, type checkers find a misspelt one.

The registries of methods and arms find their members by where they lie; a test holds these types equal to
them.
"""

from __future__ import annotations

import unicodedata
from typing import Final, Literal

AUTO: Final = "auto"
"""In place of a number: it is found out."""

Granularity = int | Literal["auto"]
"""What layers keep channels in multiples of: `secateur.methods.channel_limits.Config`."""

ChannelMethod = Literal[
    "fisher", "taylor", "filter-norm", "batch-norm-scale", "snip-channels", "random-channels"
]
"""Criteria that remove channels step by step: `secateur.methods.CHANNEL_METHODS`."""

ArmName = Literal[
    "fisher-tuned",
    "fisher-scratch",
    "copycat",
    "width",
    "bottleneck",
    "channel-reparametrization",
    "magnitude",
    "magnitude-tuned",
    "magnitude-tuned-layerwise",
    "random-tuned",
    "random-tuned-layers",
    "l1",
    "reparametrization",
    "reparametrization-faithful",
    "snip",
    "gradual-magnitude",
    "dynamic-feedback",
    "iterative-magnitude",
    "set",
    "rigl",
    "granet",
    "ac-dc",
    "str",
    "powerpropagation",
    "spartan",
    "l0",
]
"""Ways to a smaller network: `secateur.compare.arms.ARMS`."""

LayerShares = Literal["global", "uniform", "erk"]
"""How many weights each layer keeps of all that are kept: `secateur.methods.layer_shares`."""

Match = Literal["epochs", "compute"]
"""What every network of a comparison is given alike: `secateur.compare.settings.MATCHES`."""

Schedule = Literal["steps", "cosine", "plateau"]
"""Of the learning rate: `secateur.training.recipe.SCHEDULES`."""

SelectingSplit = Literal["val", "test"]
"""`secateur.training.recipe.SELECTING_SPLITS`."""

Optimizer = Literal["sgd", "adamw", "muon"]
"""What steps the weights, by name: `secateur.training.recipe.OPTIMIZERS`."""

Distilled = Literal["logits", "attention"]
"""What is learnt from a teacher: `secateur.training.recipe.DISTILLATIONS`."""

Augment = Literal["crop-flip", "resized-crop", "none"]
"""What training images go through: `secateur.training.recipe.AUGMENTATIONS`."""

Fit = Literal["crop", "pad", "squash"]
"""How an image of another shape is brought to the size: `secateur.data.pixels.FITS`."""

Normalization = Literal["data", "imagenet", "model"]
"""Whose mean and deviation images are normalised with: `secateur.data.normalization.NORMALIZATIONS`."""

Precision = Literal["fp32", "bf16"]
"""Of forward passes: `secateur.training.recipe.PRECISIONS`."""

Format = Literal["onnx", "openvino", "c"]
"""What networks are exported to: `secateur.runs.export.FORMATS`."""

RuntimeName = Literal["torch", "onnxruntime", "openvino", "c"]
"""What networks run on: `secateur.budget.RUNTIMES`."""

TaskName = Literal["classification", "multilabel", "regression"]
"""What a network is for: `secateur.network.task.TASKS`."""

TrackerName = Literal["wandb", "tensorboard", "mlflow"]
"""Services that show runs: `secateur.tracking.services.SERVICES`."""


_JOINERS = "\u200c\u200d"  # within letters and emoji


def harmless(text: str) -> str:
    """A text without what would command a terminal, or turn the order of its letters: "?" stands for each.

    Names and labels come out of files. Line breaks stay: who wants one line joins them.

    Example:
        >>> harmless("a\\x1b[2Jb\\u202ec"), harmless("é 猫\\n")
        ('a?[2Jb?c', 'é 猫\\n')
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or _is_kept(each) else "?" for each in text)


def _is_kept(letter: str) -> bool:
    return letter in "\n\t" or letter in _JOINERS or unicodedata.category(letter) == "Zs"
