"""Links in a folder of somebody else's: nothing is written, removed or published through one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from secateur.architecture.saved import save_model
from secateur.data import load_data
from secateur.errors import InputError
from secateur.models import conv4
from secateur.records.out import check_out, check_stays
from secateur.runs.publication import Publication
from secateur.runs.store import RunStore
from secateur.runs.sweeping import sweep

RUN = "train-0123456789ab-s0"
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def places(tmp_path) -> tuple[Path, Path]:
    """A folder that was handed to us, and one of ours that its links lead to."""
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    (theirs / "runs").mkdir(parents=True)
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    (mine / ".record.json.abc.part").write_text("keep")
    return theirs, mine


def kept(mine: Path) -> bool:
    """Whether what was there is there, and nothing else."""
    return {each.name: each.read_text() for each in mine.iterdir()} == {
        "notes.txt": "keep",
        ".record.json.abc.part": "keep",
    }


@pytest.mark.parametrize("name", ["runs", "best", "figures"])
def test_a_folder_that_is_a_link_out_is_refused_before_anything_is_written(places, name):
    theirs, mine = places
    (theirs / "runs").rmdir()
    (theirs / name).symlink_to(mine)
    with pytest.raises(InputError, match=rf"must stay there, but '.*{name}' is a link to"):
        check_out(theirs, [".lock", "plan.json", "best/record.json", "figures/forest.png"])
    if name == "runs":
        with pytest.raises(InputError, match="is a link to"), RunStore(theirs).locked():
            pass
    assert kept(mine)


def test_a_run_that_is_a_link_out_is_neither_made_nor_set_aside_nor_deleted(places):
    theirs, mine = places
    (theirs / "runs" / RUN).symlink_to(mine)
    (mine / "record.json").write_text("damaged")
    store = RunStore(theirs)
    store.mends = True
    for write in (
        lambda: store.finished(RUN),  # which sets a damaged record aside
        lambda: store.drop_checkpoint(RUN),
        lambda: store.forget_failure(RUN),
        lambda: store.claimed(RUN).__enter__(),
    ):
        with pytest.raises(InputError, match="is a link to"):
            write()
    with pytest.raises(InputError, match="only runs are deleted"):
        store.delete(RUN)
    (mine / "record.json").unlink()
    assert kept(mine)


@pytest.mark.parametrize("name", [".work", "best", "reports", f"runs/{RUN}"])
def test_nothing_is_swept_through_a_link(places, name):
    theirs, mine = places
    (theirs / name).symlink_to(mine)
    sweep(theirs, ["record.json"])
    assert kept(mine)
    assert not (theirs / ".work").exists()


def test_a_lock_that_is_a_link_out_makes_no_file_there(places):
    theirs, mine = places
    (theirs / ".lock").symlink_to(mine / "new")
    with pytest.raises(InputError, match="is a link to"), RunStore(theirs).locked():
        pass
    assert kept(mine)


def test_a_file_that_is_a_link_is_replaced_by_a_file(places):
    theirs, mine = places
    save_model(conv4(0.05, image_size=8), mine / "net")
    for each in (mine / "net").iterdir():
        (theirs / each.name).symlink_to(each)
    before = {each: each.read_bytes() for each in (mine / "net").iterdir()}
    save_model(conv4(0.1, image_size=8), theirs)
    assert {each: each.read_bytes() for each in (mine / "net").iterdir()} == before
    assert not any(each.is_symlink() for each in theirs.iterdir())


def test_the_folder_that_is_named_may_be_a_link_and_links_may_stay_inside(places):
    theirs, mine = places
    (mine / "big").mkdir()
    (theirs / "best").mkdir()
    (theirs / "figures").symlink_to("best")
    (theirs.parent / "out").symlink_to(theirs)
    check_out(theirs.parent / "out", ["best/record.json", "figures/forest.png"])
    check_stays(theirs / "not-there-yet", theirs)
    with RunStore(theirs.parent / "out").locked():
        pass


def test_what_a_link_leads_to_is_not_published(places):
    theirs, mine = places
    network = REPOSITORY / "results" / "shipped" / "conv4-1"
    shutil.copytree(network, theirs / "net")
    Publication.of(theirs / "net", "ann/small")
    (mine / "secret.json").write_bytes((theirs / "net" / "artefact.json").read_bytes())
    (theirs / "net" / "artefact.json").unlink()
    (theirs / "net" / "artefact.json").symlink_to(mine / "secret.json")
    with pytest.raises(InputError, match="lies in its folder"):
        Publication.of(theirs / "net", "ann/small")


# --- data -----------------------------------------------------------------------------------------------


@pytest.fixture
def farm(tmp_path) -> Path:
    """A folder of links to images elsewhere, as subsets are made, and a list of them."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "farm").mkdir()
    rows = ["file,label"]
    for index in range(12):
        Image.new("L", (8, 8), 20 * index).save(tmp_path / "whole" / f"{index}.png")
        (tmp_path / "farm" / f"{index}.png").symlink_to(tmp_path / "whole" / f"{index}.png")
        rows.append(f"{index}.png,{'ab'[index % 2]}")
    (tmp_path / "farm" / "labels.csv").write_text("\n".join(rows))
    return tmp_path / "farm"


def test_links_in_a_folder_of_data_are_followed(farm, tmp_path):
    assert len(load_data(str(farm)).train) > 0
    for index in range(12):
        place = tmp_path / "classes" / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.png").symlink_to(farm / f"{index}.png")
    assert load_data(str(tmp_path / "classes")).classes == ("a", "b")


def test_a_list_alone_names_nothing_through_a_link(farm):
    """Whoever passes one file has not chosen the links that happen to lie around it."""
    with pytest.raises(InputError, match="images must lie below the data folder"):
        load_data(str(farm / "labels.csv"))
    (farm / "prices.csv").write_text("file,price\n" + "".join(f"{i}.png,{i}.5\n" for i in range(12)))
    with pytest.raises(InputError, match="a link to elsewhere"):
        load_data(str(farm / "prices.csv"), task="regression")
