"""Fisher pruning against a per-example oracle and a masked, uncompacted reference, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from secateur import models
from secateur.errors import InputError
from secateur.methods import Fisher
from secateur.methods.channel_choice import removal_score
from secateur.methods.fisher import saliency
from secateur.methods.gradients import channel_gradients
from secateur.network.counting import layer_positions
from secateur.network.weights import count_params
from secateur.surgery.anatomy import anatomy_of

F64 = torch.float64


def frozen_statistics(model):
    """Training mode, but with fixed batch-norm statistics: every example's gradient is its own."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return model


def batch(n, shape=(1, 8, 8), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, dtype=F64, generator=generator)
    return x, torch.randint(0, 10, (n,), generator=generator)


def network(factory="wide_resnet"):
    torch.manual_seed(3)
    if factory == "conv4":
        return models.conv4(width=0.03125, in_channels=1, image_size=8).double()
    return models.wide_resnet(depth=10, stages=[4, 6, 8], in_channels=1, image_size=8).double()


def test_channel_gradients_by_hand():
    act = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # one example, two channels, 1x2
    grad = torch.tensor([[[[0.5, 0.0]], [[1.0, -1.0]]]])
    assert channel_gradients(act, grad).tolist() == [[-0.5, 1.0]]
    # Two examples of a mean loss carry a factor 1/2 in their gradients: it is multiplied out.
    assert (
        channel_gradients(act.repeat(2, 1, 1, 1), grad.repeat(2, 1, 1, 1) / 2).tolist() == [[-0.5, 1.0]] * 2
    )
    # Flattened, two features a channel.
    assert channel_gradients(act.flatten(1), grad.flatten(1), features=2).tolist() == [[-0.5, 1.0]]


def test_saliency_and_score_by_hand():
    delta = saliency(torch.tensor([8.0, 2.0]), examples=4)
    assert delta.tolist() == [1.0, 0.25]
    assert removal_score(delta, macs=10, beta=0.05).tolist() == [0.5, -0.25]


@pytest.mark.parametrize("factory", ["wide_resnet", "conv4"])
def test_saliency_equals_the_weight_side_oracle(factory):
    """Per example, sum(w * dL_n/dw) over the consumer's input slice equals sum_ij(a * dL_n/da)."""
    model = frozen_statistics(network(factory))
    x, y = batch(5)
    squares = {
        group.name: torch.zeros(width, dtype=F64)
        for group, width in zip(model.groups, model.widths, strict=True)
    }
    for n in range(len(x)):
        loss = F.cross_entropy(model(x[n : n + 1]), y[n : n + 1])
        for group in model.groups:
            weight = model.get_submodule(group.readers[0]).weight
            (grad,) = torch.autograd.grad(loss, weight, retain_graph=True)
            per_input = (weight * grad).transpose(0, 1).flatten(1).sum(1)
            per_channel = per_input.reshape(len(squares[group.name]), -1).sum(1)
            squares[group.name] += per_channel.detach() ** 2
    method = Fisher("params=99%", every=100)
    method.prepare(model)
    F.cross_entropy(model(x), y).backward()
    for name, scores in method.scores(model).items():
        torch.testing.assert_close(scores, squares[name] / (2 * len(x)), rtol=1e-10, atol=1e-16)
        assert scores.max() > 0


def test_saliency_does_not_depend_on_the_batch_size():
    x, y = batch(12)
    found = []
    for size in (12, 4, 5, 1):
        model = frozen_statistics(network())
        method = Fisher("params=99%", every=100)
        method.prepare(model)
        for start in range(0, 12, size):
            F.cross_entropy(model(x[start : start + size]), y[start : start + size]).backward()
        found.append(torch.cat(list(method.scores(model).values())))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-10, atol=1e-16)


class MaskedReference:
    """Fisher pruning as published: nothing is removed, what the consumer reads is multiplied by a mask."""

    def __init__(self, model, beta):
        self.model, self.beta = model, beta
        self.positions = layer_positions(model, model.input_shape)
        self.masks = {
            group.name: torch.ones(width, dtype=F64)
            for group, width in zip(model.groups, model.widths, strict=True)
        }
        self.reads = {}
        self.removed = []
        self.reset()
        for group in model.groups:
            model.get_submodule(group.readers[0]).register_forward_pre_hook(self.hook(group.name))

    def reset(self):
        self.squares = {name: torch.zeros_like(mask) for name, mask in self.masks.items()}
        self.examples = 0

    def hook(self, name):
        def read(_module, inputs):
            act = inputs[0] * self.masks[name][None, :, None, None]
            act.retain_grad()
            self.reads[name] = act
            return (act,)

        return read

    def after_backward(self, n):
        for name, act in self.reads.items():
            self.squares[name] += (n * act * act.grad).sum((2, 3)).pow(2).sum(0)
        self.examples += n

    def remove_one(self):
        best = None
        for group in self.model.groups:
            mask = self.masks[group.name]
            if mask.sum() <= 1:
                continue
            # One channel's MACs at the present widths, as the compact network has them.
            conv1, conv2 = (self.model.get_submodule(layer) for layer in (group.writers[0], group.readers[0]))
            macs = conv1.weight[0].numel() * self.positions[group.writers[0]]
            macs += conv2.weight[:, 0].numel() * self.positions[group.readers[0]]
            score = self.squares[group.name] / (2 * self.examples) - self.beta * macs
            score[mask == 0] = float("inf")
            value, channel = score.min(0)
            if best is None or value < best[0]:
                best = (value, group.name, int(channel))
        self.masks[best[1]][best[2]] = 0
        self.removed.append(best[1:])
        self.reset()


@pytest.mark.parametrize("beta", [0.0, 1e-7], ids=["plain", "flop-penalty"])
def test_pruning_equals_the_masked_uncompacted_reference(beta):
    """The same channels in the same order, and the same surviving weights to 1e-12."""
    every, removals = 3, 11
    compact, full = network(), network()
    method = Fisher(every=every, beta=beta, removals=removals)
    compact = method.prepare(compact)
    reference = MaskedReference(full, beta)
    settings = {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4}
    ours = torch.optim.SGD(compact.parameters(), **settings)
    theirs = torch.optim.SGD(full.parameters(), **settings)
    steps = 0
    while not method.finished:
        x, y = batch(6, seed=steps)
        F.cross_entropy(compact(x), y).backward()
        ours.step()
        ours.zero_grad()
        F.cross_entropy(full(x), y).backward()
        reference.after_backward(len(x))
        theirs.step()
        theirs.zero_grad()
        steps += 1
        compact = method.after_step(compact, ours)
        if steps % every == 0 and not method.finished:
            reference.remove_one()
    assert steps == every * (removals + 1)
    assert [(entry["group"], entry["channel"]) for entry in method.removed] == reference.removed
    assert len({group for group, _ in reference.removed}) > 1
    for group in full.groups:
        keep = reference.masks[group.name].bool()
        pairs = [
            (
                full.get_submodule(group.writers[0]).weight[keep],
                compact.get_submodule(group.writers[0]).weight,
            ),
            (full.get_submodule(group.norms[0]).bias[keep], compact.get_submodule(group.norms[0]).bias),
            (
                full.get_submodule(group.norms[0]).running_var[keep],
                compact.get_submodule(group.norms[0]).running_var,
            ),
            (
                full.get_submodule(group.readers[0]).weight[:, keep],
                compact.get_submodule(group.readers[0]).weight,
            ),
        ]
        for expected, found in pairs:
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(compact.stem.weight, full.stem.weight, rtol=0, atol=1e-12)


def prune(model, method, batches=400):
    model = method.prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step in range(batches):
        x, y = batch(4, seed=step)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        model = method.after_step(model, optimizer)
        if method.finished:
            break
    return method.finalize(model)


@pytest.mark.parametrize("share", ["params=70%", "params=40%"])
def test_the_budget_is_met_and_the_last_removal_was_needed(share):
    original = count_params(network())
    method = Fisher(share, every=1)
    model = prune(network(), method)
    limit = int(original * int(share[7:9]) / 100)
    assert method.finished
    assert count_params(model) <= limit < method.removed[-1]["params"]


def test_a_block_may_lose_all_its_middle_channels_but_one():
    removals = sum(network().widths) - len(network().widths)
    model = prune(network(), Fisher(every=1, removals=removals))
    assert model.widths == (1, 1, 1)
    assert torch.isfinite(model(batch(2)[0])).all()


def test_a_flop_penalty_takes_the_expensive_channels_first():
    model = network()
    books = anatomy_of(model).costs
    costs = {g.name: books.now["macs"] - books.without(g.name)["macs"] for g in model.groups}
    method = Fisher(every=1, beta=1e6, removals=2)
    prune(model, method)
    assert method.removed[0]["group"] == max(costs, key=costs.get)


def test_a_budget_below_one_channel_per_group_is_refused_at_once():
    smallest = count_params(
        models.wide_resnet(depth=10, stages=[4, 6, 8], widths=[1, 1, 1], in_channels=1, image_size=8)
    )
    with pytest.raises(InputError, match=f"ask for at least params={smallest}"):
        Fisher(f"params={smallest - 1}").prepare(network())


def test_without_the_optimizer_it_refuses_to_cut():
    model = network()
    method = Fisher("params=50%", every=1)
    method.prepare(model)
    F.cross_entropy(model(batch(4)[0]), batch(4)[1]).backward()
    with pytest.raises(InputError, match=r"call method\.after_step\(model, optimizer\)"):
        method.after_step(model)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Fisher("params=50%", every=0), "every must be at least 1 step"),
        (lambda: Fisher("params=50%", beta=-1.0), "beta must be at least 0"),
        (lambda: Fisher(), "either a budget or a number of removals"),
        (lambda: Fisher("params=50%", removals=3), "either a budget or a number of removals"),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_watching_leaks_no_graph():
    """The hook on an activation must not keep that activation's graph alive."""
    import gc
    import weakref

    model = network()
    method = Fisher("params=99%", every=1000)
    method.prepare(model)
    seen = []
    consumer = model.get_submodule(model.groups[0].readers[0])
    consumer.register_forward_pre_hook(lambda _module, inputs: seen.append(weakref.ref(inputs[0])))
    gc.disable()  # a reference cycle would only be found by the collector
    try:
        loss = F.cross_entropy(model(batch(4)[0]), batch(4)[1])
        loss.backward()
        del loss
        assert seen[0]() is None
    finally:
        gc.enable()
