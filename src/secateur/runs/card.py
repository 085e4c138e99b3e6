"""The model card of a finished network: README.md of a repository on the Hugging Face Hub.

Everything in it is read from the folder: what is not known is left out, or said to be unknown. Numbers are
exact, or rounded to our disadvantage. Names of classes, data and devices are somebody else's: they become
text, never markup. Places on the machine that it was made on are left out.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from secateur.architecture.file import ARTEFACT_FILE
from secateur.records.found import counted
from secateur.records.scrubbed import scrubbed_text
from secateur.records.written import rounded
from secateur.report.cautious import size
from secateur.report.markdown import block, code, said
from secateur.runs.card_latency import latency, quantized
from secateur.runs.card_numbers import accuracy, sizes
from secateur.runs.finished import Finished
from secateur.runs.made import Made

MARK = "<!-- written by secateur: what is changed here is replaced by the next push -->"
"""By which a card of ours is told from one that a person wrote."""

_MOST_CLASSES = 100


def body(finished: Finished, repo: str) -> str:
    """The card below its metadata, as Markdown.

    Args:
        repo: OWNER/NAME, for the title and for how it is loaded.
    """
    sections = (
        [MARK, f"# {said(repo.rpartition('/')[2])}", *_summary(finished)],
        ["## Budget and size", *sizes(finished)],
        ["## Accuracy", *accuracy(finished)],
        ["## Latency", *latency(finished)],
        ["## In int8", *found] if (found := quantized(finished)) else [],
        ["## How to use it", *_usage(finished, repo)],
        ["## What it takes and gives", *_contract(finished)],
        ["## How it was made", *_making(finished)],
        ["## Limits", *_limits(finished)],
    )
    return "\n\n".join(chain.from_iterable(sections)) + "\n"


def _summary(finished: Finished) -> Iterator[str]:
    """What it is, in two sentences."""
    artefact = finished.artefact
    what = f"A network of {size(finished.counts['params'])} parameters ({code(finished.factory)})"
    if artefact is not None and artefact.task == "classification" and artefact.classes:
        what += f" that tells {len(artefact.classes):,} classes apart"
    elif artefact is not None:
        what += f" for {said(artefact.task)}"
    pixels = artefact.preprocess.format if artefact is not None and artefact.preprocess else None
    if pixels is not None:
        what += f" in images of {pixels.width}x{pixels.height} pixels"
    yield f"{what}. {_origin(finished)}"


def _origin(finished: Finished) -> str:
    """How it came about, in a sentence."""
    made, budget = finished.made, finished.budget
    if made is None and budget is None:
        return "It was saved with Secateur; no record says how it was trained."
    arm = f" by {code(made.arm)}" if made is not None and made.arm else ""
    how = (
        f"It was made with Secateur{arm} within the budget {code(budget)}"
        if budget
        else "Secateur trained it"
    )
    if finished.control is not None and finished.control.counts["params"] != finished.counts["params"]:
        how += f", from a network of {size(finished.control.counts['params'])} parameters"
    return f"{how}."


def _usage(finished: Finished, repo: str) -> Iterator[str]:
    """How it is loaded and called."""
    yield block("pip install 'secateur[hub]'", "bash")
    given = ", factory=build" if finished.needs_factory else ""
    lines = ["import secateur as sc", ""]
    if finished.needs_factory:
        lines += [f"from yours import build  # builds the uncut network: {finished.factory}", ""]
    lines += [f"model = sc.load({json.dumps('hf:' + repo)}{given})"]
    if finished.artefact is not None and finished.artefact.preprocess is not None:
        lines += [
            'scores = model(model.preprocess("photo.jpg"))',
            f'sc.predict(model, "photo.jpg")[0].{"said" if finished.is_classifier else "probabilities"}',
        ]
    yield block("\n".join(lines), "python")
    if finished.needs_factory:
        yield (
            "The network is built by code of its author's, which is not in this repository: "
            f"{code('factory=')} takes the function."
        )
    elif finished.artefact is not None and finished.artefact.preprocess is not None:
        yield block(f"secateur predict {shlex.quote('hf:' + repo)} photo.jpg", "bash")
    yield (
        "It is JSON and safetensors: loading it runs no code of this repository. For other runtimes: "
        f"{code('secateur export FOLDER --to onnx')}, {code('openvino')} or {code('c')}."
    )


def _contract(finished: Finished) -> Iterator[str]:
    """Input, preprocessing, classes."""
    artefact = finished.artefact
    if artefact is None:
        yield f"No {code(ARTEFACT_FILE)} says what its inputs are made of, and what its outputs are called."
        return
    if artefact.preprocess is not None:
        preprocess = artefact.preprocess
        pixels = preprocess.format
        colour = {1: "grey", 3: "RGB"}.get(pixels.channels, f"{pixels.channels} channels")
        yield (
            f"Input: float32 (N, {pixels.channels}, {pixels.height}, {pixels.width}), {colour}; images of "
            f"another size are brought to it by {code(pixels.fit)}. Pixels in \\[0, 1\\] minus "
            f"{_numbers(preprocess.mean)}, over {_numbers(preprocess.std)}, for each channel."
        )
    else:
        yield "What its inputs are made of is not known."
    gives = {
        "classification": "scores (N, K); softmax gives probabilities",
        "multilabel": "scores (N, K); the sigmoid of each is a probability",
        "regression": "numbers (N, K)",
    }
    yield f"Output: {gives.get(artefact.task, 'what its author knows')}."
    if artefact.classes:
        shown = ", ".join(said(name, 60) for name in artefact.classes[:_MOST_CLASSES])
        rest = len(artefact.classes) - _MOST_CLASSES
        more = f" and {rest:,} more, in {code(ARTEFACT_FILE)}" if rest > 0 else ""
        what = "Outputs" if artefact.task == "regression" else "Classes"
        yield f"{what}, in the order of its scores ({len(artefact.classes):,}): {shown}{more}."


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _making(finished: Finished) -> Iterator[str]:
    """Run, recipe, data, versions."""
    made, artefact = finished.made, finished.artefact
    label = artefact.label if artefact is not None and artefact.label else None
    label = label or (made.label if made else None)
    facts: list[tuple[str, str]] = []
    if finished.command:
        facts.append(("command", code(scrubbed_text(finished.command), 1000)))
    if label:
        facts.append(("run", said(scrubbed_text(label))))
    if artefact is not None and artefact.data is not None:
        data = artefact.data
        facts.append(
            (
                "data",
                f"{said(scrubbed_text(data.label))}: {data.train:,} examples for training, {data.val:,} for "
                f"validation, {data.test:,} for the test",
            )
        )
    if made is not None:
        facts += [*_run(made), *_recipes(made.identity), *_environment(made.environment)]
    if facts:
        yield "\n".join(f"- {name}: {value}" for name, value in facts)
    else:
        yield "No record came with it."


def _run(made: Made) -> Iterator[tuple[str, str]]:
    yield "run id", f"{code(made.run_id)}, seed {made.seed}"
    if made.train_compute:
        yield "training", f"{made.train_compute:.3g} training MACs, {made.wall_s:,.0f} s"


def _recipes(identity: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every recipe and method that took part, in the order of its steps."""
    for name in ("after", "dense"):
        if isinstance(identity.get(name), dict):
            yield from ((f"{name} {key}", value) for key, value in _recipes(identity[name]))
    for name in ("method", "tuning", "recipe"):
        values = identity.get(name)
        if isinstance(values, dict) and values:
            yield (
                name,
                code(
                    " ".join(f"{key}={json.dumps(rounded(scrubbed_value(v)))}" for key, v in values.items()),
                    1000,
                ),
            )


def _setting(value: Any) -> str:
    return json.dumps(rounded(scrubbed_value(value)))


def scrubbed_value(value: Any) -> Any:
    """A setting without places on the machine."""
    return scrubbed_text(value) if isinstance(value, str) else value


def _environment(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    packages = ("secateur", "torch", "python", "commit", "date", "device", "precision", "threads")
    found = [
        f"{name} {said(scrubbed_text(str(environment[name])))}"
        for name in packages
        if environment.get(name) is not None
    ]
    if found:
        yield "with", ", ".join(found)


def _limits(finished: Finished) -> Iterator[str]:
    """What should be known before it is trusted."""
    made, artefact = finished.made, finished.artefact
    known = [
        "Accuracy is that of the test split above, of the same source as the training images: on other "
        "images it "
        "may be lower.",
    ]
    if artefact is not None and artefact.task == "classification":
        known.append(
            "It says one of its classes of every image, also where none fits; its probabilities were not "
            "calibrated."
        )
    if made is not None and made.uncounted:
        names = ", ".join(said(name) for name in made.uncounted)
        known.append(f"Not counted among the MACs, as nobody knows their cost: {names}.")
    if made is not None and made.found is not None:
        known += [f"Of the data: {said(scrubbed_text(remark))}." for remark in made.found.remarks]
        known += [
            f"Left out of the data: {said(scrubbed_text(counted(what, count)))}."
            for what, count in made.found.left_out.items()
        ]
    if finished.base_model:
        known.append(
            f"It began as {said(finished.base_model)}: the licence and the limits of those weights hold for "
            "it too."
        )
    yield "\n".join(f"- {each}" for each in known)
