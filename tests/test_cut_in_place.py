"""Whoever holds a parameter goes on holding it when it is cut: optimizers, hooks, gradients."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.errors import InputError, TrainingError
from secateur.methods import Fisher
from secateur.network.copies import copied
from secateur.surgery.computed_weights import as_plain, make_permanent
from secateur.surgery.cutting import cut

KEEP = torch.tensor([True, False, True, True, False, True])
KEPT = KEEP.nonzero().flatten()


def chain(width=6):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(4 * width, 3)
    ).double()


ENTRIES = torch.cat([torch.arange(4) + 4 * k for k in KEPT])
KEEPS = {("0", "out"): KEEP, ("1", "out"): KEEP, ("4", "in"): KEEP.repeat_interleave(4)}


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 2, 4, 4, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (5,), generator=generator)


def step(model, *optimizers, seed):
    x, y = batch(seed)
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return loss


def picked(name, value):
    """The kept part of a tensor of the wide network, or of an optimizer's state of it, by hand."""
    if value.dim() == 0:
        return value.clone()
    if name == "4.weight":
        return value[:, ENTRIES]
    return value.clone() if name == "4.bias" else value[KEPT]


ELEMENTWISE = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "Adam": {"amsgrad": True},
    "AdamW": {"fused": True},
    "NAdam": {},
    "RAdam": {},
    "Adamax": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adagrad": {},
    "Adadelta": {},
    "ASGD": {},
    "Rprop": {"foreach": True},
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_optimizer_goes_on_as_that_of_a_network_built_narrow(name):
    """To the bit: the narrow one is given the kept entries of every weight and of every state, by hand."""
    kind, settings = getattr(torch.optim, name), ELEMENTWISE[name]
    wide = chain()
    optimizer = kind(wide.parameters(), **settings)
    for seed in range(3):
        step(wide, optimizer, seed=seed)
    narrow = chain(len(KEPT))
    narrow.load_state_dict({key: picked(key, value) for key, value in wide.state_dict().items()})
    twin = kind(narrow.parameters(), **settings)
    for (key, old), new in zip(wide.named_parameters(), narrow.parameters(), strict=True):
        twin.state[new] = {
            label: picked(key, value) if isinstance(value, torch.Tensor) else value
            for label, value in optimizer.state[old].items()
        }
    before = [id(parameter) for parameter in wide.parameters()]
    cut(wide, KEEPS, optimizer)
    assert [id(parameter) for parameter in wide.parameters()] == before
    for seed in range(3, 6):
        step(wide, optimizer, seed=seed)
        step(narrow, twin, seed=seed)
    for one, other in zip(wide.parameters(), narrow.parameters(), strict=True):
        assert torch.equal(one, other)


def test_factored_moments_are_cut_along_their_dimension():
    model = chain()
    optimizer = torch.optim.Adafactor(model.parameters())
    step(model, optimizer, seed=0)
    weight = model[4].weight
    row, col = (optimizer.state[weight][key].clone() for key in ("row_var", "col_var"))
    cut(model, KEEPS, optimizer)
    assert torch.equal(optimizer.state[weight]["row_var"], row)  # (3, 1): it has no entries of inputs
    assert torch.equal(optimizer.state[weight]["col_var"], col[:, ENTRIES])
    step(model, optimizer, seed=1)
    assert model[0].weight.shape == (4, 2, 3, 3)


class Own(torch.optim.Optimizer):
    """Plain gradient descent that keeps whatever it is told to of every weight."""

    def __init__(self, parameters, made):
        super().__init__(parameters, {"lr": 0.1})
        self.made, self.begun = made, 0

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if not self.state[parameter]:
                    self.begun += 1
                    self.state[parameter].update(self.made(parameter.detach()))
                parameter.data.add_(parameter.grad, alpha=-0.1)


def test_states_of_other_shapes_by_hand():
    """Preconditioners lose rows and columns, factored moments of fewer dimensions the dimension they have."""
    model = nn.Linear(4, 6)
    keep = {("", "out"): KEEP}

    def made(p):
        if p.dim() == 1:
            return {}
        return {
            "row": torch.arange(6.0),
            "col": torch.arange(4.0),
            "precond_0": torch.arange(36.0).view(6, 6),
            "precond_1": torch.arange(16.0).view(4, 4),
            "GG": [torch.arange(36.0).view(6, 6), torch.arange(16.0).view(4, 4)],
            "history": [p.clone(), p + 1],
            "steps": 7,
        }

    optimizer = Own(model.parameters(), made)
    F.mse_loss(model(torch.ones(2, 4)), torch.zeros(2, 6)).backward()
    optimizer.step()
    held = optimizer.state[model.weight]["history"][1]
    cut(model, keep, optimizer)
    state = optimizer.state[model.weight]
    assert state["row"].tolist() == [0, 2, 3, 5]
    assert state["col"].tolist() == [0, 1, 2, 3]
    assert state["precond_0"].tolist() == [[6 * i + j for j in (0, 2, 3, 5)] for i in (0, 2, 3, 5)]
    assert state["precond_1"].shape == (4, 4)
    assert [tuple(each.shape) for each in state["GG"]] == [(4, 4), (4, 4)]
    assert torch.equal(state["history"][1], held[KEPT])
    assert state["steps"] == 7


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (lambda p: {"code": torch.zeros(p.shape, dtype=torch.uint8)}, "'code' is quantised"),
        (lambda p: {"blocks": torch.zeros(5)}, "'blocks' of shape"),
        (lambda p: {"row": torch.zeros(6), "other": torch.zeros(6)}, "'other' of shape"),
    ],
)
def test_a_state_that_cannot_be_cut_is_dropped_and_said_once(made, word):
    """A square weight: which dimension 6 numbers belong to, only their name can tell."""
    model = nn.Linear(6, 6, bias=False)
    optimizer = Own(model.parameters(), made)
    model(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    with pytest.warns(UserWarning, match=f"Own: {word}.*the state is dropped"):
        cut(model, {("", "out"): KEEP}, optimizer)
    assert model.weight not in optimizer.state
    model.zero_grad()
    model(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    assert optimizer.begun == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        cut(model, {("", "out"): torch.tensor([True, True, False, True])}, optimizer)


def test_lbfgs_begins_anew():
    model = chain()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
    x, y = batch(0)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)
    with pytest.warns(UserWarning, match="LBFGS: its history is of all weights at once"):
        cut(model, KEEPS, optimizer)
    before = float(closure().detach())
    optimizer.step(closure)
    assert float(closure().detach()) < before


def two_optimizers():
    model = chain().float()
    sc.inspect(model, torch.zeros(2, 2, 4, 4))
    method = Fisher(removals=2, every=1)
    method.prepare(model)
    backbone = torch.optim.Adam(model[:3].parameters())
    return model, method, backbone, torch.optim.Adam(model[4:].parameters(), lr=0.1)


@pytest.mark.parametrize("handed", ["both", "one"])
def test_every_optimizer_follows_those_too_that_are_not_handed_in(handed):
    model, method, backbone, head = two_optimizers()
    shapes = []
    model[0].weight.register_hook(lambda grad: shapes.append(grad.shape[0]))
    model[4].weight.register_post_accumulate_grad_hook(lambda p: shapes.append(p.grad.shape[1]))
    seed, losses = 0, []  # they are alive: what accumulates gradients must not be that of the old shape
    while not method.finished:
        x, y = batch(seed)
        losses.append(F.cross_entropy(model(x.float()), y))
        losses[-1].backward()
        for optimizer in (backbone, head):
            optimizer.step()
            optimizer.zero_grad()
        method.after_step(model, [backbone, head] if handed == "both" else backbone)
        seed += 1
    assert shapes == [24, 6, 20, 5, 16, 4]
    assert head.param_groups[0]["params"][0] is model[4].weight
    assert head.state[model[4].weight]["exp_avg"].shape == model[4].weight.shape == (3, 16)
    before = model[4].weight.detach().clone()
    F.cross_entropy(model(x.float()), y).backward()
    head.step()
    assert bool((model[4].weight != before).all())


def test_an_optimizer_that_has_not_stepped_since_is_brought_up_to_date_before_it_does():
    """Gradients and states of weights that were whole when it last stepped, cut twice meanwhile."""
    model = chain()
    late = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step(model, late, seed=0)
    from secateur.surgery import optimizer_state

    optimizer_state._STEPS.pop(late, None)  # as if it had stepped before anybody looked
    held = late.state[model[4].weight]["momentum_buffer"].clone()
    optimizer_state.watch_optimizers()
    cut(model, KEEPS, ())
    assert late.state[model[4].weight]["momentum_buffer"].shape == (3, 24)
    second = torch.tensor([False, True, True, True])
    cut(
        model,
        {("0", "out"): second, ("1", "out"): second, ("4", "in"): second.repeat_interleave(4)},
        (),
    )
    x, y = batch(1)
    F.cross_entropy(model(x), y).backward()
    grad = model[4].weight.grad.clone()
    late.step()
    kept = [4 * k + i for k in KEPT[1:].tolist() for i in range(4)]
    assert torch.equal(late.state[model[4].weight]["momentum_buffer"], 0.9 * held[:, kept] + grad)


def test_a_state_that_was_loaded_behind_the_cut_is_left_as_it_is():
    """As a run has it that goes on from a checkpoint of the narrow network."""
    model = chain()
    step(model, first := torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), seed=0)
    cut(model, KEEPS, first)
    later = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    later.load_state_dict(copy.deepcopy(first.state_dict()))
    held = later.state[model[4].weight]["momentum_buffer"].clone()
    x, y = batch(1)
    F.cross_entropy(model(x), y).backward()
    grad = model[4].weight.grad.clone()
    later.step()
    assert torch.equal(later.state[model[4].weight]["momentum_buffer"], 0.9 * held + grad)


def test_gradients_that_are_there_are_cut_too():
    model = chain().to(memory_format=torch.channels_last)
    x, y = batch(0)
    F.cross_entropy(model(x), y).backward()
    whole = model[0].weight.grad.clone()
    cut(model, KEEPS)
    assert torch.equal(model[0].weight.grad, whole[KEPT])
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("optimizer", ["a word", [torch.nn.Linear(1, 1)]])
def test_what_is_no_optimizer_is_refused(optimizer):
    with pytest.raises(InputError, match="a torch optimizer, or a list of them; got"):
        cut(chain(), KEEPS, optimizer)


def test_an_optimizer_of_other_parameters_is_refused_before_the_cut():
    model, method, _, _ = two_optimizers()
    other = torch.optim.SGD(chain().parameters(), lr=0.1)
    x, y = batch(0)
    F.cross_entropy(model(x.float()), y).backward()
    with pytest.raises(InputError, match="holds none of the model's parameters"):
        method.after_step(model, other)
    assert model[0].out_channels == 6


# Scaled losses


def scored(scale, growth=2000):
    """Scores of one window of three steps, under a scaler or without one."""
    model = chain().float()
    sc.inspect(model, torch.zeros(2, 2, 4, 4))
    method = Fisher(removals=1, every=100)
    method.prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=bool(scale), growth_interval=growth)
    for seed in range(3):
        x, y = batch(seed)
        scaler.scale(F.cross_entropy(model(x.float()), y)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        method.after_step(model, optimizer)
    return method.scores(model)["0"]


@pytest.mark.parametrize(("scale", "growth"), [(2.0**16, 2000), (2.0**100, 2000), (2.0**10, 1)])
def test_scores_are_those_of_the_loss_itself(scale, growth):
    """At 2**100 the squares of gradients are beyond float32; with growth 1 the scale doubles every step."""
    torch.testing.assert_close(scored(scale, growth), scored(None), rtol=1e-5, atol=0)


def test_a_step_that_the_scaler_skips_is_none():
    model = chain().float()
    sc.inspect(model, torch.zeros(2, 2, 4, 4))
    method = Fisher(removals=2, every=2)
    method.prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    taken, total = 0, 0
    while not method.finished:
        x, y = batch(total)
        before = model[4].bias.detach().clone()
        # 2**13 times the loss is beyond float32 at first, and until the scale is down.
        scaler.scale(2.0**13 * F.cross_entropy(model(x.float()), y)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        total += 1
        taken += int(not torch.equal(before, model[4].bias))
        method.after_step(model, optimizer)
    assert total - taken > 10, "some were skipped"
    assert taken == 2 * 3
    assert [entry["examples"] for entry in method.removed] == [10, 10]


def test_training_that_diverged_ends_though_every_step_is_skipped():
    model = chain().float()
    sc.inspect(model, torch.zeros(2, 2, 4, 4))
    method = Fisher(removals=2, every=1)
    method.prepare(model)
    with torch.no_grad():
        model[4].bias.fill_(float("nan"))
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.01), torch.amp.GradScaler("cpu")
    x, y = batch(0)
    with pytest.raises(TrainingError, match="200 steps in a row were skipped"):  # noqa: PT012
        for _ in range(300):
            scaler.scale(F.cross_entropy(model(x.float()), y)).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            method.after_step(model, optimizer)


# Normalised weights

OLD = nn.utils.weight_norm
NEW = nn.utils.parametrizations.weight_norm


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("norm", [OLD, NEW])
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(6, 4),
        lambda: nn.Conv1d(6, 4, 3),
        lambda: nn.Conv1d(6, 4, 3, groups=2),
        lambda: nn.ConvTranspose1d(6, 4, 3),
        lambda: nn.ConvTranspose1d(6, 4, 3, groups=2),
    ],
)
def test_normalised_weights_that_stay_are_what_they_were(norm, dim, make):
    """The whole layer that reads zeros where entries go, and of what it writes those that stay."""
    torch.manual_seed(1)
    layer = norm(make().double(), dim=dim)
    x = torch.randn(3, 6, dtype=torch.float64) if "Linear" in type(layer).__name__ else torch.randn(3, 6, 5)
    x = x.double()
    layer(x).sum().backward()  # the old kind holds a weight with a graph behind it then
    whole = copied(layer)
    reads = torch.tensor([True, False, True, True, False, True])
    writes = torch.tensor([True, False, True, False])
    expected = whole(x * reads.view(1, 6, *[1] * (x.dim() - 2)))[:, writes]
    cut(layer, {("", "in"): reads, ("", "out"): writes})
    torch.testing.assert_close(layer(x[:, reads]), expected, rtol=1e-12, atol=1e-12)
    plain = as_plain(copied(layer))
    torch.testing.assert_close(plain(x[:, reads]), expected, rtol=1e-12, atol=1e-12)
    assert type(plain) in (nn.Linear, nn.Conv1d, nn.ConvTranspose1d)
    assert layer(x[:, reads]).shape == expected.shape  # the copy shares nothing with it


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("norm", [OLD, NEW])
def test_a_network_with_normalised_weights_is_pruned_saved_and_loaded(norm, tmp_path):
    def build():
        torch.manual_seed(0)
        return nn.Sequential(
            norm(nn.Conv1d(3, 8, 3)),
            nn.ReLU(),
            norm(nn.Conv1d(8, 6, 3)),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(6, 2),
        )

    model, x = build(), torch.randn(4, 3, 9, generator=torch.Generator().manual_seed(0))
    model(x).sum().backward()
    model.zero_grad()
    pruned = sc.prune(
        model, budget="params=50%", data=[(x, torch.tensor([0, 1, 0, 1]))] * 2, every=1, factory=build
    )
    assert sum(p.numel() for p in pruned.parameters()) <= sum(p.numel() for p in build().parameters()) // 2
    assert pruned[0].out_channels < 8
    sc.save(pruned, tmp_path / "small")
    loaded = sc.load(tmp_path / "small", factory=build)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(x), pruned.eval()(x))


def test_masks_of_torch_prune_are_named_and_made_permanent():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    nn.utils.prune.ln_structured(model[0], "weight", 0.5, 2, 0)
    with pytest.raises(InputError, match=r"prune.remove\(.*, 'weight'\).*sc.make_permanent"):
        sc.inspect(model, torch.randn(2, 4))
    zero = (model[0].weight == 0).all(1)
    assert int(zero.sum()) == 3
    assert sc.make_permanent is make_permanent
    assert sc.make_permanent(model) is model
    sc.inspect(model, torch.randn(2, 4))
    assert torch.equal((model[0].weight == 0).all(1), zero)
    assert isinstance(model[0].weight, nn.Parameter)


def test_other_computed_weights_are_refused_with_the_remedy():
    made = nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm
    said = []
    for norm in made:
        model = nn.Sequential(norm(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 2))
        with pytest.raises(InputError) as refusal:
            sc.inspect(model, torch.randn(2, 4))
        said.append(str(refusal.value))
    assert "torch.nn.utils.remove_spectral_norm(0)" in said[0]
    assert "torch.nn.utils.parametrize.remove_parametrizations(0, 'weight')" in said[1]


# What gets no gradient


class PartOnly(nn.Module):
    """A backbone that runs under `no_grad`, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.back = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
        self.under = True

    def forward(self, x):
        with torch.set_grad_enabled(not self.under and torch.is_grad_enabled()):
            h = self.back(x)
        return self.head(h)


def rows(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(8, 4, generator=generator), torch.randint(0, 3, (8,), generator=generator))] * 2


def widths(model):
    return [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]


def test_what_the_loss_does_not_reach_is_said_before_training():
    model = PartOnly()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"none comes back .* those of back.0 .*keep=\['back.0', 'back.2'\]"):
        sc.prune(model, budget="params=70%", data=rows(), every=1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    sc.prune(model, budget="params=80%", data=rows(), every=1, keep=["back.0", "back.2"])
    assert widths(model)[:2] == [6, 5]
    assert widths(model)[2] < 6


def test_other_criteria_say_it_and_cut():
    model = PartOnly()
    with pytest.warns(UserWarning, match=r"no gradient reaches what writes .* back.0, back.2 "):
        sc.prune(model, method="filter-norm", budget="params=70%", data=rows(), every=1)
    assert sum(p.numel() for p in model.parameters()) <= 0.7 * sum(p.numel() for p in PartOnly().parameters())


@pytest.mark.parametrize("method", ["fisher", "filter-norm", "random-channels"])
def test_layers_that_do_not_require_gradients_are_left_alone(method):
    model = PartOnly()
    model.under = False
    model.back.requires_grad_(False)
    with pytest.warns(UserWarning, match=r"leaves channels alone: back.0, back.2: .*requires_grad_\(True\)"):
        sc.prune(model, method=method, budget="params=80%", data=rows(), every=1)
    assert widths(model)[:2] == [6, 5]
    assert widths(model)[2] < 6


def test_what_would_go_first_as_its_gradient_is_zero_is_named():
    model = PartOnly()
    model.under = False
    nn.init.zeros_(model.head[2].weight)
    with pytest.warns(UserWarning, match=r"the gradient .* of back.0, back.2, head.0 is zero"):
        sc.prune(model, budget="params=80%", data=rows(), every=1)


def test_the_rehearsal_changes_nothing():
    """Batch statistics, random numbers and the first cut are those of a run without it."""

    def run():
        model = chain().float()
        sc.inspect(model, torch.zeros(2, 2, 4, 4))
        data = [(x.float(), y) for x, y in map(batch, range(3))]
        torch.manual_seed(5)
        return sc.prune(model, budget="params=60%", data=data, every=2), torch.rand(1)

    from secateur.training import prune as module

    one, drawn = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "check_reached", lambda *_: None)
        other, again = run()
    assert torch.equal(drawn, again)
    for name, value in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], value), name


@pytest.mark.parametrize("name", ["LBFGS", "SparseAdam"])
def test_optimizers_that_could_not_step_are_refused_before_training(name):
    model = PartOnly()
    model.under = False
    with pytest.raises(InputError, match=f"{name} (evaluates|steps)"):
        sc.prune(
            model,
            budget="params=80%",
            data=rows(),
            optimizer=getattr(torch.optim, name)(model.parameters()),
        )


# Averages


def dwise():
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(2, 6, 1),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def test_an_averaged_model_that_follows_is_the_average_of_what_is_kept():
    """By hand: the snapshots of the weights, cut to the entries that are left in the end, averaged."""
    model, snapshots = dwise(), []
    averaged = torch.optim.swa_utils.AveragedModel(model)  # the plain mean
    sc.follow(model, averaged)
    sc.inspect(model, torch.zeros(2, 2, 4, 4))
    method = Fisher(removals=2, every=2)
    method.prepare(model)
    optimizer, seed = torch.optim.SGD(model.parameters(), lr=0.05), 0
    while not method.finished:
        x, y = batch(seed)
        F.cross_entropy(model(x.float()), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(model, optimizer)
        averaged.update_parameters(model)
        alive = method.state()["alive"]["0"]
        snapshots.append((list(alive), model[5].weight.detach().clone(), model[1].weight.detach().clone()))
        seed += 1
    assert averaged.module[1].groups == model[1].groups == 4
    left = snapshots[-1][0]
    linear, depthwise = [], []
    for alive, of_linear, of_depthwise in snapshots:
        places = [alive.index(channel) for channel in left]
        depthwise.append(of_depthwise[places])
        linear.append(of_linear[:, [4 * place + i for place in places for i in range(4)]])
    torch.testing.assert_close(averaged.module[5].weight.detach(), torch.stack(linear).mean(0))
    torch.testing.assert_close(averaged.module[1].weight.detach(), torch.stack(depthwise).mean(0))
    averaged(batch(0)[0].float())


def test_what_is_no_copy_does_not_follow():
    model = dwise()
    for other in (model, nn.Linear(2, 2)):
        with pytest.raises(InputError, match="is a copy of it, of the same shapes; got"):
            sc.follow(model, other)
