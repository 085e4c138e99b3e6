"""The proof itself: what it tries cuts on, what it compares them with, and that wrong ones are caught."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.errors import InputError
from secateur.progress import BarReporter, Reporter
from secateur.surgery.agreement import distance
from secateur.surgery.bench import Bench, light_copy
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup, Frozen, Site
from secateur.surgery.lively import randomized, tempered
from secateur.surgery.noise import second_batch
from secateur.surgery.precision import computing_in, in_dtype
from secateur.surgery.proof import proved, trace_and_prove
from secateur.surgery.reference import masked
from secateur.surgery.sieve import Sieve
from secateur.surgery.tracing import trace
from secateur.surgery.trial import SURE, Trial, parts


class Net(nn.Module):
    """Layers by name, and a forward given as a function."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.made = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *x):
        return self.made(self, *x)


def seeded(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def each(width):
    return torch.arange(width)[:, None]


def graph_of(model, *groups, **more):
    return ChannelGraph.of(model, groups, **more)


# ------------------------------------------------------------------------------------------- lively copies


@torch.no_grad()
def test_every_parameter_is_scaled_by_its_fan_in():
    """By hand: 2 / 256 of a linear layer, 1 / 64 of an LSTM's and an attention's, one of an embedding."""
    layers = {
        "fc": nn.Linear(256, 400),
        "up": nn.ConvTranspose2d(64, 100, 2),
        "rnn": nn.LSTM(64, 64),
        "heads": nn.MultiheadAttention(64, 4),
        "words": nn.Embedding(500, 64),
        "scale": nn.LayerNorm(64),
    }
    model = Net(None, **layers, bare=nn.Parameter(torch.zeros(64, 192)))
    lively = randomized(model, generator())
    spread = {name: float(value.detach().std()) for name, value in lively.named_parameters()}
    expected = {
        "fc.weight": math.sqrt(2 / 256),
        "up.weight": math.sqrt(2 / (64 * 4)),
        "rnn.weight_ih_l0": 1 / 8,
        "rnn.weight_hh_l0": 1 / 8,
        "heads.in_proj_weight": 1 / 8,
        "words.weight": 1.0,
        "bare": math.sqrt(1 / 192),
    }
    assert {name: spread[name] for name in expected} == pytest.approx(expected, rel=0.05)
    assert 0.5 <= float(lively.scale.weight.min()) <= float(lively.scale.weight.max()) <= 1.5
    assert float(lively.rnn.bias_ih_l0.abs().max()) <= 0.2
    assert not model.bare.any(), "the model is left as it is"


def test_nothing_explodes_through_depth():
    """A hundred layers without a normalisation, of gains far from one: each gives numbers of size one."""
    layers = [nn.Linear(16, 16, bias=False) for _ in range(100)]
    model = nn.Sequential(*layers).double()
    for layer in layers:
        layer.weight.data *= 30
    x = seeded(8, 16).double()
    tempered(model, lambda: model(x))
    assert 0.3 < float(model(x).detach().std()) < 3


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_wide_recurrent_layers_do_not_saturate(kind):
    """Case 14: with weights of one size for all widths an LSTM of 128 gave the same for every input."""

    def forward(m, x):
        return m.fc(m.rnn(m.b(F.relu(m.a(x))).transpose(1, 2))[0])

    layers = {"a": nn.Conv1d(4, 24, 3), "b": nn.Conv1d(24, 24, 1), "rnn": kind(24, 128, batch_first=True)}
    model = Net(forward, **layers, fc=nn.Linear(128, 5))
    graph = trace_and_prove(model, seeded(4, 4, 8))
    assert "a" in graph.groups


def test_a_tiny_but_real_effect_is_proved_by_livelier_weights():
    """Twenty sigmoids let 4^-20 of a difference through, which float64 does not tell from none."""
    layers = [nn.Linear(6, 12), *[part for _ in range(20) for part in (nn.Sigmoid(), nn.Linear(12, 12))]]
    model = nn.Sequential(*layers, nn.Linear(12, 3))
    x = seeded(4, 6)
    trial = Trial(model, x)
    assert trial.unseen(trace(model, x))
    assert len(trace_and_prove(model, x).groups) == 21


def test_what_no_weights_show_is_said():
    model = Net(
        lambda m, x: m.fc(F.relu(m.b(F.relu(m.a(x))))) + m.d(F.relu(m.c(x))) * 0,
        **{name: nn.Linear(6, 6) for name in "abc"},
        d=nn.Linear(6, 4),
        fc=nn.Linear(6, 4),
    )
    graph = trace_and_prove(model, seeded(4, 6))
    assert set(graph.groups) == {"a", "b"}
    assert Frozen("c", 6, "cutting it changes no output, so nothing can be proved") in graph.frozen


def test_what_changes_the_output_by_little_more_than_rounding_is_no_proof():
    layers = {name: nn.Linear(6, 6) for name in "bcd"}
    model = Net(lambda m, x: m.b(F.relu(m.b(x))) + 2e-9 * m.d(m.c(x)), **layers)
    found = proved(model, trace(model, seeded(4, 6)), seeded(4, 6))
    reasons = {frozen.name: frozen.reason for frozen in found.frozen}
    assert "too little" in reasons["c"]


# --------------------------------------------------------------------------------------------------- inputs


def second(model, x):
    model = model.double().eval()
    bench = Bench.of(model, torch.float64, [x])
    return second_batch(bench.batches[0], lambda b: bench.outputs(model, b), generator(), swapped=x)


def test_noise_has_the_mean_and_spread_of_what_is_real():
    x = 100 + 20 * seeded(4, 3, 32, 32)
    noise = second(nn.Conv2d(3, 4, 3), x)
    assert float(noise.mean()) == pytest.approx(100, abs=1.5)
    assert float(noise.std()) == pytest.approx(20, abs=1.5)
    assert not torch.equal(noise, x.double())


def test_what_cannot_be_noise_is_made_of_real_numbers():
    """Logarithms: every entry of the second batch is one that some example has at that place."""
    x = seeded(4, 7).abs() + 0.1
    model = Net(lambda m, x: m.fc(x.log()), fc=nn.Linear(7, 5))
    found = second(model, x)
    assert not torch.equal(found, x.double())
    assert torch.equal(found.sort(0).values, x.double().sort(0).values)


def test_every_input_is_decided_by_itself():
    """An image may be noise though categories beside it, held as floats, may not."""
    image, kind = seeded(4, 3, 8, 8), torch.tensor([[0.0], [1.0], [2.0], [3.0]])

    def forward(m, x, k):
        if not torch.equal(k, k.round()):
            raise ValueError("no category")
        return m.c(x).mean((2, 3)) + m.words(k[:, 0].long())

    model = Net(forward, c=nn.Conv2d(3, 5, 3), words=nn.Embedding(4, 5))
    noise, categories = second(model, (image, kind))
    assert not set(noise.flatten().tolist()) & set(image.double().flatten().tolist())
    assert sorted(categories.flatten().tolist()) == [0, 1, 2, 3]


def test_inputs_that_are_whole_numbers_come_in_another_order():
    ids = torch.tensor([[1, 2], [3, 0]])
    model = Net(lambda m, x: m.words(x), words=nn.Embedding(4, 5))
    bench = Bench.of(model.double(), torch.float64, [ids])
    found = second_batch(ids, lambda b: bench.outputs(model, b), generator(), swapped=ids.flip(0))
    assert found.tolist() == [[3, 0], [1, 2]]


# ------------------------------------------------------------------------------------------------ reference


def test_a_parameter_that_is_read_reads_zero_and_comes_back():
    """y = x W, as transformers' Conv1D has it; W is another layer's too."""
    shared = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    model = Net(lambda m, x: x @ m.w + x @ m.other.w, w=shared, other=Net(None, w=shared))
    group = ChannelGroup("a", (Site(("", "w@0"), each(3), read=True),), 3)
    graph = graph_of(model, group)
    graph.note_removal({"a": {1}})
    x = torch.tensor([[1.0, 1.0, 1.0]])
    with masked(model, graph):
        assert model(x).tolist() == [[12.0, 16.0]]  # 2 * (1 + 5), 2 * (2 + 6)
    assert model(x).tolist() == [[18.0, 24.0]]


class HandNorm(nn.Module):
    """A root mean square norm as models write it themselves."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Standardised(nn.Conv2d):
    """A convolution with weights standardised over what it reads."""

    def forward(self, x):
        weight = self.weight
        mean, std = weight.mean((1, 2, 3), keepdim=True), weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (weight - mean) / (std + 1e-5), self.bias, padding=self.padding)


def with_a_norm():
    model = Net(lambda m, x: m.fc(m.norm(m.a(x))), a=nn.Linear(4, 6), norm=HandNorm(6), fc=nn.Linear(6, 3))
    sites = (
        Site(("a", "out"), each(6), write=True),
        Site(("norm", "weight@0"), each(6)),
        Site(("fc", "in"), each(6), read=True),
    )
    return model, graph_of(model, ChannelGroup("a", sites, 6), over_kept={"norm": -1}), seeded(4, 4)


def with_standardised():
    model = Net(
        lambda m, x: m.fc(m.c(m.a(x)).mean((2, 3))),
        a=nn.Conv2d(3, 6, 3),
        c=Standardised(6, 5, 3),
        fc=nn.Linear(5, 3),
    )
    sites = (Site(("a", "out"), each(6), write=True), Site(("c", "in"), each(6), read=True))
    return model, graph_of(model, ChannelGroup("a", sites, 6), over_kept={"c": 1}), seeded(4, 3, 8, 8)


@pytest.mark.parametrize("build", [with_a_norm, with_standardised])
def test_what_computes_over_the_channels_does_so_over_those_kept(build):
    model, graph, x = build()
    assert set(proved(model, graph, x).groups) == {"a"}
    without = replace(graph, over_kept={})
    assert not proved(model, without, x).groups  # removing is by definition not zeroing


def test_a_norm_over_those_kept_by_hand():
    model, graph, x = with_a_norm()
    graph.note_removal({"a": {0, 4}})
    kept = [1, 2, 3, 5]
    h = model.a(x)[:, kept]
    normal = model.norm.weight[kept] * h / (h.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    with masked(model, graph):
        found = model(x)
    torch.testing.assert_close(found, F.linear(normal, model.fc.weight[:, kept], model.fc.bias))


# --------------------------------------------------------------------------------------------- wrong cuts


@pytest.mark.parametrize("build", [with_a_norm, with_standardised])
@pytest.mark.parametrize("position", [0, 1])
def test_a_wrong_index_beside_a_norm_is_caught(build, position):
    model, graph, x = build()
    group = graph.groups["a"]
    sites = list(group.sites)
    sites[position] = replace(sites[position], entries=sites[position].entries.roll(1, 0))
    found = proved(model, graph.with_group(replace(group, sites=tuple(sites))), x)
    assert not found.groups


def wide():
    model = nn.Sequential(nn.Linear(8, 1024), nn.ReLU(), nn.Linear(1024, 4)).double()
    entries = each(1024)
    sites = (Site(("0", "out"), entries, write=True), Site(("2", "in"), entries, read=True))
    return model, ChannelGroup("0", sites, 1024), seeded(4, 8)


@pytest.mark.parametrize("draft", [True, False])
def test_two_channels_of_a_thousand_that_are_confused_are_caught(draft):
    """By float32 and by float64: entries 1022 and 1023 of what reads are swapped, all others right."""
    model, group, x = wide()
    trial = Trial(model, x)
    assert trial.draft is not None
    trial.draft = trial.draft if draft else None
    right = graph_of(model, group)
    assert trial.failure(right, ["0"]) is None
    entries = each(1024).clone()
    entries[[1022, 1023]] = entries[[1023, 1022]]
    wrong = right.with_group(replace(group, sites=(group.sites[0], replace(group.sites[1], entries=entries))))
    assert "reads other channels" in trial.failure(wrong, ["0"])


def test_float32_alone_tells_a_confusion_from_rounding():
    model, group, x = wide()
    trial = Trial(model, x)
    graph, batch = graph_of(model, group), trial.draft.batches[0]
    assert trial.draft.apart(graph, {"0": {3}}, batch) < SURE
    swapped = replace(group.sites[1], entries=each(1024).roll(1, 0))
    wrong = graph.with_group(replace(group, sites=(group.sites[0], swapped)))
    assert trial.draft.apart(wrong, {"0": {3}}, batch) > 100 * SURE


def test_groups_that_float32_hardly_shows_are_decided_by_float64():
    """A branch scaled by 1e-6: swapped entries change the output by less than rounding in float32."""
    model = Net(
        lambda m, x: m.fc(F.relu(m.a(x))) + 1e-6 * m.d(F.relu(m.c(x))),
        a=nn.Linear(6, 6),
        fc=nn.Linear(6, 4),
        c=nn.Linear(6, 6),
        d=nn.Linear(6, 4),
    )
    x = seeded(4, 6)
    graph = trace_and_prove(model, x)
    assert set(graph.groups) == {"a", "c"}
    group = graph.groups["c"]
    sites = (group.sites[0], replace(group.sites[1], entries=each(6).roll(1, 0)))
    found = proved(model, graph.with_group(replace(group, sites=sites)), x)
    assert set(found.groups) == {"a"}


# -------------------------------------------------------------------------------------------------- the sieve


class Told:
    """A trial whose outcomes are given: some groups are always wrong, others without their partner."""

    def __init__(self, guilty, pairs):
        self.guilty, self.pairs, self.tried = guilty, pairs, 0

    def failure(self, graph, names, *, quick=False):
        self.tried += 1
        return "wrong" if set(names) & self.guilty else None

    def apart(self, graph, names):
        for part in parts(names):
            self.tried += 1
            for one, other in self.pairs:
                if one in part and other in names and other not in part:
                    return part, "wrong without the other"
        return None


def of_many(count):
    groups = [ChannelGroup(str(i), (), 4) for i in range(count)]
    return ChannelGraph(
        {group.name: group for group in groups}, (), {group.name: [0, 1, 2, 3] for group in groups}
    )


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_the_sieve_refuses_the_guilty_and_nobody_else(drawn):
    count, guilty = drawn
    trial = Told({str(i) for i in guilty}, [])
    found = Sieve(trial, of_many(count), lambda *_: None).sifted()
    assert set(found.groups) == {str(i) for i in range(count)} - trial.guilty
    assert {frozen.reason for frozen in found.frozen} <= {"wrong"}


@settings(max_examples=30)
@given(st.integers(2, 20), st.data())
def test_of_two_that_go_only_together_one_at_least_is_refused(count, data):
    one, other = data.draw(st.permutations(range(count)))[:2]
    found = Sieve(Told(set(), [(str(one), str(other))]), of_many(count), lambda *_: None).sifted()
    assert not {str(one), str(other)} <= set(found.groups)
    assert found.groups


def test_one_guilty_of_sixty_four_is_found_by_halves():
    """All; 6 times a half that fails and one that passes; the one itself; the rest, together and apart."""
    trial = Told({"37"}, [])
    Sieve(trial, of_many(64), lambda *_: None).sifted()
    assert trial.tried <= 1 + 2 * 6 + 2 + 1 + 8


def test_what_is_mended_for_one_is_tried_for_those_refused_before():
    class Mendable(Told):
        def failure(self, graph, names, *, quick=False):
            return None if graph.numbers else super().failure(graph, names)

    def mend(trial, graph, name, proven, reason):
        return replace(graph, numbers=("mended",)) if name == "5" else None

    graph = of_many(8)
    graph = replace(graph)
    found = Sieve(Mendable({"2", "5"}, []), graph, mend)
    found._sift(list(graph.groups))
    assert found.refused == {}
    assert set(found.proven) == set(graph.groups)


# ------------------------------------------------------------------------------------------------- precision


def test_all_digits_are_computed_whatever_the_code_converts_to():
    conv = nn.Linear(5, 5)
    model = Net(lambda m, x: m.c(x.bfloat16().float()).half().softmax(-1, dtype=torch.float32), c=conv)
    plain = Net(lambda m, x: m.c(x).softmax(-1), c=conv).double()
    x = seeded(4, 5).double()
    with computing_in(torch.float64):
        found = in_dtype(model, torch.float64)(x)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, plain(x), rtol=1e-14, atol=0)
    assert torch.get_default_dtype() == torch.float32


def test_complex_numbers_keep_their_imaginary_part():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv1d(3, 6, 3, padding=1), nn.Conv1d(6, 5, 1)
            self.w = nn.Parameter(torch.randn(6, 9, dtype=torch.cfloat))

        def forward(self, x):
            return self.b(torch.fft.irfft(torch.fft.rfft(self.a(x)) * self.w, n=16)).mean(2)

    model = in_dtype(Spectral(), torch.float64)
    assert model.w.dtype == torch.complex128
    assert float(model.w.detach().imag.abs().max()) > 0
    trial = Trial(Spectral(), seeded(4, 3, 16))
    assert trial.dtype == torch.float64


def test_a_distance_of_infinities():
    inf = math.inf
    assert distance([torch.tensor([1.0, -inf])], [torch.tensor([1.0, -inf])]) == 0
    assert distance([torch.tensor([1.0, -inf])], [torch.tensor([1.0, inf])]) == inf
    assert distance([torch.tensor([math.nan])], [torch.tensor([math.nan])]) == inf
    assert distance([torch.tensor([1.0, 4.0])], [torch.tensor([2.0, 4.0])]) == 0.25
    assert distance([torch.zeros(2)], [torch.zeros(3)]) == inf


def test_a_light_copy_shares_large_tensors_until_they_are_cut():
    model = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 3))
    copied = light_copy(model)
    assert copied[0].weight.data_ptr() == model[0].weight.data_ptr()
    assert copied[1].weight.data_ptr() != model[1].weight.data_ptr()
    before = copy.deepcopy(model.state_dict())
    sites = (Site(("0", "out"), each(300), write=True), Site(("1", "in"), each(300), read=True))
    graph = graph_of(copied, ChannelGroup("0", sites, 300))
    graph.remove_several(copied, {"0": {0, 7}})
    assert copied[0].weight.shape == (298, 300)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# ----------------------------------------------------------------------------------------- size, interruption


def test_images_are_small_where_the_model_takes_them_and_the_size_given_is_tried_too():
    def forward(m, x):
        h = F.relu(m.a(x))
        return m.fc((h.roll(1, 1) if x.shape[-1] > 100 else h).mean((2, 3)))

    model = Net(forward, a=nn.Conv2d(3, 8, 3, padding=1), fc=nn.Linear(8, 4))
    x = seeded(2, 3, 128, 128)
    assert Trial(model, x).batches[0].shape == (2, 3, 64, 64)
    with pytest.raises(InputError, match="fc reads other channels"):
        trace_and_prove(model, x)


def test_an_interruption_leaves_everything_as_it_was():
    model, x = (
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3)).train(),
        seeded(4, 6),
    )
    graph, before, state = trace(model, x), copy.deepcopy(model.state_dict()), torch.get_rng_state()
    tried = []

    def after():
        tried.append(1)
        if len(tried) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proved(model, graph, x, after=after)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float32
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_progress_is_told_to_whoever_is_asked_to_show_it():
    told = []

    class Noting(Reporter):
        def proving(self, done, total):
            told.append((done, total))

    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), seeded(4, 6)
    with Noting():
        trace_and_prove(model, x)
    assert told[0] == (0, 7)  # six sets of one group, and one at the size of the inputs
    assert told[-1] == (7, 7)
    assert [done for done, _ in told[:-1]] == list(range(len(told) - 1))
    seen = len(told)
    trace_and_prove(model, x)  # nobody is asked
    assert len(told) == seen


def test_an_inspection_says_so_on_request(capsys):
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), seeded(4, 6)
    sc.inspect(model, x, progress=True)
    sc.inspect(model, x)
    assert capsys.readouterr() == ("", "")  # in under half a minute no line is due; only a terminal has a bar


def test_bars_come_and_go():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with BarReporter(console) as bars:
        bars.proving(0, 4)
        bars.proving(2, 4)
        assert [task.description for task in bars.bars.tasks] == ["proving what can be cut"]
        bars.proving(4, 4)
        assert not bars.bars.tasks
