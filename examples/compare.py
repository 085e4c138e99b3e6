"""Which way to a quarter of the parameters is best? The comparison, its advice, the network it keeps.

On the digits that come with the package. Run it with `python examples/compare.py [FOLDER]`, which leaves
`report.html` there. It is `secateur compare --model wrn-10-1 --data digits --budget params=25%`, from Python.
"""

import sys
import tempfile
from pathlib import Path

import torch

import secateur as sc

if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())

    # Two arms of many, few epochs and one seed, to be done in seconds. Take three seeds for a verdict.
    result = sc.compare(
        "wrn-10-1",
        data="digits",
        budgets=["params=25%"],
        arms=["fisher-tuned", "width"],
        seeds=1,
        epochs=4,
        prune_every=1,
        device="cpu",
        out=out,
    )
    print(result.advice.text)
    for point in result.points:
        print(f"{point.arm}: {point.accuracy:.1%} with {point.params:,} parameters")

    # best/ is a network as any other, which knows its classes and how its pixels are made.
    model = sc.load(out / "best")
    image = sc.load_data("digits").test.images[0, 0].numpy()  # uint8 (8, 8); a file's path does as well
    with torch.no_grad():
        scores = model(model.preprocess(image))[0].softmax(0)
    print(f"a {model.classes[scores.argmax()]} with {float(scores.max()):.0%}")
