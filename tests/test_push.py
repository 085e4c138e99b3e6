"""A finished network is published: the card, what is sent, and what is not, against a stand-in of the Hub."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from decimal import Decimal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import secateur as sc
from hub_stand_in import READER, TOKEN, serving
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budgets
from secateur.compare.one_network import Subject, arm_alone, prune_one
from secateur.compare.settings import Sparsity
from secateur.data import load_data
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.progress import Reporter
from secateur.records.measured import Measured, NotMeasured, Sizes, Speed, Timing, hash_of
from secateur.records.scrubbed import scrubbed
from secateur.records.seal import check_seal, sealed
from secateur.report.cautious import milliseconds, percent, ratio
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.publication import Publication
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

hub = pytest.importorskip("huggingface_hub")
RECIPE = Recipe(epochs=2, batch_size=64)


def subject(model, data):
    return Subject(resolve_model(model, data), data, RECIPE)


def session(out):
    return Session(RunStore(out), Runtime("cpu"), Reporter())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Networks as `secateur prune` leaves them: channels cut, and weights set to zero."""
    data, folder = load_data("digits", limit_train=300), tmp_path_factory.mktemp("made")
    settings = PruneSettings(every=1, at_once=8)
    prune_one(session(folder / "cut"), subject("wrn-10-1", data), settings, Budgets.parse("macs=60%"))
    budget = Budgets.parse("nonzeros=5%")
    arm_alone(session(folder / "sparse"), subject("wrn-10-1", data), "magnitude", budget, Sparsity())
    return folder


@pytest.fixture
def cut(made, tmp_path):
    """A folder of one's own, in which something may be changed."""
    return shutil.copytree(made / "cut", tmp_path / "cut")


@pytest.fixture
def there(monkeypatch, tmp_path):
    """The stand-in, in place of the Hub; nothing is kept in the user's cache."""
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving() as (found, home):
        monkeypatch.setenv("HF_ENDPOINT", home)
        yield found


def posted(found):
    return [path for method, path, _ in found.asked if method != "GET" and "/commit/" in path]


# What is published


def test_a_push_is_one_commit_of_these_files(made, there):
    folder = made / "cut"
    pushed = sc.push(folder, "ann/small", license="apache-2.0", message="the first")
    assert pushed.created
    assert [each["message"] for each in there.commits("ann/small")] == ["the first"]
    assert pushed.commit == there.commits("ann/small")[0]["oid"]
    assert pushed.url.endswith("/ann/small")
    files = there.files("ann/small")
    assert set(files) == {
        *("README.md", "architecture.json", "artefact.json", "record.json", "model.safetensors"),
    }
    for name in set(files) - {"README.md"}:
        assert files[name] == (folder / name).read_bytes()
    assert pushed.files == {name: len(content) for name, content in files.items()}
    assert files["model.safetensors"] in there.stored.values()  # by LFS; the others within the commit
    assert there.cards == [files["README.md"].decode()]  # which the Hub was asked about before the rest
    agents = " ".join(headers.get("user-agent", "") for *_, headers in there.asked)
    assert "secateur/" in agents
    assert "torch" not in agents
    assert "agent/" not in agents


def test_what_was_pushed_is_loaded_again_and_predicts(made, there, run, tmp_path):
    pushed = sc.push(made / "cut", "ann/small", private=True)
    loaded, own = sc.load("hf:ann/small"), sc.load(made / "cut")
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert loaded.classes == tuple("0123456789")
    shutil.copy(made / "cut/model.safetensors", tmp_path / "kept")
    code, out, err = run(f"evaluate hf:ann/small@{pushed.commit} --data digits --device cpu --json")
    assert (code, err) == (0, "")
    assert json.loads(out)["accuracy"] == json.loads((made / "cut/record.json").read_text())["accuracy"]
    there.asked.clear()
    code, _, err = run("predict hf:ann/other photo.jpg")
    assert (code, err.count("\n")) == (2, 1)
    assert "did not give 'ann/other' (HTTP 404: Repository not found)" in err
    there.add("ann/bert", {"config.json": b"{}", "pytorch_model.bin": b"\x80pickle"})
    with pytest.raises(InputError, match="no network of Secateur in 'ann/bert'"):
        sc.load("hf:ann/bert")
    assert not any("resolve" in path for _, path, _ in there.asked if "bert" in path)  # nothing was fetched
    with pytest.raises(InputError, match="a repository is named OWNER/NAME"):
        sc.load("hf:../../etc")


def test_the_card_says_what_the_record_has(made):
    record = json.loads((made / "sparse/record.json").read_text())
    before = json.loads(next((made / "sparse/runs").glob("train-*/record.json")).read_text())
    card = hub.ModelCard(Publication.of(made / "sparse", "ann/small", licence="mit").card)
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("secateur", "image-classification", "mit")
    assert data.tags == ["secateur", "pruning", "sparse"]
    assert data.datasets is None  # the digits are not of the Hub
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", record["accuracy"])
    assert (result.dataset_name, result.dataset_split, result.verified) == ("digits", "test", False)
    text = card.text
    limit = round(0.05 * record["weights"])
    assert record["nonzeros"] == limit == 3854
    assert (
        "`nonzeros=5%`, which is at most 3,854 weights that are not zero. It has 3,854: met exactly." in text
    )
    assert "Of its weights 5.01% are not zero." in text
    right = round(record["accuracy"] * 500)
    assert f"({right} of 500)" in text
    assert f"({round(before['accuracy'] * 500)} of 500)" in text  # unpruned
    assert f"({round(record['accuracy_before'] * 500)} of 500)" in text
    assert "95% interval" in text
    assert "The test split of 500 examples took no part in training, nor in what was chosen." in text
    assert f"`{record['run_id']}`, seed 0" in text
    assert f"commit {record['environment']['commit']}" in text
    assert "epochs=2 batch_size=64" in text
    assert 'sc.load("hf:ann/small")' in text
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in text
    assert "Pixels in \\[0, 1\\] minus 0.305343, over 0.376042" in text
    assert "secateur measure FOLDER" in text  # nobody measured it


def measured(folder, **changes):
    """What `secateur measure` could have left."""
    now = Sizes(
        file_bytes=9, params=1, weights=10, nonzeros=4, macs=100, nonzero_macs=40, peak_activation_bytes=512
    )
    rows = {
        "version": "1.31.0", "batch": 1, "threads": 1, "low_ns": 1, "high_ns": 9_000_000, "n": 50,
        "device": "cpu (an <b>CPU</b>)", "dtype": "float32",
    }  # fmt: skip
    return Measured(
        **{
            "network": "small",
            "weights_sha256": hash_of(folder / "model.safetensors"),
            "now": now,
            "before": now,
            "timings": tuple(
                Timing(which=which, runtime=runtime, median_ns=median, p95_ns=2_000_001, **rows)
                for runtime, which, median in (
                    *(("onnxruntime", "now", 1_234_001), ("onnxruntime", "before", 1_500_000)),
                    *(("c", "now", 400_000), ("c", "before", 1_400_000)),
                )
            ),
            "speeds": (
                Speed(runtime="onnxruntime", speedup=1.219, low=1.011, high=1.291),
                Speed(runtime="c", speedup=3.5, low=3.456, high=3.561),
            ),
            "not_measured": (NotMeasured(runtime="openvino", why="it is not installed", failed=False),),
            "remarks": ("onnxruntime: 60% of the weights are zero, and it multiplies by zeros",),
            "versions": {},
            "platform": "Linux",
            **changes,
        }
    )


def test_latency_and_int8_are_on_the_card(cut):
    (cut / "measured.json").write_text(json.dumps(measured(cut).to_json()))
    (cut / "model.int8.onnx").write_bytes(b"int8 secateur")
    (cut / "model.int8.onnx.json").write_text(json.dumps(INT8))
    text = Publication.of(cut, "ann/small").card
    assert (
        "| onnxruntime 1.31.0, float32 | 1, 1 | 1.24 ms | 2.01 ms | 1.50 ms | 1.21 (1.01 to 1.30) |" in text
    )
    assert "| c 1.31.0, float32 | 1, 1 | 0.400 ms | 2.01 ms | 1.40 ms | 3.50 (3.45 to 3.57) |" in text
    assert "at least 50 runs of each" in text
    assert "60% of the weights are zero, and it multiplies by zeros" in text
    assert "openvino was not measured: it is not installed" in text
    assert "| bytes of activations at the peak, of one example | 512 | 512 | 100.00% |" in text
    assert "`model.int8.onnx`, for onnxruntime" in text
    assert "test split of digits, float32 | 97.6% (488 of 500) | 95.8% to 98.7% |" in text
    assert "test split of digits, int8 | 97.4% (487 of 500)" in text
    assert "Calibrated on 128 images of the split train" in text
    (cut / "measured.json").write_text(json.dumps(measured(cut, weights_sha256="0" * 16).to_json()))
    with pytest.raises(InputError, match="must be of the weights beside it"):
        Publication.of(cut, "ann/small")


INT8 = {
    "schema": 1, "format": "secateur-int8", "file": "model.int8.onnx", "runtime": "onnxruntime",
    "how": "weights in int8 for each channel, activations in uint8.", "weight_bits": 8,
    "activations": "uint8", "macs": 1000, "int8_macs": 990, "bytes_before": 4000, "bytes_after": 1100,
    "calibration": {"data": "digits", "split": "train", "n": 128, "method": "minmax"}, "held_out": None,
    "quality": {
        "data": "digits", "split": "test", "n": 500, "before": 0.976, "after": 0.974,
        "metric": {"name": "accuracy", "higher_is_better": True, "fraction": True},
    },
    "latency": None, "versions": {},
}  # fmt: skip


def test_a_budget_of_another_device_is_said_without_its_table(cut):
    record = json.loads((cut / "record.json").read_text())
    record |= {"budget": "params=50%, latency=2ms@file:/home/zoe/device.json, moons=3", "latency": "1.93 ms"}
    record |= {"limits": {"latency": 2_000_000, "params": 1}}
    (cut / "record.json").write_text(json.dumps(sealed(record)))
    text = Publication.of(cut, "ann/small").card
    assert (
        "Asked: `latency=2ms@file:device.json` (at most 2.00 ms). Measured when it was made: 1.93 ms." in text
    )
    assert "Asked: `params=50%`, which is at most 1 parameters. It has" in text
    assert ": **not met**." in text
    assert "Asked: `moons=3`.\n" in text


# Names of others


HOSTILE = (
    "<script>alert(1)</script>", "[here](https://evil.example)", "![x](https://evil.example/x.png)",
    "a | b\n\n# heading\n---\nlicense: mit", "`` ``` `code`", "www.evil.example", "https://evil.example",
    "&lt;b&gt;", "*b* _i_ ~~s~~ \\", "\x1b[31m\u202ered",
)  # fmt: skip


def test_names_of_others_are_text_on_the_card(cut):
    artefact = json.loads((cut / "artefact.json").read_text())
    artefact["classes"] = list(HOSTILE)
    artefact["data"] |= {"label": HOSTILE[3], "name": HOSTILE[1]}
    artefact["label"] = HOSTILE[0] + HOSTILE[2]
    (cut / "artefact.json").write_text(json.dumps(sealed(artefact)))
    record = json.loads((cut / "record.json").read_text())
    record["environment"] |= {"torch": HOSTILE[0], "device": HOSTILE[3]}
    record["data"]["remarks"] = list(HOSTILE)
    record["identity"]["method"]["name"] = HOSTILE[4]
    (cut / "record.json").write_text(json.dumps(sealed(record)))
    (cut / "measured.json").write_text(json.dumps(measured(cut, remarks=HOSTILE).to_json()))
    plain = Publication.of(shutil.copytree(cut, cut.with_name("plain")), "ann/small").card
    card = Publication.of(cut, "ann/small").card
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = markdown.parse(hub.ModelCard(card).text)
    inline = [child for token in tokens for child in token.children or ()]
    html = [token.content.strip() for token in [*tokens, *inline] if token.type.startswith("html")]
    assert html == ["<!-- written by secateur: what is changed here is replaced by the next push -->"]
    assert not [token.type for token in inline if token.type in ("link_open", "image", "em_open", "s_open")]
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings == re.findall(r"^#+ (.*)$", plain.split("\n---\n", 1)[1], re.M)
    assert len(headings) == 8
    (classes,) = [t for t in tokens if t.type == "inline" and t.content.startswith("Classes")]
    shown = "".join(child.content for child in classes.children)
    for name in HOSTILE:
        kept = " ".join("".join(each if each.isprintable() else " " for each in name).split())
        assert kept in shown
    assert "\x1b" not in card
    data = hub.ModelCard(card).data
    assert data.license is None
    assert data.datasets is None
    assert data.eval_results[0].dataset_name == "a | b # heading --- license: mit"


def test_places_on_the_machine_are_left_out(cut, there, monkeypatch):
    record = json.loads((cut / "record.json").read_text())
    record["environment"]["device"] = "cpu at /home/zoe/lab/rack 3"
    record["data"]["name"] = "/home/zoe/my photos"
    record["data"]["remarks"] = ["2 files in ~zoe/x/left are links to C:\\Users\\zoe\\x"]
    (cut / "record.json").write_text(json.dumps(sealed(record)))
    sc.push(cut, "ann/small")
    for name, content in there.files("ann/small").items():
        assert b"zoe" not in content, name
    sent = json.loads(there.files("ann/small")["record.json"])
    assert sent["data"]["name"] == "my photos"
    check_seal(sent, "record.json", "make it again")
    assert "identity" in sent["digest"]["keys"]
    assert sent["accuracy"] == record["accuracy"]
    assert scrubbed({"/a/b/c": ["1/2", "hf:ann/x", "https://a/b/c", 3]}) == {
        "c": ["1/2", "hf:ann/x", "https://a/b/c", 3]
    }
    (cut / "model.onnx").write_bytes(b"File /home/zoe/nets.py secateur")
    monkeypatch.setenv("HOME", "/home/zoe")
    with pytest.raises(InputError, match=r"'model\.onnx' has '/home/zoe/' in it"):
        Publication.of(cut, "ann/small", include=["model.onnx"])


# Numbers, never in our favour


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_shares_are_rounded_to_our_disadvantage(pair):
    right, n = pair
    exact = Decimal(100) * right / n
    for shown, step in ((percent(right / n), Decimal("0.1")), (ratio(right, n, up=False), Decimal("0.01"))):
        assert exact - step < Decimal(shown[:-1]) <= exact + Decimal("1e-9")
    assert Decimal(ratio(right, n)[:-1]) - Decimal("0.01") < exact <= Decimal(ratio(right, n)[:-1])


@given(st.integers(1, 10**12))
def test_times_are_rounded_up_to_three_digits(nanoseconds):
    shown = Decimal(milliseconds(nanoseconds).removesuffix(" ms")) * 1_000_000
    assert nanoseconds <= shown <= Decimal(nanoseconds) * Decimal("1.0101") + Decimal("1e-9")


# Interrupted, again, and into what is there


def test_an_interrupted_push_publishes_nothing_and_goes_on(made, there, run):
    there.refused["PUT", "/lfs/"] = 403
    code, out, err = run(f"push {made / 'cut'} ann/small")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'ann/small' was made, and is empty" in err
    assert there.commits("ann/small") == []
    there.refused = {("POST", "/commit/"): 500}
    code, _, err = run(f"push {made / 'cut'} ann/small")
    assert (code, there.commits("ann/small")) == (2, [])
    assert "HTTP 500" in err
    assert len(there.stored) == 1
    there.refused = {}
    code, out, err = run(f"push {made / 'cut'} ann/small --branch trial --json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert not said["created"]
    assert said["url"].endswith("/ann/small/tree/trial")
    assert there.commits("ann/small") == []
    assert len(there.files("ann/small", "trial")) == 5


def test_a_second_push_leaves_nothing_of_the_first(cut, made, there, run):
    (cut / "model.onnx").write_bytes(b"onnx secateur")
    (cut / "model.xml").write_bytes(b"<net>secateur</net>")
    (cut / "model.bin").write_bytes(b"numbers")
    (cut / "mine.txt").write_text("mine")
    code, out, _ = run(f"push {cut} ann/small --include model.onnx,model.xml --json")
    assert code == 0
    assert {"model.onnx", "model.xml", "model.bin"} < set(there.files("ann/small"))
    assert "mine.txt" not in there.files("ann/small")
    code, out, _ = run(f"push {cut} ann/small --include model.onnx")
    assert "Not pushed: model.bin, model.xml; --include takes them along." in out
    assert "Removed, as this network has none: model.bin, model.xml" in out
    files = dict(there.files("ann/small"), **{"README.md": b"---\nlanguage: en\n---\nmine", "notes.md": b"x"})
    there.commit("ann/small", "main", files, "by hand")
    pushed = sc.push(made / "sparse", "ann/small", card=False)
    assert pushed.removed == ("model.onnx",)
    assert there.files("ann/small")["README.md"] == files["README.md"]  # as was asked
    assert there.files("ann/small")["notes.md"] == b"x"
    assert there.files("ann/small")["model.safetensors"] == (made / "sparse/model.safetensors").read_bytes()


def test_what_is_somebody_elses_is_left_alone(made, there):
    there.add("ann/bert", {"config.json": b"{}", "README.md": b"hello"})
    there.add("ann/new", {".gitattributes": b"", "README.md": b"---\nlicense: mit\n---\n"})
    with pytest.raises(InputError, match=r"'ann/bert' holds something else \(config.json\)"):
        sc.push(made / "cut", "ann/bert")
    with pytest.raises(InputError, match="'ann/new' is there already, for all to see"):
        sc.push(made / "cut", "ann/new", private=True)
    assert not posted(there)
    assert not sc.push(made / "cut", "ann/new").created
    assert sc.push(made / "cut", "ann/bert", into_other=True).removed == ()
    assert "config.json" in there.files("ann/bert")


# Refused before anything is sent


def damaged(folder):
    """Folders that are no whole network: name -> what is said."""
    record = json.loads((folder / "record.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()

    def write(name, content):
        place = shutil.copytree(folder, folder.parent / name.replace(" ", "-"))
        for file, data in content.items():
            if data is None:
                (place / file).unlink()
            else:
                (place / file).write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return place

    other = bytearray(weights)
    other[-1] ^= 1
    return {
        write("no architecture", {"architecture.json": None}): "no network at",
        write("no weights", {"model.safetensors": None}): "no weights at",
        write("half weights", {"model.safetensors": weights[:2000]}): "not a readable safetensors file",
        write("other weights", {"model.safetensors": bytes(other)}): "must be of one network",
        write("others of old", {"model.safetensors": bytes(other), "manifest.json": None}): "of the weights",
        write("torn record", {"record.json": b'{"schema": 1'}): "not valid JSON",
        write("odd record", {"record.json": {**record, "accuracy": "good"}}): "'accuracy' must be",
        write(
            "other record", {"record.json": sealed({**record, "params": 7})}
        ): "must be of the network beside it",
        write(
            "damaged record", {"record.json": {**record, "accuracy": 0.5}}
        ): "must hold what its 'digest' is of",
        write("odd environment", {"record.json": {**record, "environment": 3}}): "'environment' must be",
        write("torn artefact", {"artefact.json": b"{"}): "not valid JSON",
        write("odd measured", {"measured.json": {"schema": 9}}): "schema 1 is read here, got 9",
        folder / "runs": "no network at",
    }


def test_no_whole_network_is_refused(cut, there):
    for folder, said in damaged(cut).items():
        with pytest.raises(InputError, match=re.escape(said)) as error:
            sc.push(folder, "ann/small")
        assert "\n" not in str(error.value)
    place = cut.parent / "comparison"
    shutil.copytree(cut, place / "best")
    with pytest.raises(InputError, match=f"holds a comparison, not one network: name '{place / 'best'}'"):
        sc.push(place, "ann/small")
    assert there.asked == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("small", "a repository is named OWNER/NAME"),
        ("ann/b/c", "a repository is named OWNER/NAME"),
        ("ann/..", "a repository is named OWNER/NAME"),
        ("'ann/a b'", "a repository is named OWNER/NAME"),
        ("ann/small.git", "ends in no '-', '.' or '.git'"),
        ("https://huggingface.co/ann/small", "write ann/small"),
        ("ann/small --license 'MIT: yes'", "--license must be"),
        ("ann/small --revision ../x", "a revision is a branch"),
        ("ann/small --include record.json", "--include names what export wrote"),
        ("ann/small --include model.onnx", "export it first"),
        ("ann/small --include mine.onnx", "not known to be"),
        ("ann/small --out card", "add --dry-run"),
    ],
)
def test_odd_commands_are_one_line(cut, there, run, line, said):
    (cut / "mine.onnx").write_bytes(b"somebody's")
    code, out, err = run(f"push {cut} {line}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert there.asked == []


def test_tokens(made, there, run, monkeypatch):
    for token, said in ((READER, "the token may not write for 'ann'"), ("hf_old", "log in again")):
        monkeypatch.setenv("HF_TOKEN", token)
        code, _, err = run(f"push {made / 'cut'} ann/small")
        assert (code, said in err, token in err) == (2, True, False)
    there.asked.clear()
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    code, _, err = run(f"push {made / 'cut'} ann/small")
    assert (code, "log in once with `hf auth login`" in err, there.asked) == (2, True, [])


def test_nobody_is_there(made, run, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    code, _, err = run(f"push {made / 'cut'} ann/small")
    assert (code, err.count("\n")) == (2, 1)
    assert "the same command tries again" in err


def test_without_the_library(made, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _, err = run(f"push {made / 'cut'} ann/small --dry-run")
    assert (code, "pip install 'secateur[hub]'" in err) == (2, True)


def test_a_dry_run_sends_nothing(made, there, run, tmp_path):
    code, out, err = run(f"push {made / 'cut'} ann/small --dry-run")
    assert (code, err, there.asked) == (0, "", [])
    assert out.startswith("---\nlibrary_name: secateur\n")
    assert out.endswith("Nothing was sent to ann/small.\n")
    code, out, _ = run(f"push {made / 'cut'} ann/small --dry-run --json --out cards")
    said = json.loads(out)
    assert (tmp_path / "cards/README.md").read_text() == said["card"]
    assert said["files"]["README.md"] == len(said["card"].encode())
    assert run(f"push {made / 'cut'} ann/small --dry-run --out cards -q")[0] == 0  # ours, which is replaced
    (tmp_path / "README.md").write_text("mine")
    code, _, err = run(f"push {made / 'cut'} ann/small --dry-run --out README.md")
    assert (code, "only what Secateur wrote is overwritten" in err) == (2, True)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert there.asked == []
