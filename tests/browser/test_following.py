"""A panel that follows its source, in JupyterLab and as a page of its own: nobody clicks, and the numbers are new."""

from __future__ import annotations

import time

import pandas as pd
import pytest

from aggrkit import BenchmarkDBManager
from aggrkit.errors import SourceError
from tests.browser.servers import Explore
from tests.browser.test_panel import View

pytestmark = [pytest.mark.browser, pytest.mark.slow]

METRIC = "average_latency_ms"
MAKING = """
import pandas as pd
from random import Random

def results(first, n, models=("bert", "vit")):
    dice = Random(first)
    numbers = range(first, first + n)
    return pd.DataFrame({
        "result_id": [str(number) for number in numbers],
        "model": [models[number % len(models)] for number in numbers],
        "hardware": [dice.choice(["a100", "h100", "t4"]) for _ in numbers],
        "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(list(numbers), unit="h"),
        "average_latency_ms": [dice.lognormvariate(3, 0.4) for _ in numbers],
    })
"""
FOLLOWING = f"""{MAKING}
import aggrkit, threading, time
store = aggrkit.BenchmarkDBManager(":memory:")
_ = store.ingest(results(0, 600))

def write():
    for first in range(600, 900, 60):
        store.ingest(results(first, 60, ("bert", "vit", "gpt")))
        time.sleep(0.5)

writer = threading.Thread(target=write)
panel = aggrkit.open(store).explore(follow=0.5)
panel"""
# Counts the frames in which a chart is missing, and what a screen reader is told, from now on.
WATCH = """root => {
    const seen = (window.seen = {frames: 0, missing: 0, told: 0});
    const look = () => {
        seen.frames += 1;
        const charts = [...root.querySelectorAll(".pictures .plot")];
        if (charts.some(each => !each.querySelector("svg")?.getBoundingClientRect().height)) seen.missing += 1;
        requestAnimationFrame(look);
    };
    look();
    const live = root.querySelectorAll("[aria-live], [role=status], [role=alert]");
    const observer = new MutationObserver(() => { seen.told += 1; });
    for (const each of live) observer.observe(each, {childList: true, characterData: true, subtree: true});
}"""


def made():
    """Return the function that makes results, as the kernel has it."""
    space = {}
    exec(MAKING, space)
    return space["results"]


def numbers_of(frame, **cell):
    """Return what the key figures must be, by pandas."""
    inside = frame
    for name, label in cell.items():
        inside = inside[inside[name] == label]
    return {
        "results": len(inside),
        "groups": frame.groupby(["model", "hardware"]).ngroups,
        "selected": ", ".join(cell.values()) or "all groups",
        "middle": pytest.approx(inside[METRIC].median(), rel=1e-3),
    }


def since(view):
    return view.seen()["figures"].get("following", "")


def test_what_a_thread_brings_into_a_store_is_shown_without_a_click(notebook, watched, page):
    page.set_viewport_size({"width": 1280, "height": 1400})
    book = notebook([FOLLOWING])
    view = View(page)
    results = made()
    before = results(0, 600)
    after = pd.concat([before, *(results(first, 60, ("bert", "vit", "gpt")) for first in range(600, 900, 60))])
    view.shows(numbers_of(before))
    assert since(view) == "no change yet"
    switch = view.root.get_by_role("switch", name="Follow")
    assert switch.is_checked()
    model, hardware = view.click_cell(2)
    cell = {"model": model, "hardware": hardware}
    view.shows(numbers_of(before, **cell))
    view.until(lambda: [row[:2] for row in view.seen()["chosen"]], [[model, hardware]])
    focused = view.root.locator(".answer td button").nth(3)
    focused.focus()
    key = focused.get_attribute("data-key")

    view.root.evaluate(WATCH)
    book.ask("writer.start()")
    view.shows(numbers_of(after, **cell))
    view.until(lambda: {row[0] for row in view.seen()["rows"]}, {"bert", "gpt", "vit"})
    found = page.evaluate("window.seen")
    assert found["frames"] > 20
    assert (found["missing"], found["told"]) == (0, 0)
    assert page.evaluate("document.activeElement.dataset.key") == key
    assert [row[:2] for row in view.seen()["chosen"]] == [[model, hardware]]
    assert since(view).startswith("last change ")
    assert watched.axe(".jp-OutputArea") == []
    watched.screenshot("panel-following-light")
    book.theme("dark")
    assert watched.axe(".jp-OutputArea") == []
    watched.screenshot("panel-following-dark")

    # Another tab stays, too, with its chart; and what isn't there for a moment is told.
    view.tab("Anomalies")
    view.until(lambda: (view.seen()["tab"], view.seen()["waiting"]), ("Anomalies", False))
    book.ask("_ = store.ingest(results(900, 60))")
    more = pd.concat([after, results(900, 60)])
    view.shows(numbers_of(more, **cell))
    assert view.seen()["tab"] == "Anomalies"
    assert book.ask("print(panel.state['tab'], panel.state['cell'] == " + repr(cell) + ")") == "anomalies True\n"

    # By keyboard alone it is turned off, and on again.
    switch.focus()
    page.keyboard.press("Space")
    view.until(lambda: book.ask("print(panel.is_following)"), "False\n")
    view.until(lambda: since(view), "")
    assert not switch.is_checked()
    book.ask("_ = store.ingest(results(960, 60))")
    page.wait_for_timeout(1500)
    view.shows(numbers_of(more, **cell))
    page.keyboard.press("Space")
    view.shows(numbers_of(pd.concat([more, results(960, 60)]), **cell))

    # A store that was closed: said in words. A cell that is run again: the panel that is gone from the page rests.
    book.ask("store.close()")
    view.root.locator(".trouble").get_by_text("was closed").wait_for()
    watched.screenshot("panel-following-trouble")
    book.ask("first, store = panel, None")
    book.ask("writer.join()")
    book.run_all()
    view.until(lambda: book.ask("print(first._following.due_in(), panel._following.due_in() is None)"), "None False\n")
    watched.assert_clean()


def test_a_frame_says_why_it_is_not_followed(notebook, watched, page):
    notebook([f"{MAKING}\nimport aggrkit\npanel = results(0, 60).aggr.explore()\npanel"])
    view = View(page)
    view.shows(numbers_of(made()(0, 60)))
    switch = view.root.get_by_role("switch", name="Follow")
    assert switch.get_attribute("aria-disabled") == "true"
    switch.focus()
    page.keyboard.press("Space")
    view.root.get_by_text("a DataFrame is a snapshot").wait_for()
    assert not switch.is_checked()
    assert watched.axe(".jp-OutputArea") == []
    watched.screenshot("panel-not-following")
    watched.assert_clean()


def test_a_page_of_its_own_follows_what_another_process_writes(watched, page, tmp_path):
    source, results = tmp_path / "results.duckdb", made()

    def write(frame):
        end = time.monotonic() + 30
        while True:
            try:
                with BenchmarkDBManager(source) as store:
                    store.ingest(frame)
                return
            except SourceError:  # it is being read at this moment
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    write(results(0, 600))
    with Explore(source, tmp_path, "--follow") as server:
        page.goto(server.url)
        view = View(page)
        view.shows(numbers_of(results(0, 600)))
        model, hardware = view.click_cell(1)
        view.shows(numbers_of(results(0, 600), model=model, hardware=hardware))
        write(results(600, 60))
        view.shows(numbers_of(pd.concat([results(0, 600), results(600, 60)]), model=model, hardware=hardware))
        assert since(view).startswith("last change ")
        assert watched.axe("html") == []
        watched.screenshot("panel-following-voila")
        watched.assert_clean()
        page.goto("about:blank")
        assert server.interrupt() == []
