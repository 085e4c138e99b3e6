"""Architectures: rebuild, rescale, save, load, and refuse what is wrong."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import secateur as sc
from secateur.budget import Budget
from secateur.errors import InputError
from secateur.surgery import remove_channels

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
    remove_channels(model, model.groups[1], [0])
    sc.save(model, tmp_path / "net")
    loaded = sc.load(tmp_path / "net")
    x = torch.randn(3, *model.input_shape)
    assert torch.equal(loaded(x), model(x))
    assert sc.Architecture.of(loaded) == sc.Architecture.of(model)
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == [
        "architecture.json",
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
        (_changed(schema=3), "schemas 1 and 2 are read here, got 3"),
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
