"""Tables as terminal text, Markdown and CSV."""

import csv
import io
from typing import TYPE_CHECKING

from lamm_cl.reports.tables.model import MISSING, Cell, Column, Table, number

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
