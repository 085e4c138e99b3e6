"""A page of tables under one title, as Markdown and as HTML: what several places of a paper leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from secateur.papers.text import markdown
from secateur.report.palette import declarations, named_in
from secateur.report.templates import environment


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns.

    Attributes:
        heads: of the columns; the first column tells the rows apart.
        theirs: columns that hold the paper's numbers, as indices.
        left: columns of words, as indices; the others are numbers.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    theirs: tuple[int, ...] = ()
    left: tuple[int, ...] = (0,)
    title: str = ""

    def to_markdown(self) -> list[str]:
        """Its lines."""
        rules = ("---" if index in self.left else "--:" for index in range(len(self.heads)))
        title = [f"{markdown(self.title)}:", ""] if self.title else []
        rows = (f"| {' | '.join(map(markdown, row))} |" for row in self.rows)
        return [*title, f"| {' | '.join(map(markdown, self.heads))} |", f"|{'|'.join(rules)}|", *rows, ""]


@dataclass(frozen=True)
class Sheet:
    """The page.

    Attributes:
        notes: what words in the tables mean.
        caption: under what conditions the numbers were made.
        command: makes it again.
        figure: a drawing of `secateur.report.svg`; "": none.
    """

    title: str
    tables: Sequence[Table]
    notes: Mapping[str, str]
    caption: str
    command: str
    figure: str = field(default="", repr=False)

    def to_markdown(self) -> str:
        """Title, tables, legend, conditions and command."""
        lines = [f"**{markdown(self.title)}**", ""]
        for table in self.tables:
            lines += table.to_markdown()
        lines += [f"- {markdown(word)}: {markdown(meaning)}" for word, meaning in self.notes.items()]
        lines += ["", markdown(self.caption), "", f"    {' '.join(self.command.split())}"]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """One page that loads nothing and runs nothing; every text in it is escaped."""
        light, dark = declarations(named_in([self.figure]))
        template = environment("secateur.papers").get_template("sheet.html")
        return template.render(sheet=self, figure=self.figure, drawn_light=light, drawn_dark=dark)
