"""The kernels of the C export against torch: every kind of layer in one file, built by both compilers and
run as a program whose every buffer is as large as the layer says, so that sanitizers see a read beyond."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from secateur.deploy.c import convolution, linear
from secateur.deploy.c.density import executed_sparse
from secateur.deploy.c.kernel import Nonzeros, scratches, stored
from secateur.deploy.c.planes import Planes
from secateur.deploy.c.program import Buffer, Code, Convolution, Linear
from secateur.errors import InputError

WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SANITIZERS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FAST = ["-O3", "-march=native", "-ffp-contract=fast"]

Step = Convolution | Linear


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def thinned(weight: np.ndarray, density: float, seed: int) -> np.ndarray:
    """Zeros in a weight whose outputs are then of about unit size."""
    kept = np.random.default_rng(seed + 1).random(weight.shape) < density
    return (weight * kept / np.sqrt(max(1.0, density * weight[0].size))).astype(np.float32)


def pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def conv(
    cin: int, cout: int, height: int, width: int, kernel: Any, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1, *, density: float = 1.0, bias: bool = True, residual: bool = False,
    activation: str = "none", seed: int = 0,
) -> Convolution:  # fmt: skip
    """A convolution of random weights, sparse where the density is below 1; named when it is written."""
    kernel, stride, padding, dilation = map(pair, (kernel, stride, padding, dilation))
    out = [
        (side + 2 * p - d * (k - 1) - 1) // s + 1
        for side, k, s, p, d in zip((height, width), kernel, stride, padding, dilation, strict=True)
    ]
    weight = thinned(random(seed, cout, cin // groups, *kernel), density, seed)
    output = (1, cout, *out)
    return Convolution(
        *("", "layer", Buffer("x", (1, cin, height, width)).view, Buffer("y", output), weight),
        *(random(seed + 2, cout) if bias else None, stride, padding, dilation, groups),
        residual=Buffer("r", output).view if residual else None,
        activation=activation,  # type: ignore[arg-type]
        sparse=density < 1,
    )


def full(
    rows: int, inputs: int, outputs: int, *, density: float = 1.0, bias: bool = True, residual: bool = False,
    activation: str = "none", seed: int = 0,
) -> Linear:  # fmt: skip
    """A linear layer of random weights."""
    weight = thinned(random(seed, outputs, inputs), density, seed)
    return Linear(
        *("", "layer", Buffer("x", (rows, inputs)).view, Buffer("y", (rows, outputs)), weight),
        random(seed + 2, outputs) if bias else None,
        residual=Buffer("r", (rows, outputs)).view if residual else None,
        activation=activation,  # type: ignore[arg-type]
        sparse=density < 1,
    )


SHAPES: dict[str, tuple[Any, ...]] = {
    "3x3": (3, 9, 12, 12, 3, 1, 1),
    "3x3 without padding": (4, 3, 5, 5, 3),
    "3x3 at 4x4": (20, 12, 4, 4, 3, 1, 1),
    "3x3 at 2x2": (4, 5, 2, 2, 3, 1, 1),
    "3x3 in bands": (24, 6, 20, 37, 3, 1, 1),
    "more padding than image": (4, 13, 3, 3, 3, 1, 4),
    "stride 2": (6, 8, 16, 16, 3, 2, 1),
    "stride 2, odd sides": (6, 7, 9, 13, 3, 2, 1),
    "stride 3, 5x5": (5, 7, 9, 11, 5, 3, 2),
    "strides apart": (3, 5, 10, 9, (3, 2), (2, 1), (1, 0)),
    "5x5": (5, 7, 9, 11, 5, 1, 2),
    "7x7 stride 2": (3, 8, 40, 38, 7, 2, 3),
    "dilation": (6, 12, 10, 10, 3, 1, 2, 2),
    "dilation and stride share a factor": (6, 12, 13, 13, 3, 4, 2, 2),
    "dilation wider than the image": (4, 4, 3, 3, 3, 1, 4, 4),
    "1x1, read as it is": (16, 24, 8, 8, 1),
    "1x1, read as it is, in bands": (32, 9, 56, 56, 1),
    "1x1, 7x7": (16, 24, 7, 7, 1),
    "1x1 stride 2": (16, 10, 8, 8, 1, 2),
    "depthwise": (16, 16, 14, 14, 3, 1, 1, 1, 16),
    "depthwise stride 2, two each": (6, 12, 15, 15, 3, 2, 1, 1, 6),
    "groups": (8, 20, 9, 9, 3, 1, 1, 1, 4),
    "width 1": (8, 8, 6, 1, 3, 1, 1),
    "one row": (4, 6, 1, 50, (1, 5), 1, (0, 2)),
    "patches": (3, 20, 16, 16, 8, 8),
    "one output channel": (7, 1, 11, 11, 3, 1, 1),
    "a place beyond 16 bits": (70, 2, 1000, 16, 1),
}
ROWS = {
    "classifier": (1, 130, 10),
    "one output": (1, 7, 1),
    "tokens": (5, 33, 17),
    "many tokens": (18, 64, 12),
    "tokens in bands": (133, 9, 5),
}


def cases() -> list[Step]:
    """Every shape dense and sparse; residuals, activations and missing biases in turn."""
    found: list[Step] = []
    for number, (made, shape) in enumerate(
        [*((conv, shape) for shape in SHAPES.values()), *((full, shape) for shape in ROWS.values())]
    ):
        for dense in (True, False):
            turn = 2 * number + dense
            found.append(
                made(
                    *shape,
                    density=1.0 if dense else (0.1, 0.3)[number % 2],
                    bias=turn % 5 != 0,
                    residual=turn % 3 == 1,
                    activation=("none", "relu", "relu6")[number % 3],
                    seed=number,
                )
            )
    empty = conv(5, 6, 6, 6, 3, 1, 1, density=0.5)
    empty.weight[:] = 0
    gaps = conv(5, 6, 6, 6, 3, 1, 1, density=0.5)
    gaps.weight[::2] = 0
    nothing = full(1, 9, 4, density=0.5)
    nothing.weight[:] = 0
    return [*found, empty, gaps, nothing]


@dataclass(frozen=True)
class Case:
    """A step under a name of its own, its inputs, and what torch makes of them."""

    step: Step
    x: np.ndarray
    residual: np.ndarray | None
    expected: np.ndarray

    @classmethod
    def of(cls, step: Step, number: int, values: str) -> Case:
        step = replace(step, name=f"s{number}", weight=as_stored(step.weight, values))
        x = random(100 + number, *step.input.shape)
        residual = random(200 + number, *step.output.shape) if step.residual is not None else None
        return cls(step, x, residual, expected(step, x, residual))


def as_stored(weight: np.ndarray, values: str) -> np.ndarray:
    """What is left of weights; in int8 the largest of each output is 127 steps from zero."""
    if values != "int8":
        return weight.astype(values).astype(np.float32)
    step = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True).astype(np.float64) / 127
    step[step == 0] = 1
    return (np.round(weight / step) * step).astype(np.float32)


def expected(step: Step, x: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
    value, weight = torch.from_numpy(x).double(), torch.from_numpy(step.weight).double()
    bias = None if step.bias is None else torch.from_numpy(step.bias).double()
    if isinstance(step, Linear):
        found = F.linear(value, weight, bias)
    else:
        found = F.conv2d(value, weight, bias, step.stride, step.padding, step.dilation, step.groups)
    if residual is not None:
        found = found + torch.from_numpy(residual)
    return {"none": lambda v: v, "relu": F.relu, "relu6": F.relu6}[step.activation](found).numpy()


def code(step: Step, values: str) -> Code:
    module: Any = linear if isinstance(step, Linear) else convolution
    return module.code(step, values)


_MAIN = """
static float *numbers(size_t count, FILE *from) {
    float *found = malloc(count * sizeof *found);
    if (!found || (from && fread(found, sizeof *found, count, from) != count)) exit(3);
    if (!from) memset(found, 0xff, count * sizeof *found); /* NaN */
    return found;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    if (!in || !out) return 2;
BODY
    fclose(in);
    return fclose(out);
}
"""


def source(cases: Sequence[Case], values: str) -> str:
    """A program that reads the inputs of all cases and writes their outputs."""
    functions: dict[str, None] = {}
    constants, body = "", ""
    for case in cases:
        made, residual = code(case.step, values), case.residual is not None
        functions |= dict.fromkeys(made.functions)
        constants += made.constants
        outputs = case.expected.size
        body += f"    {{\n        float *x = numbers({case.x.size}, in), *y = numbers({outputs}, NULL);\n"
        names = ["x", "y"]
        for name, size in (("r", outputs * residual), ("scratch", made.scratch)):
            if size:
                body += f"        float *{name} = numbers({size}, {'in' if name == 'r' else 'NULL'});\n"
                names.append(name)
        body += f"        {made.call}        fwrite(y, sizeof *y, {outputs}, out);\n"
        body += "".join(f"        free({name});\n" for name in names) + "    }\n"
    head = "".join(f"#include <{name}.h>\n" for name in ("stddef", "stdint", "stdio", "stdlib", "string"))
    return head + constants + "\n".join(functions) + _MAIN.replace("BODY\n", body)


def run(
    cases: Sequence[Case], values: str, folder: Path, compiler: str, flags: Sequence[str]
) -> list[np.ndarray]:
    """Build without a warning, and run."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    (folder / "k.c").write_text(source(cases, values), encoding="ascii")
    inputs = [part for case in cases for part in (case.x, case.residual) if part is not None]
    np.concatenate([part.reshape(-1) for part in inputs]).tofile(folder / "in")
    program = str(folder / "k")
    for command in (
        [compiler, *WARNINGS, *flags, str(folder / "k.c"), "-o", program],
        [program, str(folder / "in"), str(folder / "out")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:3000]
    found = np.fromfile(folder / "out", np.float32)
    return np.split(found, np.cumsum([case.expected.size for case in cases])[:-1])


def check(steps: Sequence[Step], values: str, folder: Path, compiler: str, flags: Sequence[str]) -> None:
    made = [Case.of(step, number, values) for number, step in enumerate(steps)]
    for case, found in zip(made, run(made, values, folder, compiler, flags), strict=True):
        said = f"{case.step.weight.shape} on {case.step.input.shape}, sparse: {case.step.sparse}"
        np.testing.assert_allclose(found, case.expected.reshape(-1), rtol=1e-5, atol=1e-5, err_msg=said)


@pytest.mark.parametrize(
    ("compiler", "values", "flags"),
    [
        ("gcc", "float32", FAST),
        ("clang", "float16", [*SANITIZERS, "-DPLAIN_C"]),
        ("gcc", "int8", [*FAST, "-DPLAIN_C"]),
        pytest.param("clang", "int8", FAST, marks=pytest.mark.slow),
        pytest.param("gcc", "int8", SANITIZERS, marks=pytest.mark.slow),
        pytest.param("gcc", "float32", SANITIZERS, marks=pytest.mark.slow),
        pytest.param("gcc", "float16", SANITIZERS, marks=pytest.mark.slow),
        pytest.param("clang", "float32", [*SANITIZERS, "-DPLAIN_C"], marks=pytest.mark.slow),
        pytest.param("clang", "float32", [*SANITIZERS, "-march=native"], marks=pytest.mark.slow),
        pytest.param("clang", "float16", FAST, marks=pytest.mark.slow),
        pytest.param("clang", "float32", ["-O2"], marks=pytest.mark.slow),
        pytest.param("gcc", "float32", ["-O2", "-DPLAIN_C"], marks=pytest.mark.slow),
        pytest.param("gcc", "float32", ["-O0"], marks=pytest.mark.slow),
    ],
)
def test_every_layer_computes_what_torch_does(
    compiler: str, values: str, flags: list[str], tmp_path: Path
) -> None:
    check(cases(), values, tmp_path, compiler, flags)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    number = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    same: dict[str, Any] = {
        "density": draw(st.sampled_from((0.02, 0.2, 0.6, 1.0))),
        "bias": draw(st.booleans()),
        "residual": draw(st.booleans()),
        "activation": draw(st.sampled_from(("none", "relu", "relu6"))),
        "seed": number(0, 99),
    }
    if number(0, 5) == 0:
        return full(number(1, 9), number(1, 70), number(1, 19), **same)
    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    sides: list[tuple[int, int, int, int, int]] = []
    for _ in range(2):
        kernel, stride, padding, dilation = number(1, 4), number(1, 4), number(0, 3), number(1, 3)
        fewest = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
        sides.append((draw(st.integers(fewest, fewest + 18)), kernel, stride, padding, dilation))
    (height, width), *rest = zip(*sides, strict=True)
    return conv(groups * number(1, 6), groups * number(1, 10), height, width, *rest, groups, **same)


def varied(drawn: list[Step]) -> bool:
    """Whether they are not one layer many times, as the very first example is."""
    return len({(each.weight.shape, each.input.shape) for each in drawn}) > 5


def any_shape(layers: int, examples: int, folder: pytest.TempPathFactory) -> None:
    """Compile so many random layers at once, and look at each; so many times."""

    @given(st.lists(steps(), min_size=layers, max_size=layers).filter(varied))
    @settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def look(drawn: list[Step]) -> None:
        check(drawn, "float32", folder.mktemp("any"), "clang", [*SANITIZERS, "-march=native"])

    look()


@pytest.mark.parametrize(("layers", "examples"), [(12, 1), pytest.param(30, 4, marks=pytest.mark.slow)])
def test_layers_of_any_shape(tmp_path_factory: pytest.TempPathFactory, layers: int, examples: int) -> None:
    any_shape(layers, examples, tmp_path_factory)


def test_what_has_no_weight_is_not_read(tmp_path: Path) -> None:
    """Sparse layers are executed sparse: an infinite input times a zero would be NaN."""
    step = conv(4, 3, 6, 6, 3, 1, 1, density=0.5, seed=3)
    step.weight[:, 2] = 0
    row = full(1, 8, 3, density=0.5)
    row.weight[:, 5] = 0
    made = [Case.of(step, 0, "float32"), Case.of(row, 1, "float32")]
    made[0].x[:, 2] = np.inf
    made[1].x[:, 5] = np.inf
    for case, found in zip(made, run(made, "float32", tmp_path, "gcc", ["-O1"]), strict=True):
        np.testing.assert_allclose(found, case.expected.reshape(-1), rtol=1e-5, atol=1e-5)


def test_nan_passes_activations_as_in_torch(tmp_path: Path) -> None:
    made = [
        Case.of(replace(step, activation=activation), number, "float32")  # type: ignore[arg-type]
        for number, (step, activation) in enumerate(
            (step, activation)
            for step in (conv(2, 3, 5, 5, 1), full(1, 4, 3), full(1, 4, 3, density=0.9))
            for activation in ("relu", "relu6")
        )
    ]
    for case in made:
        case.x.reshape(-1)[0] = np.nan
    for case, found in zip(made, run(made, "float32", tmp_path, "gcc", ["-O1"]), strict=True):
        np.testing.assert_array_equal(
            np.isnan(found), np.isnan(expected(case.step, case.x, None)).reshape(-1)
        )


def test_nonzeros_are_stored_by_output_and_read_upwards() -> None:
    weight = np.float32([[0, 2, 0, 3], [0, 0, 0, 0], [5, 0, 0, 0]])
    found = Nonzeros(weight, np.array([30, 20, 10, 0]))
    assert found.counts.tolist() == [2, 0, 1]
    assert found.places.tolist() == [0, 20, 30]
    assert found.values.tolist() == [3, 2, 5]
    assert not found.wide
    assert found.most == 2


def test_planes_take_no_more_room_than_the_input() -> None:
    """ResNet18's first block: 8 of 32 rows at a time, 64 * 3 * (8 + 2) * 32 floats, and 16 to read beyond."""
    planes = Planes(conv(64, 64, 32, 32, 3, 1, 1))
    assert (planes.band, planes.rows, planes.floats) == (8, 10, 61456)
    halved = Planes(conv(64, 128, 32, 32, 3, 2, 1))
    assert (halved.phases, halved.band) == (2, 8)
    assert halved.taps().tolist() == [0, 9, 1]  # row 1 of the kernel lies in the other phase, of 8 + 1 rows
    assert Planes(conv(16, 24, 8, 8, 1)).floats == 0
    assert Planes(conv(16, 24, 7, 7, 1)).floats > 0  # a vector would read beyond the input


@pytest.mark.parametrize(
    ("shape", "outputs", "nonzeros", "sparse"),
    [
        ((10, 10, 1, 1), 64, 40, True),
        ((10, 10, 1, 1), 64, 41, False),
        ((10, 10, 1, 1), 16, 25, True),
        ((10, 10, 1, 1), 16, 26, False),
        ((10, 10), 1, 20, True),
        ((10, 10), 1, 21, False),
        ((0, 10), 1, 0, False),
    ],
)
def test_a_layer_is_sparse_from_a_measured_density_on(
    shape: tuple[int, ...], outputs: int, nonzeros: int, sparse: bool
) -> None:
    weight = np.zeros(shape, np.float32)
    weight.reshape(-1)[:nonzeros] = 1
    assert executed_sparse(weight, outputs) is sparse


def test_weights_too_large_for_float16_are_refused() -> None:
    assert stored(np.float32([65504.0]), "float16", "conv1").tolist() == [65504.0]
    with pytest.raises(
        InputError, match=r"values float16 must hold every weight, 65504 at most, got 7e\+04 in conv1"
    ):
        stored(np.float32([7e4]), "float16", "conv1")


def test_scratch_is_shared_out_in_order() -> None:
    assert scratches(100, 0, 20) == ("scratch, NULL, scratch + 100", 120)
    assert scratches(0, 0) == ("NULL, NULL", 0)
