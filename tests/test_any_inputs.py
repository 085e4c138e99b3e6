"""Inputs and outputs of any kind: where examples lie, arguments that are no tensors, lists, 0-d outputs."""

from __future__ import annotations

import json
import threading
import weakref
from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune as masks
from torch.nn.utils.rnn import pack_padded_sequence

import secateur as sc
from secateur.compare.own import examine, network_for
from secateur.deploy.onnx import to_onnx
from secateur.errors import InputError
from secateur.methods.readers import by_example
from secateur.network.described import describe_inputs, examples_described, without_values
from secateur.network.example_axes import examples_of
from secateur.network.examples import Examples
from secateur.network.inputs import batch_of, call, output_tensors, read_as, take_first, tile
from secateur.network.modes import in_evaluation, in_training
from secateur.network.plain import bare
from secateur.network.task import Task
from secateur.training.loaders import Loaders
from secateur.training.micro import parts_of

NORMAL = torch.Generator().manual_seed(0)


def noise(*shape):
    return torch.randn(shape, generator=NORMAL)


IMAGES = noise(4, 3, 8, 8)


class Images(nn.Module):
    """Two convolutions and a classifier; subclasses say how they are called, and what they give."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Conv2d(6, 5, 3, padding=1),
            nn.Linear(5, 3),
        )

    def scores(self, x):
        return self.fc(F.relu(self.b(F.relu(self.a(x)))).mean((-2, -1)))

    def forward(self, x):
        return self.scores(x)


class Options(Images):
    def forward(self, x, mask=None, named=True, t=0):
        found = self.scores(x) + (0 if t is None else float(t))
        return {"logits": found} if named else (found,)


class Stacked(Images):
    def forward(self, images):
        return self.scores(torch.stack(images))


class OneByOne(Images):
    """Images of any size, each without a batch."""

    def forward(self, images, targets=None):
        return [{"scores": self.scores(image)} for image in images]


class Encoder(nn.Module):
    def __init__(self, batch_first=False, pooled=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.p, self.e, self.fc = (
            nn.Linear(6, 8),
            nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
            nn.Linear(8, 3),
        )
        self.pooled = pooled

    def forward(self, x, mask=None, pad=None):
        found = self.e(self.p(x), mask=mask, src_key_padding_mask=pad)
        return self.fc(found.mean(0) if self.pooled else found)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.r, self.fc = nn.GRU(6, 8), nn.Linear(8, 3)

    def forward(self, x, h=None):
        return self.fc(self.r(x, h)[0])


class Lengths(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.r, self.fc = nn.Embedding(9, 6), nn.GRU(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.e(ids), lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.r(packed)[1][0])


PAD = torch.tensor([[0] * 7, [0] * 5 + [1] * 2, [0] * 7, [0] * 4 + [1] * 3]).bool()
LENGTHS = torch.tensor([5, 3, 4, 1])
IDS = torch.tensor([[1, 2, 3, 4, 5], [8, 7, 6, 0, 0], [1, 1, 2, 3, 0], [4, 0, 0, 0, 0]])
READINGS = {
    "images": (Images(), IMAGES, {(): 0}, (), 4),
    "one image": (Images(), IMAGES[:1], {(): 0}, (), 1),
    "images that are all alike": (Images(), torch.zeros(2, 3, 8, 8), {(): 0}, (), 2),
    "options": (Options(), {"x": IMAGES, "mask": None, "named": False}, {("x",): 0}, (), 4),
    "a 0-d tensor": (Options(), {"x": IMAGES, "t": torch.tensor(10)}, {("x",): 0}, (), 4),
    "a list": (Stacked(), ([*IMAGES],), {}, ((0,),), 4),
    "a list of sizes": (OneByOne(), ([noise(3, 8, 8 + k) for k in range(3)],), {}, ((0,),), 3),
    "lists with targets": (
        OneByOne(),
        ([*IMAGES], [{"boxes": noise(k, 4)} for k in range(4)]),
        {},
        ((0,), (1,)),
        4,
    ),
    "batch first": (Encoder(True), noise(4, 7, 6), {(): 0}, (), 4),
    "time first": (Encoder(), noise(7, 4, 6), {(): 1}, (), 4),
    "as many times as examples": (Encoder(), noise(4, 4, 6), {(): 1}, (), 4),
    "time first, pooled": (Encoder(pooled=True), noise(7, 4, 6), {(): 1}, (), 4),
    "masks": (
        Encoder(),
        {"x": noise(7, 4, 6), "mask": torch.zeros(7, 7), "pad": PAD.float() * -9},
        {("x",): 1, ("pad",): 0},
        (),
        4,
    ),
    "a mask for every head": (
        Encoder(),
        (noise(7, 4, 6), torch.zeros(8, 7, 7)),
        {(0,): 1, (1,): 0},
        (),
        4,
    ),
    "a state": (Recurrent(), (noise(7, 4, 6), torch.zeros(1, 4, 8)), {(0,): 1, (1,): 1}, (), 4),
    "lengths": (Lengths(), (IDS, LENGTHS), {(0,): 0, (1,): 0}, (), 4),
}


@pytest.mark.parametrize("name", READINGS)
def test_where_the_examples_lie_is_found_by_running_the_model(name):
    """And inputs made again of what JSON tells of them run, with as many examples as are asked for."""
    model, inputs, dims, lists, count = READINGS[name]
    model.train()
    found = examples_of(model, inputs)
    assert dict(found.dims) == dims
    assert found.lists == frozenset(lists)
    assert found.count == count
    assert model.training
    told = json.loads(json.dumps(describe_inputs(found, values=True)))
    again = examples_described(told, 3)
    assert without_values(told) == describe_inputs(again)
    assert again.count == batch_of(again) == 3
    output_tensors(call(in_evaluation(model), again))


def test_what_is_no_noise_is_kept_as_it_was():
    """Lengths of zero, masks that leave nothing, and timesteps of noise would be no inputs."""
    told = json.loads(json.dumps(describe_inputs((IDS, LENGTHS), values=True)))
    ids, lengths = examples_described(told, 2).inputs
    assert ids.tolist() == [[1, 2, 3, 4, 5]] * 2
    assert lengths.tolist() == [5, 5]
    shared = Examples({"x": IMAGES, "bias": torch.tensor([[0.0, -torch.inf]])}, {("x",): 0}, count=4)
    bias = examples_described(json.loads(json.dumps(describe_inputs(shared, values=True)))).inputs["bias"]
    assert bias.tolist() == [[0.0, -torch.inf]]
    many = describe_inputs(torch.arange(1, 5001)[None], values=True)
    assert (many["low"], many["high"]) == (1, 5000)
    assert (
        1 <= int(examples_described(many).inputs.min()) <= int(examples_described(many).inputs.max()) <= 5000
    )


@pytest.mark.parametrize(
    "description",
    [
        {"value": {"os": 1}},
        {"shape": [2], "dtype": "int64", "values": [1]},
        {"shape": [2], "dtype": "int64", "values": ["1", 2]},
        {"shape": [2], "dtype": "int64", "low": 5, "high": 1},
        {"shape": [2], "dtype": "float32", "examples": 9},
        {"shape": [2], "dtype": "float32", "each": 10**9},
    ],
)
def test_a_description_that_is_malformed_is_refused(description):
    with pytest.raises(InputError):
        examples_described({"positional": [{"shape": [2], "dtype": "float32"}, description]})


def test_examples_are_taken_wherever_they_lie():
    """Literal: two entries for each of three examples along dimension 1, a list, and what belongs to all."""
    given = Examples(
        {
            "x": torch.arange(12).view(2, 6),
            "names": [torch.tensor(k) for k in range(3)],
            "all": torch.zeros(3),
        },
        {("x",): 1},
        frozenset([("names",)]),
        3,
    )
    found = given.take([2, 0])
    assert found.inputs["x"].tolist() == [[4, 5, 0, 1], [10, 11, 6, 7]]
    assert [int(k) for k in found.inputs["names"]] == [2, 0]
    assert found.inputs["all"].shape == (3,)
    assert found.count == 2
    both = given.first(1).beside(found)
    assert both.inputs["x"].tolist() == [[0, 1, 4, 5, 0, 1], [6, 7, 10, 11, 6, 7]]
    assert given.like(found.inputs).count == 2
    assert tile(torch.arange(3), 2).tolist() == [0, 0]
    assert take_first(torch.arange(9), 2).tolist() == [0, 1]
    with pytest.raises(InputError, match="every batch is wrapped as the first one"):
        given.like((torch.zeros(3),))


def test_the_dimension_can_be_said():
    """Of a network that treats every step alike both readings are right."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    assert examples_of(model, noise(7, 4, 6)).dims == {(): 0}
    assert sc.inspect(model, noise(7, 4, 6), batch_dim=1).inputs.dims == {(): 1}
    with pytest.raises(InputError, match=r"batch_dim is the dimension .* 0 to 2 .* got 3"):
        sc.inspect(model, noise(7, 4, 6), batch_dim=3)


@dataclass
class Record:
    logits: torch.Tensor
    features: torch.Tensor


Pair = namedtuple("Pair", "logits features")
WRAPPED = {
    "dataclass": Record,
    "named tuple": Pair,
    "object": lambda a, b: SimpleNamespace(logits=a, nested=[{"features": b}], step=torch.tensor(3)),
    "nested": lambda a, b: {"logits": a, "more": ([b, None], {"n": 3, "found": a.argmax(1)})},
    "complex": lambda a, b: {"logits": torch.complex(a, a), "features": b},
    "a mean of what is given": lambda a, b: (a, b, b.pow(2).mean()),
}


class Wraps(Images):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return WRAPPED[self.how](self.scores(x), self.b(F.relu(self.a(x))))


@pytest.mark.parametrize("how", WRAPPED)
def test_outputs_are_seen_however_they_are_wrapped(how):
    graph = sc.inspect(Wraps(how), IMAGES).graph
    assert {name: group.width for name, group in graph.groups.items()} == {"a": 6}
    assert [each.name for each in graph.frozen if "output" in each.reason] == [graph.frozen[0].name]


class Labelled(Images):
    """As models of transformers are: the loss is an output where labels are among the inputs."""

    def forward(self, x, labels=None):
        found = self.scores(x)
        return SimpleNamespace(loss=F.cross_entropy(found, labels), logits=found)


@pytest.mark.parametrize(
    ("model", "inputs", "loss", "method"),
    [
        (Labelled, {"x": IMAGES, "labels": torch.tensor([0, 1, 2, 0])}, lambda o, t: o.loss, "fisher"),
        (Options, {"x": IMAGES, "mask": None}, lambda o, t: F.cross_entropy(o["logits"], t), "taylor"),
        (Stacked, ([*IMAGES],), None, "fisher"),
        (OneByOne, ([*IMAGES],), lambda o, t: sum(each["scores"].sum() for each in o), "filter-norm"),
        (lambda: Encoder(pooled=True), noise(7, 4, 6), None, "fisher"),
    ],
    ids=["loss among the outputs", "options", "a list", "a list of images", "time first"],
)
def test_a_network_is_pruned_saved_and_loaded_with_such_inputs(tmp_path, model, inputs, loss, method):
    data = [(inputs, torch.tensor([0, 1, 2, 0]))] * 2
    pruned = sc.prune(model(), method=method, budget="params=80%", data=data, every=1, at_once=0, loss=loss)
    sc.save(pruned, tmp_path)
    loaded = sc.load(tmp_path, factory=model)
    for one, other in zip(*(output_tensors(call(m, inputs)) for m in (loaded, pruned)), strict=True):
        assert torch.equal(one, other)
    assert sum(p.numel() for p in pruned.parameters()) <= 0.8 * sum(p.numel() for p in model().parameters())


def test_scores_of_examples_that_lie_along_the_second_dimension_are_those_of_the_first():
    """The same numbers, (batch, time, features) or (time, batch, features) or all positions in turn."""
    x = noise(3, 5, 4)
    assert torch.equal(by_example(x.movedim(0, 1), 3, 1), x)
    assert torch.equal(by_example(x.movedim(0, 1).flatten(0, 1), 3, 1), x.flatten(0, 1))


class Pooled(nn.Module):
    """(time, batch, features), with an option."""

    def __init__(self):
        super().__init__()
        self.p, self.fc = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x, scale=None):
        return self.fc(F.relu(self.p(x)).amax(0)) * (1.0 if scale is None else scale)


def test_options_and_time_first_inputs_are_exported(tmp_path):
    """With any number of examples, wherever they lie; an option becomes part of the program."""
    given = examples_of(Pooled(), {"x": noise(7, 4, 6), "scale": 2.0})
    record = to_onnx(Pooled(), given, tmp_path / "m.onnx")
    assert record.inputs == ("x",)
    assert record.checked == (1, 3)
    with pytest.raises(InputError, match="lie along no dimension of a tensor"):
        to_onnx(Stacked(), ([*IMAGES],), tmp_path / "l.onnx")


class ReturnsNothing(Images):
    def train(self, mode=True):
        super().train(mode)


class TakesNothing(Images):
    def train(self):
        super().train(True)


@pytest.mark.parametrize("kind", [ReturnsNothing, TakesNothing])
def test_a_network_whose_train_returns_or_takes_nothing(kind):
    model = kind()
    assert in_evaluation(model) is model
    assert not model.b.training
    assert in_training(model).b.training
    data = [(IMAGES, torch.tensor([0, 1, 2, 0]))]
    assert sc.prune(model, budget="params=80%", data=data, every=1, at_once=0) is model


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_a_wrapped_network_is_cut_inside_its_wrapping(tmp_path, wrap):
    handle = wrap(Images())
    handle(IMAGES)
    assert list(sc.inspect(handle, IMAGES).graph.groups) == ["a", "b"]
    data = [(IMAGES, torch.tensor([0, 1, 2, 0]))]
    pruned = sc.prune(handle, budget="params=70%", data=data, every=1, at_once=0)
    assert pruned is handle
    assert bare(handle).a.out_channels + bare(handle).b.out_channels < 11
    sc.save(handle, tmp_path)
    assert torch.allclose(sc.load(tmp_path, factory=Images)(IMAGES), handle(IMAGES), atol=1e-6)


class Parent(Images):
    """A part reaches for the whole network by a weak reference."""

    def __init__(self):
        super().__init__()
        self.root = weakref.ref(self)

    def forward(self, x):
        return self.scores(x) + self.root().fc.bias.sum()


def hooked():
    model = Images()
    model.b.register_forward_hook(lambda module, given, output: output * model.fc.weight.sum())
    return model


def patched():
    model = Images()
    model.forward = lambda x: model.scores(x)
    return model


def locked():
    model = Images()
    model.b.lock = threading.Lock()
    return model


def masked():
    model = Images()
    masks.ln_structured(model.b, "weight", 0.5, 2, 0)
    return model


def lazy():
    return nn.Sequential(nn.LazyConv2d(3, 3), nn.Flatten(), nn.LazyLinear(2))


def int8():
    model = Images()
    model.fc.weight = nn.Parameter(model.fc.weight.to(torch.int8), requires_grad=False)
    return model


REFUSED = {
    "a hook": (hooked, "still uses 'fc.weight' of the network"),
    "a patched forward": (patched, "still uses 'a.weight' of the network|still uses 'a.bias' of the network"),
    "a weak reference": (Parent, "still uses 'fc.bias' of the network"),
    "a lock": (locked, r"cannot be copied: TypeError: .*'b\.lock' has none"),
    "a mask": (masked, r"torch\.nn\.utils\.prune\.remove\(model\.get_submodule\('b'\), 'weight'\)"),
    "a lazy layer": (lazy, "0 has no weights yet"),
    "whole numbers": (int8, "fc has weights of int8 numbers"),
    "scripted": (lambda: torch.jit.script(Images()), "ScriptModule is a finished program"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_cut_is_refused_before_anything_is_tried_with_the_remedy(name):
    build, reason = REFUSED[name]
    with pytest.raises(InputError, match=reason) as caught:
        sc.inspect(build(), IMAGES)
    assert "\n" not in str(caught.value)


def test_a_comparison_counts_examples_where_they_lie(tmp_path):
    """Six examples of 7 steps in two batches; and a batch is not divided along its steps."""

    def build():
        torch.manual_seed(0)
        return Pooled()

    batch = (noise(7, 3, 6), torch.tensor([0, 1, 2]))
    found = Loaders([batch] * 2, [batch], [batch])
    architecture = network_for(build, found, Task.of("classification"))
    assert architecture.origin.anatomy.inputs.inputs.shape == (7, 3, 6)
    examine(architecture, found, Task.of("classification"))
    assert (len(found.train), found.batch_size) == (6, 3)
    assert [part.share for part in parts_of(read_as(batch[0], found.known), batch[1], 1)] == [1.0]
    with pytest.raises(InputError, match="accumulate=2 divides a batch along the first dimension"):
        list(parts_of(read_as(batch[0], found.known), batch[1], 2))
