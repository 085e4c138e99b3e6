"""What README.txt says in an emitted folder."""

from __future__ import annotations

from secateur.deploy.emitted.plan import Plan

_ONNX = """\
This folder measures a neural network's layers, and whole networks, on the machine that it is copied to.
It needs Python 3.8 or newer with onnxruntime, and numpy, which onnxruntime brings.

    python measure.py > device.json

{counts} That takes about {about} and more on a slow machine; `python measure.py 0.1` runs each
for 0.1 seconds in place of 0.02 in each of its three rounds. Nothing else should run meanwhile. Weights are random
numbers that measure.py draws into onnx/weights.bin ({weights} MB): times do not depend on them.

Batch {batch}, threads {threads}.
"""

_C = """\
This folder measures a neural network's layers, and whole networks, on the device that it is copied to.
It needs a C11 compiler, and nothing else.

    sh build.sh && ./measure > device.json

or, in one line, with the options that your compiler has for your processor:

    {command}

{counts} That takes about {about} and more on a slow machine; `./measure 0.1` runs each for 0.1 seconds
in place of 0.01 in each of its three rounds. Nothing else should run meanwhile. The name of the device in the table
is what DEVICE says: add -DDEVICE='"my board"'.

Without an operating system: give main.c a clock, `-DSECATEUR_NOW=my_clock`, a function of yours that returns
nanoseconds as a double (a cycle counter times the length of a cycle), and take what is printed from your console, as
printf writes it. Memory: {memory} bytes, {weights} bytes of them for weights, which are random numbers drawn at the
start. -DSECATEUR_FLASH keeps the weights in read-only memory; they are zeros then, which takes as long where there is
a floating-point unit. -DSECATEUR_ROUNDS=1 takes the least time, -DSECATEUR_FEWEST=1 one run of each.
"""

_BACK = """
Copy device.json back, and prune to it:

    secateur prune fisher --model ... --data ... --budget latency=50%@file:device.json
    secateur prune fisher --model ... --data ... --budget latency=2ms@file:device.json

Secateur says then how far the table is off, by the whole networks that were measured.
"""


def readme(runtime: str, plan: Plan, **said: str | int) -> str:
    """The text.

    Args:
        said: what only the runtime's folder knows: bytes of weights, the command that builds.
    """
    seconds = (len(plan.points) + len(plan.networks)) * 3 * (0.015 if runtime == "c" else 0.03)
    about = f"{max(1, round(seconds / 60))} minute{'s' * (round(seconds / 60) > 1)}"
    counts = f"{len(plan.points)} layers and {len(plan.networks)} networks are measured, in turns."
    text = _C if runtime == "c" else _ONNX
    return text.format(counts=counts, about=about, batch=plan.batch, threads=plan.threads, **said) + _BACK
