"""Networks for other runtimes, and how fast they are there."""

from secateur.deploy import c, int8  # so that sc.deploy.c.compile is there at once

__all__ = ["c", "int8"]
