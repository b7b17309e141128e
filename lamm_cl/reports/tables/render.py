"""Tables as terminal text, Markdown, CSV, and LaTeX in booktabs style."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import TYPE_CHECKING

import pandas as pd

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
    spread = "" if cell.std is None else f" ± {cell.std:.{column.digits}f}"
    seeds = f" ({cell.seeds})" if cell.seeds and cell.seeds != usual_seeds else ""
    return number(cell.value, column) + spread + seeds + cell.mark


def texts_of(table: Table, row: Row) -> list[str]:
    """Return the cells of a row as they are printed."""
    return [plain(cell, column, table.seeds) for cell, column in zip(row.cells, table.columns, strict=True)]


def notes(table: Table) -> list[str]:
    """Return the sentences below a table: the seeds, its own notes, and what is to be known of the data."""
    counts = {cell.seeds for row in table.rows for cell in row.cells if cell.seeds}
    seeds = f"Mean ± sample standard deviation over {table.seeds} seeds" if table.seeds > 1 else "One seed"
    fewer = "; fewer where a number in parentheses says so" if len(counts) > 1 else ""
    over = [f"{seeds}{fewer}."] if counts else []
    return [*over, *table.notes, *(f"Data: {note}." for note in table.data_notes)]


def heading(column: Column) -> str:
    """Return a column's heading with its unit, where the unit is not percent."""
    return f"{column.title} [{column.unit}]" if column.numeric and column.unit not in ("%", "1") else column.title


def full_heading(column: Column, between: str) -> str:
    """Return a column's heading after that of its group, where it is in one."""
    return f"{column.group}{between}{heading(column)}" if column.group else heading(column)


def render_rich(table: Table) -> "rich.table.Table":
    """Return the table for a rich console: sections ruled off, the best in bold."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    out = RichTable(title=Text(table.title), caption=Text("\n".join(notes(table))), box=box.SIMPLE_HEAD)
    out.title_justify = out.caption_justify = "left"
    for column in table.columns:
        name = Text(full_heading(column, "\n"))
        out.add_column(name, justify="right" if column.numeric else "left", overflow="fold", no_wrap=column.numeric)
    for section in table.sections():
        for row in section:
            texts = zip(texts_of(table, row), row.cells, strict=True)
            out.add_row(*(Text(text, style="bold" if cell.best else "") for text, cell in texts))
        out.add_section()
    return out


def render_text(table: Table) -> str:
    """Return the table as plain text, as wide as it needs to be.

    Made by hand: a console takes minutes to lay out the tables of ten thousand runs.
    """
    body = [[texts_of(table, row) for row in section] for section in table.sections()]
    heads = [[column.group for column in table.columns], [heading(column) for column in table.columns]]
    heads = heads if any(heads[0]) else heads[1:]
    widths = [max(map(len, texts)) for texts in zip(*heads, *chain(*body), strict=True)]
    rule = "\u2500" * (sum(widths) + 2 * len(widths) + 2)
    lines = [table.title, "", *(_aligned(table, widths, texts) for texts in heads), rule]
    for position, section in enumerate(body):
        lines += [*([""] if position else []), *(_aligned(table, widths, texts) for texts in section)]
    below = notes(table)
    return "\n".join([*lines, *(["", *below] if below else [])]) + "\n"


def _aligned(table: Table, widths: list[int], texts: list[str]) -> str:
    parts = [
        text.rjust(width) if column.numeric else text.ljust(width)
        for column, width, text in zip(table.columns, widths, texts, strict=True)
    ]
    return ("  " + "  ".join(parts)).rstrip()


def render_markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown."""
    titles = [markdown_escape(full_heading(column, ": ")) for column in table.columns]
    lines = [f"**{markdown_escape(table.title)}**", "", _pipe(titles)]
    lines.append(_pipe(["---:" if column.numeric else ":---" for column in table.columns]))
    for row in table.rows:
        texts = zip(map(markdown_escape, texts_of(table, row)), row.cells, strict=True)
        lines.append(_pipe([f"**{text}**" if cell.best else text for text, cell in texts]))
    lines += [line for note in notes(table) for line in ("", markdown_escape(note))]
    return "\n".join(lines) + "\n"


def _pipe(texts: list[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def markdown_escape(text: str) -> str:
    """Return `text` with the characters that Markdown gives a meaning escaped."""
    return re.sub(r"[\\|*_`<>\[\]]", r"\\\g<0>", text).replace("\n", " ")


def render_csv(table: Table) -> str:
    """Return the table as CSV: for each number its mean, `_std` and `_seeds`, unrounded; missing is empty."""
    return exact(table).to_csv(index=False, lineterminator="\n")


def exact(table: Table) -> pd.DataFrame:
    """Return the words that `render_csv` writes, as a frame."""
    found: dict[str, list[str]] = {}
    for column in table.columns:
        cells = table.column(column.key)
        found[column.key] = [_exact(cell.value) if column.numeric else cell.text or "" for cell in cells]
        if column.numeric:
            found[f"{column.key}_std"] = [_exact(cell.std) for cell in cells]
            found[f"{column.key}_seeds"] = [str(cell.seeds or "") for cell in cells]
    return pd.DataFrame(found, dtype=object)


def _exact(value: float | None) -> str:
    # Twelve digits: times 100 leaves round-off in the last places that nobody measured.
    return "" if value is None else format(value, ".12g")


# -- LaTeX ------------------------------------------------------------------------------------------------------

_LATEX = {
    **{one: "\\" + one for one in "&%$#_{}"},
    "\\": r"\textbackslash{}",
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
    label = ":".join(filter(None, ("tab", _label(experiment), _label(table.name))))
    align = "".join("r" if column.numeric else _latex_words(table, column) for column in table.columns)
    wide = len(table.columns) > _WIDE
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_escape(table.title)}}}",
        rf"\label{{{label}}}",
        *[r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"] * wide,
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        *_latex_head(table),
        r"\midrule",
    ]
    for position, section in enumerate(table.sections()):
        lines += [*([r"\midrule"] if position else []), *(_latex_row(table, row) for row in section)]
    lines += [r"\bottomrule", r"\end{tabular}" + "}" * wide]
    lines += [r"\par\smallskip\footnotesize " + latex_escape(note) for note in notes(table)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _label(text: str) -> str:
    """Return `text` with what LaTeX takes in a label."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


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
    texts = []
    for cell, column, text in zip(row.cells, table.columns, texts_of(table, row), strict=True):
        if cell.value is None:
            texts.append(latex_escape(method_title(text) if column.key == "method" else text))
            continue
        value, space, spread = text.replace("±", r"\pm").partition(" ")
        value = rf"\mathbf{{{value}}}" if cell.best else value
        texts.append(f"${value}{space}{spread}$")
    return " & ".join(texts) + r" \\"


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
    rows, part = table.rows, 0
    while rows or not part:
        most = min(_PAGE, len(rows))
        ends = [k for k in range(1, most + 1) if k == len(rows) or rows[k].section != rows[k - 1].section]
        cut = ends[-1] if ends else most
        part += 1
        name, title = (f"{table.name}-{part}", f"{table.title} (continued)") if part > 1 else (table.name, table.title)
        yield replace(table, name=name, title=title, rows=rows[:cut])
        rows = rows[cut:]
