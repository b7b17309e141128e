"""Reading experiments' directories, unfinished or damaged ones too: everything usable, and a list of what is not."""

import contextlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lamm_cl.errors import UsageError, unknown
from lamm_cl.files import parse_json
from lamm_cl.records.directory import changes
from lamm_cl.records.record import COLUMNS, FAILED, ROW_COLUMNS, RUN_COLUMNS
from lamm_cl.records.record import Record as StoredRecord
from lamm_cl.reports.names import number_word, spelled_out
from lamm_cl.reports.tables.collect import TITLES, stream_lengths, tidy

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """What one or several directories hold.

    Attributes:
        directory: Where it was read, of several the first.
        frame: Tidy rows of `runs.csv`, completed by records that it lacks; see `tables.collect.tidy`.
        records: The readable `record.json` files by run id.
        problems: What is missing, damaged or failed, one sentence each.
        settings: By experiment, what its `experiment.json` says of its settings.
        apart: Whether the experiments must not stand in one table as if they were one.
    """

    directory: Path
    frame: pd.DataFrame
    records: Mapping[str, Record] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    apart: bool = False

    @property
    def rows(self) -> pd.DataFrame:
        """The rows for tables and figures, in which several experiments with the same settings are one."""
        return self.frame if self.apart else self.frame.assign(experiment="")

    @cached_property
    def configs(self) -> dict[str, Mapping[str, Any]]:
        """The configs of the records, by run id."""
        return {run_id: part(record, "config") for run_id, record in self.records.items()}

    def planned(self, experiment: str) -> tuple[str, ...]:
        """Return the methods that an experiment, or "" for all as one, says it has, under the names of the tables.

        Its settings are called `BACKBONE: methods.LABEL`.
        """
        keys = [key for name, settings in self.settings.items() if experiment in ("", name) for key in settings]
        return tuple(dict.fromkeys(label for key in keys if (label := _method_of(key))))

    def only(self, methods: Sequence[str] = (), seeds: Sequence[str] = (), datasets: Sequence[str] = ()) -> "Results":
        """Return the results of these methods, seeds and data sets alone; an empty choice takes all.

        Raises:
            UsageError: There is nothing of that name.
        """
        frame = self.frame
        for column, names in (("method", methods), ("seed", seeds), ("dataset", datasets)):
            if names:
                words = frame[column].map(number_word)
                if absent := [name for name in names if name not in set(words)]:
                    raise unknown(TITLES[column].lower(), absent[0], set(self.frame[column].map(number_word)) - {""})
                frame = frame[words.isin(names)]
        if frame is self.frame:
            return self
        frame = frame.reset_index(drop=True)
        kept = set(frame["run_id"])
        settings = {
            name: {key: value for key, value in one.items() if not methods or _method_of(key) in ("", *methods)}
            for name, one in self.settings.items()
        }
        records = {run_id: record for run_id, record in self.records.items() if run_id in kept}
        return replace(self, frame=frame, records=records, settings=settings)

    @property
    def runs(self) -> pd.DataFrame:
        """One row per run: its settings, status and id."""
        columns = [*RUN_COLUMNS, "status", "run_id"]
        return self.frame[columns].drop_duplicates("run_id").reset_index(drop=True)


def _method_of(key: str) -> str:
    """Return the label of the method that a setting is of, "" where it is of none."""
    match = re.search(r": methods\.(.+)$", key)
    return spelled_out(match[1]) if match else ""


def read_results(*directories: Path | str) -> Results:
    """Read `runs.csv` and the records of one or several experiments.

    A missing or damaged file costs its own rows and a sentence in `problems`, nothing else. Rows whose run has a
    record but no line in `runs.csv` are taken from the record. A run that several directories hold counts once.

    Raises:
        UsageError: There is no such directory.
    """
    found = [_read(path) for path in {Path(path).resolve(): Path(path) for path in directories}.values()]
    results = found[0] if len(found) == 1 else _together(found)
    return replace(results, problems=tuple(map(spelled_out, [*results.problems, *_versions(results.records)])))


def _read(path: Path) -> Results:
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}. Give the directory of an experiment: what `lamm-cl run --out` wrote.")
    problems: list[str] = []
    rows = _read_table(path / "runs.csv", problems)
    records = _read_records(path / "runs", problems)
    frame = _complete(rows, records, problems)
    frame = _joint_at_the_end(_checked(frame, problems), records)
    if frame.empty and not records:
        problems.insert(0, f"There are no results in {path} yet.")
    failed = dict.fromkeys(frame.loc[frame["status"] == "failed", "run_id"])
    texts = [f"{run_id} ({error_of(records[run_id])})" if run_id in records else run_id for run_id in failed]
    problems += [f"{len(texts)} run(s) failed: {listed(texts)}."] if texts else []
    settings = {}
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        settings = dict(json.loads((path / "experiment.json").read_bytes())["settings"])
    names = [name for name in frame["experiment"].unique() if name]
    return Results(path, frame, records, tuple(problems), dict.fromkeys(names, settings))


def _together(found: list[Results]) -> Results:
    """Return several experiments as one, whose tables keep them apart where one directory could not hold them."""
    names = [name for one in found for name in one.settings]
    parts: list[Results] = []
    for one in found:
        titles = {name: f"{name} ({one.directory})" for name in one.settings if names.count(name) > 1}
        known = {run_id for each in parts for run_id in each.frame["run_id"]}
        frame = one.frame[~one.frame["run_id"].isin(known)].replace({"experiment": titles})
        settings = {titles.get(name, name): value for name, value in one.settings.items()}
        parts.append(replace(one, frame=frame, settings=settings))
    settings = {name: value for each in parts for name, value in each.settings.items()}
    problems = [f"{each.directory}: {problem}" for each in parts for problem in each.problems]
    differing = dict(_differences(settings))
    frame = pd.concat([each.frame for each in parts], ignore_index=True)
    records = {run_id: record for each in reversed(parts) for run_id, record in each.records.items()}
    # Those of several protocols meet in no table but that of the costs.
    protocols = {names: frame.loc[frame["experiment"].isin(names), "protocol"].nunique() for names in differing}
    said = [text for names, text in differing.items() if protocols[names] == 1]
    apart = bool(differing) or not all(settings.values())
    return Results(found[0].directory, frame, records, (*problems, *said), settings, apart)


def _differences(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the names of experiments whose settings differ, and what to say of it."""
    for (first, old), (second, new) in combinations(settings.items(), 2):
        texts = [f"{name} is {there!r} in {first} and {here!r} in {second}" for name, there, here in changes(old, new)]
        if texts:
            yield (first, second), f"The experiments stand apart, since their settings differ: {listed(texts, '; ')}."


# -- runs.csv --------------------------------------------------------------------------------------------------------


def _read_table(path: Path, problems: list[str]) -> pd.DataFrame:
    empty = pd.DataFrame(columns=list(COLUMNS), dtype=object)
    try:
        text = path.read_bytes().decode("utf-8", errors="replace").replace("\0", "").lstrip("\ufeff")
    except OSError as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        problems.append(f"runs.csv {what}.")
        return empty
    header, _, body = text.partition("\n")
    names = [name.strip().strip('"') for name in header.split(",")]
    if absent := [name for name in COLUMNS if name not in names]:
        what = "is empty" if not text.strip() else f"lacks the column(s) {', '.join(absent)}"
        problems.append(f"runs.csv {what}; its rows are not used.")
        return empty
    if body and not body.endswith("\n"):
        body, _, cut = body.rpartition("\n")
        problems.append(f"The last line of runs.csv is cut off and not used: {_short(cut)!r}.")
    lines = [line for line in body.split("\n") if line.strip()]
    # A stray quote would swallow the lines after it: names with commas are the only reason for quotes here.
    good = [line for line in lines if line.count('"') % 2 == 0 and _fields(line) == len(names)]
    if bad := len(lines) - len(good):
        problems.append(f"{bad} line(s) of runs.csv do not have {len(names)} fields and are not used.")
    if not good:
        return empty
    frame = pd.read_csv(
        io.StringIO("\n".join(good)), names=names, dtype=str, keep_default_na=False, na_values=[""], index_col=False
    )
    return frame.loc[:, ~frame.columns.duplicated()][list(COLUMNS)]


def _fields(line: str) -> int:
    if '"' not in line:
        return line.count(",") + 1
    outside = "".join(part for place, part in enumerate(line.split('"')) if place % 2 == 0)
    return outside.count(",") + 1


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


# -- records ---------------------------------------------------------------------------------------------------------


def _read_records(folder: Path, problems: list[str]) -> dict[str, Record]:
    records: dict[str, Record] = {}
    unused: dict[str, list[str]] = {}
    try:
        places = sorted(place for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []
    except OSError as error:
        problems.append(f"runs/ cannot be read: {error.strerror}.")
        return records
    for place in places:
        try:
            content = parse_json((place / "record.json").read_bytes()) or {}
            if (stored := StoredRecord.from_json(content)) and stored.run_id == place.name:
                records[place.name] = content
                continue
            why = "record(s) are another run's and are not used" if stored else "record(s) cannot be read"
        except FileNotFoundError:
            why = "run(s) started and have no record yet"
        except (OSError, ValueError, RecursionError):
            why = "record(s) cannot be read"
        unused.setdefault(why, []).append(place.name)
    problems += [f"{len(names)} {why}: {listed(names)}." for why, names in unused.items()]
    return records


def listed(names: Iterable[str], between: str = ", ", most: int = 5) -> str:
    """Return the first names and how many more there are.

    >>> listed("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    every = list(names)
    return between.join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _complete(rows: pd.DataFrame, records: Mapping[str, Record], problems: list[str]) -> pd.DataFrame:
    known = set(rows["run_id"].dropna())
    found = [line for run_id in records if run_id not in known for line in _lines(run_id, records[run_id])]
    if found:
        taken = {line["run_id"] for line in found}
        if known:
            problems.append(f"runs.csv lacks {len(taken)} run(s), taken from their records: {listed(sorted(taken))}.")
        extra = pd.DataFrame(found, columns=list(COLUMNS))
        rows = pd.concat([rows.astype(object), extra.astype(object)], ignore_index=True) if len(rows) else extra
    return rows


def _lines(run_id: str, record: Record) -> list[dict[str, Any]]:
    head = {name: record["run"][name] for name in RUN_COLUMNS}
    head |= {"run_id": run_id, "status": record["status"]}
    if record["status"] == FAILED:
        return [head]
    return [head | dict(zip(ROW_COLUMNS, row, strict=True)) for row in record["rows"]]


# -- what must not reach a table -------------------------------------------------------------------------------------


def _checked(rows: pd.DataFrame, problems: list[str]) -> pd.DataFrame:
    nameless = rows["run_id"].isna() | (rows["run_id"] == "")
    if nameless.any():
        problems.append(f"{int(nameless.sum())} row(s) name no run and are not used.")
        rows = rows[~nameless]
    given = rows["value"].notna()
    frame = tidy(rows)
    values = frame["value"].replace([np.inf, -np.inf], np.nan)
    wrong = given & values.isna()
    outside = (frame["metric"] == "accuracy") & ~values.between(0, 1) & values.notna()
    for mask, what in ((wrong, "have a value that is no number"), (outside, "have an accuracy outside 0..1")):
        if mask.any():
            ids = dict.fromkeys(frame.loc[mask, "run_id"])
            problems.append(f"{int(mask.sum())} row(s) {what} and count as missing (runs {listed(ids)}).")
    frame["value"] = values.mask(outside)
    keys = ["run_id", "stage", "eval_set", "label_space", "metric"]
    twice = frame.duplicated(keys) & frame["metric"].ne("")
    if twice.any():
        problems.append(f"{int(twice.sum())} row(s) are given twice; the first counts.")
        frame = frame[~twice].reset_index(drop=True)
    return frame


def _joint_at_the_end(frame: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """Call the only stage of joint training the last: it knows what a stream knows at its end, and never less."""
    joint = {run_id for run_id, record in records.items() if part(record, "config", "options").get("regime") == "joint"}
    if joint:
        mine = frame["run_id"].isin(joint) & (frame["stage"] >= 1)
        lengths = frame["run_id"].map(stream_lengths(frame))
        frame["stage"] = frame["stage"].mask(mine & lengths.notna(), lengths)
    return frame


def part(record: Record, *keys: str) -> Mapping[str, Any]:
    """Return the mapping that a record has under these keys, an empty one where it has none."""
    found: Any = record
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _versions(records: Mapping[str, Record]) -> list[str]:
    """Say which versions made the records, of each package that differs."""
    found: dict[str, dict[str, list[str]]] = {}
    for run_id, record in records.items():
        for package, version in part(record, "versions").items():
            found.setdefault(str(package), {}).setdefault(str(version), []).append(run_id)
    return [
        f"The records are of several versions of {package}, whose numbers may differ: "
        + "; ".join(f"{version} ({len(ids)} run{'s' * (len(ids) != 1)}: {listed(ids)})" for version, ids in by.items())
        + "."
        for package, by in found.items()
        if len(by) > 1
    ]


def error_of(record: Record) -> str:
    """Return a failed run's error in one line."""
    error = part(record, "error")
    return _short(" ".join(str(error.get("message") or error.get("kind") or "no error text").split()))
