"""Sizes of sparse files against their entropy: `results/sparse-file/sizes.json`, and the table of
docs/sparse-file.md. `python tools/sparse_sizes.py [FOLDER ...]`; folders are those of saved networks.

Sizes depend on no clock: the same everywhere with the same zstandard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard
from torch import Tensor, nn

import secateur as sc
from secateur.device import Runtime
from secateur.network import sparse_file
from secateur.network.masks import apply_masks, count_nonzeros, keep_largest
from secateur.network.tensor_files import state_bytes, written_state
from secateur.network.weight_file import content_of
from secateur.network.weights import count_weights, prunable_weights
from secateur.runs.environment import describe_environment

ROOT = Path(__file__).resolve().parent.parent
OUT, DOC = ROOT / "results/sparse-file/sizes.json", ROOT / "docs/sparse-file.md"
BEGIN, END = "<!-- sizes: tools/sparse_sizes.py -->\n", "<!-- end of sizes -->\n"
SPARSITIES = (0.90, 0.95, 0.97, 0.99)


def main(folders: list[str]) -> None:
    rows = []
    for name in ("resnet18", "conv4"):
        for how in ("random", "magnitude"):
            rows += made(name, how)
    rows += [measured(sc.load(folder), Path(folder).name, "trained") for folder in folders]
    content = {
        "what": "bytes of model.safetensors, and of what they are compared with",
        "environment": describe_environment(Runtime("cpu"), "float32"),
        "zstandard": zstandard.__version__,
        "rows": rows,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(content, indent=1) + "\n")
    text = DOC.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    DOC.write_text(before + BEGIN + table(rows) + END + after)


def made(name: str, how: str) -> list[dict[str, Any]]:
    """A network as it is initialised, with normal weights, at every sparsity."""
    found = []
    for sparsity in SPARSITIES:
        torch.manual_seed(0)
        model = sc.Architecture.of(getattr(sc.models, name)()).build(seed=0)
        weights = prunable_weights(model)
        whole = sum(weight.numel() for weight in weights.values())
        with torch.no_grad():
            for held in model.state_dict().values():
                if held.is_floating_point():
                    held.copy_(torch.randn(held.shape) * (held.std() if held.dim() > 1 else 1))
        scores = torch.rand_like if how == "random" else torch.abs
        ranked = {key: scores(weight.detach()) for key, weight in weights.items()}
        apply_masks(model, keep_largest(ranked, whole - round(whole * sparsity)))
        found.append(measured(model, name, how, sparsity))
    return found


def measured(model: nn.Module, name: str, how: str, sparsity: float | None = None) -> dict[str, Any]:
    """The sizes of a network's files; a sparsity that is not given is counted."""
    state = written_state(model)
    nonzeros, whole = count_nonzeros(model), count_weights(model)
    sizes = {"float32": len(content_of(state)), "float16": len(content_of(state, values="float16"))}
    half = sparse_file.rounded(state, "float16")
    bounds = {"float32": bound(state, np.uint32), "float16": bound(half, np.uint16)}
    plain = content_of(state, sparse=False)
    assert len(plain) == state_bytes(state)
    return {
        "network": name,
        "zeros": how,
        "sparsity": sparsity if sparsity is not None else 1 - nonzeros / whole,
        "nonzeros": nonzeros,
        "plain": len(plain),
        "plain_zstd": len(zstandard.ZstdCompressor().compress(plain)),
        "csr": beside(state, lambda w: w.shape[0] + 1),
        "coo": beside(state, lambda w: int(w.count_nonzero())),
        "sparse": sizes,
        "bound": bounds,
        "over_bound": {kind: sizes[kind] / bounds[kind] for kind in sizes},
    }


def beside(state: dict[str, Tensor], more: Any) -> int:
    """Bytes of weights as coordinates: a float32 and an int32 a nonzero, and so many int32 more."""
    return sum(
        8 * int(w.count_nonzero()) + 4 * more(w) if w.dim() > 1 else w.numel() * w.element_size()
        for w in state.values()
    )


def bound(state: dict[str, Tensor], kind: Any) -> float:
    """The least bytes: N H(p) of every tensor with an eighth of zeros, and the entropy of the values' bytes.

    Written apart from the library: values are those of the file, each byte of them by its own frequency.
    """
    total, values = 0.0, {np.dtype(np.uint32): [], np.dtype(kind): []}  # type: ignore[var-annotated]
    for tensor in state.values():
        held = tensor.numpy().reshape(-1)
        if held.dtype != np.float32:
            total += held.nbytes
            continue
        p = np.count_nonzero(held) / held.size
        if p <= 7 / 8:
            total += held.size * sum(-q * np.log2(q) for q in (p, 1 - p) if q) / 8
            held = held[held != 0]
            if kind is np.uint16 and tensor.dim() > 1:
                held = held.astype(np.float16)
        values[np.dtype(f"u{held.itemsize}")].append(held.view(f"u{held.itemsize}"))
    for size, parts in values.items():
        together = np.concatenate(parts) if parts else np.empty(0, size)
        for byte in range(size.itemsize):
            total += entropy((together >> (8 * byte)) & 255)
    return float(total)


def entropy(symbols: np.ndarray) -> float:
    """Bytes that symbols of these frequencies take at least."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / max(1, counts.sum()))).sum() / 8)


def table(rows: list[dict[str, Any]]) -> str:
    """The table of the document, in kB."""
    heads = "network zeros sparsity exact / float16 / plain zstd CSR COO".replace("/", "bound").split()
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        kilo = [f"{value / 1000:,.0f}" for value in (row["plain"], row["plain_zstd"], row["csr"], row["coo"])]
        pairs = [
            cell
            for kind in ("float32", "float16")
            for cell in (f"{row['sparse'][kind] / 1000:,.0f}", f"{row['over_bound'][kind]:.3f}")
        ]
        cells = [row["network"], row["zeros"], f"{row['sparsity']:.0%}", *pairs, *kilo]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
