"""The page of a comparison while it goes on, and how a browser gets at it."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import sys
import urllib.request
from pathlib import Path

import pytest

import secateur as sc
from browser import open_page
from secateur.cli.main import main
from secateur.compare import live
from secateur.compare.lacking import Lacking
from secateur.compare.results import load_results, rewrite_report
from secateur.errors import InputError
from secateur.progress import Reporter, Several
from secateur.report.progress import Progress, Running, banner, with_banner
from secateur.report.serving import Served, open_browser
from secateur.runs.executors.events import EventReader, EventWriter
from secateur.runs.graph import Graph, Made
from secateur.runs.store import RunStore

SMALL = {
    "model": "wrn-10-1",
    "budgets": ["params=50%", "params=25%"],
    "arms": ["width"],
    "seeds": 2,
    "epochs": 1,
    "device": "cpu",
    "workers": 1,
}


class Watcher(Reporter):
    """Keeps what `report.html` is whenever a run ended; interrupts after so many."""

    def __init__(self, out, most=None):
        self.out, self.most, self.pages, self.there, self.notes = out, most, [], [], []

    def run_started(self, label, compute):
        if self.pages and len(self.pages) == self.most:
            raise KeyboardInterrupt
        page = self.out / "report.html"
        self.pages.append(page.read_text() if page.is_file() else "")
        self.there.append(sorted(each.name for each in self.out.iterdir() if not each.name.startswith(".")))

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A comparison of four runs, interrupted behind the second and gone on with."""
    out = tmp_path_factory.mktemp("watched")
    data = sc.data.load_data("digits", limit_train=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "EVERY_S", 0.0)
        first = Watcher(out, most=2)
        with pytest.raises(KeyboardInterrupt):
            sc.compare(**SMALL, data=data, out=out, reporter=first, command="secateur compare <it>")
        interrupted = (out / "report.html").read_text()
        with pytest.raises(InputError) as lacking:
            load_results(out)
        second = Watcher(out)
        sc.compare(**SMALL, data=data, out=out, reporter=second, command="secateur compare <it>")
    return out, data, first, interrupted, str(lacking.value), second


def test_pages_say_how_far_it_is_and_nothing_else_is_there(watched):
    _, _, first, _, _, second = watched
    assert [page.split('class="how-far">')[1].split("<")[0].split(";")[0] for page in first.pages] == [
        "0 of 4 runs finished",
        "1 of 4 runs finished",
    ]
    assert "2 of 4 runs finished" in second.pages[0]
    assert "3 of 4 runs finished" in second.pages[1]
    for names in (*first.there, *second.there):
        assert names in (["plan.json", "report.html", "runs"], ["report.html"], ["report.html", "runs"])
    assert not any("page" in note for note in [*first.notes, *second.notes])


def test_what_is_there_is_drawn_and_what_is_not_waits(watched):
    _, _, first, _, _, second = watched
    waiting = [page.split("<ul>")[1].split("</ul>")[0] for page in first.pages]
    assert "<li>width params=50%</li>\n<li>width params=25%</li>" in waiting[0]
    assert "width params=50%, 1 of 2 seeds there" in waiting[1]
    assert "No verdict yet" in first.pages[1]
    assert "Drawn below: what 1 of these runs came to." in first.pages[1]
    assert "winner" not in first.pages[1].split("</style>")[-1].split("How to read")[0]
    assert "No points have been measured yet" in first.pages[0]
    assert "No points have been measured yet" not in first.pages[1]
    assert '<meta http-equiv="refresh" content="10">' in second.pages[1]


def test_interrupted_it_says_so_and_how_to_go_on(watched):
    _, _, _, interrupted, lacking, _ = watched
    assert "Unfinished: 2 of 4 runs are there" in interrupted
    assert "The command was interrupted." in interrupted
    assert "<code>secateur compare &lt;it&gt;</code>" in interrupted
    assert 'http-equiv="refresh"' not in interrupted
    assert 'data-every=""' in interrupted
    assert "its comparison is not finished" in lacking


def test_the_last_page_is_the_one_without_live_writing(watched):
    out, data, *_ = watched
    last = (out / "report.html").read_bytes()
    assert b"how-far" not in last
    assert b'http-equiv="refresh"' not in last
    (out / "report.html").unlink()
    sc.compare(
        **SMALL, data=data, out=out, command="secateur compare <it>"
    )  # all is there: nothing is watched
    assert (out / "report.html").read_bytes() == last
    rewrite_report(out, load_results(out))
    assert (out / "report.html").read_bytes() == last


def test_failed_runs_are_told_on_the_page(tmp_path, watched):
    class Failing(Reporter):
        def run_started(self, label, compute):
            raise InputError(f"no <{label}>")

    with pytest.raises(InputError):
        sc.compare(**SMALL, data=watched[1], out=tmp_path, reporter=Failing())
    page = (tmp_path / "report.html").read_text()
    assert "Unfinished: 0 of 4 runs are there" in page
    assert "The command ended: " in page
    assert "no &lt;width params=50% seed 0&gt;" in page
    names = [f"width params={share}% seed {seed}" for seed in (0, 1) for share in (50, 25)]
    assert listed(page, "Failed") == [f"{name}: no &lt;{name}&gt;" for name in names]
    assert listed(page, "Waiting") == []


def test_while_others_go_on_what_failed_does_not_wait(tmp_path, watched, monkeypatch):
    monkeypatch.setattr(live, "EVERY_S", 0.0)

    class Failing(Watcher):
        def run_started(self, label, compute):
            super().run_started(label, compute)
            if label.endswith("seed 0"):
                raise InputError("no luck")

    failing = Failing(tmp_path)
    sc.compare(**SMALL, data=watched[1], out=tmp_path, reporter=failing)
    page = failing.pages[-1]  # before the last run, which is that of params=25%
    assert listed(page, "Failed") == [f"width params={share}% seed 0: no luck" for share in (50, 25)]
    assert listed(page, "Waiting") == ["width params=25%"]


def listed(page, what):
    """What stands below this heading of the banner."""
    below = page.partition(f"<summary>{what}: ")[2].partition("</ul>")[0]
    return re.findall(r"<li>(.*?)</li>", below)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def a_page(path, clock, draw, notes, monkeypatch):
    monkeypatch.setattr(live, "write_text", lambda path, text: path.write_text(text))
    made = Made(Graph(), RunStore(path.parent))
    return live.LivePage(path, made, draw, lambda there: Lacking(), "again", notes.append, clock)


def test_it_costs_at_most_its_share_of_the_time(tmp_path, monkeypatch):
    clock, drawn = Clock(), []

    def draw(progress):
        clock.now += 8.0  # as with thousands of runs
        drawn.append(clock.now)
        return banner(progress)

    monkeypatch.setattr(live, "with_banner", lambda page, progress: page)
    page = a_page(tmp_path / "report.html", clock, draw, [], monkeypatch)
    hearer = page.hearer()
    for _ in range(1_000):
        hearer.run_started("a run", 1.0)
        clock.now += 20.0
        hearer.run_finished("done")
    took = clock.now - 1000.0
    assert 20 <= len(drawn) <= (live.GRACE_S + live.SHARE * took) / 8.0 + 1
    assert 8.0 * len(drawn) < 0.03 * took + 13.0


def test_a_page_that_cannot_be_written_is_one_note(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    clock, notes = Clock(), []
    page = a_page(tmp_path / "file" / "report.html", clock, banner, notes, monkeypatch)
    for _ in range(3):
        page.hearer().run_finished("done")
        clock.now += 60.0
    page.stop("The command was interrupted.")
    assert len(notes) == 1
    assert notes[0].startswith("the page cannot be written while runs are made (")


def test_a_banner_takes_the_place_of_another_and_is_text():
    begun = Progress(1, 3, 60.0, "go <on>", 840.0, (Running("<b>one</b>", 0.456),), ("<i>two</i>",))
    text = banner(begun)
    assert "1 of 3 runs finished; about 14 min left" in text
    assert "Now: &lt;b&gt;one&lt;/b&gt; (46%)" in text
    assert "<li>&lt;i&gt;two&lt;/i&gt;</li>" in text
    page = f'<head><noscript><meta http-equiv="refresh" content="10"></noscript></head>before {text} after'
    further = with_banner(page, Progress(2, 3, 60.0, r"go \1 on"))
    assert further.count("how-far") == text.count("how-far")
    assert "2 of 3 runs finished<" in further
    assert further.startswith(page.partition("before")[0])
    assert further.rstrip().endswith("after")
    ended = with_banner(page, Progress(2, 3, 60.0, r"go \1 on", stopped="It ended."))
    assert r"<code>go \1 on</code>" in ended
    assert "refresh" not in ended


def test_several_are_told_alike_and_workers_tell_of_what_began(tmp_path):
    class Heard(Reporter):
        def __init__(self):
            self.all = []

        def run_begun(self, run_id, label, seed, identity, history):
            self.all.append((run_id, label, seed, identity, history))

        def step(self, **numbers):
            self.all.append(numbers)

    one, other = Heard(), Heard()
    writer = EventWriter(tmp_path / "events.jsonl")
    writer.run_begun("train-1-s0", "a run", 0, {"recipe": {}}, [{"epoch": 1}])
    writer.step(done=0.5, loss=1.0, removed=3)
    writer.close()
    with Several(one, other) as both:
        EventReader(tmp_path / "events.jsonl", both.beside()).pass_on()
    begun = ("train-1-s0", "a run", 0, {"recipe": {}}, [{"epoch": 1}])
    assert one.all == other.all == [begun, {"done": 0.5, "loss": 1.0, "accuracy": None, "removed": 3}]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret").write_text("outside")
    inside = tmp_path / "out"
    (inside / "figures").mkdir(parents=True)
    (inside / "report.html").write_text("<p>the page</p>")
    (inside / "figures/a.svg").write_text("<svg/>")
    (inside / ".lock").write_text("")
    (inside / "way-out").symlink_to(tmp_path / "secret")
    return inside


def asked(port, path, method="GET", host=None):
    """The status and the body of one real request, its path sent as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_the_folder_is_served_and_nothing_else(folder):
    with Served(folder, "report.html") as served:
        assert served.address == f"http://127.0.0.1:{served.port}/report.html"
        with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/") as answer:  # follows to the page
            assert answer.url == served.address
            assert answer.read() == b"<p>the page</p>"
            assert answer.headers["Cache-Control"] == "no-store"
        assert asked(served.port, "/figures/a.svg") == (200, b"<svg/>")
        assert asked(served.port, "/report.html", "HEAD") == (200, b"")
        assert asked(served.port, "/report.html", host=f"localhost:{served.port}")[0] == 200
        for path in ("/../secret", "/%2e%2e/secret", "/figures/../../secret", "//etc/passwd", "/way-out"):
            assert asked(served.port, path)[0] == 404
        for path in ("/.lock", "/figures", "/figures/", "/nothing"):
            assert asked(served.port, path)[0] == 404
        assert asked(served.port, "/report.html", host="evil.example")[0] == 403
        assert asked(served.port, "/report.html", "POST")[0] == 501
        (folder / "report.html").unlink()
        status, body = asked(served.port, "/report.html")
        assert status == 200
        assert b'http-equiv="refresh" content="1"' in body
    with pytest.raises(OSError, match=r"refused|reset"):
        asked(served.port, "/report.html")


def test_no_browser_of_text_is_opened_in_the_terminal(monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not open_browser("http://127.0.0.1:1/")
    monkeypatch.setenv("DISPLAY", ":0")
    assert open_browser("http://127.0.0.1:1/")
    assert opened == ["http://127.0.0.1:1/"]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command line in this process: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("secateur.cli.main.keep_freed_memory", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def called(line):
        monkeypatch.setattr(sys, "argv", ["secateur", *shlex.split(line)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    return called


def test_open_serves_the_report_until_it_was_fetched(run, watched, monkeypatch):
    fetched = []

    def browser(address):
        fetched.append(urllib.request.urlopen(address).read())
        return True

    monkeypatch.setattr("secateur.report.serving.open_browser", browser)
    out = watched[0]
    code, said, _ = run(f"report {out} --open")
    assert code == 0
    assert said.startswith("The report is at http://127.0.0.1:")
    assert fetched == [(out / "report.html").read_bytes()]
    code, said, err = run(f"report {out} --open --json")
    assert json.loads(said)["reports"]
    assert "The report is at http://127.0.0.1:" in err


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("compare --open --plan", "--open shows the report of runs that are made, and --plan makes none"),
        ("report a b --open", "--open shows one report, got 2 folders"),
    ],
)
def test_what_open_cannot_show(run, line, text):
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert text in err


def test_compare_with_open_is_watched_from_the_first_run(run, monkeypatch):
    fetched = []
    monkeypatch.setattr(live, "EVERY_S", 0.0)

    def browser(address):
        fetched.append(address)
        return False

    class Fetching(Reporter):
        def run_started(self, label, compute):
            fetched.append(urllib.request.urlopen(fetched[0]).read().decode())

    monkeypatch.setattr("secateur.report.serving.open_browser", browser)
    monkeypatch.setattr("secateur.report.serving.RELOAD_EVERY_S", 0.1)  # nobody fetches the last page
    monkeypatch.setattr("secateur.progress.reporter_for", lambda stream, silent=False: Fetching())
    line = (
        "compare --data digits --limit-train 200 --model wrn-10-1 --epochs 1 --device cpu --workers 1 "
        "--budget params=50% --arms width --out out --open"
    )
    code, said, _ = run(line)
    assert code == 0
    assert "(no browser was found here to open it)" in " ".join(said.split())
    assert "0 of 1 runs finished" in fetched[1]
    assert "--open" not in json.loads(Path("out/results.json").read_text())["command"]


def test_where_one_was_and_what_one_chose_stays_in_a_real_browser(tmp_path):
    """The page's own script, in a page that is used, then loaded again."""
    found = banner(Progress(1, 3, 60.0, "again")).replace('data-every="10"', 'data-every=""')
    (tmp_path / "page.html").write_text(
        f"""<!DOCTYPE html><body>{found}
        <details id="more"><summary>more</summary>more</details>
        <select id="what"><option>a<option>b<option>c</select><output id="shown">a</output>
        <button aria-pressed="true">one</button><button aria-pressed="false">two</button>
        <div style="height: 5000px"></div><script>
        document.getElementById("what").addEventListener("change", function (event) {{
          document.getElementById("shown").textContent = event.target.value; }});
        document.querySelectorAll("button").forEach(function (each) {{ each.onclick = function () {{
          document.querySelectorAll("button").forEach(function (other) {{
            other.setAttribute("aria-pressed", String(other === each)); }}); }}; }});
        var loads = Number(sessionStorage.getItem("loads") || 0) + 1;
        sessionStorage.setItem("loads", loads);
        window.addEventListener("load", function () {{ setTimeout(function () {{
          if (loads === 1) {{
            document.getElementById("more").open = true;
            document.getElementById("what").selectedIndex = 2;
            document.querySelectorAll("button")[1].click();
            window.scrollTo(0, 700);
            location.reload();
          }}
          document.body.dataset.loads = loads;
          document.body.dataset.y = window.scrollY;
        }}, 100); }});
        </script></body>"""
    )
    dom = open_page(tmp_path / "page.html").dom
    assert int(re.search(r'data-loads="(\d+)"', dom)[1]) >= 2
    assert 'data-y="700"' in dom
    assert '<output id="shown">c</output>' in dom
    assert '<details id="more" open="">' in dom
    assert '<button aria-pressed="true">two</button>' in dom
