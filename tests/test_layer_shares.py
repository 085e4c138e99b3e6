"""Layer shares: literal counts, Evci et al.'s formula by hand, and what must hold whatever the layers are."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secateur.budget import Budget
from secateur.compare.arms import ARMS, chosen
from secateur.compare.settings import Settings, Sparsity
from secateur.errors import InputError
from secateur.methods import METHODS, Magnitude
from secateur.methods.layer_shares import Sharing, layer_counts, shared_out
from secateur.network.masks import prunable_weights

SHAPES = {"stem": (16, 3, 3, 3), "body": (64, 16, 3, 3), "head": (10, 64)}
SHAPE = st.tuples(st.integers(1, 9), st.integers(1, 9)) | st.tuples(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)
)


def test_uniform_is_the_same_share_of_every_layer():
    assert layer_counts(SHAPES, 1029, "uniform") == {"stem": 43, "body": 922, "head": 64}


def test_erk_is_the_formula_of_evci_et_al():
    """16+3+3+3 = 25, 64+16+3+3 = 86, 10+64 = 74: of 370 weights 50, 172 and 148, and their densities."""
    counts = layer_counts(SHAPES, 370, "erk")
    assert counts == {"stem": 50, "body": 172, "head": 148}
    epsilon = 2  # what the shares are scaled by
    for name, shape in SHAPES.items():
        assert counts[name] / math.prod(shape) == pytest.approx(epsilon * sum(shape) / math.prod(shape))


def test_what_is_too_much_for_a_layer_goes_to_the_others():
    """Of 4000 the stem's part were 540 of its 432, then the head's 1650 of its 640: the body has the rest."""
    assert layer_counts(SHAPES, 4000, "erk") == {"stem": 432, "body": 2928, "head": 640}
    assert shared_out([1, 1, 1], [2, 2, 100], 50) == [2, 2, 46]


def test_every_layer_keeps_one_weight_where_there_is_one_for_each():
    shapes = {"tiny": (1, 2), "wide": (100, 100)}
    assert layer_counts(shapes, 50, "uniform") == {"tiny": 1, "wide": 49}
    assert layer_counts(shapes, 50, "uniform", least=0) == {"tiny": 0, "wide": 50}
    assert layer_counts(shapes, 1, "uniform") == {"tiny": 0, "wide": 1}


@given(st.lists(SHAPE, min_size=1, max_size=6), st.floats(0, 1), st.sampled_from(["uniform", "erk"]))
def test_counts_are_exact_within_their_bounds_and_fair(shapes, share, kind):
    sizes = {str(i): math.prod(shape) for i, shape in enumerate(shapes)}
    keep = round(share * sum(sizes.values()))
    named = dict(zip(sizes, shapes, strict=True))
    counts = layer_counts(named, keep, kind)
    assert sum(counts.values()) == keep
    assert all(0 <= counts[name] <= sizes[name] for name in sizes)
    if keep >= len(sizes):
        assert min(counts.values()) >= 1
    plain = layer_counts(named, keep, kind, least=0)
    weight = {name: sum(shape) if kind == "erk" else sizes[name] for name, shape in named.items()}
    open_ones = [name for name in sizes if plain[name] < sizes[name]]
    for name in sizes:  # nobody has a whole weight more per part than one who could take it
        for other in open_ones:
            assert Fraction(plain[name] - 1, weight[name]) <= Fraction(plain[other] + 1, weight[other])


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.data())
def test_caps_hold(sizes, data):
    most = [data.draw(st.integers(0, size)) for size in sizes]
    total = data.draw(st.integers(0, sum(most)))
    found = shared_out(sizes, most, total)
    assert sum(found) == total
    assert all(0 <= count <= bound for count, bound in zip(found, most, strict=True))


def test_masks_keep_the_best_scores_of_every_layers_share():
    scores = {"a": torch.tensor([[5.0, 1.0], [0.5, 2.0]]), "b": torch.tensor([[30.0, 10.0, 20.0, 40.0]])}
    masks = Sharing("uniform", "global", "x").choose(scores, 4)
    assert masks["a"].tolist() == [[True, False], [False, True]]
    assert masks["b"].tolist() == [[True, False, False, True]]
    assert not Sharing(None, "global", "x").choose(scores, 4)["a"].any()
    alive = Sharing(None, "global", "x", least=1).choose(scores, 4)["a"]
    assert alive.tolist() == [[True, False], [False, False]]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(8, 10))


@pytest.mark.parametrize("name", ["magnitude", "gradual-magnitude", "dynamic-feedback"])
def test_a_method_keeps_to_the_shares_and_says_so_in_its_identity(name):
    kind = METHODS[name]
    steps = {"steps": 1} if kind.takes_steps else {}
    assert "layer_shares" not in kind("nonzeros=20%", **steps).identity()
    assert (
        kind("nonzeros=20%", layer_shares="global", **steps).identity()
        == kind("nonzeros=20%", **steps).identity()
    )
    method = kind("nonzeros=20%", layer_shares="erk", keep=["3"], **steps)
    assert method.identity()["layer_shares"] == "erk"
    model = method.finalize(method.prepare(network()))
    weights = prunable_weights(model)  # 333 of 1664; 80 are spared, 253 shared out by 25 to 30
    assert {layer: int(w.count_nonzero()) for layer, w in weights.items()} == {"0": 115, "1": 138, "3": 80}


def test_scope_layer_is_the_older_word():
    old, new = (
        Magnitude("nonzeros=10%", scope="layer"),
        Magnitude("nonzeros=10%", layer_shares="uniform"),
    )
    assert old.identity() == {"method": "magnitude", "scope": "layer"}
    assert new.identity() == {"method": "magnitude", "scope": "global", "layer_shares": "uniform"}
    for one, other in zip(
        prunable_weights(old.prepare(network())).values(),
        prunable_weights(new.prepare(network())).values(),
        strict=True,
    ):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="already says that every layer keeps the same share"):
        Magnitude("nonzeros=10%", scope="layer", layer_shares="erk")
    with pytest.raises(InputError, match="unknown layer shares of magnitude 'erc': did you mean 'erk'"):
        Magnitude("nonzeros=10%", layer_shares="erc")


@pytest.mark.parametrize(
    ("arms", "asked", "said"),
    [
        (
            ("snip",),
            "erk",
            "the arm snip cannot be told how many weights each layer keeps, got --layer-shares",
        ),
        (("magnitude-tuned-layerwise",), "erk", "already says that every layer keeps the same share"),
        (("magnitude",), "erc", "unknown --layer-shares 'erc': did you mean 'erk'"),
    ],
)
def test_an_arm_that_does_not_take_them_is_refused_early(arms, asked, said):
    with pytest.raises(InputError, match=said):
        chosen(Settings((Budget.parse("nonzeros=5%"),), arms, sparsity=Sparsity(layer_shares=asked)))


def test_layer_shares_reach_the_method_of_an_arm():
    settings = Settings((Budget.parse("nonzeros=5%"),), sparsity=Sparsity(layer_shares="erk"))
    assert ARMS["gradual-magnitude"]._method(settings, 0).settings == {"layer_shares": "erk"}
    plain = Settings((Budget.parse("nonzeros=5%"),))
    assert ARMS["gradual-magnitude"]._method(plain, 0).settings == {}
