"""The blocks of docs/own-loop.md, run as they stand, and with what the page says of them changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from secateur.network.masks import count_nonzeros, prunable_weights

PAGE = (Path(__file__).parents[1] / "docs/own-loop.md").read_text()
BLOCKS = {
    section.partition("\n")[0]: "".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    for section in PAGE.split("\n## ")[1:]
}
SETTING = BLOCKS.pop("The setting of the examples")
MODES = ("exact", "faithful")
NEEDED = {"Hugging Face Trainer": "transformers", "Lightning": "lightning"}  # not among our own dependencies
MISSING = "{0} is not installed: pip install -c constraints.txt {0}"
ON_CPU = {
    "Hugging Face Trainer": {"TrainingArguments(": "TrainingArguments(use_cpu=True, disable_tqdm=True,"},
    "Lightning": {"lightning.Trainer(": 'lightning.Trainer(accelerator="cpu", devices=1,'},
}

pytestmark = pytest.mark.filterwarnings("ignore")  # of other people's libraries


@pytest.fixture(autouse=True)
def _one_cpu_process(tmp_path, monkeypatch):
    """A folder to write to, the CPU, and no accelerator left over from another test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    _forget_accelerators()
    yield
    _forget_accelerators()


def _forget_accelerators():
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def changed(code: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in code, old
        code = code.replace(old, new)
    return code


def run(title: str, mode: str = "exact", **changes: str) -> dict:
    """The names that a block leaves behind. Changes are `old -> new` as {"old": "new"}."""
    code = BLOCKS[title]
    if mode == "faithful":
        code, found = re.subn(r"steps=(total_steps|epochs \* len\(loader\))", 'mode="faithful"', code)
        assert found == 1
    names: dict = {"__name__": "own_loop"}
    for text in (SETTING, changed(code, changes)):
        exec(compile(text, "docs/own-loop.md", "exec"), names)  # our own text
    return names


@cache
def plain(mode: str) -> nn.Module:
    """The network that the plain loop ends with, which others must end with too."""
    return check_finished(run("Plain PyTorch", mode))


def check_finished(names: dict) -> nn.Module:
    """A plain network of the old class with exactly the budgeted number of nonzeros."""
    model, fresh = names["model"], names["network"]()
    assert type(model) is type(fresh)
    assert count_nonzeros(model) == round(0.05 * sum(w.numel() for w in prunable_weights(fresh).values()))
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    shapes = [(name, value.shape) for name, value in model.state_dict().items()]
    assert shapes == [(name, value.shape) for name, value in fresh.state_dict().items()]
    return model


def assert_equal_weights(one: nn.Module, two: nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_blocks_are_found():
    assert {*BLOCKS} == {
        "Plain PyTorch",
        "Accelerate",
        *NEEDED,
        "Validation in the middle",
        "Sparse from the start, and rewound",
        "Removing channels",
        "Checkpoints",
        "Pruned networks on a CPU",
    }


def test_weights_are_rewound_and_the_rate_with_them():
    names = run("Sparse from the start, and rewound", **{"(model(x), y).backward()": SEEN})
    check_finished(names)
    rates, ends = names["rates"], [i for i in range(1, len(names["rates"])) if names["rates"][i - 1] < 0.05]
    rises = [i for i in ends if rates[i] > rates[i - 1]]
    assert len(rises) == 2  # two rounds of pruning
    assert rates[0] == 0.1
    assert max(rates[i] for i in rises) < 0.1  # to the rate of the early step, not the first


SEEN = "(model(x), y).backward(); rates = [*globals().get('rates', []), optimizer.param_groups[0]['lr']]"


def test_channels_are_removed_under_two_optimizers_with_two_averages():
    names = run("Removing channels")
    model, ema, average = names["model"], names["ema"], names["average"]
    whole = names["network"]()
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    assert count(model) <= 0.8 * count(whole)
    shapes = [p.shape for p in model.parameters()]
    assert [p.shape for p in ema.module.parameters()] == shapes
    assert model.blocks[0].conv1.weight.shape == whole.blocks[0].conv1.weight.shape
    settled = average.tensors()
    for (name, own), other in zip(model.named_parameters(), ema.module.parameters(), strict=True):
        assert torch.equal(own, settled[name])
        assert float((own - other).abs().max()) < 0.2, "both average the same weights, with other decays"


@pytest.fixture
def _one_thread():
    """The rounding of so many steps depends on the threads, and grows with every step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
def test_a_padded_network_learns_as_it_is():
    """As after the same steps without padding, to the rounding of so many steps."""
    title = "Pruned networks on a CPU"
    seed = {"model = sc": "torch.manual_seed(0)\nmodel = sc"}
    padded = run(title, **seed)
    plain = run(title, **seed, **{"with padding:": "if True:"})
    assert "with padding:" in BLOCKS[title]
    assert not any("forward" in layer.__dict__ for layer in padded["model"].modules())
    torch.testing.assert_close(padded["logits"], plain["logits"], rtol=0.02, atol=0.02)
    with torch.no_grad():
        loss = F.cross_entropy(padded["model"].eval()(padded["x"]), padded["y"])
    assert float(loss) < 2.0  # of 2.3 at the beginning


@pytest.mark.parametrize("mode", MODES)
def test_accelerate_gives_the_weights_of_the_plain_loop(mode):
    assert_equal_weights(plain(mode), check_finished(run("Accelerate", mode)))


@pytest.mark.parametrize("mode", MODES)
def test_accumulating_with_accelerate_is_accumulating_by_hand(mode):
    accumulating = {"Accelerator()": "Accelerator(gradient_accumulation_steps=2)"}
    accelerated = run("Accelerate", mode, **accumulating)
    names = run("Plain PyTorch", mode, **{"range(epochs)": "range(0)"})
    setting: dict = {}
    exec(SETTING, setting)
    method = type(names["method"])(
        "nonzeros=5%", mode=mode, steps=None if mode == "faithful" else accelerated["total_steps"]
    )
    model = method.prepare(setting["network"]())
    optimizer = torch.optim.SGD(method.parameter_groups(model, weight_decay=5e-5), lr=0.1, momentum=0.9)
    for _ in range(setting["epochs"]):
        for index, (x, y) in enumerate(setting["loader"], start=1):
            ((F.cross_entropy(model(x), y) + method.penalty(model)) / 2).backward()
            if index % 2 == 0 or index == len(setting["loader"]):
                optimizer.step()
                optimizer.zero_grad()
                method.after_step(model, optimizer)
    assert method.state()["step"] == accelerated["total_steps"] == 30
    assert_equal_weights(check_finished(accelerated), method.finalize(model))


@pytest.mark.parametrize("mode", MODES)
def test_mixed_precision_with_accelerate(mode):
    names = run("Accelerate", mode, **{"Accelerator()": 'Accelerator(mixed_precision="bf16")'})
    model = check_finished(names)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert names["loss"].isfinite()
    x = names["val"].tensors[0]
    twin = names["network"]().eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(x), twin(x))  # nothing of autocast is left


@pytest.mark.parametrize("mode", MODES)
def test_validation_in_the_middle(mode, capsys):
    names = run("Validation in the middle", mode)
    check_finished(names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == names["epochs"] + 1
    assert lines[-1].startswith("finished: ")


@pytest.mark.parametrize("mode", MODES)
def test_a_checkpoint_continues_to_the_same_weights(mode):
    assert_equal_weights(plain(mode), check_finished(run("Checkpoints", mode)))


@pytest.fixture(scope="module")
def by_trainer(tmp_path_factory):
    """What Hugging Face's loop leaves in a mode, run once and with checkpoints: its names, and its folder."""
    saving = {**ON_CPU["Hugging Face Trainer"], 'save_strategy="no"': 'save_strategy="epoch"'}
    found = {}

    def call(mode):
        if mode not in found:
            folder = tmp_path_factory.mktemp("trainer")
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                found[mode] = run("Hugging Face Trainer", mode, **saving), folder
        return found[mode]

    return call


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("title", NEEDED)
def test_other_peoples_loops(title, mode, by_trainer):
    pytest.importorskip(NEEDED[title], reason=MISSING.format(NEEDED[title]))
    names = run(title, mode, **ON_CPU[title]) if title == "Lightning" else by_trainer(mode)[0]
    model = check_finished(names)
    method = names["method"]
    assert method.state()["step"] == names["epochs"] * len(names["loader"])
    if title == "Lightning":  # after `finalize` there is nothing left to solve for, or to step
        names["trainer"].validate(names["module"], names["DataLoader"](names["val"]), verbose=False)
    else:
        names["trainer"].evaluate()
    x, y = names["val"].tensors
    if mode == "faithful":  # whose cut leaves nothing after so few steps, as the paper has it
        return
    assert (model.eval()(x).argmax(1) == y).float().mean() > 0.15


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("title", NEEDED)
def test_other_peoples_loops_with_accumulated_gradients(title, mode):
    """`after_step` follows the optimizer's steps, not the batches."""
    pytest.importorskip(NEEDED[title], reason=MISSING.format(NEEDED[title]))
    option = "accumulate_grad_batches" if title == "Lightning" else "gradient_accumulation_steps"
    ((old, new),) = ON_CPU[title].items()
    names = run(title, mode, **{old: f"{new} {option}=2,"})
    check_finished(names)
    assert names["method"].state()["step"] == names["epochs"] * 10  # of 19 batches


def launch(processes: int, mode: str, folder: Path) -> list[dict[str, torch.Tensor]]:
    """The weights that each process ends with. conv4 has no batch norm, which would see half batches."""
    changes = {
        "wide_resnet(depth=10, width=1,": "conv4(width=0.25,",
        "shuffle=True,": "shuffle=True, drop_last=True,",
        "epochs = 3": "epochs = 1",
    }
    split = "accelerate.utils.DataLoaderConfiguration(split_batches=True)"
    code = changed(BLOCKS["Accelerate"], {"Accelerator()": f"Accelerator(dataloader_config={split})"})
    if mode == "faithful":
        code = changed(code, {"steps=total_steps": 'mode="faithful"'})
    code = changed(code, {"lr=0.1": "lr=0.02", "model = method.finalize": SAVE + "model = method.finalize"})
    script = folder / "script.py"
    script.write_text("import accelerate\n" + changed(SETTING, changes) + code + FINISHED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    done = subprocess.run(
        [*command, str(processes), str(script)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(processes)]


SAVE = """
trained = accelerator.unwrap_model(model).state_dict()
kept = {f"training.{name}": value.clone() for name, value in trained.items()}
kept |= {f"gate.{name}": gate.t.detach().clone() for name, gate in method._gates.items()}
"""
FINISHED = """
torch.save({**kept, **model.state_dict()}, f"{accelerator.process_index}.pt")
if accelerator.num_processes > 1:
    torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("mode", MODES)
def test_lightning_continues_from_its_checkpoint(mode):
    pytest.importorskip("lightning", reason=MISSING.format("lightning"))
    uninterrupted = check_finished(run("Lightning", mode, **ON_CPU["Lightning"]))
    on_cpu = ON_CPU["Lightning"]["lightning.Trainer("]
    names = run("Lightning", mode, **{"lightning.Trainer(\n    max_epochs=epochs": f"{on_cpu} max_epochs=1"})
    (checkpoint,) = [path for path in Path().glob("checkpoints/*.ckpt") if path.stem.startswith("epoch=0")]
    settings = {} if mode == "faithful" else {"steps": names["method"].steps}
    method = type(names["method"])("nonzeros=5%", mode=mode, **settings)
    module = names["Classifier"](names["network"](), method)
    trainer = names["lightning"].Trainer(
        accelerator="cpu", max_epochs=names["epochs"], callbacks=[names["Pruning"](method)], logger=False
    )
    val = names["DataLoader"](names["val"], batch_size=100)
    trainer.fit(module, names["loader"], val, ckpt_path=checkpoint)
    assert method.state()["step"] == names["epochs"] * len(names["loader"])
    assert_equal_weights(uninterrupted, module.net)


@pytest.mark.parametrize("mode", MODES)
def test_the_trainer_continues_from_its_checkpoint(mode, by_trainer, monkeypatch):
    pytest.importorskip("transformers", reason=MISSING.format("transformers"))
    names, folder = by_trainer(mode)
    uninterrupted = check_finished(names)
    monkeypatch.chdir(folder)
    resuming = {
        "trainer.train()": 'saved = torch.load("trainer/checkpoint-19/method.pt")\n'
        'method.restore(saved["method"], saved["tensors"])\n'
        'trainer.train(resume_from_checkpoint="trainer/checkpoint-19")'
    }
    resumed = run("Hugging Face Trainer", mode, **ON_CPU["Hugging Face Trainer"], **resuming)
    assert resumed["method"].state()["step"] == 57
    assert_equal_weights(uninterrupted, check_finished(resumed))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_two_processes_train_as_one(mode, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (one,) = launch(1, mode, tmp_path / "one")
    first, second = launch(2, mode, tmp_path / "two")
    assert any(name.startswith("gate.") for name in one)
    for name, value in one.items():
        assert torch.equal(first[name], second[name]), name
        if name.startswith(("training.", "gate.")):  # the cut may fall on either of two equals
            torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-4)
