"""What a shell and a notebook show of what functions return: short, true, and text where it is HTML."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.budget import Budgets, Limits
from secateur.records.results import Results
from secateur.records.shown import MOST_ROWS, Shown


class Read(HTMLParser):
    """The tags and the text of a page; unbalanced tags are an error."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.texts = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(page):
    found = Read()
    found.feed(page)
    assert not found.open
    return found


def test_a_table_as_text_and_as_html():
    shown = Shown(
        "Two & more", ("name", "n"), [("<script>alert(1)</script>", "1"), ("b", "22")], ["<i>note</i>"]
    )
    assert shown.text().splitlines() == [
        "Two & more",
        "  name                        n",
        "  <script>alert(1)</script>   1",
        "  b                          22",
        "<i>note</i>",
    ]
    found = read(shown.html())
    assert found.tags == {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert found.texts == [
        "Two & more",
        "name",
        "n",
        "<script>alert(1)</script>",
        "1",
        "b",
        "22",
        "<i>note</i>",
    ]


def test_many_rows_are_counted_not_shown():
    shown = Shown("All", ("name",), [(f"row{index}",) for index in range(MOST_ROWS + 5)])
    assert shown.text().splitlines()[-1] == "  ... and 5 more"
    assert len(shown.text().splitlines()) == MOST_ROWS + 3
    assert "... and 5 more" in read(shown.html()).texts
    assert Shown("Nothing").text() == "Nothing"


def test_an_architecture():
    model = sc.models.wide_resnet(depth=10, width=1, in_channels=1, image_size=8)
    architecture = sc.Architecture.of(model)
    params = sum(parameter.numel() for parameter in model.parameters())
    line = f"wrn-10-1: {params:,} params, 763,520 MACs, widths 16, 32, 64"
    assert repr(architecture) == f"<Architecture {line}>"
    found = read(architecture._repr_html_())
    assert line in found.texts
    assert found.texts[-3:] == ["blocks.2", "64", "64"]
    assert "(12 more)" not in repr(architecture)
    deep = sc.Architecture.of(sc.models.wide_resnet(depth=40, width=1))
    assert repr(deep).endswith(", ... (18 groups)>")


def test_what_inspect_finds():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 10),
    )
    found = sc.inspect(model, torch.randn(2, 1, 8, 8))
    params = sum(parameter.numel() for parameter in model.parameters())
    lines = repr(found).splitlines()
    assert lines[0].startswith("Anatomy: 2 groups of channels that can be cut, 1 frozen; ")
    assert f"{params:,} params" in lines[0]
    assert [line.split() for line in lines[2:4]] == [["0", "8", "0,", "2"], ["2", "12", "2,", "5"]]
    assert lines[4] == "frozen: 5 (1): written to the network's output"
    assert "12" in read(found._repr_html_()).texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (sc.Recipe(), "Recipe()"),
        (sc.Recipe(epochs=5, schedule="cosine"), "Recipe(epochs=5, schedule='cosine')"),
        (sc.Recipe(optimizer="adamw"), "Recipe(optimizer='adamw')"),
        (sc.Recipe(milestones=(0.5,)), "Recipe(milestones=(0.5,))"),
        (sc.PruneSettings(), "PruneSettings()"),
        (sc.PruneSettings(every=3, method="taylor"), "PruneSettings(every=3, method='taylor')"),
        (sc.Budget.parse("params=25%"), "Budget('params=25%')"),
        (Budgets.parse("params=500k,macs=40M"), "Budgets('params=500k,macs=40M')"),
        (Limits.at({"macs": 10**6, "params": 4000}), "Limits(params=4,000, macs=1,000,000)"),
        (
            Limits.of("params=5,latency=50%@torch", nn.Linear(9, 10)).fixed(10**7),
            "Limits(params=5, latency=50%@torch (5 ms))",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_settings_say_what_is_not_the_default(value, text):
    assert repr(value) == text
    if text.startswith(("Recipe", "PruneSettings")):
        assert eval(text, {"Recipe": sc.Recipe, "PruneSettings": sc.PruneSettings}) == value  # our own text


def test_data():
    data = sc.data.load_data("digits")
    assert repr(data).startswith("<Data digits: 10 classes (0, 1, 2 and 7 more), ")
    texts = read(data._repr_html_()).texts
    assert texts[1:5] == ["class", "train", "val", "test"]
    assert texts[5] == "0"
    assert sum(map(int, texts[6::4])) == len(data.train)


def test_a_comparison(tmp_path):
    result = sc.compare(
        "wrn-10-1",
        data="digits",
        budgets=["params=50%"],
        arms=["width"],
        epochs=1,
        device="cpu",
        out=tmp_path,
    )
    lines = repr(result).splitlines()
    (row,) = result.results.summary
    assert lines[0] == f"{result.verdict} (wrn-10-1 on digits)"
    assert lines[1].split() == ["arm", "params", "accuracy", "95%", "interval", "seeds"]
    assert lines[2].split()[:4] == ["width", "params=50%", "38,698", f"{row.mean:.1%}"]
    assert lines[-1] == f"Report: {tmp_path / 'report.html'}"
    assert repr(result.results) == "\n".join(lines[:-1])
    assert repr(result.points[0]) == (
        f"<Point width params=50% seed 0: {row.mean:.1%}, 38,698 params, 412,918 MACs>"
    )
    nasty = replace(result.results, model="<img src=x>")
    assert "img" not in read(nasty._repr_html_()).tags
    assert isinstance(nasty, Results)
    assert str(tmp_path / "report.html") in "".join(read(result._repr_html_()).texts)
