"""One method under several options: the options in columns, the numbers of its protocol's table beside them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd

from lamm_cl.reports.tables.collect import tidy
from lamm_cl.reports.tables.model import Cell, Column, Row, Table

Options = Mapping[str, Any]
VARIES = "varies"


def ablation_tables(
    frame: pd.DataFrame, configs: Mapping[str, Options], build: Callable[[pd.DataFrame], Table]
) -> Iterator[Table]:
    """Yield a table for each method that ran under several labels, with a column per option that differs.

    Args:
        frame: Rows of `runs.csv` of one protocol.
        configs: By run id, the config of its record: `method` is the registered name, `options` all options.
        build: Makes the protocol's table.

    Source: the shape of LAMM's Tables 4 and 5 (AAAI 2024).
    """
    rows = tidy(frame)
    runs = rows[["method", "run_id"]].drop_duplicates()
    families: dict[str, dict[str, list[Options]]] = {}
    for label, run_id in zip(runs["method"], runs["run_id"], strict=True):
        config = configs.get(run_id)
        if config is not None and isinstance(config.get("options"), Mapping):
            family = families.setdefault(str(config.get("method", label)), {})
            family.setdefault(label, []).append(config["options"])
    for method, labels in families.items():
        if len(labels) > 1:
            chosen = rows[rows["method"].isin(labels)]
            chosen.attrs["tidy"] = True
            table = _with_options(build(chosen), method, {label: _merged(options) for label, options in labels.items()})
            if table is not None:
                yield table


def _merged(options: list[Options]) -> dict[str, str]:
    names = dict.fromkeys(name for one in options for name in one)
    values = {name: {word(one.get(name)) for one in options} for name in names}
    return {name: found.pop() if len(found) == 1 else VARIES for name, found in values.items()}


def word(value: Any) -> str:
    """Return an option's value as tables print it.

    >>> word(None), word(0.05), word(0.0), word(True), word("words")
    ('default', '0.05', '0', 'yes', 'words')
    """
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _with_options(table: Table, method: str, options: Mapping[str, Mapping[str, str]]) -> Table | None:
    names = dict.fromkeys(name for one in options.values() for name in one)
    differing = [name for name in names if len({one.get(name, "-") for one in options.values()}) > 1]
    place = next(index for index, column in enumerate(table.columns) if column.key == "method") + 1
    # The dialect has a column of its own.
    differing = [name for name in differing if name not in {column.key for column in table.columns}]
    if not differing:
        return None
    columns = [Column(name, name, group="Options") for name in differing]
    rows = []
    for row in table.rows:
        own = options.get(row.cells[place - 1].text or "", {})
        cells = [Cell(text=own.get(name, "-")) for name in differing]
        rows.append(Row((*row.cells[:place], *cells, *row.cells[place:]), row.section))
    return Table(
        f"{table.name}_options_{method}",
        f"Options of {method}. {table.title}",
        (*table.columns[:place], *columns, *table.columns[place:]),
        tuple(rows),
        table.notes,
    )
