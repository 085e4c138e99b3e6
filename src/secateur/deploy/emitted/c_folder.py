"""The folder for a device with a C compiler: layers and networks as `secateur.deploy.c` writes them.

Weights are not in the files: all lie in one array, which `main.c` fills before it measures. So the folder is
small, and the device needs memory for the largest network only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from secateur.deploy.c.arrays import declared_by
from secateur.deploy.c.compiling import FLAGS
from secateur.deploy.c.operators import lowered
from secateur.deploy.c.program import Buffer, Code, Convolution, Linear, Program, Step
from secateur.deploy.c.writing import code_of, written
from secateur.deploy.emitted.plan import PLAN_FILE, Plan, kept_text
from secateur.deploy.emitted.reading import readme
from secateur.deploy.given import Given, Inputs
from secateur.deploy.traced import Traced
from secateur.errors import InputError
from secateur.records.device_table import Channels, Shape
from secateur.surgery.anatomy import anatomy_of

_FOLDER = "c"
_ALIGN = 16  # floats on which everything begins
_LONGEST = 400  # characters of one text in C: a compiler need take 4095
_BIAS = 0.1

BUILD = f"cc {' '.join(FLAGS)} {_FOLDER}/*.c -lm -o measure"
"""What builds it, on a machine with a compiler like gcc's or clang's."""

_HEADER = """\
#ifndef SECATEUR_MEASURE_H
#define SECATEUR_MEASURE_H

#define SECATEUR_WEIGHTS {weights}
#define SECATEUR_MEMORY {memory}
#define SECATEUR_ITEMS {items}

/* So many floats from one on, and how large they are. */
typedef struct {{
    unsigned long at, count;
    float spread;
}} secateur_fill;

typedef struct {{
    void (*run)(void);
    const secateur_fill *fills; /* of weights */
    int count;
    const secateur_fill *given; /* of memory: what goes in */
    int inputs;
}} secateur_item;

#ifdef SECATEUR_FLASH
extern const float secateur_weights[SECATEUR_WEIGHTS];
#else
extern float secateur_weights[SECATEUR_WEIGHTS];
#endif
extern float secateur_memory[SECATEUR_MEMORY];
extern const secateur_item secateur_items[SECATEUR_ITEMS];
extern const char *const secateur_pieces[];

#endif
"""

_INCLUDES = "".join(f"#include <{name}.h>\n" for name in ("math", "stddef", "stdint", "stdlib", "string"))


@dataclass
class Item:
    """Something that is measured.

    Attributes:
        fan_ins: of every step with weights, how many numbers go into one output.
        weights: (begins at, how many, how large) in floats; of the array that all share.
        given: the same of what goes in, in the memory that all share.
        memory: floats of that memory that it needs.
    """

    fan_ins: dict[str, int]
    weights: list[tuple[int, int, float]] = field(default_factory=list)
    given: list[tuple[int, int, float]] = field(default_factory=list)
    memory: int = 0

    @property
    def floats(self) -> int:
        """How many floats of weights it needs."""
        return max((_aligned(at + count) for at, count, _ in self.weights), default=0)

    def declares(self, name: str, count: int) -> str | None:
        """Have a layer's numbers lie in the shared array; other constants are as they are."""
        step, _, kind = name.rpartition("_")
        if step not in self.fan_ins:
            return None
        at = self.floats
        spread = _BIAS if kind == "bias" else math.sqrt(2 / self.fan_ins[step])
        self.weights.append((at, count, spread))
        return f"#define {name} (secateur_weights + {at})\n"

    def place(self, count: int, *, goes_in: bool = False) -> str:
        """Reserve floats of memory: the address of the first."""
        at = self.memory
        self.memory += _aligned(max(1, count))
        if goes_in:
            self.given.append((at, count, 1.0))
        return f"secateur_memory + {at}"


def c_files(plan: Plan) -> dict[str, bytes]:
    """Every file of the folder, by name.

    Raises:
        InputError: where a network does what the C export does not know.
    """
    texts: dict[str, str] = {}
    networks = [_network(f"network_{index}", model, texts) for index, (model, _) in enumerate(plan.networks)]
    layers = [_layer(f"layer_{index}", *point) for index, point in enumerate(plan.points)]
    items = [item for item, _, _ in layers] + [item for item, _ in networks]
    codes = [code for _, code, _ in layers]
    sizes = {
        "weights": max((item.floats for item in items), default=0) or 1,
        "memory": max(item.memory for item in items),
        "items": len(items),
    }
    texts["measure.h"] = _HEADER.format(**sizes)
    texts["layers.c"] = _layers(codes, [body for *_, body in layers], [body for _, body in networks], items)
    texts["table.c"] = _table(json.dumps(plan.table("c")))
    texts["main.c"] = kept_text("main.c.txt")
    about = readme(
        "c", plan, command=BUILD, weights=f"{4 * sizes['weights']:,}", memory=f"{4 * sum(sizes.values()):,}"
    )
    return {
        "build.sh": f"#!/bin/sh\nset -e\n${{CC:-cc}}{BUILD.removeprefix('cc')}\n".encode(),
        PLAN_FILE: json.dumps(plan.table("c")).encode(),
        "README.txt": about.encode(),
        **{f"{_FOLDER}/{name}": text.encode("ascii") for name, text in texts.items()},
    }


def _layer(name: str, shape: Shape, channels: Channels) -> tuple[Item, Code, str]:
    """One layer: its code, and the statements that run it."""
    steps = list(_steps(name, shape, channels))
    assert len(steps) == 1, name
    step = steps[0]
    item = Item({step.name: _fan_in(step)})
    with declared_by(item.declares):
        code = code_of(step, "float32")
    lines = [
        f"const float *const {view.buffer.name} = {item.place(view.buffer.size, goes_in=True)};"
        for view in step.reads
    ]
    lines.append(f"float *const {step.writes.name} = {item.place(step.writes.size)};")
    if code.scratch:
        lines.append(f"float *const scratch = {item.place(code.scratch)};")
    return item, code, "".join(f"    {line}\n" for line in (*lines, *code.call.splitlines()))


def _steps(name: str, shape: Shape, channels: Channels) -> Iterator[Step]:
    groups, ins, outs = channels
    if shape.kind == "linear":
        given, made = Buffer(f"{name}_x", (*shape.size, ins)), Buffer(f"{name}_y", (*shape.size, outs))
        yield Linear(name, "", given.view, made, _blank(outs, ins), _blank(outs))
    elif shape.kind == "convolution" and len(shape.size) <= 2:
        size, kernel = _two(shape.size, 1), _two(shape.kernel, 1)
        stride, padding, dilation = _two(shape.stride, 1), _two(shape.padding, 0), _two(shape.dilation, 1)
        moved = zip(size, kernel, stride, padding, dilation, strict=True)
        out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in moved]
        given = Buffer(f"{name}_x", (1, groups * ins, *size))
        made = Buffer(f"{name}_y", (1, groups * outs, *out))
        weight, bias = _blank(groups * outs, ins, *kernel), _blank(groups * outs)
        yield Convolution(name, "", given.view, made, weight, bias, stride, padding, dilation, groups)
    else:
        for step in _lowered(_module(shape, channels), torch.zeros(1, groups * ins, *shape.size)).steps:
            yield replace(step, name=name)


def _blank(*shape: int) -> np.ndarray:
    """Numbers that are never looked at; ones, as a layer of zeros would have none to compute with."""
    return np.ones(shape, dtype=np.float32)


def _two(lengths: tuple[int, ...], first: int) -> tuple[int, int]:
    """One spatial dimension is computed as two."""
    height, width = (first, *lengths)[-2:]
    return height, width


def _module(shape: Shape, channels: Channels) -> nn.Module:
    groups, ins, outs = channels
    kinds = {
        "convolution": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
        "transposed": (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    }
    more = {"output_padding": shape.more} if shape.kind == "transposed" else {}
    return kinds[shape.kind][len(shape.size) - 1](
        groups * ins,
        groups * outs,
        shape.kernel,
        shape.stride,
        shape.padding,
        groups=groups,
        dilation=shape.dilation,
        **more,
    )


def _lowered(model: nn.Module, inputs: Inputs) -> Program:
    """The steps of a network, for one example, all of them dense."""
    traced = Traced.of(model, Given.of(inputs).with_batch(1).examples, dynamic_batch=False)
    if traced.dtype != "float32":
        raise InputError(
            f"a network that is measured elsewhere is in float32, got {traced.dtype}: convert it with "
            "model.float()"
        )
    program = lowered(traced)
    return replace(program, steps=tuple(map(_dense, program.steps)))


def _dense(step: Step) -> Step:
    return replace(step, sparse=False) if isinstance(step, (Convolution, Linear)) else step


def _fan_in(step: Step) -> int:
    weight = getattr(step, "weight", None)
    return max(1, math.prod(weight.shape[1:])) if weight is not None else 1


def _network(name: str, model: nn.Module, texts: dict[str, str]) -> tuple[Item, str]:
    """A whole network: its two files, into `texts`, and the statements that run it."""
    program = _lowered(model, anatomy_of(model).inputs)
    item = Item({step.name: _fan_in(step) for step in program.steps if hasattr(step, "weight")})
    with declared_by(item.declares):
        found = written(program, name)
    texts[f"{name}.c"] = f'#include "measure.h"\n#define {name.upper()}_NO_ARENA\n{found.source}'
    texts[f"{name}.h"] = found.header
    arena = item.place(-(-found.arena_bytes // 4))
    arguments = [f"(void *)({arena})"]
    for buffer in program.inputs.values():
        real = buffer.dtype == "float32"
        arguments.append(f"(void *)({item.place(2 * buffer.size, goes_in=real)})")
    arguments += [f"(void *)({item.place(2 * view.size)})" for view in program.outputs.values()]
    return item, f"    {name}_run_in({', '.join(arguments)});\n"


def _layers(codes: list[Code], layers: list[str], networks: list[str], items: list[Item]) -> str:
    """The file that runs every item: the functions that layers need, once, and one function for each item."""
    functions = dict.fromkeys(text for code in codes for text in code.functions)
    parts = [_INCLUDES, '#include "measure.h"\n']
    parts += [f'#include "network_{index}.h"\n' for index in range(len(networks))]
    parts += ["\n".join(functions), *(code.constants for code in codes)]
    rows = []
    for index, (body, item) in enumerate(zip((*layers, *networks), items, strict=True)):
        parts.append(f"static void run_{index}(void) {{\n{body}}}\n")
        parts += [_fills(f"weights_{index}", item.weights), _fills(f"given_{index}", item.given)]
        weights = f"weights_{index}" if item.weights else "0"
        given = f"given_{index}" if item.given else "0"
        rows.append(f"    {{run_{index}, {weights}, {len(item.weights)}, {given}, {len(item.given)}}},\n")
    return "\n".join(parts) + f"\nconst secateur_item secateur_items[] = {{\n{''.join(rows)}}};\n"


def _fills(name: str, fills: list[tuple[int, int, float]]) -> str:
    rows = ", ".join(f"{{{at}, {count}, {spread:.6e}f}}" for at, count, spread in fills)
    return f"static const secateur_fill {name}[] = {{{rows}}};\n" if fills else ""


def _table(table: str) -> str:
    """The table's JSON in pieces: "@" stands for a time, "@device" and "@version" for what they say."""
    for key in ("device", "version"):
        table = table.replace(f'"{key}": null', f'"{key}": "\0@{key}\0"', 1)
    pieces: list[str] = []
    for part in table.replace("null", "\0@\0").split("\0"):
        if part.startswith("@"):
            pieces.append(part)
        else:
            pieces += [part[at : at + _LONGEST] for at in range(0, len(part), _LONGEST)]
    rows = "".join(f"    {json.dumps(piece)},\n" for piece in pieces)
    return f'#include "measure.h"\n\nconst char *const secateur_pieces[] = {{\n{rows}    0}};\n'


def _aligned(count: int) -> int:
    return -(-count // _ALIGN) * _ALIGN
