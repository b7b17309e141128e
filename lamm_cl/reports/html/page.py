"""The page: head, sections, and the data that the script shows on demand."""

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from lamm_cl import __version__
from lamm_cl.reports.figures.gallery import pictures
from lamm_cl.reports.html.figure import inline_figure
from lamm_cl.reports.html.runs import embedded_runs, runs_section
from lamm_cl.reports.html.tables import anchor, table_section
from lamm_cl.reports.report import Report

# The browser itself refuses whatever this page might ever ask for.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def render_html(report: Report) -> str:
    """Return the whole page. Every text that comes from results is escaped."""
    shown = list(pictures(report.results))
    parts = [
        _head(report),
        '<main id="content" tabindex="-1">',
        *_summary(report),
        *(table_section(table) for table in report.tables),
        *(inline_figure(picture) for picture in shown),
        runs_section(report.results),
        "</main>",
        f"<footer><p>Made by lamm_cl {escape(__version__)}.</p></footer>",
        _dialog(),
        embedded_runs(report.results),
        f"<script>\n{_file('script.js')}</script>",
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _head(report: Report) -> str:
    title = escape(report.title)
    links = [("summary", "Summary"), *((f"table-{table.name}", _short(table.title)) for table in report.tables)]
    links += [("runs", "Runs")] if len(report.results.runs) else []
    items = "".join(f'<li><a href="#{anchor(name)}">{escape(text)}</a></li>' for name, text in links)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="color-scheme" content="light dark">
<title>{title}: report</title>
<style>
{_file("style.css")}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the results</a>
<header>
<h1>{title}</h1>
<button type="button" id="theme" hidden>Theme: automatic</button>
</header>
<nav aria-label="Contents"><ul>{items}</ul></nav>
<noscript><p class="note">Sorting, filtering and the records of single runs need JavaScript.</p></noscript>"""


def _short(title: str) -> str:
    return title.partition(":")[0]


def _summary(report: Report) -> Iterator[str]:
    yield '<section id="summary" aria-labelledby="summary-title">\n<h2 id="summary-title">Summary</h2>'
    for line in report.summary:
        yield f"<p>{escape(line)}</p>"
    if report.problems:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in report.problems)
        yield f'<div class="missing"><h3>What is missing</h3><ul>{items}</ul></div>'
    yield "</section>"


def _dialog() -> str:
    return """<dialog id="record" aria-labelledby="record-title">
<div class="bar"><h2 id="record-title">Run</h2><button type="button" id="close">Close</button></div>
<div id="record-body"></div>
</dialog>
<p id="status" class="hidden" role="status" aria-live="polite"></p>"""
