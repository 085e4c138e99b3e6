"""Where networks come from: what the two origins have in common, and how a model carries one."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import foreign
import secateur as sc
from secateur.architecture.family import FamilyOrigin
from secateur.architecture.opening import open_factory, origin_of
from secateur.errors import InputError
from secateur.network.counting import costs_of, count_model_macs, remember_costs
from secateur.surgery.anatomy import anatomy_of, open_model


def mlp_and_image():
    return foreign.mlp, torch.randn(4, 1, 8, 8)


def traced(build, inputs):
    return lambda: open_factory(build, inputs, name="mypackage.nets:build", arguments={})


ORIGINS = {
    "residual family": lambda: FamilyOrigin.of(sc.models.wide_resnet(depth=10, in_channels=1, image_size=8)),
    "plain family": lambda: FamilyOrigin.of(sc.models.conv4(width=0.25, in_channels=1, image_size=8)),
    "foreign chain": traced(foreign.mlp, torch.randn(4, 1, 8, 8)),
    "foreign streams": traced(foreign.PaddedResNet, foreign.images(16)),
}


def shapes(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("made", ORIGINS.values(), ids=ORIGINS)
def test_every_origin_makes_what_it_says(made):
    origin = made()
    widths = [max(1, width // 2) for width in origin.widths]
    assert widths != list(origin.widths)
    model = origin.make(widths)
    assert origin.widths_of(model) == tuple(widths)
    assert origin.widths_of(origin.make(origin.widths)) == origin.widths
    skeleton = origin.skeleton(widths)
    assert shapes(skeleton) == shapes(model)
    assert {value.device.type for value in skeleton.parameters()} == {"meta"}
    assert origin.cost(widths, "params") == sum(value.numel() for value in model.parameters())
    example = torch.zeros(1, *origin.inputs["shape"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        scores = model.eval()(example)
    assert origin.cost(widths, "macs") == counter.get_total_flops() // 2
    assert origin.classes == scores.shape[1]


@pytest.mark.parametrize("made", ORIGINS.values(), ids=ORIGINS)
def test_every_origin_describes_its_groups_in_order(made):
    origin = made()
    widths = [1] * len(origin.widths)
    names, groups = origin.names_at(widths), origin.groups_at(widths)
    assert len(set(names)) == len(names) == len(widths)
    assert tuple(group.width for group in groups) == origin.widths
    modules = dict(origin.skeleton(widths).named_modules())
    assert all(layer in modules for group in groups for layer in group.layers)
    assert origin.clamped(widths) == tuple(widths)
    same, own = origin.with_arguments({})
    assert (same.name, same.arguments, own) == (origin.name, origin.arguments, origin.widths)


@pytest.mark.parametrize("made", ORIGINS.values(), ids=ORIGINS)
def test_wider_than_the_whole_is_for_families(made):
    origin = made()
    wider = tuple(width + 1 for width in origin.widths)
    assert origin.clamped(wider) == (wider if origin.is_family else origin.widths)
    assert origin.widest == (None if origin.is_family else origin.widths)
    if not origin.is_family:
        with pytest.raises(InputError, match="the arguments of a built-in family can be changed"):
            origin.with_arguments({"num_classes": 3})


def test_an_architecture_replaced_is_made_by_the_family_that_it_names():
    whole = sc.Architecture.of(sc.models.conv4(width=0.25, in_channels=1, image_size=8))
    more = dataclasses.replace(whole, arguments={**whole.arguments, "num_classes": 7})
    assert more.classes == 7
    assert more.build(seed=0)(torch.zeros(2, 1, 8, 8)).shape == (2, 7)


def test_an_architecture_is_pickled_without_the_users_code():
    family = sc.Architecture.of(sc.models.conv4(width=0.25, in_channels=1, image_size=8))
    back = pickle.loads(pickle.dumps(family))
    assert back == family
    assert shapes(back.build()) == shapes(family.build())
    whole = sc.Architecture.whole(ORIGINS["foreign chain"]())
    assert copy.deepcopy(whole).origin is whole.origin
    back = pickle.loads(pickle.dumps(whole))
    assert back == whole
    with pytest.raises(InputError, match=r"mypackage\.nets:build"):
        back.build()


def test_an_origin_goes_with_copies_and_ends_with_another_inspection():
    build, (make, image) = partial(foreign.mlp), mlp_and_image()
    model = make()
    assert origin_of(model) is None
    sc.inspect(model, image, factory=build)
    copied = copy.deepcopy(model)
    assert origin_of(copied) is origin_of(model)
    assert origin_of(copied).build is build
    sc.inspect(copied, image)
    assert origin_of(copied).build is None
    assert origin_of(model).build is build
    open_model(model, image)  # past `sc.inspect`, which knows of origins
    assert origin_of(model).build is None
    assert origin_of(model) is origin_of(model)


def test_a_network_that_an_origin_makes_comes_from_it():
    origin = ORIGINS["foreign chain"]()
    widths = [1] * len(origin.widths)
    for model in (origin.make(widths), origin.skeleton(widths), copy.deepcopy(origin.make(widths))):
        assert origin_of(model) is origin
        assert sc.Architecture.of(model) == sc.Architecture.at(origin, widths)


class Known:
    def __init__(self):
        self.now = {"macs": 12}


def test_costs_are_those_that_somebody_left_with_the_model():
    model = nn.Linear(3, 2)
    assert costs_of(model) is None
    remember_costs(model, Known())
    assert costs_of(copy.deepcopy(model)) == {"macs": 12}
    assert count_model_macs(model) == 12
    remember_costs(model, None)
    with pytest.raises(InputError, match=r"the MACs of a Linear depend on its inputs: call sc\.inspect"):
        count_model_macs(model)


def test_costs_left_by_surgery_follow_the_cuts_of_each_copy():
    make, image = mlp_and_image()
    model = make()
    sc.inspect(model, image)
    copied = copy.deepcopy(model)
    whole = count_model_macs(model)
    name = next(iter(anatomy_of(copied).graph.groups))
    anatomy_of(copied).remove(copied, name, [0])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copied.eval()(image[:1])
    assert count_model_macs(copied) == counter.get_total_flops() // 2 < whole
    anatomy_of(copied).narrow(copied, {name: 1})
    assert count_model_macs(copied) == anatomy_of(copied).costs.now["macs"]
    assert count_model_macs(model) == whole
    assert costs_of(pickle.loads(pickle.dumps(copied))) is None
