"""Splitting, statistics and batches: `secateur.data.{splits,dataset,batches}`."""

from __future__ import annotations

import gc
import itertools
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad as zero_pad
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.data import Augmentation, Data, Split, count_batches, epoch_batches
from secateur.data.augment import crop, mirror
from secateur.data.batches import _COPIES
from secateur.data.dataset import channel_statistics, fingerprint
from secateur.data.splits import hold_out, largest_remainder, limit, stratified
from secateur.device import Runtime
from secateur.errors import InputError

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_split(n: int, channels: int = 3, side: int = 6, classes: int = 3) -> Split:
    """Labels cycle through the classes, so example i is recognised by its pixels alone."""
    images = torch.randint(1, 256, (n, channels, side, side), dtype=torch.uint8, generator=seeded())
    return Split(images, torch.arange(n) % classes)


def make_data(split: Split, mean: float = 0.4, std: float = 0.25) -> Data:
    channels = split.images.shape[1]
    statistics = ((mean,) * channels, (std,) * channels)
    names = tuple(map(str, range(max(3, int(split.labels.max()) + 1))))
    return Data("x", "x", split, split, split, names, *statistics, Augmentation(2, True), "0" * 16)


def numbered(n: int) -> Data:
    """1x1 images whose only pixel is their number (n <= 256), normalised by nothing but 1/255."""
    split = Split(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1), torch.arange(n))
    return make_data(split, mean=0.0, std=1.0)


def numbers(batches) -> list[list[int]]:
    return [y.tolist() for _, y in batches]


# --- splits ---------------------------------------------------------------------------------------------


def test_largest_remainder_literals():
    assert largest_remainder([5, 3, 2], 5) == [3, 1, 1]
    assert largest_remainder([10, 10, 10], 10) == [4, 3, 3]
    assert largest_remainder([7, 0, 1], 8) == [7, 0, 1]
    assert largest_remainder([0, 0], 0) == [0, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 2**31))
def test_stratified_is_an_exact_proportional_seeded_partition(counts, fraction, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=seeded(1))]
    total = int(fraction * len(labels))
    drawn, left = stratified(labels, total, seeded(seed))
    assert len(drawn) == total
    assert sorted(drawn.tolist() + left.tolist()) == list(range(len(labels)))
    shares = [int((labels[drawn] == k).sum()) for k in range(len(counts))]
    of_each = [1 <= share < count for share, count in zip(shares, counts, strict=True) if count >= 2]
    assert all(of_each) or shares == largest_remainder(counts, total)
    if all(1 <= q < c for q, c in zip(largest_remainder(counts, total), counts, strict=True) if c >= 2):
        assert shares == largest_remainder(counts, total)
    again, _ = stratified(labels, total, seeded(seed))
    assert torch.equal(drawn, again)


def test_another_seed_draws_others():
    labels = torch.arange(100) % 2
    assert not torch.equal(stratified(labels, 50, seeded(0))[0], stratified(labels, 50, seeded(1))[0])


def test_hold_out_refuses_a_class_without_examples_on_one_side():
    split = Split(torch.zeros(21, 1, 1, 1, dtype=torch.uint8), torch.tensor([0] * 20 + [1]))
    with pytest.raises(
        InputError, match=r"every class needs at least 2 images, test, but class 'rare' has 1: do X"
    ):
        hold_out(split, 4, seeded(), ["common", "rare"], purpose="test", fix="do X")


@pytest.mark.parametrize("total", [5, 31])
def test_limit_must_be_possible(total):
    with pytest.raises(InputError, match=rf"limit_train must be from 6 .* to 30 .*, not {total}"):
        limit(make_split(30), total, seeded(), ["a", "b", "c"])


def test_limit_is_exact_and_names_a_class_it_would_lose():
    assert len(limit(make_split(30), 7, seeded(), ["a", "b", "c"])) == 7
    skewed = Split(torch.zeros(101, 1, 1, 1, dtype=torch.uint8), torch.tensor([0] * 100 + [1]))
    with pytest.raises(InputError, match="limit_train 4 leaves no image of the rare class 'b'"):
        limit(skewed, 4, seeded(), ["a", "b"])


# --- statistics and fingerprint -------------------------------------------------------------------------


def test_statistics_are_those_of_torch():
    images = make_split(50).images
    scaled = images.double() / 255
    mean, std = channel_statistics(images)
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_a_constant_channel_divides_by_no_zero():
    assert channel_statistics(torch.full((4, 1, 2, 2), 51, dtype=torch.uint8)) == (
        (pytest.approx(0.2),),
        (1.0,),
    )


def test_fingerprint_sees_every_part_of_the_content():
    split, classes = make_split(6), ["a", "b", "c"]
    pixels = Split(split.images.clone(), split.labels)
    pixels.images[3, 0, 0, 0] ^= 1
    labels = Split(split.images, split.labels.flip(0))
    flat = Split(split.images.reshape(6, 3, 36, 1), split.labels)
    variants = [
        (split, classes),
        (pixels, classes),
        (labels, classes),
        (flat, classes),
        (split, ["a", "b", "d"]),
    ]
    assert len({fingerprint([part], names) for part, names in variants}) == len(variants)
    assert fingerprint([split], classes) == fingerprint([split.take(torch.arange(6))], classes)
    # pinned: a change here makes every recorded run look as if it had trained on other data
    zeros = Split(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]))
    assert fingerprint([zeros], ["a", "b"]) == "d0d509a9367d01cd"


# --- batches --------------------------------------------------------------------------------------------


def test_crop_and_mirror_are_the_per_sample_loop():
    images, pad = make_split(40, side=5).images, 2
    top, left = (torch.randint(0, 2 * pad + 1, (40,), generator=seeded(s)) for s in (1, 2))
    mirrored = torch.randint(0, 2, (40,), generator=seeded(3)).bool()
    got = mirror(crop(images, top, left, pad), mirrored)
    for i, image in enumerate(images):
        want = zero_pad(image, [pad] * 4)[:, top[i] : top[i] + 5, left[i] : left[i] + 5]
        assert torch.equal(got[i], want.flip(-1) if mirrored[i] else want)


def test_an_augmented_epoch_is_made_of_windows_of_its_images():
    """Every batch entry is one of the 2 * (2 * pad + 1)**2 possible views of the example at its place."""
    data = make_data(make_split(12, side=4))
    order = torch.randperm(12, generator=seeded(7))
    (x, y), *rest = epoch_batches(
        data.train, data, batch_size=12, device="cpu", generator=seeded(7), augmentation=Augmentation(2, True)
    )
    assert not rest
    assert torch.equal(y, data.train.labels[order])
    offsets = set()
    pixels = ((x * 0.25 + 0.4) * 255).round().to(torch.uint8)
    for got, image in zip(pixels, data.train.images[order], strict=True):
        padded = zero_pad(image, [2] * 4)
        views = {
            (i, j, flip): padded[:, i : i + 4, j : j + 4].flip([-1] if flip else [])
            for i, j, flip in itertools.product(range(5), range(5), (False, True))
        }
        [found] = [key for key, view in views.items() if torch.equal(view, got)]
        offsets.add(found)
    assert len(offsets) > 6
    assert {flip for *_, flip in offsets} == {False, True}


def test_padding_is_black_before_normalisation():
    data = make_data(make_split(4, side=2))
    batches = epoch_batches(
        data.train, data, batch_size=4, device="cpu", generator=seeded(), augmentation=Augmentation(2, False)
    )
    x, _ = next(batches)
    assert x.min() == pytest.approx((0 - 0.4) / 0.25)


def test_batches_are_normalised_float32_contiguous():
    data = make_data(make_split(5))
    [(x, y)] = epoch_batches(data.test, data, batch_size=8, device="cpu")
    torch.testing.assert_close(x, (data.test.images.float() / 255 - 0.4) / 0.25)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert x.stride() == torch.empty(x.shape).stride()


def by_hand(data: Data, seed: int, augmentation: Augmentation | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The epoch of `data.train`, image by image, from the same draws."""
    images, labels = data.train.images, data.train.labels
    n, generator = len(labels), seeded(seed)
    order = torch.randperm(n, generator=generator)
    top = left = mirrored = [0] * n
    pad = augmentation.pad if augmentation else 0
    if augmentation:
        top, left = (torch.randint(2 * pad + 1, (n,), generator=generator).tolist() for _ in range(2))
        mirrored = torch.randint(2, (n,), generator=generator).tolist() if augmentation.flip else mirrored
    height, width = images.shape[-2:]
    done = []
    for i, row, column, flip in zip(order, top, left, mirrored, strict=True):
        image = zero_pad(images[i], [pad] * 4)[:, row : row + height, column : column + width]
        image = (image.flip(-1) if flip else image).float()
        for channel, mean, std in zip(image, data.mean, data.std, strict=True):
            channel.mul_(1 / (255 * std)).add_(-mean / std)
        done.append(image)
    return torch.stack(done), labels[order]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 9),
    size=st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    augmentation=st.none() | st.builds(Augmentation, st.integers(0, 9), st.booleans()),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 2**31),
    world=st.integers(1, 2),
)
def test_an_epoch_is_to_the_bit_what_a_loop_over_its_images_makes(n, size, augmentation, layout, seed, world):
    split = Split(torch.randint(256, (n, *size), dtype=torch.uint8, generator=seeded(seed)), torch.arange(n))
    mean, std = (torch.rand(size[0], dtype=torch.float64, generator=seeded(s)) + 0.1 for s in (seed, 1))
    nothing = Augmentation(0, False)
    statistics = (tuple(mean.tolist()), tuple(std.tolist()))
    data = Data("x", "x", split, split, split, tuple("abcdefghi"[:n]), *statistics, nothing, "0" * 16)
    x, y = by_hand(data, seed, augmentation)
    kept = n // world * world
    for rank in range(world):
        [(got, labels)] = epoch_batches(
            split,
            data,
            batch_size=n,
            device="cpu",
            generator=seeded(seed),
            augmentation=augmentation,
            layout=layout,
            rank=rank,
            world=world,
        )
        assert torch.equal(got, x[:kept][rank::world])
        assert torch.equal(labels, y[:kept][rank::world])


@pytest.mark.parametrize("augmentation", [None, Augmentation(1, True)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(3, 6, 5), (1, 6, 5), (3, 1, 1), (3, 1, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_batches_lie_in_memory_as_asked_and_as_a_runtime_wants_them(augmentation, layout, size, training):
    split = Split(torch.randint(256, (8, *size), dtype=torch.uint8, generator=seeded()), torch.arange(8))
    data = make_data(split)
    [(x, _)] = epoch_batches(
        split,
        data,
        batch_size=8,
        device="cpu",
        generator=seeded() if training else None,
        augmentation=augmentation,
        layout=layout,
    )
    assert Runtime("cpu").arrange(x, layout) is x
    plain = torch.empty(8, *size)
    assert x.stride() == plain.contiguous(memory_format=layout).stride()


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_is_never_written_to_again(training):
    data = make_data(make_split(60))
    before = data.train.images.clone(), data.train.labels.clone()
    kept, copies = [], []
    for x, y in epoch_batches(
        data.train,
        data,
        batch_size=12,
        device="cpu",
        generator=seeded() if training else None,
        augmentation=Augmentation(1, True),
    ):
        kept.append((x, y))
        copies.append((x.clone(), y.clone()))
    for (x, y), (copied_x, copied_y) in zip(kept, copies, strict=True):
        assert torch.equal(x, copied_x)
        assert torch.equal(y, copied_y)
    assert len({x.data_ptr() for x, _ in kept}) == len(kept)
    for tensor in kept[0]:
        tensor.fill_(7)  # nor is a batch a view of the data set
    assert torch.equal(data.train.images, before[0])
    assert torch.equal(data.train.labels, before[1])


class _Copies(TorchDispatchMode):
    """Counts the copies of a tensor to another device."""

    def __init__(self, watched: torch.Tensor):
        super().__init__()
        self.watched, self.count = watched, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._to_copy.default and args[0] is self.watched
        return func(*args, **(kwargs or {}))


def test_a_split_is_copied_to_a_device_once_and_the_copy_dies_with_it():
    data = make_data(make_split(12))
    alive = weakref.ref(data.train.images)
    with _Copies(data.train.images) as copies:
        for seed in range(3):
            [(x, y)] = epoch_batches(
                data.train,
                data,
                batch_size=12,
                device="meta",
                generator=seeded(seed),
                augmentation=Augmentation(1, True),
            )
            assert (x.device.type, x.shape, y.device.type) == ("meta", (12, 3, 6, 6), "meta")
        list(epoch_batches(data.test, data, batch_size=5, device="meta"))
        list(epoch_batches(data.train, data, batch_size=5, device="cpu"))
    assert copies.count == 1
    known = len(_COPIES)
    del data, copies
    gc.collect()
    assert alive() is None
    assert len(_COPIES) == known - 2  # images and labels


def test_evaluation_is_in_order_whole_and_unaugmented():
    data = numbered(10)
    batches = list(
        epoch_batches(data.test, data, batch_size=4, device="cpu", augmentation=Augmentation(1, True))
    )
    assert numbers(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    pixels = torch.cat([x for x, _ in batches]).flatten() * 255
    torch.testing.assert_close(pixels, torch.arange(10.0))


def test_an_epoch_holds_every_example_once_with_its_label():
    data = numbered(200)
    batches = list(epoch_batches(data.train, data, batch_size=32, device="cpu", generator=seeded()))
    labels = torch.cat([y for _, y in batches])
    assert sorted(labels.tolist()) == list(range(200))
    torch.testing.assert_close(torch.cat([x for x, _ in batches]).flatten() * 255, labels.float())


@pytest.mark.parametrize("start", [1, 3, 4])
def test_a_resumed_epoch_yields_what_was_left(start):
    data = make_data(make_split(40))

    def epoch(first: int):
        return list(
            epoch_batches(
                data.train,
                data,
                batch_size=12,
                device="cpu",
                generator=seeded(5),
                augmentation=Augmentation(1, True),
                start=first,
            )
        )

    whole, rest = epoch(0), epoch(start)
    assert len(whole) == 4
    assert len(rest) == 4 - start
    for (x, y), (again_x, again_y) in zip(whole[start:], rest, strict=True):
        assert torch.equal(x, again_x)
        assert torch.equal(y, again_y)


def test_the_generator_is_drawn_from_at_once():
    """What follows an epoch may not depend on how many of its batches were taken."""
    data = make_data(make_split(40))

    def state_after(batches: int) -> torch.Tensor:
        generator = seeded(5)
        epoch = epoch_batches(
            data.train,
            data,
            batch_size=8,
            device="cpu",
            generator=generator,
            augmentation=Augmentation(1, True),
        )
        list(itertools.islice(epoch, batches))
        return generator.get_state()

    assert torch.equal(state_after(0), state_after(5))
    assert not torch.equal(state_after(0), seeded(5).get_state())


@pytest.mark.parametrize(("n", "world"), [(40, 1), (41, 1), (42, 1), (43, 3), (47, 3), (37, 3)])
def test_processes_partition_each_batch(n, world):
    data = numbered(n)

    def epoch(rank: int, processes: int):
        return numbers(
            epoch_batches(
                data.train, data, batch_size=8, device="cpu", generator=seeded(), rank=rank, world=processes
            )
        )

    alone, together = epoch(0, 1), [epoch(rank, world) for rank in range(world)]
    assert {len(batches) for batches in together} == {count_batches(n, 8, world)}
    for step, slices in enumerate(zip(*together, strict=True)):
        assert len({len(part) for part in slices}) == 1
        assert len(slices[0]) >= 2
        merged = [label for group in zip(*slices, strict=True) for label in group]
        assert merged == alone[step][: len(alone[step]) // world * world]


def test_evaluation_over_processes_drops_nothing():
    data = numbered(13)
    parts = [
        numbers(epoch_batches(data.test, data, batch_size=6, device="cpu", rank=r, world=3)) for r in range(3)
    ]
    assert parts[0] == [[0, 3], [6, 9], [12]]
    assert parts[1] == [[1, 4], [7, 10]]
    assert sorted(label for part in parts for batch in part for label in batch) == list(range(13))


def test_count_batches_literals():
    assert [count_batches(n, 128) for n in (1, 2, 128, 129, 130, 256)] == [0, 1, 1, 1, 2, 2]
    assert [count_batches(n, 8, world=2) for n in (8, 11, 12)] == [1, 1, 2]


def test_batch_size_errors():
    data = numbered(10)
    with pytest.raises(InputError, match=r"batch size must be at least 4 .*not 3"):
        count_batches(10, 3, world=2)
    with pytest.raises(InputError, match="batch size must be at least 1, not 0"):
        epoch_batches(data.test, data, batch_size=0, device="cpu")
    one = numbered(1)
    with pytest.raises(InputError, match="two examples for each process, 2, and has 1"):
        epoch_batches(one.train, one, batch_size=8, device="cpu", generator=seeded())
