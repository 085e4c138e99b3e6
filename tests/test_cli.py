"""The command line as a user meets it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

import secateur as sc
from secateur.cli.generated import assembled, option_name
from secateur.cli.main import app
from secateur.cli.options import PruneOptions
from secateur.compare.arms import default_arms
from secateur.compare.settings import Sparsity
from secateur.methods.reparametrization import Config
from secateur.runs.settings import ChannelFields, SparseFields

SMALL = "--data digits --limit-train 300 --epochs 2 --batch-size 64 --device cpu"
PRUNING = f"{SMALL} --model wrn-10-1 --prune-every 1"


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("compare --budget params=0", "above zero"),
        ("compare --budget params=200%", "at most 100%"),
        ("compare --budget params=10", "ask for at least"),
        ("compare --budget parms=5k", "did you mean 'params'"),
        ("compare --model wrn-16", "did you mean 'wrn-16-1'"),
        ("compare --model vgg19", "at least 32x32"),
        ("compare --arms fisher-tuned,copycta", "did you mean 'copycat'"),
        ("compare --data digit", "did you mean 'digits'"),
        ("compare --data ./nowhere", "'./nowhere' does not exist"),
        ("compare --match time", "(one of: epochs, compute)"),
        ("compare --seeds 0", "at least 1 seed"),
        ("compare --workers 0", "must be auto or a number of at least 1, got '0'"),
        ("compare --workers -1", "must be auto or a number of at least 1, got '-1'"),
        ("compare --workers x", "must be auto or a number of at least 1, got 'x'"),
        ("reproduce dupont2021 table1 --workers 1.5", "must be auto or a number of at least 1"),
        ("compare --epochs 0", "epochs must be at least 1"),
        ("compare --epochs many", "--epochs"),
        ("compare --milestones a,b", "--milestones takes numbers"),
        ("compare --precision fp8", "unknown precision 'fp8'"),
        ("compare --device gpu", "unknown device 'gpu'"),
        ("compare --prune-every 0", "at least 1 step"),
        ("compare --flop-penalty -1", "beta must be at least 0"),
        ("compare --tuning-lr 0", "above 0"),
        ("compare --copycat-after 9999", "can be removed, got 9999"),
        ("compare --limit-train 3", "limit"),
        ("compare --budgets params=50%", "--budget"),
        ("train --model nets.json", "no architecture at 'nets.json'"),
        ("prune fischer --budget params=50%", "did you mean 'fisher'"),
        ("prune fisher", "--budget"),
        ("scale nowhere.json --budget params=50%", "no architecture at"),
        ("report nowhere", "no results.json in 'nowhere'"),
        ("runs list nowhere", "no runs in 'nowhere'"),
        ("runs show x nowhere", "no runs in 'nowhere'"),
        ("prun", "prune"),
        ("prune reparametrization --budget params=5%", "must be in nonzeros or bytes, got 'params=5%'"),
        ("prune channel-reparametrization --budget params=50", "ask for at least"),
        ("prune reparametrisation --budget nonzeros=5%", "did you mean 'reparametrization'"),
        ("prune magnitude --budget nonzeros=200%", "at most 100%"),
        ("prune magnitude --model conv4 --budget nonzeros=3M", "at most nonzeros=457792"),
        ("prune magnitude-tuned --budget nonzeros=5% --epochs 1", "at least 2, got 1"),
        ("prune l1 --budget nonzeros=5% --l1-strength -1", "at least 0, got -1"),
        (
            "prune reparametrization --budget nonzeros=5% --crispness 3",
            "n must be even and at least 2, got 3",
        ),
        ("prune reparametrization --budget nonzeros=5% --prune-end 0.05", "start must lie in [0, end)"),
        ("compare --budget nonzeros=5% --tune-share 1", "must lie in (0, 1), got 1.0"),
        ("compare --budget nonzeros=5% --budget params=5%", "limit one resource"),
        ("compare --budget params=5% --arms l1", "must be in nonzeros or bytes, got 'params=5%'"),
        ("train --schedule linear", "unknown schedule 'linear'"),
        ("train --select-on train", "unknown split to select on 'train'"),
        ("train --early-stop 0", "early_stop must be at least 1"),
        ("reproduce dupont2020 table1", "did you mean 'dupont2021'"),
        ("reproduce dupont2021 table4", "(one of: table1, table2, table3, claims, figure2)"),
        ("reproduce dupont2021 table1 --scale huge", "unknown scale 'huge'"),
        ("reproduce dupont2021 table1 --cells conv6", "write NETWORK/DATASET/RATE"),
        ("reproduce dupont2021 table1 --scale smoke --methods l2", "unknown method 'l2'"),
        ("reproduce dupont2021 figure3", "figure2"),
    ],
)
def test_bad_input_is_one_line_with_the_fix_and_writes_nothing(run, tmp_path, line, fix):
    code, out, err = run(line)
    assert code == 2
    assert err.startswith("secateur: ")
    assert err.count("\n") == 1
    assert fix in err
    assert "Traceback" not in out + err
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_an_out_that_is_a_file_is_one_line(run, tmp_path):
    (tmp_path / "taken").write_text("mine")
    code, _, err = run(f"train {SMALL} --model wrn-10-1 --out taken")
    assert code == 2
    assert err.count("\n") == 1
    assert (tmp_path / "taken").read_text() == "mine"


def test_our_own_mistakes_are_one_line_too(run, monkeypatch):
    def broken(*_args, **_kwargs):
        raise KeyError("oops")

    monkeypatch.setattr("secateur.budget.Budget.parse", broken)
    code, _, err = run("compare")
    assert code == 1
    assert "internal error, KeyError" in err
    assert err.count("\n") == 1


def test_a_diverged_run_is_one_line(run):
    code, _, err = run(f"train {SMALL} --model wrn-10-1 --lr 1e30")
    assert code == 1
    assert "not finite in epoch 1" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        *("compare", "train", "prune", "reproduce", "scale", "report", "runs list", "runs show"),
        *("runs delete", "predict", "evaluate", "export", "diff", "inspect"),
    ],
)
def test_help_shows_an_example(run, command):
    code, out, _ = run(f"{command} --help")
    assert code == 0
    assert f"secateur {command}" in " ".join(out.split())
    assert "Example" in out


def test_train_scale_and_train_again(run, tmp_path):
    code, out, _ = run(f"train {SMALL} --model wrn-10-1 --seed 3 --out net")
    assert code == 0
    assert "174" not in out
    record = json.loads((tmp_path / "net/record.json").read_text())
    promised = (
        "arm budget seed params macs accuracy val_accuracy train_compute discovery_compute wall_s run_id"
    )
    assert set(promised.split()) <= set(record)
    assert (record["arm"], record["budget"], record["seed"]) == ("dense", None, 3)
    assert sum(p.numel() for p in sc.load("net").parameters()) == record["params"]

    code, out, _ = run("scale net --budget params=50% --out small.json")
    assert code == 0
    scaled = sc.Architecture.load("small.json")
    assert scaled.params <= record["params"] // 2
    assert f"{scaled.params:,}" in out

    code, _, _ = run(f"train {SMALL} --model small.json --out small")
    assert code == 0
    assert json.loads((tmp_path / "small/record.json").read_text())["params"] == scaled.params


def test_prune(run, tmp_path):
    code, out, _ = run(f"prune fisher {PRUNING} --budget params=50% --out cut")
    assert code == 0
    record = json.loads((tmp_path / "cut/record.json").read_text())
    whole = sc.Architecture.of(sc.models.wide_resnet(depth=10, in_channels=1, image_size=8)).params
    assert record["arm"] == "fisher-tuned"
    assert record["params"] <= whole // 2
    assert f"{record['params']:,}" in out
    assert sum(p.numel() for p in sc.load("cut").parameters()) == record["params"]


def test_prune_weights(run, tmp_path):
    line = f"prune reparametrization {SMALL} --model conv4 --budget nonzeros=1% --out sparse"
    code, out, _ = run(line)
    assert code == 0
    record = json.loads((tmp_path / "sparse/record.json").read_text())
    assert (record["nonzeros"], record["weights"]) == (4578, 457792)
    assert "exactly 4,578 of 457,792 weights not zero" in out
    assert "only the exported C skips zeros" in out
    weights = [p for name, p in sc.load("sparse").named_parameters() if name.endswith("weight")]
    assert sum(int(p.count_nonzero()) for p in weights) == 4578


def test_prune_at_initialisation(run, tmp_path):
    code, out, _ = run(f"prune snip {SMALL} --model conv4 --budget nonzeros=5% --out snip")
    assert code == 0
    record = json.loads((tmp_path / "snip/record.json").read_text())
    assert (record["arm"], record["nonzeros"], record["weights"]) == ("snip", 22890, 457792)
    assert record["identity"]["method"] == {"method": "snip", "scope": "global", "batches": 1}
    assert record["identity"]["dense"] is None
    assert "exactly 22,890 of 457,792 weights not zero" in out
    code, _, err = run(f"prune snip {SMALL} --model conv4 --budget params=5% --out no")
    assert code == 2
    assert "must be in nonzeros or bytes, got 'params=5%'" in err


def test_prune_channels_under_gates(run, tmp_path):
    code, out, _ = run(
        f"prune channel-reparametrization {SMALL} --model wrn-10-1 --budget macs=40% --out gated"
    )
    assert code == 0
    record = json.loads((tmp_path / "gated/record.json").read_text())
    dense = sc.models.wide_resnet(depth=10, width=1, in_channels=1, image_size=8)
    whole = sc.Architecture.of(dense).macs
    assert 0.3 * whole < record["macs"] <= 0.4 * whole
    assert sc.Architecture.of(sc.load("gated")).macs == record["macs"]
    assert f"{record['macs']:,} MACs" in out


def test_reproduce_a_table_and_the_figure(run, tmp_path):
    cells = "--cells conv4/cifar10/95% --methods magnitude,reparametrization"
    code, out, _ = run(
        f"reproduce dupont2021 table1 --scale smoke --seeds 1 --epochs 2 --device cpu {cells} --out t"
    )
    assert code == 0
    assert "| cifar10 | conv4 | reparametrization |" in out
    assert "digits in place of cifar10" in out
    content = json.loads((tmp_path / "t/cells.json").read_text())
    assert content["about"]["command"].startswith("secateur reproduce dupont2021 table1")
    code, out, _ = run(f"reproduce dupont2021 table2 --scale smoke --epochs 2 {cells} --out t --tables-only")
    assert code == 0
    again = json.loads((tmp_path / "t/cells.json").read_text())
    assert again["cells"] == content["cells"]
    assert "--tables-only" not in again["about"]["command"]
    line = f"reproduce dupont2021 claims --scale smoke --epochs 2 {cells} --out t --tables-only --json"
    code, out, _ = run(line)
    assert code == 0
    said = json.loads(out)["claims"][4]
    assert said.startswith("The budget is reached: the paper's own tables: not held (at 5 of 12); as written")
    assert "**The budget is reached.** The paper's own" in (tmp_path / "t/claims.md").read_text()
    code, out, err = run(f"reproduce dupont2021 table2 --scale smoke {cells} --out t --tables-only")
    assert code == 2
    assert "leave out --tables-only" in err
    code, out, _ = run("reproduce dupont2021 figure2 --out f")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == ["figure2.png", "figure2.svg"]


def test_reproduce_the_comparison_with_snip(run, tmp_path, monkeypatch):
    from secateur.papers.crowley2018 import SCALES

    monkeypatch.setitem(SCALES, "smoke", replace(SCALES["smoke"], limit_train=300))
    line = "reproduce crowley2018 snip --scale smoke --epochs 1 --device cpu --out c"
    code, out, _ = run(f"{line} --seeds 1")
    assert code == 0
    assert "| snip | wrn-22-8, 95% pruned | 858K | 5.85 | wrn-22-1, 95% pruned | 14,916 |" in out
    assert "Written to c: snip as .md, .csv and .html" in out
    content = json.loads((tmp_path / "c/cells.json").read_text())
    assert content["about"]["command"] == f"secateur {line} --seeds 1"
    code, out, _ = run(f"{line} --seeds 2 --tables-only")
    assert code == 0
    assert json.loads((tmp_path / "c/cells.json").read_text())["cells"] == content["cells"]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("crowley2019 snip", "unknown paper 'crowley2019': did you mean 'crowley2018'?"),
        ("crowley2018 table1", "of crowley2018 'table1': (one of: snip, figure1, figure2, penalties)"),
        ("dupont2021 snip", "unknown table or figure of dupont2021 'snip'"),
        ("crowley2018 snip --cells conv4", "crowley2018 snip has no --cells, got 'conv4'"),
        ("crowley2018 snip --select-on test", "has no --select-on, got 'test'"),
        ("crowley2018 snip --network vgg19", "crowley2018 snip has no --network, got 'vgg19': leave it out"),
        ("crowley2018 figure2 --distill logits", "(it is an option of crowley2018 figure1)"),
        ("crowley2018 figure1 --flop-penalty 1e-9", "(it is an option of crowley2018 penalties)"),
        ("crowley2018 penalties --flop-penalty much", "--flop-penalty"),
        ("crowley2018 figure1 --sizes 550K", "unknown size '550K'"),
        ("crowley2018 figure1 --red-on train", "unknown split for --red-on 'train'"),
        ("crowley2018 figure1 --network wrn40", "unknown model 'wrn40'"),
        ("crowley2018 figure1 --scale smoke --data nowhere", "nowhere"),
        ("crowley2018 figure1 --precision fp8", "unknown precision 'fp8'"),
        ("dupont2021 table1 --each-prunes", "dupont2021 table1 has no --each-prunes: leave it out"),
        ("dupont2021 figure2 --seeds 0", "dupont2021 figure2 has no --seeds, got '0'"),
        ("crowley2018 snip --width 0.5", "has no --width, got '0.5'"),
        ("dupont2021 figure2 --cells conv4", "dupont2021 figure2 has no --cells, got 'conv4'"),
        ("dupont2021 table1 --scale smoke --minutes 1 --workers 2", "leave out --workers and --on, or --min"),
        ("dupont2021 table1 --scale laptop --select-on val", "select_on must be left out at scale laptop"),
        ("crowley2018 snip --scale tiny", "unknown scale 'tiny'"),
        ("crowley2018 snip --seeds 0 --scale smoke", "at least 1 seed is needed, got 0"),
    ],
)
def test_reproduce_refuses_what_a_paper_has_not(run, tmp_path, line, part):
    code, _, err = run(f"reproduce {line}")
    assert code == 2
    assert part in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("secateur-*"))


def test_another_network_or_data_has_a_folder_of_its_own():
    from secateur.cli.reproduce import _folder

    assert str(_folder("crowley2018", "laptop", None, None)) == "secateur-crowley2018-laptop"
    named = _folder("crowley2018", "smoke", "torchvision.models:resnet18", "../my images")
    assert str(named) == "secateur-crowley2018-smoke-torchvision.models-resnet18-my-images"


def test_compare_then_report_and_runs(run, tmp_path):
    line = f"compare {PRUNING} --budget params=50% --arms width,fisher-tuned --out out"
    code, out, _ = run(line)
    assert code == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["verdict"]["text"] in out
    assert "out/report.html" in out
    assert results["command"] == f"secateur {line}"

    counts = results["data"]["found"]["counts"]
    assert [sum(counts[split]) for split in ("train", "val", "test")] == [270, 30, 500]
    record = json.loads((tmp_path / "out/runs" / results["points"][0]["run_id"] / "record.json").read_text())
    assert record["data"] == results["data"]["found"]
    assert FOUND in (tmp_path / "out/report.html").read_text()

    (tmp_path / "out/report.html").unlink()
    code, out, _ = run("report out")
    assert (code, out) == (0, "out/report.html\n")
    assert (tmp_path / "out/report.html").is_file()

    code, out, _ = run("runs list out")
    assert code == 0
    assert all(point["run_id"] in out for point in results["points"])

    wanted = results["points"][0]["run_id"]
    code, out, _ = run(f"runs show {wanted} out")
    assert json.loads(out)["run_id"] == wanted

    code, _, err = run(f"runs delete {wanted} out")
    assert code == 2
    assert "add --yes" in err
    code, out, _ = run(f"runs delete {wanted} out --yes")
    assert code == 0
    assert wanted not in run("runs list out")[1]


def test_plan_trains_nothing_and_writes_nothing(run, tmp_path):
    code, out, _ = run(f"compare {PRUNING} --budget params=50% --plan --out out")
    assert code == 0
    for arm in ("fisher-tuned", "fisher-scratch", "copycat", "width", "bottleneck"):
        assert arm in out
    assert "nothing is trained" in out
    assert not (tmp_path / "out").exists()


FOUND = "digits: 10 classes (0, 1, 2 and 7 more), 270/30/500 images of 8x8 px"


@pytest.mark.parametrize(
    ("line", "planned"),
    [
        ("train", ["train seed 0"]),
        (
            "prune fisher --budget params=50%",
            ["fisher params=50% seed 0: training first", "fisher params=50%"],
        ),
        ("prune magnitude --budget nonzeros=5%", ["magnitude"]),
        ("compare --budget params=50% --arms width", ["width"]),
    ],
)
def test_what_was_found_is_said_before_anything_is_trained(run, tmp_path, line, planned):
    code, out, _ = run(f"{line} {PRUNING.replace('--prune-every 1', '')} --plan --out out")
    assert (code, out.splitlines()[0]) == (0, FOUND)
    assert all(any(row.startswith(name) for row in out.splitlines()) for name in planned)
    assert "nothing is trained now" in out
    assert list(tmp_path.iterdir()) == []
    code, out, err = run(f"{line} {PRUNING.replace('--prune-every 1', '')} --plan --out out --json")
    assert FOUND in err
    assert json.loads(out)["found"]["counts"]["test"] == [50, 51, 49, 51, 50, 51, 50, 50, 48, 50]


def test_a_plan_refuses_what_the_run_would(run, tmp_path):
    code, _, err = run(f"prune fisher --budget params=1 {PRUNING} --plan --out out")
    assert code == 2
    assert "params" in err
    assert list(tmp_path.iterdir()) == []


def test_which_data_can_be_said_on_the_command_line(run, tmp_path):
    for part in ("one", "two"):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.new("L", (8, 8), i + 6 * len(part + name)).save(folder / f"{i}.png")
    given = "train --model wrn-10-1 --epochs 1 --device cpu --plan --data photos"
    code, _, err = run(given)
    assert code == 2
    assert "--classes-in '*'" in err
    assert "photos: 2 classes (cat, dog), 17/2/5 images" in run(f"{given} --classes-in '*'")[1]
    told = run(f"{given} --splits train=one,test=two")[1]
    assert "photos: 2 classes (cat, dog), 10/2/12 images" in told
    assert run(f"{given} --splits train=one")[0] == 2


def test_a_folder_in_use_is_one_line(run, tmp_path):
    from secateur.runs.store import RunStore

    with RunStore(tmp_path / "out").locked():
        code, _, err = run(f"train {SMALL} --model wrn-10-1 --out out")
    assert code == 2
    assert "another secateur is at work" in err


def test_help_needs_no_torch():
    script = (
        "import sys; sys.argv = ['secateur', '--help']\nfrom secateur.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout


MODULES = ["secateur.training.recipe", "secateur.runs.settings", "secateur.cli.main"]


@pytest.mark.parametrize("module", MODULES)
def test_what_options_are_made_from_loads_without_torch(module):
    script = f"import sys, {module}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def options_of(command):
    """The options of a command as click has them, by name."""
    return {parameter.name: parameter for parameter in get_command(app).commands[command].params}


def test_every_field_of_a_recipe_is_an_option_with_its_help_and_default():
    offered = options_of("train")
    for field in dataclasses.fields(sc.Recipe):
        found = offered[field.name]
        assert found.help == field.metadata["help"] != ""
        assert found.default is None  # what was left out is told from what was given
        shown = {"milestones": "0.3,0.6,0.9", "weight_decay": False}.get(field.name, str(field.default))
        assert found.show_default == (False if field.default is None else shown.removesuffix(".0"))


@pytest.mark.parametrize("settings", [ChannelFields, SparseFields])
@pytest.mark.parametrize("command", ["compare", "prune"])
def test_every_setting_with_a_help_text_is_an_option_with_its_default(settings, command):
    offered = options_of(command)
    named = [field for field in dataclasses.fields(settings) if "help" in field.metadata]
    assert len(named) in (3, 5)
    for field in named:
        found = offered[option_name(field)]
        assert found.help == field.metadata["help"] != ""
        assert found.default is None
        assert found.show_default == (f"{field.default:g}" if field.default is not None else False)


def given(line=""):
    """The options of `prune` as its command receives them."""
    words = ["fisher", "--budget", "params=50%", *line.split()]
    values = get_command(app).commands["prune"].make_context("prune", words).params
    return assembled(PruneOptions, values)


def test_without_options_everything_is_as_in_python():
    assert given().recipe() == sc.Recipe()
    assert given().pruning() == sc.PruneSettings()
    assert dataclasses.replace(given().sparsity(), reparametrization={}) == Sparsity()
    config, said = Config(), given().gates()
    assert said == {"t_init": config.t_init, "penalty_weight": config.penalty_weight, "n": config.n}


def test_every_option_arrives_where_it_belongs():
    line = (
        "--epochs 7 --batch-size 32 --lr 0.3 --momentum 0.5 --weight-decay 0.01 --milestones 0.25,0.5 "
        "--gamma 0.4 --schedule plateau --patience 3 --early-stop 6 --select-on test --pad 2 --no-flip "
        "--precision bf16 --prune-every 8 --at-once 2 --granularity 4 --flop-penalty 1e-9 --tuning-lr 0.02 "
        "--tune-share 0.25 --l1-strength 0.001 --t-init 50 --penalty-weight 2 --crispness 6 "
        "--crispness-final 32 --prune-start 0.2 --prune-end 0.5 --sharpen-until 0.8 --cut-at 0.9"
    )
    assert given(line).recipe() == sc.Recipe(
        epochs=7,
        batch_size=32,
        lr=0.3,
        momentum=0.5,
        weight_decay=0.01,
        milestones=(0.25, 0.5),
        gamma=0.4,
        pad=2,
        flip=False,
        precision="bf16",
        schedule="plateau",
        patience=3,
        early_stop=6,
        select_on="test",
    )
    assert given(line).pruning("taylor") == sc.PruneSettings(
        every=8, beta=1e-9, lr=0.02, method="taylor", granularity=4, at_once=2
    )
    gates = {"t_init": 50, "penalty_weight": 2, "n": 6, "n_final": 32}
    gates |= {"start": 0.2, "end": 0.5, "sharpen_until": 0.8, "cut_at": 0.9}
    assert given(line).sparsity() == Sparsity(0.25, None, 0.001, reparametrization=gates)
    assert given("--flip").recipe().flip is True
    assert given("--compile-gates").gates()["compiled"] is True


def test_sizes_are_shown_in_what_is_limited(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    line = (
        "compare --model conv4 --data digits --limit-train 300 --epochs 2 --batch-size 64 --device cpu "
        "--budget nonzeros=1% --arms magnitude,width"
    )
    code, out, _ = run(f"{line} --plan")
    assert code == 0
    assert "nonzeros" in out.splitlines()[2]
    cut, narrow = (next(row for row in out.splitlines() if row.startswith(arm)) for arm in ("magn", "width"))
    assert "= 4,578" in cut
    assert "4,559" in narrow
    assert "458,698" not in out
    assert "magnitude nonzeros=1%: widths" not in out
    assert "pruning decides" not in out
    code, out, _ = run(f"{line} --out done")
    assert code == 0
    assert "nonzeros=1% (4,578)" in out
    row = next(row.split() for row in out.splitlines() if "(4,578)" in row and row.startswith("magnitude"))
    assert row[:4] == ["magnitude", "nonzeros=1%", "(4,578)", "4,578"]
    code, out, _ = run("compare --model wrn-10-1 --epochs 2 --device cpu --budget macs=50% --plan")
    tuned = next(row for row in out.splitlines() if row.startswith("fisher-tuned"))
    assert "≤ " in tuned
    assert "~ " in tuned


# Models by the name of their factory

NETS = '''
"""A user's own module."""
import torch
from torch import nn

SIZE = 3


def build(num_classes, in_channels=1):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(48, num_classes),
    )


def other(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, num_classes))


def broken():
    raise RuntimeError("no\\nsuch luck")


def nothing():
    return 7


def three_classes():
    return build(3)


def of_colour():
    return build(10, 3)


def fixed_side(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 28 * 28, num_classes)
    )


def wants(width):
    return build(10)
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """`mypackage.nets` in the present folder, forgotten afterwards."""
    folder = tmp_path / "mypackage"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "nets.py").write_text(NETS)
    (folder / "fails.py").write_text("raise ValueError('first\\nsecond')")
    (folder / "leaves.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "mypackage"]:
        del sys.modules[name]


def test_inspect(run, package):
    code, out, err = run("inspect --model mypackage.nets:build --limit-train 300")
    assert code == 0
    assert err.startswith("mypackage.nets:build: finding and proving what can be cut")
    assert "mypackage.nets:build: every group proved against a masked reference" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line and line[0].isdigit()}
    # Group 0: a channel has 9 + 1 + 2 parameters and 12 * 9 in what reads it; 64 positions, then 16.
    assert rows["0"] == ["0", "0,", "1,", "3", "8", "120", "2,304"]
    assert rows["3"] == ["3", "3,", "7", "12", "113", "1,192"]
    assert "frozen: 7 (1): written to the network's output" in out
    assert "now: 1,462 params, 18,912 macs" in out

    code, out, _ = run("inspect --model mypackage.nets:build --limit-train 300 --json")
    found = json.loads(out)
    assert [(of["name"], of["width"], of["layers"]) for of in found["groups"]] == [
        ("0", 8, ["0", "1", "3"]),
        ("3", 12, ["3", "7"]),
    ]
    assert found["now"]["params"] == 1462
    assert found["smallest"]["params"] == 9 + 1 + 2 + 9 + 1 + 40 + 10
    code, out, _ = run("inspect --model wrn-10-1 --limit-train 300")
    assert code == 0
    assert "a built-in family" in out


def test_a_model_of_ones_own_from_pruning_to_export(run, package, tmp_path):
    own = "--model mypackage.nets:build"
    code, out, _ = run(f"prune fisher {SMALL} {own} --prune-every 1 --budget params=50%,bytes=4kB --out cut")
    assert code == 0
    record = json.loads((tmp_path / "cut/record.json").read_text())
    assert record["params"] <= 731
    assert (tmp_path / "cut/model.safetensors").stat().st_size <= 4000
    assert f"{record['params']:,} parameters" in out

    from mypackage.nets import build

    assert sum(p.numel() for p in sc.load("cut", factory=build).parameters()) == record["params"]

    code, out, err = run("scale cut --budget params=50% --out small.json")
    assert code == 2
    assert "pass the factory" in err
    assert err.count("\n") == 1
    code, out, _ = run("scale cut --budget params=50% --out small.json --factory mypackage.nets:build")
    assert code == 0
    small = sc.Architecture.load("small.json", factory=build)
    assert small.params <= record["params"] // 2

    code, _, err = run(f"train {SMALL} --model small.json --out small")
    assert code == 2
    assert "pass the factory" in err
    code, out, _ = run(f"train {SMALL} --model small.json --factory mypackage.nets:build --out small")
    assert code == 0
    assert json.loads((tmp_path / "small/record.json").read_text())["params"] == small.params

    code, out, _ = run("diff cut small.json")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["params"] == [str(record["params"]), str(small.params)]
    assert rows["0"] == [str(sc.Architecture.load("cut", factory=build).widths[0]), str(small.widths[0])]
    assert run("diff small small.json")[1] == "The architectures are the same.\n"

    pytest.importorskip("onnxruntime")
    code, out, _ = run("export cut --factory mypackage.nets:build --out cut.onnx")
    assert code == 0
    assert (tmp_path / "cut.onnx").stat().st_size == int(out.split()[1].replace(",", ""))


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("prune fisher --budget params=50% --model nopackage.nets:build", "No module named 'nopackage'"),
        ("prune fisher --budget params=50% --model mypackage.nets:absent", "has no 'absent'"),
        ("prune fisher --budget params=50% --model mypackage.nets:SIZE", "must be callable"),
        ("prune fisher --budget params=50% --model mypackage.fails:build", "failed with ValueError: first"),
        ("prune fisher --budget params=50% --model mypackage.leaves:build", "failed with SystemExit"),
        ("prune fisher --budget params=50% --model mypackage.nets:broken", "failed with RuntimeError: no"),
        ("prune fisher --budget params=50% --model mypackage.nets:nothing", "must return a torch.nn.Module"),
        ("prune fisher --budget params=50% --model mypackage.nets:wants", "failed with TypeError"),
        ("prune fisher --budget params=50% --model mypackage.nets:three_classes", "gives 3 scores"),
        ("prune fisher --budget params=50% --model mypackage.nets:of_colour", "cannot be run on the inputs"),
        ("prune fisher --budget params=50% --model mypackage.nets:fixed_side", "cannot be run on the inputs"),
        ("prune fisher --budget params=10 --model mypackage.nets:build", "ask for at least params=72"),
        ("prune fisher --budget params=9k --model mypackage.nets:build", "must not exceed the network's own"),
        ("prune fisher --budget nonzeros=20,params=9 --model mypackage.nets:build", "cannot hold together"),
        (
            "prune channel-reparametrization --budget params=10 --model mypackage.nets:build",
            "ask for at least params=72",
        ),
        ("prune channel-reparametrization --budget params=50%,macs=50%", "takes one budget"),
        ("prune magnitude --budget nonzeros=5%,macs=50%", "cannot hold together"),
        ("prune fisher --budget params=50% --model timm:resnet18", "pip install 'secateur[timm]'"),
        ("prune fisher --budget params=50% --model hf:./nowhere", "no model './nowhere' for transformers"),
        ("prune fisher --budget params=50% --model mypackage", "mypackage"),
        ("inspect --model mypackage.nets:absent", "has no 'absent'"),
        ("train --model mypackage.nets:nothing", "must return a torch.nn.Module"),
        ("diff mypackage mypackage", "no architecture at"),
        ("export mypackage", "no architecture at"),
        ("export mypackage --factory nets", "a factory is named package.module:function"),
        ("scale mypackage --budget params=5 --factory mypackage.nets:absent", "has no 'absent'"),
        (
            "compare --model mypackage.nets:build --budget params=10 --arms channel-reparametrization",
            "ask for at least params=72",
        ),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line_and_writes_nothing(run, package, tmp_path, line, fix):
    if "timm:" in line and importlib.util.find_spec("timm") and importlib.util.find_spec("torchvision"):
        pytest.skip("timm is installed here")
    if "hf:" in line:
        pytest.importorskip("transformers", reason="hf: models need transformers")
    data = "" if line.startswith(("diff", "export", "scale")) else " --limit-train 300"
    data += " --device cpu" if data and not line.startswith("inspect") else ""
    code, out, err = run(line + data)
    assert code == 2
    assert err.startswith("secateur: ")
    assert err.count("\n") == 1
    assert fix in err
    assert "Traceback" not in out + err
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"mypackage", "cache"}


def test_a_saved_folder_of_transformers(run, tmp_path):
    transformers = pytest.importorskip("transformers", reason="hf: models need transformers")
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", num_labels=10
    )
    transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "saved")
    line = f"prune fisher {SMALL} --model hf:saved --prune-every 1 --at-once 4 --budget params=60% --out cut"
    assert run(line)[0] == 0
    code, _, _ = run("scale cut --budget params=90% --factory hf:saved --out small.json")
    assert code == 0
    loaded = sc.load(
        "cut", factory=lambda **_: transformers.AutoModelForImageClassification.from_config(config)
    )
    record = json.loads((tmp_path / "cut/record.json").read_text())
    assert sum(p.numel() for p in loaded.parameters()) == record["params"]
    assert record["identity"]["dense"]["architecture"]["start"], "the weights that it starts from"


def test_compare_a_model_of_ones_own(run, package, tmp_path):
    line = f"compare {SMALL} --model mypackage.nets:build --prune-every 1 --budget params=50%"
    code, out, _ = run(f"{line} --plan")
    assert code == 0
    planned = [row.split()[0] for row in out.splitlines() if "params=50%" in row and "widths" not in row]
    arms = list(default_arms("params"))
    assert planned == arms
    code, out, _ = run(f"{line} --out out")
    assert code == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["model"] == "mypackage.nets:build"
    assert results["settings"]["arms"] == ", ".join(arms)
    assert [point["arm"] for point in results["points"]] == arms
    assert all(point["params"] <= 731 for point in results["points"])
    best = json.loads((tmp_path / "out/best/architecture.json").read_text())
    assert best["factory"] == "mypackage.nets:build"


def test_the_gates_prune_a_model_of_ones_own(run, package, tmp_path):
    code, _, _ = run(
        f"prune channel-reparametrization {SMALL} --model mypackage.nets:build --budget macs=50% --out gated"
    )
    assert code == 0
    from mypackage.nets import build

    record = json.loads((tmp_path / "gated/record.json").read_text())
    network = sc.load("gated", factory=build)
    assert sum(p.numel() for p in network.parameters()) == record["params"] < 1462
    assert record["macs"] <= 18912 // 2


def test_a_trained_network_is_pruned_at_once(run, package, tmp_path):
    """By its folder, or as its factory gives it; nothing is trained before."""
    small = "--data digits --limit-train 300 --prune-every 1 --at-once 8"
    assert run("train --model wrn-10-1 --data digits --limit-train 300 --epochs 1 --out dense")[0] == 0
    code, out, _ = run(f"prune fisher --model dense --trained {small} --budget params=80% --out one")
    assert code == 0
    trained = json.loads(Path("dense/record.json").read_text())["accuracy"]
    given = next(json.loads(path.read_text()) for path in Path("one/runs").glob("given-*/record.json"))
    assert given["accuracy"] == trained
    assert given["train_compute"] == 0
    assert "as it was given" in out
    code, out, _ = run(
        f"prune taylor --model mypackage.nets:build --trained {small} --budget params=70%,macs=70% --out two"
    )
    assert code == 0
    record = json.loads(Path("two/record.json").read_text())
    assert record["arm"] == "taylor-tuned"
    whole = json.loads(next(Path("two/runs").glob("given-*/record.json")).read_text())
    assert record["params"] <= 0.7 * whole["params"]
    assert record["macs"] <= 0.7 * whole["macs"]
    assert "MACs (multiply-accumulates, one image)" in out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "prune magnitude --trained --budget nonzeros=5%",
            "--trained is for what prunes channels step by step",
        ),
        ("prune fisher --model . --trained --budget params=5%", "no architecture at"),
        ("prune channel-reparametrization --budget params=50%,macs=50%", "takes one budget"),
        ("prune fisher --budget params=50%,params=40%", "every resource has one budget"),
        ("prune fisher --budget latency=2ms", "names the runtime it is measured with"),
        ("prune fisher --granularity 0 --budget params=50%", "granularity must be at least 1"),
        ("diff here there", "no architecture at 'here'"),
        ("inspect --input 224", "--input reads CHANNELSxHEIGHTxWIDTH, got '224'"),
        ("inspect --input 3x32x32 --classes 1", "--classes must be at least 2"),
        ("export nowhere", "no architecture at"),
    ],
)
def test_what_pruning_refuses(run, command, message):
    code, _, err = run(command)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not list(Path().iterdir())


def test_inspect_without_data(run, package):
    code, out, _ = run("inspect --model mypackage.nets:build --input 1x8x8 --classes 10 --json")
    assert code == 0
    assert json.loads(out) == json.loads(run("inspect --model mypackage.nets:build --data digits --json")[1])
    code, out, _ = run("inspect --model wrn-10-1 --input 3x32x32 --classes 10")
    assert code == 0
    assert "now: 77,850 params" in out
