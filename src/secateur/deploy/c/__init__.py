"""Networks as one C11 file with a header: no dependency, no allocation at run time."""
