"""The HTML report in a real browser with the network watched: sort, filter, open a run, keys, dark, phone, print."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.records import ExperimentDirectory
from lamm_cl.records.record import DONE, FAILED, Record
from lamm_cl.reports.output import render
from lamm_cl.reports.report import make_report
from lamm_cl.reports.results import read_results

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
NASTY = "<img src=x onerror=alert(1)>"


METHODS = (("coop", 0.5), ("lamm", 0.8), ("maple", 0.65), (NASTY, 0.3))


def fill(home: Path, methods: Sequence[tuple[str, float]] = METHODS) -> None:
    for method, low in methods:
        for seed in (1, 2, 3):
            columns = {
                "experiment": "demo",
                "protocol": "class_incremental",
                "dataset": "digits",
                "method": method,
                "dialect": None,
                "backbone": "tiny",
                "pretrained": None,
                "shots": 16,
                "seed": seed,
            }
            rows: list[tuple[Any, ...]] = [
                (stage, name, space, "accuracy", low + 0.01 * seed - (0.1 if space == "all" else 0), 100)
                for stage, name in ((1, "set1"), (2, "set1"), (2, "set2"))
                for space in ("own", "all")
            ]
            rows.append((1, "", "", "seconds", 10 * low + seed, None))
            failed = (method, seed) == ("maple", 3)
            details: dict[str, Any] = {"config": {"method": method, "options": {"lr": 0.002}}, "device": "cpu"}
            details |= {"error": {"kind": "ValueError", "message": "the loss is NaN"}} if failed else {}
            run_id = f"{'odd' if method == NASTY else method}{seed}"
            (home / "runs" / run_id).mkdir(parents=True)
            record = Record(run_id, FAILED if failed else DONE, columns, () if failed else rows, details)
            record.write(home / "runs" / run_id / "record.json")
    ExperimentDirectory(home).rebuild_table()


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("report")
    fill(home)
    path = home / "report.html"
    path.write_text(render(make_report(read_results(home), "lamm-table2"), "html"))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, report_file: Path) -> Iterator[Any]:
    """The report opened; afterwards: nothing was asked for but the file itself, and the console is silent."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report_file.as_uri())
    yield page
    context.close()
    assert said == []
    assert {re.split("[?#]", url)[0] for url in asked} == {report_file.as_uri()}


TABLE = "#table-class_incremental"


def column(page: Any, place: int, table: str = TABLE) -> list[str]:
    cells = page.locator(f"{table} tbody tr:not([hidden])").evaluate_all(
        "(rows, place) => rows.map((row) => row.cells[place].textContent)", place
    )
    return [str(cell) for cell in cells]


def test_sort_by_number_down_up_and_back(page: Any) -> None:
    head = page.locator(f"{TABLE} thead th").nth(2)
    original = column(page, 2)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    up = [float(text.split()[0]) for text in column(page, 2)]
    assert up == sorted(up)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(text.split()[0]) for text in column(page, 2)] == up[::-1]
    assert "descending" in page.locator("#status").inner_text()
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none"
    assert column(page, 2) == original


def test_what_is_missing_sorts_last_both_ways(page: Any) -> None:
    table = next(iter(page.locator("section:has(caption)").evaluate_all("(all) => all.map((one) => '#' + one.id)")))
    heads = page.locator(f"{table} thead th").evaluate_all("(all) => all.map((one) => one.textContent)")
    place = next(k for k, text in enumerate(heads) if "Published" in text or "Measured" in text)
    for _ in range(2):
        page.locator(f"{table} thead th").nth(place).get_by_role("button").click()
        cells = column(page, place, table)
        assert cells == sorted(cells, key=lambda text: text == "-")


def test_filter_by_words_and_by_choice(page: Any) -> None:
    section = page.locator(TABLE)
    section.get_by_role("searchbox").fill("LAMM own")
    assert column(page, 1) == ["lamm"]
    assert "1 of 8 rows" in section.locator(".count").inner_text()
    section.get_by_role("searchbox").fill("")
    section.get_by_label("Method").select_option("coop")
    assert set(column(page, 1)) == {"coop"}
    section.get_by_role("searchbox").fill("nothing like this")
    assert column(page, 1) == []


def test_a_word_in_quotes_is_a_whole_cell(page: Any) -> None:
    search = page.locator(TABLE).get_by_role("searchbox")
    search.fill("ma")
    assert len(column(page, 1)) == 2
    search.fill('"ma"')
    assert column(page, 1) == []
    search.fill('"lamm"')
    assert column(page, 1) == ["lamm", "lamm"]


def test_the_address_keeps_filter_and_order_and_bold_follows(page: Any) -> None:
    section = page.locator(TABLE)
    bold = f"{TABLE} tbody tr:not([hidden]) td:nth-child(3) strong"
    assert page.locator(bold).count() == 2  # the best of each label space
    section.locator("thead th").nth(2).get_by_role("button").click()
    assert page.locator(bold).count() == 1
    section.get_by_role("searchbox").fill("own")
    page.reload()
    assert section.get_by_role("searchbox").input_value() == "own"
    assert section.locator("thead th").nth(2).get_attribute("aria-sort") == "ascending"
    assert set(column(page, 0)) == {"own"}


def test_a_table_is_one_stop_and_arrows_go_through_it(page: Any) -> None:
    stops = page.locator(TABLE).locator("table [tabindex='0']")
    assert stops.count() == 1
    stops.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('td').cellIndex") == 2
    assert stops.count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('table')") is None


def test_a_table_is_downloaded(page: Any) -> None:
    for name, kind, mark in (("CSV", "csv", "label_space,method"), ("LaTeX", "tex", "toprule")):
        with page.expect_download() as caught:
            page.locator(TABLE).get_by_role("button", name=name).click()
        assert caught.value.suggested_filename == f"table-class_incremental.{kind}"
        assert mark in Path(caught.value.path()).read_text()


def test_a_number_opens_the_runs_behind_it(page: Any) -> None:
    page.locator(f"{TABLE} tbody tr:has(th:text-is('lamm')) a").first.click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert dialog.get_by_role("heading").inner_text() == "3 runs"
    assert dialog.locator("summary", has_text="Run lamm2: lamm, digits, 16 shots, seed 2").count() == 1
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    page.wait_for_function("location.hash === ''")


def test_a_run_shows_its_config_and_record_and_gives_the_focus_back(page: Any) -> None:
    link = page.locator("#runs a", has_text="maple3")
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert '"lr": 0.002' in dialog.locator("pre").first.inner_text()
    dialog.locator("summary", has_text="Record").click()
    assert "the loss is NaN" in dialog.locator("pre").nth(1).inner_text()
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.textContent") == "maple3"


def test_an_address_with_a_run_opens_it(page: Any, report_file: Path) -> None:
    page.goto("about:blank")
    page.goto(report_file.as_uri() + "#runs=coop1")
    page.get_by_role("dialog").wait_for()
    page.goto(report_file.as_uri() + "#runs=unknown")
    page.get_by_text("Nothing is known of run unknown.").wait_for()


def test_everything_is_reached_by_keyboard(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    button = page.locator(f"{TABLE} thead button").first
    button.focus()
    page.keyboard.press("Space")
    assert page.locator(f"{TABLE} thead th").first.get_attribute("aria-sort") == "ascending"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def colours(page: Any) -> tuple[str, str]:
    body = "getComputedStyle(document.body)"
    return page.evaluate(f"{body}.backgroundColor"), page.evaluate(f"{body}.color")


def test_light_and_dark_follow_the_system_or_the_button(page: Any) -> None:
    light = colours(page)
    page.emulate_media(color_scheme="dark")
    dark = colours(page)
    assert light == ("rgb(255, 255, 255)", "rgb(27, 31, 36)")
    assert dark == ("rgb(20, 23, 27)", "rgb(230, 233, 237)")
    button = page.locator("#theme")
    button.click()
    assert button.inner_text() == "Theme: light"
    assert colours(page) == light
    page.emulate_media(color_scheme="light")
    button.click()
    assert colours(page) == dark


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_never_scrolls_sideways(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_phone_shows_the_first_number(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    box = page.locator(f"{TABLE} tbody td.number").first.bounding_box()
    assert box["x"] + box["width"] <= 390


def test_print_shows_the_tables_and_not_the_controls(page: Any) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".controls").first.is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.locator(f"{TABLE} table").is_visible()
    assert colours(page)[0] == "rgb(255, 255, 255)"


def test_figures_are_inside_and_named(page: Any) -> None:
    figures = page.locator("figure svg")
    assert figures.count() == 4
    assert page.get_by_role("img", name="Accuracy matrix, digits").is_visible()


def test_texts_of_users_are_texts(page: Any) -> None:
    assert page.locator("img[src]").count() == 0
    assert NASTY in column(page, 1)
    page.locator("#runs a", has_text="odd1").click()
    page.get_by_role("dialog").wait_for()
    assert page.locator("dialog dd", has_text=NASTY).count() == 1


def test_a_long_table_is_folded_and_opens(browser: Any, tmp_path: Path) -> None:
    fill(tmp_path, [(f"m{k:02}", 0.3 + 0.01 * k) for k in range(25)])
    path = tmp_path / "long.html"
    path.write_text(render(make_report(read_results(tmp_path)), "html"))
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(path.as_uri())
    rows = page.locator(f"{TABLE} tbody tr:not(.fold)")
    assert rows.count() == 25
    page.locator(f"{TABLE} .fold button", has_text="Label space all (25 rows)").click()
    assert rows.count() == 50
    # In any other order rows do not stand in sections, and each says its own.
    assert not page.locator(f"{TABLE} thead th").first.is_visible()
    page.locator(f"{TABLE} thead th").nth(2).get_by_role("button").click()
    assert rows.count() == 50
    assert page.locator(f"{TABLE} .fold").count() == 0
    assert page.locator(f"{TABLE} thead th").first.is_visible()
    box = page.locator(f"{TABLE} tbody td.number").first.bounding_box()
    assert box["x"] + box["width"] <= 390
    page.close()
