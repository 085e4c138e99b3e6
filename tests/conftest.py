"""Fixtures that several test files share."""

from __future__ import annotations

import pytest
import torch

from secateur.data import Data, load_data


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """No test reads or fills the user's cache, and none depends on the order of the others."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits() -> Data:
    """A stratified 300 of the embedded digits: small enough for real runs inside a test."""
    return load_data("digits", limit_train=300)
