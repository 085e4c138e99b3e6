"""Sparse files: exact round trips, near the entropy counted another way, strangers' refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from torch import Tensor

from secateur.errors import InputError
from secateur.network import sparse_file
from secateur.network.sparse_streams import from_planes, gaps_of, planes_of, positions_of

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OTHERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def sparse(shape: tuple[int, ...], share: float, seed: int = 0) -> Tensor:
    """Normal numbers, of which about so large a share is not zero."""
    drawn = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=drawn) * (torch.rand(shape, generator=drawn) < share)


@given(st.sets(st.integers(0, 3000), max_size=40))
def test_gaps_lead_back_to_their_positions(places):
    positions = np.array(sorted(places), np.int64)
    gaps = gaps_of(positions)
    assert np.array_equal(positions_of(gaps), positions)
    assert len(gaps) <= len(places) + 3000 // 255


def test_gaps_are_those_of_the_document():
    assert gaps_of(np.array([0, 3, 304])).tolist() == [0, 2, 255, 45]
    assert gaps_of(np.array([255, 511])).tolist() == [255, 0, 255, 0]


@given(hnp.arrays(np.uint32, st.integers(0, 20)), st.booleans())
def test_planes_lead_back_to_their_numbers(numbers, rotated):
    planes = planes_of(numbers, rotated)
    assert len(planes) == 4
    assert np.array_equal(from_planes(planes, rotated), numbers)


def test_the_highest_plane_of_floats_is_their_exponent():
    planes = planes_of(np.array([1.0, -1.0, 0.5], np.float32).view(np.uint32), rotated=True)
    assert list(planes[3]) == [127, 127, 126]
    assert list(planes[0]) == [0, 1, 0]  # the sign lies lowest


@given(
    hnp.arrays(
        np.uint32,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6),
        elements=st.one_of(st.just(0), st.integers(0, 2**32 - 1)),
    )
)
def test_every_float_comes_back_to_the_bit(tmp_path_factory, numbers):
    """NaN with whatever it carries, infinities, subnormals; only zeros lose their sign, if they are many."""
    tensor = torch.from_numpy(np.array(numbers).view(np.float32))
    path = tmp_path_factory.mktemp("bits") / "x.safetensors"
    sparse_file.write(path, {"x": tensor})
    (found,) = sparse_file.read(path).values()
    unsigned = torch.where(tensor == 0, torch.zeros(()), tensor) if (found == 0).any() else tensor
    assert found.shape == tensor.shape
    assert bits(found) in (bits(tensor), bits(unsigned))


@pytest.mark.parametrize("dtype", [*FLOATS, *OTHERS])
def test_every_dtype_and_shape_comes_back(tmp_path, dtype):
    tensors = {
        "sparse": (sparse((5, 40), 0.1) * 10).to(dtype),
        "full": torch.arange(1, 8).to(dtype),
        "none": torch.empty(0, 3, dtype=dtype),
        "one": torch.ones((), dtype=dtype),
        "zero": torch.zeros((), dtype=dtype),
        "zeros": torch.zeros(3, 4, dtype=dtype),
        "turned": (sparse((6, 7), 0.2) * 10).to(dtype).T,
    }
    sparse_file.write(tmp_path / "x.safetensors", tensors)
    found = sparse_file.read(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype, name
        assert torch.equal(found[name], tensor), name


def test_zeros_with_a_sign_are_zeros(tmp_path):
    """`w * mask` leaves -0.0 wherever w was negative: half of all that was pruned."""
    weight = torch.randn(100, 100)
    mask = torch.rand(100, 100) < 0.1
    size = sparse_file.write(tmp_path / "x.safetensors", {"x": weight * mask})
    assert size == sparse_file.write(tmp_path / "y.safetensors", {"x": weight.masked_fill(~mask, 0)})
    assert torch.equal(sparse_file.read(tmp_path / "x.safetensors")["x"], weight * mask)


def test_tensors_in_one_memory_come_back_apart(tmp_path):
    shared = sparse((8, 8), 0.2)
    sparse_file.write(tmp_path / "x.safetensors", {"a": shared, "b": shared, "c": shared[2:]})
    found = sparse_file.read(tmp_path / "x.safetensors")
    assert all(
        torch.equal(found[name], held) for name, held in {"a": shared, "b": shared, "c": shared[2:]}.items()
    )


def test_float16_values_are_rounded_and_nothing_else(tmp_path):
    tensors = {"weight": sparse((50, 50), 0.1), "bias": torch.randn(50), "full": torch.randn(9, 9)}
    exact = sparse_file.write(tmp_path / "x.safetensors", tensors)
    half = sparse_file.write(tmp_path / "y.safetensors", tensors, values="float16")
    assert half < exact
    found = sparse_file.read(tmp_path / "y.safetensors")
    assert found["weight"].dtype == torch.float32
    assert torch.equal(found["weight"], tensors["weight"].half().float())
    assert torch.equal(found["bias"], tensors["bias"])
    assert torch.equal(found["full"], tensors["full"])


def test_what_float16_cannot_hold_is_refused(tmp_path):
    weight = torch.zeros(4, 4)
    weight[0, 0] = 1e5
    with pytest.raises(InputError, match="float16 holds numbers up to 65504, but 'w' has 100000"):
        sparse_file.write(tmp_path / "x.safetensors", {"w": weight}, values="float16")
    with pytest.raises(InputError, match="unknown kind of values 'fp16'"):
        sparse_file.write(tmp_path / "x.safetensors", {"w": weight}, values="fp16")
    with pytest.raises(InputError, match=r"'w' is torch\.complex64"):
        sparse_file.write(tmp_path / "x.safetensors", {"w": weight.to(torch.complex64)})


def test_the_layout_is_that_of_the_document(tmp_path):
    sparse_file.write(tmp_path / "x.safetensors", {"w": sparse((30, 30), 0.1), "n": torch.tensor(3)})
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "secateur-sparse", "version": "1"}
        assert sorted(file.keys()) == ["F32.0", "F32.1", "F32.2", "F32.3", "I64", "gaps", "index"]
