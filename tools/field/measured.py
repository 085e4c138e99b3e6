"""One network, measured: what of it can go, whether that is right, and what other tools make of it."""

from __future__ import annotations

import copy
import math
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import secateur as sc
from field.networks import EXAMPLES, Network
from field.others import TOOLS, Late, in_time, outcome_of, writers_of_output
from field.reference import RIGHT, answers, blinded, lively, places_in, tag, worst
from secateur.network.inputs import Inputs, call, output_tensors
from secateur.surgery.anatomy import Anatomy, anatomy_of

Said = Callable[[dict[str, Any]], None]
HALF = "macs=50%"


@dataclass(frozen=True)
class Settings:
    """What is measured, and how long each of the slow parts may take.

    Attributes:
        seed: of weights, of the channels cut, and of the proof.
        ratio: the share of the channels that every tool cuts of every group.
        onnx: whether to export.
        others: whether to try the other tools, and nothing else.
        part_s: seconds that another tool, or the export, may take.
        step: whether to time a training step.

    All seconds are of computing, in one thread: a busy machine does not add to them.
    """

    seed: int = 0
    ratio: float = 0.3
    onnx: bool = True
    others: bool = False
    part_s: float = 60
    step: bool = True


def params_of(model: nn.Module) -> int:
    """Count parameters; a shared one once."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def macs_of(model: nn.Module, one: Inputs) -> int:
    """Count multiply-accumulates of one example with torch's own counter.

    Under the plain kernels, as the counter does not know what the CPU fuses: attention, recurrent layers,
    encoders of `nn.Transformer`.
    """
    copied = copy.deepcopy(model).eval().requires_grad_(False)  # it trips over views of parameters
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of flags that are put back as they were
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.mkldnn.flags(enabled=False),
            FlopCounterMode(display=False) as counter,
        ):
            call(copied, one)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops() // 2)


def changed(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change every tensor of the inputs, and keep lists lists."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: changed(value, change) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return type(inputs)(changed(value, change) for value in inputs)
    return inputs


def in_double(inputs: Any) -> Any:
    """The inputs in float64."""
    return changed(inputs, lambda x: x.double() if x.is_floating_point() else x)


def reason_of(error: BaseException) -> str:
    """One line: the kind of error, its first line, the innermost place in Secateur."""
    lines = str(error).strip().splitlines()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/secateur/" in f.filename]
    where = f" @ {Path(frames[-1].filename).name}:{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    known = isinstance(error, (sc.InputError, sc.TrainingError))
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}{'' if known else where}"


class Measured:
    """Goes through the stages for one network; `row` is what is known so far, told after every stage."""

    def __init__(self, network: Network, settings: Settings, said: Said):
        self.network, self.settings, self.said = network, settings, said
        self.row: dict[str, Any] = {"network": network.name, "seconds": {}, "failed": {}}
        self.anatomy: Anatomy | None = None
        self.pruned: nn.Module | None = None

    def run(self) -> dict[str, Any]:
        """Measure all that is asked for."""
        if not self._stage("build", self._build):
            return self.row
        if self.settings.others:
            self._stage("others", self._others)
        else:
            if self.settings.step:
                self._stage("step", self._step)
            if self._stage("inspect", self._inspect):
                self._stage("right", self._right)
                if self._stage("half", self._half):
                    self._stage("loaded", self._loaded)
                    if self.settings.onnx:
                        self._stage("onnx", self._onnx)
        return self.row

    def _stage(self, name: str, act: Callable[[], None]) -> bool:
        """Do one thing; what it raises is written down, and goes no further."""
        self.row["stage"] = name
        self.said(self.row)
        began = time.process_time()
        try:
            act()
        except (Exception, Late) as error:  # somebody's code, and ours under test
            self.row["failed"][name] = reason_of(error)
        self.row["seconds"].setdefault(name, round(time.process_time() - began, 2))
        self.row["stage"] = ""
        self.said(self.row)
        return name not in self.row["failed"]

    def _build(self) -> None:
        torch.manual_seed(self.settings.seed)
        self.model = self.network.build().eval()
        self.inputs, self.one = self.network.inputs(EXAMPLES), self.network.inputs(1)
        self.whole = copy.deepcopy(self.model)
        self.row |= {"params": params_of(self.model), "macs": macs_of(self.model, self.one)}

    def _step(self) -> None:
        """Seconds of forward and backward of a batch of 32, from what fits in a few seconds."""
        model = copy.deepcopy(self.whole).train()
        taken, batch = 0.0, 2
        for batch in (2, 8, 32):
            if 4 * taken > 4:
                break
            inputs = self.network.inputs(batch)
            began = time.process_time()
            sum(output.sum() for output in output_tensors(call(model, inputs))).backward()  # type: ignore[union-attr]
            taken, measured = time.process_time() - began, batch
        self.row["seconds"]["step of 32"] = round(taken * 32 / measured, 3)
        self.row["batch"] = measured

    def _inspect(self) -> None:
        self.anatomy = sc.inspect(
            self.model, self.inputs, factory=self.network.build, seed=self.settings.seed
        )
        graph, costs = self.anatomy.graph, self.anatomy.costs
        now, least = costs.now, costs.at(dict.fromkeys(graph.groups, 1))
        self.row |= {
            "groups": len(graph.groups),
            "can go": {key: round(1 - least[key] / max(1, now[key]), 4) for key in ("params", "macs")},
            "frozen": [[each.name, each.width, each.reason[:400]] for each in graph.frozen],
            "books": {"params": now["params"] == self.row["params"], "macs": now["macs"] - self.row["macs"]},
            "uncounted": dict(costs.uncounted),
        }

    def _right(self) -> None:
        """Random cuts against the reference: every group by the ratio, by half, every other one alone."""
        assert self.anatomy is not None
        graph = self.anatomy.graph.uncut()
        drawn = torch.Generator().manual_seed(self.settings.seed)
        names = [name for name in graph.groups if graph.groups[name].width > 1]
        live, inputs = lively(self.whole, self.settings.seed), in_double(self.inputs)
        off, before = [], answers(live, inputs)
        for chosen, share in (
            (names, self.settings.ratio),
            (names, 0.5),
            (names[::2], 0.5),
            (names[1::2], 0.5),
        ):
            gone = {
                name: torch.randperm(graph.groups[name].width, generator=drawn)[
                    : max(1, int(share * graph.groups[name].width))
                ].tolist()
                for name in chosen
            }
            if gone:
                off.append(self._off(live, gone, inputs, before))
        self.row["difference"] = float(f"{max(off, default=math.inf):.3g}")
        self.row["right"] = self.row["difference"] <= RIGHT

    def _off(
        self, live: nn.Module, gone: dict[str, list[int]], inputs: Inputs, before: list[Tensor]
    ) -> float:
        """How far a cut is from the reference; infinite where it falls."""
        assert self.anatomy is not None
        compact, tagged = copy.deepcopy(live), copy.deepcopy(live)
        tag(tagged)
        for model in (compact, tagged):
            left = self.anatomy.graph.uncut()
            for name, channels in gone.items():
                left.remove(model, name, sorted(channels))
        kept = {axis[0]: left.left(axis) for axis in left.axes() if axis[1] == "out"}
        local = set(getattr(left, "over_kept", ()))
        expected = answers(blinded(live, compact, places_in(tagged), kept, local), inputs)
        if worst(before, expected) == 0:
            raise AssertionError("the cut changes no output, so nothing is known of it")
        try:
            return worst(answers(compact, inputs), expected)
        except Exception as error:
            self.row["falls"] = reason_of(error)
            return math.inf

    def _half(self) -> None:
        """Prune to half of the MACs by a channel's norm, without training, as a user would."""
        before = self.row["macs"]
        self.pruned = sc.prune(
            self.model,
            method="filter-norm",
            budget=HALF,
            example_inputs=self.inputs,
            train=False,
            factory=self.network.build,
            progress=False,
        )
        left = macs_of(self.pruned, self.one)
        self.row["half"] = {
            "reached": left <= before / 2,
            "macs": left,
            "params": params_of(self.pruned),
            "books": anatomy_of(self.pruned).costs.now["macs"] - left,
        }

    def _loaded(self) -> None:
        assert self.pruned is not None
        expected = answers(self.pruned, self.inputs)
        with tempfile.TemporaryDirectory() as folder:
            sc.save(self.pruned, folder)
            self.row["saved"] = True
            loaded = sc.load(folder, factory=self.network.build)
        found = answers(loaded, self.inputs)
        same = len(found) == len(expected) and all(map(torch.equal, found, expected))
        self.row["loaded"] = same
        if not same:
            raise AssertionError(f"what was loaded differs by {worst(found, expected):.2g}")

    def _onnx(self) -> None:
        from secateur.deploy.onnx import to_onnx

        assert self.pruned is not None
        with tempfile.TemporaryDirectory() as folder, in_time(self.settings.part_s):
            export = to_onnx(self.pruned, self.inputs, Path(folder) / "network.onnx")
        self.row["onnx"] = float(f"{export.difference:.3g}")

    def _others(self) -> None:
        live, inputs, settings = lively(self.whole, self.settings.seed), in_double(self.inputs), self.settings
        last = writers_of_output(live, in_double(self.one))
        self.row["others"] = {}
        for name, tool in TOOLS.items():
            began = time.process_time()
            found = outcome_of(tool, live, inputs, last, settings.ratio, settings.seed, settings.part_s)
            compact = found.pop("compact", None)
            if compact is not None:
                found["params"] = round(params_of(compact) / self.row["params"], 4)
                try:
                    left = macs_of(compact, in_double(self.one))
                    found["macs"] = round(left / max(1, self.row["macs"]), 4)
                except Exception as error:
                    found.setdefault("reason", reason_of(error))
            self.row["others"][name] = {**found, "seconds": round(time.process_time() - began, 2)}
            self.said(self.row)
