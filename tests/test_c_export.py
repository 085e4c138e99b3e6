"""Networks in C: they compute what torch does, in any compiler's hands, or are refused."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from in_c import REAL, SANITIZED, SMALL, images, needs_compiler, ran, settled
from secateur.deploy.apart import Beside
from secateur.deploy.c import compile as compiled
from secateur.deploy.c import to_c
from secateur.deploy.c.compiling import WARNINGS, find_compiler
from secateur.deploy.c.export import metadata_in
from secateur.deploy.given import Given
from secateur.deploy.latency import measure
from secateur.errors import InputError
from secateur.runs.export import export_directory

TOLERANCE = 1e-4
COMPILERS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"there is no {name}"))
    for name in ("gcc", "clang")
]


def differs(found, expected):
    """The largest difference, in units of the largest number expected."""
    assert found.shape == tuple(expected.shape)
    wanted = expected.detach().numpy()
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.fixture(autouse=True)
def _built_quickly(monkeypatch):
    monkeypatch.setattr("secateur.deploy.c.compiling.FLAGS", ("-std=c11", "-O0"))


@needs_compiler
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in ("resnet18", "vgg19") else ()) for n in SMALL]
)
def test_every_family_computes_what_torch_does_and_no_sanitizer_complains(tmp_path, monkeypatch, name):
    """Every second layer has 95% zeros; every warning is an error; three images go through one arena."""
    monkeypatch.setattr("secateur.deploy.c.export.has_compiler", lambda: False)  # the sanitized one is enough
    model = settled(SMALL[name](), sparsity=0.95)
    x = images(model, 3)
    record = to_c(model, x[:1], tmp_path / "net.c")
    assert 0 < record.sparse_layers < record.layers
    assert differs(ran(tmp_path, "net", x.numpy(), "gcc", *SANITIZED), model(x)) < TOLERANCE


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("values", ["float32", "float16"])
@pytest.mark.parametrize("sparsity", [0.0, 0.9, 0.97, 0.99])
@pytest.mark.parametrize("name", REAL)
def test_real_widths(name, sparsity, values):
    model = settled(REAL[name](), sparsity)
    x = images(model, 2)
    built = compiled(model, x[:1], values=values)
    assert differs(built(x.numpy()), model(x)) < (TOLERANCE if values == "float32" else 1e-2)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("flags", [("-O3", "-march=native"), ("-O2", "-DPLAIN_C"), ("-Os", "-ffast-math")])
@pytest.mark.parametrize("name", SMALL)
def test_every_family_with_every_compiler(tmp_path, name, flags, compiler):
    model = settled(SMALL[name](), sparsity=0.9)
    x = images(model, 2)
    to_c(model, x[:1], tmp_path / "net.c", values="float16")
    found = ran(tmp_path, "net", x.numpy(), compiler, *flags)
    assert differs(found, model(x)) < 1e-2


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A saved network of digits, exported: the folder, with model.c and model.h in it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("c") / "small"
    model = settled(sc.models.conv4(1 / 8, in_channels=1, image_size=8), sparsity=0.95)
    sc.save(
        model, folder, data=sc.load_data("digits", limit_train=50), classes=[*"01234567", "*/ ??/", 'é"\n']
    )
    export_directory(folder, "c")
    return folder


@needs_compiler
def test_compile_gives_a_callable_for_batches_of_any_size(small):
    model = sc.load(small)
    x = torch.randn(5, 1, 8, 8)
    for built in (sc.deploy.c.compile(small), sc.deploy.c.compile(str(small / "model.c"))):
        assert differs(built(x.numpy()), model(x)) < TOLERANCE
        assert differs(built(input=x[:1].numpy()), model(x[:1])) < TOLERANCE
        assert built.arena_bytes % 64 == 0
    found = []
    threads = [threading.Thread(target=lambda: found.append(built(x.numpy()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(each, found[0]) for each in found)
    assert differs(found[0], model(x)) < TOLERANCE


@needs_compiler
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((), "takes 1 inputs"),
        ((np.zeros((1, 1, 8, 9), np.float32),), r"\[1, 1, 8, 8\] for one example.*got \[1, 1, 8, 9\]"),
        ((np.zeros((1, 1, 8, 8), complex),), "float32, got complex128"),
    ],
)
def test_what_the_callable_does_not_take(small, arrays, message):
    built = sc.deploy.c.compile(small / "model.c")
    with pytest.raises(InputError, match=message):
        built(*arrays)


@needs_compiler
def test_the_bytes_are_the_same_every_time_and_tell_nothing_of_this_machine(small, tmp_path):
    export_directory(small, "c", tmp_path / "model.c")
    for suffix in (".c", ".h"):
        text = (tmp_path / f"model{suffix}").read_text(encoding="ascii")
        assert text == (small / f"model{suffix}").read_text(encoding="ascii")
        assert str(tmp_path.parent) not in text
        assert not re.search(r"20\d\d-\d\d-\d\d", text)


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
def test_an_engineer_uses_the_header(small, tmp_path, compiler):
    """Class names as they are, the normalisation, arenas of the caller's own, two copies of the header."""
    (tmp_path / "main.c").write_text(
        """
        #include <stdio.h>
        #include <string.h>
        #include "model.h"
        #include "model.h"
        static model_arena mine;
        model_arena memory;
        int main(void)
        {
            static float image[MODEL_INPUT_SIZE], scores[2][MODEL_CLASSES];
            for (int i = 0; i < MODEL_IMAGE_HEIGHT * MODEL_IMAGE_WIDTH * MODEL_IMAGE_CHANNELS; i++)
                image[i] = ((float)i / 255 - model_mean[0]) / model_std[0];
            memset(&mine, 0xff, sizeof mine);
            model_run_in(&mine, image, scores[0]);
            model_run(image, scores[1]);
            if (memcmp(scores[0], scores[1], sizeof scores[0]) || sizeof mine != MODEL_ARENA_BYTES) return 1;
            for (int i = 0; i < MODEL_CLASSES; i++)
                printf("%s|", model_classes[i]);
            return 0;
        }
"""
    )
    for name in ("model.c", "model.h"):
        shutil.copy(small / name, tmp_path / name)
    build = [
        compiler,
        "-std=c11",
        *WARNINGS,
        "-Wshadow",
        "-Werror",
        "-O1",
        "-DMODEL_ARENA=memory",
        "main.c",
        "model.c",
    ]
    subprocess.run([*build, "-lm", "-o", "program"], cwd=tmp_path, check=True)
    done = subprocess.run(["./program"], cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout.decode() == "|".join([*"01234567", "*/ ??/", 'é"\n', ""])


@needs_compiler
def test_the_file_says_what_it_is(small):
    said = metadata_in((small / "model.c").read_text(encoding="ascii"))
    assert said["classes"] == '["0", "1", "2", "3", "4", "5", "6", "7", "*/ ??/", "\\u00e9\\"\\n"]'
    assert metadata_in("/* somebody's\n * secateur: [1]\n */") == {}
    assert metadata_in("int main(void) {}") == {}


@needs_compiler
def test_weights_in_float16_take_half_the_room(small, tmp_path):
    whole = export_directory(small, "c", tmp_path / "whole.c")
    half = export_directory(small, "c", tmp_path / "half.c", values="float16")
    assert 0.5 <= half.constant_bytes / whole.constant_bytes < 0.65
    assert 1e-6 < half.difference < 1e-2
    x = torch.randn(3, 1, 8, 8)
    assert differs(sc.deploy.c.compile(tmp_path / "half.c")(x.numpy()), sc.load(small)(x)) < 1e-2


@needs_compiler
def test_images_as_cameras_give_them(small, tmp_path):
    export_directory(small, "c", tmp_path / "model.c", with_preprocessing=True)
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    model = sc.load(small)
    mean, std = model.preprocess.mean[0], model.preprocess.std[0]
    x = (torch.from_numpy(image).permute(0, 3, 1, 2) / 255 - mean) / std
    assert differs(sc.deploy.c.compile(tmp_path / "model.c")(image), model(x).softmax(1)) < TOLERANCE


@needs_compiler
def test_the_command(small, run, tmp_path):
    code, out, err = run(f"export {small} --to c --out {tmp_path / 'there'}")
    assert (code, err) == (0, "")
    assert "memory at run time" in out
    assert "layers sparse" in out
    size = re.search(r"ARENA_BYTES (\d+)", (tmp_path / "there" / "model.h").read_text())[1]
    assert f"{int(size):,} bytes, static" in out
    code, out, err = run(f"export {small} --to onnx --values float16")
    assert (code, out) == (2, "")
    assert "--values is for --to c" in err


def test_without_a_compiler_it_is_written_and_said_not_to_be_compared(small, run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    code, out, _ = run(f"export {small} --to c --out {tmp_path / 'model.c'}")
    assert code == 0
    assert "NOT compared" in out
    assert (tmp_path / "model.c").read_text() == (small / "model.c").read_text()
    with pytest.raises(InputError, match="none of cc, gcc, clang"):
        sc.deploy.c.compile(small / "model.c")


@pytest.mark.parametrize(
    ("compiler", "message"),
    [("no-such-compiler -O3", "must name a C compiler that can be run"), ("false", "'false' fails")],
)
def test_compilers_that_are_none(small, compiler, message):
    with pytest.raises(InputError, match=message):
        sc.deploy.c.compile(small / "model.c", compiler=compiler)


@needs_compiler
def test_the_compiler_is_that_of_cc(monkeypatch):
    monkeypatch.setenv("CC", "gcc -pipe")
    assert find_compiler().command == ("gcc", "-pipe")
    assert re.fullmatch(r"gcc \d+\.\d+(\.\d+)?", find_compiler().version)


class Sorting(nn.Module):
    """Does something in a layer of its own that C does not know."""

    def forward(self, x):
        return x.sort(1).values


def test_the_operator_that_nobody_knows_is_named_with_its_module_and_no_file_is_left(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), Sorting()))
    with pytest.raises(
        InputError, match=r"does not know the operator aten\.sort\.default \(in '1\.1', Sorting\)"
    ):
        to_c(model, torch.zeros(1, 4), tmp_path / "net.c")
    assert list(tmp_path.iterdir()) == []


class Does(nn.Module):
    """Anything, in a layer of its own."""

    def __init__(self, does):
        super().__init__()
        self.does = _Function(does)

    def forward(self, x):
        return self.does(x)


class _Function(nn.Module):
    def __init__(self, does):
        super().__init__()
        self.call = does

    def forward(self, x):
        return self.call(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(4, 2).double(), "float32, got float64"),
        (nn.Linear(4, 2).half(), "float32, got float16"),
        (nn.Conv3d(1, 2, 2), "1 and 2 dimensions, got 3"),
        (Does(lambda x: nn.functional.dropout(x, 0.5, training=True)), "the same numbers every time"),
        (Does(lambda x: x[x > 0].sum()), r"sizes that no number decides, got aten\.\w+\.\w+ \(in 'does'"),
        (Does(lambda x: x + torch.rand(4)), "does not know the operator aten.rand.default"),
    ],
)
def test_what_c_does_not_take(tmp_path, model, message):
    like = next(model.parameters(), torch.zeros(1))
    x = torch.zeros((1, 1, 4, 4, 4) if like.dim() == 5 else (1, 4), dtype=like.dtype)
    with pytest.raises(InputError, match=message):
        to_c(model, x, tmp_path / "net.c")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_changes_itself_is_refused(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return x + self.calls

    with pytest.raises(InputError, match=r"keeps nothing from call to call.*calls"):
        to_c(Counting(), torch.zeros(1, 4), tmp_path / "net.c")


class Mixing(nn.Module):
    """What gives an example other outputs where another is beside it."""

    def __init__(self, how):
        super().__init__()
        self.how, self.table = how, nn.Embedding(7, 4)
        self.norm = nn.BatchNorm2d(2, track_running_stats=False)

    def forward(self, x):
        return {
            "normalised": self.norm,
            "centred": lambda x: x - x.mean(0),
            "shared out": lambda x: x.softmax(0),
            "whole numbers": lambda x: self.table(x).cumsum(0),
        }[self.how](x)


WHOLE = torch.zeros(1, 4, dtype=torch.int64)
ALONE = r"^the C export takes one example at a time.* got a difference of \d.*export it to onnx$"


@pytest.mark.parametrize("how", ["normalised", "centred", "shared out", "whole numbers"])
def test_a_network_that_mixes_its_examples_is_refused(tmp_path, how):
    """The C takes one at a time, so a batch would be computed wrongly without a word."""
    x = WHOLE if how == "whole numbers" else torch.zeros(1, 2, 3, 3)
    with pytest.raises(InputError, match=ALONE):
        to_c(Mixing(how), x, tmp_path / "net.c")
    assert list(tmp_path.iterdir()) == []


@needs_compiler
@pytest.mark.parametrize(
    "door",
    [
        lambda model, x: compiled(model, x),
        lambda model, x: compiled(model, torch.cat([x, x + 1]), values="int8"),
        lambda model, x: measure(model, x, "c:batch=1"),
        lambda model, x: measure(model, x, "c:batch=3"),
    ],
    ids=["compile", "two examples", "measure", "measure a batch"],
)
def test_it_is_refused_wherever_it_would_be_compiled(door):
    with pytest.raises(InputError, match=ALONE):
        door(Mixing("centred"), torch.zeros(1, 2, 3, 3))


def test_a_saved_network_that_mixes_its_examples_is_refused_on_the_command_line(tmp_path, run, monkeypatch):
    (tmp_path / "mixing.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False),\n"
        "                         nn.Flatten(), nn.Linear(144, 3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import mixing

    model = mixing.build()
    sc.inspect(model, torch.zeros(2, 1, 8, 8), factory=mixing.build)
    sc.save(model, tmp_path / "net")
    before = sorted((tmp_path / "net").iterdir())
    code, _, err = run("export net --to c --factory mixing:build")
    assert (code, err.count("\n")) == (2, 1)
    assert "the C export takes one example at a time" in err
    assert sorted((tmp_path / "net").iterdir()) == before


def test_what_other_examples_change_is_told_in_units_of_the_largest_output():
    """By hand: sums of 4 and 8, which are 2 and 4 in a batch of two."""

    class Halves(nn.Module):
        def forward(self, x):
            return x, x.sum(1, keepdim=True) / len(x)

    class Apart(nn.Module):
        def forward(self, x):
            return (2 * x,)

    class OnlyOne(nn.Module):
        def forward(self, x):
            return (x.reshape(1, 2),)

    x = torch.tensor([[1.0, 3.0], [2.0, 6.0]])
    mixed = Beside.of(Halves(), Given.of(x))
    assert (mixed.dims, mixed.difference) == ([0, 0], 0.5)
    alone = Beside.of(Apart(), Given.of(x))
    assert (alone.dims, alone.difference) == ([0], 0.0)
    assert Beside.of(Apart(), Given.of([[torch.zeros(1, 2, 2)] * 2])) is None  # in a list
    assert Beside.of(OnlyOne(), Given.of(x)) is None


def test_a_file_of_another_kind_is_not_compiled(small):
    with pytest.raises(InputError, match=r"a \.c file or a model, got the file .*model\.safetensors"):
        compiled(small / "model.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": "float64"}, "float32"),
        ({"tolerance": 0.0}, "tolerance of an export must be above 0"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        to_c(nn.Linear(4, 2), torch.zeros(1, 4), tmp_path / "net.c", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_somebody_else_stays(tmp_path):
    (tmp_path / "net.h").write_text("int mine;\n")
    with pytest.raises(InputError, match="only what Secateur wrote is overwritten"):
        to_c(nn.Linear(4, 2), torch.zeros(1, 4), tmp_path / "net.c")
    assert (tmp_path / "net.h").read_text() == "int mine;\n"


@needs_compiler
def test_what_disagrees_with_torch_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("secateur.deploy.c.elementwise.SCALARS", {})
    monkeypatch.setitem(
        __import__("secateur.deploy.c.elementwise", fromlist=["x"]).FUNCTIONS,
        "act_sigmoid",
        "static inline float act_sigmoid(float x) { return x; }\n",
    )
    with pytest.raises(InputError, match="must agree with torch"):
        to_c(nn.Sigmoid(), torch.zeros(1, 4), tmp_path / "net.c")
    assert list(tmp_path.iterdir()) == []


class Several(nn.Module):
    """Two inputs with the examples along different dimensions, two outputs, one of which is an input."""

    def forward(self, images, steps, scale=2.0):
        return {
            "scores": images.mean((2, 3)) * scale + steps.sum(0),
            "double": steps,
            "fixed": images[:, 0] * 0,
        }


@needs_compiler
@pytest.mark.parametrize("stem", ["42-my net", "int", "größe"])
def test_several_inputs_and_outputs_and_any_file_name(tmp_path, stem):
    from secateur.network.example_axes import examples_of

    inputs = {"images": torch.randn(1, 3, 4, 4), "steps": torch.randn(5, 1, 3)}
    examples = examples_of(Several(), {"images": torch.randn(2, 3, 4, 4), "steps": torch.randn(5, 2, 3)})
    record = to_c(Several(), examples, tmp_path / f"{stem}.c")
    assert record.outputs == ("scores", "double", "fixed")
    built = compiled(tmp_path / f"{stem}.c")
    given = {name: torch.cat([value] * 2, 1 if name == "steps" else 0) for name, value in inputs.items()}
    given = {name: torch.randn_like(value) for name, value in given.items()}
    found, expected = built(**{k: v.numpy() for k, v in given.items()}), Several()(**given)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="as many examples"):
        built(given["images"].numpy(), given["steps"][:, :1].numpy())
