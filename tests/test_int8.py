"""Networks in int8: real files, calibrated on the training split, and what is said of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

import made
import secateur as sc
from secateur import models
from secateur.architecture.artefact import Artefact, carry_artefact
from secateur.data import Data, Split, load_data
from secateur.data.augment import Augmentation
from secateur.deploy.agreeing import agreement_of
from secateur.deploy.c import eight
from secateur.deploy.c.compiling import has_compiler
from secateur.deploy.calibrating import read_batches
from secateur.deploy.given import Given
from secateur.deploy.int8 import to_int8_onnx, to_int8_openvino
from secateur.deploy.quantizing import macs_of
from secateur.errors import InputError
from secateur.network.task import Task
from secateur.records.measure import ACCURACY, Measure
from secateur.records.quantized import Agreement, Quality, Quantized, quantized_in, record_path
from secateur.records.seal import sealed
from secateur.runs import quantizing as runs
from secateur.runs.predictor import Predictor
from secateur.runs.quantizing import Wanted
from secateur.training.recipe import Recipe

WRITE = {"onnx": (to_int8_onnx, ".onnx"), "openvino": (to_int8_openvino, ".xml")}


@pytest.fixture(scope="module")
def data():
    """The digits, of which 100 are to be told."""
    digits = load_data("digits", limit_train=600)
    return replace(digits, test=digits.test.take(torch.arange(100)))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of a network that knows the digits, cut by `sc.prune` to channels of odd numbers."""
    torch.manual_seed(0)
    model = sc.prune(
        made.network(),
        budget="params=60%",
        example_inputs=inputs_of(data.train.images[:2], data),
        train=False,
        method="filter-norm",
    )
    made.training(data, Recipe(epochs=5, batch_size=32), model=model, epochs=5).fit()
    folder = tmp_path_factory.mktemp("trained")
    sc.save(model, folder, data=data)
    return folder


@pytest.fixture(scope="module")
def records(trained, data):
    """Format -> what is known of its file in the network's folder."""
    return {to: Wanted.of(trained, to, calibrate=100).write(data, latency_s=0.05) for to in WRITE}


def inputs_of(images, data):
    mean, std = (torch.tensor(each)[:, None, None] for each in (data.mean, data.std))
    return (images.float() / 255 - mean) / std


def digits_right(network, data):
    """What `predict` says of the test images, one by one: the classes, and how many are right."""
    images = [image.permute(1, 2, 0).numpy() for image in data.test.images]
    said = [each.said[0] for each in sc.predict(network, images, device="cpu")]
    return said, sum(
        one == data.classes[label] for one, label in zip(said, data.test.labels.tolist(), strict=True)
    )


@pytest.mark.parametrize("to", WRITE)
def test_the_classes_of_100_images_are_those_of_evaluation(trained, data, records, to):
    path = trained / records[to].file
    said, right = digits_right(path, data)
    in_float, right_in_float = digits_right(trained, data)
    assert 70 <= right_in_float < 100
    assert sc.evaluate(path, data, device="cpu").right == right
    quality = records[to].quality
    assert (quality.n, quality.right_after, quality.right_before) == (100, right, right_in_float)
    assert (quality.before, quality.after) == (right_in_float / 100, right / 100)
    assert quality.same == sum(one == other for one, other in zip(said, in_float, strict=True)) >= 97


@pytest.mark.parametrize("to", WRITE)
def test_what_is_said_lies_beside_the_file_and_in_it(trained, data, records, to):
    record = records[to]
    path = trained / record.file
    assert Quantized.load(record_path(path)) == record
    assert (record.calibration.n, record.calibration.split, record.calibration.data) == (
        100,
        "train",
        "digits",
    )
    assert record.runtime == {"onnx": "onnxruntime"}.get(to, to) == record.latency.runtime
    size = sum(path.with_suffix(each).stat().st_size for each in suffixes(to))
    assert size - 8000 < record.bytes_after < size  # the file holds the record too
    assert record.latency.before.n == record.latency.after.n >= 5
    assert record.held_out.n == len(data.val)
    assert record.held_out.error < 0.05
    assert record in quantized_in(trained)
    if to == "onnx":
        texts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        assert Quantized.from_json(json.loads(texts["secateur.int8"])) == record
        assert record.bytes_after < 0.7 * record.bytes_before


def suffixes(to):
    return [".onnx"] if to == "onnx" else [".xml", ".bin"]


@pytest.mark.slow
def test_c_with_weights_in_int8(trained, data, tmp_path):
    """A quarter of the memory; the classes are those of evaluation, and of float but for a few."""
    if not has_compiler():
        pytest.skip("no C compiler here")
    found = Wanted.of(trained, "c", tmp_path).write(data, latency_s=0.05)
    said, right = digits_right(Predictor.open(tmp_path / "model.int8.c", trusted=True), data)
    in_float, _ = digits_right(trained, data)
    assert found.quality.right_after == right
    assert found.quality.same == sum(one == other for one, other in zip(said, in_float, strict=True)) >= 97
    assert found.bytes_after < 0.35 * found.bytes_before
    assert (found.activations, found.int8_macs, found.calibration) == ("float32", 0, None)
    assert found.macs == sc.Architecture.of(sc.load(trained)).macs
    assert {path.name for path in tmp_path.iterdir()} == {
        *("model.int8.c", "model.int8.h", "model.int8.c.json"),
    }
    assert quantized_in(tmp_path) == [found]


@given(
    arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.floats(-99, 99, width=32))
)
def test_rounded_weights_are_half_a_step_off_and_zeros_stay(weight):
    numbers, scales = eight.quantized(weight)
    assert numbers.dtype == np.int8
    assert numbers.shape == weight.shape
    assert np.abs(numbers.astype(int)).max() <= 127
    off = np.abs(numbers * scales[:, None].astype(np.float64) - weight)
    assert (off <= 0.5001 * scales[:, None]).all()
    assert (numbers[weight == 0] == 0).all()
    largest = np.abs(weight).max(1)
    np.testing.assert_allclose(scales[largest > 1e-30], largest[largest > 1e-30] / 127, rtol=1e-6)


def test_onnxruntime_computes_in_integers_and_scores_stay_in_float(trained, records, tmp_path):
    """The operators that it makes of the file, by its own optimiser."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "seen.onnx"), 3
    onnxruntime.InferenceSession(
        (trained / "model.int8.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    kinds = [node.op_type for node in onnx.load(tmp_path / "seen.onnx").graph.node]
    assert "Conv" not in kinds
    assert kinds.count("QLinearConv") == 10  # 3 blocks of 2, 3 shortcuts, and the first
    assert kinds[-1] == "QGemm"  # whose result is float32: no ties between classes
    assert records["onnx"].int8_macs == records["onnx"].macs == sc.Architecture.of(sc.load(trained)).macs


def test_weights_are_of_7_bits_symmetric_with_a_scale_for_each_channel(trained, records):
    graph = onnx.load(trained / "model.int8.onnx").graph
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    (last,) = [node for node in graph.node if node.op_type == "Gemm"]
    weight, scale, zero = (held[name] for name in makers[last.input[1]].input)
    assert (weight.dtype, scale.shape, np.abs(zero).max()) == (np.int8, (10,), 0)
    assert np.abs(weight.astype(int)).max() == 64
    wanted = list(sc.load(trained).parameters())[-2].detach().numpy()
    assert wanted.shape == weight.shape == (10, wanted.shape[1])
    assert np.abs(weight * scale[:, None] - wanted).max() <= 0.51 * scale.max()


def test_each_split_does_one_thing(trained, data, tmp_path, monkeypatch):
    """Ranges come of the training split, the recipe of the validation split; nothing else is seen."""
    seen = {}

    def quantized(to, traced, calibration, held_out, recipes):
        seen.update(calibration=np.concatenate([x for (x,) in calibration]),
                    held_out=np.concatenate([x for (x,) in held_out]))  # fmt: skip
        raise InputError("enough")

    monkeypatch.setattr(runs, "quantized", quantized)
    with pytest.raises(InputError, match="enough"):
        Wanted.of(trained, "onnx", tmp_path, calibrate=100).write(data)
    assert len(seen["calibration"]) == 100
    for name, split in (("calibration", data.train), ("held_out", data.val)):
        wanted = {image.tobytes() for image in images_back(inputs_of(split.images, data).numpy())}
        assert {image.tobytes() for image in images_back(seen[name])} <= wanted
    assert len(seen["held_out"]) == len(data.val)


def images_back(inputs):
    """Rounded, so that the order of additions does not matter."""
    return np.round(inputs, 3) + 0.0


@pytest.mark.parametrize("to", WRITE)
def test_several_inputs_batches_without_targets_and_not_a_word(tmp_path, capfd, to):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.table, self.last = nn.Linear(6, 16), nn.Embedding(9, 16), nn.Linear(16, 3)

        def forward(self, x, ids):
            return self.last(torch.relu(self.first(x) + self.table(ids).mean(1)))

    write, suffix = WRITE[to]
    batches = [(torch.randn(16, 6), torch.randint(0, 9, (16, 4))) for _ in range(5)]
    found = write(Both(), batches[0], tmp_path / f"both{suffix}", calibration=batches, most=40)
    assert found.inputs == ("input_0", "input_1")
    assert (found.calibrated_on, found.agreement.n) == (32, 8)  # the last of 16 + 16 + 8 is held out
    assert found.agreement.same == 8
    assert (found.macs, found.int8_macs) == (6 * 16 + 16 * 3, 6 * 16 + 16 * 3)
    assert capfd.readouterr() == ("", "")
    assert {path.suffix for path in tmp_path.iterdir()} == set(suffixes(to))


def test_batches_are_inputs_or_pairs_with_targets():
    x, y = torch.arange(12.0).reshape(4, 3), torch.zeros(4)
    one, both = Given.of(x[:1]), Given.of((x[:1], x[:1]))
    (plain,), (pair,) = read_batches([x], one, None, "it"), read_batches([(x, y)], one, None, "it")
    assert np.array_equal(plain[0], x)
    assert np.array_equal(pair[0], x)
    assert [each.shape for each in read_batches([(x, x)], both, None, "it")[0]] == [(4, 3), (4, 3)]
    assert [each.shape for each in read_batches([((x, x), y)], both, None, "it")[0]] == [(4, 3), (4, 3)]
    assert [len(batch[0]) for batch in read_batches([x, x, x], one, 6, "it")] == [4, 2]


class Odd(nn.Module):
    """Layers that the quantiser leaves, beside some that it takes; a channel that is always zero."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.up = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ConvTranspose2d(5, 2, 2)
        with torch.no_grad():
            self.conv.weight[1], self.norm.bias[1] = 0, -1

    def forward(self, x):
        return self.up(torch.relu(self.norm(self.conv(x))))


def test_what_cannot_be_quantised_stays_in_float_and_is_counted(tmp_path):
    x = torch.randn(8, 3, 6, 6)
    found = to_int8_onnx(Odd(), x, tmp_path / "odd.onnx", calibration=[x, x])
    assert found.macs == 16 * 3 * 5 * 9 + 16 * 5 * 2 * 4
    assert found.int8_macs == 16 * 3 * 5 * 9
    assert found.agreement.same is None
    assert found.agreement.n == 8
    assert 0 < found.agreement.error < 0.02


def test_rows_of_tokens_are_counted():
    """6 tokens of 4: a layer 4 -> 8 on each, and products of these with what is computed in float."""
    layer = nn.Linear(4, 8)

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            y = self.layer(x)
            return y @ y.square().transpose(1, 2)

    from secateur.deploy.onnx import onnx_bytes
    from secateur.deploy.quantizing import RECIPES, folded, quantize
    from secateur.deploy.traced import Traced

    x = torch.randn(2, 6, 4)
    content = folded(onnx_bytes(Traced.of(Attending(), x))[0])
    made_of_it = quantize(content, [{"input": x.numpy()}], RECIPES[0])
    assert macs_of(made_of_it, [(1, 6, 4)]) == (6 * 4 * 8 + 6 * 6 * 8, 6 * 4 * 8)


@pytest.mark.parametrize(
    ("model", "batches", "message"),
    [
        (nn.ReLU(), [torch.randn(4, 6)], "has layers with constant weights .* got none"),
        (nn.Linear(6, 3).half(), [torch.randn(4, 6).half()], "in float32, got float16"),
        (nn.Linear(6, 3), [torch.full((4, 6), torch.nan)], "in calibration must be finite"),
        (nn.Linear(6, 3), [], "calibration holds no batch"),
        (nn.Linear(6, 3), [torch.randn(4, 7)], "cannot be run on the batches given"),
        (nn.Linear(6, 3), [(torch.randn(4, 6),) * 3], "a batch is a pair .* got 3 items"),
    ],
)
def test_what_cannot_be_quantised_is_one_clear_line(tmp_path, model, batches, message):
    example = torch.randn(1, 6, dtype=next(model.parameters(), torch.zeros(1)).dtype)
    with pytest.raises(InputError, match=message) as error:
        to_int8_onnx(model, example, tmp_path / "model.onnx", calibration=batches)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_another_network_is_refused_and_the_old_file_stays(tmp_path):
    """Calibrated on next to nothing, every activation of a real input is beyond its range."""
    path, real = tmp_path / "model.onnx", torch.randn(64, 6)
    path.write_bytes(b"old, of secateur")
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 5))
    with pytest.raises(InputError, match=r"say what it says in float, got the same class for \d+ of 64"):
        to_int8_onnx(model, real, path, calibration=[real * 1e-6], held_out=[real])
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"old, of secateur"]


def test_agreement_by_hand():
    one = np.array([[3.0, 0], [3, 0], [0, 1], [0, 1]])
    other = np.array([[3.0, 0], [3, 0], [0, 1], [2, 1]])
    found = agreement_of([one], [other])
    assert (found.n, found.same, found.chance) == (4, 3, 0.5 * 0.75 + 0.5 * 0.25)
    assert found.error == pytest.approx((4 / 20) ** 0.5)
    assert found.beyond_chance == pytest.approx((0.75 - 0.5) / 0.5)
    assert agreement_of([one], [one]).beyond_chance == 1
    alike = np.array([[1.0, 0]] * 3)
    assert agreement_of([alike], [alike]).beyond_chance == 1  # one class alone: nothing but chance
    assert agreement_of([np.ones(3)], [np.zeros(3)]) == Agreement(n=3, same=None, chance=None, error=1.0)
    assert agreement_of([np.zeros((2, 2))], [np.full((2, 2), np.nan)]).error == 0.0


def test_a_loss_of_accuracy_is_said():
    made_of = {"data": "digits", "split": "test", "n": 1000, "metric": ACCURACY}
    assert Quality(before=0.9, after=0.889, **made_of).is_large
    assert not Quality(before=0.9, after=0.891, **made_of).is_large
    error = Measure(name="rmse", higher_is_better=False, fraction=False)
    assert Quality(**{**made_of, "metric": error}, before=2.0, after=2.03).is_large
    assert not Quality(**{**made_of, "metric": error}, before=2.0, after=1.0).is_large


def numbers_and_labels():
    """Images, of which two labels say whether they are bright."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (90, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = (images.float().mean((1, 2, 3))[:, None] > torch.tensor([110.0, 140.0])).float()
    train, val, test = (Split(images[i : i + 30], labels[i : i + 30]) for i in (0, 30, 60))
    return Data("n", "n", train, val, test, ("a", "b"), (0.5,), (0.3,), Augmentation(0, False), "0" * 16)


@pytest.mark.parametrize(
    ("task", "metric"),
    [("regression", "rmse"), pytest.param("multilabel", "micro-f1", marks=pytest.mark.slow)],
)
def test_networks_of_numbers_and_labels(tmp_path, task, metric):
    numbers = numbers_and_labels()
    model = models.wide_resnet(depth=10, width=0.25, in_channels=1, image_size=8, num_classes=2)
    carry_artefact(model, Artefact.of(numbers, Task.named(task)))
    sc.save(model, tmp_path / "net")
    found = Wanted.of(tmp_path / "net").write(numbers, latency_s=0.01)
    with torch.no_grad():
        scores = model.eval()(inputs_of(numbers.test.images, numbers))
    expected = Task.named(task).metric(scores, numbers.test.labels)
    assert (found.quality.metric.name, found.quality.same) == (metric, None)
    assert found.quality.before == pytest.approx(expected, abs=1e-5)
    assert found.quality.after == pytest.approx(expected, abs=0.05)


def test_the_command_says_it_all(run, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "small")
    code, out, err = run(
        "export small --int8 --with-preprocessing --limit-train 300 --calibrate 50 --json --quiet"
    )
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["path"] == "small/model.int8.onnx"
    assert found["calibration"] == {"data": "digits", "split": "train", "n": 50, "method": "minmax"}
    assert found["quality"]["n"] == 500
    code, out, _ = run("evaluate small/model.int8.onnx --json --quiet")
    assert json.loads(out)["right"] == found["quality"]["right_after"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("export small --data digits", "--data is for --int8"),
        ("export small --calibrate 5", "--calibrate is for --int8"),
        ("export small --int8 --to c --calibrate 5", "calibrates nothing: leave --calibrate out"),
        ("export small --int8 --calibrate 0", "--calibrate must be at least 1 image, got 0"),
        ("export small --int8 --to tflite", "unknown export format in int8 'tflite'"),
        ("export small --int8 --data nowhere", "nowhere"),
        ("export bare --int8", "needs an artefact.json"),
        ("export other --int8", "got a network of 'photos': name them with --data"),
        ("export other --int8 --data digits --limit-train 100", "the data's classes must be the network's"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(run, trained, tmp_path, line, message):
    for name in ("small", "bare", "other"):
        (tmp_path / name).mkdir()
        for file in ("architecture.json", "model.safetensors", "artefact.json"):
            shutil.copy(trained / file, tmp_path / name)
    (tmp_path / "bare" / "artefact.json").unlink()
    content = json.loads((tmp_path / "other" / "artefact.json").read_text())
    content["classes"] = [f"kind {name}" for name in content["classes"]]
    content["data"]["name"] = "photos"
    (tmp_path / "other" / "artefact.json").write_text(json.dumps(sealed(content)))
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run(line)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
