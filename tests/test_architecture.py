"""Architectures: rebuild, rescale, save, load, and refuse what is wrong."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import tracemalloc

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import foreign
import secateur as sc
from secateur.architecture.file import diff_files
from secateur.budget import Budget
from secateur.compare.arms import default_arms
from secateur.errors import InputError
from secateur.surgery.anatomy import anatomy_of

FAMILIES = [
    sc.models.wide_resnet(depth=10, width=1, in_channels=1, image_size=8),
    sc.models.resnet18(width=0.125),
    sc.models.vgg19(width=0.0625),
    sc.models.conv4(width=0.125, in_channels=1, image_size=8),
]
by_family = pytest.mark.parametrize("model", FAMILIES, ids=lambda model: model.factory)


@by_family
def test_save_and_load_round_trip(model, tmp_path):
    model = sc.Architecture.of(model).build(seed=1).eval()
    anatomy_of(model).remove(model, model.groups[1].name, [0])
    sc.save(model, tmp_path / "net")
    loaded = sc.load(tmp_path / "net")
    x = torch.randn(3, *model.input_shape)
    assert torch.equal(loaded(x), model(x))
    assert sc.Architecture.of(loaded) == sc.Architecture.of(model)
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == [
        "architecture.json",
        "manifest.json",
        "model.safetensors",
    ]


@by_family
@pytest.mark.parametrize("share", ["params=60%", "params=30%", "params=15%"])
def test_scaled_and_narrowed_meet_the_budget_and_come_close(model, share):
    architecture = sc.Architecture.of(model)
    limit = Budget.parse(share).limit(architecture.params)
    for small in (architecture.scaled_to(share), architecture.narrowed_to(share)):
        assert small.params == sum(p.numel() for p in small.build(seed=0).parameters())
        assert small.params <= limit
        # One channel more in every layer would be too much.
        wider = small.with_widths([width + 1 for width in small.widths])
        assert wider.params > limit


def test_wrn_40_2_at_300k_by_hand():
    architecture = sc.Architecture.of(sc.models.wide_resnet(depth=40, width=2))
    copycat, width = architecture.scaled_to("params=300k"), architecture.narrowed_to("params=300k")
    assert (copycat.params, width.params) == (299_794, 299_506)
    assert copycat.arguments["stages"] == [32, 64, 128]  # bottleneck: outputs stay
    assert width.arguments["stages"] == [12, 24, 46]  # width: every layer narrower


def test_a_profile_can_be_scaled_up():
    profile = sc.Architecture.of(FAMILIES[0]).with_widths([2, 3, 4])
    wider = profile.scaled_to(f"params={profile.params * 4}")
    ratios = [new / old for new, old in zip(wider.widths, profile.widths, strict=True)]
    assert min(ratios) > 2
    assert max(ratios) - min(ratios) < 1


def test_below_the_smallest_network_is_refused():
    architecture = sc.Architecture.of(FAMILIES[0])
    smallest = architecture.with_widths([1, 1, 1]).params
    assert architecture.scaled_to(f"params={smallest}").widths == (1, 1, 1)
    with pytest.raises(InputError, match=f"ask for at least {smallest}"):
        architecture.scaled_to(f"params={smallest - 1}")
    with pytest.raises(InputError, match="below the smallest network"):
        architecture.narrowed_to("params=50")


def opened(build, side=16):
    model = build()
    sc.inspect(model, foreign.images(side), factory=build)
    return sc.Architecture.of(model)


@by_family
def test_a_familys_bottleneck_is_its_groups_scaled(model):
    architecture = sc.Architecture.of(model)
    assert architecture.bottlenecked_to("params=40%") == architecture.scaled_to("params=40%")


def test_a_bottleneck_of_ones_own_network_leaves_its_streams_alone():
    whole = opened(foreign.PaddedResNet)
    assert whole.widths == (8, 8, 16, 4, 32, 8)  # the channels that a shortcut pads are groups of their own
    assert whole.origin.inside == (1, 2, 4, 5)  # the last is written by the last block alone

    def at(widths):
        return (8, widths[0], widths[1], 4, widths[2], widths[3])

    def inner(widths):
        return [widths[index] for index in whole.origin.inside]

    small = whole.bottlenecked_to("params=50%")
    assert (small.widths[0], small.widths[3]) == (8, 4)
    ratios = [width / of for width, of in zip(inner(small.widths), (8, 16, 32, 8), strict=True)]
    assert 0.3 < min(ratios) <= max(ratios) <= min(ratios) + 1 / 8
    made = sum(p.numel() for p in small.build(seed=0).parameters())
    assert made == small.params <= whole.params // 2
    wider = small.with_widths(at([width + 1 for width in inner(small.widths)]))
    assert wider.params > whole.params // 2
    assert small.bottlenecked_to(f"params={whole.params * 2}") == whole  # no wider than its factory makes it
    least = whole.with_widths(at([1, 1, 1, 1])).params
    assert whole.bottlenecked_to(f"params={least}").widths == at([1, 1, 1, 1])
    with pytest.raises(
        InputError, match=f"inside the blocks, the streams as they are .* ask for at least {least}"
    ):
        whole.bottlenecked_to(f"params={least - 1}")


def test_a_plain_chain_of_ones_own_has_no_outputs_to_spare():
    whole = opened(foreign.PlainShuffle)
    assert whole.bottlenecked_to("macs=40%") == whole.narrowed_to("macs=40%")


class OnlyAStream(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.more, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

    def forward(self, x):
        return self.fc((self.stem(x) + torch.relu(self.more(x))).mean((2, 3)))


def test_where_all_is_a_stream_there_is_no_bottleneck():
    whole = opened(OnlyAStream)
    assert not whole.has_blocks
    with pytest.raises(InputError, match="has none: all its 1 channel groups are residual streams"):
        whole.bottlenecked_to("params=50%")
    assert "bottleneck" not in default_arms("params", whole)
    assert "bottleneck" in default_arms("params", sc.Architecture.of(FAMILIES[0]))


def test_building_is_seeded_and_spares_the_global_generator():
    architecture = sc.Architecture.of(FAMILIES[0])
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two = architecture.build(seed=3), architecture.build(seed=3)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.stem.weight, architecture.build(seed=4).stem.weight)


def test_the_file_is_documented_and_readable(tmp_path):
    sc.Architecture.of(FAMILIES[0]).save(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["format"] == "secateur-architecture"
    assert content["groups"][0] == {
        "name": "blocks.0",
        "width": 16,
        "of": 16,
        "layers": ["blocks.0.conv1", "blocks.0.bn2", "blocks.0.conv2"],
    }
    assert content["params"] == sc.Architecture.load(tmp_path / "a.json").params


def _changed(**changes):
    return lambda content: {**content, **changes}


def _first_group(**changes):
    return lambda content: {
        **content,
        "groups": [{**content["groups"][0], **changes}, *content["groups"][1:]],
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: [content], "not an architecture file"),
        (_changed(format="other"), "not an architecture file"),
        (_changed(schema=4), "schemas 1 to 3 are read here, got 4"),
        (_changed(factory="os.system"), r"'os\.system' is not built in: its arguments can be"),
        (_changed(factory=["x"]), '"factory" must be a name'),
        (_changed(arguments={"depth": 10**12}), "nothing of that size"),
        (_changed(arguments={"depth": [[[1]]] * 9}), "nothing of that size"),
        (_changed(arguments={"deep": 10}), "unexpected keyword"),
        (_changed(groups=7), '"groups" must be a list'),
        (_first_group(width=10**9), 'a "width" from 1 to 1,000,000'),
        (_first_group(width=0), 'a "width" from 1'),
        (_first_group(width=True), 'a "width" from 1'),
        (_first_group(width="8"), 'a "width" from 1'),
        (_first_group(name="../../etc/passwd"), "the groups must be those of wide_resnet"),
        (_first_group(width=15), "parameters, but the file says"),
    ],
)
def test_a_wrong_file_is_one_clear_line(damage, message, tmp_path):
    content = sc.Architecture.of(FAMILIES[0]).to_dict()
    (tmp_path / "architecture.json").write_text(json.dumps(damage(content)))
    with pytest.raises(InputError, match=message) as error:
        sc.Architecture.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "\x00\x01"])
def test_what_is_no_json_is_one_clear_line(content, tmp_path):
    (tmp_path / "architecture.json").write_text(content)
    with pytest.raises(InputError, match="not valid JSON"):
        sc.Architecture.load(tmp_path)


@settings(max_examples=30, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_cut_off_weights_are_one_clear_line(cut, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    sc.save(FAMILIES[0], folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(InputError, match=r"model\.safetensors: not a readable safetensors file"):
        sc.load(folder)


def test_weights_of_another_network_are_refused(tmp_path):
    sc.save(FAMILIES[0], tmp_path)
    narrower = sc.Architecture.of(FAMILIES[0]).with_widths([15, 32, 64])
    narrower.save(tmp_path)
    with pytest.raises(InputError, match=r"must have the architecture's shapes, but 'blocks\.0\.bn2\.bias'"):
        sc.load(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no architecture at"):
        sc.load(tmp_path)
    sc.Architecture.of(FAMILIES[0]).save(tmp_path)
    with pytest.raises(InputError, match="no weights at"):
        sc.load(tmp_path)


def test_a_foreign_model_is_refused():
    with pytest.raises(InputError, match=r"architecture of a Linear is not known yet: call sc\.inspect"):
        sc.Architecture.of(torch.nn.Linear(2, 2))


# Networks that are not built in


class Small(nn.Module):
    """A factory that counts how often it is run."""

    built = 0

    def __init__(self, num_classes=10, in_channels=1):
        super().__init__()
        type(self).built += 1
        self.conv1, self.conv2 = nn.Conv2d(in_channels, 6, 3), nn.Conv2d(6, 8, 3)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.fc(self.conv2(self.conv1(x).relu()).relu().mean((2, 3)))


class Wider(Small):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.conv1, self.conv2 = nn.Conv2d(1, 7, 3), nn.Conv2d(7, 8, 3)


class Unread(Small):
    """The same tensors; but nothing of conv1 reaches conv2 any more."""

    def forward(self, x):
        return self.fc(self.conv2(x.expand(-1, 6, -1, -1)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def foreign_content():
    model = Small()
    sc.inspect(model, torch.randn(2, 1, 8, 8), factory=Small)
    return sc.Architecture.of(model).with_widths([4, 5]).to_dict()


def test_a_foreign_file_by_hand(foreign_content):
    assert foreign_content == {
        "format": "secateur-architecture",
        "schema": 3,
        "version": sc.__version__,
        "factory": "test_architecture:Small",
        "arguments": {},
        "input": {"shape": [1, 8, 8], "dtype": "float32"},
        "classes": 10,
        "groups": [
            {
                "name": "conv1",
                "width": 4,
                "of": 6,
                "layers": ["conv1", "conv2"],
                "sites": [{"axis": "conv1:out", "write": True}, {"axis": "conv2:in", "read": True}],
            },
            {
                "name": "conv2",
                "width": 5,
                "of": 8,
                "layers": ["conv2", "fc"],
                "sites": [{"axis": "conv2:out", "write": True}, {"axis": "fc:in", "read": True}],
            },
        ],
        "frozen": [{"name": "fc", "width": 1, "reason": "written to the network's output"}],
        "layout": foreign_content["layout"],
        "params": 285,  # 4 * 9 + 4, 5 * 4 * 9 + 5, 10 * 5 + 10
        "macs": 4 * 9 * 36 + 5 * 4 * 9 * 16 + 50,  # maps of 6x6 and 4x4
    }
    read = sc.Architecture.from_dict(foreign_content, factory=Small)
    assert read.widths == (4, 5)
    assert read.diff(read.with_widths([4, 8])) == [("conv2", 5, 8)]


def write(folder, content):
    (folder / "architecture.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_changed(factory="os:system\nrm"), '"factory" must be a name'),
        (_changed(factory="\x1b[2J"), '"factory" must be a name'),
        (_changed(factory="x" * 301), '"factory" must be a name'),
        (_changed(arguments={"pretrained": 1}), "its arguments can be num_classes, in_channels, image_size"),
        (_changed(arguments={"num_classes": 10**9}), "nothing of that size is built"),
        (_changed(arguments={"num_classes": 4000}), "builds a network with other tensors"),
        (_changed(arguments={"image_size": [8, 8]}), "failed with TypeError"),
        (_changed(layout="0" * 12), "other tensors .* than the one that was saved"),
        (_changed(layout=None), '"layout" must be 12 hex digits'),
        (_changed(layout="../../../../"), '"layout" must be 12 hex digits'),
        (_changed(input={"shape": [1, 10**6, 10**6], "dtype": "float32"}), "nothing of that size is made"),
        (_changed(input={"positional": [{"shape": [10**6], "dtype": "bool"}] * 60}), "nothing of that size"),
        (_changed(input={"positional": [{"shape": [1], "dtype": "bool"}] * 65}), "at most 64 tensors"),
        (_changed(input={"shape": [1, -8, 8], "dtype": "float32"}), "a list of at most 8 sizes"),
        (_changed(input={"shape": [1, 8, 8], "dtype": "complex64"}), "an input's dtype is one of"),
        (_changed(input={"named": {}}), "at least one tensor"),
        (_changed(input=None), "an input is described by"),
        (_changed(classes="ten"), '"classes" must be null or a number'),
        (_changed(params=284), "make 285 parameters, but the file says 284"),
        (_changed(params=10**30), '"params" must be a number'),
        (_changed(params="2\n85"), '"params" must be a number'),
        (_changed(groups=[]), "the widths make"),
        (_first_group(name="a\nb"), 'every group needs a "name"'),
        (_first_group(name="conv2"), "every group has a name of its own"),
        (_first_group(width=7), "no wider than in its whole network"),
        (_first_group(of=5), "the widths make 340 parameters, but the file says 285"),
        (_first_group(of=7), "which has 6 entries .* and more in the file"),
        (_first_group(of=None), '"of" is the whole width'),
        (_first_group(of=10**9), '"of" is the whole width'),
        (_first_group(sets="a\x1b[2J"), '"sets" a short text'),
        (_first_group(sets=7), '"sets" a short text'),
        (lambda content: {**content, "x": [[[[[[[[[[]]]]]]]]]]}, "nested more than 8 deep"),
    ],
)
def test_a_hostile_foreign_file_is_one_clear_line_and_imports_nothing(
    damage, message, foreign_content, tmp_path
):
    write(tmp_path, damage(foreign_content))
    before = set(sys.modules)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as error:
            sc.Architecture.load(tmp_path, factory=Small)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert set(sys.modules) == before


@pytest.mark.parametrize("name", ["../../x", "os:system", "antigravity:x", "hf:../../etc", "timm:resnet18"])
def test_a_name_in_a_file_imports_nothing(name, foreign_content, tmp_path):
    write(tmp_path, {**foreign_content, "factory": name})
    before = set(sys.modules)
    with pytest.raises(InputError, match="which a file may not import: pass the factory") as error:
        sc.load(tmp_path)
    assert name in str(error.value)
    # With a factory the name is a label, nothing more.
    assert sc.Architecture.load(tmp_path, factory=Small).factory == name
    assert set(sys.modules) == before


def test_a_huge_network_is_refused_before_it_is_there(foreign_content, tmp_path):

    class Huge(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.fc = nn.Linear(10**6, num_classes)  # 16 GB at 4096

    write(tmp_path, {**foreign_content, "arguments": {"num_classes": 4096}})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="builds a network with other tensors"):
        sc.Architecture.load(tmp_path, factory=Huge)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000  # kB


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (Wider, "builds a network with other tensors"),
        (lambda: 1 / 0, "failed with ZeroDivisionError"),
        (lambda: "net", "must return a torch.nn.Module, got str"),
        (lambda size: Small(), "failed with TypeError"),
    ],
)
def test_another_factory_than_the_saved_one_is_refused(factory, message, foreign_content, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        sc.Architecture.load(write(tmp_path, foreign_content), factory=factory)
    assert "\n" not in str(error.value)


def test_what_a_file_says_of_running_is_asked_for_late_or_never(foreign_content, tmp_path):
    """Loading runs nothing: other inputs are found where MACs are counted, other code where weights are."""
    inputs = {"shape": [3, 8, 8], "dtype": "float32"}
    other = sc.Architecture.from_dict({**foreign_content, "input": inputs}, factory=Small)
    assert other.widths == (4, 5)
    with pytest.raises(InputError, match="cannot be run on the inputs described"):
        _ = other.macs
    sc.save(sc.Architecture.from_dict(foreign_content, factory=Small).build(seed=0), tmp_path)
    with pytest.raises(InputError, match="the network that the factory builds fails: RuntimeError"):
        sc.load(tmp_path, factory=Unread)


SCHEMA_2 = [
    {"name": "conv1", "width": 4, "of": 6, "layers": ["conv1", "conv2"]},
    {"name": "conv2", "width": 5, "of": 8, "layers": ["conv2", "fc"]},
]


def _old(content, **first):
    return {**content, "schema": 2, "groups": [{**SCHEMA_2[0], **first}, SCHEMA_2[1]], "frozen": []}


def test_a_foreign_file_of_schema_2_is_traced(foreign_content):
    read = sc.Architecture.from_dict(_old(foreign_content), factory=Small)
    assert (read.widths, read.params, read.macs) == ((4, 5), 285, 4 * 9 * 36 + 5 * 4 * 9 * 16 + 50)
    assert read.to_dict() == foreign_content


@pytest.mark.parametrize(
    ("first", "factory", "message"),
    [
        ({"name": "conv9"}, Small, "has no channel group 'conv9'"),
        ({}, Unread, "has no channel group 'conv1'"),
        ({"of": 5}, Small, "'conv1' has 6 channels .* and 5 in the file"),
        ({"sets": "2 parts"}, Small, "'conv1' has 3 channels .* and 6 in the file"),
        ({"sets": "4 parts"}, Small, "cannot be tied in sets"),
        ({"sets": "999999999 parts"}, Small, "cannot be tied in sets"),
        ({"sets": "__import__('os')"}, Small, "cannot be tied in sets"),
    ],
)
def test_a_foreign_file_of_schema_2_of_another_network_is_refused(first, factory, message, foreign_content):
    with pytest.raises(InputError, match=message):
        sc.Architecture.from_dict(_old(foreign_content, **first), factory=factory)


def test_foreign_weights_that_do_not_fit_the_file_are_refused(foreign_content, tmp_path):
    narrow = sc.Architecture.from_dict(foreign_content, factory=Small)
    sc.save(narrow.build(seed=0), tmp_path)
    assert sc.Architecture.of(sc.load(tmp_path, factory=Small)) == narrow
    narrow.with_widths([4, 6]).save(tmp_path)
    with pytest.raises(InputError, match=r"must have the architecture's shapes, but 'conv2\.bias' is \(5,\)"):
        sc.load(tmp_path, factory=Small)


def test_a_file_of_schema_1_is_still_read(tmp_path):
    """As version 0.1.0 wrote them before other networks could be described."""
    content = sc.Architecture.of(FAMILIES[0]).to_dict()
    for key in ("version", "input", "classes", "layout"):
        del content[key]
    write(tmp_path, {**content, "schema": 1})
    assert sc.Architecture.load(tmp_path) == sc.Architecture.of(FAMILIES[0])
    assert diff_files(tmp_path, write(_folder(tmp_path), content | {"schema": 1})) == []


def _folder(path):
    (path / "other").mkdir()
    return path / "other"


def test_the_difference_of_two_files(foreign_content, tmp_path):
    one, other = _folder(tmp_path), tmp_path
    write(one, foreign_content)
    groups = [foreign_content["groups"][0], {**foreign_content["groups"][1], "name": "params", "width": 2}]
    write(other, {**foreign_content, "groups": groups, "params": 5})
    assert diff_files(one, other) == [
        ("params", 285, 5),
        ("conv2", 5, None),
        ("params", None, 2),
    ]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["conv1", "2 parts", "wide_resnet", "float32", "../x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def _paths(content, at=()):
    """Every place in a JSON value."""
    yield at
    if isinstance(content, (dict, list)):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from _paths(content[key], (*at, key))


def _with(content, path, value):
    if not path:
        return value
    changed = dict(content) if isinstance(content, dict) else list(content)
    changed[path[0]] = _with(content[path[0]], path[1:], value)
    return changed


@settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), family=st.booleans(), value=JSON)
def test_a_mutated_file_is_read_or_refused(data, family, value, foreign_content, tmp_path):
    content = sc.Architecture.of(FAMILIES[0]).to_dict() if family else foreign_content
    path = data.draw(st.sampled_from(sorted(_paths(content), key=str)))
    write(tmp_path, _with(content, path, value))
    modules = set(sys.modules)
    refused = ""
    try:
        read = sc.Architecture.load(tmp_path, factory=Small)
    except InputError as error:
        refused = str(error)
    assert "\n" not in refused
    assert refused or read.params == content["params"]
    assert set(sys.modules) == modules


@settings(max_examples=40, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.999), noise=st.binary(max_size=3))
def test_a_file_cut_off_or_overwritten_is_read_or_refused(cut, noise, foreign_content, tmp_path):
    text = json.dumps(foreign_content).encode()
    at = int(cut * len(text))
    for damaged in (text[:at], text[:at] + noise + text[at + len(noise) :]):
        (tmp_path / "architecture.json").write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert sc.Architecture.load(tmp_path, factory=Small).params == 285


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=3, max_size=3), st.sampled_from(["params", "macs", "nonzeros"]))
def test_costs_in_closed_form_are_counts_of_the_network(widths, limited):
    architecture = sc.Architecture.of(sc.models.wide_resnet(depth=10)).with_widths(widths)
    model = architecture.build(seed=0)
    counts = {
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "nonzeros": sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1),
    }
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, *model.input_shape))
    assert architecture.cost(limited) == {**counts, "macs": counter.get_total_flops() // 2}[limited]
