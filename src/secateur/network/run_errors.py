"""What may be raised where somebody else's network runs, and is told in one line."""

from __future__ import annotations

RUN_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
)
"""What the code of a model may raise."""
