"""Tables as LaTeX, in booktabs style."""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby

from lamm_cl.reports.tables.model import Cell, Column, Row, Table, number
from lamm_cl.reports.tables.render import heading, notes, plain, seeds_behind

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


def render_latex(table: Table) -> str:
    """Return a `table` environment in booktabs style, the best in bold.

    A table of many columns is shrunk to the line, which needs graphicx as well.
    """
    align = "".join("r" if column.numeric else _latex_words(table, column) for column in table.columns)
    wide = len(table.columns) > _WIDE
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_escape(table.title)}}}",
        rf"\label{{tab:{table.name}}}",
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


def latex_document(tables: Sequence[Table]) -> str:
    """Return a whole LaTeX file that compiles by itself and prints `tables`, those longer than a page in parts."""
    head = (
        "% Needs booktabs and graphicx; to use one table elsewhere, take its table environment.\n"
        "\\documentclass{article}\n\\usepackage[landscape,margin=1cm]{geometry}\n"
        "\\usepackage{booktabs}\n\\usepackage{graphicx}\n\\begin{document}\n"
    )
    parts = [part for table in tables for part in _pages(table)]
    body = "\n\\clearpage\n".join(map(render_latex, parts)) or "There are no results yet.\n"
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
