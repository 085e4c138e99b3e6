"""The text of the C file and of its header, from a program: the same bytes for the same network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from secateur.deploy.c import convolution, linear
from secateur.deploy.c.arena import Span, planned
from secateur.deploy.c.arrays import LITTLE_ENDIAN, array, bytes_declared, literal, quoted
from secateur.deploy.c.elementwise import Elementwise
from secateur.deploy.c.fusing import renamed
from secateur.deploy.c.moving import Gather, Rows
from secateur.deploy.c.naming import identifier
from secateur.deploy.c.program import (
    ALIGNMENT,
    C_TYPES,
    Buffer,
    Code,
    Convolution,
    Linear,
    Program,
    Step,
    Values,
)
from secateur.records.ours import MARK

SIZES = {"float32": 4, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}
"""Bytes of a number in the arena."""

_TAKES_HALVES = (Elementwise, Gather, Rows)
_MOST_CONSTANT_HALVES = 2**8
"""Numbers up to which a constant stays float32 in a file of float16 weights: biases, scales."""


@dataclass(frozen=True)
class Written:
    """A network in C.

    Attributes:
        name: the prefix of everything that the header declares.
        source, header: the two texts.
        arena_bytes: of the memory that it needs while it runs.
        constant_bytes: of weights and tables, as they lie in the program.
    """

    name: str
    source: str
    header: str
    arena_bytes: int
    constant_bytes: int


def written(
    program: Program,
    name: str,
    values: Values = "float32",
    metadata: Mapping[str, str] | None = None,
) -> Written:
    """Write a program as C.

    Args:
        name: of the network, an identifier.
        values: what weights are stored as.
        metadata: what the network says of itself (`described.metadata_of`); in comments, and as constants.
    """
    program = _stored(program, values)
    codes = [code_of(step, values) for step in program.steps]
    places, scratches, arena = _plan(program, codes)
    about = _About(name, program, dict(metadata or {}), arena)
    header = about.header()
    body = _body(about, codes, places, scratches)
    constants = [array(each.name, _value(each)) for each in program.constants] + [c.constants for c in codes]
    functions = dict.fromkeys(text for code in codes for text in code.functions)
    packed = any("char rows[" in text for text in constants)
    source = "\n".join(
        part
        for part in (
            about.comment(".c"),
            f'#include "{name}.h"\n\n#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n'
            "#include <stdlib.h>\n#include <string.h>\n",
            LITTLE_ENDIAN if packed else "",
            about.constants(),
            "\n".join(functions),
            "".join(constants),
            body,
        )
        if part
    )
    arena_bytes = max(ALIGNMENT, sum(arena.values()))
    return Written(name, source, header, arena_bytes, sum(map(bytes_declared, constants)))


def code_of(step: Step, values: Values) -> Code:
    """What becomes of a step in a file."""
    if isinstance(step, Convolution):
        code = convolution.code(step, values)
    elif isinstance(step, Linear):
        code = linear.code(step, values)
    else:
        code = step.code(values)
    named = "scratch" in code.call  # a pointer of its own, also to nothing
    return replace(code, scratch=max(1, code.scratch)) if named else code


def _value(buffer: Buffer) -> np.ndarray:
    assert buffer.value is not None
    return buffer.value


def _stored(program: Program, values: Values) -> Program:
    """Store large constants (tables of embeddings, positions) as float16, where weights are."""
    if values != "float16":
        return program
    names = {
        each: Buffer(each.name, each.shape, "float16", _value(each).astype(np.float16))
        for each in program.constants
        if each.dtype == "float32" and each.size > _MOST_CONSTANT_HALVES
    }
    steps = (renamed(step, names) if isinstance(step, _TAKES_HALVES) else step for step in program.steps)
    return replace(program, steps=tuple(steps))


def _plan(program: Program, codes: list[Code]) -> tuple[dict[Buffer, int], list[int], dict[str, int]]:
    """Where every buffer and scratch lies, in numbers of its type; and the bytes of each type."""
    outside = {*program.inputs.values(), *(view.buffer for view in program.outputs.values())}
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for index, step in enumerate(program.steps):
        for buffer in (step.writes, *(view.buffer for view in step.reads)):
            if buffer.value is None and buffer not in outside:
                first.setdefault(buffer, index)
                last[buffer] = index
    places: dict[Buffer, int] = {}
    scratches, sizes = [0] * len(codes), {}
    for dtype in SIZES:
        mine = [buffer for buffer in first if buffer.dtype == dtype]
        spans = [Span(first[each], last[each], SIZES[dtype] * max(1, each.size)) for each in mine]
        busy = [n for n, code in enumerate(codes) if code.scratch] if dtype == "float32" else []
        spans += [Span(n, n, 4 * codes[n].scratch) for n in busy]
        if not spans:
            continue
        offsets, sizes[dtype] = planned(spans)
        for buffer, offset in zip(mine, offsets, strict=False):
            places[buffer] = offset // SIZES[dtype]
        for n, offset in zip(busy, offsets[len(mine) :], strict=True):
            scratches[n] = offset // 4
    return places, scratches, sizes


def _body(about: _About, codes: list[Code], places: dict[Buffer, int], scratches: list[int]) -> str:
    """The functions that the header declares."""
    program, name = about.program, about.name
    callers = {buffer: given for given, buffer in about.parameters}
    lines = [f"void {name}_run_in({about.arena_type} *arena, {about.signature})", "{"]
    used = {buffer.dtype for buffer in places} | (
        {"float32"} if any(code.scratch for code in codes) else set()
    )
    if not used:
        lines.append("    (void)arena;")
    read = {view.buffer for step in program.steps for view in step.reads}
    for given, buffer in about.parameters:
        if buffer in program.inputs.values() and buffer not in read:
            lines.append(f"    (void){given};")
    for step, code, scratch in zip(program.steps, codes, scratches, strict=True):
        lines.append(
            f"    {{ /* {_comment(f'{step.layer}: ' if step.layer else '')}{_comment(step.title)} */"
        )
        seen = dict.fromkeys(
            (step.writes, *(view.buffer for view in step.reads if view.buffer.value is None))
        )
        for buffer in seen:
            const = "" if buffer is step.writes else "const "
            place = callers.get(buffer) or f"arena->{buffer.dtype}_ + {places[buffer]}"
            lines.append(f"        {const}{C_TYPES[buffer.dtype]} *const {buffer.name} = {place};")
        if code.scratch:
            lines.append(f"        float *const scratch = arena->float32_ + {scratch};")
        lines += ["        " + line for line in code.call.splitlines()]
        lines.append("    }")
    lines += ["}", ""]
    return "\n".join(lines) + about.own_arena()


def _comment(text: str) -> str:
    """A text as it may stand in a comment of C."""
    plain_ = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return plain_.replace("*/", "* /").replace("/*", "/ *").replace("??/", "?? /")


@dataclass(frozen=True)
class _About:
    """What the file says of itself, and the names in it.

    Attributes:
        arena: dtype -> bytes.
    """

    name: str
    program: Program
    metadata: dict[str, str]
    arena: dict[str, int]

    @property
    def big(self) -> str:
        """The prefix of macros."""
        return self.name.upper()

    @property
    def arena_type(self) -> str:
        return f"{self.name}_arena"

    @property
    def parameters(self) -> list[tuple[str, Buffer]]:
        """The names of the function's arguments, with their buffers: inputs, then outputs."""
        found: list[tuple[str, Buffer]] = []
        taken: set[str] = {"arena"}
        everything = [
            *(("input", name, buffer) for name, buffer in self.program.inputs.items()),
            *(("output", name, view.buffer) for name, view in self.program.outputs.items()),
        ]
        for kind, name, buffer in everything:
            several = sum(other == kind for other, _, _ in everything) > 1
            base = identifier(name, kind) if several else kind
            if several and not base.startswith(kind):
                base = f"{kind}_{base}"
            said = base
            while said in taken:
                said += "_"
            taken.add(said)
            found.append((said, buffer))
        return found

    @property
    def signature(self) -> str:
        inputs = set(self.program.inputs.values())
        return ", ".join(
            f"{'const ' if buffer in inputs else ''}{C_TYPES[buffer.dtype]} *{name}"
            for name, buffer in self.parameters
        )

    @property
    def classes(self) -> list[str]:
        return json.loads(self.metadata.get("classes", "[]"))

    @property
    def pixels(self) -> dict[str, int] | None:
        """Height, width and channels of the images, where they are known."""
        return json.loads(self.metadata["input"]) if "input" in self.metadata else None

    def comment(self, suffix: str) -> str:
        """The head of a file: what it is, and all that is known of the network."""
        version = _comment(self.metadata.get("version", ""))
        said = (
            json.dumps(self.metadata).replace("/", "\\/").replace("?", "\\u003f")
        )  # no end of a comment in it
        rest = f" * {MARK}: {said}\n" if suffix == ".c" else f" * {MARK}\n"
        return f"/* {self.name}{suffix}: a neural network, written by {MARK} {version}\n{rest} */\n"

    def header(self) -> str:
        """The header."""
        big, name = self.big, self.name
        lines = [self.comment(".h"), f"#ifndef {big}_H", f"#define {big}_H", ""]
        lines += ["#include <stdint.h>", "", *self._shapes(), *self._numbers()]
        lines += ["#ifdef __cplusplus", 'extern "C" {', f"#define {big}_ALIGN alignas({ALIGNMENT})"]
        lines += ["#else", f"#define {big}_ALIGN _Alignas({ALIGNMENT})", "#endif", ""]
        lines += ["/* The memory that one call needs while it runs. */", "typedef struct {"]
        for dtype, size in self.arena.items() or [("uint8", 1)]:
            lines.append(f"    {big}_ALIGN {C_TYPES[dtype]} {dtype}_[{size // SIZES[dtype]}];")
        lines += [f"}} {self.arena_type};", ""]
        lines += [
            f"/* Runs the network on one example, in {name}_arena that is the caller's: calls with arenas of",
            " * their own may run at the same time. Inputs and outputs lie side by side, the last dimension",
            " * fastest, and may not overlap. Nothing is allocated, nothing is kept from call to call. */",
            f"void {name}_run_in({self.arena_type} *arena, {self.signature});",
            "",
            f"/* The same in one static arena: one call at a time. Left out where {big}_NO_ARENA is defined",
            f" * when the .c is compiled; where {big}_ARENA is, that names the {self.arena_type} used. */",
            f"void {name}_run({self.signature});",
            "",
        ]
        lines += self._extern()
        lines += ["#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
        return "\n".join(lines)

    def _shapes(self) -> list[str]:
        """What goes in and out, in words and as macros."""
        lines = ["/* Arguments:"]
        shapes = [tuple(each.shape) for each in self.program.inputs.values()]
        shapes += [view.shape for view in self.program.outputs.values()]
        count = len(self.program.inputs)
        macros = []
        for index, ((given, buffer), shape) in enumerate(zip(self.parameters, shapes, strict=True)):
            dims = " x ".join(map(str, shape)) or "1"
            lines.append(f" *   {given}: {'in' if index < count else 'out'}, {C_TYPES[buffer.dtype]}, {dims}")
            macros.append(f"#define {self.big}_{given.upper()}_SIZE {buffer.size}")
        return [*lines, " */", *macros]

    def _numbers(self) -> list[str]:
        """What else is counted."""
        first = next(iter(self.program.outputs.values())).shape
        count = len(self.classes) or (first[1] if len(first) > 1 else first[0] if first else 1)
        lines = [f"#define {self.big}_CLASSES {count}"]
        lines.append(f"#define {self.big}_ARENA_BYTES {max(ALIGNMENT, sum(self.arena.values()))}")
        if self.pixels:
            for key in ("channels", "height", "width"):
                lines.append(f"#define {self.big}_IMAGE_{key.upper()} {int(self.pixels[key])}")
        return [*lines, ""]

    def _extern(self) -> list[str]:
        lines = []
        if self.classes:
            lines.append(f"extern const char *const {self.name}_classes[{len(self.classes)}]; /* UTF-8 */")
        for key in ("mean", "std"):
            if key in self.metadata:
                count = len(json.loads(self.metadata[key]))
                lines.append(
                    f"extern const float {self.name}_{key}[{count}]; /* (pixel / 255 - mean) / std */"
                )
        return [*lines, ""] if lines else []

    def constants(self) -> str:
        """Class names and preprocessing, as the header declares them."""
        text = f'_Static_assert(sizeof({self.arena_type}) == {self.big}_ARENA_BYTES, "the arena");\n'
        if self.classes:
            names = "".join(f"    {quoted(str(each))},\n" for each in self.classes)
            text += f"\nconst char *const {self.name}_classes[{len(self.classes)}] = {{\n{names}}};\n"
        for key in ("mean", "std"):
            if key in self.metadata:
                values = [literal(float(np.float32(each))) for each in json.loads(self.metadata[key])]
                text += f"const float {self.name}_{key}[{len(values)}] = {{{', '.join(values)}}};\n"
        return text

    def own_arena(self) -> str:
        """The call in a static arena."""
        big, name = self.big, self.name
        given = ", ".join(parameter for parameter, _ in self.parameters)
        return (
            f"\n#ifndef {big}_NO_ARENA\n#ifdef {big}_ARENA\nextern {self.arena_type} {big}_ARENA;\n#else\n"
            f"#define {big}_ARENA {name}_memory\nstatic {self.arena_type} {name}_memory;\n#endif\n"
            f"void {name}_run({self.signature})\n{{\n    {name}_run_in(&{big}_ARENA, {given});\n}}\n#endif\n"
        )
