"""Sparse files from strangers: whatever they say, one line of refusal, and no memory for what they claim."""

from __future__ import annotations

import json
import random
import tracemalloc

import numpy as np
import pytest
import torch
import zstandard
from safetensors import safe_open
from safetensors.torch import save_file

import secateur as sc
from secateur.errors import InputError
from secateur.network import sparse_file
from secateur.network.masks import apply_masks, keep_largest, magnitudes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file with one sparse tensor of 900 entries and 45 nonzeros, a full one, a counter."""
    path = tmp_path_factory.mktemp("whole") / "x.safetensors"
    drawn = torch.Generator().manual_seed(0)
    weight = torch.zeros(900)
    weight[torch.randperm(900, generator=drawn)[:45]] = torch.randn(45, generator=drawn)
    tensors = {"w": weight.view(30, 30), "b": torch.ones(30), "n": torch.tensor(3)}
    sparse_file.write(path, tensors)
    return path


def streams(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def unpacked(tensor):
    return zstandard.ZstdDecompressor().decompress(tensor.numpy().tobytes())


def tensor(content):
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def packed(content):
    return tensor(zstandard.ZstdCompressor().compress(content))


def altered(whole, path, change, metadata=None):
    """A copy of the file in which `change` was made to its streams, still packed."""
    found, said = streams(whole)
    change(found)
    save_file(found, path, said if metadata is None else metadata)
    return path


def with_index(change):
    """Change the index, as text or as what it says."""

    def alter(found):
        index = unpacked(found["index"])
        if isinstance(change, bytes):
            found["index"] = packed(change)
            return
        said = json.loads(index)
        said = change(said) or said
        found["index"] = packed(json.dumps(said).encode())

    return alter


def entry(which, /, **changes):
    def change(said):
        (one,) = (each for each in said["tensors"] if each["name"] == which)
        one.update(changes)

    return with_index(change)


def stream(name, content):
    return lambda found: found.__setitem__(name, content if torch.is_tensor(content) else tensor(content))


FRAME_OF_NO_SIZE = zstandard.ZstdCompressor().compressobj().compress(b"") or b"\x28\xb5\x2f\xfd\x00\x58"
BOMB = zstandard.ZstdCompressor().compress(bytes(500_000_000))
GAPS = np.arange(45, dtype=np.uint8) % 9

HOSTILE = {
    "a negative side": (entry("w", shape=[-30, -30]), "no shape"),
    "a side of 2^40": (entry("w", shape=[1 << 40]), "no shape"),
    "sides whose product overflows": (entry("w", shape=[1 << 30, 1 << 30, 0]), "no shape"),
    "a large shape": (entry("w", shape=[1 << 20, 1 << 19]), "would take"),
    "many axes": (entry("w", shape=[1] * 60), "no shape"),
    "a fraction for a side": (entry("w", shape=[30.0, 30]), "no shape"),
    "true for a side": (entry("w", shape=[True, 900]), "no shape"),
    "text for a shape": (entry("w", shape="30x30"), "no shape"),
    "NaN nonzeros": (entry("w", nonzeros=float("nan")), "NaN is no number"),
    "negative nonzeros": (entry("w", nonzeros=-1), "got -1 nonzeros"),
    "more nonzeros than entries": (entry("w", nonzeros=901), "900 entries, got 901 nonzeros"),
    "other nonzeros": (entry("w", nonzeros=44), "stream F32.0 must hold 74 bytes, it says 75"),
    "nonzeros of a full tensor": (entry("b", nonzeros=30), "by its gaps|must lead to"),
    "an unknown dtype": (entry("w", dtype="F7"), "the dtype 'F7'"),
    "a list for a dtype": (entry("w", dtype=["F32"]), r"the dtype \['F32'\]"),
    "another dtype": (entry("n", dtype="F64"), "stream"),
    "integers as floats": (entry("n", values="F32"), "is I64, which is not written as F32"),
    "an unknown key": (entry("w", offset=3), "nothing is known of 'offset'"),
    "a number for a name": (entry("w", name=3), "names in its index are text"),
    "a name twice": (entry("b", name="w"), "a name of its own"),
    "no tensors": (with_index(lambda said: {"tensors": []}), "the stream"),
    "no list": (with_index(lambda said: {"tensors": 3}), "a list"),
    "more than tensors": (with_index(lambda said: {**said, "more": 1}), "a list"),
    "a list for the index": (with_index(lambda said: [1]), "must be an object"),
    "an entry that is none": (with_index(lambda said: {"tensors": [3]}), "has a name, a dtype and a shape"),
    "deep JSON": (with_index(b"[" * 100_000), "not valid JSON"),
    "a number of many digits": (with_index(b'{"tensors": ' + b"9" * 10_000 + b"}"), "not valid JSON"),
    "bytes that are no text": (with_index(b"\xff\xfe\xfa"), "not valid JSON"),
    "no index": (lambda found: found.pop("index"), "no stream 'index'"),
    "no gaps": (lambda found: found.pop("gaps"), "'gaps'"),
    "a stream too few": (lambda found: found.pop("F32.3"), "'F32.3'"),
    "a stream too many": (stream("F32.9", b"x"), "'F32.9'"),
    "a stream that is no frame": (stream("gaps", b"hello"), "gaps"),
    "a frame of no size": (stream("gaps", FRAME_OF_NO_SIZE), "gaps"),
    "an empty stream": (stream("gaps", torch.empty(0, dtype=torch.uint8)), "gaps"),
    "floats for a stream": (stream("gaps", torch.zeros(3)), "are bytes, but 'gaps' is torch.float32"),
    "a matrix for a stream": (stream("gaps", torch.zeros(3, 3, dtype=torch.uint8)), "are bytes"),
    "a bomb of gaps": (stream("gaps", BOMB), "holds at most 48 bytes, it says 500,000,000"),
    "a bomb of values": (stream("F32.0", BOMB), "must hold 75 bytes, it says 500,000,000"),
    "a bomb of an index": (stream("index", BOMB), "holds at most 16,000,000 bytes, it says 500,000,000"),
    "gaps beyond the end": (stream("gaps", packed((GAPS * 0 + 200).tobytes())), "within 900 entries"),
    "too few gaps": (stream("gaps", packed(GAPS[:44].tobytes())), "lead to 45 nonzeros"),
    "gaps that end in an escape": (stream("gaps", packed(bytes(45) + b"\xff")), "lead to 45 nonzeros"),
    "more behind a frame": (
        lambda found: found.update(gaps=torch.cat([found["gaps"], found["gaps"]])),
        "gaps is damaged",
    ),
    "a frame cut off": (lambda found: found.update(gaps=found["gaps"][:-3].clone()), "gaps is damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_is_refused_in_a_line(whole, tmp_path, name):
    change, said = HOSTILE[name]
    path = altered(whole, tmp_path / "x.safetensors", change)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=said) as error:
            sparse_file.read(path)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 600


def test_what_the_file_says_of_itself_is_checked(whole, tmp_path):
    path = tmp_path / "x.safetensors"
    altered(whole, path, lambda found: None, {"format": "secateur-sparse", "version": "2"})
    with pytest.raises(InputError, match="version 1 of sparse files is read here, got '2'"):
        sparse_file.read(path)
    altered(whole, path, lambda found: None, {"format": "pt"})
    with pytest.raises(InputError, match="its metadata must say format secateur-sparse"):
        sparse_file.read(path)
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        sparse_file.read(path)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        sparse_file.read(tmp_path / "nothing.safetensors")


def fuzzed(whole, path, times, seed):
    """Damage the file at random, anywhere or within a stream's content; it is refused, or is read."""
    drawn, content = random.Random(seed), whole.read_bytes()
    read, lines = 0, set()
    for _ in range(times):
        if drawn.random() < 0.5:
            damaged = bytearray(content)
            for _ in range(drawn.randint(1, 4)):
                damaged[drawn.randrange(len(damaged))] = drawn.randrange(256)
            if drawn.random() < 0.2:
                del damaged[drawn.randrange(len(damaged)) :]
            path.write_bytes(damaged)
        else:
            altered(whole, path, lambda found: damage_a_stream(found, drawn))
        try:
            found = sparse_file.read(path, most_bytes=1_000_000)
        except InputError as error:
            lines.add(str(error).count("\n"))
            continue
        read += 1
        assert sum(each.numel() * each.element_size() for each in found.values()) <= 1_000_000
    assert lines == {0}
    return read


def damage_a_stream(found, drawn):
    """Change what is in a stream, and pack it again: frames that are right, and say what is wrong."""
    name = drawn.choice(sorted(found))
    content = bytearray(unpacked(found[name]))
    for _ in range(drawn.randint(1, 3)):
        if content and drawn.random() < 0.7:
            content[drawn.randrange(len(content))] = drawn.randrange(256)
        elif content and drawn.random() < 0.5:
            del content[drawn.randrange(len(content))]
        else:
            content.insert(drawn.randint(0, len(content)), drawn.randrange(256))
    found[name] = packed(bytes(content))


def test_damage_at_random_is_refused_or_read(whole, tmp_path):
    assert 0 < fuzzed(whole, tmp_path / "x.safetensors", 250, 1) < 250


@pytest.mark.slow
def test_much_damage_at_random_is_refused_or_read(whole, tmp_path):
    assert 0 < fuzzed(whole, tmp_path / "x.safetensors", 10_000, 2) < 10_000


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved network that is nine tenths zeros."""
    torch.manual_seed(0)
    model = sc.Architecture.of(sc.models.wide_resnet(depth=10, in_channels=1, image_size=8)).build(seed=0)
    scores = magnitudes(model)
    apply_masks(model, keep_largest(scores, sum(each.numel() for each in scores.values()) // 10))
    directory = tmp_path_factory.mktemp("saved") / "net"
    sc.save(model, directory)
    return model, directory


def test_a_saved_network_is_sparse_and_the_same(saved):
    model, directory = saved
    file = directory / "model.safetensors"
    assert sparse_file.is_sparse_file(file)
    loaded = sc.load(directory).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
    assert sparse_file.read(file).keys() == model.state_dict().keys()


def test_a_plain_file_can_be_asked_for(saved, tmp_path):
    model, directory = saved
    sc.save(model, tmp_path / "plain", sparse=False)
    plain = tmp_path / "plain/model.safetensors"
    assert plain.stat().st_size > 4 * (directory / "model.safetensors").stat().st_size
    found, _ = streams(plain)
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_values_can_be_rounded_and_what_is_loaded_is_rounded(saved, tmp_path):
    model, directory = saved
    sc.save(model, tmp_path / "half", values="float16")
    size = (tmp_path / "half/model.safetensors").stat().st_size
    assert size < 0.8 * (directory / "model.safetensors").stat().st_size
    loaded = sc.load(tmp_path / "half").state_dict()
    for name, value in model.state_dict().items():
        sparse = value.dim() > 1 and bool((value == 0).float().mean() > 0.125)
        assert torch.equal(loaded[name], value.half().float() if sparse else value), name
    assert torch.equal(sc.load(directory).state_dict()["stem.weight"], model.state_dict()["stem.weight"])


def test_values_of_a_dense_network_are_not_rounded_silently(tmp_path):
    model = sc.Architecture.of(sc.models.conv4(in_channels=1, image_size=8)).build(seed=0)
    with pytest.raises(InputError, match="those of a sparse file, and this one is plain"):
        sc.save(model, tmp_path / "x", values="float16")
    sc.save(model, tmp_path / "x")
    assert not sparse_file.is_sparse_file(tmp_path / "x/model.safetensors")


def test_a_stranger_s_file_cannot_have_a_network_allocate_more_than_it_is(saved, tmp_path):
    _, directory = saved
    for name in ("architecture.json", "artefact.json"):
        if (directory / name).exists():
            (tmp_path / name).write_bytes((directory / name).read_bytes())
    first = next(iter(sparse_file.SparseFile(directory / "model.safetensors").entries)).name

    altered(directory / "model.safetensors", tmp_path / "model.safetensors", entry(first, shape=[1 << 30]))
    with pytest.raises(InputError, match="the weights must have the architecture's shapes") as error:
        sc.load(tmp_path)
    assert "\n" not in str(error.value)
