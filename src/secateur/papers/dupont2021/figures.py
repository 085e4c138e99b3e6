"""Fig. 2 of Dupont et al. 2021: the reparametrization function and its stabilized variant, t = 1, n = 4."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from secateur.atomic import make_folder, write_bytes
from secateur.methods.gates.gate import gate, unstable_gate
from secateur.report.drawing import encode, house_style, new_figure
from secateur.report.palette import MUTED
from secateur.report.style import ARMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T, N = 1.0, 4
REACH = 5.0
_SAMPLES = 1001  # odd, so that 0 is among them


def curves() -> tuple[Tensor, Tensor, Tensor]:
    """x, eq. (4) and eq. (5) at x, in float64: what the figure shows."""
    x = torch.linspace(-REACH, REACH, _SAMPLES, dtype=torch.float64)
    return x, unstable_gate(x, T, N), gate(x, T, N)


def draw_figure2(path_png: Path, path_svg: Path) -> None:
    """Write the figure as PNG (200 dpi) and SVG, the same bytes every time; missing folders are made."""
    with house_style():
        figure = figure2()
        for path, kind in ((Path(path_png), "png"), (Path(path_svg), "svg")):
            make_folder(path.parent)
            write_bytes(path, encode(figure, kind))


def figure2() -> Figure:
    """Both curves on one pair of axes. Told apart by dash as well as by colour."""
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    x, unstable, stable = (values.numpy() for values in curves())
    red, blue = ARMS["fisher-tuned"], ARMS["fisher-scratch"]
    axes.plot(
        x, unstable, color=red.color, linestyle=blue.line, linewidth=1.8, label="eq. (4): exp(−1 / (tx)ⁿ)"
    )
    axes.plot(x, stable, color=blue.color, linewidth=1.8, label="eq. (5): C₁ (exp(−1 / ((tx)ⁿ + 1)) − C₂)")
    axes.set_xlabel("x")
    axes.set_ylabel("h(x)")
    axes.set_xlim(-REACH, REACH)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xticks(range(-5, 6))
    figure.legend(loc="outside lower left", ncols=2, fontsize=8.5, handlelength=2.6)
    figure.suptitle(
        f"The gate h and its stabilized form, t = {T:g}, n = {N} (Dupont et al. 2021, Fig. 2)",
        x=0.015,
        ha="left",
        fontsize=10,
    )
    axes.axhline(1, color=MUTED, linewidth=0.9, linestyle=(0, (1.2, 2)), zorder=1)
    return figure
