"""The HTML report as text: self-contained, escaped, linked, and built for keyboards and screen readers."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import pytest

from lamm_cl.records.record import sealed
from lamm_cl.reports.html import embedded_runs
from lamm_cl.reports.output import render
from lamm_cl.reports.report import make_report
from lamm_cl.reports.results import read_results

NASTY = "</script><img src=x onerror=alert(1)>\"&'<!--"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def embedded(page, name):
    """Return what the page carries under this id for its script."""
    text = re.search(rf'<script type="text/plain" id="{name}">(.*?)</script>', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(text)))


@pytest.fixture(scope="module")
def rendered():
    return []


@pytest.fixture
def page(write, two_methods, rendered):
    """The page of two methods, which is rendered once."""
    if not rendered:
        rendered.append(render(make_report(read_results(write(two_methods)), "lamm-table2"), "html"))
    return rendered[0]


def test_nothing_is_asked_for_from_anywhere(page):
    tree = Page(page)
    assert not tree.all("link")
    assert not tree.all("img")
    assert not tree.all("iframe")
    assert not any("src" in attrs for _, attrs in tree.tags)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    hrefs = [value for _, attrs in tree.tags for key, value in attrs.items() if key in ("href", "xlink:href")]
    assert hrefs
    assert all(value.startswith("#") for value in hrefs)
    (policy,) = [attrs["content"] for attrs in tree.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy


def test_ids_are_unique_and_inner_links_lead_somewhere(page):
    tree = Page(page)
    ids = [attrs["id"] for _, attrs in tree.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for attrs in tree.all("a"):
        if not attrs["href"].startswith("#runs="):
            assert attrs["href"][1:] in ids
    for _, attrs in tree.tags:
        for key in ("aria-labelledby", "aria-describedby"):
            assert attrs.get(key, ids[0]) in ids


def test_tables_have_captions_scopes_and_sortable_headings(page):
    tree = Page(page)
    assert len(tree.all("table")) == len(tree.all("caption")) == 4 + 4  # and those of the four figures' numbers
    heads = [attrs for attrs in tree.all("th") if attrs.get("scope") == "col" and "aria-sort" in attrs]
    assert heads
    assert all(attrs["aria-sort"] == "none" for attrs in heads)
    assert len(heads) == len(re.findall(r'<th scope="col"[^>]*aria-sort[^>]*><button type="button">', page))
    assert any(attrs.get("scope") == "row" for attrs in tree.all("th"))
    assert 'class="skip" href="#content"' in page
    assert all("aria-label" in attrs for attrs in tree.all("svg"))


def test_every_number_of_the_runs_leads_to_runs_that_are_in_the_page(page):
    content = embedded(page, "data")
    linked = {one for part in re.findall(r'href="#runs=([^"]+)"', page) for one in part.split(",")}
    assert linked == set(content)
    assert all("config" in one["record"] for one in content.values())


def test_texts_of_users_are_escaped_everywhere(write, run, steps, frame):
    nasty = run(steps((0.5, 0.5, 0.5)), method=NASTY, dataset=NASTY, experiment=NASTY, backbone=NASTY, run_id="bad")
    home = write([nasty], lambda settings: {"note": NASTY, "config": {"method": NASTY, "options": {NASTY: NASTY}}})
    report = make_report(read_results(home))
    text = render(report, "html")
    assert "<img" not in text
    assert "onerror=alert(1)>" not in text.replace("\\u003e", "")
    assert text.count("</script>") == 3
    for form in ("text", "markdown", "latex", "csv"):
        assert render(report, form)


def test_figures_are_in_the_contents_and_have_their_numbers(page):
    tree = Page(page)
    ids = [attrs["id"] for attrs in tree.all("section")]
    assert "figure-matrix_class_incremental_digits" in ids
    contents = page[page.index("<nav") : page.index("</nav>")]
    assert re.findall(r'href="#([^"]+)"', contents) == ids
    assert "<td>CoOp</td><td>own label space" in page
    assert "<td>70.00</td>" in page


def test_long_tables_come_after_a_pivot_and_in_sections_that_fold(write, run, steps, monkeypatch):
    monkeypatch.setattr("lamm_cl.reports.html.pictures", lambda results: [])  # dear, and of no matter here
    runs = [
        run(steps((0.5 + 0.01 * k,) * 3, (0.4,) * 3), method=f"m{k}", shots=n, seed=1)
        for k in range(15)
        for n in (1, 4, 16)
    ]
    text = render(make_report(read_results(write(runs))), "html")
    assert text.index('id="table-pivot_class_incremental"') < text.index('id="table-class_incremental"')
    assert "Shots 16, Label space own (15 rows)" in text
    assert "Protocol class_incremental, Data set digits, Dialect official" in text
    assert text.index("Words used here") < text.index('id="table-class_incremental"')


def test_a_failed_run_is_a_link_where_it_is_named(write, two_methods):
    error = {"error": {"message": "the loss is NaN"}}
    home = write(two_methods, lambda one: error if (one["method"], one["seed"]) == ("coop", 2) else {})
    text = render(make_report(read_results(home)), "html")
    run_id = next(name for name in read_results(home).records if "coop" in name and name.endswith("2"))
    assert f'failed: <a href="#runs={run_id}">{run_id}</a>' in text


def test_every_table_is_there_to_download(page):
    content = embedded(page, "files")
    assert set(content) == {attrs["id"] for attrs in Page(page).all("section") if attrs["id"].startswith("table-")}
    assert content["table-class_incremental"]["csv"].startswith("label_space,method,")
    assert r"\toprule" in content["table-class_incremental"]["tex"]


def test_numbers_without_a_word_in_json_become_null(write, two_methods):
    home = write(two_methods)
    for path in (home / "runs").glob("*/record.json"):
        text = path.read_text().replace('"done"', '"done", "loss": NaN, "rate": Infinity', 1)
        path.write_text(json.dumps(sealed(json.loads(text))))
    text = embedded_runs(read_results(home))
    assert text == embedded_runs(read_results(home))
    assert all(one["record"]["loss"] is None for one in embedded(text, "data").values())
