"""Fisher pruning of channels: Theis et al. 2018 (arXiv:1801.05787), as Crowley et al. 2018 use it.

    g_nk     = - sum_ij a_nkij * dL_n / da_nkij             `gradients.channel_gradients`
    Delta_k  = 1 / (2N) * sum_n g_nk ** 2                   `saliency`
    remove     argmin_k  Delta_k - beta * MACs_k            `channel_choice.removal_score`

a is what the consumers of a channel group read (between the two convolutions of a residual block), L_n the
loss of example n, N the examples of a window of `every` fine-tuning steps. Where several layers read a
channel, their sums are added, example by example, before squaring: all of them lose it at once. One channel
goes per window, and it goes physically: model and optimizer shrink.
"""

from __future__ import annotations

from torch import Tensor, nn

from secateur.methods.gradients import GradientCriterion


def saliency(squares_K: Tensor, examples: int) -> Tensor:
    """Delta_k = sum_n g_nk**2 / (2N): the estimated rise of the loss if channel k went. (K,) -> (K,)."""
    return squares_K / (2 * examples)


class Fisher(GradientCriterion):
    """Removes the channel whose going raises the loss least, by Fisher information (see `ChannelPruning`).

    Example:
        >>> method = Fisher("params=25%", every=100)  # doctest: +SKIP

    Reference: Theis et al. 2018, eq. (10); Crowley et al. 2018, section 3, "Implementation Details".
    """

    name = "fisher"

    def fold(self, g_NK: Tensor) -> Tensor:
        """sum_n g_nk ** 2."""
        return g_NK.square().sum(0)

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        """Delta_k of every group."""
        squares, examples = self._complete()
        return {name: saliency(value, examples) for name, value in squares.items()}
