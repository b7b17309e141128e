"""A figure inside the page, as SVG."""

import re
from html import escape

from lamm_cl.reports.figures.gallery import Picture
from lamm_cl.reports.figures.style import render
from lamm_cl.reports.html.tables import anchor


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
