"""The names of classes in the metadata that the Hugging Face Hub keeps in a table, however broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secateur.errors import InputError
from secateur.records.reading import parse_json

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Names:
    """Names of classes, or None where nothing says them; and what is to be said of that."""

    names: list[str] | None
    remarks: tuple[str, ...] = ()


def names_of(schema: pyarrow.Schema, label: str) -> Names:
    """The names of the label's ClassLabel feature; None where there is none, or where it cannot be read."""
    features = _features(schema)
    if features is None:
        return Names(None, (f"the metadata are broken, so that {label} has no class names",))
    feature = features.get(label)
    if not isinstance(feature, dict) or feature.get("names") is None:
        return Names(None)
    names = feature["names"]
    if isinstance(names, dict):  # {"0": "cat", "1": "dog"}
        names = _in_order(names)
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        return Names(None, (f"the class names of {label} are broken and were passed over",))
    return Names([str(name) for name in names])


def class_labels(schema: pyarrow.Schema) -> list[str]:
    """The columns that the metadata call labels of classes."""
    features = _features(schema) or {}
    return [
        name
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    ]


def _features(schema: pyarrow.Schema) -> dict[str, Any] | None:
    """The features by column; None where there are metadata that cannot be read."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        content = parse_json(text, "the metadata")
    except InputError:
        return None
    for key in ("info", "features"):
        if not isinstance(content, dict):
            return None
        content = content.get(key) or {}
    return content if isinstance(content, dict) else None


def _in_order(names: dict[str, Any]) -> list[Any] | None:
    """The values by their keys "0", "1", ...; None where keys are missing."""
    wanted = [str(index) for index in range(len(names))]
    return [names[key] for key in wanted] if set(names) == set(wanted) else None
