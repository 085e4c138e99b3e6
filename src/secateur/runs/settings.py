"""The settings of pruning: every default and help text once, at its field.

The command line is made from them (`cli.options`), for which this module loads without torch. What checks
them and makes methods of them needs torch: `PruneSettings` and `Sparsity`, which inherit the fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secateur.names import AUTO, ChannelMethod, LayerShares
from secateur.training.recipe import setting


@dataclass(frozen=True)
class ChannelFields:
    """How channels are removed while fine-tuning.

    Attributes:
        every: fine-tuning steps per removal.
        beta: the FLOP penalty.
        lr: the constant rate; None: the lowest that training reached.
        method: the criterion, a key of `secateur.methods.CHANNEL_METHODS`.
        granularity: layers keep channels in multiples of it, where the group is as wide; "auto": of what the
            runtime of a latency budget likes.
        at_once: channels (granules) removed every time; 0: all at the first.
        trained: the network comes trained: it is pruned at once, without the recipe's epochs before.
        weights: the folder that its weights lie in; None: those that its factory gives it.
    """

    every: int = setting(100, "Fine-tuning steps per removal.", "prune_every")
    beta: float = setting(0.0, "beta, per MAC, in the removal score.", "flop_penalty")
    lr: float | None = setting(None, "Rate of fine-tuning; by default the lowest of training.", "tuning_lr")
    method: ChannelMethod = "fisher"
    granularity: int | Literal["auto"] = setting(
        1,
        "Keep channels in multiples of it; auto: the runtime of a latency budget is asked.",
        words=(AUTO,),
    )
    at_once: int = setting(1, "Channels (granules) per removal; 0: all that the budget asks for.")
    trained: bool = False
    weights: Path | None = None


@dataclass(frozen=True)
class SparseFields:
    """How the arms that set weights to zero share out their epochs, and how strong L1 is.

    Attributes:
        tune_share: share of the epochs that follows the cut in the arms that tune, in (0, 1).
        tune_epochs: in place of the share: so many epochs *besides* the recipe's, as Dupont et al. 2021 do,
            who train for 300 epochs and tune for up to 300 more.
        l1_strength: factor of the L1 norm.
        layer_shares: how many weights each layer keeps, in the arms that can be told
            (`secateur.methods.layer_shares`); None: as each method has it.
    """

    tune_share: float = setting(0.5, "Share of the epochs after the cut, in arms that tune.")
    tune_epochs: int | None = None
    l1_strength: float = setting(3e-4, "Factor of the L1 norm.")
    layer_shares: LayerShares | None = setting(  # noqa: RUF009
        None, "How many weights each layer keeps: global, uniform, erk; by default as each method has it."
    )
