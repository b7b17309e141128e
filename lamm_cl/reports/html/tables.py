"""A table with sortable columns, a filter, and a link from every number to its runs."""

from html import escape
from urllib.parse import quote

from lamm_cl.reports.tables.model import Cell, Column, Table
from lamm_cl.reports.tables.render import heading, notes, plain

_MOST_CHOICES = 30
_LONG = 40  # characters; longer texts may wrap


def anchor(name: str) -> str:
    """Return `name` as an id."""
    return "".join(one if one.isalnum() or one in "-_" else "-" for one in name)


def runs_link(*run_ids: str) -> str:
    """Return the address that opens these runs."""
    return "#runs=" + ",".join(quote(run_id, safe="") for run_id in run_ids)


def table_section(table: Table) -> str:
    """Return one table with its controls and notes."""
    name = f"table-{anchor(table.name)}"
    below = "".join(f"<p>{escape(note)}</p>" for note in notes(table))
    title = table.title.partition(":")[0]
    return "\n".join(
        [
            f'<section id="{name}" aria-labelledby="{name}-title">',
            f'<h2 id="{name}-title">{escape(title)}</h2>',
            _controls(table, name),
            f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}, table">',
            f"<table><caption><span>{escape(table.title)}</span></caption>",
            _head(table),
            "<tbody>",
            *_body(table),
            "</tbody></table></div>",
            f'<div class="notes">{below}</div>',
            "</section>",
        ]
    )


def controls(name: str, choices: dict[int, tuple[str, list[str]]]) -> str:
    """Return the filter of a table: a text field, and a choice for each of some columns by number."""
    parts = [
        f'<div class="controls" data-for="{name}" hidden>',
        f'<label>Filter <input type="search" autocomplete="off" aria-describedby="{name}-count"></label>',
    ]
    for place, (title, values) in choices.items():
        options = "".join(f"<option>{escape(value)}</option>" for value in values)
        select = f'<select data-column="{place}"><option value="">all</option>{options}</select>'
        parts.append(f"<label>{escape(title)} {select}</label>")
    parts.append(f'<span class="count" id="{name}-count" role="status"></span></div>')
    return "\n".join(parts)


def _controls(table: Table, name: str) -> str:
    choices = {}
    for place, column in enumerate(table.columns):
        values = list(dict.fromkeys(cell.text or "" for cell in table.column(column.key)))
        if not column.numeric and 1 < len(values) <= _MOST_CHOICES and "" not in values:
            choices[place] = (column.title, values)
    return controls(name, choices)


def _head(table: Table) -> str:
    cells = "".join(sortable(_heading(column), column.numeric) for column in table.columns)
    return f"<thead><tr>{cells}</tr></thead>"


def _heading(column: Column) -> str:
    title = f"{column.group} {heading(column)}" if column.group else heading(column)
    return title + (" [%]" if column.unit == "%" else "")


def sortable(title: str, numeric: bool) -> str:
    """Return a column heading that sorts when pressed."""
    kind = ' class="number"' if numeric else ""
    arrow = '<span class="arrow" aria-hidden="true"></span>'
    # The arrow stands on the side where the text is ragged.
    label = arrow + escape(title) if numeric else escape(title) + arrow
    return f'<th scope="col"{kind} aria-sort="none"><button type="button">{label}</button></th>'


def _body(table: Table) -> list[str]:
    rows = []
    row_header = next((place for place, column in enumerate(table.columns) if column.key == "method"), 0)
    before = None
    for row in table.rows:
        start = ' class="start"' if before is not None and row.section != before else ""
        before = row.section
        cells = [
            _cell(cell, column, table.seeds, place == row_header)
            for place, (cell, column) in enumerate(zip(row.cells, table.columns, strict=True))
        ]
        rows.append(f"<tr{start}>{''.join(cells)}</tr>")
    return rows


def _cell(cell: Cell, column: Column, usual_seeds: int, header: bool) -> str:
    text = escape(plain(cell, column, usual_seeds))
    if not column.numeric:
        long = ' class="words"' if len(text) > _LONG else ""
        return f'<th scope="row">{text}</th>' if header else f"<td{long}>{text}</td>"
    if cell.value is None:
        return f'<td class="number">{text}</td>'
    inner = f"<strong>{text}</strong>" if cell.best else text
    if cell.run_ids:
        inner = f'<a href="{runs_link(*cell.run_ids)}">{inner}</a>'
    return f'<td class="number" data-value="{cell.value!r}">{inner}</td>'
