"""Other pruning libraries on the same networks, by their documented way, judged by the same reference.

Both cut the same share of every group, at random. Neither is asked what it cut: that is read off the entries
that are left (`field.reference`). torch-pruning leaves the layers alone that write the output, as its README
has it; it is told of attention heads, and their sizes are set afterwards, as its examples do.
"""

from __future__ import annotations

import copy
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from field.reference import RIGHT, Places, Unformed, answers, blinded, fill, places_in, tag, worst
from secateur.network.inputs import Inputs, call, output_tensors

Tool = Callable[[nn.Module, Inputs, "set[str]", float, int], tuple[nn.Module, Places]]


class Late(BaseException):
    """Too many seconds have passed; no `except Exception` of a library takes it for its own."""


class Declined(Exception):
    """A tool's own refusal, said before anything was cut."""


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Raise `Late` in what computes for longer, however busy the machine; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: Any) -> None:
        raise Late(f"no end after {seconds:g} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome_of(
    tool: Tool, live: nn.Module, inputs: Inputs, last: set[str], ratio: float, seed: int, seconds: float
) -> dict[str, Any]:
    """What a tool makes of a network: right, wrong, fails in the forward pass, raised, declined, late.

    Args:
        live: the whole network with random weights, in float64.
        last: layers that write the output (`writers_of_output`).
    """
    try:
        with in_time(seconds), warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            compact, places = tool(live, inputs, last, ratio, seed)
    except (Declined, Late) as error:
        return {"outcome": "declined" if isinstance(error, Declined) else "late", "reason": first_line(error)}
    except Exception as error:
        return {"outcome": "raised", "reason": first_line(error)}
    if all(
        place.numel() == value.numel() for place, value in zip(places.values(), _floats(live), strict=False)
    ):
        return {"outcome": "nothing cut"}
    try:
        with in_time(seconds):
            found = answers(compact, inputs)
    except (Exception, Late) as error:
        return {"outcome": "fails", "reason": first_line(error), "compact": compact}
    try:
        with in_time(seconds):
            off = worst(found, answers(blinded(live, compact, places), inputs))
    except Unformed as error:
        return {"outcome": "runs", "reason": str(error), "compact": compact}
    except (Exception, Late) as error:
        return {"outcome": "runs", "reason": f"no reference: {first_line(error)}", "compact": compact}
    right = off <= RIGHT
    return {"outcome": "right" if right else "wrong", "difference": float(f"{off:.3g}"), "compact": compact}


def _floats(model: nn.Module) -> list[Tensor]:
    from field.reference import floats

    return [value for _, value in floats(model)]


def first_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


@torch.no_grad()
def writers_of_output(model: nn.Module, one: Inputs) -> set[str]:
    """Name the layers that write the output: it tells their channels apart, by where NaN in one arrives.

    What lies further inside is mixed by what comes behind it, and every channel spoils the same.
    """
    found = set()
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            first = _spoilt(model, one, module, 0)
            partly = any(bool(each.any()) and not bool(each.all()) for each in first)
            if partly and not all(map(torch.equal, first, _spoilt(model, one, module, -1))):
                found.add(name)
    return found


def _spoilt(model: nn.Module, one: Inputs, layer: nn.Module, channel: int) -> list[Tensor]:
    """Where an output is NaN if a channel of a layer is; nothing where the code does not stand NaN."""

    def mark(_layer: nn.Module, _given: Any, output: Tensor) -> Tensor:
        marked = output.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0).clone()
        marked[channel] = float("nan")
        return marked.movedim(0, -1 if isinstance(layer, nn.Linear) else 1)

    hook = layer.register_forward_hook(mark)
    try:
        return [output.isnan() for output in output_tensors(call(model, one))]
    except Exception:
        return []
    finally:
        hook.remove()


HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head")
PROJECTIONS = (
    *("qkv", "q", "k", "v", "query", "key", "value", "q_proj", "k_proj", "v_proj", "q_lin", "k_lin", "v_lin"),
    *("to_q", "to_k", "to_v", "query_key_value"),
)


def heads_of(model: nn.Module) -> dict[nn.Module, int]:
    """Projections of attention -> heads, by the attributes that most libraries use."""
    found = {}
    for module in model.modules():
        heads = next(
            (getattr(module, name) for name in HEADS if isinstance(getattr(module, name, None), int)), 0
        )
        for name in PROJECTIONS:
            layer = getattr(module, name, None)
            if heads > 1 and isinstance(layer, (nn.Linear, nn.Conv2d)):
                width = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
                grouped = (
                    getattr(module, "num_key_value_heads", heads) if name in ("k_proj", "v_proj") else heads
                )
                if isinstance(grouped, int) and width % grouped == 0:
                    found[layer] = grouped
    return found


def set_heads(model: nn.Module, heads: dict[nn.Module, int]) -> None:
    """Give attention modules the sizes of their cut projections, as torch-pruning's examples do by hand."""
    for module in model.modules():
        patches = getattr(module, "conv_proj", None)  # torchvision's ViT reshapes to a number
        if isinstance(patches, nn.Conv2d) and isinstance(getattr(module, "hidden_dim", None), int):
            module.hidden_dim = patches.out_channels  # type: ignore[assignment]
        for name in PROJECTIONS:
            layer = getattr(module, name, None)
            if layer in heads and isinstance(layer, nn.Linear):
                width = layer.out_features // (3 if name in ("qkv", "query_key_value") else 1)
                sizes = dict.fromkeys(("head_dim", "attention_head_size"), width // heads[layer])
                for size, value in {**sizes, "all_head_size": width, "attn_dim": width}.items():
                    if isinstance(getattr(module, size, None), int):
                        setattr(module, size, value)
                break


def torch_pruning(
    live: nn.Module, inputs: Inputs, last: set[str], ratio: float, seed: int
) -> tuple[nn.Module, Places]:
    """`BasePruner` with default options and `RandomImportance`."""
    import torch_pruning as library

    model = copy.deepcopy(live)
    heads = heads_of(model)
    pruner = library.pruner.BasePruner(
        model,
        list(inputs) if isinstance(inputs, tuple) else inputs,
        importance=library.importance.RandomImportance(),
        pruning_ratio=ratio,
        ignored_layers=[model.get_submodule(name) for name in sorted(last)],
        output_transform=output_tensors,
        forward_fn=call,
        in_channel_groups={},
        out_channel_groups={},
        num_heads=heads,
        round_to=next((m.num_heads for m in model.modules() if isinstance(m, nn.MultiheadAttention)), None),
    )
    tag(model)
    torch.manual_seed(seed)
    pruner.step()
    set_heads(model, pruner.num_heads)
    return _filled(model, live)


def torch_kirigami(
    live: nn.Module, inputs: Inputs, last: set[str], ratio: float, seed: int
) -> tuple[nn.Module, Places]:
    """Discovered candidates, `Greedy` with random scores and a `ChannelRatio`.

    Where that target cannot be met for every axis, which it says before it cuts, half of the parameters.
    """
    from torch_kirigami import DependencyGraph, pruning

    model = copy.deepcopy(live)
    if isinstance(inputs, dict):
        graph = DependencyGraph.build(model, kwargs=inputs)
    else:
        graph = DependencyGraph.build(model, args=inputs if isinstance(inputs, tuple) else (inputs,))
    pruner = pruning.Pruner(model, graph=graph)
    space = pruner.discover_candidates()
    params = sum(parameter.numel() for parameter in model.parameters())
    for budget in (pruning.ChannelRatio(ratio), pruning.ParameterBudget(params // 2)):
        try:
            plan = pruner.plan(space, budget=budget, strategy=pruning.Greedy(RandomScores(seed)))
            break
        except pruning.PlanningError as error:
            reason = str(error)
    else:
        raise Declined(reason)
    tag(model)
    compact, _ = pruner.apply(plan)
    return _filled(compact, live)


def _filled(model: nn.Module, live: nn.Module) -> tuple[nn.Module, Places]:
    places = places_in(model)
    fill(model, live, places)
    return model.eval(), places


class RandomScores:
    """A metric of torch-kirigami: any order of the candidates is as likely as any other."""

    def __init__(self, seed: int):
        self.generator, self.scores = torch.Generator().manual_seed(seed), dict[Any, float]()

    def score(self, context: Any, candidates: Any, *, accepted_impact: Any) -> list[float]:
        """Draw a score for every candidate, once."""
        for candidate in candidates:
            if candidate.key not in self.scores:
                self.scores[candidate.key] = float(torch.rand((), generator=self.generator))
        return [self.scores[candidate.key] for candidate in candidates]


TOOLS: dict[str, Tool] = {"torch-pruning": torch_pruning, "torch-kirigami": torch_kirigami}
