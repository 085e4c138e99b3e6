"""A text classifier of `transformers`, unmodified: dictionaries as batches, pruned, saved, and loaded again.

A word of twenty decides the class of a sentence of six; the network is tiny and drawn at random, so that
nothing is downloaded. With `BertForSequenceClassification.from_pretrained(...)` the rest stays the same.
Run it with `python examples/bert.py [FOLDER]`; it needs `pip install 'secateur[hf]'`.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader, default_collate
from transformers import BertConfig, BertForSequenceClassification

import secateur as sc


def sentences(count, seed):
    """As tokenised text comes from the package: input_ids, attention_mask and labels in one dictionary."""
    chance = torch.Generator().manual_seed(seed)
    words = torch.randint(1, 20, (count, 6), generator=chance)
    length = torch.randint(3, 7, (count, 1), generator=chance)
    mask = (torch.arange(6) < length).long()
    labels = (words[:, 0] > 9).long()
    return [
        {"input_ids": w, "attention_mask": m, "labels": y}
        for w, m, y in zip(words * mask, mask, labels, strict=True)
    ]


def accuracy(model, loader):
    model.eval()
    right = total = 0
    with torch.no_grad():
        for batch in loader:
            labels = batch.pop("labels")
            right += int((model(**batch).logits.argmax(1) == labels).sum())
            total += len(labels)
    return right / total


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    train = DataLoader(sentences(320, seed=0), batch_size=32, shuffle=True, collate_fn=default_collate)
    test = DataLoader(sentences(200, seed=1), batch_size=100, collate_fn=default_collate)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=20, max_position_embeddings=8, num_labels=2, **sizes)
    model = BertForSequenceClassification(config)

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(6):
        for batch in train:
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    before = accuracy(model, test)

    model = sc.prune(
        model,
        budget="params=70%",
        data=train,
        optimizer=optimizer,
        keep="bert.pooler",  # nothing is cut there
        every=2,
        at_once=8,
        tune_epochs=2,
    )
    params = sum(parameter.numel() for parameter in model.parameters())
    print(f"accuracy {before:.1%} before, {accuracy(model, test):.1%} with {params:,} parameters")

    # The folder has the network's configuration beside its architecture: no factory is needed.
    sc.save(model, out / "small")
    again = sc.load(out / "small")
    batch = next(iter(test))
    with torch.no_grad():
        same = torch.equal(again(**batch).logits, model(**batch).logits)
    print(f"loaded again: a {type(again).__name__}, the same outputs: {same}")
