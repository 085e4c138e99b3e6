"""What a user waits for before anything happens: imports, and `--help`.

Everything that `secateur` offers is touched, in a fresh process, over `import torch` in a fresh process;
both with warm bytecode, walls of whole processes. `secateur --help` is over one second.
"""

from __future__ import annotations

from benchmarks.processes import python
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import measure, summary

BAR_IMPORT, BAR_HELP = 1.15, 1.0
TORCH = "import torch"
SECATEUR = "import secateur; [getattr(secateur, name) for name in secateur.__all__]"
HELP = """
import sys
sys.argv = ["secateur", "--help"]
from secateur.cli.main import main
try:
    main()
except SystemExit as stopped:
    assert not stopped.code, stopped.code
print("torch was imported" if "torch" in sys.modules else "without torch")
"""


def run(settings: Settings) -> Found:
    """Fresh processes in every round."""
    if settings.device != "cpu":
        return Found(notes=["measured on a CPU only: no device is touched"])
    said: list[str] = []
    times = measure(
        {
            "import torch": lambda: python("-c", TORCH),
            "import secateur": lambda: python("-c", SECATEUR),
            "python": lambda: python("-c", "pass"),
            "secateur --help": lambda: said.append(python("-c", HELP).splitlines()[-1]),
        },
        rounds=settings.rounds,
        at_least_s=0,
        warm_up=1,
    )
    found = Found()
    found.add("import", times, "import secateur", "import torch", bar=BAR_IMPORT)
    seconds = summary(times.seconds["secateur --help"])
    without = set(said) == {"without torch"}
    bar = BAR_HELP if without else 0.0  # nothing meets it
    ms = times.ms("secateur --help", "python")
    more = {"without_torch": without}
    found.cases.append(Case("help", "secateur --help", "one second", seconds, bar, ms, more))
    found.notes.append(f"secateur --help: {'does not import' if without else 'IMPORTS'} torch")
    return found
