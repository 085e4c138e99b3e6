"""`secateur reproduce`: a paper's table or figure, made again."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.cli.answer import Answer
from secateur.cli.generated import words
from secateur.cli.options import SETTING
from secateur.cli.shared import OnOption, WorkersOption, command_line, path_option
from secateur.errors import InputError


def reproduce(
    paper: Annotated[str, typer.Argument(help="dupont2021 or crowley2018.")],
    place: Annotated[
        str,
        typer.Argument(
            help="dupont2021: table1, table2, table3, claims (of the same runs) or figure2. "
            "crowley2018: snip, the comparison of section 3.2."
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
    from secateur.errors import unknown
    from secateur.papers import crowley2018, dupont2021
    from secateur.papers.cells import DupontCells
    from secateur.papers.reproduction import BaseReproduction
    from secateur.progress import reporter_for
    from secateur.records.out import check_out
    from secateur.runs.executors.choice import Workers
    from secateur.runs.method_settings import parse

    asked = Workers.parse(workers, on)
    places = {"dupont2021": dupont2021.PLACES, "crowley2018": crowley2018.PLACES}
    if paper not in places:
        raise unknown("paper", paper, places)
    if place not in places[paper]:
        raise unknown(f"table or figure of {paper}", place, places[paper])
    out = out or Path(f"secateur-{paper}-{scale}")
    check_out(out, _files(paper, place))
    if place == "figure2":
        _refuse(
            "figure2 is drawn of the equations: it",
            {
                "--cells": cells,
                "--methods": methods,
                "--setting": setting,
                "--seeds": seeds,
                "--epochs": epochs,
                "--limit-train": limit_train,
                "--width": width,
                "--minutes": minutes,
                "--select-on": select_on,
                "--tables-only": tables_only or None,
            },
        )
        out.mkdir(parents=True, exist_ok=True)
        files = [out / "figure2.png", out / "figure2.svg"]
        dupont2021.draw_figure2(*files)
        return _written(out, f"Written to {files[0]} and {files[1]}", {"figures": list(map(str, files))})
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
        _refuse(
            f"{paper} is made as a whole and",
            {
                "--cells": cells,
                "--methods": methods,
                "--setting": setting,
                "--select-on": select_on,
                "--width": width,
            },
        )
        reproduction, written = crowley2018.Reproduction(out, scale, **common), "snip"
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


def _without_how(command: str) -> str:
    """What the tables are made by, whatever part of it was done this time."""
    return re.sub(r" --(tables-only|minutes[ =]\S+)", "", command)


def _files(paper: str, place: str) -> list[str]:
    """What is left in the folder, beside the runs."""
    from secateur.records.out import FOLDER_FILES

    if place == "figure2":
        return ["figure2.png", "figure2.svg"]
    tables = ("snip",) if paper == "crowley2018" else ("table1", "table2", "table3", "claims")
    kinds = ("md", "csv", "html")
    return [*FOLDER_FILES, "cells.json", *(f"{table}.{kind}" for table in tables for kind in kinds)]


def _written(out: Path, text: str, content: dict[str, Any]) -> Answer:
    return Answer({"directory": str(out), **content}, lambda: print(text))


def _refuse(what: str, options: dict[str, Any]) -> None:
    """InputError for the first option that was given, where it would change nothing."""
    for name, value in options.items():
        if value is not None and value != []:
            given = ",".join(value) if isinstance(value, list) else value
            raise InputError(f"{what} has no {name}, got '{given}': leave it out")
