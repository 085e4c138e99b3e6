"""Traced networks as files, by which another process of the same machine takes them up.

They are for the processes that we start ourselves, in a folder of our own: nobody is handed one.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secateur.atomic import naming
from secateur.deploy.given import Given
from secateur.deploy.traced import Traced, quietly


class _AsTraced(nn.Module):
    """Computes what a program computes, as the network did: tensors by position in, a tuple of them out."""

    def __init__(self, program: torch.export.ExportedProgram):
        super().__init__()
        # Without the guards and the unpacking around each call, which cost 0.4 ms: shapes are fixed here.
        module: Any = program.module(check_guards=False)
        module.graph.set_codegen(torch.fx.graph.CodeGen())
        module._forward_pre_hooks.clear()
        module.recompile()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.module(*inputs))


def write_traced(traced: Traced, path: Path) -> None:
    """Write a network that was traced for one batch size, with the inputs that it was traced on."""
    assert not traced.dynamic_batch
    content = io.BytesIO()  # torch's own writer of files aborts the process where a disk fails
    with quietly():
        torch.export.save(
            traced.program,
            content,
            extra_files={"outputs": "\n".join(traced.outputs), "dtype": traced.dtype},
        )
    with naming(path):
        path.write_bytes(content.getvalue())


def read_traced(path: Path) -> Traced:
    """Read what `write_traced` wrote; its inputs are tensors by position."""
    extra: dict[str, Any] = {"outputs": "", "dtype": ""}
    with quietly():
        program = torch.export.load(path, extra_files=extra)
    inputs, _ = program.example_inputs
    given = Given.of(tuple(value.detach() for value in inputs))
    outputs = tuple(extra["outputs"].split("\n"))
    return Traced(_AsTraced(program), program, given, outputs, False, extra["dtype"])
