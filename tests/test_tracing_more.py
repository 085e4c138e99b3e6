"""Networks made to break the tracer: each is cut exactly as it is masked, or frozen or refused with a reason.

The reference is not the proof's: here the whole network's weights are zeroed where they read what was cut.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
import threading

import pytest
import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from secateur.errors import InputError
from secateur.network.inputs import call, map_inputs, output_tensors
from secateur.surgery.costs import Costs
from secateur.surgery.kernels import no_fast_path
from secateur.surgery.proof import trace_and_prove
from secateur.surgery.trial import parts


def lively(model, seed=0):
    """In float64, with random parameters and statistics."""
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for value in model.parameters():
            fan = max(1, value[0].numel()) if value.dim() > 1 else 1
            value.copy_(torch.randn(value.shape, generator=generator) / math.sqrt(fan))
        for name, value in model.named_buffers():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif name.endswith("running_mean"):
                value.copy_(torch.randn(value.shape, generator=generator))
    return model


def blind(model, graph, gone):
    """A copy in which every weight that reads a channel cut is zero, and norms are over the others."""
    copied = copy.deepcopy(model)
    for name, channels in gone.items():
        for site in graph.groups[name].sites:
            layer, cut = copied.get_submodule(site.axis[0]), site.entries[sorted(channels)].flatten().tolist()
            if site.read and "@" in site.axis[1]:
                own, _, dim = site.axis[1].partition("@")
                getattr(layer, own).data.index_fill_(int(dim), torch.tensor(cut), 0)
            elif site.read:
                weight = layer.weight = nn.Parameter(layer.weight.detach().clone())  # no longer anyone else's
                for entry in cut:
                    zero(layer, weight.data, entry)
            elif isinstance(layer, OverKept):  # another group cuts the same normalisation
                layer.cut |= set(cut)
            elif isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
                copied.set_submodule(site.axis[0], OverKept(layer, cut))
    return copied


def zero(layer, weight, entry):
    """Of the weights that read an entry."""
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        weight[entry] = 0
    elif getattr(layer, "groups", 1) > 1:
        group, offset = divmod(entry, weight.shape[1])
        rows = len(weight) // layer.groups
        weight[group * rows : (group + 1) * rows, offset] = 0
    else:
        weight[:, entry] = 0


class OverKept(nn.Module):
    """A group or layer normalisation of each group's kept channels, by hand."""

    def __init__(self, norm, cut):
        super().__init__()
        self.norm, self.cut = norm, set(cut)
        self.eps, self.weight, self.bias = norm.eps, norm.weight, norm.bias  # an encoder looks at them

    def forward(self, x):
        norm, by_group = self.norm, isinstance(self.norm, nn.GroupNorm)
        x = x if by_group else x.movedim(-1, 1)
        out = torch.zeros_like(x)
        for numbers in torch.arange(x.shape[1]).chunk(norm.num_groups if by_group else 1):
            kept = [i for i in numbers.tolist() if i not in self.cut]
            if kept:
                part = x[:, kept]
                over = tuple(range(1, x.dim())) if by_group else (1,)
                mean, var = part.mean(over, keepdim=True), part.var(over, keepdim=True, correction=0)
                scale, shift = (v[kept].view(-1, *[1] * (x.dim() - 2)) for v in (norm.weight, norm.bias))
                out[:, kept] = (part - mean) / (var + norm.eps).sqrt() * scale + shift
        return out if by_group else out.movedim(1, -1)


def draws(graph, seed):
    """Each group alone and all at once, by random sets of random sizes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(name):
        width = graph.groups[name].width
        count = int(torch.randint(1, width, (), generator=generator))
        return set(torch.randperm(width, generator=generator)[:count].tolist())

    return [{name: draw(name)} for name in graph.groups] + [
        {name: draw(name) for name in graph.groups} for _ in range(2)
    ]


@torch.no_grad()
def check_cuts(model, graph, inputs, seed=0):
    """Every cut gives the logits of the network that is blind to what was cut, and its costs are right."""
    model = lively(model, seed)
    inputs = map_inputs(inputs, lambda x: x.double() if x.is_floating_point() else x)
    for gone in draws(graph, seed):
        compact, left = copy.deepcopy(model), graph.uncut()
        for name, channels in gone.items():
            left.remove(compact, name, sorted(channels))
        with no_fast_path():  # which takes the weights of normalisations that are told to leave channels out
            expected = output_tensors(call(blind(model, graph, gone), inputs))
        found = output_tensors(call(compact, inputs))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8 * float(b.abs().max()))
        counted = Costs(model, graph.uncut(), inputs).at(left.widths)
        assert counted["params"] == sum(p.numel() for p in compact.parameters())


def opened(model, inputs):
    """The graph, checked by cuts; without groups, the reasons."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        graph = trace_and_prove(model, inputs)
    except InputError as error:
        return str(error)
    finally:
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), "the model is left as it is"
    check_cuts(model, graph, inputs)
    return graph


def images(channels=3, side=8):
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))


KINDS = (
    *("conv", "conv", "grouped", "depthwise", "transposed", "bn", "act", "norm", "prelu", "se", "add", "mul"),
    *("cat", "chunk", "halves", "shuffle", "repeat", "pad", "slice", "flip", "roll", "where"),
)


class Dag(nn.Module):
    """A random network: every step takes tensors made before it, all of one spatial size."""

    def __init__(self, random):
        super().__init__()
        self.layers, self.steps, widths = nn.ModuleList(), [], [3]
        self._add(nn.Conv2d(3, random.choice([4, 6, 8, 12]), 3, 1, 1), "layer", [0], widths)
        for _ in range(random.randint(2, 8)):
            self._grow(random, widths)
        last = widths[-1]
        self.flat = random.random() < 0.3
        self.fc = nn.Linear(last * 16 if self.flat else last, 5)

    def _add(self, layer, kind, sources, widths, more=()):
        self.layers.append(layer)
        self.steps.append((kind, sources, more))
        with torch.no_grad():
            pool = [torch.zeros(1, width, 4, 4) for width in widths]
            widths.append(self.eval()._step(len(self.steps) - 1, pool).shape[1])

    def _grow(self, random, widths):
        at = random.randrange(1, len(widths)) if random.random() < 0.4 else len(widths) - 1
        width = widths[at]
        kind = random.choice(KINDS)
        divisors = [d for d in (2, 3, 4) if width % d == 0]
        out = random.choice([4, 6, 8, 12])
        if kind == "conv":
            self._add(nn.Conv2d(width, out, random.choice([1, 3]), padding="same"), "layer", [at], widths)
        elif kind == "grouped" and divisors:
            groups = random.choice(divisors)
            wide = groups * random.choice([1, 2, 3])
            self._add(nn.Conv2d(width, wide, 1, groups=groups), "layer", [at], widths)
        elif kind == "depthwise":
            more = width * random.choice([1, 2])
            self._add(nn.Conv2d(width, more, 3, 1, 1, groups=width), "layer", [at], widths)
        elif kind == "transposed":
            self._add(nn.ConvTranspose2d(width, out, 1), "layer", [at], widths)
        elif kind == "bn":
            self._add(nn.BatchNorm2d(width), "layer", [at], widths)
        elif kind == "norm" and divisors:
            self._add(nn.GroupNorm(random.choice([1, *divisors]), width), "layer", [at], widths)
        elif kind == "prelu":
            self._add(nn.PReLU(width), "layer", [at], widths)
        elif kind == "act":
            self._add(
                random.choice([nn.ReLU(), nn.GELU(), nn.Sigmoid(), nn.Hardtanh()]), "layer", [at], widths
            )
        elif kind in ("add", "mul"):
            others = [i for i, other in enumerate(widths) if other == width and i != at]
            if others:
                self._add(nn.Identity(), kind, [at, random.choice(others)], widths)
        elif kind == "cat":
            self._add(nn.Identity(), "cat", [at, random.randrange(len(widths))], widths)
        elif kind in ("chunk", "halves") and width % 2 == 0:
            self._add(nn.Identity(), kind, [at], widths, (random.randrange(2),))
        elif kind in ("shuffle", "repeat") and divisors:
            self._add(nn.Identity(), kind, [at], widths, (random.choice(divisors),))
        elif kind == "pad":
            self._add(nn.Identity(), "pad", [at], widths, (random.randrange(3), random.randrange(3)))
        elif kind == "slice" and width > 1:
            self._add(nn.Identity(), "slice", [at], widths, (random.randrange(2), random.choice([1, 2])))
        elif kind in ("flip", "where", "roll"):
            self._add(nn.Identity(), kind, [at], widths)
        elif kind == "se":
            squeeze = nn.Sequential(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, width), nn.Sigmoid())
            self._add(squeeze, "se", [at], widths)

    def _step(self, index, pool):
        kind, sources, more = self.steps[index]
        layer, x = self.layers[index], pool[sources[0]]
        n, c, h, w = x.shape
        return {
            "layer": lambda: layer(x),
            "add": lambda: x + pool[sources[1]],
            "mul": lambda: x * pool[sources[1]],
            "cat": lambda: torch.cat([pool[i] for i in sources], 1),
            "chunk": lambda: x.chunk(2, 1)[more[0]],
            "halves": lambda: torch.mul(*x.chunk(2, 1)),
            "shuffle": lambda: x.view(n, more[0], c // more[0], h, w).transpose(1, 2).reshape(n, c, h, w),
            "repeat": lambda: x.repeat_interleave(more[0], 1),
            "pad": lambda: F.pad(x, (0, 0, 0, 0, *more)),
            "slice": lambda: x[:, more[0] :: more[1]],
            "flip": lambda: x.flip(1),
            "roll": lambda: x.roll(1, 1),
            "where": lambda: torch.where(x > 0, x, 0.1),
            "se": lambda: x * layer(x.mean((2, 3)))[:, :, None, None],
        }[kind]()

    def forward(self, x):
        pool = [x]
        for index in range(len(self.steps)):
            pool.append(self._step(index, pool))
        return self.fc(pool[-1].flatten(1) if self.flat else pool[-1].mean((2, 3)))


def test_two_groups_are_cut_from_one_normalisation():
    def joined(self, x):
        a = self.one(x)
        return self.fc(self.norm(torch.cat([self.other(a), a], 1)).flatten(1))

    layers = {"one": nn.Conv2d(3, 4, 3, 1, 1), "other": nn.Conv2d(4, 4, 1), "norm": nn.GroupNorm(1, 8)}
    graph = opened(Net(joined, **layers, fc=nn.Linear(128, 5)), images(side=4))
    assert set(graph.groups) == {"one", "other"}


def check_a_random_network(random):
    torch.manual_seed(0)
    model = Dag(random)
    note(f"{model.steps} {model}")
    found = opened(model, images(side=4))
    assert not isinstance(found, str) or "can be pruned" in found


@settings(max_examples=12, deadline=None)
@given(st.randoms(use_true_random=False))
def test_random_networks_are_cut_as_they_are_masked_or_not_at_all(random):
    check_a_random_network(random)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_many_random_networks_are_cut_as_they_are_masked_or_not_at_all(random):
    check_a_random_network(random)


class Net(nn.Module):
    """Layers and buffers by name, and a forward given as a function."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.made = forward
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *x):
        return self.made(self, *x)


def conv(channels, out, kernel=3, **more):
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2, **more)


def pool(x):
    return x.mean((2, 3))


def net(between, channels=8, reads=8, **parts):
    """a -> between -> b -> fc, over images."""
    return Net(
        lambda m, x: m.fc(pool(F.relu(m.b(between(m, m.a(x)))))),
        **{"a": conv(3, channels), **parts, "b": conv(reads, 6), "fc": nn.Linear(6, 5)},
    )


def shared(first, second, attribute):
    """Two layers that hold one parameter."""
    setattr(second, attribute, getattr(first, attribute))
    return {"one": first, "other": second}


def finite(x):
    if not torch.isfinite(x).all():
        raise ValueError("not finite")
    return x


def unpooled(m, x):
    return F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)


def tokens_tied(m, x):
    return m.other(F.relu(m.hidden(m.one(x).mean(1))))


WORKS = {
    "halves that part": (
        net(lambda m, x: torch.cat([x.chunk(2, 1)[0], m.c(x.chunk(2, 1)[1])], 1), 16, 16, c=conv(8, 8)),
        "a c b",
    ),
    "clamp": (net(lambda m, x: x.clamp(0, 1)), "a b"),
    "where that keeps NaN": (net(lambda m, x: torch.where(x > 0, x, 0.1 * x)), "a b"),
    "dropout": (net(lambda m, x: m.drop(x), drop=nn.Dropout(0.5)).train(), "a b"),
    "a buffer per channel": (net(lambda m, x: x * m.scale[:, None, None], scale=torch.rand(8)), "a b"),
    "einsum over positions": (net(lambda m, x: x * torch.einsum("nchw->nc", x)[..., None, None]), "a b"),
    "reflecting": (net(lambda m, x: m.c(x), c=conv(8, 8, padding_mode="reflect")), "a c b"),
    "bilinear": (net(lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear")), "a b"),
    "pixel shuffle": (net(lambda m, x: F.pixel_shuffle(x, 2), 16, 4), "a b"),
    "pixel unshuffle": (net(lambda m, x: F.pixel_unshuffle(x, 2), 8, 32), "a b"),
    "gated unit": (net(lambda m, x: F.glu(x, 1), 16), "a b"),
    "max unpool": (net(unpooled), "a b"),
    "positions": (net(lambda m, x: x + m.p, p=nn.Parameter(torch.randn(1, 8, 8, 8))), "a b"),
    "fourier": (net(lambda m, x: torch.fft.fft2(x).abs()), "a b"),
    "statistics by hand": (net(lambda m, x: x / x.std((2, 3), keepdim=True)), "a b"),
    "group norms": (net(lambda m, x: m.n(m.m(x)), n=nn.GroupNorm(1, 8), m=nn.GroupNorm(4, 8)), "a b"),
    "depthwise multiplier": (net(lambda m, x: m.c(x), 8, 16, c=conv(8, 16, groups=8)), "a b"),
    "one norm at two widths": (
        net(
            lambda m, x: m.c(m.n(x)) + m.n(m.c(x)),
            reads=12,
            n=nn.BatchNorm2d(8, affine=False, track_running_stats=False),
            c=conv(8, 12),
        ),
        "a c b",
    ),
    "a list": (Net(lambda m, x: [m.a(x), [m.c(m.b(x))]], a=conv(3, 4), b=conv(3, 8), c=conv(8, 2)), "b"),
    "tied weights": (
        Net(
            lambda m, x: m.fc(m.other(F.relu(m.one(m.first(pool(x)))))),
            first=nn.Linear(3, 8),
            fc=nn.Linear(8, 5),
            **shared(nn.Linear(8, 8), nn.Linear(8, 8), "weight"),
        ),
        "first",
    ),
    "tied biases": (
        Net(
            lambda m, x: m.fc(pool(m.other(F.relu(m.one(x))))),
            fc=nn.Linear(8, 5),
            **shared(conv(3, 8), conv(8, 8), "bias"),
        ),
        "one",
    ),
    "conv3d": (
        Net(
            lambda m, x: m.fc(m.b(F.relu(m.a(x[:, :, None]))).mean((2, 3, 4))),
            a=nn.Conv3d(3, 8, 3, padding=1),
            b=nn.Conv3d(8, 8, 1),
            fc=nn.Linear(8, 5),
        ),
        "a b",
    ),
    "an encoder layer": (
        net(
            lambda m, x: m.t(x.flatten(2).mT).mT[..., None],
            t=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        ),
        "a t.self_attn t.linear1 b",
    ),
    "recurrent": (
        net(lambda m, x: m.r(x.flatten(2).mT)[0].mT.unflatten(2, (8, 8)), r=nn.LSTM(8, 8, batch_first=True)),
        "a r b",
    ),
    "time-first recurrent": (
        net(lambda m, x: m.r(x.flatten(2).permute(2, 0, 1))[0].permute(1, 2, 0)[..., None], r=nn.GRU(8, 8)),
        "a r b",
    ),
    "attention": (
        net(
            lambda m, x: m.t(x.flatten(2).mT, *[x.flatten(2).mT] * 2)[0].mT[..., None],
            t=nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        "a t t.out_proj b",
    ),
    "a functional weight": (
        net(lambda m, x: F.conv2d(x, m.w), w=nn.Parameter(torch.randn(8, 8, 1, 1))),
        "a w b",
    ),
    "lstm": (
        Net(
            lambda m, x: m.fc(m.rnn(m.b(m.a(x)).mean(2).transpose(1, 2))[0][:, -1]),
            a=conv(3, 8),
            b=conv(8, 6),
            rnn=nn.LSTM(6, 7, batch_first=True),
            fc=nn.Linear(7, 5),
        ),
        "a b rnn",
    ),
}
"""Name -> (model, groups that can be cut)."""


@pytest.mark.parametrize("name", WORKS)
def test_it_works(name):
    model, expected = WORKS[name]
    graph = opened(model, images())
    assert not isinstance(graph, str), graph
    assert list(graph.groups) == expected.split()


FREEZES = {
    "a gate that loses NaN": (net(lambda m, x: (x > 0).to(x)), "a", "read by no convolution"),
    "nan_to_num": (net(lambda m, x: torch.nan_to_num(x)), "a", "read by no convolution"),
    "half a gate": (net(lambda m, x: m.c(x) + m.c((x > 0).to(x)), c=conv(8, 8)), "a", None),
    "a gate of another": (net(lambda m, x: x + m.c((x > 0).to(x)), c=conv(8, 8)), "a", "in c fails once"),
    "a boolean index": (net(lambda m, x: x * x[x > 0].mean()), "a", "after index"),
    "a hard-coded view": (net(lambda m, x: x.view(len(x), 8, -1, 8)), "a", "fails once channels are gone"),
    "a permutation buffer": (net(lambda m, x: x[:, m.p], p=torch.randperm(8)), "a", "index in Net fails"),
    "a boolean buffer": (
        net(lambda m, x: x * m.p[:, None, None], p=torch.ones(8) > 0),
        "a",
        "mul in Net fails",
    ),
    "a roll": (net(lambda m, x: x.roll(1, 1)), "a", "after roll"),
    "its own width": (net(lambda m, x: x / x.shape[1]), "a", "b reads other channels"),
    "einsum": (net(lambda m, x: torch.einsum("nchw,ndhw,ndij->ncij", x, x, x)), "a", "bmm in Net mixes"),
    "softmax over channels": (net(lambda m, x: x.softmax(1)), "a", "_softmax in Net mixes"),
    "local response": (net(lambda m, x: m.n(x), n=nn.LocalResponseNorm(3)), "a", "avg_pool3d in n mixes"),
    "spectral norm": (
        net(lambda m, x: m.c(x), c=nn.utils.parametrizations.spectral_norm(conv(8, 8))),
        "a",
        "the weight of c is computed",
    ),
}
"""Name -> (model, what is frozen, why); the group of b can always be cut."""


@pytest.mark.parametrize("name", FREEZES)
def test_it_is_frozen_and_the_reason_names_the_culprit(name):
    model, frozen, reason = FREEZES[name]
    graph = opened(model, images())
    assert not isinstance(graph, str), graph
    assert "b" in graph.groups
    if reason is not None:
        reasons = {of.name: of.reason for of in graph.frozen}
        assert re.search(reason, reasons[frozen]), reasons


REFUSES = {
    "no NaN allowed": (net(lambda m, x: finite(x)), "does not stand them: ValueError: not finite"),
    "a number out of it": (
        net(lambda m, x: x * int(2 + 0 * x.mean())),
        "cannot convert float NaN to integer",
    ),
    "no float at the end": (
        Net(lambda m, x: m.fc(pool(m.a(x))).argmax(1), a=conv(3, 8), fc=nn.Linear(8, 5)),
        "changes no output",
    ),
    "another input": (nn.Sequential(conv(4, 8)), "cannot be run on the inputs given"),
}


@pytest.mark.parametrize("name", REFUSES)
def test_it_is_refused_in_one_line(name):
    model, reason = REFUSES[name]
    with pytest.raises(InputError, match=reason) as caught:
        trace_and_prove(model, images())
    assert "\n" not in str(caught.value)


def test_of_any_two_groups_each_is_cut_without_the_other():
    for count in (2, 3, 7, 20, 50):
        names = [str(number) for number in range(count)]
        for one, other in itertools.permutations(names, 2):
            assert any(one in part and other not in part for part in parts(names))


def test_what_cannot_be_copied_is_named():
    layer = conv(8, 8)
    layer.lock = threading.Lock()
    with pytest.raises(InputError, match=r"cannot be copied: TypeError: cannot pickle .*'c.lock' has none"):
        trace_and_prove(net(lambda m, x: m.c(x), c=layer), images())


@pytest.mark.parametrize("tied", [False, True])
def test_embeddings(tied):
    """The decoder of a language model that shares the embedding's weight stays tied to it."""
    more = shared(nn.Embedding(20, 8), nn.Linear(8, 20, bias=False), "weight")
    if not tied:
        more["other"] = nn.Linear(8, 5)
    hidden = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
    model = Net(tokens_tied, hidden=hidden, **more)
    tokens = torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(0))
    graph = opened(model, tokens)
    assert list(graph.groups) == ["one", "hidden.0"] if tied else ["one", "hidden.0", "hidden.2"]
    graph.remove(model, "one", [1, 2])
    assert (model.one.weight is model.other.weight) == tied


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types(dtype):
    model = net(lambda m, x: m.n(x), n=nn.BatchNorm2d(8)).to(dtype)
    graph = opened(model, images().to(dtype))
    assert list(graph.groups) == ["a", "b"]
    graph.remove(model, "a", [0, 3])
    assert {value.dtype for value in model.parameters()} == {dtype}


def test_channels_last():
    layout = torch.channels_last
    model = net(lambda m, x: m.n(x), n=nn.BatchNorm2d(8)).to(memory_format=layout)
    x = images().contiguous(memory_format=layout)
    graph = opened(model, x)
    graph.remove(model, "a", [1])
    assert model.b.weight.is_contiguous(memory_format=layout)


def test_a_model_that_runs_in_float32_only():
    graph = trace_and_prove(net(lambda m, x: m.c(x.float()), c=conv(8, 8)), images())
    assert list(graph.groups) == ["a", "c", "b"]


def test_a_norm_of_the_model_itself_is_proved_over_what_is_kept():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, 5))
    assert list(opened(model, images()).groups) == ["1"]
