"""The report's page in a real browser: in the dark, on paper, on a telephone, without scripts, sorted."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from browser import find_browser, open_page
from secateur.compare.results import load_results
from secateur.compare.taking import taken
from secateur.records.taken import NothingToTake
from secateur.records.written import tidied, written
from secateur.report import Beside
from secateur.report.html import flat, render
from secateur.report.table import CSV_COLUMNS, as_csv, count, used
from synthetic import Elements, synthetic

pytestmark = pytest.mark.usefixtures("drawn")

DEFAULT = ("digits-wrn-16-1",)
RECORDED = [
    pytest.param(path, id=path.parent.name, marks=() if path.parent.name in DEFAULT else pytest.mark.slow)
    for path in sorted((Path(__file__).parents[1] / "results").glob("*/results.json"))
]

PROBE = """
const found = {};
function channels(text) {
  const numbers = text.match(/[-\\d.e]+/g).map(Number);
  const scale = text.startsWith("color(") ? 255 : 1;
  return [numbers[0] * scale, numbers[1] * scale, numbers[2] * scale, numbers.length > 3 ? numbers[3] : 1];
}
function luminance(rgb) {
  const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function behind(element) {
  const layers = [];
  for (let each = element; each; each = each.parentElement) {
    const layer = channels(getComputedStyle(each).backgroundColor);
    if (layer[3] > 0) layers.push(layer);
    if (layer[3] === 1) break;
  }
  const over = (under, top) => under.map((v, i) => v * (1 - top[3]) + top[i] * top[3]);
  return layers.reverse().reduce(over, [255, 255, 255]);
}
function lowest() {
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  let least = [99, "", 0], count = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || !element.getClientRects().length || element.closest("title")) continue;
    const style = getComputedStyle(element), drawn = element.closest("svg");
    const ink = channels(drawn ? style.fill : style.color), card = behind(drawn || element);
    const [a, b] = [luminance(ink.slice(0, 3)), luminance(card)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    count += 1;
    if (ratio < least[0]) least = [ratio, node.data.trim().slice(0, 60), element.outerHTML.slice(0, 99)];
  }
  return { ratio: least[0], text: least[1], of: least[2], texts: count };
}
function framed(width, scripts) {
  return new Promise(done => {
    const frame = document.createElement("iframe");
    frame.style = `width: ${width}px; height: 900px; border: 0`;
    if (!scripts) frame.setAttribute("sandbox", "allow-same-origin");
    frame.onload = () => setTimeout(() => done(frame), 50);
    frame.srcdoc = source.replaceAll("location.pathname", JSON.stringify(location.pathname));
    document.body.append(frame);
  });
}
const root = document.documentElement;
const table = document.querySelector("table.sortable");
const column = name => Array.from(table.querySelectorAll(".sort")).find(b => b.textContent === name);
const values = place => Array.from(table.tBodies[0].rows).map(row => row.cells[place].dataset.value);
async function probe() {
  found.wide = root.scrollWidth <= window.innerWidth;
  root.dataset.theme = "light";
  found.light = lowest();
  root.dataset.theme = "dark";
  found.dark = lowest();
  document.getElementById("theme").click();
  found.toggled = root.dataset.theme;
  found.kept = sessionStorage.getItem("secateur-theme");
  const button = column("params"), place = Number(button.dataset.column);
  found.before = values(place);
  button.click();
  found.up = [values(place), button.closest("th").ariaSort || button.closest("th").getAttribute("aria-sort")];
  button.click();
  found.down = [values(place), button.closest("th").getAttribute("aria-sort")];
  column("arm").click();
  found.arms = [values(0), table.querySelectorAll("[aria-sort]").length];
  button.click();
  button.click();
  const select = document.querySelector("#h-accuracy ~ figure select");
  const seen = each => each.getClientRects().length > 0;
  const shown = () => Array.from(document.querySelectorAll("#accuracy > .view")).map(seen);
  found.first = shown();
  select.value = "1";
  select.dispatchEvent(new Event("change"));
  found.second = shown();
  const copy = document.querySelector("button[data-copy]");
  copy.click();
  found.copied = copy.textContent;
  const narrow = await framed(390, true), plain = await framed(1200, false);
  const small = narrow.contentDocument.documentElement;
  found.narrow = [small.scrollWidth, small.clientWidth];
  const again = small.querySelector("table.sortable [aria-sort]");
  found.again = again && [again.querySelector("button").textContent, again.getAttribute("aria-sort")];
  const wider = box => box.scrollWidth > box.clientWidth;
  found.scrolls = Array.from(small.querySelectorAll(".scroll")).some(wider);
  const bare = plain.contentDocument;
  found.bare = {
    scripted: Array.from(bare.querySelectorAll(".scripted")).filter(seen).length,
    hidden: Array.from(bare.querySelectorAll(".view")).filter(each => !seen(each)).length,
    names: Array.from(bare.querySelectorAll("#accuracy h4")).filter(seen).length,
  };
  const told = document.createElement("script");
  told.type = "application/json";
  told.id = "probed";
  told.textContent = JSON.stringify(found).replaceAll("<", "\\\\u003c");
  document.body.append(told);
}
probe();
"""


@pytest.fixture(scope="module")
def page() -> str:
    """The page of a full comparison with all that can stand beside it."""
    results, histories = synthetic()
    return render(results, histories, Beside(taken=NothingToTake("best/ is not there.")))


@pytest.fixture(scope="module")
def probed(page: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a browser finds on the page, by one visit; without its policy, which forbids the probe."""
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    source = json.dumps(free).replace("<", "\\u003c")
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(free.replace("</body>", f"<script>const source = {source};{PROBE}</script></body>"))
    opened = open_page(path, width=1280)
    # Chromium complains of every script that the frame without scripts may not run.
    assert [line for line in opened.console_errors if "sandboxed" not in line] == []
    found = re.search(r'<script type="application/json" id="probed">(.*?)</script>', opened.dom, re.DOTALL)
    assert found, "the probe broke off"
    told: dict[str, Any] = json.loads(found[1])
    return told


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read(probed: dict[str, Any], theme: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1, of every text that is shown, drawings too."""
    least = probed[theme]
    assert least["texts"] > 300
    assert least["ratio"] >= 4.5, least


def test_the_theme_can_be_chosen_and_is_kept(probed: dict[str, Any]) -> None:
    assert (probed["toggled"], probed["kept"]) == ("light", "light")  # it was dark


def test_the_table_sorts(probed: dict[str, Any]) -> None:
    numbers = [float(value) for value in probed["before"]]
    assert len(numbers) == 11
    assert numbers != sorted(numbers)
    assert ([float(v) for v in probed["up"][0]], probed["up"][1]) == (sorted(numbers), "ascending")
    assert ([float(v) for v in probed["down"][0]], probed["down"][1]) == (
        *(sorted(numbers, reverse=True), "descending"),
    )
    assert probed["again"] == ["params", "descending"]  # as a page is that loads itself again
    arms, sorted_by = probed["arms"]
    assert (arms, sorted_by) == (sorted(arms), 1)


def test_a_menu_chooses_what_is_shown_and_a_button_copies(probed: dict[str, Any]) -> None:
    count = len(probed["first"])
    assert count >= 4
    assert probed["first"] == [index == 0 for index in range(count)]
    assert probed["second"] == [index == 1 for index in range(count)]
    assert probed["copied"] in ("Copied", "Selected")


def test_no_page_scrolls_sideways(probed: dict[str, Any]) -> None:
    assert probed["wide"]
    assert probed["narrow"] == [390, 390]
    assert probed["scrolls"]  # its tables do, in their boxes


def test_without_scripts_everything_is_there_and_no_button(probed: dict[str, Any]) -> None:
    assert probed["bare"] == {"scripted": 0, "hidden": 0, "names": len(probed["first"])}


def test_the_policy_lets_only_the_pages_own_scripts_run(page: str, tmp_path: Path) -> None:
    (policy,) = (
        a["content"] for tag, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "unsafe-eval" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = policy.partition("script-src ")[2].partition(";")[0]
    assert allowed == " ".join(f"'sha256-{each}'" for each in hashes)
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", '<script>document.title = "taken over"</script></body>'))
    opened = open_page(path)
    assert "taken over</title>" not in opened.dom
    assert 'data-script="on"' in opened.dom  # its own did run
    assert any("Content Security Policy" in line for line in opened.console_errors)


def test_the_page_is_printed_with_a_chart_on_its_first_sheet(page: str, tmp_path: Path) -> None:
    """The first sheet has the headline and the forest plot; no sheet ends with a heading."""
    browser, reader = find_browser(), shutil.which("pdftotext")
    if browser is None or reader is None:
        pytest.skip("no Chromium, or no pdftotext: apt-get install chromium poppler-utils")
    (tmp_path / "page.html").write_text(page)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += ["--blink-settings=preferredColorScheme=0", "--no-pdf-header-footer"]
    address, printed = (tmp_path / "page.html").as_uri(), tmp_path / "page.pdf"
    subprocess.run([browser, *flags, f"--print-to-pdf={printed}", address], check=True, capture_output=True)
    command = [reader, "-layout", printed, "-"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    sheets = [" ".join(sheet.split()) for sheet in text.split("\f") if sheet.strip()]
    assert "copycat is best: 97.1%" in sheets[0]
    assert "mean (95% interval)" in sheets[0]  # of the forest plot
    heads = [re.sub(r"<[^>]*>", "", head) for head in re.findall(r"<h[23][^>]*>(.*?)</h[23]>", page)]
    assert len(heads) > 8
    for sheet in sheets:
        assert not any(sheet.endswith(head) for head in heads)
    assert all(word not in text for word in ("Copy", "CSV"))
    assert text.count("95% interval") >= 2  # a heading is repeated, or there are two tables


def test_the_table_as_a_file() -> None:
    results, _ = synthetic()
    rows = list(csv.DictReader(io.StringIO(as_csv(results))))
    assert len(rows) == 11
    assert tuple(rows[0]) == CSV_COLUMNS
    assert (rows[0]["arm"], rows[0]["budget"]) == ("dense", "")
    by_arm = {(row.arm, row.budget): row for row in results.summary}
    for row in rows[1:]:
        found = by_arm[row["arm"], row["budget"]]
        for name in ("mean", "params", "macs", "train_compute", "wall_s"):
            assert float(row[name]) == pytest.approx(getattr(found, name), rel=1e-5)
    hostile = replace(results, summary=(replace(results.summary[0], arm='=cmd|"/c calc"!A1'),))
    assert list(csv.DictReader(io.StringIO(as_csv(hostile))))[1]["arm"] == '\'=cmd|"/c calc"!A1'


def test_the_file_is_in_its_link(page: str) -> None:
    (link,) = (a["href"] for tag, a in Elements(page).found if tag == "a" and a.get("download"))
    assert link is not None
    assert unquote(link.removeprefix("data:text/csv;charset=utf-8,")) == as_csv(synthetic()[0])


# Numbers


@pytest.mark.parametrize("power", range(-12, 13, 3))
def test_a_number_has_six_digits_and_reads_back(power: int) -> None:
    for mantissa in (1 / 3, 0.1 + 0.2, 0.8000000000000003, 2 / 3, 1.0, 9.9999999, 0.1234565):
        value = mantissa * 10.0**power
        text = written(value)
        assert float(text) == pytest.approx(value, rel=5e-6)
        digits = text.partition("e")[0].replace(".", "").lstrip("0")
        assert len(digits) <= 6 or value == int(value)
        assert flat(value) == flat([value]) == text
        if len(str(value)) > 14 and "e" not in str(value):
            assert tidied(f"lr {value}, more") == f"lr {text}, more"
        assert flat({"a": (value,)}) == f"a: ({text})"


def test_budgets_are_never_rounded_in_our_favour() -> None:
    assert [used(value, 20000) for value in (19999, 19990.1, 20000, 19980)] == [
        "100.0%",
        "100.0%",
        "100.0%",
        "99.9%",
    ]
    assert [count(value) for value in (19999.01, 20000.0)] == ["20,000", "20,000"]


NOISE = re.compile(r"(?<![\w.#-])\d*\.\d{7,}")


@pytest.mark.parametrize("path", RECORDED)
def test_what_was_recorded_is_drawn_light_and_without_noise(path: Path) -> None:
    results = load_results(path.parent)
    page = render(results, {}, Beside(taken=taken(path.parent, results)))
    assert len(page.encode()) < 400_000
    assert NOISE.findall(Elements(page).text) == []
    assert "best/ does not lie beside this page" in page
