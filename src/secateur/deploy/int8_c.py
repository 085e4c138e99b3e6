"""Networks in C whose weights are in int8, by the steps that `secateur.deploy.int8` takes for other runtimes.

Weights alone are in 8 bits (`deploy.c.eight`); all is computed in float32, so that nothing is calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import torch

from secateur.atomic import make_folder, write_text
from secateur.deploy.agreeing import agreement_of, outputs_of, refuse_if_broken
from secateur.deploy.c.compiling import Compiled
from secateur.deploy.c.export import InC, difference_of
from secateur.deploy.c.naming import identifier
from secateur.deploy.c.program import Convolution, Linear, Program
from secateur.deploy.taking_turns import side_by_side
from secateur.deploy.traced import TOLERANCE, Traced
from secateur.device import describe_device
from secateur.errors import InputError
from secateur.records.quantized import Agreement, SideBySide

HOW = "weights in int8, symmetric, a scale for each output channel; activations and all arithmetic in float32"


@dataclass(frozen=True)
class Int8C:
    """A network in C with weights in int8, before it is written.

    Attributes:
        found: it; in_float: the same with weights in float32, proved to agree with torch.
        built, built_in_float: both, compiled here.
        agreement: of the two, on the examples held out.
    """

    found: InC
    in_float: InC
    built: Compiled
    built_in_float: Compiled
    agreement: Agreement

    how = HOW
    weight_bits = 8
    activations = "float32"
    method = None
    calibrated_on = 0
    int8_macs = 0

    @classmethod
    def of(cls, traced: Traced, held_out: Sequence[Sequence[np.ndarray]]) -> Int8C:
        """Write a network in C, and build it.

        Raises:
            InputError: where the network has an operator that the C export does not know, there is no
                compiler, or what comes out is another network.
        """
        in_float = InC.of(traced, "net", "float32")
        if not any(isinstance(step, (Convolution, Linear)) for step in in_float.program.steps):
            raise InputError(
                "a network in int8 has layers with constant weights (convolutions, linear layers), got none: "
                "export it without int8"
            )
        found = InC.of_program(in_float.traced, in_float.program, "net", "int8")
        built, built_in_float = found.compiled(), in_float.compiled()
        difference_of(found, built, TOLERANCE["float32"], in_float=built_in_float)
        expected, outputs = (outputs_of(each.run, held_out) for each in (built_in_float, built))
        agreement = agreement_of(expected, outputs)
        refuse_if_broken(agreement)
        return cls(found, in_float, built, built_in_float, agreement)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one example, of convolutions and linear layers."""
        return macs_of(self.in_float.program)

    @property
    def versions(self) -> dict[str, str]:
        """Of the compiler that built it here."""
        return {"torch": torch.__version__, "compiler": self.built.compiler.version}

    def plain_bytes(self) -> int:
        """Of the weights and tables in float32, as they lie in the program."""
        return self.in_float.text.constant_bytes

    def bytes(self, metadata: Mapping[str, str]) -> int:
        """Of the weights and tables, as they lie in the program."""
        return self.found.text.constant_bytes

    def latency(self, *, repeats: int = 50, limit_s: float = 2.0) -> SideBySide:
        """Run one example in float and in int8, in turns."""
        arrays = [value.numpy() for value in self.found.traced.examples.values()]
        return side_by_side(
            [each.bound(arrays) for each in (self.built_in_float, self.built)],
            runtime="c",
            version=self.built.compiler.version,
            threads=1,
            device=describe_device(torch.device("cpu")),
            repeats=repeats,
            limit_s=limit_s,
        )

    def write(self, path: Path, metadata: Mapping[str, str]) -> Path:
        """Leave the `.c`, and the `.h` beside it."""
        name = identifier(path.stem)
        text = InC.of_program(self.found.traced, self.found.program, name, "int8", metadata).text
        make_folder(path.parent)
        write_text(path.with_suffix(".h"), text.header)
        write_text(path, text.source)
        return path


def macs_of(program: Program) -> int:
    """Multiply-accumulates of one example, of convolutions and linear layers."""
    found = 0
    for step in program.steps:
        if isinstance(step, Convolution):
            found += prod(step.output.shape[-2:]) * step.weight.size
        elif isinstance(step, Linear):
            found += step.rows * step.weight.size
    return found
