"""Exports: real files, run by the real runtimes, and refused where they would lie."""

from __future__ import annotations

import collections
import sys

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from secateur import models
from secateur.deploy import onnx, openvino
from secateur.deploy import traced as export
from secateur.deploy.onnx import to_onnx
from secateur.deploy.openvino import to_openvino
from secateur.errors import InputError
from secateur.runs.export import export_directory

WRITE = {"onnx": (to_onnx, "model.onnx"), "openvino": (to_openvino, "model.xml")}


class Output(collections.OrderedDict):
    """As transformers' ModelOutput: a mapping whose entries are attributes too."""

    def __getattr__(self, name):
        return self[name]


class Returns(nn.Module):
    """A small network with a normalisation that returns what it is told to."""

    def __init__(self, how):
        super().__init__()
        self.conv, self.norm, self.how = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), how

    def forward(self, x, shift=0.0):
        y = self.norm(self.conv(x)) + shift
        return {
            "tensor": y,
            "tuple": (y, y.sum(1)),
            "mapping": {"features": y, "nothing": None},
            "logits": Output(logits=y.mean((2, 3)), hidden_states=(y, y)),
            "nothing": None,
        }[self.how]


def run(path, feeds):
    """The outputs by name, from the files alone."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        return dict(zip([port.name for port in session.get_outputs()], session.run(None, feeds), strict=True))
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    found = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(feeds)
    return {port.any_name: found[port.any_name] for port in model.outputs}


@pytest.fixture
def image():
    return torch.randn(1, 2, 6, 6)


@pytest.mark.parametrize("to", WRITE)
@pytest.mark.parametrize(
    ("how", "names"),
    [
        ("tensor", ("output",)),
        ("tuple", ("output_0", "output_1")),
        ("mapping", ("features",)),
        ("logits", ("logits",)),
    ],
)
def test_the_file_computes_what_torch_does_at_any_batch_size(tmp_path, image, to, how, names):
    write, file = WRITE[to]
    model = Returns(how)
    model(torch.randn(8, 2, 6, 6))  # moves the running statistics
    record = write(model, image, tmp_path / file)
    assert (record.inputs, record.outputs, record.format) == (("input",), names, to)
    assert record.checked == (1, 3)
    assert 0 <= record.difference < 1e-5 < record.tolerance == 1e-4
    batch = torch.randn(5, 2, 6, 6)
    with torch.no_grad():
        expected = export.named_outputs(model.eval()(batch))
    found = run(tmp_path / file, {"input": batch.numpy()})
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.numpy(), atol=1e-5)
    assert record.size == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == (1 if to == "onnx" else 2)


@pytest.mark.parametrize("to", WRITE)
def test_tensors_by_keyword_and_at_a_fixed_batch_size(tmp_path, image, to):
    write, file = WRITE[to]
    inputs = {"shift": torch.ones(3, 1, 1), "x": image}  # dimension 0 of the shift is no batch
    with pytest.raises(
        InputError, match=r"dimension 0 of every input.* got shift \[3, 1, 1\], x \[1, 2, 6, 6\]"
    ):
        write(Returns("tensor"), inputs, tmp_path / file)
    record = write(Returns("tensor"), inputs, tmp_path / file, dynamic_batch=False)
    assert record.inputs == ("shift", "x")
    assert not record.dynamic_batch
    assert record.checked == (3,)


@pytest.mark.parametrize("to", WRITE)
def test_the_model_is_left_as_it_was(tmp_path, image, to):
    write, file = WRITE[to]
    model = Returns("tensor").train()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random, weight = torch.get_rng_state(), model.conv.weight
    write(model, image, tmp_path / file)
    assert model.training
    assert not model.norm.training
    assert model.conv.weight is weight
    assert weight.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("to", WRITE)
def test_token_ids_keep_their_meaning(tmp_path, to):
    write, file = WRITE[to]
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))
    record = write(model, (torch.tensor([[0, 6, 3]]),), tmp_path / file)  # any other id might be out of range
    assert record.inputs == ("input_0",)
    assert record.checked == (1, 3)


@pytest.mark.parametrize("to", WRITE)
def test_half_precision_stays_half(tmp_path, to):
    write, file = WRITE[to]
    record = write(nn.Linear(64, 32).half(), torch.zeros(1, 64).half(), tmp_path / file)
    assert (record.dtype, record.tolerance) == ("float16", 1e-2)
    assert record.size < 64 * 32 * 4 + 8000
    found = run(tmp_path / file, {"input": np.ones((2, 64), np.float16)})
    assert found["output"].dtype == np.float16


@pytest.mark.parametrize("to", WRITE)
def test_what_disagrees_is_refused_and_leaves_the_old_file(tmp_path, image, monkeypatch, to):
    write, file = WRITE[to]
    home, name = {"onnx": (onnx, "onnxruntime_run"), "openvino": (openvino, "openvino_run")}[to]
    real = getattr(home, name)

    def wrong(*args, **kwargs):
        return lambda arrays: [1.01 * value for value in real(*args, **kwargs)(arrays)]

    monkeypatch.setattr(home, name, wrong)
    (tmp_path / file).write_text("old, of secateur")
    with pytest.raises(
        InputError, match=r"within 0.0001 of its largest output, got a difference of 0.01"
    ) as error:
        write(Returns("tensor"), image, tmp_path / file)
    assert "\n" not in str(error.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old, of secateur"]
    assert write(Returns("tensor"), image, tmp_path / file, tolerance=0.1).tolerance == 0.1


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_never_agrees(wrong):
    assert export.relative(np.array([1.0, wrong]), torch.ones(2)) == float("inf")
    assert export.relative(np.ones((1, 2)), torch.ones(2)) == float("inf")
    assert export.relative(np.array([0.5, -4.0]), torch.tensor([0.5, -2.0])) == 1.0
    with pytest.raises(InputError, match="must be finite for a comparison"):
        export.relative(np.ones(2), torch.tensor([1.0, wrong]))


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class PerBatch(nn.Module):
    def forward(self, x):
        return x.reshape(2, -1)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (Branches(), torch.zeros(1, 2), "cannot be traced by torch.export"),
        (Returns("nothing"), torch.zeros(1, 2, 6, 6), "returns a tensor, .* got NoneType"),
        (nn.Linear(3, 2), torch.zeros(1, 4), "cannot run on the example inputs: RuntimeError: mat1 and mat2"),
        (nn.Linear(3, 2), (torch.zeros(1, 3), 1), "tensors by keyword, got input_1: int"),
        (nn.Linear(3, 2), (), "tensors by keyword, got none"),
        (nn.Linear(3, 2), torch.tensor(1.0), "examples of these inputs lie along no dimension"),
        (
            nn.Linear(3, 2).bfloat16(),
            torch.zeros(1, 3).bfloat16(),
            "got bfloat16: convert it with model.float",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_clear_line(tmp_path, model, inputs, message):
    with pytest.raises(InputError, match=message) as error:
        to_onnx(model, inputs, tmp_path / "model.onnx")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_where_the_batch_size_cannot_be_free_the_fix_is_said(tmp_path):
    with pytest.raises(InputError, match="export it with dynamic_batch=False"):
        to_onnx(PerBatch(), torch.zeros(2, 3), tmp_path / "model.onnx")
    assert (
        to_onnx(PerBatch(), torch.zeros(4, 3), tmp_path / "model.onnx", dynamic_batch=False).difference == 0
    )


@pytest.mark.parametrize(
    ("package", "to", "fix"),
    [
        ("onnxruntime", "onnx", r"pip install 'secateur\[onnx\]'"),
        ("onnxscript", "onnx", r"pip install 'secateur\[onnx\]'"),
        ("openvino", "openvino", r"pip install 'secateur\[openvino\]'"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, image, monkeypatch, package, to, fix):
    monkeypatch.setitem(sys.modules, package, None)
    write, file = WRITE[to]
    with pytest.raises(InputError, match=f"needs the package {package}, which is not installed: {fix}"):
        write(Returns("tensor"), image, tmp_path / file)


def test_the_wrong_ending_and_the_wrong_tolerance(tmp_path, image):
    with pytest.raises(InputError, match=r"must end in \.onnx, got 'model.pt'"):
        to_onnx(Returns("tensor"), image, "model.pt")
    with pytest.raises(InputError, match=r"must end in \.xml"):
        to_openvino(Returns("tensor"), image, tmp_path)
    with pytest.raises(InputError, match="must be above 0, got -1"):
        to_onnx(Returns("tensor"), image, tmp_path / "model.onnx", tolerance=-1)


def test_the_files_do_not_say_where_they_were_made(tmp_path, image):
    """torch notes the source line of every operation, with its path on this machine."""
    to_onnx(Returns("tensor"), image, tmp_path / "model.onnx")
    to_openvino(Returns("tensor"), image, tmp_path / "model.xml")
    for path in tmp_path.iterdir():
        for word in (b"site-packages", b"test_export", b"stack_trace", b".py"):
            assert word not in path.read_bytes()


def test_openvino_is_not_asked_to_convert(tmp_path, image, monkeypatch):
    """`openvino.convert_model` reports over the network that it was called."""
    import openvino

    monkeypatch.setattr(openvino, "convert_model", None)
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    assert to_openvino(Returns("tensor"), image, tmp_path / "model.xml").size


def test_the_opset_can_be_chosen(tmp_path, image):
    assert to_onnx(Returns("tensor"), image, tmp_path / "model.onnx", opset=18).opset == 18
    with pytest.raises(InputError, match=r"in ONNX opset \d+, not 99"):
        to_onnx(Returns("tensor"), image, tmp_path / "model.onnx", opset=99)


@pytest.mark.parametrize("to", WRITE)
def test_a_saved_folder_is_exported_in_place(tmp_path, to):
    model = models.wide_resnet(depth=10, widths=[5, 7, 9])  # pruned widths
    sc.save(model, tmp_path)
    record = export_directory(tmp_path, to, pad_widths="off")  # `test_widths.py` has those that are padded
    assert record.path == tmp_path / WRITE[to][1]
    batch = torch.randn(2, *model.input_shape)
    with torch.no_grad():
        expected = model.eval()(batch)
    np.testing.assert_allclose(
        run(record.path, {"input": batch.numpy()})["output"], expected.numpy(), atol=1e-4
    )


def test_a_folder_is_exported_elsewhere_or_refused(tmp_path):
    sc.save(models.conv4(width=0.125, in_channels=1, image_size=8), tmp_path)
    assert export_directory(tmp_path, out=tmp_path / "new" / "net.onnx").path.is_file()
    with pytest.raises(InputError, match="unknown export format 'onx': did you mean 'onnx'"):
        export_directory(tmp_path, "onx")
    with pytest.raises(InputError, match="no architecture at"):
        export_directory(tmp_path / "new")


@pytest.mark.slow
@pytest.mark.parametrize("to", WRITE)
@pytest.mark.parametrize("name", ["wrn-16-1", "resnet18", "vgg19", "conv4"])
def test_every_built_in_family(tmp_path, name, to):
    build = {
        "wrn-16-1": lambda: models.wide_resnet(depth=16, width=1),
        "resnet18": lambda: models.resnet18(width=0.25),
        "vgg19": lambda: models.vgg19(width=0.25),
        "conv4": lambda: models.conv4(width=0.25),
    }
    model = build[name]()
    write, file = WRITE[to]
    assert write(model, torch.zeros(1, *model.input_shape), tmp_path / file).difference < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("to", WRITE)
@pytest.mark.parametrize("name", ["ResNet", "MobileNetV2", "ConvNext"])
def test_networks_of_transformers(tmp_path, name, to):
    transformers = pytest.importorskip("transformers")
    sizes = {
        "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"},
        "MobileNetV2": {"depth_multiplier": 0.35, "image_size": 32},
        "ConvNext": {"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1]},
    }[name]
    config = getattr(transformers, f"{name}Config")(num_labels=5, **sizes)
    model = getattr(transformers, f"{name}ForImageClassification")(config)
    write, file = WRITE[to]
    record = write(model, {"pixel_values": torch.zeros(1, 3, 32, 32)}, tmp_path / file)
    assert (record.inputs, record.outputs) == (("pixel_values",), ("logits",))
    assert record.difference < 1e-5
