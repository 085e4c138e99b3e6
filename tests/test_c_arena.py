"""The arena's plan against an oracle that knows bytes and moments only; arrays and names in C, to the bit."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from in_c import needs_compiler
from secateur.deploy.c.arena import Span, planned
from secateur.deploy.c.arrays import PACKED_FROM, array, bytes_declared, quoted
from secateur.deploy.c.elementwise import Elementwise
from secateur.deploy.c.export import InC
from secateur.deploy.c.half import HALF
from secateur.deploy.c.naming import identifier
from secateur.deploy.c.operators import lowered
from secateur.deploy.c.program import Convolution, Linear
from secateur.deploy.traced import Traced

SPANS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(1, 400)).map(
        lambda given: Span(given[0], given[0] + given[1], given[2])
    ),
    max_size=14,
)


@settings(max_examples=300, deadline=None)
@given(SPANS)
def test_no_byte_is_two_spans_at_one_moment_and_no_more_is_taken_than_end_to_end(spans):
    offsets, total = planned(spans)
    owner = {}
    for n, (span, offset) in enumerate(zip(spans, offsets, strict=True)):
        assert offset % 64 == 0
        assert offset + span.size <= total
        for moment in range(span.first, span.last + 1):
            for byte in range(offset, offset + span.size):
                assert owner.setdefault((moment, byte), n) == n
    rounded = [-(-span.size // 64) * 64 for span in spans]
    busiest = max(
        (
            sum(size for size, s in zip(rounded, spans, strict=True) if s.first <= t <= s.last)
            for t in range(19)
        ),
        default=0,
    )
    assert busiest <= total <= sum(rounded)


def test_a_chain_of_equal_buffers_takes_two_of_them():
    assert planned([Span(n, n + 1, 1000) for n in range(50)])[1] == 2 * 1024


def program(model, *shape):
    return lowered(Traced.of(model.eval(), torch.zeros(*shape), dynamic_batch=False))


def test_norm_residual_and_activation_are_part_of_the_layer_and_views_cost_nothing():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.second, self.third = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Linear(64, 2)

        def forward(self, x):
            x = self.norm(self.first(x)).relu()
            x = (x + self.second(x)).clamp(0, 6)
            return self.third(nn.functional.dropout(x, training=self.training).flatten(1))

    steps = program(Block(), 1, 3, 4, 4).steps
    assert [type(step) for step in steps] == [Convolution, Convolution, Linear]
    assert [step.activation for step in steps] == ["relu", "relu6", "none"]
    assert [step.residual is not None for step in steps] == [False, True, False]


def test_a_chain_element_by_element_is_one_loop():
    class Chain(nn.Module):
        def forward(self, x):
            return (x * 2).sigmoid() + 1

    (step,) = program(Chain(), 1, 5).steps
    assert isinstance(step, Elementwise)


def test_batch_norms_are_folded_in_double_precision():
    """1/sqrt(var) of a tiny variance times a tiny weight: float32 steps would lose it."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0))
    with torch.no_grad():
        model[0].weight.fill_(1.1e-3)
        model[1].running_var.fill_(3.3e-7)
        model[1].weight.fill_(0.7)
    (step,) = program(model, 1, 1, 2, 2).steps
    weight, variance, scale = (float(np.float32(each)) for each in (1.1e-3, 3.3e-7, 0.7))
    assert step.weight.item() == np.float32(weight * scale / variance**0.5)


def test_layers_with_many_zeros_are_sparse_and_others_are_not():
    model = nn.Sequential(nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
    with torch.no_grad():
        model[2].weight.view(-1)[: int(0.97 * model[2].weight.numel())] = 0
    assert [step.sparse for step in program(model, 1, 16, 12, 12).steps] == [False, True]


def test_an_output_that_is_an_input_or_a_constant_is_copied():
    class Same(nn.Module):
        def forward(self, x):
            return x, torch.ones(1, 2), x[:, :2], x.sum(1)

    found = program(Same(), 1, 3)
    assert len({view.buffer for view in found.outputs.values()}) == 4
    assert [tuple(view.shape) for view in found.outputs.values()] == [(1, 3), (1, 2), (1, 2), (1,)]


HALVES = np.concatenate([np.arange(2**16, dtype=np.uint16)]).view(np.float16)


@needs_compiler
def test_arrays_and_halves_are_read_back_to_the_bit(tmp_path):
    """Every float16; floats of every size, small arrays as numbers and large ones as characters."""
    bits = np.random.default_rng(0).integers(0, 2**32, 60_000, np.uint32).view(np.float32)
    floats = np.concatenate([bits[np.isfinite(bits)], np.float32([0, -0.0, 1e-45, 3.4028235e38])])
    few = floats[-1000:]
    assert few.nbytes < PACKED_FROM < floats.nbytes
    whole = np.array([-(2**63), 2**63 - 1, 0, -1], np.int64)
    texts = [array("few", few), array("many", floats), array("whole", whole), array("halves", HALVES)]
    assert bytes_declared("".join(texts)) == few.nbytes + floats.nbytes + whole.nbytes + HALVES.nbytes
    parts = "".join(f"fwrite({name}, 1, sizeof {name}, stdout);" for name in ("few", "many", "whole"))
    (tmp_path / "main.c").write_text(
        "#include <stdio.h>\n#include <stdint.h>\n" + HALF + "".join(texts) + "int main(void)\n{\n" + parts
        + "for (int i = 0; i < 65536; i++) { const float x = half(halves[i]); fwrite(&x, 4, 1, stdout); }\n"
        "return 0;\n}\n"
    )  # fmt: skip
    program = str(tmp_path / "program")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", program, str(tmp_path / "main.c")], check=True)
    found = subprocess.run([program], capture_output=True, check=True).stdout
    expected = few.tobytes() + floats.tobytes() + whole.tobytes()
    assert found[: len(expected)] == expected
    decoded = np.frombuffer(found[len(expected) :], np.float32)
    np.testing.assert_array_equal(decoded, HALVES.astype(np.float32))


@pytest.mark.parametrize(
    ("text", "name"),
    [("model", "model"), ("my-model.v2", "my_model_v2"), ("42", "net_42"), ("größe", "gr_e"), ("__", "net")],
)
def test_names(text, name):
    assert identifier(text) == name


def test_no_text_ends_a_string_a_comment_or_begins_a_trigraph():
    assert quoted('a"\\?\n*/é') == '"a\\042\\134\\077\\012*/\\303\\251"'


@needs_compiler
def test_a_layer_name_that_ends_a_comment_stays_in_it(tmp_path):
    model = nn.Sequential()
    model.add_module("a*/ int x", nn.Linear(2, 2))
    found = InC.of(Traced.of(model, torch.zeros(1, 2), dynamic_batch=False), "net")
    assert "a* / int x" in found.text.source
    found.compiled()
