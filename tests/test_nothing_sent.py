"""Nothing is sent anywhere by anything that is called here, and little is left outside the output folder.

Every attempt to connect, to send or to resolve a name is recorded and refused below the C library's names
(tests/no_network.c), in the process and all that it starts; home and temporary folder are new ones.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import secateur
from doc_files import Files
from secateur.process import _REPORTERS, _TELLS_NOBODY
from unconnected import COMPILER, Ended, Unconnected, shim

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler, which makes what is preloaded")

REACHES = """
import socket
far = ("192.0.2.1", 9)  # of those that are for documents alone
asked = (
    lambda: socket.create_connection(far),
    lambda: socket.create_connection(("2001:db8::1", 9)),
    lambda: socket.getaddrinfo("nobody.invalid", 1),
    lambda: socket.gethostbyname("nobody.invalid"),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", far),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, far),
    lambda: socket.socket(type=socket.SOCK_DGRAM).connect(far),
)
for each in asked:
    try:
        each()
    except OSError:
        print("refused")
listening = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listening.getsockname())
socket.getaddrinfo("localhost", 1)
"""
SEEN = [
    *(
        "connect 192.0.2.1:9",
        "connect 2001:db8::1:9",
        "getaddrinfo nobody.invalid",
        "getaddrinfo nobody.invalid",
    ),
    *("sendto 192.0.2.1:9", "sendmsg 192.0.2.1:9", "route 192.0.2.1:9"),
]
RUNTIMES = """
import onnx
from onnx import TensorProto, helper
from secateur.process import silent

ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", ports[:1], ports[1:])
opset = helper.make_opsetid("", 20)
content = helper.make_model(graph, ir_version=10, opset_imports=[opset]).SerializeToString()
onnxruntime, openvino = silent("onnxruntime"), silent("openvino")
session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
assert session.run(None, {"x": [[-1.0, 2.0]]})[0].tolist() == [[0.0, 2.0]]
assert openvino.Core().read_model(content).outputs
assert "openvino_telemetry" not in __import__("sys").modules
"""


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shim(tmp_path_factory.mktemp("shim"))


def test_what_reaches_out_is_seen_and_refused_and_this_machine_is_not(preload: Path, tmp_path: Path) -> None:
    found = Unconnected(tmp_path, preload).run(["-c", REACHES])
    assert (found.code, found.out.count("refused")) == (0, len(SEEN)), found.err
    assert [f"{what} {whom}" for what, whom, _ in found.attempts] == SEEN


def test_runtimes_report_to_nobody_and_leave_nothing_at_home(preload: Path, tmp_path: Path) -> None:
    found = Unconnected(tmp_path, preload).run(["-W", "error", "-c", RUNTIMES])
    assert found.code == 0, found.err
    assert (found.attempts, found.home, found.temporary) == ([], [], [])


def test_packages_that_could_report_are_imported_in_one_way_alone() -> None:
    """Each `import onnxruntime` elsewhere would be a package that nobody told to be silent."""
    package = rf"(?:{'|'.join({*_TELLS_NOBODY, *_REPORTERS})})\b"
    direct = re.compile(rf"^\s*(?:import|from) {package}|import_module\(f?[\"']{package}", re.MULTILINE)
    assert direct.search("    import onnxruntime")
    assert direct.search('import_module("openvino.tools")')
    files = [*Path(secateur.__file__).parent.rglob("*.py")]
    assert not [f"{path}: {found[0]}" for path in files if (found := direct.search(path.read_text("utf-8")))]


TINY = "--model conv4 --data digits --limit-train 100 --epochs 1"
SMALL = "--model wrn-10-1 --data digits --limit-train 200 --epochs 1 --prune-every 1"
COMMANDS = (
    "--version",
    f"train {TINY} --out dense",
    f"train {TINY} --out dense",
    f"prune fisher {SMALL} --budget params=90% --out cut",
    f"prune reparametrization {TINY} --budget nonzeros=50% --out gated",
    "inspect --model wrn-16-1 --data digits",
    "diff dense cut",
    "scale cut --budget params=50% --out scaled.json",
    "evaluate cut --data digits --out page",
    "export cut --to onnx --out m.onnx",
    "export cut --to openvino --out m.xml",
    "export cut --to c --out m.c",
    "export cut --to onnx --int8 --out m8.onnx",
    "export cut --to openvino --int8 --out m8.xml",
    "measure cut --seconds 0.05 --out measured",
    "measure cut --emit there --runtime c",
    "measure cut --emit there-too --runtime onnxruntime",
    "forecast --model conv4 --data digits --budget params=50% --runtime onnxruntime,openvino --seconds 0.05",
    "train --model wrn-10-1 --data photos --epochs 1 --out photographed --log-with tensorboard",
    "train --model hf:pretrained --data photos --epochs 1 --image-size 32 --out tuned",
    "predict photographed photos/city/00.png",
    "predict m.onnx photos/city/00.png",
    "predict m.xml photos/city/00.png",
    "predict m.c photos/city/00.png --trust",
    f"compare {SMALL} --budget params=90% --arms fisher-tuned,width --out compared --workers 2",
    "report compared",
    "runs list compared",
    f"compare {SMALL} --budget params=90% --arms fisher-tuned,width --out on-ray --workers 2 --on ray",
)
OUTSIDE = re.compile(
    r"\.cache(/secateur(/data-[0-9a-f]+\.safetensors)?|/matplotlib(/fontlist-v[\d.]+\.json)?)?"
    r"|\.config(/matplotlib)?"
)
"""All that may be left at home: docs/install.md."""
LEFT = re.compile(r"torchinductor_\w+(/.*)?")
"""And in the temporary folder."""
ASKED_BY_RAY = {
    ("connect", "169.254.169.254:80"),
    ("getaddrinfo", "metadata.google.internal"),
    ("route", "8.8.8.8:53"),
    ("route", "2001:4860:4860::8888:53"),
}
"""Ray asks which cloud the machine is in, if any, and the kernel for its own address (that sends nothing)."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, preload: Path) -> Unconnected:
    made = Unconnected(tmp_path_factory.mktemp("unconnected"), preload)
    (made.work / "made").mkdir()
    Files(made.work / "made").put("photos", made.work)
    _pretrained(made.work / "pretrained")
    return made


def _pretrained(folder: Path) -> None:
    """A network of transformers in a folder, as `save_pretrained` leaves it."""
    import transformers

    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", num_labels=3
    )
    transformers.ResNetForImageClassification(config).save_pretrained(folder)


@pytest.mark.slow
def test_no_command_sends_anything_or_leaves_more_at_home_than_is_said(machine: Unconnected) -> None:
    found = {}
    for number, command in enumerate(COMMANDS):
        ended = machine.run(["-m", "secateur", *command.split()], timeout=600)
        found[f"{number} {command}"] = ended
        print(f"{ended.code} {len(ended.attempts)} attempts, left {ended.home + ended.temporary}: {command}")
    print(f"{len(found)} commands: {sum(len(each.attempts) for each in found.values())} attempts")
    failed = {command: each.err for command, each in found.items() if each.code}
    assert not failed
    assert not {command: reached for command, each in found.items() if (reached := _reached(command, each))}
    assert not {command: left for command, each in found.items() if (left := _left(each))}


def _reached(command: str, ended: Ended) -> set[tuple[str, str]]:
    reached = {(what, whom) for what, whom, _ in ended.attempts}
    return reached - ASKED_BY_RAY if "--on ray" in command else reached


def _left(ended: Ended) -> list[str]:
    at_home = [name for name in ended.home if not OUTSIDE.fullmatch(name)]
    return at_home + [name for name in ended.temporary if not LEFT.fullmatch(name)]


DOORS = """
import torch
import secateur as sc
from secateur.deploy.onnx import to_onnx
from secateur.deploy.openvino import to_openvino
from torch import nn

data = sc.load_data("photos")
layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
batches = [(torch.randn(8, 3, 16, 16), torch.randint(3, (8,)))] * 4
model = sc.prune(nn.Sequential(*layers), method="fisher", budget="params=80%", data=batches, every=1)
to_onnx(model, batches[0][0], "doors.onnx")
to_openvino(model, batches[0][0], "doors.xml")
asked = {"budgets": ["params=50%"], "arms": ["width"], "epochs": 1, "workers": 1, "device": "cpu"}
sc.compare("wrn-10-1", data=data, out="by-door", **asked)
print(sc.inspect(model, batches[0][0]))
network = sc.load("by-door/best")
print(network.classes, sc.artefact(network))
print(sc.predict("by-door/best", "photos/city/00.png"))
print(sc.evaluate("by-door/best", "photos"))
print(sc.measure("by-door/best", seconds=0.05))
"""


@pytest.mark.slow
def test_no_door_of_python_sends_anything(machine: Unconnected) -> None:
    ended = machine.run(["-c", DOORS], timeout=600)
    assert ended.code == 0, ended.err
    assert (ended.attempts, _left(ended)) == ([], [])


HOMELESS = (
    "train --model wrn-10-1 --data photos --epochs 1 --out homeless",
    "export homeless --to onnx --out h.onnx",
    "export homeless --to openvino --out h.xml",
    f"compare {SMALL} --budget params=90% --arms width --out homeless-compared --workers 2",
)


@pytest.mark.slow
@pytest.mark.parametrize("home", ["/dev/null/nobody", "/proc/1/nobody"])
def test_a_home_that_is_missing_or_cannot_be_written_stops_nothing_and_is_not_spoken_of(
    machine: Unconnected, home: str
) -> None:
    for command in HOMELESS:
        ended = machine.run(["-m", "secateur", *command.split()], HOME=home)
        assert ended.code == 0, (command, ended.err)
        print(command, ended.err, ended.temporary)
        assert not ended.attempts
        assert "atplotlib" not in ended.err
