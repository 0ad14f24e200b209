"""What a panel shows: the numbers of pandas, whatever is chosen, clicked or sent."""

from __future__ import annotations

import gzip
import json
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import UnknownNameError
from aggrkit.panel import Panel, State
from aggrkit.panel import holdings as holdings_module
from aggrkit.panel.glance import glance
from aggrkit.panel.holdings import Holdings
from aggrkit.panel.state import TABS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START = pd.Timestamp("2026-01-01")


def results(n: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "model": rng.choice(["bert", "gpt"], n),
            "hardware": rng.choice(["a100", "h100", "t4"], n),
            "batch_size": rng.choice([1, 8, 16], n),
            "driver": rng.choice(["v2", "v10"], n),
            "result_type": rng.choice(["cold", "warm"], n),
            "timestamp": START + pd.to_timedelta(rng.choice(40 * 86_400, n, replace=False), unit="s"),
            "latency_ms": rng.lognormal(3, 0.4, n),
            "accuracy": rng.uniform(0.5, 1, n),
            "passed": rng.random(n) < 0.8,
        }
    )


@pytest.fixture
def opened() -> Iterator[Callable[..., Panel]]:
    """Return a function that opens panels, which are closed afterwards, and whose threads live until then."""
    panels: list[Panel] = []

    def of(source: Any, **state: Any) -> Panel:
        panel = (source.aggr if isinstance(source, pd.DataFrame) else source).explore(**state)
        panels.append(panel)
        return panel.wait()

    yield of
    for panel in panels:
        assert panel._jobs._thread.is_alive()
        panel.close()


def part(panel: Panel, name: str) -> Any:
    """Return what the front end gets."""
    return json.loads(gzip.decompress(getattr(panel._front, name)))


def figures(panel: Panel) -> dict[str, str]:
    return {item["label"]: item["value"] for item in panel._front.figures["items"]}


def table(panel: Panel) -> pd.DataFrame:
    shown = part(panel, "answer")["table"]
    return pd.DataFrame(shown["rows"], columns=shown["columns"])


def send(panel: Panel, **content: Any) -> Panel:
    panel._heard(None, content, [])
    return panel.wait()


def check_statistics(panel: Panel, frame: pd.DataFrame, names: list[str], metric: str) -> None:
    """Compare the table of all groups with pandas; it has six digits."""
    found, by_group = table(panel), frame.groupby(names)[metric]
    assert [tuple(row) for row in found[names].to_numpy()] == [labels for labels, _ in by_group]
    assert found["n"].tolist() == by_group.count().tolist()
    for name, wanted in (
        ("mean", by_group.mean()),
        ("std", by_group.std()),
        ("p50", by_group.median()),
        ("p99", by_group.quantile(0.99)),
        ("max", by_group.max()),
    ):
        np.testing.assert_allclose(found[name].astype(float), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("state", "names", "metric"),
    [
        ({}, ["model", "hardware"], "latency_ms"),
        ({"level": "hardware"}, ["hardware"], "latency_ms"),
        ({"metric": "accuracy", "level": "model"}, ["model"], "accuracy"),
        ({"level": ["batch_size"]}, ["batch_size"], "latency_ms"),
        ({"level": ["model", "hardware", "batch_size"]}, ["model", "hardware", "batch_size"], "latency_ms"),
        ({"result_type": "warm", "start": "2026-01-05", "end": "2026-01-20"}, ["model", "hardware"], "latency_ms"),
        ({"level": "model", "cell": {"model": "gpt"}, "start": "2026-01-20"}, ["model"], "latency_ms"),
    ],
)
def test_what_is_shown_are_the_numbers_of_pandas(
    state: dict[str, Any], names: list[str], metric: str, opened: Callable[..., Panel]
) -> None:
    frame = results()
    panel = opened(frame, **state)
    kept = frame["timestamp"].between(
        state.get("start", "2026-01-01"), f"{state.get('end', '2026-12-31')} 23:59:59.999999"
    )
    if "result_type" in state:
        kept &= frame["result_type"] == state["result_type"]
    everywhere = frame[kept]
    selected = everywhere
    for name, label in state.get("cell", {}).items():
        selected = selected[selected[name] == label]
    assert panel._front.error == ""
    assert panel._front.busy is False
    assert panel._front.figures["mode"] == "exact"
    assert figures(panel)["results"] == f"{len(selected):,}"
    assert figures(panel)["groups"] == str(everywhere.groupby(names).ngroups)
    assert float(figures(panel)["median"].split()[0]) == pytest.approx(selected[metric].median(), rel=2e-3)
    check_statistics(panel, everywhere, names, metric)
    _, seen = panel._showing.seen
    assert seen.bands["n"].sum() == seen.histogram["count"].sum() == len(selected)
    by_day = selected.groupby(selected["timestamp"].dt.floor("1D"))[metric]
    days = seen.bands.groupby(seen.bands["time"].dt.floor("1D"))
    np.testing.assert_allclose(days["high"].max(), by_day.max())
    assert part(panel, "code")["python"] == panel.code
    assert "GROUP BY" in part(panel, "code")["sql"] or not names


def test_changes_go_through_to_the_front_end(opened: Callable[..., Panel]) -> None:
    frame = results()
    panel = opened(frame, level="model")
    panel.show(metric="accuracy", statistic="p99").wait()
    check_statistics(panel, frame, ["model"], "accuracy")
    panel.show(level="hardware", result_type="cold").wait()
    check_statistics(panel, frame[frame["result_type"] == "cold"], ["hardware"], "accuracy")
    panel.undo().undo().wait()
    check_statistics(panel, frame, ["model"], "latency_ms")
    assert panel.state["metric"] == "latency_ms"
    panel.undo().wait()
    assert panel.state["metric"] == "latency_ms"


def test_a_pass_fail_metric_shows_its_rate(opened: Callable[..., Panel]) -> None:
    frame = results()
    panel = opened(frame, metric="passed", level="model")
    assert figures(panel)["pass rate"] == f"{100 * frame['passed'].mean():.1f} %"
    np.testing.assert_allclose(table(panel)["mean"].astype(float), frame.groupby("model")["passed"].mean(), rtol=1e-5)
    assert part(panel, "groups")


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_shows_an_answer(tab: str, opened: Callable[..., Panel]) -> None:
    panel = opened(results(), tab=tab)
    assert panel._front.error == ""
    answer = part(panel, "answer")
    assert answer["tab"] == tab
    wanted = pd.DataFrame(panel.result)
    if "table" in answer:
        assert answer["table"]["columns"] == [str(name) for name in wanted.columns]
        assert len(answer["table"]["rows"]) == min(len(wanted), 200)
    if tab == "rows":
        assert wanted.shape[0] == 200


def test_a_click_selects_a_group_and_another_one_lets_it_go(opened: Callable[..., Panel]) -> None:
    frame = results()
    panel = opened(frame)
    send(panel, kind="click", datum={"row": "gpt", "column": "t4"})
    assert panel.state["cell"] == {"model": "gpt", "hardware": "t4"}
    chosen = frame[frame["model"].eq("gpt") & frame["hardware"].eq("t4")]
    assert figures(panel)["results"] == f"{len(chosen):,}"
    check_statistics(panel, frame, ["model", "hardware"], "latency_ms")
    send(panel, kind="click", datum={"row": "gpt", "column": "t4"})
    assert "cell" not in panel.state
    send(panel, kind="click", datum={"row": "none", "column": "such"})
    assert "cell" not in panel.state


def test_numbers_as_labels_can_be_clicked(opened: Callable[..., Panel]) -> None:
    frame = results()
    panel = opened(frame, level=["batch_size"])
    send(panel, kind="click", datum={"label": "8"})
    assert panel.state["cell"] == {"batch_size": 8}
    assert figures(panel)["results"] == str((frame["batch_size"] == 8).sum())
    frame["batch_size"] = frame["batch_size"].where(np.arange(600) % 5 > 0)
    panel = opened(frame, level=["batch_size"])
    for label, wanted in (("8", frame["batch_size"].eq(8)), ("unknown", frame["batch_size"].isna())):
        send(panel, kind="click", datum={"label": label})
        assert figures(panel)["results"] == str(wanted.sum())


def test_a_brush_chooses_the_time_range(opened: Callable[..., Panel]) -> None:
    frame = results()
    panel = opened(frame)
    start, end = START + pd.Timedelta(days=3), START + pd.Timedelta(days=9)
    send(panel, kind="brush", start=start.timestamp() * 1000, end=end.timestamp() * 1000)
    assert panel.state["start"] == "2026-01-04T00:00:00"
    assert figures(panel)["results"] == str(frame["timestamp"].between(start, end).sum())
    send(panel, kind="brush", start=None, end=None)
    assert figures(panel)["results"] == "600"


def test_undo_reset_and_exact_as_messages(opened: Callable[..., Panel]) -> None:
    panel = opened(results())
    first = panel.state
    send(panel, kind="set", changes={"metric": "accuracy", "tab": "rows"})
    assert (panel.state["metric"], panel.state["tab"]) == ("accuracy", "rows")
    send(panel, kind="undo")
    assert panel.state == first
    send(panel, kind="set", changes={"metric": "accuracy", "cell": {"model": "gpt"}})
    send(panel, kind="reset")
    assert panel.state == first
    send(panel, kind="exact")
    assert panel._front.figures["mode"] == "exact"


def test_what_is_wrong_is_said_and_the_panel_goes_on(opened: Callable[..., Panel]) -> None:
    panel = opened(results())
    before = panel.state
    with pytest.raises(UnknownNameError, match="did you mean 'latency_ms'"):
        panel.show(metric="latncy_ms")
    send(panel, kind="set", changes={"metric": "latncy_ms"})
    assert "did you mean 'latency_ms'" in panel._front.error
    assert panel.state == before
    send(panel, kind="set", changes={"start": "2030-01-01"})
    assert "no observation passes the filters" in panel._front.error
    send(panel, kind="set", changes={"start": None})
    assert panel._front.error == ""
    assert figures(panel)["results"] == "600"
    same = {"tab": "compare", "by": "driver", "baseline": "v2", "current": "v2"}
    panel.show(**same)
    panel.wait()
    assert part(panel, "answer")["words"] == ["baseline and current share 'v2'; they must differ"]
    panel.show(current="v10")
    panel.wait()
    assert "v10 against v2" in part(panel, "answer")["words"][0]


HOSTILE = [
    {},
    {"kind": None},
    {"kind": ["set"]},
    {"kind": "set"},
    {"kind": "set", "changes": {"metric": 3}},
    {"kind": "set", "changes": {"level": {"a": 1}}},
    {"kind": "set", "changes": {"level": [[1], {}]}},
    {"kind": "set", "changes": {"cell": "model"}},
    {"kind": "set", "changes": {"cell": {"model": {"a": 1}}}},
    {"kind": "set", "changes": {"statistic": ["p50"]}},
    {"kind": "set", "changes": {"start": "x" * 100_000}},
    {"kind": "set", "changes": {"end": 1e300}},
    {"kind": "set", "changes": {"baseline": {"a": [1]}, "by": "driver"}},
    {"kind": "set", "changes": {"x" * 100_000: 1}},
    {"kind": "click"},
    {"kind": "click", "datum": {"row": None, "column": 3}},
    {"kind": "click", "datum": {"label": {"a": 1}}},
    {"kind": "brush"},
    {"kind": "save"},
    {"kind": "save", "what": "exe"},
    {"kind": "launch"},
]


@pytest.mark.slow
@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: json.dumps(content)[:60])
def test_messages_that_make_no_sense_do_no_harm(content: dict[str, Any], opened: Callable[..., Panel]) -> None:
    panel = opened(results(60))
    send(panel, **content)
    send(panel, kind="set", changes={"metric": "accuracy", "level": "model", "start": None})
    assert panel._front.error == ""
    assert figures(panel)["results"] == "60"


BROKEN = [
    ({"kind": "click", "datum": "abc"}, "a string is no datum"),
    ({"kind": "click", "datum": 7}, "a number is no datum"),
    ({"kind": "brush", "start": "soon", "end": None}, "text is no moment"),
    ({"kind": "brush", "start": 1e300, "end": None}, "no calendar has this moment"),
    ("set", "no mapping"),
    ({"kind": "save", "what": "../../x"}, "no such kind of file"),
]


@pytest.mark.parametrize(("content", "why"), BROKEN, ids=[why for _, why in BROKEN])
def test_messages_of_another_form_do_no_harm(content: Any, why: str, opened: Callable[..., Panel]) -> None:
    panel = opened(results(60))
    panel._front.send = lambda *_: pytest.fail("a file was sent")
    panel._heard(None, content, [])
    panel.wait()
    assert figures(panel)["results"] == "60"


def test_a_level_that_was_not_on_offer_can_be_shown_later(opened: Callable[..., Panel]) -> None:
    frame = results(60)
    panel = opened(frame)
    for level in (["batch_size"], [], ["driver", "batch_size"], "model"):
        panel.show(level=level).wait()
        assert panel.state.get("level", "model_hardware") == level
        assert figures(panel)["groups"] == str(frame.groupby(level).ngroups if level else 1)


def test_files_hold_the_answer_and_the_page_needs_no_network(tmp_path: Path, opened: Callable[..., Panel]) -> None:
    frame = results()
    panel = opened(frame, level="model")
    saved = pd.read_csv(panel.save(tmp_path / "stats.csv"))
    np.testing.assert_allclose(saved["p95"], frame.groupby("model")["latency_ms"].quantile(0.95), rtol=1e-9)
    page = panel.save(tmp_path / "panel.html").read_text()
    assert "df.aggr.stats(" in page
    assert page.count("<svg") >= 3
    assert 'src="http' not in page
    with pytest.raises(UnknownNameError, match=r"'\.html', '\.csv'"):
        panel.save(tmp_path / "panel.pdf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["panel.html", "stats.csv"]


CARELESS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], dict[str, Any], str]] = {
    "no level": (lambda frame: frame, {"level": []}, "60"),
    "a metric without a value": (lambda frame: frame.assign(latency_ms=np.nan), {"metric": "latency_ms"}, "0"),
    "times in text": (lambda frame: frame.assign(timestamp=frame["timestamp"].astype(str) + "+02:00"), {}, "60"),
    "rows twice": (lambda frame: pd.concat([frame, frame]), {}, "60"),
    "one row": (lambda frame: frame.head(1), {}, "1"),
    "no times": (lambda frame: frame.drop(columns="timestamp"), {}, "60"),
    "times that are missing": (lambda frame: frame.assign(timestamp=pd.NaT), {}, "60"),
    "a column called row": (lambda frame: frame.rename(columns={"driver": "row"}), {"level": ["row", "model"]}, "60"),
    "a column called label": (lambda frame: frame.rename(columns={"driver": "label"}), {"level": ["label"]}, "60"),
    "a column called low": (lambda frame: frame.rename(columns={"driver": "low"}), {"level": ["low"]}, "60"),
    "the metric as level": (lambda frame: frame, {"level": ["latency_ms"]}, "60"),
    "the time as level": (lambda frame: frame, {"level": ["timestamp"]}, "60"),
    "missing labels": (lambda frame: frame.assign(model=None), {}, "60"),
}


@pytest.mark.parametrize("case", CARELESS)
def test_careless_things_are_shown(case: str, opened: Callable[..., Panel]) -> None:
    change, state, n = CARELESS[case]
    panel = opened(change(results(60)), **state)
    assert panel._front.error == ""
    assert figures(panel)["results"] == n


def test_a_column_called_as_a_statistic_is_refused_in_words(opened: Callable[..., Panel]) -> None:
    panel = opened(results(60).rename(columns={"driver": "n"}), level=["n"])
    assert "two columns called 'n'" in panel._front.error
    with pytest.raises(aggrkit.errors.SchemaError, match="two columns called 'n'"):
        _ = panel.sql


def test_a_large_source_goes_from_a_sample_to_a_cube(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings_module, "_SAMPLE", 1000)
    frame = results(5000)
    holdings = Holdings(frame.aggr, large=1000)
    state = holdings.offer.fitted(State())
    seen = glance(holdings, state)
    assert seen.mode == "sampled"
    assert 700 < seen.stats["n"].sum() < 1300  # a thousand drawn rows are off by 28 on average
    for key in list(holdings.wanted(state)):
        holdings.build(key)
    assert not list(holdings.wanted(state))
    by_group = frame.groupby(["model", "hardware"])["latency_ms"]
    cell = {"model": "gpt"}
    for changes in (
        {},
        {"level": "model", "cell": cell},
        {"level": "model", "start": "2026-01-10", "end": "2026-01-19"},
    ):
        asked = holdings.offer.fitted(state.changed(**changes))
        cached, exact = glance(holdings, asked), glance(holdings, asked, exact=True)
        assert (cached.mode, exact.mode) == ("cached", "exact")
        for name in ("n", "mean", "std", "min", "max"):
            np.testing.assert_allclose(cached.stats[name], exact.stats[name], rtol=1e-9)
            np.testing.assert_allclose(cached.whole[name], exact.whole[name], rtol=1e-9)
        assert cached.histogram["count"].sum() == exact.histogram["count"].sum()
    np.testing.assert_allclose(glance(holdings, state).stats["p90"], by_group.quantile(0.9), rtol=1e-9)
    within = holdings.offer.fitted(state.changed(start="2026-01-10T10:30"))
    assert glance(holdings, within).mode == "sampled"  # no cube knows half of a day


def test_what_is_in_no_sample_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdings_module, "_SAMPLE", 5)
    frame = results(5000)
    frame.loc[7, "model"] = "rare"
    holdings = Holdings(frame.aggr, large=1000)
    seen = glance(holdings, holdings.offer.fitted(State(level="model", cell={"model": "rare"})))
    assert (seen.mode, seen.whole["n"].tolist()) == ("exact", [1])


def test_a_large_panel_says_what_its_numbers_are_and_is_redrawn(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[..., Panel]
) -> None:
    monkeypatch.setattr(holdings_module, "_SAMPLE", 1000)
    monkeypatch.setattr("aggrkit.panel.panel.Holdings", lambda analysis: Holdings(analysis, large=1000))
    modes: list[str] = []
    frame = results(5000)
    panel = frame.aggr.explore(level="model")
    panel._front.observe(lambda change: modes.append(change["new"]["mode"]), "figures")
    panel.wait()
    panel.close()
    assert modes[-1] == "cached"
    assert "cached" in panel._front.figures["status"]
    assert figures(panel)["results"] == "5,000"
    panel = opened(frame, level="model")
    send(panel, kind="exact")
    assert panel._front.figures["mode"] == "exact"
    check_statistics(panel, frame, ["model"], "latency_ms")


def test_closing_ends_the_thread_and_the_panel_still_answers() -> None:
    frame = results(60)
    panel = frame.aggr.explore(level="model")
    panel.close()
    assert panel._jobs._thread not in threading.enumerate()
    assert panel.result["n"].sum() == 60
    panel.close()
