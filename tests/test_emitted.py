"""Folders that measure themselves elsewhere: written, built and run here with what they have there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.budget import Budget
from secateur.deploy.emitted.plan import Plan
from secateur.deploy.predicted import predicted
from secateur.errors import InputError
from secateur.records.device_table import read_table
from secateur.runs.emit import emit
from secateur.surgery.anatomy import anatomy_of

GCC, CLANG = shutil.which("gcc"), shutil.which("clang")
needs_gcc = pytest.mark.skipif(GCC is None, reason="needs gcc, which is not on this machine")
needs_clang = pytest.mark.skipif(CLANG is None, reason="needs clang, which is not on this machine")
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def tiny():
    return sc.models.wide_resnet(depth=10, stages=[4, 8, 8], image_size=8, in_channels=1)


def images():
    return torch.zeros(1, 1, 8, 8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder for each runtime, with two whole networks."""
    made = tmp_path_factory.mktemp("emitted")
    model = tiny()
    return {name: emit(model, made / name, runtime=name, networks=2).path for name in ("c", "onnxruntime")}


def checked(path):
    """What a folder printed: a table of the tiny network that has all costs."""
    table = read_table(path)
    assert [layer.name for layer in table.layers][:2] == ["stem", "blocks.0.conv1"]
    assert len(table.wholes) == 2
    assert all(ns > 0 for site in table.sites for ns in site.ns)
    assert table.device
    found = predicted(tiny(), images(), table)
    assert found.errors is None  # two networks are too few to tell
    least = tiny()
    anatomy_of(least).narrow(least, dict.fromkeys(anatomy_of(least).graph.groups, 1))
    assert 0 < predicted(least, images(), table).nanoseconds <= found.nanoseconds
    return table


class TestThePlan:
    def test_grids_reach_from_one_channel_to_all_and_leave_alone_what_no_cut_changes(self):
        plan = Plan.of(tiny(), networks=3)
        by_name = {layer.name: plan.sites[layer.site] for layer in plan.layers}
        first = by_name["blocks.0.conv1"]
        assert (first.groups, first.ins, first.outs) == ((1,), (16,), (1, 2, 4))
        assert (by_name["classifier"].ins, by_name["classifier"].outs) == ((8,), (10,))
        assert len(plan.networks) == 3
        assert len({tuple(each.channels for each in layers.found) for _, layers in plan.networks}) == 3

    def test_equal_layers_are_measured_once(self):
        plan = Plan.of(sc.models.wide_resnet(depth=16, stages=[4, 4, 4], image_size=8), networks=1)
        assert len(plan.sites) < len(plan.layers)
        sites = [layer.site for layer in plan.layers if layer.name in ("blocks.2.conv1", "blocks.3.conv1")]
        assert len(sites) == 2

    def test_depthwise_layers_have_one_axis(self):
        model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 5, 1))
        sc.inspect(model, torch.randn(2, 3, 9, 9))
        site = Plan.of(model, networks=1).sites[1]
        assert (site.groups, site.ins, site.outs) == ((1, 2, 4, 8, 16), (1,), (1,))

    def test_attention_whose_one_projection_becomes_three_once_it_is_cut(self):
        class Attentive(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
                self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

            def forward(self, x):
                x = self.first(x)
                return self.last((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))

        torch.manual_seed(0)
        model, inputs = Attentive().eval(), torch.randn(3, 5, 6)
        sc.inspect(model, inputs)
        plan = Plan.of(model, networks=4)
        names = {len(layers.found) for _, layers in plan.networks}
        assert names == {4, 6}  # in: one, or three for queries, keys and values; out; first and last
        wholes = plan.table("c")["wholes"]
        for whole in wholes:
            for site, *channels in whole["layers"]:
                assert plan.sites[site].reaches(tuple(channels))

    def test_a_network_of_one_width_has_one_whole(self):
        model = tiny()
        anatomy_of(model).narrow(model, dict.fromkeys(anatomy_of(model).graph.groups, 1))
        assert len(Plan.of(model, networks=8).networks) == 1

    def test_a_network_that_was_not_opened_is_refused(self):
        with pytest.raises(InputError, match=r"call sc.inspect\(model, inputs\) first"):
            Plan.of(nn.Linear(3, 2))


class TestC:
    @needs_gcc
    def test_it_measures_itself_with_nothing_but_a_compiler(self, folders, tmp_path):
        bare = tmp_path / "bare"
        shutil.copytree(folders["c"], bare)
        env = {"PATH": os.path.dirname(GCC) + ":/bin", "CC": "gcc", "CFLAGS": "-O1"}
        subprocess.run(["/bin/sh", "build.sh"], cwd=bare, env=env, check=True)
        done = subprocess.run(["./measure", "0"], cwd=bare, env={}, check=True, capture_output=True)
        (tmp_path / "device.json").write_bytes(done.stdout)
        table = checked(tmp_path / "device.json")
        assert (table.runtime, table.batch, table.threads) == ("c", 1, 1)
        assert table.version.startswith("gcc ")
        half = predicted(tiny(), images(), table).nanoseconds
        small = sc.prune(
            tiny(),
            method="filter-norm",
            budget=f"latency={half * 0.95 / 1000:.3f}us@file:{tmp_path / 'device.json'}",
            example_inputs=images(),
            train=False,
            progress=False,
        )
        assert predicted(small, images(), table).nanoseconds <= half * 0.95

    @pytest.mark.parametrize(
        "compiler", [pytest.param("gcc", marks=needs_gcc), pytest.param("clang", marks=needs_clang)]
    )
    def test_compilers_have_nothing_to_say(self, folders, compiler):
        files = sorted(str(path) for path in (folders["c"] / "c").glob("*.c"))
        subprocess.run([compiler, *STRICT, "-fsyntax-only", *files], check=True)

    @needs_gcc
    def test_a_device_without_a_system_has_its_own_clock(self, folders, tmp_path):
        hook = tmp_path / "hook.c"
        hook.write_text(
            "#include <time.h>\ndouble ticks(void);\n"
            "double ticks(void) { return 1e9 / CLOCKS_PER_SEC * (double)clock(); }\n"
        )
        files = sorted(str(path) for path in (folders["c"] / "c").glob("*.c"))
        options = [
            "-DSECATEUR_NOW=ticks",
            "-DSECATEUR_ROUNDS=1",
            "-DSECATEUR_FLASH",
            '-DDEVICE="my \\"board"',
        ]
        target = tmp_path / "measure"
        subprocess.run(
            [GCC, *STRICT, "-O0", *options, *files, str(hook), "-lm", "-o", str(target)], check=True
        )
        printed = subprocess.run([str(target), "0"], check=True, capture_output=True).stdout
        (tmp_path / "device.json").write_bytes(printed)
        assert checked(tmp_path / "device.json").device == "my  board"

    @pytest.mark.slow
    @needs_gcc
    def test_it_keeps_to_its_memory(self, folders, tmp_path):
        files = sorted(str(path) for path in (folders["c"] / "c").glob("*.c"))
        target = tmp_path / "measure"
        sanitisers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        subprocess.run([GCC, "-std=c11", "-O1", *sanitisers, *files, "-lm", "-o", str(target)], check=True)
        subprocess.run([str(target), "0"], check=True, capture_output=True)

    def test_weights_are_not_in_the_files(self, tmp_path):
        model = sc.models.conv4(width=0.5, image_size=16)
        found = emit(model, tmp_path / "there", networks=1)
        assert sum(weight.numel() for weight in model.parameters()) > 200_000
        assert found.size < 300_000

    def test_batches_and_threads_are_refused(self, tmp_path):
        for options in ({"batch": 8}, {"threads": 2}):
            with pytest.raises(InputError, match="C runs one example at a time on one thread"):
                emit(tiny(), tmp_path / "there", **options)
        assert not (tmp_path / "there").exists()


class TestOnnxruntime:
    def test_it_measures_itself_with_nothing_but_onnxruntime(self, folders, tmp_path):
        only = tmp_path / "only"
        only.mkdir()
        for package in ("numpy", "onnxruntime"):
            home = Path(find_spec(package).origin).parent
            for each in (home, home.with_name(f"{package}.libs")):
                if each.exists():
                    (only / each.name).symlink_to(each)
        bare = tmp_path / "bare"
        shutil.copytree(folders["onnxruntime"], bare)
        command = "import runpy, sys; sys.path.append(sys.argv[1]); sys.argv[1:] = ['0']; "
        command += "runpy.run_path('measure.py', run_name='__main__')"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", command, str(only)], cwd=bare, check=True, capture_output=True
        )
        (tmp_path / "device.json").write_bytes(done.stdout)
        table = checked(tmp_path / "device.json")
        assert table.runtime == "onnxruntime"
        assert table.version[0].isdigit()
        assert Budget.parse(f"latency=50%@file:{tmp_path / 'device.json'}").runtime == "onnxruntime"

    def test_every_kind_of_layer_is_written(self, tmp_path):
        model = nn.Sequential(
            nn.ConvTranspose2d(3, 8, 3, stride=2, output_padding=1),
            nn.Conv2d(8, 8, 3, groups=8, dilation=2),
            nn.Conv2d(8, 4, 1),
            nn.Flatten(2),
            nn.Conv1d(4, 6, 3, stride=2, padding=1),
            nn.Linear(128, 5),
        )
        inputs = torch.randn(2, 3, 9, 9)
        sc.inspect(model, inputs)
        for name in ("c", "onnxruntime"):
            out = emit(model, tmp_path / name, runtime=name, networks=1).path
            kinds = [site["shape"]["kind"] for site in json.loads((out / "table.json").read_text())["sites"]]
            assert kinds == ["transposed", "convolution", "convolution", "convolution", "linear"]


class TestTheFolder:
    def test_a_folder_of_others_is_left_alone(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match="holds other files: choose another --emit"):
            emit(tiny(), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match="which is a file: choose another"):
            emit(tiny(), tmp_path / "notes.txt")

    def test_another_emission_takes_its_place_and_a_table_stays(self, tmp_path):
        emit(tiny(), tmp_path / "there", runtime="onnxruntime", networks=1)
        (tmp_path / "there" / "device.json").write_text("{}")
        emit(tiny(), tmp_path / "there", networks=1)
        assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [
            *("README.txt", "build.sh", "c", "device.json", "table.json")
        ]

    def test_zeros_are_said_not_to_count(self, tmp_path):
        model = tiny()
        with torch.no_grad():
            model.blocks[1].conv1.weight.zero_()
        found = emit(model, tmp_path / "there", networks=1)
        assert "blocks.1.conv1" in found.remarks[0]
        assert "as if they were dense" in found.remarks[0]

    def test_an_unknown_runtime_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="unknown runtime of another device 'torch'"):
            emit(tiny(), tmp_path / "there", runtime="torch")
