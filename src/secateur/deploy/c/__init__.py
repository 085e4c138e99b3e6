"""Networks as one C11 file with a header: no dependency, no allocation at run time. docs/c.md."""

from secateur.deploy.c.compiling import Compiled
from secateur.deploy.c.export import CExport, c_run, compile, read_c, to_c  # noqa: A004

__all__ = ["CExport", "Compiled", "c_run", "compile", "read_c", "to_c"]
