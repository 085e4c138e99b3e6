"""The run that finds out what there is to do: which operators mix, by what, and where examples lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.conv import _ConvNd

from secateur.surgery.actions import (
    Action,
    Attended,
    Contracted,
    Convolved,
    Embedded,
    Met,
    Mixed,
    Run,
    attention_of,
    emitted,
)
from secateur.surgery.cutting import Axis
from secateur.surgery.layout import Layout, gathered, layout_of
from secateur.surgery.matrix_products import (
    ALIASES,
    CONSTANT_LIKE,
    NORMS,
    Product,
    aten,
    convolved_shape,
    product_of,
    view_of,
)
from secateur.surgery.statics import Tape, entries_of_view
from secateur.surgery.watching import ModuleWatch, flat_tensors

FUSED = {aten._scaled_dot_product_flash_attention_for_cpu}
MADE = "#"  # begins the names of axes that are no module's


class Counting:
    """The place in a run: which operator it is at, and how often each layer was called.

    A run is recorded once and then followed, operator by operator and call by call.

    Attributes:
        count: operators so far.
        paused: whether what runs is no part of the run.
        turns: axis of a layer -> the number of its last call.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.count = 0
        self.paused = False
        self.turns: dict[Axis, int] = {}

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What is computed while this holds is no part of the run."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def next_turn(self, axis: Axis) -> int:
        """Count a call of a layer."""
        turn = self.turns[axis] = self.turns.get(axis, -1) + 1
        return turn


class Recorder(Counting, ModuleWatch):
    """Runs a model once, and notes what later runs do at which operator.

    Attributes:
        actions: number of an operator, in the order of the run -> what is done there.
        sources: axes that can be marked -> the bit that stands for them.
        readers: axes at which marks arrive -> the bits of the sources that may.
        sizes: of both.
        ties: axes of parameters and entries of them, that lie at entries of other axes.
        roles: axes of parameters that are read or written at as layers are.
        order: modules with a weight, as they come.
        grouped: convolutions with groups: (in axis, out axis) -> (groups, whether whole ones go).
    """

    def __init__(
        self,
        model: nn.Module,
        tape: Tape,
        examples: int,
        prefix: str,
        owners: dict[int, list[tuple[str, nn.Module, str]]],
        axis_of: Callable[[str, nn.Module, str, int], Axis | None],
        computed: list[str],
    ):
        super().__init__(model)
        self.computed = set(computed)
        self.tape, self.prefix, self.owners, self.axis_of = tape, prefix, owners, axis_of
        self.state = Run({}, examples, spoilt=torch.arange(examples) == 1 if examples > 1 else None)
        self.actions: dict[int, tuple[str, Action]] = {}
        self.sources: dict[Axis, int] = {}
        self.readers: dict[Axis, int] = {}
        self.sizes: dict[Axis, int] = {}
        self.ties: list[tuple[Axis, Tensor, Axis, Tensor]] = []
        self.roles: dict[Axis, set[str]] = {}
        self.order: dict[str, None] = {}
        self.watched_roles: dict[Axis, str] = {}
        self.made: dict[Axis, str] = {}  # an axis that is no module's -> the module whose operator it is of
        self.grouped: dict[tuple[Axis, Axis], tuple[int, bool]] = {}
        self.contractions: list[Contracted] = []
        self.seen_at: dict[tuple[Axis, int], Layout | None] = {}
        self.largest = 1
        self._dynamic: dict[int, tuple[StorageWeakRef, int]] = {}

    # ---- what depends on the inputs ----

    def taint(self, tensor: Tensor, bits: int = 0) -> None:
        """Note that a tensor depends on the inputs, and on which sources."""
        storage = tensor.untyped_storage()
        self._dynamic[storage._cdata] = (StorageWeakRef(storage), self.bits(tensor) | bits)
        if not tensor.requires_grad and tensor.is_floating_point():
            self.largest = max(self.largest, tensor.numel())

    def dynamic(self, tensor: Tensor) -> bool:
        found = self._dynamic.get(tensor.untyped_storage()._cdata)
        return found is not None and not found[0].expired()

    def bits(self, tensor: Tensor) -> int:
        """The sources that a tensor may carry marks of."""
        return self._dynamic[tensor.untyped_storage()._cdata][1] if self.dynamic(tensor) else 0

    def source(self, axis: Axis, size: int) -> int:
        """The bit of a source."""
        self.sizes[axis] = size
        return self.sources.setdefault(axis, 1 << len(self.sources))

    def reader(self, axis: Axis, size: int, tensor: Tensor) -> None:
        """Note that a tensor arrives at an axis."""
        self.sizes[axis] = size
        self.readers[axis] = self.readers.get(axis, 0) | self.bits(tensor)

    def written_by(self, own: Axis) -> list[Axis]:
        """The axes on which a parameter's axis writes: itself, or those of operators."""
        return [own, *(other for axis, _, other, _ in self.ties if axis == own)]

    # ---- layers that stand for themselves ----

    def observe(self, axis: Axis, x: Tensor, dim: int) -> None:
        """Look at what a layer is given that passes its channels on."""
        dim %= x.dim()
        with self.apart():
            self.sizes[axis] = x.shape[dim]
            if not self.dynamic(x):
                self.tape.watch(x, axis, _along(dim))
                return
            self.seen_at[axis, self.next_turn(axis)] = self._layout(x)
            self.reader(axis, x.shape[dim], x)

    def emit(
        self,
        axis: Axis,
        size: int,
        like: Tensor,
        shapes: list[tuple[int, ...]],
        places: list[tuple[int, int]],
    ) -> list[Tensor]:
        """Have a layer of several outputs be a source of all of them.

        Args:
            places: for each shape the dimension with the examples (-1: the same as in `like`), and how many
                times its channels lie behind each other along the last one.
        """
        bit = self.source(axis, size)
        self.order.setdefault(axis[0])
        with self.apart():
            layout = self._layout(like)
            self.seen_at[axis, self.next_turn(axis)] = layout
            made = emit_all(self.state, axis, like, shapes, places, layout)
        for tensor in made:
            self.taint(tensor, bit)
        return made

    def _layout(self, x: Tensor, likely: int = 0, mask: Tensor | None = None) -> Layout | None:
        if self.state.spoilt is None:
            return None
        return layout_of(x.isnan() if mask is None else mask, likely)

    # ---- operators ----

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.paused or func.overloadpacket in ALIASES:
            return func(*args, **kwargs)
        index = self.count
        self.count += 1
        tensors = flat_tensors((args, kwargs))
        moving = [tensor for tensor in tensors if self.dynamic(tensor)]
        if not moving:
            return self._static(index, func, args, kwargs)
        if func.overloadpacket in CONSTANT_LIKE:
            return func(*args, **kwargs)
        action, bits = self._action(index, func, args, kwargs)
        if bits is None:
            bits = 0
            for tensor in moving:
                bits |= self.bits(tensor)
        if action is not None:
            self.actions[index] = (func.overloadpacket.__name__, action)
            result = action.run(self.state, func, args, kwargs)
        else:
            result = func(*args, **kwargs)
            if not func.is_view:
                bits |= self._meet(index, func, args, kwargs, tensors, moving, result)
        changed = [tensors[0]] if func._schema.is_mutable and tensors else []
        for tensor in (*flat_tensors(result), *changed):
            self.taint(tensor, bits)
        return result

    def _static(self, index: int, func: Any, args: Any, kwargs: Any) -> Any:
        product = product_of(func, args)
        if product is not None:
            for side in (1, 0):
                data = product.sides[1 - side]
                direct = self._direct(product.sides[side])
                if direct is not None and (direct[0] is not None or self.tape.own(data) is None):
                    made = self._static_layer(index, product, side, func)
                    if made is not None:
                        return made
        result = func(*args, **kwargs)
        self.tape.record(func, args, kwargs, result)
        return result

    def _static_layer(self, index: int, product: Product, side: int, func: Any) -> Tensor | None:
        """A layer on constants: a source, as on activations."""
        given, view = product.sides[1 - side], view_of(func, 1 - side)
        weight = product.views[side]
        shift = weight.dim() - product.sides[side].dim()
        k, free = (2, 1) if side == 0 else (1, 2)
        if len(weight) > 1:
            return None
        reads, writes = self._axes(index)
        action = Mixed(reads, writes, 1 - side, None)
        places = {k - shift: (reads, 1), free - shift: (writes, 1)}
        self._weight(product.sides[side], places, action)
        self._added(product.added, action.writes, weight.shape[free])
        self.sizes[action.reads], self.sizes[action.writes] = weight.shape[k], weight.shape[free]
        result = torch.full(product.shape, 0.7, dtype=given.dtype, device=given.device)
        keep = 2 if side == 1 else 1

        def see(mask: Tensor) -> Tensor:
            return view(mask).movedim(keep, 0).flatten(1).any(1)

        def emit(mark: Tensor | None) -> Tensor:
            made = result.clone()
            if mark is not None:
                shape = [1, 1, 1]
                shape[keep] = len(mark)
                made.view(1, *_two(product.shape, side)).masked_fill_(mark.view(shape), torch.nan)
            return made

        self.tape.layer((action.reads, action.writes), given, see, emit, result)
        return result

    def _action(self, index: int, func: Any, args: Any, kwargs: Any) -> tuple[Action | None, int | None]:
        """What is to be done at an operator, and the bits of what it gives; None where it is plainly run."""
        packet = func.overloadpacket
        if packet in FUSED:
            return self._attended(index, args, kwargs)
        if packet is aten.convolution and not self.dynamic(args[1]) and self.dynamic(args[0]):
            return self._convolved(index, args)
        if packet is aten.embedding and not self.dynamic(args[0]):
            return self._embedded(index, args)
        product = product_of(func, args)
        if product is None:
            return None, None
        moving = [self.dynamic(side) for side in product.sides]
        if all(moving):
            return self._contracted(index, product)
        if any(moving):
            return self._mixed(index, func, product, moving.index(True))
        return None, None

    def _mixed(self, index: int, func: Any, product: Product, side: int) -> tuple[Action, int]:
        given, weight = product.views[side], product.views[1 - side]
        reads, writes = self._axes(index)
        batch = given.shape[0]
        layout = self._layout(given, 0 if batch > 1 else 2 if side else 1)
        inside = max(1, batch) if layout is None or layout.dim else layout.outer * layout.inner
        k, free = (2, 1) if side else (1, 2)  # dimensions of the weight
        shift = weight.dim() - product.sides[1 - side].dim()
        action = Mixed(reads, writes, side, layout)
        shown = self._weight(
            product.sides[1 - side], {k - shift: (reads, inside), free - shift: (writes, inside)}, action
        )
        if inside > 1 and not shown:
            for axis, size in ((reads, weight.shape[k]), (writes, weight.shape[free])):
                entries = torch.arange(inside * size)
                self.ties.append((axis, entries, axis, entries % size))
        self._added(product.added, action.writes, weight.shape[free])
        self.reader(action.reads, inside * given.shape[1 if side else 2], product.sides[side])
        return action, self.source(action.writes, inside * weight.shape[free])

    def _convolved(self, index: int, args: Any) -> tuple[Action, int]:
        x, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
        reads, writes = self._axes(index)
        action = Convolved(reads, writes, self._layout(x))
        shape = convolved_shape(args)
        ins, outs = (0, 1) if transposed else (1, 0)
        places = {
            ins: (reads, x.shape[1] // weight.shape[ins]),
            outs: (writes, shape[1] // weight.shape[outs]),
        }
        whole = groups > 1 and x.shape[1] // groups <= groups
        self._weight(weight, places, action, mixes=not whole)
        self._added(bias, action.writes, shape[1])
        if groups > 1:
            self.grouped[action.reads, action.writes] = (groups, whole)
        self.reader(action.reads, x.shape[1], x)
        return action, self.source(action.writes, shape[1])

    def _embedded(self, index: int, args: Any) -> tuple[Action, int]:
        table, indices = args[0], args[1]
        _, writes = self._axes(index)
        layout = self._layout(indices, mask=torch.zeros(indices.shape, dtype=torch.bool))
        action = Embedded(writes, layout)
        self._weight(table, {1: (writes, 1)}, action)
        return action, self.source(action.writes, table.shape[1])

    def _contracted(self, index: int, product: Product) -> tuple[Action, int | None]:
        as_views = (
            (_in_three, _in_three) if product.sides[1].dim() > 1 else (_in_three, lambda x: x[None, :, None])
        )
        return self._contraction(index, product.views, product.sides, as_views)

    def _contraction(
        self,
        index: int,
        views: tuple[Tensor, Tensor],
        given: tuple[Tensor, Tensor],
        flat: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    ) -> tuple[Contracted, int]:
        """A product of activations; `flat` makes the operands' masks three-dimensional, as `views` are."""
        left, right = views
        name = f"{self.prefix}{index}"
        layout = self._layout(left) or self._layout(right)
        if layout is not None and layout.dim:
            layout = None
        heads = len(left) if layout is None else layout.outer * layout.inner
        action = Contracted((name, "left"), (name, "right"), (name, "heads"), layout)
        self.made |= dict.fromkeys(action.axes, self.where)
        bits = self.source(action.heads, heads)
        for axis, tensor, keep, as_view in (
            (action.left, given[0], (0, 2), flat[0]),
            (action.right, given[1], (0, 1), flat[1]),
        ):
            self.reader(axis, heads * left.shape[2], tensor)
            if self.dynamic(tensor):
                bits |= self.bits(tensor)
            elif self.tape.bits(tensor):
                self.tape.watch(tensor, axis, self._heads(as_view, layout, keep))
        self.contractions.append(action)
        return action, bits

    def _heads(
        self, as_view: Callable[[Tensor], Tensor], layout: Layout | None, keep: tuple[int, ...]
    ) -> Callable[[Tensor], Tensor]:
        examples = self.state.examples
        return lambda mask: gathered(as_view(mask), layout, keep, examples).any(0)

    def _attended(self, index: int, args: Any, kwargs: Any) -> tuple[Action, int]:
        query, key, value, mask = attention_of(args, kwargs)
        flat = [x.reshape(-1, *x.shape[-2:]) for x in (query, key, value)]
        batch = query.shape[:-2]

        def as_query(x: Tensor) -> Tensor:
            return x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:])

        def as_key(x: Tensor) -> Tensor:
            times = batch[-1] // x.shape[-3] if x.shape[-3] > 1 else 1
            return as_query(x.repeat_interleave(times, -3)).mT

        action, bits = self._contraction(index, (flat[0], flat[1].mT), (args[0], args[1]), (as_query, as_key))
        for tensor in (args[2], *([mask] if mask is not None else [])):
            bits |= self.bits(tensor) if self.dynamic(tensor) else 0
        if mask is not None and not self.dynamic(mask) and self.tape.bits(mask) and mask.dim() > 2:
            layout, rows = action.layout, query.shape[-2]

            def see(x: Tensor) -> Tensor:
                marked = x.any(-1, keepdim=True)
                every = as_query(marked.expand(*marked.shape[:-2], rows, 1))
                return gathered(every, layout, (0,), self.state.examples).any(0)

            self.tape.watch(mask, action.heads, see)
        return Attended(action), bits

    def _meet(
        self,
        index: int,
        func: Any,
        args: Any,
        kwargs: Any,
        tensors: list[Tensor],
        moving: list[Tensor],
        result: Any,
    ) -> int:
        """Have what is made of parameters tied to the activations that it is put together with."""
        still = [tensor for tensor in tensors if not self.dynamic(tensor) and self.tape.bits(tensor)]
        looks: list[tuple[Axis, int, int, Layout | None]] = []
        emits: list[tuple[Axis, int, int, Layout]] = []
        bits = 0
        if not still or not isinstance(result, (Tensor, tuple)):
            return 0
        for number, tensor in enumerate(still):
            for dim in range(tensor.dim()):
                found = _aligned(func, tensor, dim, moving, result) if tensor.shape[dim] > 1 else None
                if found is None:
                    continue
                other, at = found
                axis = (f"{self.prefix}{index}", f"{number}@{dim}")
                self.made[axis] = self.where
                if not self._look(tensor, dim, axis):
                    continue
                which = next(i for i, each in enumerate(tensors) if each is other)
                layout = self._layout(other)
                if layout is not None and layout.dim == at:
                    continue
                looks.append((axis, which, at, layout))
                self.reader(axis, tensor.shape[dim], other)
                if func.overloadpacket is aten.cat and layout is not None and layout.dim != dim:
                    mine = next(i for i, each in enumerate(tensors) if each is tensor)
                    emits.append((axis, mine, dim, layout))
                    bits |= self.source(axis, tensor.shape[dim])
        if looks:
            self.actions[index] = (func.overloadpacket.__name__, Met(looks, emits))
        return bits

    # ---- whose weight it is ----

    def _axes(self, index: int) -> tuple[Axis, Axis]:
        name = f"{self.prefix}{index}"
        self.made[name, "in"] = self.made[name, "out"] = self.where
        return (name, "in"), (name, "out")

    def _direct(self, weight: Tensor) -> tuple[str | None, dict[int, tuple[Axis, Tensor]]] | None:
        """What a view of a parameter shows of it, by dimension; the layer's name where it is torch's."""
        own = self.tape.own(weight)
        shown = None if own is None else entries_of_view(weight, own)
        if own is None or shown is None:
            return None
        name, module, attribute = self._owner(own)
        found = {}
        for dim, (at, entries) in shown.items():
            axis = self.axis_of(name, module, attribute, at)
            if axis is not None:
                found[dim] = (axis, entries)
        stock = isinstance(module, (_ConvNd, nn.Linear)) and attribute == "weight"
        return (name if stock else None), found

    def _owner(self, own: Tensor) -> tuple[str, nn.Module, str]:
        """The module that holds a parameter: the one that runs, or else the first that was registered."""
        owners = self.owners[id(own)]
        return next((each for each in owners if each[0] == self.within), owners[0])

    def _weight(
        self, weight: Tensor, places: dict[int, tuple[Axis, int]], action: Any, mixes: bool = True
    ) -> bool:
        """Tie a weight's dimensions to the axes read and written; give the action a stock layer's own axes.

        Args:
            places: dimension of the weight -> (axis, how many times it lies behind itself along that).

        Returns:
            Whether the axes are a layer's.
        """
        direct, parameter = self._direct(weight), self.tape.own(weight)
        if direct is None and self._same_sizes(weight):
            self._as_layer(self.within, action)
            for dim, (axis, times) in places.items() if self.tape.bits(weight) else ():
                role = "write" if axis[1] == "out" else "read"
                self._look(weight, dim, (self.within, axis[1]), times, role if mixes else "")
            return True
        name, shown = direct if direct is not None else (None, {})
        if name is not None and parameter is not None:
            same = all(
                dim in shown and shown[dim][0] == (name, axis[1])
                for dim, (axis, _) in places.items()
                if weight.shape[dim] > 1
            )
            if same and parameter.numel() == weight.numel():
                self._as_layer(name, action)
                return True
        self.order.setdefault(self.within if parameter is None else self._owner(parameter)[0])
        for dim, (axis, times) in places.items():
            role = "write" if axis[1] == "out" else "read"
            self._look(weight, dim, axis, times, role if mixes else "")
        return False

    def _as_layer(self, name: str, action: Any) -> None:
        self.order.setdefault(name)
        action.writes = (name, "out")
        if hasattr(action, "reads"):
            action.reads = (name, "in")

    def _same_sizes(self, weight: Tensor) -> bool:
        """Whether a computed weight is of the shape of the one that the layer at work has."""
        layer = self.model.get_submodule(self.within)
        if not isinstance(layer, (_ConvNd, nn.Linear)):
            return False
        with self.apart():
            return self.within in self.computed or sorted(layer.weight.shape) == sorted(weight.shape)

    @property
    def within(self) -> str:
        """The innermost module at present, by its dotted name."""
        return self._inside[-1] if self._inside else ""

    def _added(self, bias: Tensor | None, writes: Axis, size: int) -> None:
        if bias is not None and not self.dynamic(bias) and bias.dim() and bias.shape[-1] == size:
            self._look(bias, bias.dim() - 1, writes)

    def _look(self, tensor: Tensor, dim: int, axis: Axis, times: int = 1, role: str = "") -> bool:
        """Tie one dimension of what is made of parameters to an axis; by what it shows, or by replays."""
        size = tensor.shape[dim]
        self.sizes.setdefault(axis, size * times)
        direct = self._direct(tensor)
        if direct is not None and dim in direct[1]:
            own, entries = direct[1][dim]
            if own != axis:
                self.ties.append((own, entries.repeat(times), axis, torch.arange(size * times)))
                if role:
                    self.roles.setdefault(own, set()).add(role)
            return True
        if direct is None and self.tape.bits(tensor):
            along = _along(dim)
            self.tape.watch(tensor, axis, lambda mask: along(mask).repeat(times), dim)
            if role:
                self.watched_roles[axis] = role
            return True
        return False


def _along(dim: int) -> Callable[[Tensor], Tensor]:
    return lambda mask: mask.movedim(dim, 0).flatten(1).any(1) if mask.dim() > 1 else mask


def _in_three(mask: Tensor) -> Tensor:
    return mask if mask.dim() == 3 else mask[None]


def _two(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    return (shape[0], shape[1] if len(shape) > 1 else 1)


def emit_all(
    run: Run,
    axis: Axis,
    like: Tensor,
    shapes: list[tuple[int, ...]],
    places: list[tuple[int, int]],
    layout: Layout | None,
) -> list[Tensor]:
    """Emit tensors of one source, whose channels lie `times` behind each other along the last dimension."""
    made = []
    mark = run.marks.get(axis)
    for shape, (dim, times) in zip(shapes, places, strict=True):
        own = (
            layout
            if layout is None or dim < 0
            else Layout(dim, layout.outer if dim == layout.dim else 1, shape[dim] // run.examples)
        )
        if own is not None and not own.sized(shape, run.examples):
            own = Layout(dim, 1, shape[dim] // run.examples)
        repeated = Run(
            {axis: mark.repeat(1, times)} if mark is not None else {}, run.examples, spoilt=run.spoilt
        )
        made.append(emitted(like, shape, [repeated.mark(axis, own, (len(shape) - 1,), shape)]))
    return made


def _aligned(
    func: Any, still: Tensor, dim: int, moving: list[Tensor], result: Any
) -> tuple[Tensor, int] | None:
    """Find an activation that has a dimension beside one of what is made of parameters."""
    packet = func.overloadpacket
    if packet in NORMS:
        x = moving[0]
        return (x, 1) if still.dim() == 1 and x.dim() > 1 and x.shape[1] == len(still) else None
    if packet in (aten.native_layer_norm, aten._fused_rms_norm):
        x = moving[0]
        at = x.dim() - still.dim() + dim
        return (x, at) if at >= 0 and x.shape[at] == still.shape[dim] else None
    if not isinstance(result, Tensor):
        return None
    if packet in (aten.cat, aten.stack):
        for x in moving:
            if (
                x.dim() == still.dim()
                and x.shape[dim] == still.shape[dim]
                and result.dim() == x.dim()
                and result.shape[dim] == x.shape[dim]
            ):
                return x, dim
        return None
    for x in moving:
        at = x.dim() - still.dim() + dim
        if at < 0 or x.shape[at] != still.shape[dim] or result.dim() < max(x.dim(), still.dim()):
            continue
        if result.shape[result.dim() - still.dim() + dim] == still.shape[dim]:
            return x, at
    return None
