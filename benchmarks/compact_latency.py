"""How much faster compact networks are: WRN-40-2 (2.2M parameters), 32x32 images, batch 1, one thread.

On the runtimes whose dense networks are fastest, at 800k and at 500k parameters: `uneven`, channels removed
one by one, by lot (latency does not know which); `scaled`, copycat's shape, every group times one alpha
(`Architecture.scaled_to`); `multiples`, the same in multiples of what `--granularity auto` found of that
runtime, at most as large; and `padded`, the uneven one as `export --pad-widths` pads it. Each runtime has a
process of its own, for the spinning threads of one slow down another; in every round all networks of all
runtimes take their turn. The bars are of the fastest compact network, by `multiples`, over the fastest dense
one, whichever runtimes these are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks.fisher_run import order_of_removal, without
from benchmarks.processes import Partner, ask, serve
from benchmarks.records import Found, Settings
from benchmarks.timing import Action, Times, measure
from secateur.architecture.architecture import Architecture
from secateur.budget import Deployment
from secateur.deploy.given import Given
from secateur.deploy.latency import prepared
from secateur.deploy.widths import LIKED, padded
from secateur.methods.granularity import liked
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.constraints import Bounds

PARTS = RUNTIMES = ("onnxruntime", "openvino")
BARS = {"800k": 0.63, "500k": 0.52}
PARAMS = {"800k": 800_000, "500k": 500_000}
SHAPES = ("uneven", "scaled", "multiples", "padded")
REPEATS = 10  # of a network in its turn: about 30 ms
MODULE = "benchmarks.compact_latency"


def run(settings: Settings) -> Found:
    """Of each runtime every shape over its dense network; then the bars."""
    if settings.device != "cpu":
        return Found(notes=["measured on a CPU only: that is where these runtimes run"])
    found = Found()
    runtimes = [name for name in RUNTIMES if settings.wanted(name)][: 1 if settings.quick else None]
    budgets = [*BARS][: 1 if settings.quick else None]
    with ExitStack() as stack:
        actions: dict[str, Any] = {}
        for runtime in runtimes:
            question = {"runtime": runtime, "budgets": budgets, "quick": settings.quick}
            answers = {budget: _liked(question, budget, found) for budget in budgets}
            partner = stack.enter_context(
                Partner(MODULE, {**question, "liked": answers}, OMP_NUM_THREADS="1")
            )
            for word in _words(budgets):
                actions[f"{runtime} {word}"] = Action(_turn(partner, word), per=REPEATS)
        times = measure(actions, rounds=settings.rounds, at_least_s=0)
    for runtime in runtimes:
        for budget in budgets:
            _shapes(found, times, runtime, budget)
    for budget in budgets:
        dense, compact = (
            min((f"{runtime} {word}" for runtime in runtimes), key=times.median)
            for word in ("dense", f"{budget} multiples")
        )
        found.add(f"params={budget}", times, compact, dense, bar=settings.bar(BARS[budget]))
    found.more["networks"] = described(settings.quick, budgets)
    return found


def _words(budgets: list[str]) -> list[str]:
    return ["dense", *(f"{budget} {shape}" for budget in budgets for shape in SHAPES)]


def _turn(partner: Partner, word: str) -> Callable[[], None]:
    return lambda: partner(word)


def _liked(question: dict[str, Any], budget: str, found: Found) -> int:
    """What `--granularity auto` finds for a latency of the bar; it is asked in a process of its own."""
    if question["quick"]:
        return 4
    answer = ask(MODULE, {**question, "share": BARS[budget]}, OMP_NUM_THREADS="1")
    found.notes.append(f"{question['runtime']}, {budget}: {answer['said']}")
    return int(answer["granularity"])


def _shapes(found: Found, times: Times, runtime: str, budget: str) -> None:
    dense, uneven = f"{runtime} dense", f"{runtime} {budget} uneven"
    for shape in SHAPES:
        found.add(f"{runtime} {budget} {shape}", times, f"{runtime} {budget} {shape}", dense)
    found.add(f"{runtime} {budget} padding", times, f"{runtime} {budget} padded", uneven)


# The networks


def whole(quick: bool) -> Architecture:
    """WRN-40-2; a tiny relative where it is quick."""
    arguments = {"depth": 10, "width": 1, "image_size": 8} if quick else {"depth": 40, "width": 2}
    return Architecture.from_factory("wide_resnet", arguments)


def limit(architecture: Architecture, budget: str) -> int:
    """Parameters: as many, or where it is quick the same share."""
    dense = Architecture.from_factory("wide_resnet", {"depth": 40, "width": 2})
    return architecture.params * PARAMS[budget] // dense.params


def uneven(architecture: Architecture, params: int) -> Architecture:
    """Channels go by lot, one by one, until the budget holds."""
    model = architecture.skeleton()
    order = order_of_removal(architecture.widths)
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if without(model, order[:middle]).params <= params else (middle + 1, high)
    return without(model, order[:low])


def multiples(architecture: Architecture, params: int, number: int) -> Architecture:
    """Copycat's shape in multiples, as pruning in them leaves: rounded, then filled up to the budget."""
    best = None
    for percent in range(1, 101):
        nearest = [round(percent / 100 * width / number) * number for width in architecture.widths]
        pairs = zip(nearest, architecture.widths, strict=True)
        found = architecture.with_widths([min(max(number, width), most) for width, most in pairs])
        if found.params <= params and (best is None or found.params > best.params):
            best = found
    assert best is not None, "even one granule a group is too much"
    for group, most in reversed([*enumerate(architecture.widths)]):  # the last have the most parameters
        widths = [width + number * (index == group) for index, width in enumerate(best.widths)]
        wider = architecture.with_widths(widths)
        if widths[group] <= most and wider.params <= params:
            best = wider
    return best


def networks(quick: bool, runtime: str, granularity: dict[str, int]) -> dict[str, torch.nn.Module]:
    """Every network of a runtime, by the word for it."""
    dense = whole(quick)
    found = {"dense": dense.build(seed=0)}
    for budget, of_runtime in granularity.items():
        params = limit(dense, budget)
        found[f"{budget} uneven"] = pruned = uneven(dense, params).build(seed=0)
        found[f"{budget} scaled"] = dense.scaled_to(f"params={params}").build(seed=0)
        found[f"{budget} multiples"] = multiples(dense, params, of_runtime).build(seed=0)
        found[f"{budget} padded"] = padded(pruned, LIKED[runtime]) or pruned
    return found


def described(quick: bool, budgets: list[str]) -> dict[str, Any]:
    """Parameters and MACs of the shapes, for the record."""
    dense, found = whole(quick), {}
    for budget in budgets:
        params = limit(dense, budget)
        shapes = {"uneven": uneven(dense, params), "scaled": dense.scaled_to(f"params={params}")}
        for number in (4,) if quick else (4, 8, 16):
            shapes[f"multiples of {number}"] = multiples(dense, params, number)
        found[budget] = {name: {"params": each.params, "macs": each.macs} for name, each in shapes.items()}
    return {"dense": {"params": dense.params, "macs": dense.macs}, **found}


# In the process of one runtime


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    """What the runtime likes at a share of the dense network's latency."""
    from secateur.methods.goal import agreed_latency

    model, where = whole(question["quick"]).build(seed=0), Deployment(question["runtime"])
    anatomy = anatomy_of(model)
    limit_ns = round(question["share"] * agreed_latency(model, anatomy.inputs, where).nanoseconds)
    found = liked(model, anatomy, limit_ns, where, Bounds())
    return {"granularity": found.granularity, "said": found.said}


def _serve(question: dict[str, Any]) -> None:
    """Have every network ready, and run what is asked for."""
    models = networks(question["quick"], question["runtime"], question["liked"])
    side = 8 if question["quick"] else 32
    batch = Given.of(torch.zeros(1, 3, side, side))
    with prepared(models, batch, Deployment(question["runtime"])) as runs:
        serve({word: _repeated(one) for word, one in runs.items()})


def _repeated(one: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(REPEATS):
            one()

    return run


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if "share" in asked:
        print(json.dumps(_answer(asked)))
    else:
        _serve(asked)
