"""The program of `torch.export`, operator by operator, as steps on buffers.

Three things are known of every value: that it is constant (then torch computes it here and now), that it is a
view of a buffer, or that it is several of these. Operators that only look at numbers differently are asked of
torch itself, on tensors without numbers that have our strides; operators that only move numbers, on the
numbers' places.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from secateur.deploy.c.elementwise import Elementwise
from secateur.deploy.c.program import C_TYPES, Buffer, Program, Step, View, contiguous_strides
from secateur.deploy.given import said_in_one_line
from secateur.deploy.traced import Traced, quietly
from secateur.errors import InputError

Value = Any
"""A `View`, a constant tensor, a number, or a sequence of these."""

Operator = Callable[..., Value]
OPERATORS: dict[str, Operator] = {}
"""Name ("aten.relu.default") -> what makes steps of it: (build, *args, **kwargs) -> the value."""


def lowers(*names: str) -> Callable[[Operator], Operator]:
    """Register what makes steps of operators."""

    def register(function: Operator) -> Operator:
        for name in names:
            assert name not in OPERATORS, name
            OPERATORS[name] = function
        return function

    return register


class Build:
    """A program in the making.

    Attributes:
        steps: so far.
        node: what is being lowered.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.node: fx.Node = None  # type: ignore[assignment]
        self._constants: dict[tuple[Any, ...], Buffer] = {}
        self._names = 0

    @property
    def layer(self) -> str:
        """Where the node stands in the network."""
        return place_of(self.node)[0]

    def name(self, letter: str) -> str:
        """A new identifier."""
        self._names += 1
        return f"{letter}{self._names}"

    def buffer(self, shape: Sequence[int], dtype: str = "float32") -> Buffer:
        """A new buffer of the arena."""
        return Buffer(self.name("v"), tuple(shape), dtype)

    def made(self, index: int | None = None) -> Buffer:
        """A new buffer of the shape and type that the node has for torch."""
        value = self.node.meta["val"]
        value = value if index is None else value[index]
        return self.buffer(value.shape, self.dtype_of(value.dtype))

    def dtype_of(self, dtype: torch.dtype) -> str:
        """Name a dtype of the file; InputError where C has none, or we do not compute in it."""
        name = str(dtype).removeprefix("torch.")
        if name not in C_TYPES or name == "float16":
            raise InputError(
                f"the C code computes in float32 and whole numbers, got {name} {self.said}: convert "
                "the network with model.float(), or export it to onnx"
            )
        return name

    def add(self, step: Step) -> View:
        """Append a step; give what it writes."""
        self.steps.append(step)
        return step.writes.view

    def view(self, value: Value) -> View:
        """Take a constant as a view too."""
        if isinstance(value, View):
            return value
        tensor = value if isinstance(value, Tensor) else torch.tensor(value)
        if tensor.dtype == torch.float64 and not isinstance(value, Tensor):
            tensor = tensor.float()
        dtype = self.dtype_of(tensor.dtype)
        array = np.ascontiguousarray(tensor.detach().numpy())
        key = (array.tobytes(), dtype)
        if key not in self._constants:
            self._constants[key] = Buffer(self.name("c"), (array.size,), dtype, array.reshape(-1))
        return View(self._constants[key], tuple(array.shape), contiguous_strides(array.shape))

    def elementwise(
        self, operands: Sequence[View], expression: str, kind: str, output: View | Buffer | None = None
    ) -> View:
        """Compute number by number; the operands are broadcast to the output, by default the node's own."""
        target = self.made() if output is None else output
        target = target.view if isinstance(target, Buffer) else target
        if target.size:
            wide = tuple(view.broadcast(target.shape) for view in operands)
            self.steps.append(Elementwise(self.name("s"), self.layer, target, wide, expression, kind))
        return target

    def contiguous(self, value: Value) -> View:
        """Have the numbers side by side: a copy where they are not."""
        view = self.view(value)
        if view.contiguous:
            return view
        return self.elementwise([view], "{0}", "copy", self.buffer(view.shape, view.dtype))

    @property
    def said(self) -> str:
        """Name the node's operator, and the module that it stands in, for a message."""
        layer, kind = place_of(self.node)
        where = f"'{layer}' ({kind})" if layer else "the network itself"
        return f"at {self.node.target} in {where}"


def place_of(node: fx.Node) -> tuple[str, str]:
    """The path of the module that a node stands in, and the name of its class; "" for the network itself."""
    stack = node.meta.get("nn_module_stack") or {}
    for path, kind in reversed(list(stack.values())):
        name = path.removeprefix("L['self'].").removeprefix("model").removeprefix(".")
        if name:
            return name, str(getattr(kind, "__name__", kind)).rpartition(".")[2]
    return "", ""


def lower(traced: Traced, build: Build) -> Program:
    """Make a program of a traced network, whose batch is 1.

    Raises:
        InputError: where the network does what C does not, or what we do not know; it names the operator.
    """
    with said_in_one_line("be taken apart into core operators"), quietly():
        exported = traced.program.run_decompositions()
    _check_stateless(exported)
    known = _known(exported)
    _check_known(exported, known)
    inputs = dict(zip(traced.examples, exported.graph_signature.user_inputs, strict=True))
    env: dict[fx.Node, Value] = {}
    buffers: dict[str, Buffer] = {}
    for node in exported.graph.nodes:
        build.node = node
        if node.op == "placeholder":
            if node.name in known:
                env[node] = known[node.name]
            else:
                name = next(name for name, taken in inputs.items() if taken == node.name)
                value = node.meta["val"]
                buffers[name] = Buffer(f"in{len(buffers)}", tuple(value.shape), build.dtype_of(value.dtype))
                env[node] = buffers[name].view
        elif node.op == "call_function":
            env[node] = _lowered(build, node, env)
        elif node.op == "output":
            results = [env[each] if isinstance(each, fx.Node) else each for each in node.args[0]]
    outputs = _outputs(build, traced.outputs, results)
    return Program(tuple(build.steps), buffers, outputs)


def _known(exported: torch.export.ExportedProgram) -> dict[str, Value]:
    """Parameters, buffers and constants, by the name of their placeholder."""
    found: dict[str, Value] = {}
    for spec in exported.graph_signature.input_specs:
        if spec.target is None:
            continue
        home = exported.state_dict if spec.target in exported.state_dict else exported.constants
        value = home[spec.target]
        found[spec.arg.name] = value.detach() if isinstance(value, Tensor) else value
    return found


def _check_stateless(exported: torch.export.ExportedProgram) -> None:
    """Raise InputError for a network that changes its own buffers when it is called."""
    signature = exported.graph_signature
    changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
    if changed:
        raise InputError(
            "a network in C keeps nothing from call to call, but this one changes "
            f"{', '.join(sorted(changed)[:3])}: make it give that back instead, or export it to onnx"
        )


def _check_known(exported: torch.export.ExportedProgram, known: Mapping[str, Value]) -> None:
    """Raise InputError that names all operators nobody knows here, with where they stand, before any work."""
    constant: set[fx.Node] = set()
    unknown: dict[str, fx.Node] = {}
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            if node.name in known:
                constant.add(node)
        elif node.op == "call_function":
            if all(each in constant for each in node.all_input_nodes) and not _is_random(node):
                constant.add(node)
            elif not _knows(node):
                unknown.setdefault(str(node.target), node)
        elif node.op != "output":
            unknown.setdefault(f"{node.op} {node.target}", node)
    if not unknown:
        return
    said = []
    for name, node in unknown.items():
        layer, kind = place_of(node)
        said.append(f"{name} (in '{layer}', {kind})" if layer else name)
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    raise InputError(
        f"the C export does not know the operator{'s' * (len(said) > 1)} {', '.join(said[:3])}{more}: export "
        "it to onnx or openvino, or write that part of the network with other operators"
    )


def _is_random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _knows(node: fx.Node) -> bool:
    return node.target is operator.getitem or str(node.target) in OPERATORS or is_view(node.target)


def is_view(target: Any) -> bool:
    """Whether an operator only looks at its first argument in another way."""
    schema = getattr(target, "_schema", None)
    if schema is None or not schema.arguments:
        return False
    alias = schema.arguments[0].alias_info
    return alias is not None and not alias.is_write and bool(schema.returns)


def _lowered(build: Build, node: fx.Node, env: Mapping[fx.Node, Value]) -> Value:
    """The value of one node."""
    given: Any = fx.map_arg((node.args, node.kwargs), lambda each: env[each])
    args, kwargs = given
    if not any(_views_in(value) for value in (*args, *kwargs.values())) and not _is_random(node):
        with said_in_one_line(f"be computed {build.said}"), torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]
    if node.target is operator.getitem:
        return args[0][args[1]]
    if str(node.target) in OPERATORS:
        return OPERATORS[str(node.target)](build, *args, **kwargs)
    return seen(build, *args, **kwargs)


def _views_in(value: Value) -> bool:
    if isinstance(value, View):
        return True
    return isinstance(value, (list, tuple)) and any(map(_views_in, value))


def seen(build: Build, value: View, *args: Any, **kwargs: Any) -> Value:
    """Look at a buffer as an operator of torch says, asked of a tensor without numbers; a copy if need be."""
    target: Any = build.node.target
    if str(target) == "aten.as_strided.default":
        value = build.contiguous(value)  # its strides are those of torch's own memory
    for view in (value, None):
        view = build.contiguous(value) if view is None else view
        bare = _without_numbers(view)
        try:
            result = target(bare, *args, **kwargs)
        except RuntimeError:  # its numbers do not lie so that a view could be had
            continue
        several = isinstance(result, (list, tuple))
        found = [_as_view(build, bare, view, each) for each in (result if several else [result])]
        return found if several else found[0]
    raise InputError(f"the C export cannot look at the numbers in this way {build.said}: export it to onnx")


def _without_numbers(view: View) -> Tensor:
    whole = torch.empty(max(1, view.buffer.size), dtype=getattr(torch, view.dtype), device="meta")
    return whole.as_strided(view.shape, view.strides, view.offset)


def _as_view(build: Build, bare: Tensor, view: View, result: Tensor) -> View:
    if str(build.node.target) in ("aten.view.dtype",):
        raise InputError(
            f"the C export does not read numbers as another type, as {build.said}: export it to onnx"
        )
    return View(view.buffer, tuple(result.shape), tuple(result.stride()), int(result.storage_offset()))


def _outputs(build: Build, names: Sequence[str], results: Sequence[Value]) -> dict[str, View]:
    """Give every output a buffer of its own: the last step's where that is all that it writes."""
    found: dict[str, View] = {}
    written = {step.writes for step in build.steps}
    for index, (name, value) in enumerate(zip(names, results, strict=True)):
        view = build.view(value)
        if (
            view.whole
            and view.buffer in written
            and view.buffer not in [each.buffer for each in found.values()]
        ):
            found[name] = view
        else:
            buffer = Buffer(f"out{index}", view.shape, view.dtype)
            build.elementwise([view], "{0}", "copy", buffer)
            found[name] = buffer.view
    return found
