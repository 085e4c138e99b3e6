"""Models that are not ours: pruned, saved, loaded, initialised anew at narrow sizes, scaled."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
from functools import partial

import pytest
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

import foreign
import secateur as sc
from secateur.architecture.opening import origin_of
from secateur.errors import InputError, TrainingError
from secateur.network.inputs import call, map_inputs, output_tensors


def factory_and_inputs(name):
    if name in foreign.NETWORKS:
        build, inputs = foreign.NETWORKS[name]
        return build, inputs()
    pytest.importorskip("transformers", reason="the networks of Hugging Face need transformers")
    return partial(foreign.huggingface, name), foreign.images(32)


def two_batches(inputs):
    """Too few to learn from, enough to prune on."""
    return [(map_inputs(inputs, lambda x: x.flip(0)), torch.arange(4)), (inputs, torch.arange(4))]


def outputs(model, inputs):
    with torch.no_grad():
        return output_tensors(call(model, inputs))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def counted(model, inputs):
    """(params, MACs of one example), by hooks on the layers and nothing of ours."""
    macs = []

    def note(layer, _inputs, output):
        places = output[0].numel() // output.shape[-1 if isinstance(layer, nn.Linear) else 1]
        if isinstance(layer, nn.ConvTranspose2d):  # every position read is spread over the kernel
            places = _inputs[0][0, 0].numel()
        macs.append(layer.weight.numel() * places)

    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))]
    handles = [layer.register_forward_hook(note) for layer in layers]
    outputs(copy.deepcopy(model).eval(), map_inputs(inputs, lambda x: x[:1]))
    for handle in handles:
        handle.remove()
    return sum(p.numel() for p in model.parameters()), sum(macs)


def counted_by_torch(model, inputs):
    """(params, MACs of one example), products of attention too: what torch's own counter says."""
    with FlopCounterMode(display=False) as counter:
        outputs(copy.deepcopy(model).eval(), map_inputs(inputs, lambda x: x[:1]))
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


LARGE = ("efficientnet", "mobilenet_v2")
MANY_LAYERS = (*LARGE, "regnet")  # of what shufflenet and squeeze-excite have in few


# Batch statistics of so few positions leave the deeper layers of EfficientNet no gradient, which is said.
@pytest.mark.filterwarnings("ignore:the gradient at what reads the channels")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in MANY_LAYERS))
        for name in (*foreign.NETWORKS, *foreign.HUGGINGFACE)
    ],
)
def test_pruned_saved_loaded_initialised_and_scaled(name, tmp_path):
    build, inputs = factory_and_inputs(name)
    at_once = 64 if name in LARGE else 4
    model = build()
    count = counted_by_torch if name == "group norm" else counted  # it has attention
    data = two_batches(inputs)
    sc.inspect(model, inputs, factory=build)
    whole = sc.Architecture.of(model)
    for index, budget in enumerate(("params=50%", "macs=50%")):
        pruned = copy.deepcopy(model)
        kind = type(pruned)
        assert sc.prune(pruned, budget=budget, data=data, every=1, at_once=at_once) is pruned
        assert count(pruned, inputs)[index] <= count(model, inputs)[index] // 2
        assert not pruned.training
        assert hooks(pruned) == 0

        sc.save(pruned, tmp_path)
        loaded = sc.load(tmp_path, factory=build)
        assert type(loaded) is kind
        assert same(outputs(loaded, inputs), outputs(pruned, inputs))
        small = sc.Architecture.load(tmp_path, factory=build)
        assert small == sc.Architecture.of(pruned) == sc.Architecture.of(loaded)
        assert (small.params, small.macs) == count(pruned, inputs)

        fresh, again = small.build(seed=1), small.build(seed=1)
        assert type(fresh) is kind
        assert same(fresh.parameters(), again.parameters())
        assert {k: v.shape for k, v in fresh.state_dict().items()} == {
            k: v.shape for k, v in pruned.state_dict().items()
        }
        assert same(outputs(fresh.eval(), inputs), outputs(again.eval(), inputs))

    for scaled, limit in (
        (small.scaled_to("macs=97%"), 0.97 * small.macs),
        (whole.narrowed_to("macs=60%"), 0.6 * whole.macs),
    ):
        assert count(scaled.build(seed=0), inputs) == (scaled.params, scaled.macs)
        assert scaled.macs <= limit


class Spread(nn.Module):
    """Every layer's weights drawn by the factory: He's normal, with fan-in; a marker in the biases."""

    def __init__(self, width=64):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.fc = nn.Linear(width, 10)
        self.apply(self.init)

    @staticmethod
    def init(module):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            nn.init.constant_(module.bias, 0.25)

    def forward(self, x):
        return self.fc(F.relu(self.conv2(F.relu(self.conv1(x)))).mean((2, 3)))


def at_widths(build, inputs, widths):
    model = build()
    sc.inspect(model, inputs, factory=build)
    return sc.Architecture.of(model).with_widths(widths)


@pytest.mark.parametrize(
    ("build", "bound"),
    [
        (Spread, lambda fan: math.sqrt(2 / fan)),  # kaiming_normal_: std = sqrt(2 / fan_in)
        (
            foreign.PlainShuffle,
            lambda fan: 1 / math.sqrt(3 * fan),
        ),  # torch's own: b = 1/sqrt(fan_in), uniform
    ],
    ids=["the factory's", "torch's"],
)
def test_it_is_initialised_at_the_narrow_sizes(build, bound):
    wide = build()
    groups = len(at_widths(build, foreign.images(16), []).origin.names)
    narrow = at_widths(build, foreign.images(16), [8] * groups)
    narrow = narrow.with_widths([of // 4 for of in narrow.origin.widths]).build(seed=0)
    fan = narrow.conv2.in_channels * 9
    assert fan == wide.conv2.in_channels * 9 // 4
    # A cut from the wide network would keep the wide fan-in's spread, half as large.
    assert float(narrow.conv2.weight.detach().std()) == pytest.approx(bound(fan), rel=0.1)
    if build is Spread:
        assert bool((narrow.conv2.bias == 0.25).all())


def test_building_is_seeded_and_spares_the_global_generator():
    small = at_widths(foreign.DenseNet, foreign.images(16), [])
    small = small.with_widths([max(1, of // 2) for of in small.origin.widths])
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = small.build(seed=3), small.build(seed=4)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(one.stem.weight, other.stem.weight)


def test_a_factory_that_cannot_be_had_narrow_is_cut_from_a_whole_network():
    fixed = Spread(16).state_dict()

    def loads_weights():
        model = Spread(16)
        model.load_state_dict(fixed)  # of these shapes only
        return model

    small = at_widths(loads_weights, foreign.images(16), [4, 8]).build(seed=0)
    assert (small.conv1.out_channels, small.conv2.in_channels, small.fc.in_features) == (4, 4, 8)
    assert torch.equal(small.conv2.weight, fixed["conv2.weight"][:8, :4])


def test_a_factory_that_hands_out_a_network_in_use_is_refused():
    model = Spread(8)
    for factory in (lambda: model, lambda: copy.deepcopy(model)):
        with pytest.raises(InputError, match="must build a new network every time"):
            sc.inspect(model, foreign.images(16), factory=factory)


def test_a_factory_of_another_network_is_refused():
    with pytest.raises(InputError, match="builds a network with other tensors than the model"):
        sc.inspect(Spread(8), foreign.images(16), factory=lambda: Spread(12))


def test_without_a_factory_it_is_saved_but_not_built(tmp_path):
    model = sc.prune(Spread(8), budget="params=50%", data=two_batches(foreign.images(16)), every=1)
    with pytest.raises(InputError, match="cannot be built again, as its factory is not known"):
        sc.Architecture.of(model).build()
    sc.save(model, tmp_path)
    assert json.loads((tmp_path / "architecture.json").read_text())["factory"] == "test_foreign:Spread"
    loaded = sc.load(tmp_path, factory=lambda: Spread(8))
    assert same(loaded.parameters(), model.parameters())


def test_a_deep_copy_is_cut_by_itself(tmp_path):
    inputs = foreign.images(16)
    model = sc.prune(foreign.PaddedResNet(), budget="params=70%", data=two_batches(inputs), every=1)
    before, copied = outputs(model, inputs), copy.deepcopy(model)
    assert sc.Architecture.of(copied) == sc.Architecture.of(model)
    sc.prune(copied, budget="params=70%", data=two_batches(inputs), every=1)
    assert sc.Architecture.of(copied).params <= 0.7 * sc.Architecture.of(model).params
    assert same(outputs(model, inputs), before)
    sc.save(copied, tmp_path)
    assert same(outputs(sc.load(tmp_path, factory=foreign.PaddedResNet), inputs), outputs(copied, inputs))


def test_a_pruned_model_is_pickled_as_a_plain_one(tmp_path):
    data = two_batches(foreign.images(16))
    model = sc.prune(Spread(8), budget="params=60%", data=data, every=1, factory=lambda: Spread(8))
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    assert same(loaded.parameters(), model.parameters())
    assert origin_of(loaded) is None


# sc.prune


def images_and_labels(examples=8):
    return TensorDataset(foreign.images(16, examples=examples), torch.arange(examples) % 10)


def test_a_plain_loader_a_dictionary_and_a_loss_of_ones_own():
    loader = DataLoader(images_and_labels(), batch_size=4, shuffle=True)
    model = sc.prune(Spread(8), budget="macs=60%", data=loader, every=1, tune_epochs=1)
    assert sc.Architecture.of(model).macs <= 0.6 * counted(Spread(8), foreign.images(16))[1]

    seen = []

    def loss(output, targets):
        seen.append(sorted(output))
        return F.mse_loss(output["logits"], F.one_hot(targets, 10).float())

    image, vector = foreign.images(16), torch.randn(4, 7)
    data = [({"image": image, "vector": vector}, torch.arange(4))]
    model = sc.prune(foreign.TwoInputs(), budget="params=60%", data=data, every=1, loss=loss)
    assert seen[0] == ["aux", "logits"]
    assert model(image=image, vector=vector)["logits"].shape == (4, 10)


def test_several_budgets_hold_at_once(tmp_path):
    inputs = foreign.images(16)
    params, macs = counted(foreign.DenseNet(), inputs)
    model = foreign.DenseNet()
    sc.prune(model, budget="params=80%,macs=50%", data=two_batches(inputs), every=1, at_once=8)
    assert counted(model, inputs)[0] <= 0.8 * params
    assert counted(model, inputs)[1] <= 0.5 * macs


@pytest.mark.parametrize("budget", ["bytes=12kB", "bytes=40%"])
def test_the_saved_file_is_within_a_budget_in_bytes(budget, tmp_path):
    whole = Spread(24)
    limit = 12_000 if "kB" in budget else 0.4 * len(save(whole.state_dict()))
    sc.save(sc.prune(whole, budget=budget, data=two_batches(foreign.images(16)), every=1), tmp_path)
    assert 0.8 * limit < (tmp_path / "model.safetensors").stat().st_size <= limit


def test_a_latency_is_measured_and_met():
    model, inputs = Spread(96), foreign.images(32)
    method = sc.methods.Fisher("latency=70%@torch", every=1, at_once=12)
    sc.inspect(model, inputs)
    sc.prune(model, method=method, data=two_batches(inputs))
    assert method.finished
    assert method.goal.latency.nanoseconds <= method.goal.limits["latency"]
    assert model.conv1.out_channels + model.conv2.out_channels < 192


@pytest.mark.parametrize("make", [torch.optim.Adam, partial(torch.optim.SGD, lr=0.01, momentum=0.9)])
def test_the_optimizer_shrinks_along(make):
    model = Spread(12)
    optimizer = make(model.parameters())
    sc.prune(model, budget="params=40%", data=two_batches(foreign.images(16)), every=1, optimizer=optimizer)
    stepped = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in stepped} == {id(p) for p in model.parameters()}
    for parameter, state in optimizer.state.items():
        shapes = {tuple(v.shape) for v in state.values() if isinstance(v, torch.Tensor) and v.dim()}
        assert shapes == {tuple(parameter.shape)}


def test_a_built_in_family_is_pruned_the_same_way():
    model = sc.models.wide_resnet(depth=10, width=0.5, in_channels=3, image_size=16)
    params = sc.Architecture.of(model).params
    sc.prune(model, budget="params=60%", data=two_batches(foreign.images(16)), every=1, at_once=4)
    assert sum(p.numel() for p in model.parameters()) <= 0.6 * params


class Once:
    """Goes through its batches a single time, whatever it is asked."""

    def __init__(self, batches):
        self.batches = iter(batches)

    def __iter__(self):
        return self.batches


X, Y = foreign.images(16), torch.arange(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": iter([(X, Y)])}, "not an iterator"),
        ({"data": 7}, "data are an iterable of .*; got int"),
        ({"data": []}, "data hold no batch"),
        ({"data": [(X, X, Y)]}, r"a batch is a pair \(inputs, targets\), .* got 3 items"),
        ({"data": [X]}, "got Tensor"),
        ({"data": [{"x": X, "y": Y}]}, "has its targets under one of labels, label, label_ids, got x, y"),
        ({"data": [("x", Y)]}, "a model's inputs are"),
        ({"data": [(X[:, :2], Y)]}, "cannot be run on the inputs given"),
        ({"method": "fischer"}, "did you mean 'fisher'"),
        ({"method": ["fisher"]}, "unknown channel pruning method"),
        (
            {"method": sc.methods.Fisher("params=50%"), "budget": "params=50%"},
            "give them to it, not to prune",
        ),
        ({"bta": 1}, "fisher does not take these settings: .*bta"),
        ({"beta": -1.0}, "beta must be at least 0"),
        ({"every": 0}, "every must be at least 1"),
        ({"at_once": -1}, "at_once must be at least 0"),
        ({"budget": None}, "either a budget or a number of removals"),
        ({"budget": "parms=5"}, "did you mean 'params'"),
        ({"budget": "params=9M"}, "must not exceed the network's own size"),
        ({"budget": "params=10"}, "ask for at least params="),
        ({"budget": "params=90%,macs=10"}, "ask for at least macs="),
        ({"budget": "bytes=10"}, "ask for at least bytes="),
        ({"optimizer": torch.optim.SGD([torch.zeros(1)], lr=1)}, "holds none of the model's parameters"),
        ({"factory": lambda: 3}, r"must return a torch\.nn\.Module"),
        ({"factory": lambda: 1 / 0}, "failed with ZeroDivisionError"),
        ({"model": nn.Flatten()}, "no convolution and no linear layer"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(768, 10))}, "nothing in Sequential can be pruned"),
        ({"model": "wrn-16-1"}, "a model is a torch.nn.Module, got str"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(change, message):
    model = change.get("model", Spread(6))
    before = copy.deepcopy(model.state_dict()) if isinstance(model, nn.Module) else {}
    arguments = {"model": model, "budget": "params=50%", "data": [(X, Y)], "every": 1} | change
    if isinstance(arguments.get("method"), sc.methods.Fisher):
        arguments.pop("every")
    with pytest.raises(InputError, match=message) as error:
        sc.prune(arguments.pop("model"), **arguments)
    assert "\n" not in str(error.value)
    if isinstance(model, nn.Module):
        assert model.training
        assert hooks(model) == 0
        assert model.state_dict().keys() == before.keys()
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("data", "message"),
    [(Once([(X, Y)] * 3), "held batches once, then none"), ([(X, Y), (X, Y, Y)], "got 3 items")],
)
def test_data_that_turn_bad_leave_a_whole_model(data, message):
    model = Spread(12)
    with pytest.raises(InputError, match=message):
        sc.prune(model, budget="params=30%", data=data, every=1)
    assert hooks(model) == 0
    assert model(X).shape == (4, 10)


@pytest.fixture
def ctrl_c():
    """Ctrl-C as a terminal has it; where tests run in the background, a shell may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("by_signal", [False, True], ids=["in training", "in a cut"])
def test_an_interrupt_leaves_a_whole_model(by_signal, monkeypatch, tmp_path, ctrl_c):
    model, inputs, steps, cuts = foreign.PaddedResNet(), foreign.images(16), [], [None]
    if by_signal:
        from secateur.surgery import cutting

        layer = cutting._cut_layer

        def interrupted(cut, *args):
            cuts.extend(of for of in model.modules() if of is cut)
            if len(cuts) == 20:  # in the middle of a cut: other layers of the group still wait
                monkeypatch.setattr(cutting, "_cut_layer", layer)
                os.kill(os.getpid(), signal.SIGINT)
            layer(cut, *args)

        monkeypatch.setattr(cutting, "_cut_layer", interrupted)

    def loss(output, targets):
        steps.append(1)
        if len(steps) == 5 and not by_signal:
            raise KeyboardInterrupt
        return F.cross_entropy(output, targets)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        sc.prune(model, budget="params=30%", data=two_batches(inputs), every=1, loss=loss)
    assert signal.getsignal(signal.SIGINT) is handler
    assert hooks(model) == 0
    architecture = sc.Architecture.of(model)
    assert architecture.params == sum(p.numel() for p in model.parameters()) < 19219
    sc.save(model, tmp_path)
    loaded = sc.load(tmp_path, factory=foreign.PaddedResNet)
    assert same(outputs(loaded, inputs), outputs(model.eval(), inputs))
    sc.prune(model, budget=f"params={architecture.params // 2}", data=two_batches(inputs), every=1, at_once=9)
    assert sc.Architecture.of(model).params <= architecture.params // 2


def test_a_loss_that_is_not_finite_says_so():
    model = Spread(12)
    with pytest.raises(TrainingError, match="the loss is not finite any more: lower the rate"):
        sc.prune(model, budget="params=30%", data=two_batches(foreign.images(16)), every=1, lr=1e30)
    assert hooks(model) == 0
