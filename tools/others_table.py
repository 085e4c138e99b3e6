"""Secateur beside other libraries, for the README: what each says of itself, and what was measured.

What is said of the others was read in the packages named in `READ`, and nowhere else.
"""

from __future__ import annotations

from pathlib import Path

from field.table import beside_others
from prunability import OTHERS, OURS, recorded, with_others

from secateur.methods import CHANNEL_METHODS, METHODS, ChannelReparametrization

ROOT = Path(__file__).parents[1]
READ = ("torch-pruning 1.6.1", "torch-kirigami 0.2.1", "nvidia-modelopt 0.47.0")
LINKS = (
    "[Torch-Pruning](https://github.com/VainF/Torch-Pruning)",
    "[torch-kirigami](https://pypi.org/project/torch-kirigami/)",
    "[ModelOpt](https://nvidia.github.io/Model-Optimizer/guides/3_pruning.html)",
)
SAID = (
    (
        "the budget is in",
        "parameters, MACs, bytes of the file, measured milliseconds, nonzero weights",
        "a share of the channels",
        "parameters, or limits on channels",
        "FLOPs or parameters",
    ),
    (
        "single weights to zero",
        "[{weights} methods](docs/methods/index.md), to the exact count",
        "–",
        "–",
        "2:4, by magnitude or SparseGPT",
    ),
    (
        "the smaller network from scratch beside it",
        "every time, with seeds and intervals",
        "–",
        "–",
        "–",
    ),
    (
        "the smaller network is saved as",
        "JSON and safetensors",
        "the whole module, pickled",
        "`torch.save` of structure and weights",
        "`torch.save` of weights and its own state",
    ),
    (
        "measured and exported for",
        "ONNX Runtime, OpenVINO, dependency-free C",
        "torch",
        "torch, compiled or not",
        "TensorRT, ONNX Runtime",
    ),
)


def others_table() -> str:
    """Six rows of Markdown, and where they come from."""
    lines = [f"| | Secateur | {' | '.join(LINKS)} |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |".format(weights=_of_weights()) for row in SAID]
    found = " | ".join(beside_others(_rows()).values())
    given = "of [networks all three were given](docs/prunability.md)"
    lines.append(f"| cut right, {given} | {found} | not tried |")
    read = ", ".join(READ)
    return "\n".join([*lines, "", f"Read in {read}; measured by `tools/prunability.py`.", ""])


def _of_weights() -> int:
    """How many methods zero single weights."""
    return len(METHODS) - len({*CHANNEL_METHODS, ChannelReparametrization.name})


def _rows() -> list[dict]:
    folder = ROOT / "results" / "prunability"
    ours, others = recorded(folder / OURS), recorded(folder / OTHERS)
    return [with_others(row, others.get(name)) for name, row in ours.items()]
