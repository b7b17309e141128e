"""Tables as text, Markdown, LaTeX and CSV."""

import csv
import io
import shutil
import subprocess

import pytest
from rich.console import Console

from lamm_cl.reports.tables import (
    Cell,
    Column,
    Row,
    Table,
    latex_document,
    render_csv,
    render_latex,
    render_markdown,
    render_rich,
    render_text,
)
from lamm_cl.reports.tables.model import mark_best, number
from lamm_cl.reports.tables.render import latex_escape

COLUMNS = (
    Column("method", "Method"),
    Column("accuracy", "Accuracy", group="Set1", unit="%", best="max"),
    Column("seconds", "Time", unit="s", digits=1, best="min"),
)
ROWS = (
    Row((Cell(text="co|op_1"), Cell(81.2349, 0.5, 3), Cell(2.04, None, 1)), "a"),
    Row((Cell(text="lamm"), Cell(81.231, 0.25, 3), Cell(2.0, None, 1)), "a"),
    Row((Cell(text="100% & <b>$x$</b>"), Cell(), Cell()), "b"),
)
TABLE = mark_best(Table("demo", "A_demo: 50% & more", COLUMNS, ROWS, ("One note.",)))


def test_the_best_is_what_prints_as_the_best():
    assert [cell.best for cell in TABLE.column("accuracy")] == [True, True, False]
    assert [cell.best for cell in TABLE.column("seconds")] == [True, True, False]


def test_a_single_row_has_no_best():
    assert not mark_best(Table("t", "t", COLUMNS, ROWS[:1])).rows[0].cells[1].best


@pytest.mark.parametrize(("value", "text"), [(-0.004, "0.00"), (-0.006, "-0.01"), (0.0, "0.00"), (12.345, "12.35")])
def test_no_negative_zero(value, text):
    assert number(value + 1e-12, COLUMNS[1]) == text


def test_text():
    lines = render_text(TABLE).splitlines()
    assert lines[0] == "A_demo: 50% & more"
    assert lines[3].split() == ["Method", "Accuracy", "Time", "[s]"]
    assert lines[5].endswith("81.23 ± 0.50   2.0 (1)")
    assert lines[7] == ""
    assert lines[8].split()[-2:] == ["-", "-"]
    assert lines[-1] == "One note."


def test_rich_is_bold_where_the_best_is_and_fits_eighty_columns():
    stream = io.StringIO()
    Console(file=stream, width=80, force_terminal=True, color_system="standard").print(render_rich(TABLE))
    assert "\x1b[1m81.23 ± 0.50\x1b[0m" in stream.getvalue()
    assert "…" not in stream.getvalue()


def test_markdown_escapes_what_has_a_meaning():
    lines = render_markdown(TABLE).splitlines()
    assert lines[2] == "| Method | Set1: Accuracy | Time \\[s\\] |"
    assert lines[3] == "| :--- | ---: | ---: |"
    assert lines[4] == "| co\\|op\\_1 | **81.23 ± 0.50** | **2.0 (1)** |"
    assert lines[6] == "| 100% & \\<b\\>$x$\\</b\\> | - | - |"


def test_csv_keeps_every_digit_and_leaves_what_is_missing_empty():
    rows = list(csv.DictReader(io.StringIO(render_csv(TABLE))))
    assert rows[0]["accuracy"] == "81.2349"
    assert (rows[0]["accuracy_std"], rows[0]["accuracy_seeds"]) == ("0.5", "3")
    assert (rows[2]["accuracy"], rows[2]["accuracy_std"], rows[2]["accuracy_seeds"]) == ("", "", "")
    assert rows[2]["method"] == "100% & <b>$x$</b>"


def test_latex_is_booktabs_with_the_best_in_bold():
    text = render_latex(TABLE)
    assert r"\toprule" in text
    assert r"\cmidrule(lr){2-2}" in text
    assert r"$\mathbf{81.23} \pm 0.50$" in text
    assert r"100\% \& \textless{}b\textgreater{}\$x\$\textless{}/b\textgreater{} & - & -" in text


def test_latex_prints_methods_as_papers_do_and_labels_them_by_experiment():
    columns = (Column("method", "Method"), *COLUMNS[1:])
    rows = tuple(
        Row((Cell(text=name), Cell(value, None, 1), Cell(1.0, None, 1)), "a")
        for name, value in (("zero_shot", 5.0), ("coop", 5.0), ("coop+lamm", 4.0), ("lamm_text", 3.0))
    )
    table = mark_best(Table("demo", "Demo", columns, rows))
    text = render_latex(table, "Ours, first")
    assert r"\label{tab:Ours-first:demo}" in text
    assert [line.partition(" &")[0] for line in text.splitlines() if line.endswith(r"\\")][2:] == [
        "CLIP (zero-shot)",
        "CoOp",
        "CoOp+LAMM",
        r"lamm\_text",
    ]
    # Zero-shot CLIP learned nothing: it does not share the first place, but may hold it alone.
    assert [cell.best for cell in table.column("accuracy")] == [False, True, False, False]
    alone = mark_best(Table("demo", "Demo", columns, (rows[0], *rows[2:])))
    assert [cell.best for cell in alone.column("accuracy")] == [True, False, False]


def test_latex_is_ascii_whatever_the_names():
    text = latex_escape("naïve Ünï 漢字 ± \\ ~^{}#\n")
    assert text.isascii()
    assert r"na\"{i}ve" in text
    assert text.count("?") == 2


def test_latex_compiles(tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    odd = Row((Cell(text='é ß 漢 "q" #~^\\{}_'), Cell(1.0, mark="*"), Cell(2.0)), "c")
    long = Row((Cell(text="word " * 30), Cell(1.0), Cell(2.0)), "d")
    table = Table("odd", "Title_with % & # {", COLUMNS, (*TABLE.rows, odd, long), ("Note: 5% < 6 > 4 | ± →",))
    (tmp_path / "t.tex").write_text(latex_document([TABLE, table], "Ours, 50% & first"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_long_tables_are_cut_into_pages_at_sections(tmp_path):
    rows = tuple(Row((Cell(text=f"m{k}"), Cell(float(k)), Cell(1.0)), str(k // 10)) for k in range(95))
    text = latex_document([Table("long", "Long", COLUMNS, rows)])
    assert text.count(r"\begin{table}") == 3
    assert text.count("(continued)") == 2
    assert [text.count(f"m{k} &") for k in range(95)] == [1] * 95
    assert r"\label{tab:long-2}" in text


def test_wide_tables_are_shrunk_to_the_line():
    columns = (COLUMNS[0], *(Column(f"c{k}", f"C{k}", unit="%") for k in range(10)))
    table = Table("wide", "Wide", columns, (Row((Cell(text="m"), *(Cell(1.0) for _ in range(10)))),))
    assert r"\resizebox" in render_latex(table)
    assert r"\resizebox" not in render_latex(TABLE)


def test_a_console_that_is_too_narrow_gets_plain_text():
    console = Console(width=200)
    assert console.measure(render_rich(TABLE)).minimum < 60
    long = Table("t", "t", COLUMNS, (Row((Cell(text="word " * 30), Cell(1.0), Cell(1.0))),))
    assert console.measure(render_rich(long)).minimum < 60
