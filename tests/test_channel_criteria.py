"""The criteria for channels against gates of their own, example by example, in float64."""

from __future__ import annotations

import copy
import functools
import importlib.util
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

import foreign
from secateur import models
from secateur.budget import Limits
from secateur.errors import InputError, TrainingError
from secateur.methods import (
    CHANNEL_METHODS,
    BatchNormScale,
    FilterNorm,
    Fisher,
    RandomChannels,
    SNIPChannels,
    Taylor,
)
from secateur.methods.gradients import channel_gradients
from secateur.methods.norms import filter_norm
from secateur.network.counting import uses_of_weights
from secateur.network.inputs import call, logits_of, map_inputs
from secateur.network.weights import count_params, weight_layers
from secateur.surgery.anatomy import anatomy_of, open_model

F64 = torch.float64
EXAMPLES = 4
GRADIENT = {"fisher": Fisher, "taylor": Taylor, "snip-channels": SNIPChannels}


def wide_resnet():
    return models.wide_resnet(depth=10, stages=[4, 6, 8], in_channels=1, image_size=8)


def padded():
    return foreign.PaddedResNet(width=4)


def seeded(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


class Windows(nn.Module):
    """The quarters of an image pass a layer as four rows of the batch, as in a Swin transformer."""

    def __init__(self):
        super().__init__()
        self.conv, self.inner, self.fc = nn.Conv2d(3, 6, 3, 1, 1), nn.Conv2d(6, 5, 3), nn.Linear(5, 10)

    def forward(self, x):
        n, _, h, w = x.shape
        x = torch.relu(self.conv(x)).view(n, -1, 2, h // 2, 2, w // 2)
        x = self.inner(x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2))
        return self.fc(torch.relu(x).mean((2, 3)).view(n, 4, -1).mean(1))


NETWORKS = {
    "wide resnet": (wide_resnet, lambda: seeded(EXAMPLES, 1, 8, 8)),
    "residual stream": (padded, lambda: seeded(EXAMPLES, 3, 8, 8)),
    "concatenation": (lambda: foreign.DenseNet(growth=4), lambda: seeded(EXAMPLES, 3, 8, 8)),
    "shuffle": (lambda: foreign.ShuffleNet(channels=16), lambda: seeded(EXAMPLES, 3, 8, 8)),
    "squeeze-excite": (foreign.SqueezeExcite, lambda: seeded(EXAMPLES, 3, 8, 8)),
    "two inputs": (foreign.TwoInputs, lambda: (seeded(EXAMPLES, 3, 8, 8), seeded(EXAMPLES, 7))),
    "windows": (Windows, lambda: seeded(EXAMPLES, 3, 8, 8)),
    "mlp": (foreign.mlp, lambda: seeded(EXAMPLES, 1, 8, 8)),
    "1-d": (foreign.signal_net, lambda: seeded(EXAMPLES, 2, 64)),
    "convnext": (lambda: foreign.huggingface("convnext"), lambda: seeded(EXAMPLES, 3, 32, 32)),
}


@functools.cache
def inspected(name):
    """A network in float64 with its anatomy, and inputs; normalisations are not the identity."""
    if name == "convnext" and not importlib.util.find_spec("transformers"):
        pytest.skip("transformers is not installed")
    factory, inputs = NETWORKS[name]
    torch.manual_seed(3)
    model = factory().double()
    for module in model.modules():
        if isinstance(module, (_BatchNorm, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.5)
    batch = map_inputs(inputs(), lambda x: x.double())
    open_model(model, batch)
    return model, batch


def network(name):
    """A copy to prune, and a batch with its targets."""
    model, batch = inspected(name)
    return copy.deepcopy(model), batch, torch.arange(EXAMPLES) % 10


def part(batch, rows):
    return map_inputs(batch, lambda x: x[rows])


def frozen_statistics(model):
    """Training mode, but with fixed batch-norm statistics: every example's gradient is its own."""
    model.train()
    for module in model.modules():
        if isinstance(module, (_BatchNorm, nn.Dropout)):
            module.eval()
    return model


def loss_of(model, batch, target):
    return F.cross_entropy(logits_of(call(model, batch)), target)


def gate_gradients(model, batch, target):
    """dL_n/dc_k, where c_k = 1 multiplies channel k wherever a layer reads it: group -> (N, K)."""
    graph = anatomy_of(model).graph
    gates = {name: torch.ones(graph.width(name), dtype=F64, requires_grad=True) for name in graph.groups}
    of_layer = {}
    for group in graph:
        for site in group.reads:
            entries = graph.present(site, group.name)
            of_layer.setdefault(site.axis, []).append((group.name, entries))

    def gated(axis):
        def hook(layer, inputs):
            factors = torch.ones(graph.size(axis), dtype=F64)
            for name, entries in of_layer[axis]:
                factors = factors.index_put((entries,), gates[name][:, None].expand(entries.shape))
            x = inputs[0]
            return (
                x * factors if isinstance(layer, nn.Linear) else (x.movedim(1, -1) * factors).movedim(-1, 1),
            )

        return hook

    hooks = [model.get_submodule(axis[0]).register_forward_pre_hook(gated(axis)) for axis in of_layer]
    rows = []
    for n in range(EXAMPLES):
        loss = loss_of(model, part(batch, slice(n, n + 1)), target[n : n + 1])
        rows.append(torch.autograd.grad(loss, list(gates.values())))
    for hook in hooks:
        hook.remove()
    return {name: torch.stack(column) for name, column in zip(gates, zip(*rows, strict=True), strict=True)}


def by_definition(criterion, gradients):
    """The papers' scores of dL_n/dc_k, group -> (N, K)."""
    if criterion == "fisher":
        return {name: (g**2).sum(0) / (2 * len(g)) for name, g in gradients.items()}
    if criterion == "taylor":
        theta = {name: g.abs().mean(0) for name, g in gradients.items()}
        return {name: value / (value**2).sum().sqrt() for name, value in theta.items()}
    of_mean = {name: g.mean(0).abs() for name, g in gradients.items()}
    total = sum(value.sum() for value in of_mean.values())
    return {name: value / total for name, value in of_mean.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_criteria_equal_gates_of_their_own(name):
    """On the whole network, and after a cut."""
    model, batch, target = network(name)
    frozen_statistics(model)
    for cut in (False, True):
        graph = anatomy_of(model).graph
        if cut:
            for group in graph:
                anatomy_of(model).remove(
                    model, group.name, [0, graph.width(group.name) // 2][: graph.width(group.name) - 1]
                )
        gradients = gate_gradients(model, batch, target)
        for criterion, make in GRADIENT.items():
            method = make(removals=1)
            method.prepare(model)
            loss_of(model, batch, target).backward()
            found, expected = method.scores(model), by_definition(criterion, gradients)
            method.finalize(model)
            assert list(found) == list(graph.groups)
            for group, scores in found.items():
                torch.testing.assert_close(
                    scores, expected[group], rtol=1e-9, atol=1e-15, msg=f"{criterion} {group}"
                )
                assert scores.max() > 0


def window(method, model, batch, target, rows):
    """What a method says after a backward pass for each of `rows`."""
    method.prepare(model)
    for some in rows:
        loss_of(model, part(batch, some), target[some]).backward()
    return torch.cat(list(method.scores(model).values()))


@pytest.mark.parametrize("criterion", GRADIENT)
def test_scores_do_not_depend_on_how_a_window_is_batched(criterion):
    expected = None
    for sizes in ((4,), (1, 3), (2, 2), (1, 1, 1, 1)):
        model, batch, target = network("residual stream")
        rows = torch.arange(EXAMPLES).split(sizes)
        found = window(GRADIENT[criterion](removals=1), frozen_statistics(model), batch, target, rows)
        expected = found if expected is None else expected
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("criterion", GRADIENT)
@pytest.mark.parametrize("lively", [True, False], ids=["lively", "dead"])
def test_an_interrupted_window_goes_on(criterion, lively):
    """Also one whose gradients were all zero: they were seen."""
    model, batch, target = network("residual stream")
    rows = torch.arange(EXAMPLES).split((1, 3))
    whole = GRADIENT[criterion](removals=1)
    expected = window(whole, frozen_statistics(model), batch, target, rows)
    before, after = GRADIENT[criterion](removals=1), GRADIENT[criterion](removals=1)
    before.prepare(other := frozen_statistics(network("residual stream")[0]))
    (lively * loss_of(other, part(batch, rows[0]), target[rows[0]])).backward()
    after.prepare(model := frozen_statistics(network("residual stream")[0]))
    after.restore(before.state(), {name: value.clone() for name, value in before.tensors().items()})
    if lively:
        loss_of(model, part(batch, rows[1]), target[rows[1]]).backward()
        found = torch.cat(list(after.scores(model).values()))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    else:
        assert not any(value.any() for value in after.scores(model).values())
    assert after.examples == (EXAMPLES if lively else 1)


def test_taylor_without_its_normalisation_is_a_mean_over_examples():
    model, batch, target = network("residual stream")
    gradients = gate_gradients(frozen_statistics(model), batch, target)
    method = Taylor(removals=1, normalise=False)
    method.prepare(model)
    loss_of(model, batch, target).backward()
    for name, found in method.scores(model).items():
        torch.testing.assert_close(found, gradients[name].abs().mean(0), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("criterion", GRADIENT)
def test_two_forward_passes_may_share_a_backward(criterion):
    """And passes of evaluation in between do not count, whatever their batch."""
    scores = []
    for shared in (True, False):
        model, batch, target = network("residual stream")
        method = GRADIENT[criterion](removals=1)
        method.prepare(frozen_statistics(model))
        rows = torch.arange(EXAMPLES).split((1, 3))
        losses = [loss_of(model, part(batch, some), target[some]) for some in rows]
        if shared:
            call(model.eval(), part(batch, slice(2)))
            sum(losses).backward()
        else:
            for loss in losses:
                loss.backward()
        assert method.scores(model).keys() == anatomy_of(model).graph.groups.keys()
        assert method.examples == EXAMPLES
        scores.append(torch.cat(list(method.scores(model).values())))
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-12, atol=0)


def keep_read(reads, name, _module, inputs):
    inputs[0].retain_grad()
    reads[name] = inputs[0]


def test_bfloat16_is_summed_in_float32():
    """257 has 9 significant bits, bfloat16 keeps 8."""
    ones = torch.ones(1, 2, 257, dtype=torch.bfloat16)
    found = channel_gradients(ones, ones)
    assert found.dtype == torch.float32
    assert found.tolist() == [[-257.0, -257.0]]
    model, batch, target = network("mlp")
    model, batch = model.bfloat16(), batch.bfloat16()
    reads = {}
    for name in ("4", "6"):  # what the group's one consumer reads, and its gradient
        model.get_submodule(name).register_forward_pre_hook(functools.partial(keep_read, reads, name))
    method = Fisher(removals=1)
    method.prepare(model)
    loss_of(model, batch, target).backward()
    for (_, found), act in zip(method.scores(model).items(), reads.values(), strict=True):
        g = EXAMPLES * act.detach().double() * act.grad.double()
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), (g**2).sum(0) / (2 * EXAMPLES), rtol=1e-5, atol=1e-12)


def test_frozen_layers_and_layers_in_evaluation_mode_are_scored_as_any_other():
    model, batch, target = network("residual stream")
    frozen_statistics(model)
    expected = by_definition("fisher", gate_gradients(model, batch, target))
    model.conv.requires_grad_(False)
    model.bn.requires_grad_(False)
    model.blocks[0].requires_grad_(False).eval()
    method = Fisher(removals=1)
    with pytest.warns(UserWarning, match=r"leaves channels alone: conv, blocks\.0\.conv1"):
        method.prepare(model)
    loss_of(model, batch, target).backward()
    for group, scores in method.scores(model).items():
        torch.testing.assert_close(scores, expected[group], rtol=1e-9, atol=1e-15)


class Stream(nn.Module):
    """A stream of three channels that two layers write and two read, by hand."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.norm_a, self.norm_b = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        self.out, self.norm_out = nn.Linear(3, 4), nn.BatchNorm1d(4)
        with torch.no_grad():
            self.a.weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 1.0], [3.0, 0.0]]))
            self.b.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 2.0, 0.0]]))
            self.norm_a.weight.copy_(torch.tensor([1.0, -2.0, 3.0]))
            self.norm_b.weight.copy_(torch.tensor([-3.0, 0.0, 1.0]))
            self.norm_out.weight.fill_(100.0)

    def forward(self, x):
        x = torch.relu(self.norm_a(self.a(x)))
        return self.norm_out(self.out(torch.relu(x + self.norm_b(self.b(x)))))


def in_balanced_sets():
    """Channels k and k + 4 go together: the second layer reads them in two groups. All its weights are 1."""
    model = nn.Sequential(
        nn.Conv1d(1, 8, 1, bias=False),
        nn.BatchNorm1d(8),
        nn.Conv1d(8, 8, 1, groups=2, bias=False),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0, 6.0, 7.0, 8.0]).view(8, 1, 1))
        model[1].weight.copy_(torch.tensor([1.0, 2.0, -3.0, 4.0, 5.0, 6.0, 7.0, -8.0]))
        model[2].weight.fill_(1.0)
    return model


def opened(model, *shape):
    open_model(model, seeded(*shape))
    return model


def test_filter_norms_by_hand():
    one = FilterNorm(removals=1)
    one.prepare(model := opened(Stream(), 5, 2))
    assert set(one.scores(model)) == {"a"}
    # 1 + 2 and 1; 1 and 1; 3 and 2: over their mean, 11/3.
    expected = torch.tensor([4.0, 2.0, 5.0]) * 3 / 11
    torch.testing.assert_close(one.scores(model)["a"], expected)
    two = FilterNorm(removals=1, p=2)
    two.prepare(model)
    norms = torch.tensor([6.0, 2.0, 13.0]).sqrt()
    torch.testing.assert_close(two.scores(model)["a"], norms / norms.mean())
    one.anatomy.remove(model, "a", [1])  # and with it what `b` read there, the 2
    torch.testing.assert_close(one.scores(model)["a"], torch.tensor([4.0, 3.0]) / 3.5)


def test_filter_norms_of_balanced_sets_by_hand():
    method = FilterNorm(removals=1)
    method.prepare(model := opened(in_balanced_sets(), 3, 1, 2))
    first, second = method.scores(model).values()
    torch.testing.assert_close(first, torch.tensor([6.0, 8.0, 10.0, 12.0]) / 9)  # 1 + 5, 2 + 6, ...
    assert second.tolist() == [1.0] * 4
    assert {kind: filter_norm([torch.tensor([[3.0, -4.0]])], kind).item() for kind in (1, 2)} == {
        1: 7.0,
        2: 5.0,
    }


def test_filter_norms_of_half_precision_are_not_tied():
    """1 + 2**-9 and 1 are one number in bfloat16; their sums of 4 weights each are not in float32."""
    weights = torch.ones(2, 257, dtype=torch.bfloat16)
    weights[1, 0] = 2
    assert filter_norm([weights], 1).tolist() == [257.0, 258.0]


def test_transposed_convolutions_write_along_their_second_dimension():
    model = nn.Sequential(nn.ConvTranspose1d(2, 3, 1, bias=False), nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])[:, :, None])
    method = FilterNorm(removals=1)
    method.prepare(opened(model, 3, 2, 2))
    torch.testing.assert_close(method.scores(model)["0"], torch.tensor([5.0, 7.0, 9.0]) / 7)


def test_batch_norm_scales_and_their_penalty_by_hand():
    method = BatchNormScale(removals=1, strength=0.1)
    method.prepare(model := opened(Stream(), 5, 2))
    assert {name: value.tolist() for name, value in method.scores(model).items()} == {"a": [2.0, 1.0, 2.0]}
    penalty = method.penalty(model)
    assert penalty.item() == pytest.approx(0.1 * (6 + 4))  # the last normalisation belongs to no group
    penalty.backward()
    torch.testing.assert_close(model.norm_a.weight.grad, torch.tensor([0.1, -0.1, 0.1]))
    torch.testing.assert_close(model.norm_b.weight.grad, torch.tensor([-0.1, 0.0, 0.1]))
    assert model.norm_out.weight.grad is None
    method.anatomy.remove(model, "a", [0])
    assert method.scores(model)["a"].tolist() == [1.0, 2.0]
    assert method.penalty(model).item() == pytest.approx(0.1 * (5 + 1))


def test_batch_norm_scales_of_balanced_sets_by_hand():
    method = BatchNormScale(removals=1, strength=0.5)
    method.prepare(model := opened(in_balanced_sets(), 3, 1, 2))
    scores = {name: value.tolist() for name, value in method.scores(model).items()}
    assert scores == {"0": [3.0, 4.0, 5.0, 6.0]}  # (1 + 5) / 2, ...; the other group has no normalisation
    assert method.penalty(model).item() == 0.5 * 36


class Training:
    """A user's loop on a network, in float64: SGD with momentum and weight decay."""

    def __init__(self, name, method, lr=0.02):
        model, batch, _ = network(name)
        self.method, self.batch = method, batch
        self.model = method.prepare(model.train())
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        self.steps = 0

    def data(self):
        """New examples for every step."""
        generator = torch.Generator().manual_seed(self.steps)
        x = map_inputs(self.batch, lambda old: torch.randn(old.shape, generator=generator, dtype=F64))
        return x, torch.randint(0, 10, (EXAMPLES,), generator=generator)

    def step(self):
        x, y = self.data()
        (loss_of(self.model, x, y) + self.method.penalty(self.model)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1
        self.model = self.method.after_step(self.model, self.optimizer)

    def run(self):
        while not self.method.finished:
            self.step()
        return self

    @property
    def order(self):
        return [(entry["group"], entry["channel"]) for entry in self.method.removed]


class MaskedReference:
    """The whole network, trained alike: nothing is removed, what layers read is multiplied by a mask."""

    def __init__(self, name):
        self.model, _, _ = network(name)
        self.model.train()
        self.groups = anatomy_of(self.model).graph.groups
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
        self.alive = {name: torch.ones(group.width, dtype=bool) for name, group in self.groups.items()}
        self.reads, self.window, self.removed = {}, [], []
        for layer in {site.axis[0] for group in self.groups.values() for site in group.reads}:
            self.model.get_submodule(layer).register_forward_pre_hook(functools.partial(self.read, layer))

    def left(self, layer, kind):
        """Which entries of an axis are left."""
        size = self.model.get_submodule(layer).weight.shape[kind == "in"]
        mask = torch.ones(size, dtype=bool)
        for name, group in self.groups.items():
            for site in group.sites:
                if site.axis == (layer, kind):
                    mask[site.entries[~self.alive[name]].flatten()] = False
        return mask

    def read(self, layer, _module, inputs):
        mask = self.left(layer, "in").to(F64)
        act = inputs[0] * mask.view(1, -1, *[1] * (inputs[0].dim() - 2))
        act.retain_grad()
        self.reads[layer] = act
        return (act,)

    def step(self, x, y, penalty):
        (loss_of(self.model, x, y) + penalty(self)).backward()
        g = {}
        for name, group in self.groups.items():
            total = torch.zeros(len(y), group.width, dtype=F64)
            for site in group.reads:
                act = self.reads[site.axis[0]]
                each = (
                    (len(y) * act * act.grad).flatten(2).sum(2) if act.dim() > 2 else len(y) * act * act.grad
                )
                total += each[:, site.entries].sum(2)
            g[name] = total.detach()[:, self.alive[name]]
        self.window.append(g)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def gammas(self, name):
        """(normalisations and entries, K) of a group's channels that are left."""
        norms = [site for site in self.groups[name].sites if "bn" in site.axis[0]]
        layers = [self.model.get_submodule(site.axis[0]).weight[site.entries].T for site in norms]
        return torch.cat(layers)[:, self.alive[name]]

    def filters(self, name):
        """The weights that write a group's channels, from inputs that are left: (K, everything)."""
        found = []
        for site in self.groups[name].sites:
            layer, kind = site.axis
            if kind == "out" and "bn" not in layer:
                weight = self.model.get_submodule(layer).weight[:, self.left(layer, "in")]
                found.append(weight[site.entries][self.alive[name]].flatten(1))
        return torch.cat(found, 1).detach()

    def scores(self, criterion):
        if criterion == "batch-norm-scale":
            return {name: self.gammas(name).detach().abs().mean(0) for name in self.groups}
        if criterion == "filter-norm":
            norms = {name: self.filters(name).norm(dim=1) for name in self.groups}
            return {name: norm / norm.mean() for name, norm in norms.items()}
        return by_definition(
            criterion, {name: torch.cat([g[name] for g in self.window]) for name in self.groups}
        )

    def remove_lowest(self, criterion):
        scores = self.scores(criterion)
        can_go = [name for name in scores if len(scores[name]) > 1]
        name = min(can_go, key=lambda name: scores[name].min())
        channel = int(self.alive[name].nonzero().flatten()[scores[name].argmin()])
        self.alive[name][channel] = False
        self.removed.append((name, channel))
        self.window = []


@pytest.mark.parametrize("criterion", [*GRADIENT, "filter-norm", "batch-norm-scale"])
def test_pruning_a_coupled_network_equals_the_masked_uncompacted_reference(criterion):
    """The same channels in the same order, and the same surviving weights to 1e-10."""
    settings = {"filter-norm": {"p": 2}, "batch-norm-scale": {"strength": 0.01}}.get(criterion, {})
    ours = Training("residual stream", CHANNEL_METHODS[criterion](every=2, removals=30, **settings))
    theirs = MaskedReference("residual stream")

    def penalty(reference):
        gammas = [reference.gammas(name).abs().sum() for name in reference.groups]
        return 0.01 * sum(gammas) if criterion == "batch-norm-scale" else 0.0

    while not ours.method.finished:
        theirs.step(*ours.data(), penalty)
        if ours.steps % 2 == 1 and len(theirs.removed) < 30:
            theirs.remove_lowest(criterion)
        ours.step()
    assert ours.order == theirs.removed
    streams = ("conv", "blocks.1.conv2")
    assert sum(group in streams for group, _ in ours.order) > 1, "several layers write and read them"
    compact, whole = weight_layers(ours.model), weight_layers(theirs.model)
    for name, layer in whole.items():
        expected = layer.weight[theirs.left(name, "out")][:, theirs.left(name, "in")]
        torch.testing.assert_close(compact[name].weight, expected, rtol=0, atol=1e-10)
    for group, name in (("conv", "bn"), ("blocks.1.conv1", "blocks.1.bn1")):
        norm, full = ours.model.get_submodule(name), theirs.model.get_submodule(name)
        torch.testing.assert_close(
            norm.running_var, full.running_var[theirs.alive[group]], rtol=0, atol=1e-10
        )
        torch.testing.assert_close(norm.bias, full.bias[theirs.alive[group]], rtol=0, atol=1e-10)


def random_run(name="residual stream", seed=0, removals=12, until=10**6):
    run = Training(name, RandomChannels(every=2, removals=removals, seed=seed), lr=0.0)
    while not run.method.finished and run.steps < until:
        run.step()
    return run


def test_random_removals_are_the_seeds():
    first = random_run().order
    assert first == random_run().order
    assert first != random_run(seed=1).order
    assert len(set(first)) == 12
    method = RandomChannels(removals=2)
    method.prepare(model := network("mlp")[0])
    numbers = method.scores(model)["1"]
    assert torch.equal(method.scores(model)["1"], numbers)
    method.removed.append({})
    assert not torch.equal(method.scores(model)["1"], numbers), "new ones for every removal"
    assert random_run(seed=10**30, removals=1).order  # beyond what torch takes for a seed


def test_random_removals_go_on_where_they_were_interrupted():
    half = random_run(until=11)
    other = RandomChannels(every=2, removals=12)
    half.model = other.prepare(copy.deepcopy(half.model))
    half.optimizer = torch.optim.SGD(half.model.parameters(), lr=0.0)
    other.restore(half.method.state(), half.method.tensors())
    half.method = other
    assert half.run().order == random_run().order


def test_random_removals_are_even_over_all_channels_that_can_go():
    """Chi-square of 3600 first removals from 18 channels: 99.99% of all draws are below 47."""
    model, _, _ = network("wide resnet")
    method = RandomChannels(removals=1)
    method.prepare(model)
    drawn = Counter()
    for method.seed in range(3600):
        name, channels = method._lowest(method.scores(model))
        drawn[name, channels[0]] += 1
    assert len(drawn) == 4 + 6 + 8
    assert sum((count - 200) ** 2 / 200 for count in drawn.values()) < 47
    for name in list(method.anatomy.graph.groups)[:2]:
        method.anatomy.remove(model, name, range(1, method.anatomy.graph.width(name)))
    assert method._lowest(method.scores(model))[0] == list(method.anatomy.graph.groups)[2]


def writers(model, name):
    """The layers that write a group's channels: name -> channels of it they write now, and of all."""
    graph = anatomy_of(model).graph
    layers = weight_layers(model)
    sites = [site for site in graph.groups[name].sites if site.axis[1] == "out" and site.axis[0] in layers]
    return {site.axis[0]: graph.present(site, name).numel() for site in sites}


@pytest.mark.parametrize("name", ["wide resnet", "residual stream", "shuffle", "1-d"])
@pytest.mark.parametrize("granularity", [2, 4])
def test_what_is_cut_keeps_a_multiple_in_every_layer(name, granularity):
    whole, _, _ = network(name)
    method = RandomChannels("params=80%", every=1, granularity=granularity)
    run = Training(name, method, lr=0.0).run()
    assert count_params(run.model) <= int(0.8 * count_params(whole)) < method.removed[-1]["params"]
    for group in {group for group, _ in run.order}:
        for layer, left in writers(run.model, group).items():
            assert left % granularity == 0, layer
            assert left >= granularity
    narrow = [g.name for g in anatomy_of(whole).graph if min(writers(whole, g.name).values()) < granularity]
    assert not {group for group, _ in run.order} & set(narrow)


def test_a_width_that_is_no_multiple_is_first_made_one():
    """Of 6 channels 2 go, then 4 at a time; of 4 none."""
    run = Training("wide resnet", RandomChannels(every=1, granularity=4, removals=6, seed=2), lr=0.0).run()
    assert sorted(Counter(group for group, _ in run.order).values()) == [2, 4]
    assert run.model.widths == (4, 4, 4)


def test_the_granule_with_the_lowest_mean_goes():
    method = FilterNorm(removals=2, every=1, granularity=2)
    run = Training("wide resnet", method, lr=0.0)
    expected = {name: values.sort() for name, values in method.scores(run.model).items()}
    best = min(expected, key=lambda name: expected[name].values[:2].mean())
    run.step()
    assert run.order == [(best, channel) for channel in sorted(expected[best].indices[:2].tolist())]


@pytest.mark.parametrize("at_once", [0, 3])
def test_several_channels_at_once_are_the_lowest_of_one_window(at_once):
    """Single shot, or three a window; the examples that a window saw count once."""
    run = Training("residual stream", Taylor(every=2, removals=7, at_once=at_once), lr=0.0)
    run.step()
    x, y = run.data()
    probe = copy.deepcopy(run.model)
    ranked = []
    loss_of(run.model, x, y).backward()
    for name, values in run.method.scores(run.model).items():
        ranked += [(value, name, channel) for channel, value in enumerate(values.tolist())]
    ranked.sort()
    assert anatomy_of(probe).graph.widths == anatomy_of(run.model).graph.widths
    run.optimizer.zero_grad()
    run.steps += 1
    run.method.after_step(run.model, run.optimizer)
    assert run.order == [(name, channel) for _, name, channel in ranked[: at_once or 7]]
    run.run()
    assert len(run.order) == 7
    windows = 1 if at_once == 0 else 3
    assert run.steps == 2 * (windows + 1)
    assert sum(entry["examples"] for entry in run.method.removed) == 2 * EXAMPLES * windows


@pytest.mark.parametrize("name", ["residual stream", "shuffle", "two inputs"])
def test_beta_takes_off_the_macs_of_a_channel(name):
    """Recounted after the cut of one channel."""
    model, batch, target = network(name)
    plain, priced = (SNIPChannels(removals=1, beta=beta) for beta in (0.0, 1e-6))
    for method in (plain, priced):
        method.prepare(model)
    loss_of(model, batch, target).backward()
    for group, scores in plain.scores(model).items():
        small = copy.deepcopy(model)
        anatomy_of(small).remove(small, group, [0])
        price = recounted(model, batch)["macs"] - recounted(small, batch)["macs"]
        torch.testing.assert_close(priced.scores(model)[group], scores - 1e-6 * price, rtol=1e-12, atol=1e-15)


def recounted(model, batch):
    """Parameters and MACs without the books."""
    uses = uses_of_weights(model, batch)
    macs = sum(layer.weight.numel() * uses[name] for name, layer in weight_layers(model).items())
    return {"params": count_params(model), "macs": macs}


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["wide resnet", "residual stream", "shuffle"]),
    st.sampled_from(["params", "macs"]),
    st.floats(0, 1),
    st.integers(0, 4),
    st.integers(0, 10**6),
)
def test_any_budget_is_met_and_the_last_removal_was_needed(name, resource, share, at_once, seed):
    model, batch, _ = network(name)
    whole = recounted(model, batch)[resource]
    least = anatomy_of(model).costs.at(dict.fromkeys(anatomy_of(model).graph.groups, 1))[resource]
    limits = Limits.at({resource: least + round(share * (whole - least))})
    method = RandomChannels(limits, every=1, seed=seed, at_once=at_once)
    method.prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    while not method.finished:
        model = method.after_step(model, optimizer)
    assert recounted(model, batch)[resource] <= method.limit
    assert not method.removed or method.limit < method.removed[-1][resource] <= whole
    assert min(anatomy_of(model).graph.widths.values()) >= 1
    assert torch.isfinite(logits_of(call(model.eval(), batch))).all()


def out_of_reach():
    method = RandomChannels("params=60%", granularity=8)
    method.prepare(network("wide resnet")[0])


def no_batch_norm_to_reach_it():
    """Half of its parameters belong to groups that batch normalisation does not rank."""
    model = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 3)
    )
    BatchNormScale("params=30%").prepare(opened(model, 5, 4))


def without_backward(make):
    def refused():
        run = Training("residual stream", make(every=1, removals=1))
        run.method.after_step(run.model, run.optimizer)

    return refused


def in_evaluation_mode():
    run = Training("residual stream", Fisher(every=1, removals=1))
    run.model.eval()
    run.step()


class Blocked(nn.Module):
    """A backbone that no gradient reaches; in training it may lose rows, too."""

    def __init__(self, rows=None):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 10)
        self.rows = rows

    def forward(self, x):
        with torch.set_grad_enabled(self.rows is not None):
            x = self.b(torch.relu(self.a(x)))
        return self.c(torch.relu(x[: self.rows] if self.training else x))


def blocked(rows=None):
    def refused():
        model = opened(Blocked(rows), EXAMPLES, 4)
        method = Fisher(removals=1)
        method.prepare(model)
        out = model(seeded(EXAMPLES, 4))
        out.sum().backward()
        method.scores(model)

    return refused


def nowhere_to_go():
    Training("mlp", RandomChannels(every=1, removals=79), lr=0.0).run()


def without_the_optimizer():
    run = Training("mlp", FilterNorm(every=1, removals=1))
    run.method.after_step(run.model)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Taylor("params=50%", every=0), "every must be at least 1 step, got 0"),
        (lambda: Taylor("params=50%", beta=math.nan), "beta must be at least 0, got nan"),
        (lambda: Taylor("params=50%", beta=math.inf), "beta must be at least 0, got inf"),
        (lambda: Taylor("params=50%", granularity=0), 'granularity must be at least 1, or "auto", got 0'),
        (lambda: Taylor("params=50%", at_once=-1), "at_once must be at least 0, got -1"),
        (lambda: Taylor(), "taylor: give either a budget or a number of removals"),
        (lambda: Taylor("params=50%", removals=3), "taylor: give either a budget or a number of removals"),
        (lambda: Taylor(removals=0), "taylor: removals must be at least 1 channel, got 0"),
        (lambda: Taylor("params=500%"), "at most 100%"),
        (lambda: Taylor("params=1G").prepare(network("mlp")[0]), "must not exceed the network's own size"),
        (lambda: FilterNorm("params=50%", p=3), "filter-norm: p must be 1 or 2, got 3"),
        (lambda: BatchNormScale("params=50%", strength=-1), "strength must be at least 0, got -1"),
        (lambda: BatchNormScale("params=50%", strength=math.nan), "strength must be at least 0, got nan"),
        (lambda: BatchNormScale("params=50%").prepare(network("mlp")[0]), "no channel group here has one"),
        (lambda: RandomChannels("params=50%").prepare(foreign.mlp()), r"call sc\.inspect\(model, inputs\)"),
        (out_of_reach, "its smallest width, .*: ask for at least params="),
        (no_batch_norm_to_reach_it, "batch-norm-scale: the budget of .* ask for at least params="),
        *[(without_backward(make), "saw no gradient in this window") for make in GRADIENT.values()],
        (in_evaluation_mode, "in training mode"),
        (blocked(), "saw no gradient at what reads the channels of a in this window"),
        (
            blocked(rows=3),
            "fisher needs examples along the first dimension .* c reads 3 rows of a batch of 4",
        ),
        (nowhere_to_go, "every group is as narrow as it can be"),
        (without_the_optimizer, r"call method\.after_step\(model, optimizer\)"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(act, message):
    with pytest.raises(InputError, match=message) as refused:
        act()
    assert "\n" not in str(refused.value)


def test_a_training_that_diverged_removes_nothing():
    run = Training("mlp", Taylor(every=1, removals=1))
    with torch.no_grad():
        run.model[1].weight.fill_(math.nan)
    with pytest.raises(TrainingError, match="taylor: scores of 1 are not finite"):
        run.step()
    assert run.method.removed == []


def test_settings_are_the_identity_of_a_run():
    """What changes the result, and only what is not the default where it came later."""
    assert Fisher("params=50%").identity() == {"method": "fisher", "every": 100, "beta": 0.0}
    expected = {
        "method": "taylor",
        "every": 5,
        "beta": 0.0,
        "granularity": 8,
        "at_once": 0,
        "normalise": False,
    }
    assert Taylor("params=50%", every=5, granularity=8, at_once=0, normalise=False).identity() == expected
    assert FilterNorm("params=50%", p=2).identity()["p"] == 2
    assert BatchNormScale("params=50%", strength=0.5).identity()["strength"] == 0.5
    assert RandomChannels("params=50%", seed=7).identity()["seed"] == 7


def test_finalize_takes_every_hook_off():
    for make in CHANNEL_METHODS.values():
        run = Training("residual stream", make(every=1, removals=2)).run()
        model = run.method.finalize(run.model)
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
        anatomy_of(model).prove(model)
