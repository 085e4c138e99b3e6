"""`secateur reproduce`: a paper's table or figure, made again."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.answer import Answer
from secateur.cli.generated import numbers, words
from secateur.cli.options import SETTING
from secateur.cli.shared import OnOption, WorkersOption, command_line, path_option
from secateur.cli.terminal import show
from secateur.errors import InputError, require_extra

if TYPE_CHECKING:
    from secateur.papers.reproduction import BaseReproduction


def reproduce(
    paper: Annotated[str, typer.Argument(help="dupont2021 or crowley2018.")],
    place: Annotated[
        str,
        typer.Argument(
            help="dupont2021: table1, table2, table3, claims (of the same runs) or figure2. crowley2018: "
            "figure1 (five curves), figure2 (the profile), penalties (of FLOPs) or snip (section 3.2)."
        ),
    ],
    scale: Annotated[
        str, typer.Option(help="smoke (minutes, embedded digits), laptop (hours, CPU) or paper (a GPU).")
    ] = "laptop",
    cells: Annotated[
        list[str] | None,
        typer.Option(
            help="dupont2021: which, conv4/cifar10/95%,vgg19/cifar10; by default the paper's whole grid."
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(help="dupont2021: rows, weight arms of compare; by default the paper's and ours."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(help=f"dupont2021: {SETTING}"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Replicates, in place of the scale's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="In place of the scale's.")] = None,
    select_on: Annotated[
        str | None,
        typer.Option(help="dupont2021: val or test, in place of the scale's (paper: test, as the paper)."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="crowley2018, figures: pruned in place of the scale's; as --model.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="crowley2018, figures: in place of CIFAR-10, as in compare.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="crowley2018, figures: side of the images, in place of the scale's.")
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(help="crowley2018, figures: of the scale's, by the paper's names: 500K,800K."),
    ] = None,
    distill: Annotated[
        str | None,
        typer.Option(
            help="crowley2018 figure1: logits or attention, a second column of networks from scratch."
        ),
    ] = None,
    flop_penalty: Annotated[
        list[str] | None,
        typer.Option(help="crowley2018 penalties: per MAC, in place of the scale's: 1e-9,1e-8."),
    ] = None,
    red_on: Annotated[
        str | None,
        typer.Option(
            help="crowley2018, figures: val (default) or test: before every removal (the red curve)."
        ),
    ] = None,
    each_prunes: Annotated[
        bool,
        typer.Option(
            "--each-prunes", help="crowley2018: every seed prunes a network; else the first serves all."
        ),
    ] = False,
    precision: Annotated[
        str | None, typer.Option(help="crowley2018: fp32, bf16, or auto: what is faster here (laptop).")
    ] = None,
    limit_train: Annotated[
        int | None,
        typer.Option(help="Training images of every data set, validation included, in place of the scale's."),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(help="dupont2021: factor on the paper's widths, in place of the scale's."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Stop behind an epoch where another would take longer: exit code 75, the same command "
            "goes on."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    workers: WorkersOption = "auto",
    on: OnOption = "here",
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Train nothing; tables of the runs that are finished.")
    ] = False,
    out: Annotated[Path | None, path_option("Folder for tables and runs.")] = None,
) -> Answer | None:
    """Make a paper's table or figure again, with the published numbers beside.

    Interrupt it at any moment; the same command continues, and more cells can be added later.

    Example: `secateur reproduce dupont2021 table1 --scale laptop --cells conv4/cifar10`, or
    `secateur reproduce crowley2018 snip --scale smoke`
    """
    from secateur.papers import crowley2018, dupont2021
    from secateur.papers.cells import DupontCells
    from secateur.progress import reporter_for
    from secateur.records.out import check_out
    from secateur.runs.executors.choice import Workers
    from secateur.runs.method_settings import parse

    require_extra("compare", "secateur reproduce")
    asked = Workers.parse(workers, on)
    _check_place(paper, place, {"dupont2021": dupont2021.PLACES, "crowley2018": crowley2018.PLACES})
    given = {
        **{"--cells": cells, "--methods": methods, "--select-on": select_on, "--network": network},
        **{"--setting": setting},
        **{"--data": data, "--sizes": sizes, "--distill": distill, "--flop-penalty": flop_penalty},
        **{"--red-on": red_on, "--each-prunes": each_prunes, "--precision": precision, "--width": width},
        **{"--seeds": seeds, "--epochs": epochs, "--limit-train": limit_train, "--minutes": minutes},
        **{"--image-size": image_size, "--tables-only": tables_only},
    }
    _refuse(paper, place, given)
    out = out or _folder(paper, scale, network, data)
    check_out(out, _files(paper, place))
    if (paper, place) == ("dupont2021", "figure2"):
        return _drawn(out)
    common: dict[str, Any] = {
        "seeds": seeds,
        "epochs": epochs,
        "limit_train": limit_train,
        "minutes": minutes,
        "device": device,
        "reporter": reporter_for(sys.stdout),
    }
    reproduction: BaseReproduction
    if paper == "crowley2018":
        reproduction = _crowley(place, out, scale, given, common)
        written = place
    else:
        chosen = dupont2021.parse_cells(",".join(cells) if cells else None)
        named = words(*methods) if methods else dupont2021.METHODS
        reproduction = dupont2021.Reproduction(
            out,
            scale,
            chosen,
            methods=named,
            settings=parse(words(*setting or ())),
            select_on=select_on,
            width=width,
            **common,
        )
        written = "table1, table2, table3 and claims"
    command = _without_how(command_line())
    content = reproduction.run(command, tables_only=tables_only, workers=asked)
    if not reproduction.runtime.is_main:
        return None
    shown = (out / f"{place}.md").read_text(encoding="utf-8")
    found = content.to_json()
    if isinstance(content, DupontCells):
        found["claims"] = dupont2021.verdicts(content)
        shown += "" if place == "claims" else "\n" + "".join(f"- {line}\n" for line in found["claims"])
    text = f"{shown}\nWritten to {out}: {written} as .md, .csv and .html"
    return _written(out, text, found)


def _folder(paper: str, scale: str, *others: str | None) -> Path:
    """The folder by default: another network or other data have one of their own."""
    words = [re.sub(r"[^\w.-]+", "-", other).strip("-.") for other in others if other]
    return Path("-".join(["secateur", paper, scale, *words]))


def _without_how(command: str) -> str:
    """What the tables are made by, whatever part of it was done this time."""
    return re.sub(r" --(tables-only|minutes[ =]\S+)", "", command)


_TABLES = ("table1", "table2", "table3", "claims")
_FIGURES = ("figure1", "figure2", "penalties")
_OF_DUPONT = ("--cells", "--methods", "--setting", "--select-on", "--width")
_ASKED = ("--network", "--data", "--image-size", "--sizes", "--red-on")
_TAKEN: dict[str, dict[str, tuple[str, ...]]] = {
    **{name: {"dupont2021": _TABLES} for name in _OF_DUPONT},
    **{
        name: {"dupont2021": _TABLES, "crowley2018": ("snip", *_FIGURES)}
        for name in ("--seeds", "--epochs", "--limit-train", "--minutes", "--tables-only")
    },
    **{name: {"crowley2018": _FIGURES} for name in _ASKED},
    **{name: {"crowley2018": ("snip", *_FIGURES)} for name in ("--each-prunes", "--precision")},
    "--distill": {"crowley2018": ("figure1",)},
    "--flop-penalty": {"crowley2018": ("penalties",)},
}
"""Options that not every place takes -> papers and places that do."""


def _check_place(paper: str, place: str, places: dict[str, tuple[str, ...]]) -> None:
    """InputError for a paper, or a place of it, that there is not."""
    from secateur.errors import unknown

    if paper not in places:
        raise unknown("paper", paper, places)
    if place not in places[paper]:
        raise unknown(f"table or figure of {paper}", place, places[paper])


def _refuse(paper: str, place: str, given: dict[str, Any]) -> None:
    """InputError for the first option that was given and that the place does not take."""
    for name, value in given.items():
        if value is None or value is False or place in _TAKEN[name].get(paper, ()):
            continue
        shown = ",".join(value) if isinstance(value, list) else value
        text = "" if value is True else f", got '{shown}'"
        takers = "; ".join(f"{whose} {', '.join(those)}" for whose, those in _TAKEN[name].items())
        raise InputError(f"{paper} {place} has no {name}{text}: leave it out (it is an option of {takers})")


def _crowley(
    place: str, out: Path, scale: str, given: dict[str, Any], common: dict[str, Any]
) -> BaseReproduction:
    """One place of Crowley et al. 2018."""
    from secateur.papers import crowley2018

    if place == "snip":
        each, precision = given["--each-prunes"], given["--precision"]
        return crowley2018.Snip(out, scale, each_prunes=each, precision=precision, **common)
    sizes, penalties = given["--sizes"], given["--flop-penalty"]
    asked = crowley2018.Asked(
        network=given["--network"],
        data=given["--data"],
        image_size=given["--image-size"],
        sizes=tuple(words(*sizes)) if sizes else None,
        distill=given["--distill"],
        red_on=given["--red-on"] or "val",
        each_prunes=given["--each-prunes"],
        betas=numbers("flop_penalty", ",".join(penalties)) if penalties else None,
    )
    return crowley2018.FIGURES[place](out, scale, asked, precision=given["--precision"], **common)


def _drawn(out: Path) -> Answer:
    """Fig. 2 of Dupont et al. 2021, for which nothing is trained."""
    from secateur.papers import dupont2021

    files = [out / "figure2.png", out / "figure2.svg"]
    dupont2021.draw_figure2(*files)
    return _written(out, f"Written to {files[0]} and {files[1]}", {"figures": list(map(str, files))})


def _files(paper: str, place: str) -> list[str]:
    """What is left in the folder, beside the runs."""
    from secateur.papers import crowley2018
    from secateur.records.out import FOLDER_FILES

    kinds = ("md", "csv", "html")
    if paper == "crowley2018":
        return [*FOLDER_FILES, *crowley2018.files_of(place)]
    if place == "figure2":
        return ["figure2.png", "figure2.svg"]
    return [*FOLDER_FILES, "cells.json", *(f"{table}.{kind}" for table in _TABLES for kind in kinds)]


def _written(out: Path, text: str, content: dict[str, Any]) -> Answer:
    return Answer({"directory": str(out), **content}, lambda: show(text))
