"""The report: one self-contained HTML page and the figures, drawn from `results.json` and nothing else."""

from __future__ import annotations

from .beside import Beside
from .html import write_report

__all__ = ["Beside", "write_report"]
