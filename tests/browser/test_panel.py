"""The explore panel in JupyterLab and as a page of its own: every control, a reload, no kernel, no network."""

from __future__ import annotations

import io
import re
import time

import nbformat
import pandas as pd
import pytest

import aggrkit
from aggrkit.charts.theme import PALETTE
from tests.browser.servers import Explore
from tests.browser.watched import Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SHIPPED = """import aggrkit
df = aggrkit.datasets.load("mlperf_training")
panel = df.aggr.explore(metric="total_time_seconds")
panel"""
MIXED = """import aggrkit, pandas as pd
df = pd.read_parquet("mixed.parquet")
panel = df.aggr.explore(metric="total_time_seconds")
panel"""
SECONDS, RATE = "total_time_seconds", "passed"
PAIR = ["model", "hardware"]
PATIENCE = 30  # seconds

# What a reader sees of one panel, by one look.
SEEN = """root => {
    const text = node => node?.textContent ?? "";
    const numbered = [...root.querySelectorAll(".figures > div")].map(each => [...each.children].map(text));
    const table = root.querySelector(".answer table");
    const controls = {};
    for (const label of root.closest(".widget-vbox").querySelectorAll(".widget-hbox label")) {
        controls[text(label)] = document.getElementById(label.htmlFor)?.value
            ?? label.parentElement.querySelector("select, input").value;
    }
    const charts = [...root.querySelectorAll(".pictures .plot[data-drawn]")];
    return {
        figures: Object.fromEntries(numbered),
        error: root.querySelector(".error").hidden ? "" : text(root.querySelector(".error")),
        drawn: Object.fromEntries(charts.map(each => [each.dataset.chart, Number(each.dataset.drawn)])),
        words: [...root.querySelectorAll(".plot.groups .mark-rect path[aria-label]")].map(each => each.ariaLabel),
        tab: text(root.querySelector("[role=tab][aria-selected=true]")),
        waiting: root.querySelector(".answer .waiting") !== null,
        head: [...(table?.querySelectorAll("th") ?? [])].map(text),
        rows: [...(table?.querySelectorAll("tbody tr") ?? [])].map(row => [...row.children].map(text)),
        chosen: [...(table?.querySelectorAll("tr[aria-selected=true]") ?? [])].map(row => [...row.children].map(text)),
        controls,
    };
}"""
# The middle of each cell of the heatmap that a mouse can reach, and what it stands for.
REACHED = """plot => [...plot.querySelectorAll(".mark-rect path[aria-label]")].map(each => {
    const box = each.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    return [each.ariaLabel, x, y, plot.contains(document.elementFromPoint(x, y))];
}).filter(([, , , reached]) => reached)"""


class View:
    """One place in the page where a panel is shown."""

    def __init__(self, page, number=0):
        self.page = page
        self.root = page.locator(".aggrkit-panel").nth(number)
        self.controls = page.locator(".widget-vbox", has=page.locator(".aggrkit-panel")).nth(number)
        self.root.locator(".plot.groups[data-drawn]").wait_for()

    def seen(self):
        """Return what a reader sees."""
        return self.root.evaluate(SEEN)

    def numbers(self):
        """Return the key figures as numbers, and what is selected."""
        found = self.seen()["figures"]
        middle = found.get("median") or found.get("pass rate") or "nan"
        return {
            "results": int(found["results"].replace(",", "")),
            "groups": int(found["groups"].replace(",", "")),
            "selected": found["selected"],
            "middle": number(middle),
        }

    def shows(self, expected):
        """Wait until the key figures are these; fail if they never are."""
        self.until(self.numbers, expected)

    def until(self, look, expected):
        """Wait until a look at the page gives what is expected; fail with what it gives if it never does."""
        end = time.monotonic() + PATIENCE
        while (found := look()) != expected and time.monotonic() < end:
            self.page.wait_for_timeout(50)
        assert found == expected

    def choose(self, label, value):
        """Choose from a list."""
        self.controls.get_by_label(label, exact=True).select_option(value)

    def date(self, label, day):
        """Pick a day."""
        picker = self.controls.get_by_label(label, exact=True)
        picker.fill(day)
        picker.blur()

    def tab(self, name):
        """Click on a tab."""
        self.root.get_by_role("tab", name=name, exact=True).click()

    def press(self, name):
        """Click on a button."""
        self.root.get_by_role("button", name=name, exact=True).click()

    def click_cell(self, place=0):
        """Click on a cell of the heatmap, and return its model and hardware."""
        plot = self.root.locator(".plot.groups")
        plot.scroll_into_view_if_needed()
        label, x, y, _ = plot.evaluate(REACHED)[place]
        self.page.mouse.click(x, y)
        return meaning(label)["model"], meaning(label)["hardware"]

    def hover_cell(self, place=0):
        """Move to a cell of the heatmap, and return the model that its tooltip says, nothing without a tooltip."""
        _, x, y, _ = self.root.locator(".plot.groups").evaluate(REACHED)[place]
        self.page.mouse.move(0, 0)
        self.page.mouse.move(x + 2, y + 2)
        said = self.page.locator("#vg-tooltip-element.visible tr:first-child td").all_inner_texts()
        return said[-1] if said else None


def number(text):
    """Return the number at the start of a text; of a percentage, the share."""
    value = float(re.match(r"-?[\d.,]+|nan", text)[0].replace(",", ""))
    return value / 100 if text.endswith("%") else value


def meaning(label):
    """Return what the words of a mark say, by name."""
    return dict(part.split(": ", 1) for part in label.split("; "))


def expected(frame, metric=SECONDS, groups=PAIR, **cell):
    """Return what the key figures must be, by pandas; they are written with four digits."""
    valid = frame.dropna(subset=[metric])
    inside = valid
    for name, label in cell.items():
        inside = inside[inside[name].fillna("unknown") == label]
    middle = inside[metric].mean() if metric == RATE else inside[metric].median()
    return {
        "results": len(inside),
        "groups": valid.groupby(groups, dropna=False).ngroups if groups else 1,
        "selected": ", ".join(cell.values()) or "all groups",
        "middle": pytest.approx(middle, rel=1e-3),
    }


def by_group(frame, groups=PAIR, metric=SECONDS):
    """Return n, mean and percentiles of each group, by pandas, in the order of the panel's table."""
    named = frame.dropna(subset=[metric]).assign(**{name: frame[name].fillna("unknown") for name in groups})
    values = named.groupby(groups)[metric]
    return pd.DataFrame(
        {
            "n": values.size(),
            "mean": values.mean(),
            "std": values.std(),
            **{f"p{q}": values.quantile(q / 100) for q in (50, 75, 90, 95, 99)},
        }
    )


def assert_drawn(watched, view, theme="light"):
    """Fail unless all four pictures have marks, and text that stands out."""
    view.until(lambda: set(view.seen()["drawn"]), {"groups", "over_time", "overview", "spread"})
    found = {name: watched.pixels(view.root.locator(f".plot.{name}")) for name in view.seen()["drawn"]}
    assert set(found) == {"groups", "over_time", "overview", "spread"}
    # Cells of the heatmap have at least ten colours of a thousand pixels: 46 by 22 each.
    assert sum(n >= 500 and max(seen) - min(seen) > 30 for seen, n in found["groups"].counts.items()) >= 10
    assert found["over_time"].of(PALETTE["blue"]) > 100
    assert found["overview"].of(PALETTE["sky"]) > 50
    assert found["spread"].of(PALETTE["blue"]) > 2000
    for pixels in (found["over_time"], found["spread"]):
        if theme == "light":
            assert pixels.background == (255, 255, 255)
            assert pixels.darkest < 60
        else:
            assert max(pixels.background) < 40
            assert pixels.brightest > 200


@pytest.fixture(scope="module")
def shipped():
    return aggrkit.datasets.load("mlperf_training")


@pytest.fixture(scope="module")
def mixed(shipped):
    """Return few results of two types, quick to compute."""
    runs = shipped.sort_values("timestamp").iloc[::17]
    tests = aggrkit.datasets.load("ci_tests").sort_values("timestamp").iloc[::34]
    return pd.concat([runs, tests], ignore_index=True)


@pytest.fixture
def book(mixed, lab, notebook, page):
    """Return a notebook that shows the results of two types, in a window in which all of the panel can be seen."""
    page.set_viewport_size({"width": 1280, "height": 1400})
    mixed.to_parquet(lab.root / "mixed.parquet")
    return notebook([MIXED])


@pytest.fixture
def view(book, page):
    return View(page)


def test_opens_with_the_numbers_of_pandas_in_light_and_dark(shipped, notebook, watched, page):
    page.set_viewport_size({"width": 1280, "height": 1400})
    book = notebook([SHIPPED])
    view = View(page)
    view.shows(expected(shipped))
    view.until(lambda: view.seen()["figures"].get("anomalies", "").isdecimal(), True)
    assert_drawn(watched, view)
    assert watched.axe(".jp-OutputArea") == []
    watched.screenshot("panel-light")

    seen, known = view.seen(), by_group(shipped)
    lines = [dict(zip(seen["head"], row, strict=True)) for row in seen["rows"]]
    assert [(line["model"], line["hardware"]) for line in lines] == list(known.index)
    for name in known:
        shown = [number(line[name]) for line in lines if line[name] != "\u2013"]
        assert shown == pytest.approx(known[name].dropna().tolist(), rel=1e-5)
    cells = [meaning(label) for label in seen["words"]]
    assert len(cells) > 100
    for cell in cells:
        assert number(cell["p50 (s)"]) == pytest.approx(known.p50[cell["model"], cell["hardware"]], rel=1e-3)

    # The theme is followed without drawing anew.
    book.theme("dark")
    assert_drawn(watched, view, "dark")
    assert watched.axe(".jp-OutputArea") == []
    watched.screenshot("panel-dark")
    assert view.seen()["drawn"] == seen["drawn"]
    watched.assert_clean()


def test_every_control_changes_the_picture_and_the_numbers(mixed, book, view, watched, page):
    runs = mixed[mixed.result_type == "performance"]
    times = runs.timestamp.dt.tz_localize(None)

    def changes(act, frame, metric=SECONDS, groups=PAIR, **cell):
        """Do something, and wait for a new picture of these numbers."""
        before = view.seen()["drawn"]
        done = act()
        view.shows(expected(frame, metric, groups, **cell))
        view.until(lambda: any(view.seen()["drawn"][name] > before[name] for name in before), True)
        return done

    view.shows(expected(mixed))
    changes(lambda: view.choose("Metric", "execution_time_seconds"), mixed, "execution_time_seconds")
    changes(lambda: view.choose("Metric", RATE), mixed, RATE)
    changes(lambda: view.choose("Results", "performance"), runs, RATE)
    changes(lambda: view.choose("Level", "hardware"), runs, RATE, ["hardware"])
    changes(lambda: view.choose("Metric", SECONDS), runs, SECONDS, ["hardware"])
    changes(lambda: view.choose("Level", "model_hardware"), runs)

    # The statistic is of the cells alone.
    means = by_group(runs)["mean"]
    view.choose("Statistic", "mean")
    view.until(lambda: all("mean (s)" in label for label in view.seen()["words"]), True)
    for cell in map(meaning, view.seen()["words"]):
        assert number(cell["mean (s)"]) == pytest.approx(means[cell["model"], cell["hardware"]], rel=1e-3)
    view.shows(expected(runs))

    # A click on a cell selects it, one on it again or two fast ones anywhere clear it.
    model, hardware = meaning(view.root.locator(".plot.groups").evaluate(REACHED)[3][0]).values() and view.click_cell(3)
    view.shows(expected(runs, model=model, hardware=hardware))
    view.until(lambda: [row[:2] for row in view.seen()["chosen"]], [[model, hardware]])
    watched.screenshot("panel-clicked")
    assert watched.axe(".jp-OutputArea") == []
    box = view.root.locator(".plot.groups svg").bounding_box()
    changes(lambda: page.mouse.dblclick(box["x"] + 12, box["y"] + 12), runs)

    # By keyboard alone: the button of a row, and the tabs.
    first, second = view.root.locator(".answer td button").all()[:2]
    first.focus()
    page.keyboard.press("Tab")
    assert second.evaluate("each => each === document.activeElement")
    chosen = dict(zip(PAIR, view.seen()["rows"][1], strict=False))
    changes(lambda: page.keyboard.press("Enter"), runs, **chosen)
    changes(lambda: view.press("Undo"), runs)
    tabs = ["Anomalies", "Changes", "Compare", "Correlations", "Rows", "Code"]
    view.root.get_by_role("tab", name="Statistics", exact=True).focus()
    for name in tabs:
        page.keyboard.press("ArrowRight")
        view.until(lambda name=name: (view.seen()["tab"], view.seen()["waiting"]), (name, False))
        assert watched.axe(".aggrkit-panel") == []
        watched.screenshot(f"panel-{name.lower()}")
    page.keyboard.press("ArrowLeft")
    view.until(lambda: view.seen()["tab"], "Rows")
    assert view.seen()["rows"][0][view.seen()["head"].index("run_id")] in set(runs.run_id)
    view.tab("Statistics")

    # Days are whole.
    late = runs[times >= "2022-10-05"]
    changes(lambda: view.date("From", "2022-10-05"), late)
    day = times[times >= "2022-10-05"].iloc[60].normalize()
    some = late[times[late.index] < day + pd.Timedelta(days=1)]
    assert 60 < len(some) < len(late)
    changes(lambda: view.date("To", f"{day:%Y-%m-%d}"), some)

    # A drag over the strip of all times.
    strip_of = view.root.locator(".plot.overview path.background").first
    view.until(lambda: strip_of.bounding_box() is not None, True)  # it may just be drawn anew
    strip = strip_of.bounding_box()
    first, last = mixed.timestamp.min(), mixed.timestamp.max()
    page.mouse.move(strip["x"] + 0.92 * strip["width"], strip["y"] + 18)
    page.mouse.down()
    page.mouse.move(strip["x"] + 0.95 * strip["width"], strip["y"] + 18, steps=3)
    page.mouse.move(strip["x"] + 0.98 * strip["width"], strip["y"] + 18, steps=3)
    before = book.ask("print(panel.state['start'])")
    page.mouse.up()
    view.until(lambda: book.ask("print(panel.state['start'])") != before, True)
    start, end = (pd.Timestamp(book.ask(f"print(panel.state[{name!r}])").strip()) for name in ("start", "end"))
    for moment, share in ((start, 0.92), (end, 0.98)):
        assert (moment - first.tz_localize(None)) / (last - first) == pytest.approx(share, abs=0.02)
    brushed = runs[times.between(start, end)]
    assert 20 < len(brushed) < len(runs)
    view.shows(expected(brushed))

    changes(lambda: view.press("Undo"), some)
    changes(lambda: view.press("Undo"), late)
    changes(lambda: view.press("Reset"), mixed, mixed.filter(like="seconds").columns[0])
    assert view.seen()["controls"]["Statistic"] == "p50"
    assert view.seen()["controls"]["From"] == ""
    watched.assert_clean()


def test_of_fast_changes_few_are_computed_and_the_last_is_shown(mixed, book, view, watched, page):
    view.shows(expected(mixed))
    book.ask("_ = panel.wait()")
    begun = int(book.ask("print(panel._jobs.begun)"))
    view.controls.get_by_label("Statistic", exact=True).focus()
    for _ in range(4):
        for key in ("ArrowDown",) * 6 + ("ArrowUp",) * 4:
            page.keyboard.press(key)
    # Twice the end of the ten is reached, "n"; four up from there is the mean.
    assert view.seen()["controls"]["Statistic"] == "mean"
    view.until(lambda: all("mean (s)" in label for label in view.seen()["words"]), True)
    means = by_group(mixed)["mean"]
    for cell in map(meaning, view.seen()["words"]):
        assert number(cell["mean (s)"]) == pytest.approx(means[cell["model"], cell["hardware"]], rel=1e-3)
    book.ask("_ = panel.wait()")
    assert book.ask("print(panel.state['statistic'])") == "mean\n"
    assert 1 <= int(book.ask("print(panel._jobs.begun)")) - begun <= 6

    # What can't be shown is said in words, and the panel goes on.
    view.date("From", "2030-01-01")
    alert = view.root.get_by_role("alert")
    alert.wait_for()
    assert "no" in alert.inner_text()
    assert watched.axe(".aggrkit-panel") == []
    watched.screenshot("panel-error")
    view.date("From", "")
    alert.wait_for(state="hidden")
    view.shows(expected(mixed))
    # So is what no control offers, such as a click on a page that was drawn by another version.
    book.ask("panel._front._handle_custom_msg({'kind': 'set', 'changes': {'metric': 'total_tyme_seconds'}}, [])")
    alert.wait_for()
    assert "total_tyme_seconds" in alert.inner_text()
    assert SECONDS in alert.inner_text()
    view.choose("Metric", "n_eval")
    alert.wait_for(state="hidden")
    view.shows(expected(mixed, "n_eval"))
    watched.assert_clean()


def test_a_reload_keeps_the_state_and_two_views_stay_in_step(mixed, book, view, watched, page):
    runs = mixed[mixed.result_type == "performance"]
    late = runs[runs.timestamp >= "2022-10-05"]
    view.choose("Results", "performance")
    view.date("From", "2022-10-05")
    view.shows(expected(late))
    model, hardware = view.click_cell(2)
    view.shows(expected(late, model=model, hardware=hardware))
    view.tab("Compare")
    view.until(lambda: (view.seen()["tab"], view.seen()["waiting"]), ("Compare", False))
    before = view.seen()

    book.reload()
    view = View(page)
    view.shows(expected(late, model=model, hardware=hardware))
    view.until(lambda: (view.seen()["tab"], view.seen()["rows"]), ("Compare", before["rows"]))
    after = view.seen()
    for part in ("figures", "words", "controls"):
        assert after[part] == before[part]
    assert after["controls"]["From"] == "2022-10-05"
    assert_marked = view.root.locator(".plot.groups path[stroke='#CC79A7']")
    assert assert_marked.count() == 1

    book.add("panel")
    page.set_viewport_size({"width": 1280, "height": 2400})
    views = [View(page), View(page, 1)]
    for each in views:
        each.shows(expected(late, model=model, hardware=hardware))
    views[1].choose("Level", "model")
    for each in views:
        each.shows(expected(late, groups=["model"]))
        each.until(lambda each=each: each.seen()["controls"]["Level"], "model")
    views[0].tab("Statistics")
    views[0].root.locator(".answer td button").first.click()
    chosen = min(late.model.unique())
    for each in views:
        each.shows(expected(late, groups=["model"], model=chosen))
        each.until(lambda each=each: each.seen()["tab"], "Statistics")
    views[1].press("Undo")
    for each in views:
        each.shows(expected(late, groups=["model"]))
    watched.assert_clean()


def test_without_a_kernel_picture_and_table_stay(mixed, notebook, book, view, watched, lab):
    view.shows(expected(mixed))
    book.ask("_ = panel.wait()")
    view.until(lambda: "changes" in view.seen()["figures"], True)
    live = view.seen()
    # Below the live panel its still picture is hidden, and nothing else is.
    shown = book.add(
        "from ipywidgets import VBox\ndisplay(VBox([panel]))\nprint('one')\ndisplay('two')\nprint('three')"
    )
    for words in ("one", "'two'", "three"):
        assert book.output(shown).get_by_text(words, exact=True).is_visible()
    shown = book.add("display(panel)\nprint('one')\ndisplay('two')\nprint('three')\n")
    for words in ("one", "'two'", "three"):
        assert book.output(shown).get_by_text(words, exact=True).is_visible()
    ready = "print(panel._showing.still.shows is panel._showing.seen)"
    view.until(lambda: book.ask(ready), "True\n")
    view.until(lambda: len(book.outputs(shown)[2]["data"]["text/html"]) > 1000, True)
    assert "application/vnd.vegalite.v5+json" in book.outputs(shown)[1]["data"]
    output = book.output(shown)
    assert output.locator(".aggrkit-panel").is_visible()
    assert not output.locator("table.dataframe").is_visible()
    assert [each.is_visible() for each in output.locator(".jp-OutputArea-child").all()].count(False) == 2

    # The kernel dies: what was seen is still there.
    book.kill_kernel()
    view.root.scroll_into_view_if_needed()
    assert view.seen()["figures"] == live["figures"]
    assert view.seen()["rows"] == live["rows"]
    watched.screenshot("panel-dead")
    watched.assert_clean()

    # Saved, and opened again without it: the widget is gone, and the still picture is there.
    watched.excuse("Error: widget model not found")
    book.reload()
    book.kill_kernel()
    known = by_group(mixed).reset_index()
    for trusted in (True, False):
        if not trusted:
            saved = nbformat.read(lab.root / book.path, as_version=4)
            outputs = [[{**each} for each in cell.outputs] for cell in saved.cells]
            shown = len(outputs) - 1
            book = notebook([cell.source for cell in saved.cells], outputs=outputs)
        assert book.trusted() is trusted
        output = book.output(shown)
        output.locator(".vega-embed svg.marks").wait_for()
        pixels = watched.pixels(output.locator(".vega-embed"))
        assert sum(n >= 500 and max(seen) - min(seen) > 30 for seen, n in pixels.counts.items()) >= 10
        table = output.locator("table")
        assert table.is_visible()
        lines = table.locator("tbody tr").all()
        assert len(lines) == 20
        for line, (_, group) in zip(lines, known.iterrows(), strict=False):
            cells = line.locator("td").all_inner_texts()
            assert cells[:2] == [group.model, group.hardware]
            assert [number(cell) for cell in (cells[4], cells[6], cells[9])] == pytest.approx(
                [group.n, group["mean"], group.p50], rel=1e-3
            )
        watched.screenshot(f"panel-still-{'trusted' if trusted else 'untrusted'}")
    watched.assert_clean()


def test_code_is_copied_and_files_are_saved(mixed, book, view, watched, page, browser, screenshots, tmp_path):
    runs = mixed[mixed.result_type == "performance"]
    view.choose("Results", "performance")
    view.shows(expected(runs))
    model, hardware = view.click_cell(1)
    view.shows(expected(runs, model=model, hardware=hardware))
    known = by_group(runs[(runs.model == model) & (runs.hardware == hardware)])

    view.tab("Code")
    copying = view.root.get_by_role("button", name="Copy Python")
    for origin in ("granted", "denied"):
        if origin == "granted":
            page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        else:  # as on a page without a secure context
            page.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error('not allowed'); }; }")
            page.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()); })")
        copying.click()
        view.root.get_by_text("Copied", exact=True).wait_for()
        text = page.evaluate("navigator.clipboard.readText()")
        if origin == "granted":
            page.evaluate("navigator.clipboard.write([new ClipboardItem({'text/plain': 'nothing'})])")
        copying.wait_for()
        space = {"df": mixed}
        exec(text, space)
        assert space["result"]["n"].tolist() == known["n"].tolist()
        assert space["result"]["p50"].tolist() == pytest.approx(known["p50"].tolist())
    assert "QUANTILE_CONT" in view.root.locator("pre").nth(1).inner_text()

    view.tab("Statistics")
    with page.expect_download() as saving:
        view.press("Save CSV")
    assert saving.value.suggested_filename == "statistics.csv"
    table = pd.read_csv(io.StringIO(saving.value.path().read_text()))
    assert (table["n"].tolist(), table["p50"].tolist()) == (known["n"].tolist(), pytest.approx(known["p50"].tolist()))
    with page.expect_download() as saving:
        view.press("Save HTML")
    saved = tmp_path / saving.value.suggested_filename
    saving.value.save_as(saved)
    with page.expect_download() as saving:
        view.press("Save PNG")
    assert saving.value.path().read_bytes().startswith(b"\x89PNG")
    watched.assert_clean()

    # The page needs no network, and not even scripts.
    for scripts in (True, False):
        size = {"width": 1280, "height": 1400}
        context = browser.new_context(offline=True, java_script_enabled=scripts, viewport=size)
        try:
            alone = Watched(context, screenshots)
            alone.page.goto(saved.as_uri())
            drawings = alone.page.locator(".chart svg")
            assert drawings.count() == 3
            assert alone.page.locator(".chart .vega-embed, .chart.vega-embed").count() == (3 if scripts else 0)
            for drawing in drawings.all():
                pixels = alone.pixels(drawing)
                colourful = [n for seen, n in pixels.counts.items() if max(seen) - min(seen) > 30]
                assert max(pixels.of(PALETTE["blue"]), *colourful) > 500
            cells = alone.page.locator("table tbody tr").first.locator("td").all_inner_texts()
            assert cells[:2] == [model, hardware]
            alone.screenshot(f"panel-saved-{'live' if scripts else 'still'}")
            assert (alone.errors, [url for url in alone.external if not url.startswith("file:")]) == ([], [])
        finally:
            context.close()


def test_served_as_a_page_of_its_own(mixed, watched, page, tmp_path):
    source = tmp_path / "mixed.parquet"
    mixed.to_parquet(source)
    with Explore(source, tmp_path, "--metric", SECONDS) as server:
        page.goto(server.url)
        view = View(page)
        view.shows(expected(mixed))
        view.until(lambda: view.seen()["figures"].get("anomalies", "").isdecimal(), True)
        assert_drawn(watched, view)
        model, hardware = view.click_cell()
        view.shows(expected(mixed, model=model, hardware=hardware))
        view.until(view.hover_cell, model)
        assert watched.axe("html") == []
        watched.screenshot("panel-voila")
        page.set_viewport_size({"width": 800, "height": 1200})
        watched.settle()
        watched.screenshot("panel-voila-narrow")
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        assert watched.axe("html") == []
        watched.assert_clean()
        page.goto("about:blank")
        assert server.interrupt() == []
