"""The gate: what closes it, what it lets pass, and what it says of that."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

import aggrkit  # noqa: F401 - df.aggr
from aggrkit.errors import EmptySelectionError, UnknownNameError
from aggrkit.findings.gate import Expected
from tests.gate.planted import builds, compared

SLOWER = {"m0": 0.1}


@pytest.fixture(scope="module")
def slower() -> Any:
    """Return a comparison in which one model of six got 10 % slower."""
    return compared(builds(SLOWER))


@pytest.fixture(scope="module")
def gone() -> Any:
    """Return a comparison in which nothing changed, but one model is missing and one new."""
    frame = builds()
    lost = frame["build"].eq("1.5") & frame["model"].eq("m1")
    new = frame["build"].eq("1.4") & frame["model"].eq("m2")
    return compared(frame[~lost & ~new])


def outcomes(gate: Any) -> dict[str, str]:
    return dict(zip(gate.lines["model"], gate.lines["outcome"], strict=True))


def test_a_planted_regression_closes_it(slower: Any) -> None:
    gate = slower.gate()
    assert (gate.passed, bool(gate), gate.exit_code) == (False, False, 1)
    assert gate.reasons == ("1 regressed of 6 lines, and none may.",)
    (incident,) = gate.incidents
    frame = builds(SLOWER)
    logs = np.log(frame[frame["model"].eq("m0")].set_index("build")["latency_ms"])
    truth = 100 * np.expm1(logs["1.5"].mean() - logs["1.4"].mean())
    assert incident.change_pct == pytest.approx(truth, rel=1e-9)
    assert str(incident).startswith(f"regressed: latency_ms of m0, gpu, +{truth:.3g} % (+")
    assert outcomes(gate)["m0"] == "fails"
    assert set(gate.lines.loc[gate.lines["model"].ne("m0"), "outcome"]) <= {"passes", "open"}


def test_nothing_changed_and_it_is_open() -> None:
    gate = compared(builds()).gate()
    assert (gate.passed, bool(gate), gate.exit_code, gate.reasons, gate.incidents) == (True, True, 0, (), ())
    assert gate.headline.startswith("Gate open: 1.5 against 1.4, none regressed, ")


def test_so_many_may_regress(slower: Any) -> None:
    gate = slower.gate(max_regressions=1)
    assert gate.passed
    assert outcomes(gate)["m0"] == "permitted"
    assert "1 line would close a stricter gate, and may be." in gate.notes
    two = compared(builds({"m0": 0.1, "m1": 0.2}))
    assert not two.gate(max_regressions=1).passed
    assert two.gate(max_regressions=1).reasons == ("2 regressed of 6 lines, and at most 1 may.",)
    assert two.gate(max_regressions=2).passed
    assert two.gate(max_regressions=None).passed


def test_an_undecided_line_closes_it_only_if_asked() -> None:
    found = compared(builds({"m0": 0.02}, runs=3, noise=0.05))
    assert set(found["verdict"]) == {"undecided"}
    gate = found.gate()
    assert gate.passed
    assert gate.notes[0] == "No line is decided: that there is no sure regression says little."
    needed = found["runs_needed"].dropna().sort_values()
    assert f"6 lines undecided: about {needed.iloc[2]} runs a side would settle half of them" in gate.notes[1]
    blind = found.details["detectable_pct"].median()
    assert gate.notes[2] == f"In half of them a change below {blind:.4g} % would go unseen with these runs."
    strict = found.gate(fail_on="undecided")
    assert (strict.passed, strict.exit_code) == (False, 1)
    assert strict.reasons[0].startswith("6 lines undecided, and each must be decided: about ")
    assert [str(incident) for incident in strict.incidents] == [
        f"undecided: all 6 lines of the table; at most {needed.iloc[-1]:,} runs a side would settle 6 of them"
    ]


def test_undecided_lines_count_no_regressions() -> None:
    found = compared(builds({"m0": 0.02}, runs=3, noise=0.05))
    assert not found.gate(max_regressions=None, fail_on="undecided").passed


def test_each_step_of_strictness_includes_the_one_before() -> None:
    frame = builds({"m0": 0.1, "m1": -0.1}).assign(score=lambda f: f["latency_ms"])
    found = frame.aggr(metrics={"latency_ms": "lower", "score": None}).compare("1.4", "1.5", by="build")
    counted = {
        name: found.gate(fail_on=name, missing="warn").counts.get("fails", 0)
        for name in ("regressed", "changed", "undecided", "improved")
    }
    undecided = int(found["verdict"].eq("undecided").sum())
    assert counted == {"regressed": 1, "changed": 3, "undecided": 3 + undecided, "improved": 4 + undecided}


def test_a_change_of_unknown_direction_is_told_and_passes() -> None:
    frame = builds({"m0": 0.1}, metric="score_x")
    found = frame.aggr(metrics={"score_x": None}).compare("1.4", "1.5", by="build")
    assert found["verdict"].iloc[0] == "changed"
    gate = found.gate()
    assert gate.passed
    assert any("1 line changed, and it isn't known which direction of score_x is better" in note for note in gate.notes)
    assert not found.gate(fail_on="changed").passed


def test_a_test_that_did_not_run_does_not_pass(gone: Any) -> None:
    gate = gone.gate()
    assert (gate.passed, gate.exit_code) == (False, 3)
    assert gate.reasons == ("1 line of 1.4 has no data in 1.5: its test didn't run, failed, or was renamed.",)
    assert [str(incident) for incident in gate.incidents] == ["missing: latency_ms of m1, gpu"]
    assert (outcomes(gate)["m1"], outcomes(gate)["m2"]) == ("missing", "new")
    assert "1 line new: 1.4 has no data for it." in gate.notes
    warned = gone.gate(missing="warn")
    assert (warned.passed, warned.incidents) == (True, ())
    assert gate.reasons[0] in warned.notes
    assert gone.gate(allow=[{"model": "m1", "reason": "retired"}]).passed
    assert not gone.gate(allow=[{"model": "m1", "up_to": 0.5}]).passed
    assert gone.gate(tolerate="latency_ms").passed


def test_a_test_that_did_not_run_lacks_all_of_its_metrics_in_one_incident() -> None:
    frame = builds(cells=12).assign(memory_mb=lambda f: f["latency_ms"], load_ms=lambda f: f["latency_ms"])
    lost = frame["build"].eq("1.5") & frame["model"].isin(["m1", "m5"])
    frame.loc[frame["build"].eq("1.5") & frame["model"].eq("m7"), "load_ms"] = np.nan
    for level, more in (("model_hardware", ", gpu"), ("model", "")):
        told = [str(incident) for incident in compared(frame[~lost], level=level).gate().incidents]
        assert sorted(told) == [
            f"missing: all 3 lines of m1{more}",
            f"missing: all 3 lines of m5{more}",
            f"missing: load_ms of m7{more}",
        ]


def test_a_regression_comes_before_missing_data() -> None:
    frame = builds(SLOWER)
    gate = compared(frame[~(frame["build"].eq("1.5") & frame["model"].eq("m1"))]).gate()
    assert gate.exit_code == 1
    assert [incident.verdict for incident in gate.incidents] == ["regressed", "missing"]


def test_where_nothing_can_be_compared_it_stays_closed() -> None:
    frame = builds(cells=4)
    apart = frame[frame["build"].eq("1.4") == frame["model"].isin(["m0", "m1"])]
    gate = compared(apart).gate(missing="warn")
    assert (gate.passed, gate.exit_code) == (False, 3)
    assert gate.reasons == ("Nothing could be compared: no line has data on both sides.",)


def test_tests_that_vanished_within_a_line_are_told() -> None:
    frame = pd.concat([builds().assign(batch_size=size) for size in (1, 8)])
    frame["run_id"] += "-" + frame["batch_size"].astype(str)
    gate = compared(frame[~(frame["build"].eq("1.5") & frame["batch_size"].eq(8))]).gate()
    assert gate.passed
    (told,) = [note for note in gate.notes if "tests that didn't run may hide there" in note]
    assert told.startswith("6 lines left out observations of which the other side has none of their kind (matched on")
    by_test = compared(frame[~(frame["build"].eq("1.5") & frame["batch_size"].eq(8))], level=["model", "batch_size"])
    assert by_test.gate().exit_code == 3


def test_an_empty_comparison_is_no_open_gate(slower: Any) -> None:
    with pytest.raises(EmptySelectionError, match="no line to judge"):
        slower[slower["model"] == "nobody"].gate()


def test_some_of_the_lines_can_be_judged(slower: Any) -> None:
    assert slower[slower["model"] != "m0"].gate().passed
    assert not slower.sort_values("model", ascending=False).gate().passed


def test_what_is_expected_passes_and_is_told(slower: Any) -> None:
    gate = slower.gate(allow=[{"model": "m0", "up_to": 0.2, "reason": "a safer lock"}])
    assert gate.passed
    line = gate.lines.set_index("model").loc["m0"]
    assert (line["outcome"], line["why"]) == ("expected", "a safer lock")
    assert "1 line on the allow list." in gate.notes


@pytest.mark.parametrize(
    "entry",
    [{"model": "m0", "up_to": 0.05}, {"model": "m1"}, {"model": "m0", "hardware": "cpu"}, {"metric": "latency"}],
)
def test_what_goes_beyond_or_is_another_line_does_not_pass(slower: Any, entry: dict[str, Any]) -> None:
    assert not slower.gate(allow=[entry]).passed


@pytest.mark.parametrize("model", ["m0", "m*", ["x", "m0"], "m[01]"])
def test_an_entry_may_be_a_pattern_or_several(slower: Any, model: Any) -> None:
    assert slower.gate(allow=[{"model": model}]).passed


def test_a_name_that_looks_like_a_pattern_is_found_by_itself() -> None:
    assert compared(builds({"conv[3x3]": 0.1}, names=["conv[3x3]", "b"])).gate(allow=[{"model": "conv[3x3]"}]).passed


def test_entries_that_are_no_longer_needed_are_named(slower: Any) -> None:
    gate = slower.gate(allow=[{"model": "m0"}, {"model": "m1", "up_to": 0.1}, {"model": "typo"}])
    assert "What the allow list expects of model m1, up to 10 % did not happen; the entry can go." in gate.notes
    assert "The allow list names model typo, and there is no such line." in gate.notes
    assert not any("model m0" in note for note in gate.notes)


def test_a_tolerated_metric_is_shown_and_passes(slower: Any) -> None:
    gate = slower.gate(tolerate="latency_ms")
    assert gate.passed
    assert outcomes(gate)["m0"] == "tolerated"
    assert "1 line of metrics that are tolerated." in gate.notes


@pytest.mark.parametrize(("least", "passed"), [(0.2, True), (0.05, False), ({"latency_ms": 0.2}, True), (0, False)])
def test_a_smaller_change_than_matters_passes(slower: Any, least: Any, passed: bool) -> None:
    assert slower.gate(min_effect=least).passed is passed


def test_passes_and_failures_are_judged_in_points() -> None:
    frame = builds(cells=3, runs=200).drop(columns="latency_ms")
    broken = frame["build"].eq("1.5") & frame["model"].eq("m0")
    frame["passed"] = ~(broken & frame.groupby(["build", "model"]).cumcount().lt(20))
    found = compared(frame)
    gate = found.gate()
    assert str(gate.incidents[0]).startswith("regressed: passed of m0, gpu, -10 points (")
    assert found.gate(min_effect=0.11).passed
    assert not found.gate(min_effect=0.09).passed


def test_a_change_from_zero_counts_though_it_has_no_percent() -> None:
    frame = builds(cells=2, runs=10, metric="error_ms")
    frame.loc[frame["build"].eq("1.4") & frame["model"].eq("m0"), "error_ms"] = 0.0
    found = frame.aggr(metrics={"error_ms": "lower"}).compare("1.4", "1.5", by="build")
    gate = found.gate(min_effect=0.5, allow=[{"model": "m0", "up_to": 0.9}])
    assert gate.exit_code == 1
    assert str(gate.incidents[0]).startswith("regressed: error_ms of m0, gpu, from 0 to ")


def test_lines_that_belong_together_are_one_incident() -> None:
    frame = pd.concat([builds(cells=8, seed=k).assign(hardware=name) for k, name in enumerate(["a", "b", "c"])])
    frame["run_id"] += frame["hardware"]
    frame.loc[frame["hardware"].eq("b") & frame["build"].eq("1.5"), "latency_ms"] *= 1.2
    (incident,) = compared(frame).gate().incidents
    assert (incident.verdict, incident.where, incident.lines, incident.of) == ("regressed", "hardware b", 8, 8)
    assert str(incident).startswith("regressed: all 8 lines of hardware b, by +")
    assert incident.smallest_pct <= incident.change_pct <= incident.largest_pct
    assert incident.change_pct == pytest.approx(20, abs=2)


def test_every_line_that_closes_it_is_in_one_incident() -> None:
    rng = np.random.default_rng(0)
    change = {f"m{k}": 0.2 for k in rng.choice(40, 11, replace=False)}
    gate = compared(builds(change, cells=40)).gate(max_regressions=3)
    assert gate.counts["fails"] == len(change) == sum(incident.lines for incident in gate.incidents)


def test_statistics_have_lines_of_their_own() -> None:
    frame = builds(SLOWER, runs=12)
    frame = pd.concat([frame.assign(latency_ms=frame["latency_ms"] * f) for f in np.linspace(0.9, 1.1, 21)])
    found = compared(frame, statistic=("p50", "p90"))
    gate = found.gate(allow=[{"model": "m0", "statistic": "p90"}])
    assert [str(one).split(",")[0] for one in gate.incidents] == ["regressed: latency_ms p50 of m0"]


@pytest.mark.parametrize(
    ("rules", "error", "said"),
    [
        ({"max_regressions": -1}, ValueError, "whole number from 0"),
        ({"max_regressions": 1.5}, ValueError, "whole number from 0"),
        ({"max_regressions": True}, ValueError, "whole number from 0"),
        ({"fail_on": "regresed"}, UnknownNameError, "did you mean 'regressed'"),
        ({"missing": "ignore"}, UnknownNameError, "'fail', 'warn'"),
        ({"tolerate": "latncy_ms"}, UnknownNameError, "did you mean 'latency_ms'"),
        ({"tolerate": 5}, TypeError, "a list of metrics"),
        ({"min_effect": {"latncy_ms": 0.1}}, UnknownNameError, "did you mean 'latency_ms'"),
        ({"min_effect": -0.1}, ValueError, "share from 0"),
        ({"min_effect": "5%"}, TypeError, "share from 0"),
        ({"min_effect": float("nan")}, ValueError, "share from 0"),
        ({"allow": [{"modl": "m0"}]}, UnknownNameError, "did you mean 'model'"),
        ({"allow": [{"reason": "all"}]}, ValueError, "names the lines"),
        ({"allow": "model=m0"}, TypeError, "list of mappings"),
        ({"allow": ["m0"]}, TypeError, "mapping"),
        ({"allow": [{"model": "m0", "up_to": 0}]}, ValueError, "largest expected change"),
    ],
)
def test_impossible_rules_are_told(slower: Any, rules: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        slower.gate(**rules)


def test_one_entry_may_be_given_without_a_list(slower: Any) -> None:
    assert slower.gate(allow={"model": "m0"}).passed
    assert slower.gate(allow=Expected((("model", ("m0",)),))).passed


def test_it_can_not_be_changed_and_leaves_the_comparison_alone(slower: Any) -> None:
    before = pd.DataFrame(slower).copy()
    gate = slower.gate()
    with pytest.raises(dataclasses.FrozenInstanceError):
        gate.passed = True
    with pytest.raises(TypeError):
        gate.counts["fails"] = 0
    lines = gate.lines
    lines["outcome"] = "passes"
    assert outcomes(gate)["m0"] == "fails"
    pd.testing.assert_frame_equal(pd.DataFrame(slower), before)
    assert "outcome" not in slower.columns


def test_it_survives_being_pickled(slower: Any) -> None:
    gate = slower.gate()
    again = pickle.loads(pickle.dumps(gate))
    assert again.to_json() == gate.to_json()


def test_explain_says_all_of_it(slower: Any) -> None:
    gate = slower.gate()
    said = gate.explain().split("\n")
    assert said[: 1 + len(gate.reasons)] == [gate.headline, *gate.reasons]
    assert "Compared like with like on model, hardware." in said
    assert any(line.startswith("Margin 2 %, alpha 0.05") for line in said)
    assert repr(gate).split("\n")[0] == gate.headline
    assert len(repr(gate).split("\n")) < len(said)
