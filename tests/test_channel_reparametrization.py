"""Channel gates against autograd and a recount of the network that was really cut."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

import secateur as sc
from secateur import models
from secateur.budget import COUNTERS, TRAINABLE, Limits
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.methods.channel_reparametrization import ChannelReparametrization
from secateur.methods.gates import channels as channel_gates
from secateur.methods.gates.channel_cost import choose_channels, solve_cost
from secateur.methods.gates.channels import ChannelGates, channel_gate, gain, relative_norms
from secateur.methods.gates.gate import gate
from secateur.network.counting import layer_positions
from secateur.progress import Reporter
from secateur.surgery import family_graph
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.soft_cost import SoftCost
from secateur.training.loop import Training
from secateur.training.recipe import Recipe

F64 = torch.float64
BUILD = {
    "wide_resnet": lambda: models.wide_resnet(depth=10, stages=[8, 10, 12], in_channels=1, image_size=8),
    "resnet18": lambda: models.resnet18(width=0.0625, in_channels=1, image_size=8),
    "vgg19": lambda: models.vgg19(width=0.03125, in_channels=1, image_size=32),
    "conv4": lambda: models.conv4(width=0.0625, in_channels=1, image_size=8),
}
EARLY = {"start": 0.1, "end": 0.4, "sharpen_until": 0.6, "cut_at": 0.7}


def network(name="wide_resnet", dtype=torch.float32):
    """A network whose normalisation is random, so that no cut goes unnoticed."""
    torch.manual_seed(5)
    model = BUILD[name]().to(dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    torch.nn.init.normal_(model.classifier.weight)
    return model


def batch(model, seed, n=6):
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    x = torch.randn(n, *model.input_shape, generator=generator).to(dtype)
    return x, torch.randint(0, 10, (n,), generator=generator)


class Loop:
    """A user's own loop."""

    def __init__(self, method, model):
        self.method, self.model = method, method.prepare(model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.02, momentum=0.9)
        self.step = 0

    def run(self, until):
        while self.step < until:
            x, y = batch(self.model, self.step)
            self.model.train()
            (F.cross_entropy(self.model(x), y) + self.method.penalty(self.model)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.model = self.method.after_step(self.model, self.optimizer)
            self.step += 1
        return self


def declared(model, streams=True):
    """The groups inside the blocks, then the residual streams, as the family names their layers."""
    return [*model.groups, *(model.streams if streams else ())]


def width(model, group):
    return model.get_submodule(group.writers[0]).weight.shape[0]


def soft_cost(model, resource, streams=True):
    costs = anatomy_of(model, streams=streams).costs
    return SoftCost.of(costs, resource, [group.name for group in declared(model, streams)])


def hooks_of(model):
    return [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]


@torch.no_grad()
def norm_of(model, group):
    """The root of the producers' mean squares, per channel."""
    weights = [model.get_submodule(name).weight for name in group.writers]
    return sum(weight.flatten(1).square().mean(1) for weight in weights).sqrt()


@pytest.mark.parametrize("n", [4, 16])
def test_the_gate_has_the_gradient_of_its_definition(n):
    s = torch.tensor([0.0, 0.2, 0.7, 1.0, 1.6, 30.0], dtype=F64, requires_grad=True)
    weights = torch.arange(1.0, 7.0, dtype=F64)
    (found,) = torch.autograd.grad((channel_gate(s, 1.3, n) * weights).sum(), s)
    u = (1.3 * s) ** n
    h = (torch.exp(-1 / (u + 1)) - torch.exp(torch.tensor(-1.0, dtype=F64))) / (
        1 - torch.exp(-s.new_ones(()))
    )
    (expected,) = torch.autograd.grad((h * weights).sum(), s)
    torch.testing.assert_close(channel_gate(s, 1.3, n), h, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", sorted(BUILD))
def test_the_loss_reaches_the_weights_through_the_gates(name, monkeypatch):
    """The gradient of every filter, by central differences of the gated network's loss, the units held."""
    monkeypatch.setattr(channel_gates, "gain", lambda _h_K: 1.7)
    model = network(name, F64).eval()
    method = ChannelReparametrization("params=60%", steps=100, n_final=16)
    method.prepare(model)
    method._step = 50
    method.before_evaluation(model)
    x, y = batch(model, 0)
    F.cross_entropy(model(x), y).backward()
    groups = {group.name: group for group in declared(model)}
    units = {name: norm_of(model, group).square().mean().sqrt() for name, group in groups.items()}
    monkeypatch.setattr(
        ChannelGates, "magnitude", lambda _self, model, name: norm_of(model, groups[name]) / units[name]
    )
    generator = torch.Generator().manual_seed(1)
    for group in groups.values():
        weight = model.get_submodule(group.writers[-1]).weight
        direction = torch.randn(weight.shape, generator=generator, dtype=F64)
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.add_(direction, alpha=sign * 1e-6)
                losses.append(float(F.cross_entropy(model(x), y)))
                weight.sub_(direction, alpha=sign * 1e-6)
        expected = (losses[0] - losses[1]) / 2e-6
        assert float((weight.grad * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_norms_are_in_units_of_their_root_mean_square():
    one = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=F64)
    assert relative_norms([one]).tolist() == pytest.approx([2**0.5, 0])
    both = relative_norms([one, torch.tensor([[0.0], [1.0]], dtype=F64)])  # mean squares 12.5, 1
    assert both.tolist() == pytest.approx([(12.5 / 6.75) ** 0.5, (1 / 6.75) ** 0.5])
    weight = torch.zeros(3, 2, 3, 3, requires_grad=True)
    relative_norms([weight]).sum().backward()
    assert torch.equal(weight.grad, torch.zeros_like(weight))


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("resource", TRAINABLE)
@pytest.mark.parametrize("name", sorted(BUILD))
def test_the_cost_of_gates_of_0_and_1_is_the_count_of_the_cut_network(name, resource, streams):
    model = network(name)
    groups = declared(model, streams)
    cost = soft_cost(model, resource, streams)
    generator = torch.Generator().manual_seed(2)
    gates = [torch.randint(0, 2, (width(model, group),), generator=generator).to(F64) for group in groups]
    for h_K in gates:
        h_K[0] = 1
    assert float(cost(torch.stack([torch.ones_like(h).sum() for h in gates]))) == COUNTERS[resource](model)
    found = float(cost(torch.stack([h.sum() for h in gates])))
    graph = family_graph(model, streams=streams)
    for group, h_K in zip(groups, gates, strict=True):
        graph.remove(model, group.name, (h_K == 0).nonzero().flatten().tolist())
    assert found == COUNTERS[resource](model)
    assert cost.count([int(h.sum()) for h in gates]) == COUNTERS[resource](model)


def test_the_cost_of_a_chain_by_hand():
    """sum_l k^2 * HW * (sum h_in) * (sum h_out): conv4 at 8x8, pooled after the second and the fourth."""
    model = models.conv4(widths=[2, 3, 4, 5, 6, 7], in_channels=1, image_size=8)
    cost = soft_cost(model, "macs")
    h = torch.tensor([1.5, 2.25, 3.0, 4.5, 5.0, 6.5], dtype=F64, requires_grad=True)
    a, b, c, d, e, f = h
    expected = 9 * 64 * (a + a * b) + 9 * 16 * (b * c + c * d) + 4 * d * e + e * f + 10 * f
    torch.testing.assert_close(cost(h), expected)
    torch.testing.assert_close(cost.slope(h.detach()), torch.autograd.grad(expected, h)[0])


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
@pytest.mark.parametrize("n", [4, 16])
def test_the_cost_is_solved_for_exactly(n, share):
    model = network("resnet18")
    cost = soft_cost(model, "macs")
    generator = torch.Generator().manual_seed(3)
    magnitudes = [torch.rand(width(model, g), generator=generator) + 0.1 for g in declared(model)]
    target = share * COUNTERS["macs"](model)
    t = solve_cost(magnitudes, cost, target, n)
    sums = torch.stack([gate(s.to(F64), t, n).sum() for s in magnitudes])
    assert float(cost(sums)) == pytest.approx(target, rel=1e-8)


def test_the_smallest_go_first_and_the_largest_that_fit_come_back():
    cost = SoftCost(0.0, torch.tensor([10.0, 3.0], dtype=F64), torch.zeros(2, 2, dtype=F64))
    magnitudes = [torch.tensor([0.3, 0.9]), torch.tensor([0.1, 0.2, 0.8])]
    assert choose_channels(magnitudes, cost, 29) == [[], []]
    assert choose_channels(magnitudes, cost, 26) == [[], [0]]
    # 29 -> 26 -> 23 -> 13 is within 19; then both of the others come back: 19.
    assert choose_channels(magnitudes, cost, 19) == [[0], []]
    assert choose_channels(magnitudes, cost, 13) == [[0], [0, 1]]  # and never a group's last


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("resource", ["params", "macs", "nonzeros"])
@pytest.mark.parametrize("name", sorted(BUILD))
def test_the_budget_is_met_never_exceeded_and_used_up(name, resource, streams):
    original = COUNTERS[resource](network(name))
    method = ChannelReparametrization(f"{resource}=55%", steps=12, streams=streams, **EARLY)
    loop = Loop(method, network(name)).run(until=12)
    model = method.finalize(loop.model)
    limit = method.budget.limit(original)
    found, widths = COUNTERS[resource](model), [width(model, g) for g in declared(model, streams)]
    assert found <= limit
    cost = soft_cost(model, resource, streams)
    full = [width(network(name), g) for g in declared(network(name), streams)]
    for i, found in enumerate(widths):
        if found < full[i]:  # not one channel more fits
            assert cost.count([*widths[:i], found + 1, *widths[i + 1 :]]) > limit
    assert not hooks_of(model)
    assert torch.isfinite(model.eval()(batch(model, 0)[0])).all()


@pytest.mark.parametrize("name", sorted(BUILD))
def test_cutting_keeps_the_function_where_what_goes_is_closed(name, monkeypatch):
    """h is 0 for what goes; what stays with h < 1 keeps its h in the weights that read it."""
    model = network(name, F64).eval()
    method = ChannelReparametrization("params=55%", steps=10, cut_at=1.0, n_final=16)
    method.prepare(model)
    method._step = 10
    method.before_evaluation(model)
    groups, t = declared(model), method._t
    gone = choose_channels([s.detach() for s in method._gates.magnitudes(model)], method._cost, method.limit)
    fixed = {
        group.name: torch.tensor([1e-6 if k in out else 1.05 for k in range(width(model, group))], dtype=F64)
        / t
        for group, out in zip(groups, gone, strict=True)
    }
    monkeypatch.setattr(ChannelGates, "magnitude", lambda _self, _model, name: fixed[name])
    monkeypatch.setattr(method, "_solve", lambda _model: None)
    x, _ = batch(model, 0)
    before = model(x)
    assert 0.1 < float(method.gates(model)[groups[0].name].max()) < 0.9
    model = method.finalize(model)
    assert [width(model, group) for group in groups] == [
        len(fixed[group.name]) - len(out) for group, out in zip(groups, gone, strict=True)
    ]
    torch.testing.assert_close(model(x), before, rtol=1e-9, atol=1e-9)


def test_a_gate_of_zero_is_a_removed_channel():
    model = network("conv4", F64).eval()
    assert model.fc1.in_features == 4 * model.conv4.out_channels  # several features of each channel
    with torch.no_grad():
        model.conv4.weight[2] = 0
    method = ChannelReparametrization("params=55%", steps=10)
    method.prepare(model)
    method._step = 10
    method.before_evaluation(model)
    x, _ = batch(model, 0)
    before = model(x)
    with torch.no_grad():
        model.conv4.bias[2] = 7.0  # what is written is not 0, what is read is
    assert torch.equal(model(x), before)


def test_without_normalisation_the_gates_keep_the_scale():
    assert float(gain(torch.tensor([1.0, 0.0, 0.0, 1.0]))) == pytest.approx(2**0.5)
    assert float(gain(torch.zeros(3))) == pytest.approx(1000)
    h_K = torch.tensor([0.5, 1.0], requires_grad=True)
    assert not gain(h_K).requires_grad
    for name, scaled in (("conv4", True), ("wide_resnet", False)):
        model = network(name)
        method = ChannelReparametrization("params=60%", steps=10)
        method.prepare(model)
        method._step = 10
        method.before_evaluation(model)
        group = declared(model)[0]
        h, used = method.gates(model)[group.name], method._gates.read(model, group.readers[0])
        expected = h / h.square().mean().sqrt() if scaled else h
        torch.testing.assert_close(used.flatten(), expected)


def test_until_the_schedule_begins_nothing_is_changed():
    model, plain = network().eval(), network().eval()
    method = ChannelReparametrization("params=50%", steps=100)
    method.prepare(model)
    x, _ = batch(model, 0)
    method.before_evaluation(model)
    assert torch.equal(model(x), plain(x))
    assert method.penalty(model) == 0
    assert not method.finished
    assert method.progress() == {"remaining": 1.0}


@pytest.mark.parametrize("cut_at", [0.7, 1.0])
@pytest.mark.parametrize("half", [6, 14, 16])
@pytest.mark.parametrize("name", ["wide_resnet", "resnet18"])
def test_interrupted_and_resumed_it_ends_the_same(name, half, cut_at):
    def make():
        return ChannelReparametrization("params=50%", steps=20, **{**EARLY, "cut_at": cut_at}, streams=True)

    whole = Loop(make(), network(name)).run(until=20)
    first = Loop(make(), network(name)).run(until=half)
    method = make()
    resumed = Loop(method, sc.Architecture.of(first.model).build(seed=9))
    resumed.model.load_state_dict(first.model.state_dict())
    resumed.optimizer.load_state_dict(first.optimizer.state_dict())
    method.restore(json.loads(json.dumps(first.method.state())), first.method.tensors())
    resumed.step = half
    resumed.run(until=20)
    one, two = whole.method.finalize(whole.model), method.finalize(resumed.model)
    assert not hooks_of(two)
    assert one.state_dict().keys() == two.state_dict().keys()
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key


@pytest.mark.parametrize("name", sorted(BUILD))
def test_what_is_left_is_an_architecture_of_its_family(name, tmp_path):
    method = ChannelReparametrization("params=50%", steps=10, streams=True, **EARLY)
    model = method.finalize(Loop(method, network(name)).run(until=10).model).eval()
    sc.save(model, tmp_path)
    x, _ = batch(model, 0)
    assert torch.equal(sc.load(tmp_path)(x), model(x))
    if model.streams:
        assert model.arguments["stages"] != network(name).arguments["stages"]


def test_positions_are_those_of_the_network_handed_in():
    model = network()
    cost = soft_cost(model, "macs")
    assert cost.count([width(model, g) for g in declared(model)]) == sum(
        model.get_submodule(name).weight.numel() * used
        for name, used in layer_positions(model, model.input_shape).items()
    )


def test_the_identity_is_json():
    method = ChannelReparametrization("params=50%", steps=10, n_final=8)
    identity = method.identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity["method"] == "channel-reparametrization"
    assert identity["n_final"] == 8
    assert "steps" not in identity


def test_without_the_optimizer_it_refuses_to_cut_in_training():
    method = ChannelReparametrization("params=50%", steps=1, **EARLY)
    model = method.prepare(network())
    with pytest.raises(InputError, match=r"call method\.after_step\(model, optimizer\)"):
        method.after_step(model)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ChannelReparametrization("params=50%", steps=0), "at least 1 optimizer step"),
        (lambda: ChannelReparametrization("params=50%", steps=9, n=3), "n must be even"),
        (lambda: ChannelReparametrization("params=50%", steps=9, n_final=2), "n_final must be even"),
        (lambda: ChannelReparametrization("params=50%", steps=9, start=0.7), "start must lie in"),
        (lambda: ChannelReparametrization("params=50%", steps=9, end=0.95), "end must lie below"),
        (
            lambda: ChannelReparametrization("params=50%", steps=9, sharpen_until=1.1, cut_at=1.0),
            "sharpen_until must be at most 1",
        ),
        (lambda: ChannelReparametrization("params=50%", steps=9, solve_every=0), "solve_every must be"),
        (lambda: ChannelReparametrization("params=50%", steps=9, cut_at=0.2), "cut_at must lie in"),
        (lambda: ChannelReparametrization("bytes=50%", steps=9), "got .bytes=50%.: ask for params"),
        (
            lambda: ChannelReparametrization("params=1", steps=9).prepare(network()),
            "ask for at least params=",
        ),
        (lambda: ChannelReparametrization("params=9M", steps=9).prepare(network()), "must not exceed"),
        (
            lambda: ChannelReparametrization("params=50%", steps=9).prepare(torch.nn.Linear(2, 2)),
            "channels of a Linear are not known yet: call sc.inspect",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_resumed_training_is_the_undisturbed_one_to_the_bit(digits, stop_after):
    """Through checkpoints, before the cut and behind it; the cut is in the middle of an epoch."""
    recipe = Recipe(epochs=4, batch_size=64)  # 5 steps an epoch, the cut at step 8
    schedule = {"start": 0.1, "end": 0.2, "sharpen_until": 0.4, "cut_at": 0.4}
    limits = Limits.of("params=30%", network())

    def training(model, save=None):
        method = ChannelReparametrization(limits, steps=20, **schedule)
        settings = {"seed": 0, "runtime": Runtime("cpu"), "reporter": Reporter()}
        return Training(model, digits, recipe, method=method, epochs=4, save=save, **settings)

    saved = []

    def save(checkpoint, model):
        saved.append((checkpoint, sc.Architecture.of(model).identity()))
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    whole = training(network()).fit()
    with pytest.raises(KeyboardInterrupt):
        training(network(), save).fit()
    checkpoint, identity = saved[-1]
    resumed = training(sc.Architecture.from_identity(identity).build(seed=1))
    resumed.resume(checkpoint)
    resumed.fit()
    assert COUNTERS["params"](resumed.model) <= limits["params"]
    assert resumed.progress.history == whole.progress.history
    assert resumed.progress.compute == whole.progress.compute
    for one, two in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, two)
