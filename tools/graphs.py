"""Three dependency graphs on the same networks: ours, torch-pruning's, torch-kirigami's.

    pip install torch-pruning torch-kirigami transformers && python tools/graphs.py

Every group that a graph offers is cut by a random quarter of its channels in a copy with random weights and
statistics, and the logits are compared in float64 with those of the whole network in which nobody reads what
was cut. The libraries cut with their own removal, channels that they choose themselves; what their cut
removes, so what the reference masks, is what they say of it. Writes graphs.json and graphs.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from secateur import models
from secateur.device import Runtime
from secateur.network.inputs import call, output_tensors
from secateur.network.weights import weight_layers
from secateur.runs.environment import describe_environment
from secateur.surgery.agreement import TOLERANCE, agree
from secateur.surgery.proof import proved
from secateur.surgery.stand_ins import channel_dim
from secateur.surgery.tracing import trace
from secateur.surgery.trial import Trial

ROOT = Path(__file__).parents[1]
SHARE, DRAWS = 0.25, 2
OUTCOMES = ("right", "wrong", "error", "declined")
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
FAMILIES = {
    "wide resnet": (lambda: models.wide_resnet(depth=10, width=0.5, in_channels=3, image_size=16), 16),
    "resnet18": (lambda: models.resnet18(width=0.125, in_channels=3, image_size=16), 16),
    "vgg19": (lambda: models.vgg19(width=0.0625, in_channels=3, image_size=32), 32),
    "conv4": (lambda: models.conv4(width=0.125, in_channels=3, image_size=16), 16),
}


class Declined(Exception):
    """A graph's own refusal to cut a group, said before anything was cut."""


@dataclass
class Cut:
    """A cut network, and what the whole one has to mask: module -> the entries that are gone.

    Attributes:
        reads: of what a convolution or linear layer reads.
        writes: of what it writes, which a matrix product may read (queries and keys).
        norms: of what a layer or group normalisation takes its statistics over.
    """

    compact: nn.Module
    reads: dict[str, set[int]] = field(default_factory=dict)
    writes: dict[str, set[int]] = field(default_factory=dict)
    norms: dict[str, set[int]] = field(default_factory=dict)


def networks():
    """Name -> (factory, inputs): those of the tests, Hugging Face's, our own families."""
    sys.path.insert(0, str(ROOT / "tests"))
    import foreign

    found = dict(foreign.NETWORKS)
    for name in foreign.HUGGINGFACE:
        found[f"{name} (HF)"] = (lambda name=name: foreign.huggingface(name), lambda: foreign.images(32))
    for name, (factory, side) in FAMILIES.items():
        found[f"{name} (ours)"] = (factory, lambda side=side: foreign.images(side))
    return found


class Ours:
    """Traced and proved; what is frozen by either counts as declined."""

    package = "secateur"

    def __init__(self, model, inputs):
        self.model, self.inputs = model, inputs
        self.graph = proved(model, trace(model, inputs), inputs)
        output = "written to the network's output"
        self.frozen = {of.name: of.reason for of in self.graph.frozen if of.reason != output}
        self.groups = [*self.graph.groups, *self.frozen]

    def cut(self, name, seed):
        if name in self.frozen:
            raise Declined(self.frozen[name])
        width = self.graph.groups[name].width
        order = torch.randperm(width, generator=torch.Generator().manual_seed(seed)).tolist()
        gone = set(order[: min(max(1, int(width * SHARE)), width - 1)])
        keeps, _ = self.graph.keeps_without({name: gone})
        found = Cut(copy.deepcopy(self.model))
        for (module, kind), keep in keeps.items():
            note(found, self.model, module, kind, (~keep).nonzero().flatten().tolist())
        copy.deepcopy(self.graph).remove(found.compact, name, sorted(gone))
        return found


class TorchPruning:
    """`BasePruner` with default options, a random importance, the classifier ignored, as its README has it.

    The pruner chooses the channels (balanced ones where it knows of groups), `interactive=True` hands out
    one group after the other, and `group.prune()` removes them.
    """

    package = "torch-pruning"

    def __init__(self, model, inputs):
        import torch_pruning

        self.tp, self.model, self.inputs = torch_pruning, model, inputs
        self.ignored = [
            of.name for of in trace(model, inputs).frozen if of.reason == "written to the network's output"
        ]
        pruner, _ = self._pruner()
        every = pruner.DG.get_all_groups(
            ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types
        )
        self.groups = [pruner.DG._module2name[group[0].dep.target.module] for group in every]

    def _pruner(self):
        """A copy, and a pruner of it. Its defaults for channel groups are dictionaries that pruners share."""
        copied = copy.deepcopy(self.model)
        inputs = list(self.inputs) if isinstance(self.inputs, tuple) else self.inputs
        pruner = self.tp.pruner.BasePruner(
            copied,
            inputs,
            importance=self.tp.importance.RandomImportance(),
            pruning_ratio=SHARE,
            ignored_layers=[copied.get_submodule(name) for name in self.ignored],
            output_transform=output_tensors,
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
        )
        return pruner, copied

    def cut(self, name, seed):
        torch.manual_seed(seed)
        pruner, copied = self._pruner()
        for group in pruner.step(interactive=True):
            if pruner.DG._module2name[group[0].dep.target.module] == name:
                return self._pruned(pruner, copied, group)
        raise Declined("the pruner hands out no such group: too little would be left")

    def _pruned(self, pruner, copied, group):
        names = {module: name for name, module in copied.named_modules()}
        found = Cut(copied)
        for dep, entries in group:
            module = dep.target.module
            if isinstance(module, nn.Module) and module in names:
                reads = pruner.DG.is_in_channel_pruning_fn(dep.handler) and not depthwise(module)
                note(found, self.model, names[module], "in" if reads else "out", entries)
        group.prune()
        return found


class Kirigami:
    """`DependencyGraph`, discovered candidates, `Greedy` with random scores and a quarter as `ChannelRatio`.

    A group is a channel axis that it discovers, unless another one's candidates remove the very same.
    """

    package = "torch-kirigami"

    def __init__(self, model, inputs):
        import torch_kirigami
        from torch_kirigami import pruning

        self.graphs, self.pruning = torch_kirigami.DependencyGraph, pruning
        self.model = model
        self.inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        pruner, _ = self._pruner()
        space, seen, self.groups = pruner.discover_candidates(), [], []
        for index, axis in enumerate(space.channel_axes):
            removed = self._removals(pruner, [c for c in space.candidates if c.axis == axis])
            if removed is None or removed not in seen:
                self.groups.append(index)
                seen.append(removed)

    def _pruner(self):
        copied = copy.deepcopy(self.model)
        return self.pruning.Pruner(copied, graph=self.graphs.build(copied, args=self.inputs)), copied

    def _removals(self, pruner, candidates):
        """What each candidate of an axis removes; None where that is not known to the end."""
        try:
            groups = pruner.parameter_groups(candidates)
        except self.pruning.PlanningError:
            return None
        return {
            tuple(
                (s.tensor.id, tuple(tuple(a.intervals for a in r.axes) for r in s.regions))
                for s in g.selections
            )
            for g in groups
        }

    def cut(self, index, seed):
        pruner, copied = self._pruner()
        space = pruner.discover_candidates()
        axis = space.channel_axes[index]
        part = self.pruning.CandidateSpace(tuple(c for c in space.candidates if c.axis == axis), (axis,))
        strategy = self.pruning.Greedy(RandomScores(seed))
        try:
            plan = pruner.plan(part, budget=self.pruning.ChannelRatio(SHARE), strategy=strategy)
        except self.pruning.PlanningError as error:
            raise Declined(str(error)) from None
        impact = pruner.impact([c for c in part.candidates if c.key in plan.selected])
        found = Cut(copied)
        for operation in pruner.graph.operations():
            if isinstance(operation.module, (nn.Linear, nn.modules.conv._ConvNd, *NORMS)):
                last = isinstance(operation.module, (nn.Linear, nn.LayerNorm, nn.RMSNorm))
                for kind, tensors in (("in", operation.inputs), ("out", operation.outputs)):
                    dim = len(tensors[0].shape) - 1 if last else 1
                    gone = impact.selection(tensors[0]).fully_selected_indices(dim)
                    note(found, self.model, operation.module_path, kind, list(gone))
        pruner.apply(plan)
        return found


class RandomScores:
    """A metric of torch-kirigami: any order of the candidates is as likely as any other."""

    def __init__(self, seed):
        self.generator, self.scores = torch.Generator().manual_seed(seed), {}

    def score(self, context, candidates, *, accepted_impact):
        for candidate in candidates:
            if candidate.key not in self.scores:
                self.scores[candidate.key] = float(torch.rand((), generator=self.generator))
        return [self.scores[candidate.key] for candidate in candidates]


GRAPHS = (Ours, TorchPruning, Kirigami)


def depthwise(module):
    """Whether a convolution hands each channel on: nobody reads there."""
    return isinstance(module, nn.modules.conv._ConvNd) and module.groups == module.out_channels > 1


def note(cut, whole, name, kind, entries):
    """Note what a cut removes from a module where the reference has to know of it."""
    if isinstance(whole.get_submodule(name), NORMS):
        of_kind = cut.norms
    elif name in weight_layers(whole):
        of_kind = cut.reads if kind == "in" else cut.writes
    else:
        return
    if entries:
        of_kind.setdefault(name, set()).update(entries)


@contextmanager
def reference(model, cut) -> Iterator[None]:
    """The whole network in which what was cut is written and read as zero, and normalised over the others."""
    hooks = []
    for name, gone in cut.writes.items():
        module = model.get_submodule(name)
        hooks.append(module.register_forward_hook(silence(module, sorted(gone))))
    for name, gone in cut.reads.items():
        module = model.get_submodule(name)
        hooks.append(module.register_forward_pre_hook(blank(module, sorted(gone))))
    for name, gone in cut.norms.items():
        module = model.get_submodule(name)
        hooks.append(module.register_forward_hook(over_kept(sorted(gone))))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def blank(module, gone):
    """Zero entries of what a layer reads."""
    dim = -1 if isinstance(module, nn.Linear) else 1
    return lambda _module, given: (given[0].index_fill(dim, torch.tensor(gone), 0), *given[1:])


def silence(module, gone):
    """Zero entries of what a layer writes."""
    dim = -1 if isinstance(module, nn.Linear) else 1
    return lambda _module, _given, output: output.index_fill(dim, torch.tensor(gone), 0)


def over_kept(gone):
    """A layer or group normalisation whose statistics are over what is kept of each of its groups."""

    def hook(module, given, _output):
        x = given[0]
        dim = channel_dim(module, x)
        x = x.movedim(dim, 1 if isinstance(module, nn.GroupNorm) else -1)
        if isinstance(module, nn.GroupNorm):
            return group_norm(module, x, gone).movedim(1, dim)
        kept = torch.tensor([i for i in range(x.shape[-1]) if i not in gone])
        weight, bias = (
            None if v is None else v[kept] for v in (module.weight, getattr(module, "bias", None))
        )
        if isinstance(module, nn.RMSNorm):
            normal = F.rms_norm(x[..., kept], (len(kept),), weight, module.eps)
        else:
            normal = F.layer_norm(x[..., kept], (len(kept),), weight, bias, module.eps)
        return torch.zeros_like(x).index_copy(-1, kept, normal).movedim(-1, dim)

    return hook


def group_norm(module, x, gone):
    """Each group by itself, as some may keep more channels than others."""
    out = torch.zeros_like(x)
    for numbers in torch.arange(module.num_channels).chunk(module.num_groups):
        kept = torch.tensor([int(i) for i in numbers if int(i) not in gone], dtype=torch.long)
        if len(kept):
            scale = (module.weight[kept], module.bias[kept]) if module.affine else (None, None)
            out.index_copy_(1, kept, F.group_norm(x[:, kept], 1, *scale, module.eps))
    return out


def judge(graph, group, trial):
    """(outcome, first line of the reason) of a group, over all draws: the worst of them."""
    worst = ("right", "")
    for seed in range(DRAWS):
        outcome = judge_once(graph, group, trial, seed)
        if OUTCOMES.index(outcome[0]) > 0 and (worst[0] == "right" or outcome[0] == "wrong"):
            worst = outcome
    return worst


def judge_once(graph, group, trial, seed):
    try:
        cut = graph.cut(group, seed)
    except Declined as error:
        return "declined", first_line(error)
    except Exception as error:
        return "error", first_line(error)
    with torch.no_grad():
        for batch in trial.batches:
            with reference(trial.model, cut):
                expected = output_tensors(call(trial.model, batch))
            try:
                found = output_tensors(call(cut.compact, batch))
            except Exception as error:
                return "error", first_line(error)
            if not agree(found, expected, TOLERANCE[trial.dtype]):
                gap = max(
                    float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)
                )
                return "wrong", f"logits off by {gap:.1g} of the largest"
    return "right", ""


def first_line(error):
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def judged(kind, trial):
    """One graph on one network."""
    row = {"found": 0, **dict.fromkeys(OUTCOMES, 0), "refused": None, "reasons": {}}
    try:
        graph = kind(trial.model, trial.batches[0])
    except ImportError:
        raise
    except Exception as error:
        return {**row, "refused": first_line(error)}
    row["found"] = len(graph.groups)
    for group in graph.groups:
        outcome, reason = judge(graph, group, trial)
        row[outcome] += 1
        if reason:
            row["reasons"].setdefault(outcome, reason)
    return row


def measure():
    """Every network under every graph."""
    rows = []
    for name, (factory, inputs) in networks().items():
        torch.manual_seed(0)
        trial = Trial(factory(), inputs())
        for kind in GRAPHS:
            print(f"{name}: {kind.package}", file=sys.stderr, flush=True)
            with warnings.catch_warnings(), torch.random.fork_rng():
                warnings.simplefilter("ignore")
                row = judged(kind, trial)
            rows.append({"network": name, "graph": kind.package, **row})
    return rows


def table(results):
    """The recorded rows as Markdown: one line a network, one column a graph, and what is behind them."""
    cells = {(row["network"], row["graph"]): row for row in results["rows"]}
    names = list(dict.fromkeys(row["network"] for row in results["rows"]))
    graphs = list(dict.fromkeys(row["graph"] for row in results["rows"]))
    heads = [f"{graph} {results['environment'][graph]}" for graph in graphs]
    lines = [f"| network | {' | '.join(heads)} |", f"|---|{'---|' * len(graphs)}"]
    lines += [f"| {n} | {' | '.join(cell(cells[n, g]) for g in graphs)} |" for n in names]
    totals = (total([cells[n, g] for n in names]) for g in graphs)
    return "\n".join([*lines, f"| **all** | {' | '.join(totals)} |", "", *notes(results), ""])


def cell(row):
    """What became of the groups found, zeros left out."""
    if row["refused"]:
        return "model refused"
    words = {"right": "right", "wrong": "**wrong**", "error": "failed", "declined": "declined"}
    return ", ".join(f"{row[key]} {word}" for key, word in words.items() if row[key]) or "no group"


def total(rows):
    """The sums of a column."""
    sums = {key: sum(row[key] for row in rows) for key in OUTCOMES}
    refused = sum(row["refused"] is not None for row in rows)
    return cell({**sums, "refused": None}) + (f"; {refused} models refused" if refused else "")


def notes(results):
    """How it was done, and where it comes from."""
    environment = results["environment"]
    return [
        f"Groups by what became of them, with a random quarter of the channels cut, {DRAWS} times: the "
        "logits of the masked network every time (right); other logits, without a word (wrong); an exception "
        "at the cut, or in the cut network (failed); not cut, by the graph's own judgement (declined).",
        "",
        "Groups are counted as each graph has them; the graphs divide channels differently. torch-pruning: "
        "`BasePruner` with default options and `RandomImportance`, the classifier ignored; it chooses the "
        "channels, balanced where it knows of groups. torch-kirigami: discovered candidates, `Greedy` with "
        "random scores, `ChannelRatio(0.25)`, one channel axis at a time. Reasons for all that is not right "
        "are in `results/surgery/graphs.json`.",
        "",
        f"{environment['device']}, torch {environment['torch']}, transformers {environment['transformers']}, "
        f"commit {environment['commit']}, {environment['date']}.",
    ]


def main() -> int:
    """Measure and write; exit code 1 without the libraries."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "surgery")
    out = parser.parse_args().out
    try:
        libraries = {name: version(name) for name in ("torch-pruning", "torch-kirigami", "transformers")}
        environment = {**describe_environment(Runtime("cpu"), "fp32"), **libraries}
        results = {
            "schema": 1,
            "command": "python tools/graphs.py",
            "settings": {"share": SHARE, "draws": DRAWS, "tolerance": TOLERANCE[torch.float64]},
            "rows": measure(),
            "environment": environment,
        }
    except ImportError as error:  # a package that is not there, too
        print(f"{error}: pip install torch-pruning torch-kirigami transformers", file=sys.stderr)
        return 1
    out.mkdir(parents=True, exist_ok=True)
    (out / "graphs.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "graphs.md").write_text(table(results), encoding="utf-8")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
