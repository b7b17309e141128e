"""The page: head, sections, and the data that the script shows on demand."""

import re
from collections.abc import Iterator
from html import escape
from importlib.resources import files

from lamm_cl import __version__
from lamm_cl.reports.figures.gallery import Picture, pictures
from lamm_cl.reports.figures.style import render
from lamm_cl.reports.html.tables import anchor, embedded_runs, runs_section, table_section
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


def inline_figure(picture: Picture) -> str:
    """Return the figure with title and caption."""
    name = f"figure-{anchor(picture.name)}"
    svg = inline_svg(render(picture.draw(), "svg").decode(), name, picture.title)
    return (
        f'<section aria-labelledby="{name}-title">\n<h2 id="{name}-title">{escape(picture.title)}</h2>\n'
        f'<figure><div class="scroll" role="region" tabindex="0" aria-label="{escape(picture.title)}, figure">'
        f"{svg}</div>"
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>\n</section>"
    )


def inline_svg(svg: str, name: str, title: str) -> str:
    """Return matplotlib's SVG fit for standing inside a page: no prologue, no global style, ids of its own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|xlink:href="#|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = body.replace("*{stroke-linejoin", f"#{name} *{{stroke-linejoin")
    width = re.search(r'<svg[^>]* width="([\d.]+)pt"', body)
    limit = f' style="max-width:{float(width[1]) * 4 / 3:.0f}px"' if width else ""
    head, _, rest = body.partition(">")
    head = re.sub(r' (width|height)="[\d.]+pt"', "", head)
    return f'{head} id="{name}" role="img" aria-label="{escape(title)}"{limit}>{rest.strip()}'
