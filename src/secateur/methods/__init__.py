"""The methods: siblings of equal shape, one per file. The registry is what the CLI and the tests go by."""

from __future__ import annotations

from secateur.methods.base import Method
from secateur.methods.fisher import Fisher

METHODS: dict[str, type[Method]] = {"fisher": Fisher}

__all__ = ["METHODS", "Fisher", "Method"]
