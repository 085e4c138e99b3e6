"""Networks that are saved with the sites of their groups: loaded untraced, equal to what was pruned."""

from __future__ import annotations

import copy
import json
import math
import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.architecture.building import layout_hash
from secateur.architecture.elsewhere import describe, described_again
from secateur.architecture.patterns import as_pattern, bounds_of, count_of, is_pattern, numbers_of
from secateur.architecture.saved import rehearse
from secateur.deploy.onnx import to_onnx
from secateur.errors import InputError
from secateur.network.inputs import call, output_tensors
from secateur.surgery.costs import state_shapes
from secateur.surgery.graph import ChannelGraph
from test_constraints import cli

IDS, LABELS = torch.randint(0, 50, (4, 12), generator=torch.Generator().manual_seed(0)), torch.arange(4)
LENGTHS = torch.tensor([12, 9, 7, 3])
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def outputs(model, inputs):
    with torch.no_grad():
        return output_tensors(call(model.eval(), inputs))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# Numbers as texts


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=40))
def test_any_numbers_are_written_and_read(numbers):
    text = as_pattern(numbers)
    assert is_pattern(text)
    assert numbers_of(text).tolist() == numbers
    assert (count_of(text), bounds_of(text)) == (len(numbers), (min(numbers), max(numbers)))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 9), st.lists(st.tuples(st.integers(1, 4), st.integers(0, 70)), max_size=4))
def test_loops_are_written_as_one_piece(start, loops):
    numbers = [start]
    for count, step in loops:
        numbers = [number + i * step for number in numbers for i in range(count)]
    assert numbers_of(as_pattern(numbers)).tolist() == numbers


def test_a_whole_axis_is_a_short_text():
    assert as_pattern(range(100_000)) == "0 100000x1"


@pytest.mark.parametrize(
    "text", ["", "-1", "0 3", "0 3x", "x", "1,2", "0 2x1 ", "1e3", "0 9999999999x1", 3, None]
)
def test_other_texts_are_no_numbers(text):
    assert not is_pattern(text)


def test_what_a_text_comes_to_is_known_before_it_is_made():
    assert count_of("0 999999999x1 999999999x1, 7") == 999999999**2 + 1
    assert bounds_of("5 3x-4, 9") == (-3, 9)


# Saved equals pruned


def table(length, width):
    places = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(100.0) / width))
    found = torch.zeros(1, length, width)
    found[0, :, 0::2], found[0, :, 1::2] = places.sin(), places.cos()
    return found


class Positions(nn.Module):
    """Sinusoidal positions as a buffer, mostly not in the state dict; made of what width there is."""

    def __init__(self, persistent=False, own_width=False):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        width = self.patch.out_channels if own_width else 16
        self.register_buffer("pe", table(4, width), persistent=persistent)
        self.n, self.f1, self.f2 = nn.LayerNorm(16), nn.Linear(16, 24), nn.Linear(24, 16)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        h = self.patch(x).flatten(2).transpose(1, 2) + self.pe
        return self.fc((h + self.f2(F.gelu(self.f1(self.n(h))))).mean(1))


class Text(nn.Module):
    """Token ids, an embedding whose width is cut, and with `tied` the same weights at the output."""

    def __init__(self, tied=False):
        super().__init__()
        self.emb, self.f1, self.f2 = nn.Embedding(50, 16), nn.Linear(16, 24), nn.Linear(24, 16)
        self.n, self.head = nn.LayerNorm(16), nn.Linear(16, 50, bias=False)
        if tied:
            self.head.weight = self.emb.weight

    def forward(self, ids):
        h = self.emb(ids)
        return self.head(self.n(h + self.f2(F.gelu(self.f1(h)))).mean(1))


class Twice(Text):
    """One module under two names."""

    def __init__(self):
        super().__init__()
        self.again = self.emb

    def forward(self, ids):
        return super().forward(ids) + self.head(self.n(self.again(ids))).mean(1)


class Encoder(nn.Module):
    """Torch's own attention: its heads are cut, and it then holds its numbers itself."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
        self.read, self.layers = nn.Linear(8, 16), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(self.layers(self.read(x.flatten(1, 2))).mean(1))


class MeanPool(nn.Module):
    """Masked: on a mask of zeros it gives NaN."""

    def __init__(self):
        super().__init__()
        self.emb, self.c, self.fc = nn.Embedding(50, 4), nn.Conv1d(4, 24, 3, padding=1), nn.Linear(24, 10)

    def forward(self, input_ids, attention_mask):
        h, m = F.relu(self.c(self.emb(input_ids).transpose(1, 2))), attention_mask[:, None].float()
        return self.fc((h * m).sum(2) / m.sum(2))


class Packed(nn.Module):
    """Lengths: of zeros nothing is packed."""

    def __init__(self):
        super().__init__()
        self.emb, self.c = nn.Embedding(50, 4), nn.Conv1d(4, 48, 3, padding=1)
        self.d, self.r, self.fc = nn.Conv1d(48, 8, 1), nn.GRU(8, 6, batch_first=True), nn.Linear(6, 10)

    def forward(self, ids, lengths):
        h = self.d(F.relu(self.c(self.emb(ids).transpose(1, 2)))).transpose(1, 2)
        packed = nn.utils.rnn.pack_padded_sequence(h, lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.r(packed)[1][0])


class Settings(nn.Module):
    """None, a truth value and a number among the keywords."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)

    def forward(self, pixel_values, mask=None, return_dict=True, t=0):
        h = self.fc(F.relu(self.b(F.relu(self.a(pixel_values)))).mean((2, 3))) + (
            0 if t is None else float(t)
        )
        return {"logits": h} if return_dict else (h,)


class ListNet(nn.Module):
    """Images in a list, as detectors take them."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)

    def forward(self, images):
        return self.fc(F.relu(self.b(F.relu(self.a(torch.stack(images))))).mean((2, 3)))


class Versioned(nn.Module):
    """As torchvision's MNASNet: a state without its version is taken for an old one, and refused."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10)

    def _load_from_state_dict(self, state, prefix, metadata, *more):
        if metadata.get("version", None) not in (None, 2) or "version" not in metadata:
            raise ValueError("a state of version 1")
        super()._load_from_state_dict(state, prefix, metadata, *more)

    def forward(self, x):
        return self.fc(F.relu(self.norm(self.a(x))).mean((2, 3)))


CASES = {
    "positions": (Positions, IMAGES),
    "positions in the state": (lambda: Positions(True), IMAGES),
    "positions of what width there is": (lambda: Positions(own_width=True), IMAGES),
    "text": (Text, IDS),
    "tied text": (lambda: Text(tied=True), IDS),
    "under two names": (Twice, IDS),
    "attention": (Encoder, IMAGES),
    "a mask": (
        MeanPool,
        {"input_ids": IDS, "attention_mask": (torch.arange(12)[None] < LENGTHS[:, None]).long()},
    ),
    "lengths": (Packed, (IDS, LENGTHS)),
    "settings": (Settings, {"pixel_values": IMAGES, "mask": None, "return_dict": True, "t": 2}),
    "a list of images": (ListNet, ([*IMAGES],)),
    "a state of version 2": (Versioned, IMAGES),
}


def pruned(name):
    build, inputs = CASES[name]
    torch.manual_seed(0)
    model = build()
    return sc.prune(
        model,
        method="fisher" if name == "tied text" else "random-channels",
        budget="params=70%",
        data=[(inputs, LABELS)] * 2,
        every=1,
        at_once=3,
        factory=build,
        loss=(lambda o, t: F.cross_entropy(o["logits"], t)) if name == "settings" else None,
    )


@pytest.fixture
def untraced(monkeypatch):
    """Nothing is traced or run while this is called."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("a network was traced")

    def start():
        monkeypatch.setattr("secateur.architecture.opening.trace", refuse)
        monkeypatch.setattr("secateur.surgery.anatomy.trace_and_prove", refuse)

    return start


@pytest.mark.parametrize("name", CASES)
def test_what_is_loaded_is_what_was_saved(name, tmp_path, untraced):
    build, inputs = CASES[name]
    model = pruned(name)
    sc.save(model, tmp_path)
    untraced()
    loaded = sc.load(tmp_path, factory=build)
    assert same(outputs(loaded, inputs), outputs(model, inputs))
    assert same(loaded.buffers(), model.buffers())
    one, other = sc.Architecture.of(loaded), sc.Architecture.of(model)
    assert (one, one.kept) == (other, other.kept)
    assert (one.params, one.macs) == (other.params, other.macs)  # on the inputs that the file describes
    if name == "tied text":
        assert loaded.head.weight is loaded.emb.weight
    smaller = sc.Architecture.of(loaded).scaled_to("params=95%")
    sc.save(smaller.build(seed=1), tmp_path / "scaled")
    again = sc.load(tmp_path / "scaled", factory=build)
    assert same(again.parameters(), smaller.build(seed=1).parameters())
    plain = tmp_path / "plain.pt"
    torch.save(model, plain)
    assert same(outputs(torch.load(plain, weights_only=False), inputs), outputs(model, inputs))


@pytest.mark.parametrize("own_width", [False, True])
def test_the_entries_of_a_table_that_were_kept_stay_where_it_is_built_anew(own_width, tmp_path):
    model = Positions(own_width=own_width)
    anatomy = sc.inspect(model, IMAGES, factory=lambda: Positions(own_width=own_width))
    stream = next(group.name for group in anatomy.graph if "" in group.modules)
    anatomy.remove(model, stream, [0, 3, 4])
    kept = [i for i in range(16) if i not in (0, 3, 4)]
    assert torch.equal(model.pe, table(4, 16)[..., kept])
    sc.save(model, tmp_path)
    architecture = sc.Architecture.load(tmp_path, factory=lambda: Positions(own_width=own_width))
    groups = json.loads((tmp_path / "architecture.json").read_text())["groups"]
    assert [group.get("kept") for group in groups if group["name"] == stream] == ["1, 2, 5 11x1"]
    fresh = architecture.build(seed=3)
    assert torch.equal(fresh.pe, model.pe)
    assert not torch.equal(fresh.fc.weight, model.fc.weight)
    # A run's identity says which, as they change its numbers; and brings them back.
    identity = json.loads(json.dumps(architecture.identity()))
    assert identity["kept"] == {stream: "1, 2, 5 11x1"}
    assert torch.equal(architecture.resumed(identity).build(seed=0).pe, model.pe)
    narrower = architecture.with_widths([5 if name == stream else 1 for name in architecture.group_names()])
    assert torch.equal(narrower.build(seed=0).pe, table(4, 16)[..., kept[:5]])


def test_another_process_and_a_run_from_scratch_keep_the_same_entries():
    model = Positions()
    anatomy = sc.inspect(model, IMAGES, factory=Positions)
    stream = next(group.name for group in anatomy.graph if "" in group.modules)
    anatomy.remove(model, stream, [1, 5])
    architecture = sc.Architecture.of(model)
    there = described_again(json.loads(json.dumps(describe(architecture))), None)
    scratch = sc.Architecture.whole(architecture.origin).left_as(architecture.identity())
    for other in (there, scratch):
        assert other.identity() == architecture.identity()
        assert torch.equal(other.build(seed=0).pe, model.pe)


def test_which_channels_are_kept_is_in_no_identity_where_it_changes_nothing():
    model = Text()
    anatomy = sc.inspect(model, IDS, factory=Text)
    name = next(iter(anatomy.graph.groups))
    one = sc.Architecture.of(model).with_widths(
        [width - (i == 0) for i, width in enumerate(anatomy.graph.widths.values())]
    )
    anatomy.remove(model, name, [0])
    assert sc.Architecture.of(model).kept == {name: tuple(range(1, anatomy.graph.groups[name].width))}
    assert sc.Architecture.of(model).identity() == one.identity()


def test_the_onnx_file_of_a_loaded_network_is_that_of_the_pruned_one(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = pruned("positions")
    sc.save(model, tmp_path)
    loaded = sc.load(tmp_path, factory=Positions)
    assert to_onnx(loaded, IMAGES, tmp_path / "one.onnx").difference < 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "one.onnx")
    found = session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})
    torch.testing.assert_close(torch.tensor(found[0]), outputs(model, IMAGES)[0], atol=1e-5, rtol=1e-5)


def test_without_a_factory_a_copy_of_the_whole_network_is_compared(tmp_path):
    model = sc.prune(Positions(), budget="params=60%", data=[(IMAGES, LABELS)], every=1, at_once=4)
    sc.save(model, tmp_path)
    assert same(outputs(sc.load(tmp_path, factory=Positions), IMAGES), outputs(model, IMAGES))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_is_loaded_in_the_precision_that_it_was_saved_in(dtype, tmp_path):
    inputs, model = IMAGES.to(dtype), Positions().to(dtype)
    sc.prune(
        model,
        method="filter-norm",
        budget="params=60%",
        example_inputs=inputs,
        train=False,
        factory=Positions,
    )
    sc.save(model, tmp_path)
    loaded = sc.load(tmp_path, factory=Positions)
    assert loaded.pe.dtype == loaded.fc.weight.dtype == dtype
    assert same(outputs(loaded, inputs), outputs(model, inputs))


def test_what_is_tried_beforehand_and_at_saving_draws_no_numbers(tmp_path):
    """A rehearsal builds networks, and the training that follows is the same as without it."""
    model = Positions()
    sc.inspect(model, IMAGES, factory=Positions)
    torch.manual_seed(3)
    expected = torch.rand(2)
    for action in (lambda: rehearse(sc.Architecture.of(model).origin), lambda: sc.save(model, tmp_path)):
        torch.manual_seed(3)
        action()
        assert torch.equal(torch.rand(2), expected)


# Refused before anything is trained


class Drawn(nn.Module):
    """A table that nobody can build again: drawn, and not in the state dict."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 10)
        self.register_buffer("scale", torch.rand(1, 8, 1, 1), persistent=False)

    def forward(self, x):
        return self.fc(self.b(F.relu(self.a(x)) * self.scale).mean((2, 3)))


class Extra(Settings):
    def get_extra_state(self):
        return {"seen": 3}

    def set_extra_state(self, state):
        pass


class Gelu(Text):
    def forward(self, ids):
        h = self.emb(ids)
        return self.head(self.n(h + self.f2(F.relu(self.f1(h)))).mean(1))


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Conv2d(3, 8, 3), nn.LazyLinear(10)

    def forward(self, x):
        return self.fc(F.relu(self.a(x)).flatten(1))


def counting_loss(steps):
    def loss(output, targets):
        steps.append(1)
        return F.cross_entropy(output, targets)

    return loss


@pytest.mark.parametrize(
    ("build", "factory", "inputs", "message"),
    [
        (Drawn, Drawn, IMAGES, "'scale', which is not in the state dict, holds other numbers"),
        (Text, Gelu, IDS, "it computes something else of the same weights"),
        (Extra, None, IMAGES, "'_extra_state' is a dict"),
        (Lazy, Lazy, IMAGES, "fc has no weights yet|has none before it has run"),
    ],
    ids=["drawn", "other code", "extra state", "lazy"],
)
def test_what_could_not_be_loaded_is_refused_before_training(build, factory, inputs, message):
    model, steps = build(), []
    with pytest.raises(InputError, match=message) as error:
        sc.prune(
            model,
            budget="params=60%",
            data=[(inputs, LABELS)],
            every=1,
            factory=factory,
            loss=counting_loss(steps),
        )
    assert "\n" not in str(error.value)
    assert not steps or build is Lazy
    with pytest.raises(InputError, match=message):
        sc.inspect(build(), inputs, factory=factory)


def test_a_factory_that_turns_out_another_leaves_nothing_behind(tmp_path):
    kinds = [Text, Text, Text, Text]

    def turning():
        return kinds[-1]()

    model = Text()
    anatomy = sc.inspect(model, IDS, factory=turning)
    anatomy.remove(model, next(iter(anatomy.graph.groups)), [0])
    sc.save(model, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    kinds.append(Gelu)
    with pytest.raises(InputError, match="cannot be saved: loaded again, it is another one: it computes"):
        sc.save(model, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    with pytest.raises(InputError, match="cannot be saved"):
        sc.save(model, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


# Hostile files


@pytest.fixture(scope="module")
def content():
    """By hand: `Text` with two channels of its hidden layer gone."""
    read, write = {"read": True}, {"write": True}
    stream = [{"axis": "emb:weight@1"}, {"axis": "f1:in", **read}, {"axis": "f2:out", **write}]
    return {
        "format": "secateur-architecture",
        "schema": 3,
        "version": sc.__version__,
        "factory": "test_saved_sites:Text",
        "arguments": {},
        "input": {"shape": [12], "dtype": "int64", "values": [7] * 12},
        "classes": 50,
        "groups": [
            {
                "name": "f1",
                "width": 22,
                "of": 24,
                "layers": ["f1", "f2"],
                "kept": "2 22x1",
                "sites": [{"axis": "f1:out", **write}, {"axis": "f2:in", **read}],
            },
            {
                "name": "f2",
                "width": 16,
                "of": 16,
                "layers": ["emb", "f1", "f2", "n", "head"],
                "sites": [*stream, {"axis": "n:out"}, {"axis": "head:in", **read}],
            },
        ],
        "frozen": [{"name": "head", "width": 1, "reason": "written to the network's output"}],
        "layout": layout_hash(state_shapes(Text())),
        "params": 50 * 16 + 16 * 22 + 22 + 22 * 16 + 16 + 2 * 16 + 16 * 50,
        "macs": 12 * (16 * 22 + 22 * 16) + 16 * 50,
    }


def site(**changes):
    """Change the first site of the first group."""

    def change(content):
        group = content["groups"][0]
        group["sites"][0] = {**group["sites"][0], **changes}
        return content

    return change


def group(**changes):
    return lambda content: {
        **content,
        "groups": [{**content["groups"][0], **changes}, *content["groups"][1:]],
    }


def number(**changes):
    def change(content):
        name, width = content["groups"][0]["name"], content["groups"][0]["of"]
        made = {"module": "emb", "attribute": "num_embeddings", "each": {name: 1}, "rest": 50 - width}
        return {**content, "numbers": [{**made, **changes}]}

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (group(sites=[]), '"sites" of the group .* must be a list'),
        (group(sites={}), '"sites" of the group .* must be a list'),
        (group(sites=[7]), 'must have an "axis"'),
        (group(kept="0 9999x1"), "as many of its channels as are left"),
        (group(kept="0 999999999x999999999 999999999x1"), "as many of its channels as are left"),
        (group(kept="0 22x0"), "each channel once"),
        (group(kept="3 22x1"), "as many of its channels as are left"),
        (group(kept="__import__('os')"), "as many of its channels as are left"),
        (site(axis=3), 'must have an "axis"'),
        (site(axis="f1"), 'must have an "axis"'),
        (site(axis="f9:out"), "does not have"),
        (site(axis="f1:forward"), "does not have"),
        (site(axis="f1:__class__@0"), "does not have"),
        (site(axis="f1:T_destination@0"), "does not have"),
        (site(axis="f1:weight@2"), "does not have"),
        (site(axis="f1:weight@-1"), "does not have"),
        (site(axis="f1:weight@99999999999"), "does not have"),
        (site(axis="a\nb:out"), 'must have an "axis"'),
        (site(axis="a" * 1000 + ":out"), 'must have an "axis"'),
        (site(read="yes"), "must be true, false"),
        (site(entries="0 25x1"), "equally many for each of 24"),
        (site(entries="0 24x1 1000000x0"), "and more in the file"),
        (site(entries="1 24x1"), "and more in the file"),
        (site(entries="23 24x-1 2x-9"), "and more in the file"),
        (site(entries="0 12x1 2x0"), "the file names it for several"),
        (site(entries="0 999999999x999999999 24x1"), "and more in the file"),
        (site(entries=[0] * 24), "whole numbers, equally many"),
        (site(axis="f2:in"), "the file names it for several"),
        (number(attribute="__class__"), '"numbers" are a module, an attribute'),
        (number(attribute="a b"), '"numbers" are a module, an attribute'),
        (number(attribute="weight"), "no whole number of the network"),
        (number(attribute="forward"), "no whole number of the network"),
        (number(attribute="training"), "no whole number of the network"),
        (number(attribute="nowhere"), "no whole number of the network"),
        (number(module="nowhere"), "no whole number of the network"),
        (number(index=0), "no whole number of the network"),
        (number(index=-1), '"numbers" are a module, an attribute'),
        (number(index=10**9), '"numbers" are a module, an attribute'),
        (number(rest=0), "is 50 in the network .* and 24 by the file"),
        (number(rest=10**30), '"numbers" are a module, an attribute'),
        (number(rest=0.5), '"numbers" are a module, an attribute'),
        (number(each={"nobody": 1}), "follows the group 'nobody'"),
        (number(each=[1]), '"numbers" are a module, an attribute'),
        (lambda content: {**content, "numbers": "x"}, '"numbers" are a module'),
        (lambda content: {**content, "over_kept": {"f9": 1}}, "has no module 'f9'"),
        (lambda content: {**content, "over_kept": {"f1": "x"}}, '"over_kept" gives a dimension'),
        (
            lambda content: {**content, "frozen": [{"name": "a", "width": 1, "reason": "a\x1b"}]},
            '"frozen" lists',
        ),
        (lambda content: {**content, "frozen": {}}, '"frozen" lists'),
        (lambda content: {**content, "skipped": {"f9": 0}}, "has no block 'f9'"),
        (lambda content: {**content, "skipped": {"": 0}}, "the factory .* failed with"),
        (lambda content: {**content, "skipped": {"f1": 99}}, '"skipped" gives a whole number'),
        (lambda content: {**content, "skipped": ["f1"]}, '"skipped" gives a whole number'),
        (lambda content: {**content, "skipped": {"f1": 0}}, "builds a network with other tensors"),
        (lambda content: {**content, "groups": content["groups"][1:]}, "the widths make"),
    ],
)
def test_a_hostile_file_is_refused_in_a_line_before_memory_is_taken(damage, message, content, tmp_path):
    (tmp_path / "architecture.json").write_text(json.dumps(damage(copy.deepcopy(content))))
    sc.Architecture.from_dict(content, factory=Text)  # imports, caches
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as error:
            sc.Architecture.load(tmp_path, factory=Text)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


class Heads(nn.Module):
    """Holds a size as a number and one in a tuple; a property and a class attribute besides."""

    heads = 4

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 10)
        self.width, self.shape = 8, (8, -1)

    @property
    def size(self):
        raise AssertionError("a property was run")

    def forward(self, x):
        return self.fc(self.b(F.relu(self.a(x)).reshape(len(x), *self.shape, 8)).mean((2, 3)))


def test_numbers_are_written_read_and_set(tmp_path):
    model = Heads()
    anatomy = sc.inspect(model, IMAGES, factory=Heads)
    content = sc.Architecture.of(model).to_dict()
    follows = {"module": "", "attribute": "width", "each": {"b": 2}, "rest": -8}
    read = sc.Architecture.from_dict(
        {**content, "numbers": [*content.get("numbers", []), follows]}, factory=Heads
    )
    widths = [3 if name == "b" else 8 for name in anatomy.graph.groups]
    for narrow in (read.with_widths(widths).build(seed=0), read.with_widths(widths).rebuild()):
        assert narrow.width == 2 * 3 - 8
        assert narrow.fc.in_features == 3
    assert read.to_dict()["numbers"][-1] == follows
    for attribute in ("size", "heads"):
        other = [{"module": "", "attribute": attribute, "each": {"b": 1}, "rest": -4}]
        if attribute == "size":
            with pytest.raises(InputError, match="no whole number"):
                sc.Architecture.from_dict({**content, "numbers": other}, factory=Heads)
        else:
            assert sc.Architecture.from_dict({**content, "numbers": other}, factory=Heads).widths


def test_a_file_by_hand_is_read_and_written_the_same(content):
    read = sc.Architecture.from_dict(content, factory=Text)
    assert read.to_dict() == content
    graph = read.origin.anatomy.graph
    assert isinstance(graph, ChannelGraph)
    hidden, stream = graph
    assert [site.entries.tolist() for site in hidden.sites] == [[[i] for i in range(24)]] * 2
    assert [site.axis for site in stream.reads] == [("f1", "in"), ("head", "in")]
    assert [site.axis for site in hidden.writes] == [("f1", "out")]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), value=st.sampled_from([None, -1, 10**9, "x", "0 9x9", [], {}, True, 0.5]))
def test_a_changed_file_is_read_or_refused(data, value, content):
    def paths(part, at=()):
        yield at
        if isinstance(part, (dict, list)):
            for key in part if isinstance(part, dict) else range(len(part)):
                yield from paths(part[key], (*at, key))

    changed = copy.deepcopy(content)
    *way, last = data.draw(st.sampled_from([path for path in paths(content) if path]))
    part = changed
    for key in way:
        part = part[key]
    part[last] = value
    refused, read = "", None
    try:
        read = sc.Architecture.from_dict(changed, factory=Text)
    except InputError as error:
        refused = str(error)
    assert "\n" not in refused
    assert refused or read.params == content["params"]


def test_the_command_line_takes_a_saved_network_that_reads_ids(tmp_path, capsys):
    sc.save(pruned("text"), tmp_path)
    factory = "--factory test_saved_sites:Text"
    assert cli(f"inspect --model {tmp_path} {factory} --json") == 0
    shown = json.loads(capsys.readouterr().out)
    saved = json.loads((tmp_path / "architecture.json").read_text())
    assert (shown["now"]["params"], shown["now"]["macs"]) == (saved["params"], saved["macs"])
    assert [group["name"] for group in shown["groups"]] == [group["name"] for group in saved["groups"]]
    assert cli(f"scale {tmp_path} {factory} --budget params=90% --out {tmp_path / 'less.json'}") == 0
    less = json.loads((tmp_path / "less.json").read_text())
    assert less["params"] <= 0.9 * saved["params"]
    capsys.readouterr()
    assert cli(f"diff {tmp_path} {tmp_path / 'less.json'}") == 0
    assert "input" not in capsys.readouterr().out
