"""Running statistics of batch norms, computed anew: those of the inputs seen, exactly; nothing else moves."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import secateur as sc
from secateur.training.recalibration import Moments, recalibrated


class Net(nn.Module):
    """Batch norms of maps and of vectors, one used twice, one without statistics, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=0.3)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.drop, self.free = nn.Dropout(0.5), nn.BatchNorm2d(6, track_running_stats=False)
        self.fc, self.last = nn.Linear(6, 4), nn.BatchNorm1d(4, momentum=None)
        self.instance = nn.InstanceNorm2d(6, track_running_stats=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn(self.conv(x)))
        x = self.instance(self.free(self.drop(F.relu(self.bn(self.again(x))))))
        return self.last(self.fc(x.mean((2, 3))))


def batches(*sizes: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(7)
    return [torch.randn(size, 3, 8, 8, generator=draw) * (1 + i) + i for i, size in enumerate(sizes)]


def seen_by(model: nn.Module, layers: list[str], images: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """All that each layer is given, (values, C) in float64, in passes in which batch norms alone train."""
    model = copy.deepcopy(model).eval()
    found: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    for name in layers:
        layer = model.get_submodule(name).train()
        layer.register_forward_pre_hook(
            lambda _, args, name=name: found[name].append(args[0].double().movedim(1, -1).flatten(0, -2))
        )
    with torch.no_grad():
        for x in images:
            model(x)
    return {name: torch.cat(parts) for name, parts in found.items()}


def test_the_statistics_are_the_mean_and_the_unbiased_variance_of_all_that_was_seen():
    model, images = Net().eval(), batches(5, 17, 2)
    expected = seen_by(model, ["bn", "last"], images)
    assert sc.recalibrate(model, images) is model
    for name, values in expected.items():
        layer = model.get_submodule(name)
        torch.testing.assert_close(layer.running_mean, values.mean(0).float(), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(layer.running_var, values.var(0).float(), rtol=1e-6, atol=1e-7)
    assert len(expected["bn"]) == 24 * 36 * 2  # used twice: both count


def test_it_is_neither_the_average_that_forgets_nor_torchs_average_of_variances():
    x = torch.cat([torch.zeros(4, 2), torch.full((4, 2), 6.0)]) + torch.tensor([[1.0, -1.0]] * 8)
    x = x + torch.tensor([[0.5, 2.0], [-0.5, -2.0]] * 4)
    model = nn.Sequential(nn.BatchNorm1d(2))
    sc.recalibrate(model, list(x.split(4)))
    assert model[0].running_mean.tolist() == [4.0, 2.0]
    # By hand: the sum of squared deviations is 8 * (9 + spread^2), over n - 1 = 7.
    torch.testing.assert_close(model[0].running_var, torch.tensor([8 * 9.25 / 7, 8 * 13.0 / 7]))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99), st.floats(-1e6, 1e6))
@settings(max_examples=30, deadline=None)
def test_moments_of_parts_are_those_of_the_whole(sizes, seed, shift):
    values = np.random.default_rng(seed).normal(size=(sum(sizes) + 1, 3, 2)) + shift
    parts = np.split(values, np.cumsum(sizes))
    moments = Moments()
    for part in parts:
        moments.take(torch.from_numpy(part))
    flat = values.transpose(0, 2, 1).reshape(-1, 3)
    assert moments.n == len(flat)
    np.testing.assert_allclose(moments.mean.numpy(), flat.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.variance().numpy(), flat.var(0, ddof=1), rtol=1e-7)


def test_nothing_else_moves():
    model = Net().train()
    model.fc.eval()  # frozen by its owner
    with torch.no_grad():
        model(batches(4)[0])  # counts a batch
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    torch.manual_seed(3)
    random.seed(3)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    loader = DataLoader(TensorDataset(torch.cat(batches(6, 6))), batch_size=6, shuffle=True)
    assert recalibrated(model, loader).examples == 12
    assert torch.equal(torch.rand(3), drawn)
    after = model.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {"bn.running_mean", "bn.running_var", "last.running_mean", "last.running_var"}
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert (model.bn.momentum, model.last.momentum) == (0.3, None)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.bn._forward_pre_hooks


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: x,
        lambda x: (x, torch.zeros(len(x))),
        lambda x: [x],
        lambda x: {"x": x},
        lambda x: {"x": x, "labels": 0},
        lambda x: ((x,), None),
    ],
)
def test_batches_come_in_every_shape_that_prune_takes(wrap):
    images, one, other = batches(4, 6), Net(), Net()
    other.load_state_dict(one.state_dict())
    sc.recalibrate(one, images)
    sc.recalibrate(other, iter([wrap(x) for x in images]))
    assert torch.equal(one.bn.running_var, other.bn.running_var)


def test_one_tensor_is_one_batch_and_handles_are_seen_through():
    images, model = batches(6)[0], Net()
    handle = nn.DataParallel(copy.deepcopy(model))
    sc.recalibrate(model, images)
    assert sc.recalibrate(handle, [images]) is handle
    assert torch.equal(model.bn.running_mean, handle.module.bn.running_mean)


def test_loaded_data_are_the_training_split(digits):
    model = sc.models.wide_resnet(10, 1, in_channels=1, image_size=8)
    found = recalibrated(model, digits)
    assert found.examples == len(digits.train) == 270
    assert str(found) == "7 batch norms recalibrated on 270 examples"


def test_a_network_in_half_precision_is_added_up_in_float64():
    model = nn.Sequential(nn.BatchNorm1d(1)).bfloat16()
    x = torch.linspace(100, 104, 400).bfloat16()[:, None]
    sc.recalibrate(model, list(x.split(40)))
    assert model[0].running_mean.item() == 102
    assert model[0].running_var.item() == x.double().var().bfloat16().item()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], "no batch to recalibrate on"),
        (3, "batches are an iterable"),
        ([(1, 2, 3)], "got 3 items"),
        (batches(4)[0][:1], r"last gets \(1, 4\), of which there is no variance"),
        ([torch.zeros(4, 5, 8, 8)], r"Net cannot be run on batch 1, float32 \(4, 5, 8, 8\)"),
        ([*batches(4), torch.full((4, 3, 8, 8), float("nan"))], "statistics of bn must be finite in float32"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_and_the_network_is_as_it_was(data, says):
    model = Net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(sc.InputError, match=says) as found:
        sc.recalibrate(model, data)
    assert "\n" not in str(found.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_it_is_said_where_there_is_nothing_to_recalibrate():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.warns(UserWarning, match="Sequential has no batch norm with running statistics"):
        assert sc.recalibrate(model, batches(4)) is model


def test_it_is_said_which_batch_norms_never_ran():
    model = Net()
    model.unused = nn.BatchNorm2d(3)
    with pytest.warns(UserWarning, match="no batch runs through them: unused"):
        sc.recalibrate(model, batches(4))
    assert model.unused.running_var.tolist() == [1, 1, 1]


# On by default, where sc.prune trains nothing


def cut(capsys, **arguments):
    torch.manual_seed(0)
    model = sc.models.wide_resnet(10, 1)
    images = [(torch.randn(16, 3, 32, 32) * 3 + 1, torch.zeros(16, dtype=torch.long)) for _ in range(2)]
    given = {"data": images} if "example_inputs" not in arguments else {}
    model = sc.prune(model, method="filter-norm", budget="macs=60%", train=False, **given, **arguments)
    return model, images, capsys.readouterr().err


def test_a_cut_without_training_is_recalibrated_by_default(capsys):
    model, images, said = cut(capsys)
    assert "7 batch norms recalibrated on 32 examples (recalibrate=False leaves them as they were)" in said
    plain, _, nothing = cut(capsys, recalibrate=False)
    assert nothing == ""
    assert plain.bn.running_mean.eq(0).all()
    sc.recalibrate(plain, images)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in plain.state_dict().items())
    assert not model.bn.running_mean.eq(0).any()


def test_where_there_are_no_batches_it_is_said_what_to_do(capsys):
    model, _, said = cut(capsys, example_inputs=torch.randn(4, 3, 32, 32))
    assert (
        "running statistics (blocks.0.bn1, blocks.0.bn2, ...) are those of the network before it was cut"
        in said
    )
    assert "pass data= in place of example_inputs=, or call sc.recalibrate(model, batches)" in said
    assert model.bn.running_mean.eq(0).all()
    assert cut(capsys, example_inputs=torch.randn(4, 3, 32, 32), progress=False)[2] == ""
