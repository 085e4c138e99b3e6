"""Networks as one C11 file with a header: no dependency, no allocation at run time. docs/c.md."""

from secateur.deploy.c.compiling import Compiled, find_compiler
from secateur.deploy.c.export import CExport, CRun, c_run, compile, read_c, to_c

__all__ = ["CExport", "CRun", "Compiled", "c_run", "compile", "find_compiler", "read_c", "to_c"]
