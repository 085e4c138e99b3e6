"""One's own loop under Accelerate: nine of ten weights are set to zero while it trains; a sparse file.

`accelerate launch examples/accelerate_loop.py` runs it in as many processes as were configured, and
`python examples/accelerate_loop.py [FOLDER]` in one. Loops of the Hugging Face Trainer and of Lightning:
docs/own-loop.md.
"""

import math
import sys
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import secateur as sc


def digits(part):
    """Images in [-1, 1] and their classes."""
    return TensorDataset(part.images.float() / 127.5 - 1, part.labels)


@torch.no_grad()
def accuracy(model, dataset):
    x, y = dataset.tensors
    return float((model.eval()(x).argmax(1) == y).float().mean())


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    data = sc.load_data("digits")
    epochs, train, val = 6, digits(data.train), digits(data.val)

    accelerator = Accelerator(cpu=True)  # without cpu=True: whatever there is
    loader = accelerator.prepare(DataLoader(train, batch_size=64, shuffle=True))
    steps = epochs * math.ceil(len(loader) / accelerator.gradient_accumulation_steps)

    # prepare and the optimizer come before accelerator.prepare; hooks take the bare model.
    method = sc.methods.Reparametrization("nonzeros=10%", steps=steps)
    network = sc.models.conv4(width=0.25, in_channels=1, image_size=8)
    model = method.prepare(network.to(accelerator.device))
    optimizer = torch.optim.AdamW(method.parameter_groups(model, weight_decay=0.01), lr=3e-3)
    model, optimizer = accelerator.prepare(model, optimizer)
    for epoch in range(epochs):
        for x, y in loader:
            with accelerator.accumulate(model):
                bare = accelerator.unwrap_model(model)
                loss = F.cross_entropy(model(x), y) + method.penalty(bare)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                if accelerator.sync_gradients:  # the optimizer did a step
                    method.after_step(bare, optimizer)
        if accelerator.is_main_process:
            print(f"epoch {epoch + 1}: {method.remaining(bare):.0%} of the weights in use")
    model = method.finalize(accelerator.unwrap_model(model, keep_fp32_wrapper=False))  # plain again

    if accelerator.is_main_process:
        sc.save(model, out)
        left = sum(int((p != 0).sum()) for p in model.parameters() if p.ndim > 1)
        size = (out / "model.safetensors").stat().st_size
        print(f"{accuracy(model, val):.1%} on validation with {left:,} weights in {size:,} bytes")
