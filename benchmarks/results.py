"""The measured tables: from finished experiments to `results/`, and from there into the documents.

    lamm-cl run configs/digits/dialects.yaml --out runs/digits_dialects     (and so on, one for each of RESULTS)
    python -m benchmarks.results collect runs     copies what was measured, with what made it
    python -m benchmarks.results tables           writes the tables between the marks in the documents

A test makes the tables again and fails when a document says something else.
"""

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parents[1]
# Name of the experiment -> the command that makes it.
RESULTS = {
    "quickstart": "lamm-cl run configs/quickstart.yaml",
    "digits_methods": "lamm-cl run configs/digits/methods.yaml",
    "digits_dialects": "lamm-cl run configs/digits/dialects.yaml",
    "digits_label_spaces_2": "lamm-cl run configs/digits/label_spaces_2.yaml",
    "digits_label_spaces_5": "lamm-cl run configs/digits/label_spaces_5.yaml",
    "digits_label_spaces_10": "lamm-cl run configs/digits/label_spaces_10.yaml",
    "glyphs_label_spaces_5": "lamm-cl run configs/glyphs/label_spaces_5.yaml",
    "glyphs_label_spaces_10": "lamm-cl run configs/glyphs/label_spaces_10.yaml",
    "glyphs_label_spaces_20": "lamm-cl run configs/glyphs/label_spaces_20.yaml",
    "glyphs_multi_domain": "lamm-cl run configs/glyphs/multi_domain.yaml",
    "cil_setting_b_glyphs": "lamm-cl run configs/cil/setting_b.yaml --set backbone=tiny --set 'datasets=[glyphs]' "
    "--set 'protocol.order={numpy: seed}' --set 'seeds=[1993, 1, 2]'",
    "cil_quirks": "lamm-cl run configs/cil/quirks.yaml",
    "caltech101_mini": "lamm-cl run configs/caltech101_mini/label_spaces.yaml --set root=DIR",
}


def collect(source: Path) -> None:
    """Copy each experiment's `runs.csv` to `results/`, with the command, commit, machine and versions that made it."""
    for name, command in RESULTS.items():
        found = source / name
        if not (found / "runs.csv").is_file():
            print(f"{name}: not in {source}, left as it is")
            continue
        target = ROOT / "results" / name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found / "runs.csv", target / "runs.csv")
        records = [json.loads(path.read_text()) for path in sorted(found.glob("runs/*/record.json"))]
        (target / "about.json").write_text(json.dumps(about(command, records), indent=1) + "\n")
        print(f"{name}: {len(records)} runs")


def about(command: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what made an experiment: every value that its runs have in common, or all values they have."""

    def values(read: Callable[[dict[str, Any]], Any]) -> Any:
        different = {json.dumps(read(record), sort_keys=True): read(record) for record in records}
        return next(iter(different.values())) if len(different) == 1 else sorted(different.values(), key=str)

    return {
        "command": command,
        "commit": values(lambda r: r["git"]["commit"]),
        "uncommitted_changes": values(lambda r: r["git"]["changed"]),
        "runs": len(records),
        "failed": sum(record["status"] != "done" for record in records),
        "started": min(record["started"] for record in records),
        "processor_hours": round(sum(record["seconds"] for record in records) / 3600, 3),
        "machine": {"processor": values(lambda r: r["machine"]["processor"]), "cores": os.cpu_count()},
        "system": platform.system(),
        "versions": values(lambda r: r["versions"]),
        "backbone": values(lambda r: r["backbone"]["fingerprint"]),
        "split": values(lambda r: r["data"]["split"]),
        "synthetic": values(lambda r: r["data"]["synthetic"]),
        "data": values(lambda r: r["data"]["fingerprint"]),
    }


def frame(name: str) -> pd.DataFrame:
    """Return the rows of an experiment in `results/`."""
    return pd.read_csv(ROOT / "results" / name / "runs.csv", dtype={"run_id": str, "dialect": str})


def paper_table(name: str, caption: str) -> str:
    """Return the table in the paper's shape, with the command below it."""
    from lamm_cl.reports.tables import PROTOCOLS, render_markdown

    return f"{render_markdown(PROTOCOLS['class_incremental'].table(frame(name)))}\n\n{caption}\n"


def made_by(name: str) -> str:
    """Return the line that says which command made a table."""
    facts = json.loads((ROOT / "results" / name / "about.json").read_text())
    return f"Made by `{facts['command']}` at commit {str(facts['commit'])[:7]}: `results/{name}/`."


def percent(values: pd.Series) -> str:
    """Return mean and sample standard deviation over seeds, in percent."""
    numbers = 100 * values
    spread = f" ± {numbers.std():.2f}" if len(numbers) > 1 else ""
    return f"{numbers.mean():.2f}{spread}"


def at(rows: pd.DataFrame, stage: int, eval_set: str, space: str) -> pd.Series:
    """Return the accuracies of one method, by seed."""
    mask = (rows["stage"] == stage) & (rows["eval_set"] == eval_set) & (rows["label_space"] == space)
    return rows[mask & (rows["metric"] == "accuracy")].set_index("seed")["value"]


def dialects() -> str:
    """Return what each dialect of LAMM does on digits."""
    rows = frame("digits_dialects")
    lines = ["| variant | Set1 own | Set2 own | Set1 joint | Set2 joint | all joint |", "|---|---|---|---|---|---|"]
    for method in dict.fromkeys(rows["method"]):
        mine = rows[rows["method"] == method]
        cells = [("set1", "own"), ("set2", "own"), ("set1", "all"), ("set2", "all"), ("total", "all")]
        lines.append(f"| {method} | " + " | ".join(percent(at(mine, 2, *cell)) for cell in cells) + " |")
    return "\n".join([*lines, "", made_by("digits_dialects"), ""])


def label_spaces(dataset: str, steps: Iterable[int]) -> str:
    """Return own against joint accuracy at the end of streams of several lengths."""
    lines = [
        "| steps | method | own | joint | own - joint | change of old sets, own | change of old sets, seen |",
        "|---|---|---|---|---|---|---|",
    ]
    commands = []
    for count in steps:
        name = f"{dataset}_label_spaces_{count}"
        rows = frame(name)
        commands.append(made_by(name))
        for method in dict.fromkeys(rows["method"]):
            mine = rows[rows["method"] == method]
            own, joint = at(mine, count, "total", "own"), at(mine, count, "total", "all")
            changes = [change_of_old_sets(mine, count, space) for space in ("own", "seen")]
            cells = [percent(values) for values in (own, joint, own - joint, *changes)]
            lines.append(f"| {count} | {method} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{line}  " for line in commands), ""])


def change_of_old_sets(rows: pd.DataFrame, steps: int, space: str) -> pd.Series:
    """Return the backward transfer by seed: a[n, j] - a[j, j], averaged over the sets but the last."""
    each = [at(rows, steps, f"set{j}", space) - at(rows, j, f"set{j}", space) for j in range(1, steps)]
    return pd.concat(each, axis=1).mean(axis=1)


def incremental(name: str) -> str:
    """Return average incremental and last accuracy among the classes seen, for each data set of an experiment."""
    rows = frame(name)
    rows = rows[(rows["label_space"] == "seen") & (rows["eval_set"] == "total")]
    rows = rows[rows["stage"] == rows["stage"].max()]
    datasets = list(dict.fromkeys(rows["dataset"]))
    heads = [f"{dataset}: {what}" for dataset in datasets for what in ("average", "last")]
    lines = [f"| method | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for method in dict.fromkeys(rows["method"]):
        mine = rows[rows["method"] == method]
        cells = [
            percent(mine[(mine["dataset"] == dataset) & (mine["metric"] == metric)]["value"])
            for dataset in datasets
            for metric in ("average_incremental_accuracy", "incremental_accuracy")
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", made_by(name), ""])


def shots_table() -> str:
    """Return every method's joint accuracy over the number of shots."""
    rows = frame("digits_methods")
    shots = sorted(set(rows["shots"]))
    lines = ["| method | " + " | ".join(f"{s} shots" for s in shots) + " |", "|---|" + "---|" * len(shots)]
    for method in dict.fromkeys(rows["method"]):
        mine = rows[rows["method"] == method]
        cells = []
        for count in shots:
            few = mine[mine["shots"] == count]
            cells.append(f"{percent(at(few, 2, 'total', 'own'))} / {percent(at(few, 2, 'total', 'all'))}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", made_by("digits_methods"), ""])


def speed(name: str, columns: dict[str, str]) -> str:
    """Return a table of the speed suite."""
    rows = pd.read_csv(ROOT / "results" / "speed" / f"{name}.csv")
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    for row in rows[list(columns)].itertuples(index=False):
        lines.append("| " + " | ".join(_short(value) for value in row) + " |")
    first = rows.iloc[0]
    machine = first["card"] if "card" in rows else f"{first['cpu']}, {first['threads']} thread"
    note = f"{machine}, torch {first['torch']}: `results/speed/{name}.csv`."
    return "\n".join([*lines, "", note, ""])


def gpu_hours() -> str:
    """Return the hours of LAMM's Table 2 on a card, by method."""
    rows = pd.read_csv(ROOT / "results" / "speed" / "gpu_table2.csv")
    hours = ["hours_reference", "hours_cold", "hours_warm"]
    lines = ["| method | the papers' way, h | cold cache, h | warm cache, h |", "|---|---|---|---|"]
    for method in dict.fromkeys(rows["method"]):
        total = rows.loc[rows["method"] == method, hours].sum()
        lines.append(f"| {method} | " + " | ".join(_short(float(value)) for value in total) + " |")
    last = rows.iloc[-1]
    about = f"{last['card']}, torch {last['torch']}; {last['ratio_cold']:.1f} and {last['ratio_warm']:.1f} times sooner"
    return "\n".join([*lines, "", f"{about}: `results/speed/gpu_table2.csv`.", ""])


def _short(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return str(value)


STEP = {
    "method": "method",
    "classes": "classes",
    "batch": "batch",
    "reference_seconds": "reference, s",
    "reference_system_seconds": "of it in the system, s",
    "exact_seconds": "engine, s",
    "ratio": "ratio",
    "ratio_low": "lowest",
    "ratio_high": "highest",
    "share_of_floor": "share of floor",
    "loss_difference": "relative difference of the loss",
}
RUN = {"what": "whole run", "reference_hours": "reference, h", "exact_hours": "engine, h", "ratio": "ratio"}
TRANSPORT = {
    "classes": "classes",
    "batch": "batch",
    "reference_seconds": "loop, s",
    "exact_seconds": "engine, s",
    "ratio": "ratio",
    "loss_difference": "largest difference of a similarity",
}
GROWTH = {
    "method": "method",
    "varied": "varied",
    "value": "value",
    "classes": "classes in the step",
    "step_seconds": "a step, s",
    "before_mb": "before, MB",
    "peak_mb": "peak, MB",
}
LOADING = {
    "step": "step",
    "reader": "read",
    "number": "number",
    "batch": "batch",
    "images_per_second": "images a second",
    "waited": "share that a step waits",
}
PRODUCTS = {
    "method": "method",
    "classes": "classes",
    "step_seconds": "step, s",
    "products_seconds": "its products alone, s",
    "needed_seconds": "with norms, activations and sums, s",
    "share_of_floor": "share of floor",
    "products_share_of_floor": "that of the products alone",
    "needed_share_of_floor": "with norms, activations and sums",
}
INCREMENTAL = {
    "method": "method",
    "processor_seconds": "processor, s",
    "seconds": "on the clock, s",
    "average": "average accuracy among the classes seen",
}
GPU = {
    "method": "method",
    "classes": "classes",
    "batch": "batch",
    "way": "way",
    "steps_a_second": "steps a second",
    "ratio": "times the reference",
    "peak_mb": "peak memory, MB",
    "utilisation": "kernels run, %",
}
GPU_SHARED = {
    "method": "method",
    "classes": "classes",
    "way": "way",
    "runs": "runs at once",
    "steps_a_second": "steps a second in all",
    "times_one": "times one run",
}
# Document -> mark -> what makes the text between `<!-- mark: begin -->` and `<!-- mark: end -->`.
BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "quickstart": lambda: paper_table("quickstart", made_by("quickstart")),
    },
    "lamm_cl/methods/README.md": {
        "dialects": dialects,
        "shots": shots_table,
        "setting_b": lambda: incremental("cil_setting_b_glyphs"),
        "quirks": lambda: incremental("cil_quirks"),
    },
    "lamm_cl/evaluation/README.md": {
        "digits": lambda: label_spaces("digits", (2, 5, 10)),
        "glyphs": lambda: label_spaces("glyphs", (5, 10, 20)),
        "caltech101_mini": lambda: paper_table("caltech101_mini", made_by("caltech101_mini")),
    },
    "benchmarks/README.md": {
        "steps": lambda: speed("steps", STEP),
        "products": lambda: speed("products", PRODUCTS),
        "whole_runs": lambda: speed("whole_runs", RUN),
        "transport": lambda: speed("transport", TRANSPORT),
        "growth": lambda: speed("growth", GROWTH),
        "class_incremental": lambda: speed("class_incremental", INCREMENTAL),
        "loading": lambda: speed("loading", LOADING),
        "gpu": lambda: speed("gpu", GPU),
        "gpu_shared": lambda: speed("gpu_shared", GPU_SHARED),
        "gpu_deterministic": lambda: speed("gpu_deterministic", GPU),
        "gpu_table2": gpu_hours,
    },
}


def filled(document: str, blocks: dict[str, Callable[[], str]]) -> str:
    """Return a document with fresh tables between its marks."""
    for mark, make in blocks.items():
        pattern = re.compile(rf"(<!-- {mark}: begin -->\n).*?(<!-- {mark}: end -->)", re.DOTALL)
        if not pattern.search(document):
            raise SystemExit(f"there are no marks <!-- {mark}: begin --> and <!-- {mark}: end -->")
        table = make()
        document = pattern.sub(lambda found, table=table: f"{found[1]}\n{table}\n{found[2]}", document)
    return document


def tables() -> None:
    """Write every table into its document, and the figures beside the numbers."""
    from lamm_cl.reports.figures import accuracy_matrix, save

    for name, blocks in BLOCKS.items():
        path = ROOT / name
        path.write_text(filled(path.read_text(), blocks))
        print(f"{name}: {', '.join(blocks)}")
    for ending in ("png", "svg"):
        save(accuracy_matrix(frame("quickstart")), ROOT / "results" / "quickstart" / f"accuracy_matrix.{ending}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["collect"] and len(sys.argv) == 3:
        collect(Path(sys.argv[2]))
    elif sys.argv[1:] == ["tables"]:
        tables()
    else:
        raise SystemExit(__doc__)
