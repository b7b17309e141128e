"""Tables as terminal text, Markdown, CSV, and LaTeX in booktabs style."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from lamm_cl.reports.names import method_title
from lamm_cl.reports.tables.model import MISSING, Cell, Column, Row, Table, number

if TYPE_CHECKING:
    import rich.table


def plain(cell: Cell, column: Column, usual_seeds: int) -> str:
    """Write a cell as `mean ± std`, with the number of seeds in parentheses where it is not `usual_seeds`."""
    if cell.text is not None:
        return cell.text + cell.mark
    if cell.value is None:
        return MISSING + cell.mark
    text = number(cell.value, column)
    if cell.std is not None:
        text += f" ± {cell.std:.{column.digits}f}"
    return text + seeds_behind(cell, usual_seeds) + cell.mark


def seeds_behind(cell: Cell, usual_seeds: int) -> str:
    """Return the number of seeds in parentheses, where it is not the usual one."""
    return f" ({cell.seeds})" if cell.seeds and cell.seeds != usual_seeds else ""


def seed_note(table: Table) -> str | None:
    """Say how many seeds the numbers are over, or None where there are no numbers over seeds."""
    counts = {cell.seeds for row in table.rows for cell in row.cells if cell.seeds}
    if not counts:
        return None
    usual = table.seeds
    text = f"Mean ± sample standard deviation over {usual} seeds" if usual > 1 else "One seed"
    if len(counts) > 1:
        text += "; fewer where a number in parentheses says so"
    return text + "."


def notes(table: Table) -> list[str]:
    """Return the sentences below a table: the seeds, its own notes, and what is to be known of the data."""
    first = seed_note(table)
    return ([first] if first else []) + list(table.notes) + [f"Data: {note}." for note in table.data_notes]


def heading(column: Column) -> str:
    """Return a column's heading with its unit, where the unit is not percent."""
    return f"{column.title} [{column.unit}]" if column.numeric and column.unit not in ("%", "1") else column.title


def render_rich(table: Table) -> "rich.table.Table":
    """Return the table for a rich console: sections ruled off, the best in bold."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    caption = "\n".join(notes(table))
    out = RichTable(
        title=Text(table.title),
        caption=Text(caption) if caption else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1),
    )
    for column in table.columns:
        name = f"{column.group}\n{heading(column)}" if column.group else heading(column)
        out.add_column(
            Text(name), justify="right" if column.numeric else "left", overflow="fold", no_wrap=column.numeric
        )
    for section in table.sections():
        for index, row in enumerate(section):
            cells = [
                Text(plain(cell, column, table.seeds), style="bold" if cell.best else "")
                for cell, column in zip(row.cells, table.columns, strict=True)
            ]
            out.add_row(*cells, end_section=index == len(section) - 1)
    return out


def least_width(table: Table) -> int:
    """Return the characters that a console needs for the table: numbers whole, long words wrapped."""
    total = 2
    for column in table.columns:
        texts = [plain(cell, column, table.seeds) for cell in table.column(column.key)]
        heads = [*heading(column).split(), *column.group.split()]
        longest = max(map(len, [*texts, *heads]), default=0)
        total += 3 + (longest if column.numeric else min(longest, 24))
    return total


def render_text(table: Table) -> str:
    """Return the table as plain text, as wide as it needs to be.

    Made by hand: a console takes minutes to lay out the tables of ten thousand runs.
    """
    body = [
        [plain(cell, column, table.seeds) for cell, column in zip(row.cells, table.columns, strict=True)]
        for row in table.rows
    ]
    heads = [[column.group for column in table.columns]] if any(column.group for column in table.columns) else []
    heads.append([heading(column) for column in table.columns])
    widths = [max(map(len, texts), default=0) for texts in zip(*heads, *body, strict=True)]
    rule = "\u2500" * (sum(widths) + 2 * len(widths) + 2)
    lines = [table.title, "", *(_aligned(table, widths, texts) for texts in heads), rule]
    before = table.rows[0].section if table.rows else ""
    for row, texts in zip(table.rows, body, strict=True):
        lines += [""] if row.section != before else []
        before = row.section
        lines.append(_aligned(table, widths, texts))
    below = notes(table)
    return "\n".join([*lines, *([""] if below else []), *below]) + "\n"


def _aligned(table: Table, widths: list[int], texts: list[str]) -> str:
    parts = [
        text.rjust(width) if column.numeric else text.ljust(width)
        for column, width, text in zip(table.columns, widths, texts, strict=True)
    ]
    return ("  " + "  ".join(parts)).rstrip()


def render_markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown."""
    titles = [f"{c.group}: {heading(c)}" if c.group else heading(c) for c in table.columns]
    lines = [f"**{markdown_escape(table.title)}**", "", _pipe([markdown_escape(title) for title in titles])]
    lines.append(_pipe(["---:" if column.numeric else ":---" for column in table.columns]))
    for row in table.rows:
        texts = []
        for cell, column in zip(row.cells, table.columns, strict=True):
            text = markdown_escape(plain(cell, column, table.seeds))
            texts.append(f"**{text}**" if cell.best else text)
        lines.append(_pipe(texts))
    lines += [line for note in notes(table) for line in ("", markdown_escape(note))]
    return "\n".join(lines) + "\n"


def _pipe(texts: list[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def markdown_escape(text: str) -> str:
    """Return `text` with the characters that Markdown gives a meaning escaped."""
    for character in "\\|*_`<>[]":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


def render_csv(table: Table) -> str:
    """Return the table as CSV: for each number its mean, `_std` and `_seeds`, unrounded; missing is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header: list[str] = []
    for column in table.columns:
        header += [column.key, f"{column.key}_std", f"{column.key}_seeds"] if column.numeric else [column.key]
    writer.writerow(header)
    for row in table.rows:
        out: list[str] = []
        for cell, column in zip(row.cells, table.columns, strict=True):
            if column.numeric:
                out += [_exact(cell.value), _exact(cell.std), str(cell.seeds) if cell.seeds else ""]
            else:
                out.append(cell.text or "")
        writer.writerow(out)
    return stream.getvalue()


def _exact(value: float | None) -> str:
    # Twelve digits: times 100 leaves round-off in the last places that nobody measured.
    return "" if value is None else format(value, ".12g")


# -- LaTeX ------------------------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
    "−": r"$-$",
    "–": "--",
    "×": r"$\times$",
    "ø": r"{\o}",
    "ß": r"{\ss}",
    "æ": r"{\ae}",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}

_PAGE = 36  # rows
_WIDE = 8  # columns
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r", "\u0327": "c"}


def latex_escape(text: str) -> str:
    """Return `text` safe in LaTeX text mode, in ASCII; a character that has no such form becomes a question mark."""
    return "".join(_LATEX.get(one, one if one.isascii() else _accented(one)) for one in text.replace("\n", " "))


def _accented(character: str) -> str:
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if len(marks) == 1 and marks[0] in _ACCENTS and letter.isascii():
        return rf"\{_ACCENTS[marks[0]]}{{{letter}}}"
    return "?"


def render_latex(table: Table, experiment: str = "") -> str:
    """Return a `table` environment in booktabs style, the best in bold, methods under the names that papers give them.

    A table of many columns is shrunk to the line, which needs graphicx as well.
    """
    table = replace(table, rows=tuple(replace(row, cells=_titled(table, row)) for row in table.rows))
    label = ":".join(one for one in ("tab", _label(experiment), _label(table.name)) if one)
    align = "".join("r" if column.numeric else _latex_words(table, column) for column in table.columns)
    wide = len(table.columns) > _WIDE
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_escape(table.title)}}}",
        rf"\label{{{label}}}",
        *([r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"] if wide else []),
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        *_latex_head(table),
        r"\midrule",
    ]
    for position, section in enumerate(table.sections()):
        if position:
            lines.append(r"\midrule")
        lines += [_latex_row(table, row) for row in section]
    lines += [r"\bottomrule", r"\end{tabular}" + ("}" if wide else "")]
    lines += [r"\par\smallskip\footnotesize " + latex_escape(note) for note in notes(table)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _label(text: str) -> str:
    """Return `text` with what LaTeX takes in a label."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


def _titled(table: Table, row: Row) -> tuple[Cell, ...]:
    cells = zip(row.cells, table.columns, strict=True)
    return tuple(
        replace(cell, text=method_title(cell.text)) if column.key == "method" and cell.text else cell
        for cell, column in cells
    )


def _latex_words(table: Table, column: Column) -> str:
    longest = max((len(cell.text or "") for cell in table.column(column.key)), default=0)
    return r"p{5cm}" if longest > 40 else "l"


def _latex_head(table: Table) -> list[str]:
    lines = []
    if any(column.group for column in table.columns):
        parts, rules, at = [], [], 1
        for group, columns in groupby(table.columns, key=lambda column: column.group):
            span = len(list(columns))
            parts.append(rf"\multicolumn{{{span}}}{{c}}{{{latex_escape(group)}}}")
            if group:
                rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
            at += span
        lines += [" & ".join(parts) + r" \\", " ".join(rules)]
    return [*lines, " & ".join(latex_escape(heading(column)) for column in table.columns) + r" \\"]


def _latex_row(table: Table, row: Row) -> str:
    cells = zip(row.cells, table.columns, strict=True)
    return " & ".join(_latex_cell(cell, column, table.seeds) for cell, column in cells) + r" \\"


def _latex_cell(cell: Cell, column: Column, usual_seeds: int) -> str:
    if cell.text is not None or cell.value is None:
        return latex_escape(plain(cell, column, usual_seeds))
    value = number(cell.value, column)
    text = rf"\mathbf{{{value}}}" if cell.best else value
    if cell.std is not None:
        text += rf" \pm {cell.std:.{column.digits}f}"
    return f"${text}$" + latex_escape(seeds_behind(cell, usual_seeds) + cell.mark)


def latex_document(tables: Sequence[Table], experiment: str = "") -> str:
    """Return a whole LaTeX file that compiles by itself and prints `tables`, those longer than a page in parts."""
    head = (
        "% Needs booktabs and graphicx; to use one table elsewhere, take its table environment.\n"
        "\\documentclass{article}\n\\usepackage[landscape,margin=1cm]{geometry}\n"
        "\\usepackage{booktabs}\n\\usepackage{graphicx}\n\\begin{document}\n"
    )
    parts = [part for table in tables for part in _pages(table)]
    body = "\n\\clearpage\n".join(render_latex(part, experiment) for part in parts) or "There are no results yet.\n"
    return head + body + "\\end{document}\n"


def _pages(table: Table) -> Iterator[Table]:
    """Cut a table into parts of at most a page, at the end of a section where one ends."""
    rows, part = list(table.rows), 0
    while rows or not part:
        cut = min(_PAGE, len(rows))
        ends = [k for k in range(1, cut + 1) if k == len(rows) or rows[k].section != rows[k - 1].section]
        cut = ends[-1] if ends else cut
        part += 1
        name, title = (f"{table.name}-{part}", f"{table.title} (continued)") if part > 1 else (table.name, table.title)
        yield Table(name, title, table.columns, tuple(rows[:cut]), table.notes, table.data_notes)
        rows = rows[cut:]
