"""Draw docs/methods/pictures/NAME.svg, one of each method, from the functions that compute it.

    python tools/method_pictures.py [--check] [NAME ...]

Each is readable on white and on black: the background is none, the ink in the middle. Text stays text. The
same code draws the same bytes; --check only says whether what is there is what would be drawn.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Path2D
from matplotlib.transforms import Affine2D
from torch import Tensor, nn

import secateur as sc
from secateur.atomic import write_bytes
from secateur.compare.arms import ARMS
from secateur.methods import (
    METHODS,
    ac_dc,
    gradual_magnitude,
    granet,
    iterative_magnitude,
    l0,
    norms,
    powerpropagation,
    random,
    regrowth,
    rigl,
    snip,
    snip_channels,
    spartan,
    taylor,
)
from secateur.methods import str as soft
from secateur.methods.batch_norm_scale import mean_scale
from secateur.methods.channel_reparametrization import Config as ChannelConfig
from secateur.methods.fisher import saliency
from secateur.methods.gates.channel_cost import solve_cost
from secateur.methods.gates.channels import channel_gate, relative_norms
from secateur.methods.gates.gate import gate
from secateur.methods.gates.threshold import soft_mask, solve_threshold
from secateur.methods.layer_shares import Sharing
from secateur.methods.reparametrization import Config as GatesConfig
from secateur.methods.sparse_evolutionary import nearest_zero
from secateur.network.masks import keep_largest, magnitudes
from secateur.network.weights import prunable_weights
from secateur.records.results import Results
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.soft_cost import SoftCost

ROOT = Path(__file__).parents[1]
HOME = ROOT / "docs" / "methods" / "pictures"
RECORDED = ROOT / "results" / "digits-wrn-16-1" / "results.json"
INK = "#7a7a7a"
COLORS = ("#3987c9", "#d97a1f", "#3a9d63", "#c9519a", "#8f7ae0")
STYLE: dict[Any, Any] = {
    "font.sans-serif": ["DejaVu Sans"],  # others are named in the file at every word
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "secateur",
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}
KEPT, CAME, GONE, OUT = COLORS[0], COLORS[2], COLORS[1], to_rgba(INK, 0.18)


# What is drawn several times


def seeded(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, always the same, to six digits: the last bits of a library do not move a line."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def training(ax: Axes, ylabel: str) -> Tensor:
    """Name the axes of something over a training; its steps, of 200."""
    ax.set(xlabel="share of the training", ylabel=ylabel, xlim=(0, 1))
    return torch.arange(201)


def small() -> nn.Module:
    """A small Conv4, as initialised."""
    torch.manual_seed(0)
    return sc.models.conv4(width=0.25, in_channels=1, image_size=8)


def grid(ax: Axes, cells: Sequence[Sequence[Any]], title: str) -> None:
    """Squares of given colours."""
    places: dict[Any, list[tuple[float, float]]] = {}
    for y, row in enumerate(cells):
        for x, color in enumerate(row):
            places.setdefault(color, []).append((x + 0.06, y + 0.06))
    for color, corners in places.items():
        squares = [
            Path2D.unit_rectangle().transformed(Affine2D().scale(0.88).translate(*at)) for at in corners
        ]
        ax.add_patch(PathPatch(Path2D.make_compound_path(*squares), color=color, lw=0))
    ax.set(xlim=(0, len(cells[0])), ylim=(len(cells), 0), aspect="equal", title=title)
    ax.axis("off")


def legend_below(figure: Figure, names: dict[str, Any]) -> None:
    """Say what squares of a colour are."""
    patches = [Patch(color=color, label=name) for name, color in names.items()]
    figure.legend(handles=patches, loc="lower center", ncols=len(patches), bbox_to_anchor=(0.5, -0.02))


def bars(ax: Axes, values: Sequence[float], lowest: int, xlabel: str, title: str) -> None:
    """A bar a channel; those that go first in another colour."""
    order = sorted(range(len(values)), key=lambda k: values[k])[:lowest]
    colors = [GONE if k in order else KEPT for k in range(len(values))]
    ax.bar(range(len(values)), values, color=colors)
    ax.set(xlabel=xlabel, title=title, xticks=range(0, len(values), 1 if len(values) <= 8 else 2))


# The pictures


def reparametrization(figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    x = torch.linspace(-1, 1, 401, dtype=torch.float64)
    for t, n in ((2, 4), (4, 4), (8, 4), (4, 64)):
        left.plot(x, gate(x, float(t), n), label=f"t = {t}, n = {n}")
    left.set(xlabel="w", title="the gate h_t(w)", ylim=(0, 1.35))
    left.legend(ncols=2, loc="upper center")
    config, steps = GatesConfig(), training(right, "")
    right.plot(
        steps / 200, [config.share_at(step / 200, 0.05) for step in steps.tolist()], label="C / all weights"
    )
    sharp = [config.n_at(step / 200) / config.n_final for step in steps.tolist()]
    right.plot(steps / 200, sharp, label=f"n / {config.n_final}")
    right.axvline(config.cut_at, color=INK, lw=1, ls=":")
    right.text(config.cut_at + 0.02, 0.5, "the cut")
    right.set(title="budget 5%: the schedule", ylim=(0, 1.35))
    right.legend(ncols=2, loc="upper center")


def channel_reparametrization(figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    model, config = small().double(), ChannelConfig()
    anatomy = anatomy_of(model)
    names = list(anatomy.graph.groups)
    norms_of = [
        relative_norms([seeded(anatomy.graph.width(name), 9, seed=i)]) for i, name in enumerate(names)
    ]
    cost = SoftCost.of(anatomy.costs, "macs", names)
    whole, t, found = anatomy.costs.now["macs"], 1.0, []
    for step in range(201):
        share = config.share_at(step / 200, 0.25)
        if share < 1 and step / 200 <= config.cut_at:
            t = solve_cost(norms_of, cost, share * whole, config.n_at(step / 200), t)
            found.append((step / 200, channel_gate(norms_of[1], t, config.n_at(step / 200))))
    for k in range(len(norms_of[1])):
        left.plot([at for at, _ in found], [float(h[k]) for _, h in found], color=KEPT, lw=1, alpha=0.8)
    training(left, "")
    left.axvline(config.cut_at, color=INK, lw=1, ls=":")
    left.text(config.cut_at + 0.02, 0.5, "channels at 0 go")
    left.set(title="h of a layer's 16 channels, macs=25%", ylim=(-0.03, 1.05))
    order = norms_of[1].sort().values
    for at in (0.2, 0.35, 0.5):
        step, h = min(found, key=lambda each: abs(each[0] - at))
        right.plot(order, h.sort().values, marker="o", ms=3, label=f"after {at:.0%}")
    right.set(xlabel="s_k, the norm of what writes the channel", title="h_k = h_t(s_k)", ylim=(-0.03, 1.6))
    right.legend(loc="upper left")


def magnitude(figure: Figure) -> None:
    ax = figure.subplots()
    scores = magnitudes(small())
    whole = sum(score.numel() for score in scores.values())
    for place, share in enumerate(("global", "uniform", "erk")):
        masks = Sharing(share, "global", "magnitude").choose(scores, round(0.01 * whole))
        kept = [100 * float(mask.double().mean()) for mask in masks.values()]
        ax.bar([i + 0.27 * (place - 1) for i in range(len(kept))], kept, 0.25, label=share)
    ax.set(ylabel="% of the layer's weights", title="What each layer keeps of a Conv4 at nonzeros=1%")
    ax.set_xticks(range(len(scores)), list(scores))
    ax.legend(title="layer_shares")


def random_weights(figure: Figure) -> None:
    axes = figure.subplots(1, 3)
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(16, 16))
    (weight,) = prunable_weights(layer).values()
    shade = (weight.detach().abs() / weight.detach().abs().max()).tolist()
    grid(axes[0], [[to_rgba(KEPT, 0.1 + 0.15 * round(6 * value)) for value in row] for row in shade], "|w|")
    chosen = {
        "kept by magnitude, 25%": keep_largest(magnitudes(layer), 64),
        "kept by lot, 25%": keep_largest(random.random_scores(layer, 0), 64),
    }
    for ax, (title, masks) in zip(axes[1:], chosen.items(), strict=True):
        grid(ax, [[KEPT if kept else OUT for kept in row] for row in masks["0"].tolist()], title)


def gradual(figure: Figure) -> None:
    ax = figure.subplots()
    config, steps = gradual_magnitude.Config(), training(ax, "weights kept")
    for percent in (10, 5, 1):
        kept = [
            gradual_magnitude.kept_weights(step, 200, percent * 10, 1000, config) / 1000
            for step in steps.tolist()
        ]
        ax.plot(steps / 200, kept, label=f"nonzeros={percent}%")
    ax.axvspan(config.start, config.end, color=INK, alpha=0.1, lw=0)
    ax.text((config.start + config.end) / 2, 0.9, f"start {config.start} to end {config.end}", ha="center")
    ax.set(title="1 - s_t, eq. (1)", ylim=(0, 1.03))
    ax.legend()


def feedback(figure: Figure) -> None:
    axes, seen = figure.subplots(1, 5), {}
    for step, masks in _toy("dynamic-feedback", steps=60, every=5):
        seen[step] = masks
    before, ever = torch.ones(10, 10, dtype=torch.bool), torch.zeros(10, 10, dtype=torch.bool)
    for ax, step in zip(axes, (10, 20, 30, 40, 60), strict=True):
        now, back = seen[step], torch.zeros(10, 10, dtype=torch.bool)
        for at in sorted(each for each in seen if each <= step):
            back = seen[at] & (back | ever)
            ever |= ~seen[at]
        grid(ax, _colors(now, back, before & ~now), f"step {step}")
        before = now
    legend_below(figure, {"kept": KEPT, "was gone, came back": CAME, "gone since the last": GONE})


def _toy(name: str, steps: int, **settings: Any) -> list[tuple[int, Tensor]]:
    """Run a method on 100 weights that learn a linear map; (step, mask) at every change."""
    model = nn.Sequential(nn.Linear(10, 10, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(seeded(10, 10) / 4)
    x, wanted = seeded(64, 10, seed=1), seeded(10, 10, seed=2)
    method = METHODS[name]("nonzeros=20%", steps=steps, **settings)  # type: ignore[call-arg]
    model = method.prepare(model)
    optimizer = torch.optim.SGD(method.parameter_groups(model, 0.0), lr=0.2, momentum=0.5)
    found = []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        ((model(x) - x @ wanted.T) ** 2).mean().backward()
        optimizer.step()
        model = method.after_step(model, optimizer)
        if step % settings["every"] == 0:
            found.append((step, method.tensors()["0"].clone()))
    return found


def _colors(now: Tensor, came: Tensor, gone: Tensor) -> list[list[Any]]:
    """What a weight of a mask is drawn in."""
    return [
        [
            CAME if came[y, x] else KEPT if now[y, x] else GONE if gone[y, x] else OUT
            for x in range(now.shape[1])
        ]
        for y in range(now.shape[0])
    ]


def iterative(figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    config = iterative_magnitude.Config()
    steps = training(left, "weights kept")
    ends = iterative_magnitude.round_ends(200, config)
    kept = [
        iterative_magnitude.kept_after(sum(end <= step for end in ends), config, 50, 1000) / 1000
        for step in steps.tolist()
    ]
    left.plot(steps / 200, kept, drawstyle="steps-post")
    left.set(title=f"nonzeros=5% in {config.rounds} rounds", ylim=(0, 1.03))
    training(right, "")
    place = [iterative_magnitude.place_in_round(step, 200, config) for step in steps.tolist()]
    right.plot(steps / 200, place, color=COLORS[1])
    right.set(title="place in the rate's schedule", ylim=(0, 1.03))


def snipped(figure: Figure) -> None:
    ax = figure.subplots()
    w, g = seeded(300), seeded(300, seed=1)
    score = snip.saliency({"": snip.connection_sensitivity(w, g)})
    kept = keep_largest(score, 30)[""]
    for mask, color, label in ((~kept, INK, "goes"), (kept, KEPT, "stays: the largest 10%")):
        ax.scatter(w[mask], g[mask], s=16, color=color, label=label, alpha=1 if color == KEPT else 0.5, lw=0)
    ax.set(xlabel="w", ylabel="dL/dw", title="|w dL/dw| decides, neither alone")
    ax.legend()


def penalised(figure: Figure) -> None:
    ax = figure.subplots()
    x, wanted = seeded(200, 100, seed=1), seeded(100, seed=2) ** 3 / 3
    for strength in (0.0, 0.1, 0.5):
        model = nn.Sequential(nn.Linear(100, 1, bias=False)).double()
        method = METHODS["l1"]("nonzeros=20%", strength=strength)  # type: ignore[call-arg]
        model = method.prepare(model)
        with torch.no_grad():
            model[0].weight.copy_(seeded(1, 100) / 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            (((model(x)[:, 0] - x @ wanted) ** 2).mean() + method.penalty(model)).backward()
            optimizer.step()
        found = model[0].weight.detach().abs().flatten().sort(descending=True).values
        ax.plot(range(1, 101), found.clamp(min=1e-3), label=f"strength = {strength:g}")
    ax.axvline(20, color=INK, lw=1, ls=":")
    ax.text(21, 1.5, "nonzeros=20%: the cut")
    ax.set(yscale="log", xlabel="100 weights of a linear regression, by size", ylabel="|w|", ylim=(8e-4, 9))
    ax.set_yticks([0.001, 0.01, 0.1, 1], ["0.001", "0.01", "0.1", "1"])
    ax.legend(loc="lower left")


def evolved(figure: Figure) -> None:
    def gone(weight: Tensor, mask: Tensor) -> Tensor:
        return nearest_zero(weight, mask, METHODS["set"].configured().drop)  # type: ignore[attr-defined]

    _exchanges(figure, gone, lambda step: seeded(10, 10, seed=step).abs(), "by lot")


def rigged(figure: Figure) -> None:
    config = rigl.RigLConfig()

    def gone(weight: Tensor, mask: Tensor) -> Tensor:
        return regrowth.dropped(weight, mask, int(config.drop * int(mask.sum())))

    _exchanges(figure, gone, lambda step: _pull(step), "of largest |dL/dw|")


def _pull(step: int) -> Tensor:
    """A gradient that changes slowly, as a network's does."""
    return (seeded(10, 10, seed=5) + 0.5 * seeded(10, 10, seed=step)).abs()


def _exchanges(figure: Figure, gone: Callable[[Tensor, Tensor], Tensor], score: Any, how: str) -> None:
    """Draw four exchanges of a layer of 100 weights, 20 of which there are."""
    axes = figure.subplots(1, 4)
    weight = seeded(10, 10)
    mask = keep_largest({"": seeded(10, 10, seed=9).abs()}, 20)[""]
    for number, ax in enumerate(axes, start=1):
        out = gone(weight, mask)
        after = regrowth.exchanged(weight, mask, score(20 + number), 0.3, out)
        grid(ax, _colors(after, after & ~mask, mask & ~after), f"exchange {number}")
        weight, mask = torch.where(after & mask, weight, 0.3 * seeded(10, 10, seed=40 + number)), after
    legend_below(figure, {"kept": KEPT, f"grown, {how}": CAME, "dropped, nearest to zero": GONE})


def regenerated(figure: Figure) -> None:
    ax = figure.subplots()
    config, steps = granet.Config(), training(ax, "")
    kept = [gradual_magnitude.kept_weights(step, 200, 50, 1000, config) / 1000 for step in steps.tolist()]
    back = [regrowth.drop_share(step, 200, config.regenerate) for step in steps.tolist()]
    ax.plot(steps / 200, kept, label="weights kept, nonzeros=5%")
    ax.plot(steps / 200, back, label="r, the share of a layer's that is exchanged")
    ax.set(ylim=(0, 1.03))
    ax.legend()


def alternating(figure: Figure) -> None:
    ax = figure.subplots()
    config, steps = ac_dc.Config(), training(ax, "weights kept")
    kept = [0.05 if ac_dc.compressed(step, 200, config) else 1.0 for step in steps.tolist()]
    ax.plot(steps / 200, kept, drawstyle="steps-post")
    ax.fill_between(steps / 200, kept, step="post", alpha=0.15)
    ax.set(title="nonzeros=5%: dense, sparse, dense, ..., sparse", ylim=(0, 1.03))


def thresholds(figure: Figure) -> None:
    ax = figure.subplots()
    w = torch.linspace(-1, 1, 401, dtype=torch.float64)
    for s in (-8.0, -2.0, -0.5):
        s_tensor = torch.tensor(s, dtype=torch.float64)
        ax.plot(
            w, soft.soft_threshold(w, s_tensor), label=f"s = {s:g}: threshold {float(s_tensor.sigmoid()):.2g}"
        )
    ax.set(xlabel="w", title="S_g(w, s): what the network computes with")
    ax.legend()


def powers(figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    theta = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64)
    for alpha in (1.0, 2.0, 3.0):
        left.plot(theta, powerpropagation.power(theta, alpha), label=f"alpha = {alpha:g}")
        right.plot(theta, powerpropagation.slope(theta, alpha), label=f"alpha = {alpha:g}")
    left.set(xlabel="theta", title="w = theta |theta|^(alpha - 1)")
    right.set(xlabel="theta", title="how fast w learns: dw/dtheta", ylim=(0, 4.6))
    right.legend(loc="upper center")


def soft_masks(figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    values = seeded(1000).abs()
    x = torch.linspace(0, 3.2, 321, dtype=torch.float64)
    for beta in (1.0, 4.0, 10.0):
        tau = solve_threshold(values, 100, beta)
        left.plot(x, soft_mask(x, tau, beta), label=f"beta = {beta:g}, tau = {tau:.2f}")
    left.set(xlabel="|theta|", title="sigma, of 1,000 weights, sum 100", ylim=(0, 1.5))
    left.legend(loc="upper left")
    config, steps = spartan.Config(), training(right, "")
    kept = [spartan.kept_weights(step, 200, 50, 1000, config) / 1000 for step in steps.tolist()]
    beta = [spartan.sharpness(step, 200, config) / config.beta for step in steps.tolist()]
    right.plot(steps / 200, kept, label="k / all weights")
    right.plot(steps / 200, beta, label=f"beta / {config.beta:g}")
    right.set(title="nonzeros=5%: the schedule", ylim=(0, 1.35))
    right.legend(ncols=2, loc="upper center")


def hard_concrete(figure: Figure) -> None:
    ax = figure.subplots()
    at = torch.linspace(-6, 6, 241, dtype=torch.float64)
    quantiles = [l0.hard_concrete(at, torch.logit(torch.full_like(at, u))) for u in (0.1, 0.5, 0.9)]
    ax.fill_between(at, quantiles[0], quantiles[2], alpha=0.15, lw=0, label="z in training, 80% of the draws")
    ax.plot(at, l0.gate_at_test(at), label="z^ at test")
    ax.plot(at, l0.open_probability(at), label="P(z != 0)")
    ax.set(xlabel="log alpha", ylim=(0, 1.5))
    ax.legend(loc="upper left")


def _criterion(figure: Figure, score: Callable[[Tensor], Tensor], title: str) -> None:
    """Draw g_nk of 8 channels, and what a criterion makes of them."""
    left, right = figure.subplots(1, 2)
    mean = torch.tensor([0.1, 1.2, -0.8, 0.0, 0.4, -0.3, 0.9, 0.2], dtype=torch.float64)
    spread = torch.tensor([0.2, 0.3, 0.9, 1.5, 0.3, 0.1, 0.4, 0.8], dtype=torch.float64)
    g_NK = mean + spread * seeded(40, 8)
    for k in range(8):
        left.scatter([k] * 40, g_NK[:, k], s=8, color=COLORS[4], alpha=0.6, lw=0)
    left.axhline(0, color=INK, lw=1)
    left.set(xlabel="channel k", xticks=range(8), title="g_nk of 40 examples")
    bars(right, score(g_NK).tolist(), 2, "channel k", title)


def fisher(figure: Figure) -> None:
    kind = METHODS["fisher"].fold  # type: ignore[attr-defined]
    _criterion(figure, lambda g: saliency(kind(None, g), len(g)), "Delta_k = mean g² / 2: two go next")


def first_order(figure: Figure) -> None:
    kind = METHODS["taylor"].fold  # type: ignore[attr-defined]
    _criterion(
        figure, lambda g: taylor.normalised(kind(None, g) / len(g)), "mean |g|, normalised: two go next"
    )


def sensitive(figure: Figure) -> None:
    kind = METHODS["snip-channels"].fold  # type: ignore[attr-defined]
    _criterion(
        figure,
        lambda g: snip_channels.sensitivity({"": kind(None, g) / len(g)})[""],
        "|mean g|: signs cancel; two go next",
    )


def filters(figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    layer = seeded(12, 4, 3, 3) * torch.linspace(0.4, 1.2, 12, dtype=torch.float64)[torch.randperm(
        12, generator=torch.Generator().manual_seed(1)
    )].reshape(-1, 1, 1, 1)  # fmt: skip
    for ax, p in ((left, 1), (right, 2)):
        bars(
            ax,
            norms.relative(norms.filter_norm([layer], p)).tolist(),
            3,
            "channel k",
            f"p = {p}: norm / mean",
        )


def scales(figure: Figure) -> None:
    ax = figure.subplots()
    gammas = [seeded(16, 1, seed=seed) * 0.5 + 0.6 for seed in (1, 2)]
    bars(
        ax,
        mean_scale(gammas).tolist(),
        4,
        "channel k",
        "|gamma_k|, the mean over two normalisations: four go next",
    )


def drawn_channels(figure: Figure) -> None:
    ax = figure.subplots()
    names: list[str] = []
    for place, seed in enumerate((0, 1, 2)):
        torch.manual_seed(0)
        model = sc.models.wide_resnet(depth=10, width=1, in_channels=1, image_size=8)
        method = METHODS["random-channels"]("params=50%", at_once=0, seed=seed)  # type: ignore[call-arg]
        model = method.cut(method.prepare(model))  # type: ignore[attr-defined]
        names = list(anatomy_of(model).graph.groups)
        ax.bar([i + 0.27 * (place - 1) for i in range(len(names))], model.widths, 0.25, label=f"seed {seed}")
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="channels left", title="wrn-10-1 at params=50%, by lot")
    ax.legend()


def _widths(figure: Figure, arm: str) -> None:
    """Draw how wide each block of wrn-16-1 is inside, whole and at a quarter of its parameters."""
    ax = figure.subplots()
    results = Results.load(RECORDED)
    whole = results.dense[0].widths
    found = [point.widths for point in results.points if (point.arm, point.budget) == (arm, "params=25%")]
    sides = {"whole": whole, f"{arm}, params=25%": found[0]}
    for place, (label, widths) in enumerate(sides.items()):
        ax.bar([i + 0.4 * place for i in range(len(widths))], list(widths.values()), 0.38, label=label)
    ax.set_xticks([i + 0.2 for i in range(len(whole))], list(whole))
    ax.set(ylabel="channels inside the block", title=f"wrn-16-1: {ARMS[arm].meaning}")
    ax.legend()


PICTURES: dict[str, Callable[[Figure], None]] = {
    "ac-dc": alternating,
    "batch-norm-scale": scales,
    "bottleneck": lambda figure: _widths(figure, "bottleneck"),
    "channel-reparametrization": channel_reparametrization,
    "copycat": lambda figure: _widths(figure, "copycat"),
    "dynamic-feedback": feedback,
    "filter-norm": filters,
    "fisher": fisher,
    "fisher-scratch": lambda figure: _widths(figure, "fisher-scratch"),
    "gradual-magnitude": gradual,
    "granet": regenerated,
    "iterative-magnitude": iterative,
    "l0": hard_concrete,
    "l1": penalised,
    "magnitude": magnitude,
    "powerpropagation": powers,
    "random": random_weights,
    "random-channels": drawn_channels,
    "reparametrization": reparametrization,
    "rigl": rigged,
    "set": evolved,
    "snip": snipped,
    "snip-channels": sensitive,
    "spartan": soft_masks,
    "str": thresholds,
    "taylor": first_order,
    "width": lambda figure: _widths(figure, "width"),
}


def svg(name: str) -> bytes:
    """Draw one."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.8, 2.7), layout="constrained")
        PICTURES[name](figure)
        held = io.BytesIO()
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    return held.getvalue()


def stale(names: Sequence[str] = tuple(PICTURES)) -> list[str]:
    """Those that are not as they would be drawn."""
    found = {name: HOME / f"{name}.svg" for name in names}
    return [name for name, path in found.items() if not path.is_file() or path.read_bytes() != svg(name)]


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 where --check finds a difference."""
    names = [name for name in arguments if name != "--check"] or list(PICTURES)
    if "--check" in arguments:
        for name in (found := stale(names)):
            print(f"docs/methods/pictures/{name}.svg is stale: run python tools/method_pictures.py {name}")
        return bool(found)
    for name in names:
        write_bytes(HOME / f"{name}.svg", svg(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
