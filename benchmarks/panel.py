"""The explore panel on ten million rows of a DuckDB file, in JupyterLab in Chromium: ``python -m benchmarks.panel``.

Times are taken in the page, from the change of a control until the first chart is drawn anew, and until all are,
anomalies and changes of a clicked cell included. There is no peer: we know of nothing else that answers the same from a
notebook.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pandas as pd
from playwright.sync_api import sync_playwright

from tests.browser.conftest import FLAGS, chromium
from tests.browser.lab import Notebook
from tests.browser.servers import JupyterLab, write_notebook
from tests.browser.watched import Watched

ROWS = """
CREATE TABLE results AS
SELECT
    'model_' || lpad((h % 50)::VARCHAR, 2, '0') AS model,
    'device_' || ((h // 50) % 10)::VARCHAR AS hardware,
    'worker_' || lpad(((h // 500) % 40)::VARCHAR, 2, '0') AS worker,
    i // 10 AS run_id,
    TIMESTAMP '2025-01-01' + to_microseconds((i * (31.5e12 / {rows}))::BIGINT) AS timestamp,
    [1, 4, 16][1 + (h // 20000) % 3] AS batch_size,
    'v' || (1 + i * 4 // {rows})::VARCHAR AS version,
    exp(1 + (h % 50) * .04 + ((h // 50) % 10) * .1 + .1 * sqrt(-2 * ln(1 - random())) * cos(6.2831853 * random()))
        * CASE WHEN i > .6 * {rows} AND h % 50 = 7 THEN 1.08 ELSE 1 END AS latency_ms,
    1000 / (1 + (h % 50) * .1) * (1 + .05 * random()) AS throughput_items_per_second,
    200 + (h % 50) * 3 + 20 * random() AS memory_mb,
    random() < .98 AS success
FROM (SELECT i, (hash(i // 10) % 60000)::BIGINT AS h FROM range({rows}) t(i))
"""
# Counts what is drawn from now on: the time of the first and of the last drawing, in ms since the change.
CHANGE = """async ([select, value, quiet]) => {
    const drawn = [];
    const plots = [...document.querySelectorAll('.aggrkit-panel .plot')];
    const watch = new MutationObserver(() => drawn.push(performance.now()));
    plots.forEach(plot => watch.observe(plot, {attributes: true, attributeFilter: ['data-drawn']}));
    const begun = performance.now();
    if (select === "Table") document.querySelectorAll('.aggrkit-panel .answer button.link')[value].click();
    else {
        const control = [...document.querySelectorAll('.widget-dropdown, .widget-datepicker')]
            .find(each => each.textContent.includes(select)).querySelector('select, input');
        control.value = control.tagName === 'SELECT'
            ? [...control.options].find(one => one.textContent === value).value : value;
        control.dispatchEvent(new Event('change', {bubbles: true}));
    }
    await new Promise(done => {
        const check = setInterval(() => {
            const last = drawn.at(-1) ?? begun;
            if (performance.now() - last > quiet && (drawn.length || performance.now() - begun > 20000)) {
                clearInterval(check); done();
            }
        }, 20);
    });
    watch.disconnect();
    return drawn.map(each => each - begun);
}"""
CHANGES: list[tuple[str, str | int]] = [
    ("Metric", "memory_mb"),
    ("Metric", "throughput_items_per_second"),
    ("Metric", "latency_ms"),
    ("Level", "model"),
    ("Level", "hardware"),
    ("Level", "model_hardware"),
    ("Table", 73),
    ("Statistic", "p95"),
    ("Table", 73),
    ("Statistic", "p50"),
    ("From", "2025-03-01"),
    ("To", "2025-10-31"),
    ("Metric", "success"),
    ("Metric", "latency_ms"),
    ("From", ""),
    ("To", ""),
]
QUIET_BEFORE, QUIET_AFTER = 600, 400


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.panel", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        place = Path(folder)
        with duckdb.connect(str(place / "results.duckdb")) as connection:
            connection.execute("SELECT setseed(.5)")
            connection.execute(ROWS.format(rows=asked.rows))
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        with JupyterLab(place) as lab:
            lines = measured(lab, Watched(browser.new_context(viewport={"width": 1400, "height": 1000}), place), place)
        browser.close()
    print(f"{asked.rows:,} rows in a DuckDB file")
    print(pd.DataFrame(lines, columns=["what", "median", "worst", "wanted"]).to_string(index=False))


def measured(lab: JupyterLab, watched: Watched, folder: Path) -> list[tuple[str, str, str, str]]:
    """Open the panel, change it before and after the cubes are there, and return what was measured."""
    source = str(folder / "results.duckdb")
    cell = f"panel = aggrkit.open({source!r}).explore(metric='latency_ms')\npanel"
    book = Notebook(lab, watched, write_notebook(lab.root / "panel.ipynb", ["import aggrkit", cell])).open()
    book.ask("import aggrkit")
    lines = [("first picture, all libraries imported for it, s", f"{first_picture(book, 1):.1f}", "", "2")]
    book.ask("panel.close()")
    lines.append(("first picture of a second panel, s", f"{first_picture(book, 1):.1f}", "", "2"))
    early, _, _ = changed(book, CHANGES[:6])
    lines.append(summary("change before the cubes are there, first chart, ms", early, "1500"))
    begun = time.perf_counter()
    book.ask("panel.wait(600)", timeout=600)
    lines.append(("cubes of all metrics, s", f"{time.perf_counter() - begun:.0f}", "", ""))
    late, whole, sizes = changed(book, CHANGES)
    lines.append(summary("change with the cubes, first chart, ms", late, "300"))
    lines.append(summary("the same, all charts, ms", whole, ""))
    lines.append(summary("bytes for a change", sizes, "50000"))
    return lines


def first_picture(book: Notebook, number: int) -> float:
    """Run a cell, and return the seconds until its heatmap is drawn."""
    book.page.evaluate("document.querySelectorAll('.aggrkit-panel').forEach(each => each.remove())")
    begun = time.perf_counter()
    book.js(
        """
        panel.content.activeCellIndex = value;
        panel.content.deselectAll();
        app.commands.execute("notebook:run-cell");
        """,
        number,
    )
    book.page.locator(".aggrkit-panel .plot.groups svg").wait_for()
    return time.perf_counter() - begun


def changed(book: Notebook, changes: list[tuple[str, str | int]]) -> tuple[list[float], list[float], list[float]]:
    """Make changes one by one; return the ms until the first and until all charts were drawn anew, and the bytes."""
    first, times, sizes = [], [], []
    for select, value in changes:
        with book.watched.traffic() as traffic:
            drawn: list[Any] = book.page.evaluate(CHANGE, [select, value, QUIET_AFTER])
        if drawn:
            first.append(min(drawn))
            times.append(max(drawn))
            sizes.append(float(traffic.received + traffic.sent))
        book.page.wait_for_timeout(QUIET_BEFORE)
    return first, times, sizes


def summary(what: str, numbers: list[float], wanted: str) -> tuple[str, str, str, str]:
    """Return a line of the table."""
    return what, f"{median(numbers):,.0f}", f"{max(numbers):,.0f}", wanted


if __name__ == "__main__":
    main()
