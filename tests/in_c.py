"""Small networks of every family for the tests of C, and programs built of what is exported."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur import models
from secateur.deploy.c.compiling import WARNINGS, has_compiler

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="there is no C compiler")

SMALL = {
    "wrn": lambda: models.wide_resnet(10, 0.5, image_size=8),
    "resnet18": lambda: models.resnet18(1 / 16, image_size=8),
    "vgg19": lambda: models.vgg19(1 / 16, image_size=32),
    "conv4": lambda: models.conv4(1 / 8, image_size=8),
}
REAL = {
    "wrn": lambda: models.wide_resnet(40, 2),
    "resnet18": models.resnet18,
    "vgg19": models.vgg19,
    "conv4": models.conv4,
}
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

HARNESS = """\
#include <stdio.h>
#include "NAME.h"

static float input[BIG_INPUT_SIZE], output[BIG_OUTPUT_SIZE];

int main(void)
{
    while (fread(input, sizeof input, 1, stdin) == 1) {
        NAME_run(input, output);
        fwrite(output, sizeof output, 1, stdout);
    }
    return 0;
}
"""


def settled(model: nn.Module, sparsity: float = 0.0) -> nn.Module:
    """Give batch norms statistics as after training, and every second layer zeros; in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    layers = [each for each in model.modules() if isinstance(each, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_(0, 0.3, generator=generator)
                norm.running_var.uniform_(0.5, 2, generator=generator)
                norm.weight.uniform_(0.5, 1.5, generator=generator)
                norm.bias.normal_(0, 0.3, generator=generator)
        for layer in layers[1::2] if sparsity else ():
            layer.weight.mul_(torch.rand(layer.weight.shape, generator=generator) >= sparsity)
    return model.eval()


def images(model: nn.Module, count: int) -> Tensor:
    """Normal numbers of the network's input shape."""
    side = model.arguments.get("image_size", [32, 32])
    return torch.randn(count, 3, *side, generator=torch.Generator().manual_seed(2))


def ran(folder: Path, name: str, arrays: np.ndarray, compiler: str, *flags: str) -> np.ndarray:
    """Build a program around NAME.c, every warning an error, and run it on examples, one after the other."""
    main = HARNESS.replace("NAME", name).replace("BIG", name.upper())
    (folder / "main.c").write_text(main)
    sources = [str(folder / "main.c"), str(folder / f"{name}.c")]
    program = str(folder / "program")
    build = [compiler, "-std=c11", *WARNINGS, "-Werror", *flags, "-o", program, *sources, "-lm"]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = subprocess.run([program], input=arrays.tobytes(), capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return np.frombuffer(run.stdout, np.float32).reshape(len(arrays), -1)
