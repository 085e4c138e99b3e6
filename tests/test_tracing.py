"""Channel groups of foreign networks: found, proved, costed; wrong ones are caught and named."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import foreign
import secateur as sc
from secateur.errors import InputError, TrainingError
from secateur.network.described import describe_inputs, examples_described
from secateur.network.inputs import call, map_inputs, output_tensors
from secateur.network.weights import count_params
from secateur.surgery.anatomy import anatomy_of, open_model, open_with_graph
from secateur.surgery.costs import Costs, program
from secateur.surgery.families import family_graph
from secateur.surgery.finished import prove_cut
from secateur.surgery.held_numbers import Number
from secateur.surgery.proof import proved, trace_and_prove
from secateur.surgery.tracing import codes, decode, trace

FAMILIES = {
    "wrn": lambda: sc.models.wide_resnet(depth=16, width=0.5, image_size=16),
    "resnet18": lambda: sc.models.resnet18(width=0.125, image_size=16),
    "vgg19": lambda: sc.models.vgg19(width=0.125, image_size=32),
    "conv4": lambda: sc.models.conv4(width=0.125, image_size=16),
}


def network(name):
    """(network, inputs) of tests/foreign.py, or of `transformers`."""
    torch.manual_seed(0)
    if name in foreign.HUGGINGFACE:
        pytest.importorskip("transformers", reason="transformers is not installed")
        return foreign.huggingface(name), foreign.images(32)
    build, inputs = foreign.NETWORKS[name]
    return build(), inputs()


@cache
def _traced(name):
    model, inputs = network(name)
    return model, inputs, trace_and_prove(model, inputs)


def traced(name):
    """A network, its inputs and its graph, which is found and proved once for all that look at it."""
    model, inputs, graph = _traced(name)
    torch.manual_seed(0)
    return copy.deepcopy(model), inputs, graph.uncut()


ALL = [*foreign.NETWORKS, *foreign.HUGGINGFACE]


def entries(graph, group, axis):
    """The entries of a group on an axis, as a list of lists."""
    return next(site.entries.tolist() for site in graph.groups[group].sites if site.axis == axis)


def test_codes_tell_every_index_and_decode_notices_two():
    code = codes(11)
    assert code.shape == (8, 11)
    assert decode(code).tolist() == list(range(11))
    two = code[:, :1] | code[:, 5:6]
    assert decode(torch.cat([two, torch.zeros(8, 1, dtype=torch.bool)], 1)).tolist() == [-2, -1]


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_tracing_finds_what_the_families_declare(name):
    """Two independent sources: the declaration in models/, and what reaches what."""
    model = FAMILIES[name]()
    found = trace(model, torch.randn(2, *model.input_shape))
    for group in family_graph(model):
        same = found.groups[model.groups[[g.name for g in model.groups].index(group.name)].writers[0]]
        sites = {site.axis: (site.entries.tolist(), site.read) for site in same.sites}
        assert sites == {site.axis: (site.entries.tolist(), site.read) for site in group.sites}
    streams = {stream.writers for stream in model.streams}
    written = {
        tuple(site.axis[0] for site in group.sites if site.axis[1] == "out" and _mixes(model, site))
        for group in found
    }
    assert {frozenset(names) for names in streams} <= {frozenset(names) for names in written}


def _mixes(model, site):
    return isinstance(model.get_submodule(site.axis[0]), (nn.Conv2d, nn.Linear))


def test_a_concatenation_by_hand():
    """DenseNet: what layer 1 writes lies behind the 12 channels of the stem wherever it is read."""
    model, inputs = network("densenet")
    graph = trace_and_prove(model, inputs)
    assert entries(graph, "stem", ("block1.1.conv1", "in")) == [[k] for k in range(12)]
    assert entries(graph, "block1.0.conv2", ("block1.1.conv1", "in")) == [[12 + k] for k in range(6)]
    assert entries(graph, "block1.1.conv2", ("transition", "in")) == [[18 + k] for k in range(6)]
    assert [frozen.name for frozen in graph.frozen] == ["fc"]


def test_padded_shortcuts_by_hand():
    """Stage 2 has its 8 channels of stage 1 in the middle of 16, its own 4 before and behind.

    These go in pairs, one of each side; the number of zeros that the block holds, `more`, follows them.
    """
    model, inputs = network("padded resnet")
    graph = trace_and_prove(model, inputs)
    assert entries(graph, "conv", ("blocks.1.conv2", "out")) == [[4 + k] for k in range(8)]
    assert entries(graph, "conv", ("fc", "in")) == [[12 + k] for k in range(8)]
    assert entries(graph, "blocks.1.conv2", ("blocks.1.conv2", "out")) == [[k, 12 + k] for k in range(4)]
    assert entries(graph, "blocks.1.conv2", ("fc", "in")) == [[8 + k, 20 + k] for k in range(4)]
    assert graph.numbers == tuple(
        Number(f"blocks.{i}", "more", None, ((f"blocks.{i}.conv2", 1),)) for i in (1, 2)
    )


def test_grouped_convolutions_and_shuffles_by_hand():
    """Two groups of 16: offset o of each goes together; behind the shuffle, o and o + 8 of each half do."""
    model, inputs = network("shufflenet")
    graph = trace_and_prove(model, inputs)
    assert entries(graph, "stem", ("units.0.squeeze", "in"))[:2] == [[0, 16], [1, 17]]
    depthwise = entries(graph, "units.0.squeeze", ("units.0.depth", "in"))
    assert depthwise[0] == [0, 1, 16, 17]
    assert graph.groups["units.0.squeeze"].width == 8


def test_a_shuffle_that_nothing_ties_is_cut_in_equal_shares():
    model, inputs = network("plain shuffle")
    graph = trace_and_prove(model, inputs)
    assert graph.groups["conv1"].sets == "4 parts"
    assert entries(graph, "conv1", ("conv1", "out"))[0] == [0, 8, 16, 24]
    assert entries(graph, "conv1", ("conv2", "in"))[0] == [0, 1, 2, 3]
    alone = proved(model, trace(model, inputs), inputs)
    assert alone.groups["conv1"].width == 8


def test_squeeze_excite_ties_the_gate_to_what_it_gates():
    model, inputs = network("squeeze-excite")
    graph = trace_and_prove(model, inputs)
    assert {site.axis for site in graph.groups["conv1"].sites} == {
        ("conv1", "out"),
        ("bn", "out"),
        ("up", "out"),
        ("down", "in"),
        ("conv2", "in"),
    }
    assert entries(graph, "conv2", ("fc", "in"))[1] == list(range(16, 32))


def test_what_cannot_be_cut_names_the_operator():
    model, inputs = network("group norm")
    graph = trace_and_prove(model, inputs)
    reasons = {frozen.name: frozen.reason for frozen in graph.frozen}
    assert reasons["query"] == "its 16 channels hang together: bmm in GroupNormNet mixes them"
    assert reasons["fc"] == "written to the network's output"
    assert graph.groups["conv1"].width == 4  # whole groups of the group norm
    assert graph.groups["up"].width == 8  # the stream that attention over positions is added to


def masked_by_hand(model, group, gone, inputs):
    """The full model in float64, what every reader reads of the channels gone being zero."""
    model = copy.deepcopy(model).double().eval()

    def hook_for(site):
        dim = -1 if isinstance(model.get_submodule(site.axis[0]), nn.Linear) else 1
        index = site.entries[sorted(gone)].flatten()
        return lambda _module, args: (args[0].index_fill(dim, index, 0), *args[1:])

    for site in group.reads:
        model.get_submodule(site.axis[0]).register_forward_pre_hook(hook_for(site))
    return output_tensors(call(model, as_double(inputs)))


def as_double(inputs):
    return map_inputs(inputs, lambda x: x.double() if x.is_floating_point() else x)


WITHOUT_LAYER_NORMS = [name for name in ALL if name not in ("mlp", "group norm", "convnext")]


@torch.no_grad()
@pytest.mark.parametrize("name", WITHOUT_LAYER_NORMS)
def test_a_cut_of_every_group_is_a_mask_of_what_reads_it(name):
    """With the model's own weights, one group after the other; normalisation over channels is elsewhere."""
    model, inputs, graph = traced(name)
    for index, group in enumerate(graph):
        gone = set(torch.randperm(group.width)[: max(1, group.width // 4)].tolist())
        compact, own = copy.deepcopy(model).double().eval(), graph.uncut()
        own.remove(compact, group.name, sorted(gone))
        expected = masked_by_hand(model, group, gone, inputs)
        found = output_tensors(call(compact, as_double(inputs)))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9, msg=f"{name}: {group.name}")
        if index >= 8:
            break


@torch.no_grad()
def test_layer_norm_goes_over_the_channels_kept():
    """By hand: the compact network is the full one whose layer norm was told to leave channels out."""
    model, inputs = network("mlp")
    x = inputs.double()
    compact = copy.deepcopy(model).double().eval()
    graph = trace_and_prove(model, inputs)
    graph.remove(compact, "1", [0, 5, 7])
    kept = [k for k in range(48) if k not in (0, 5, 7)]
    full = copy.deepcopy(model).double().eval()
    hidden = full[1](x.flatten(1))[:, kept]
    normal = F.layer_norm(hidden, (45,), full[2].weight[kept], full[2].bias[kept])
    expected = full[6](full[5](F.linear(F.gelu(normal), full[4].weight[:, kept], full[4].bias)))
    torch.testing.assert_close(compact(x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["densenet", "padded resnet", "squeeze-excite", "convnext", "resnet"])
@pytest.mark.parametrize("kind", ["out", "in"])
def test_a_planted_wrong_index_is_caught(name, kind):
    """One site is off by one channel, as a graph could have it: that group is frozen, and only that."""
    model, inputs, right = traced(name)
    group = max(right, key=lambda group: (len(group.reads) == 1, group.width))
    position = next(i for i, site in enumerate(group.sites) if site.axis[1] == kind)
    site = group.sites[position]
    shifted = replace(site, entries=site.entries.roll(1, 0))
    wrong = replace(group, sites=(*group.sites[:position], shifted, *group.sites[position + 1 :]))
    graph = proved(model, right.with_group(wrong), inputs)
    assert group.name not in graph.groups
    (reason,) = [frozen.reason for frozen in graph.frozen if frozen.name == group.name]
    assert "reads other channels than those that were cut" in reason or "fails" in reason
    assert set(graph.groups) == set(right.groups) - {group.name}  # the pruning goes on with the rest


def test_a_wrong_cut_that_was_made_is_caught_at_the_end():
    model, inputs = network("densenet")
    graph = trace_and_prove(model, inputs)
    compact = copy.deepcopy(model)
    graph.remove(compact, "stem", [1, 4])
    prove_cut(model, compact, graph, inputs)
    with torch.no_grad():
        compact.transition.weight.copy_(compact.transition.weight.roll(1, 1))
    prove_cut(model, compact, graph, inputs)  # other weights are no wrong cut
    graph._left["transition", "in"] = graph._left["transition", "in"].roll(1)
    with pytest.raises(TrainingError, match="does not compute what the masked one does"):
        prove_cut(model, compact, graph, inputs)


def test_a_model_in_which_nothing_can_be_cut_is_an_error():
    with pytest.raises(
        InputError, match=r"nothing in Linear can be pruned: out: written to the network's output"
    ):
        open_model(nn.Linear(4, 3), torch.randn(2, 4))
    with pytest.raises(InputError, match="it has no convolution and no linear layer"):
        open_model(nn.Sequential(nn.ReLU()), torch.randn(2, 4))
    with pytest.raises(InputError, match=r"cannot be run on the inputs given, \(2, 5\): RuntimeError"):
        open_model(foreign.mlp(), torch.randn(2, 5))


def test_inspection_changes_nothing():
    model, inputs = network("squeeze-excite")
    model.train()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    open_model(model, inputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(
        m._forward_hooks or m._forward_pre_hooks or "forward" in m.__dict__ for m in model.modules()
    )


@pytest.mark.parametrize("name", [*ALL, *FAMILIES])
def test_costs_in_closed_form_are_a_full_recount(name):
    """After every removal: parameters counted, MACs as the referee counts them (two FLOPs each), shapes."""
    if name in FAMILIES:
        model = FAMILIES[name]()
        inputs = torch.randn(1, *model.input_shape)
        anatomy = anatomy_of(model)
    else:
        model, inputs, graph = traced(name)
        anatomy = open_with_graph(model, graph, inputs)
    generator = torch.Generator().manual_seed(1)
    for step in range(12):
        names = [n for n in anatomy.graph.groups if anatomy.graph.width(n) > 1]
        chosen = names[int(torch.randint(len(names), (1,), generator=generator))]
        foretold = anatomy.costs.without(chosen)
        anatomy.remove(model, chosen, [step % anatomy.graph.width(chosen)])
        assert anatomy.costs.now == foretold
    now = anatomy.costs.now
    assert now["params"] == count_params(model)
    with FlopCounterMode(display=False) as referee, torch.no_grad():
        call(model.eval(), map_inputs(inputs, lambda x: x[:1]))
    assert now["macs"] * 2 == referee.get_total_flops()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert anatomy.costs.shapes_at({}) == shapes
    assert anatomy.costs.at(anatomy.graph.widths) == now


def test_operators_that_nobody_counts_are_named():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

        def forward(self, x):
            return self.fc(torch.fft.fft2(F.relu(self.conv(x))).abs().mean((2, 3)))

    model, x = Spectral(), torch.randn(2, 3, 8, 8)
    costs = Costs(model, trace(model, x), x)
    assert any("fft" in name for name in costs.uncounted)
    counted, _ = network("group norm")
    assert beyond_weights(counted) == 8192  # query x key, weights x values: 16 positions, 16 channels, twice


def beyond_weights(model):
    """MACs of products that no weight is part of."""
    x = foreign.images(16)
    costs = Costs(model, trace(model, x), x)
    return costs.now["macs"] - sum(tensor.cost(costs._sizes)[1] for tensor in costs._tensors)


def test_balanced_cuts_keep_a_grouped_convolution_balanced():
    model, inputs = network("regnet")
    anatomy = open_model(model, inputs)
    for name in anatomy.graph.groups:
        anatomy.remove(model, name, [0])
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert module.in_channels % module.groups == module.out_channels % module.groups == 0
            assert module.weight.shape[1] == module.in_channels // module.groups
    anatomy.prove(model)


def test_layers_frozen_in_evaluation_stay_so():
    """A normalisation that the user froze is not set to training because the model around it is."""
    build, inputs = foreign.NETWORKS["squeeze-excite"]
    model = build().train()
    model.bn.eval()
    sc.inspect(model, inputs(), factory=build)
    assert model.training
    assert not model.bn.training


def test_a_copy_of_a_model_has_an_anatomy_of_its_own():
    model, inputs = network("densenet")
    open_model(model, inputs)
    other = copy.deepcopy(model)
    anatomy_of(other).remove(other, "stem", [0])
    assert anatomy_of(model).graph.width("stem") == 12
    assert anatomy_of(other).graph.width("stem") == 11
    call(model, inputs), call(other, inputs)


def test_inputs_survive_their_description():
    inputs = {"a": torch.zeros(2, 3, 4), "b": (torch.zeros(2, dtype=torch.int64), torch.zeros(2, 5).double())}
    again = examples_described(describe_inputs(inputs), examples=2).inputs
    assert again["a"].shape == (2, 3, 4)
    assert again["b"][0].dtype == torch.int64
    assert again["b"][1].dtype == torch.float64


def test_what_a_network_computes_is_told_by_its_operators():
    """Equal tensors, another activation or stride: another program. The same again: the same."""
    x = torch.randn(2, 3, 8, 8)

    def build(act=nn.ReLU, stride=1):
        return nn.Sequential(nn.Conv2d(3, 4, 3, stride), act(), nn.Flatten(2), nn.AdaptiveAvgPool1d(2))

    assert program(build(), x) == program(build(), x)
    assert len({program(build(), x), program(build(nn.GELU), x), program(build(stride=2), x)}) == 3
