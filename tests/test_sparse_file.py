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
    with pytest.raises(InputError, match="float16 has no number so small, 'w' would be all zeros, got 1e-09"):
        sparse_file.write(tmp_path / "x.safetensors", {"w": weight * 1e-14}, values="float16")
    with pytest.raises(InputError, match="unknown kind of values 'fp16'"):
        sparse_file.write(tmp_path / "x.safetensors", {"w": weight}, values="fp16")
    with pytest.raises(InputError, match=r"'w' is torch\.complex64"):
        sparse_file.write(tmp_path / "x.safetensors", {"w": weight.to(torch.complex64)})


def test_the_layout_is_that_of_the_document(tmp_path):
    sparse_file.write(tmp_path / "x.safetensors", {"w": sparse((30, 30), 0.1), "n": torch.tensor(3)})
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "secateur-sparse", "version": "1"}
        assert sorted(file.keys()) == ["F32.0", "F32.1", "F32.2", "F32.3", "I64", "gaps", "index"]


def entropy(symbols: np.ndarray) -> float:
    """Bytes that so many symbols of these frequencies take at least, each by itself."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def least(tensors: dict[str, Tensor], half: bool) -> float:
    """N H(p) bits for where the nonzeros of every tensor lie, and the entropy of each of their bytes."""
    total, values = 0.0, []
    for tensor in tensors.values():
        held = tensor.numpy().reshape(-1)
        p = np.count_nonzero(held) / held.size
        total -= held.size * sum(share * np.log2(share) for share in (p, 1 - p) if share) / 8
        values.append(held[held != 0].astype(np.float16 if half else np.float32).tobytes())
    columns = np.frombuffer(b"".join(values), np.uint8).reshape(-1, 2 if half else 4)
    return total + sum(map(entropy, columns.T))


CONV4 = [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3), (256, 8192), (256, 256), (10, 256)]
"""Its weights, which are 2,425,024."""
RESNET18 = [
    (64, 3, 3, 3), *[(64, 64, 3, 3)] * 4, (128, 64, 3, 3), *[(128, 128, 3, 3)] * 3, (128, 64),
    (256, 128, 3, 3), *[(256, 256, 3, 3)] * 3, (256, 128), (512, 256, 3, 3), *[(512, 512, 3, 3)] * 3,
    (512, 256), (10, 512),
]  # fmt: skip
"""Its weights, which are 11,164,352."""


def pruned(shapes: list[tuple[int, ...]], sparsity: float, how: str) -> dict[str, Tensor]:
    """Normal weights of the scale that layers of so many inputs begin with, of which the rest is zero."""
    drawn = torch.Generator().manual_seed(0)
    whole = [torch.randn(shape, generator=drawn) * (2 / np.prod(shape[1:])) ** 0.5 for shape in shapes]
    scores = [torch.rand(w.shape, generator=drawn) if how == "random" else w.abs() for w in whole]
    flat = torch.cat([each.flatten() for each in scores])
    cut = flat.kthvalue(round(sparsity * len(flat))).values
    return {str(i): w * (score > cut) for i, (w, score) in enumerate(zip(whole, scores, strict=True))}


@pytest.mark.parametrize(
    ("how", "values"),
    [
        ("random", "exact"),
        ("magnitude", "float16"),
        pytest.param("random", "float16", marks=pytest.mark.slow),
        pytest.param("magnitude", "exact", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.97, 0.99])
@pytest.mark.parametrize("shapes", [CONV4, pytest.param(RESNET18, marks=pytest.mark.slow)])
def test_a_file_is_within_a_twentieth_of_its_entropy(tmp_path, shapes, sparsity, how, values):
    """Magnitudes of all layers together leave some a quarter of their weights, others one in a thousand."""
    tensors = pruned(shapes, sparsity, how)
    path = tmp_path / "x.safetensors"
    sparse_file.write(path, tensors, values)
    assert path.stat().st_size <= 1.05 * least(tensors, half=values == "float16")
    found = sparse_file.read(path)
    for name, tensor in tensors.items():
        exact = values == "exact" or tensor.count_nonzero() > 7 / 8 * tensor.numel()  # too full to be sparse
        assert torch.equal(found[name], tensor if exact else tensor.half().float())


def test_channels_that_are_gone_take_next_to_nothing(tmp_path):
    """Zeros in blocks have no entropy of their own."""
    weight = torch.zeros(256, 128, 3, 3)
    weight[::16] = torch.randn(16, 128, 3, 3)
    size = sparse_file.write(tmp_path / "x.safetensors", {"w": weight})
    assert size < 1.03 * (16 * 128 * 9 * 4 * 0.86 + 600)
