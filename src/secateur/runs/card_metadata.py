"""What the Hugging Face Hub reads of a model card: the YAML before its text."""

from __future__ import annotations

import re
from typing import Any

from secateur.architecture.hub import library
from secateur.data.hub import HUB, hub_repository
from secateur.errors import InputError
from secateur.records.scrubbed import scrubbed_text
from secateur.report.markdown import shortened
from secateur.runs.finished import Finished

PIPELINES = {"classification": "image-classification", "multilabel": "image-classification"}
"""Task of ours -> what the Hub calls it, of images; it has no word for numbers read off an image."""

_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,80}")


def metadata(finished: Finished, repo: str, licence: str | None = None) -> str:
    """The card's metadata as YAML, without the lines around it.

    Args:
        licence: as the Hub names licences, "apache-2.0"; None: nothing is said of it.

    Raises:
        InputError: where the Hub knows no such licence by form.
    """
    if licence is not None and not _ID.fullmatch(licence):
        raise InputError(
            "--license must be a licence's name as the Hub has it, such as apache-2.0, mit or other, got "
            f"'{licence}'"
        )
    tags = [
        "secateur",
        *(["pruning"] if finished.budget else []),
        *(["sparse"] if finished.is_sparse else []),
    ]
    data = library().ModelCardData(
        library_name="secateur",
        pipeline_tag=_pipeline(finished),
        tags=tags,
        datasets=[name] if (name := dataset_id(finished)) else None,
        base_model=finished.base_model,
        license=licence,
        metrics=[_slug(finished.made.measure.name)] if finished.made else None,
        model_name=repo.rpartition("/")[2],
        eval_results=_results(finished) or None,
    )
    if not finished.made:
        data.pop("model_name")
    return str(data.to_yaml())


def dataset_id(finished: Finished) -> str | None:
    """The data's name on the Hub; None where they are of somewhere else."""
    data = finished.artefact.data if finished.artefact else None
    if data is None:
        return None
    if data.name in HUB:
        return HUB[data.name]
    try:
        return hub_repository(data.name) if data.name.startswith("hf:") else None
    except InputError:
        return None


def _pipeline(finished: Finished) -> str | None:
    artefact = finished.artefact
    return PIPELINES.get(artefact.task) if artefact is not None and artefact.preprocessing else None


def _results(finished: Finished) -> list[Any]:
    """The test split's number, for the Hub's own tables."""
    made, artefact = finished.made, finished.artefact
    if made is None or artefact is None or artefact.data is None:
        return []
    label = shortened(scrubbed_text(artefact.data.label), 100)
    return [
        library().EvalResult(
            task_type=_pipeline(finished) or "other",
            dataset_type=dataset_id(finished) or _slug(label),
            dataset_name=label,
            dataset_split="test",
            metric_type=_slug(made.measure.name),
            metric_name=f"{made.measure.name} on {artefact.data.test} test examples",
            metric_value=made.accuracy,
            verified=False,
        )
    ]


def _slug(text: str) -> str:
    """A name as identifiers are written."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"
