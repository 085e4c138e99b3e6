"""What int8 costs and brings: python tools/int8.py FOLDER... --data cifar10 --out results/int8

For every folder of a trained network, and every format: the record that `secateur export --int8` leaves
(accuracy on the test split, bytes, latency of both side by side), and how the quantiser's choices compare.
They are compared on the validation split; the accuracies beside them, of the test split, choose nothing.
Latencies mean something on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from secateur.atomic import write_json
from secateur.data import Data, load_data
from secateur.deploy.quantizing import Recipe
from secateur.errors import InputError
from secateur.records.quantized import Quantized
from secateur.runs.quantizing import FORMATS, Wanted

BASE = Recipe("minmax")
CHOICES = {
    "as exported": BASE,
    "weights of 8 bits": replace(BASE, bits=8),
    "percentile": replace(BASE, method="percentile"),
    "entropy": replace(BASE, method="entropy"),
    "layers with weights alone": replace(BASE, between=False),
    "ends in float": replace(BASE, ends=False),
}


def compared(wanted: Wanted, data: Data) -> Iterable[dict[str, Any]]:
    """A row for each choice."""
    for name, recipe in CHOICES.items():
        try:
            found = wanted.quantized(data, recipes=[recipe])
        except InputError as error:
            yield {"choice": name, "refused": str(error)}
            continue
        quality = wanted.quality(found, data)
        yield {
            "choice": name,
            "recipe": asdict(recipe),
            "held_out": found.agreement.to_json(),
            "accuracy": quality.after,
            "same": quality.same,
            "n": quality.n,
            "speedup": found.latency(limit_s=1.0).speedup,
        }


def measured(folder: Path, data: Data, choices: bool) -> dict[str, Any]:
    """Everything of one network."""
    found: dict[str, Any] = {"network": folder.name, "data": data.label}
    with tempfile.TemporaryDirectory() as out:
        for to in FORMATS:
            wanted = Wanted.of(folder, to, out)
            record = wanted.write(data)
            found[to] = {"record": record.to_json()}
            say(folder.name, record)
            if choices and to != "c":
                found[to]["choices"] = [show(row) for row in compared(wanted, data)]
    return found


def say(name: str, record: Quantized) -> None:
    """A line of one file."""
    quality, pace = record.quality, record.latency
    assert quality is not None
    speed = "-" if pace is None else f"{pace.speedup:.2f} times as fast"
    shown = " -> ".join(map(quality.metric.shown, (quality.before, quality.after)))
    print(
        f"{name} {record.runtime}: {shown} of n = {quality.n:,}, the same for {quality.same}; "
        f"{record.bytes_before:,} -> {record.bytes_after:,} bytes; {speed}; {record.share:.0%} of the MACs; "
        f"{record.how}"
    )


def show(row: dict[str, Any]) -> dict[str, Any]:
    """A line of one choice."""
    if "refused" in row:
        print(f"    {row['choice']}: {row['refused']}")
    else:
        error = row["held_out"]["error"]
        print(
            f"    {row['choice']}: error {error:.4f}, accuracy {row['accuracy']:.4f}, the same for "
            f"{row['same']} of {row['n']}, x{row['speedup']:.2f}"
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--out", type=Path, default=Path("results/int8"))
    parser.add_argument("--no-choices", action="store_true", help="the records alone")
    given = parser.parse_args()
    data = load_data(given.data, limit_train=given.limit_train)
    given.out.mkdir(parents=True, exist_ok=True)
    for folder in given.folders:
        write_json(given.out / f"{folder.name}.json", measured(folder, data, not given.no_choices))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
