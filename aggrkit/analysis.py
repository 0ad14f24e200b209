"""The core: one source, one pipeline, and the questions that can be asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from aggrkit.errors import SchemaError, UnknownNameError, listed, number_between, quoted
from aggrkit.findings import (
    Anomalies,
    Calibration,
    Changes,
    Comparison,
    Correlations,
    Differences,
    Distributions,
    Health,
    Proportions,
    Stats,
    Trends,
    Variance,
)
from aggrkit.model.selection import Selection, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import ibis
    import numpy as np
    import pandas as pd

    from aggrkit.model.answer import Answer
    from aggrkit.model.schema import Schema
    from aggrkit.pipeline.pipeline import Pipeline
    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.pipeline.sides import Sides
    from aggrkit.sources.observations import Observations

__all__ = ["Analysis"]

Level: TypeAlias = "str | Iterable[str] | None"
Names: TypeAlias = "str | Iterable[str] | None"
Where: TypeAlias = "Mapping[str, Any] | ibis.Deferred | ibis.Value | None"
Method: TypeAlias = Literal["robust", "zscore", "iqr", "gesd"]
Adjustment: TypeAlias = Literal["fdr_bh", "fdr_by", "holm", "bonferroni", "none"]
TableAdjustment: TypeAlias = Literal["fdr_bh", "fdr_by", "holm", "bonferroni", "hierarchical", "none"]

_PATIENCE: Final = 2.0
"""Seconds without a bar that says how far it is."""


@dataclass(frozen=True)
class Analysis:
    """Questions to one source of observations.

    Made by ``df.aggr`` and by `aggrkit.open`; asking is lazy, and nothing is loaded before a question.

    Parameters
    ----------
    source : callable
        Gives the observations, with what the user said about the columns.
    given : mapping, optional
        What the user said: role to column.
    pipeline : Pipeline, optional
        Which stages are run; the built-in ones by default.
    """

    source: Callable[[Mapping[str, Any]], Observations]
    given: Mapping[str, Any]
    pipeline: Pipeline | None = None

    def __call__(self, *, pipeline: Pipeline | None = None, **roles: Any) -> Self:
        """Say what the columns mean, or with which pipeline to work.

        Parameters
        ----------
        pipeline : Pipeline, optional
            The stages to run.
        **roles
            Role to the name of its column: `model`, `hardware`, `run`, `timestamp`, `worker`, `task_type`, `result_id`;
            `metrics` to a list of columns or a mapping of column to "lower", "higher" or a `Metric`; `conditions`,
            `versions` and `ignore` to lists of columns.

        Returns
        -------
        Analysis
            The same questions, with the roles as said.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> df = pd.DataFrame({"net": ["a", "a", "b"], "score": [1.0, 2.0, 4.0]})
        >>> results = df.aggr(model="net", metrics={"score": "higher"})
        >>> results.stats(level="model")[["model", "n", "mean"]].values.tolist()
        [['a', 2, 1.5], ['b', 1, 4.0]]
        """
        if not (pipeline is None or hasattr(pipeline, "prepare")):
            raise TypeError(f"'pipeline' is an aggrkit.Pipeline; got {quoted(pipeline)}")
        return replace(self, given={**self.given, **roles}, pipeline=pipeline or self.pipeline)

    @property
    def schema(self) -> Schema:
        """What was recognised: each column with its role, and why.

        Raises
        ------
        SchemaError
            If columns are there twice, or there are none.
        """
        return self.source(self.given).schema

    @property
    def table(self) -> ibis.Table:
        """The observations as a lazy Ibis table, for expressions in `where`."""
        return self.source(self.given).table

    def stats(
        self,
        level: Level = "model_hardware",
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        percentiles: Sequence[float] = (50, 75, 90, 95, 99),
    ) -> Stats:
        """Count, mean, standard deviation and percentiles of each group and metric, in one scan.

        Parameters
        ----------
        level : str or list of str, optional
            "test_run", "model", "hardware", "model_hardware", "task_type" or "worker"; or the columns to group by,
            none of them for one group of all. Where only some of a level's columns exist, the others are "unknown".
        metrics : str or list of str, optional
            Which metrics; all recognised ones by default. ``normalized_<metric>`` is the ratio to the median of the
            same model and conditions on all hardware, above 1 being better.
        where : mapping or Ibis expression, optional
            Which observations: column to value or values, or an expression such as ``ibis._.batch_size > 8``.
        time_range : pair, optional
            First and last moment, either of them None; times without a zone are UTC.
        percentiles : sequence of float, optional
            Percentages, 0 to 100.

        Returns
        -------
        Stats
            Columns of the level, then ``metric, unit, n, missing, mean, std, min, p50, ..., max``. `std` has ddof 1
            and is NaN for one value. Percentiles interpolate linearly (numpy's default). Missing and impossible values
            (negative times, infinities, text) count in `missing`. A pass/fail metric has its rate as mean, and
            no percentiles.

        Raises
        ------
        UnknownNameError
            For a level, metric or column that doesn't exist; the error lists those that do.
        EmptySelectionError
            If no observation passes the filters.

        See Also
        --------
        proportions : pass rates with intervals.

        Notes
        -----
        Means are summed with compensation (Kahan), variances by Welford's recurrence; checked against the certified
        values of the NIST Statistical Reference Datasets.

        Examples
        --------
        >>> import aggrkit
        >>> df = aggrkit.datasets.load("mlperf_training")
        >>> df.aggr.stats(level="model", metrics="total_time_seconds")["p50"].round(1).head(2).tolist()
        [962.2, 106.7]
        """
        from aggrkit.pipeline.aggregate import Percentiles

        pipeline = self._pipeline()
        stages = tuple(
            Percentiles(percentiles) if isinstance(stage, Percentiles) else stage for stage in pipeline.aggregate
        )
        answer, prepared = self._run(replace(pipeline, aggregate=stages), level, metrics, where, time_range)
        better = {metric.name: metric.direction.value for metric in prepared.metrics}
        answer = replace(answer, meta=MappingProxyType({**answer.meta, "better": better}))
        return Stats._made(answer, _rows_of_group(prepared), _histograms_of(prepared))

    def proportions(
        self,
        level: Level = "model_hardware",
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        confidence: float = 0.95,
    ) -> Proportions:
        """Pass rates with Wilson's interval. Skips and errors are neither passes nor failures.

        Parameters
        ----------
        level, metrics, where, time_range
            As in `stats`; by default all pass/fail metrics.
        confidence : float, optional
            Level of the intervals.

        Returns
        -------
        Proportions
            Columns of the level, then ``metric, n, missing, successes, failures, rate, ci_lower, ci_upper``.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> df = pd.DataFrame({"model": ["a"] * 4, "status": ["pass", "pass", "fail", "skip"]})
        >>> df.aggr.proportions(level="model")[["n", "missing", "rate"]].round(2).values.tolist()
        [[3.0, 1.0, 0.67]]
        """
        from aggrkit.pipeline.aggregate import proportions

        names = self._pass_fail(metrics)
        answer, prepared = self._run(self._bare(), level, names, where, time_range)
        frame, rows = proportions(prepared, confidence)
        answer = replace(answer, rows=rows).with_frame("proportions", frame, confidence=confidence)
        return Proportions._made(answer, _rows_of_group(prepared))

    def distributions(
        self,
        columns: Names = None,
        level: Level = "model_hardware",
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        max_values: int = 50,
    ) -> Distributions:
        """Count how often each value of the describing columns occurs in each group.

        Parameters
        ----------
        columns : str or list of str, optional
            Which columns; by default all that describe the test and have at most `max_values` different values.
        level, where, time_range
            As in `stats`.
        max_values : int, optional
            Columns with more values than this are left out, and named in ``meta["skipped"]``.

        Returns
        -------
        Distributions
            Columns of the level, then ``column, value, count, percentage, total_values, unique_values``; missing values
            aren't counted.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> df = pd.DataFrame({"model": list("aaa"), "precision": ["fp16", "fp16", "fp32"], "latency_ms": [1.0, 2, 3]})
        >>> df.aggr.distributions(level="model")[["value", "count"]].values.tolist()
        [['fp16', 2], ['fp32', 1]]
        """
        from aggrkit.pipeline.distributions import distributions

        names = None if columns is None else names_of(columns, "columns are a name or a list of names")
        answer, prepared = self._run(self._bare(), level, None, where, time_range, needs_metrics=False)
        frame, meta = distributions(prepared, names, max_values)
        answer = answer.with_frame("distributions", frame, **meta)
        return Distributions._made(answer, _rows_of_group(prepared, value=True))

    def head(self, n: int = 20, where: Where = None, time_range: Sequence[Any] | None = None) -> pd.DataFrame:
        """Return the first observations that pass the filters, as the source has them.

        Parameters
        ----------
        n : int, optional
            At most so many.
        where, time_range
            As in `stats`.

        Returns
        -------
        pandas.DataFrame
            With all columns of the source. The order is that of a frame; a file or database may have one of its own.

        Raises
        ------
        EmptySelectionError
            If no observation passes the filters.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> df = pd.DataFrame({"model": ["a", "b", "b"], "latency_ms": [3.0, 4.0, 5.0]})
        >>> df.aggr.head(1, where={"model": "b"})["latency_ms"].tolist()
        [4.0]
        """
        from aggrkit.pipeline.rows import first_rows
        from aggrkit.pipeline.selecting import select

        number_between(n, 0, float("inf"), "n is a number of rows, at least 1")
        mapping, condition = _split(where)
        selection = Selection(level=(), where=mapping, time_range=time_range)  # type: ignore[arg-type]
        return first_rows(select(self.source(self.given), selection, condition), int(n))

    def anomalies(
        self,
        level: Level = "model_hardware",
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        method: Method = "robust",
        alpha: float = 0.05,
        threshold: float | None = None,
    ) -> Anomalies:
        """Flag every observation that doesn't belong to its cell.

        A cell is a group and everything that like is compared with like by: model, hardware, task type and conditions.
        Where most values are in cells of fewer than 20, cells are pooled over those of these columns that make no
        difference to any metric (``meta["pooled_over"]``).

        Parameters
        ----------
        level, metrics, where, time_range
            As in `stats`; pass/fail metrics are left out.
        method : {"robust", "zscore", "iqr", "gesd"}, optional
            "robust": distance from the median in robust standard deviations (1.4826 MAD). "zscore": from the mean in
            standard deviations. "iqr": Tukey's fences. "gesd": Rosner's generalized ESD test.
        alpha : float, optional
            For "robust" and "gesd": the chance of any false flag over all cells, if the data are clean.
        threshold : float, optional
            Cut on the score instead. Default for "zscore" 2.5, for "iqr" 1.5; these hold no false-alarm rate.

        Returns
        -------
        Anomalies
            Columns of the level, then ``metric, observation, value, score, lower, upper, direction, severity, pvalue,
            pvalue_adjusted, status``, then what describes the observation; the most certain first. `observation` is
            the result id, or else the label of the row. `severity` is ordered: "good" (odd on the good side), "minor",
            "major" and "critical" (1, 1.5 and 3 times beyond the cut). `status` is "suspect" where there was no normal
            value of the cell and metric since, so that a shift may begin there, and where the cell has fewer than 10
            values; else "confirmed". Without times only the size of the cell is asked.

        Notes
        -----
        Metrics are scored on the scale, raw or logarithmic, on which they look symmetric over all cells; where that
        can't be told, both must agree. p-values are those of the most extreme of n values; adjusted over cells by
        Sidak. Cells with fewer values than the method needs are named in ``meta["too_few"]`` and by `explain`.

        References
        ----------
        Iglewicz and Hoaglin (1993), How to Detect and Handle Outliers. Rosner (1983), Technometrics 25, 165-172.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> latency = [10, 10.1, 9.9, 10.2, 9.8, 10, 10.1, 9.9, 10, 10.1, 9.9, 30]
        >>> df = pd.DataFrame({"model": ["a"] * 12, "latency_ms": latency})
        >>> df.aggr.anomalies(level="model")[["observation", "value", "direction"]].values.tolist()
        [[11, 30.0, 'high']]
        """
        from aggrkit.pipeline.anomalies import DetectAnomalies

        stage = DetectAnomalies(method, alpha, threshold)
        answer, prepared = self._run(self._bare(stage), level, metrics, where, time_range, numbered=True)
        return Anomalies._made(answer, _row_of_observation(prepared, answer))

    def compare(
        self,
        baseline: Any,
        current: Any = None,
        by: str | None = None,
        level: Level = "model_hardware",
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        margin: float | Mapping[str, float] = 0.02,
        alpha: float = 0.05,
        adjust: TableAdjustment | None = "fdr_bh",
        statistic: str | Sequence[str] = "mean",
    ) -> Comparison:
        """Say what regressed, improved, stayed the same or can't be decided yet.

        Parameters
        ----------
        baseline, current : value or list of values, pair of times, timedelta, DataFrame or Analysis
            With `by`: values of that column; all other values are current by default. Without: two time ranges; or a
            timedelta as `baseline`, the latest such span against all before it; or another DataFrame (or what was
            opened of the files of a tool) as `baseline`, against which this one is compared.
        by : str, optional
            The column that tells the sides apart.
        level, metrics, where, time_range
            As in `stats`.
        margin : float or mapping, optional
            The smallest change that matters: 0.02 is 2 %, and 2 points for pass rates. By metric, where they differ.
        alpha : float, optional
            Level of the tests.
        adjust : {"fdr_bh", "fdr_by", "holm", "bonferroni", "hierarchical", "none"} or None, optional
            How p-values are adjusted over the whole table. "hierarchical": from the trunk to the leaves, models, then
            hardware within those that moved, then metrics; it finds more where changes come in clusters, see
            `aggrkit.statistics.hierarchy.adjust_on_tree`.
        statistic : str or sequence of str, optional
            What is compared: "mean", a percentile such as "p50", "p95" or "p99.9", "spread" (how far results lie from
            their median), or several of them, as in ``("p50", "p99", "spread")``. Pass/fail metrics have only a mean.

        Returns
        -------
        Comparison
            Columns of the level, then ``metric, unit, n_baseline, n_current, runs_baseline, runs_current, baseline,
            current, change_pct, ci_lower, ci_upper, effect_size, pvalue, pvalue_adjusted, verdict, runs_needed, note``.
            Verdicts: "regressed" and "improved" ("changed" where the better direction isn't known): the interval
            excludes 0,
            the adjusted p-value is below alpha, and the change exceeds the margin. "equivalent": the 90 % interval lies
            within the margin. "undecided": neither; `runs_needed` says how many runs a side would settle it.
            "no_data": a side is empty. `change_pct` is in percentage points for pass/fail metrics. With anything but
            the plain ``statistic="mean"`` there is a row for each statistic, and a column `statistic` after `unit`.

        Raises
        ------
        UnknownNameError
            If there is no such statistic; or as in `stats`.
        SchemaError
            If percentiles or spread are asked of nothing but pass/fail metrics.

        Notes
        -----
        Like is compared with like: within every combination of model, hardware, task type and conditions that both
        sides have, combined by inverse variance. The unit is the run where there are run ids. Positive metrics are
        compared on the logarithmic scale, by geometric means. Where there are few runs under the same conditions, how
        much the conditions disagree counts as noise as well; with a single run a side in each of several conditions,
        that is all the noise that is known. See `aggrkit.statistics.comparison.compare_means`.

        A percentile, or the spread, is that of each run (linear percentiles; mean |x - m| / m with m the run's median,
        not divided by m where values may be 0 or less), and runs are compared as by their means. In short runs a high
        percentile is too low, which a note says; where runs of both sides differ in length for that, there is no
        verdict. Where there are no runs, a single one a side, or runs of one value, percentiles are Harrell's and
        Davis's estimates with the jackknife's error, and there must be 5 values beyond them on either side (500
        values for p99), else the line is undecided. The p-value of a spread is then the larger of Brown's and
        Forsythe's and that of the ratio's interval, which takes the noise of the median into account. The margin of a
        spread is at least 0.1, for a spread is known far less well than a mean: that of n normal values to
        0.76 / sqrt(n) of itself. Less spread is better wherever the better direction of the metric is known. See
        `aggrkit.statistics.quantiles`. Values are held in memory for this, up to 20 million; beyond, the engine
        computes the statistics of the runs.

        References
        ----------
        Welch (1947), Biometrika 34, 28-35. Schuirmann (1987), J. Pharmacokinet. Biopharm. 15, 657-680 (equivalence).
        Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, 289-300. Harrell and Davis (1982), Biometrika 69, 635-640.
        Brown and Forsythe (1974), J. Am. Stat. Assoc. 69, 364-367.

        Examples
        --------
        >>> import aggrkit
        >>> df = aggrkit.datasets.load("mlperf_training")
        >>> found = df.aggr.compare("v3.0", "v3.1", by="round", metrics="total_time_seconds")
        >>> found["verdict"].value_counts().loc[["regressed", "improved"]].tolist()
        [3, 5]

        The same in the middle, worse in the tail:

        >>> import numpy as np, pandas as pd
        >>> usual = np.linspace(10, 11, 1000)
        >>> slow = np.where(np.arange(1000) < 970, usual, 2 * usual)
        >>> df = pd.DataFrame({"version": ["v1"] * 1000 + ["v2"] * 1000, "latency_ms": np.append(usual, slow)})
        >>> found = df.aggr.compare("v1", "v2", by="version", level=[], statistic=("p50", "p99"))
        >>> dict(zip(found["statistic"], found["verdict"]))
        {'p99': 'regressed', 'p50': 'equivalent'}
        """
        from aggrkit.pipeline.comparison import Compare
        from aggrkit.pipeline.sides import Sides

        if isinstance(baseline, Analysis):
            baseline = baseline._held()
        if hasattr(baseline, "columns"):
            other = self._against(baseline, current)
            return other.compare(
                "baseline",
                "current",
                by=_SIDE_NAME,
                level=level,
                metrics=metrics,
                where=where,
                time_range=time_range,
                margin=margin,
                alpha=alpha,
                adjust=adjust,
                statistic=statistic,
            )
        sides = Sides(baseline, current, by)
        stage = Compare(sides, margin, alpha, adjust, statistic)
        answer, prepared = self._run(self._bare(stage), level, metrics, where, time_range)
        return Comparison._made(answer, _rows_of_group(prepared, sides=sides))

    def calibrate(
        self,
        baseline: Any = None,
        current: Any = None,
        by: str | None = None,
        level: Level = "model_hardware",
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        margin: float | Mapping[str, float] = 0.02,
        alpha: float = 0.05,
        adjust: TableAdjustment | None = "fdr_bh",
        statistic: str | Sequence[str] = "mean",
        repeats: int | None = None,
        rng: int | np.random.Generator = 0,
        progress: bool = True,
    ) -> Calibration:
        """Say how often this very comparison finds a change on these very data where none is.

        Parameters
        ----------
        baseline, current, by
            As in `compare`. Without them, every other run is compared with the rest.
        level, metrics, where, time_range, margin, alpha, adjust, statistic
            As in `compare`: the configuration that is tried.
        repeats : int, optional
            How many times sides are exchanged; by default so often that 200,000 lines are seen, from 40 to 400 times,
            and after 40 times no longer than a minute.
        rng : int or numpy.random.Generator, optional
            Where the random numbers come from.
        progress : bool, optional
            Whether a bar says how far it is, in a terminal or a notebook, where it takes more than two seconds.

        Returns
        -------
        Calibration
            ``what, alarms, trials, rate, ci_lower, ci_upper, stated``, for tables with any verdict, lines with a
            verdict, and p-values below alpha before adjustment; intervals at 95 %. ``meta["seconds"]`` says how long
            it took.

        Raises
        ------
        TooFewObservationsError
            If nothing can be exchanged: no conditions under which both sides were seen, or one run only.
        UnknownNameError, SchemaError, EmptySelectionError
            As in `compare`.

        Notes
        -----
        Whole runs swap sides with runs of the same make-up, or where too few have their like on the other side, runs
        (or observations) within the same conditions; sides of the same run are swapped within it. Lines with a verdict
        are set back to no change first. What is found is what shape of noise, few runs and many lines do to the
        verdicts. What time does is not: sides that were run on different days may differ though nothing was changed,
        and exchanging mixes the days.

        References
        ----------
        Good (2005), Permutation, Parametric and Bootstrap Tests of Hypotheses, 3rd edition, chapter 3.

        Examples
        --------
        >>> import aggrkit
        >>> df = aggrkit.datasets.load("mlperf_training")
        >>> found = df.aggr.calibrate("v3.0", "v3.1", by="round", metrics="total_time_seconds", repeats=20)
        >>> found["what"].tolist()[0], bool(found["ci_lower"].iloc[0] <= 0.05)
        ('tables with any verdict', True)
        """
        from aggrkit.pipeline.calibrate import Calibrate
        from aggrkit.pipeline.comparison import Compare
        from aggrkit.pipeline.halves import Halves
        from aggrkit.pipeline.sides import Sides
        from aggrkit.progress import shown_progress

        if hasattr(baseline, "columns"):
            raise TypeError(
                "calibrate exchanges sides of one source: put both frames into one, with a column that tells the sides"
            )
        sides = Halves() if baseline is None and by is None else Sides(baseline, current, by)
        compare = Compare(sides, margin, alpha, adjust, statistic)
        with shown_progress("Calibration", "exchanges", patience=_PATIENCE) if progress else nullcontext() as advance:
            stage = Calibrate(compare, repeats, rng, advance)
            answer, prepared = self._run(self._bare(stage), level, metrics, where, time_range)
        return Calibration._made(answer, _rows_of_group(prepared))

    def correlations(
        self,
        level: Level = (),
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        method: str | Sequence[str] = ("pearson", "spearman"),
        alpha: float = 0.05,
        adjust: Adjustment | None = "fdr_bh",
    ) -> Correlations:
        """Correlate every two metrics, paired by observation, pooled and within groups.

        Parameters
        ----------
        level, metrics, where, time_range
            As in `stats`; by default over all observations in one group.
        method : str or sequence of str, optional
            "pearson", "spearman" and "kendall".
        alpha : float, optional
            Level of the adjusted p-values.
        adjust : {"fdr_bh", "fdr_by", "holm", "bonferroni", "none"} or None, optional
            How p-values are adjusted over the whole table.

        Returns
        -------
        Correlations
            Columns of the level, then ``metric1, metric2, method, correlation, pvalue, pvalue_adjusted, n, strength,
            direction, significant, reversed_within_groups``. Pairs with a missing value are left out, pair by pair. A
            constant metric has no correlation: NaN, with the reason in ``meta["undefined"]``. The flag says
            that the correlation within model, hardware and conditions has, significantly, the other sign.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> df = pd.DataFrame({"model": list("aaaa"), "x": [1.0, 2, 3, 4], "y": [2.0, 4, 6, None]})
        >>> df.aggr.correlations(method="pearson")[["correlation", "n"]].values.tolist()
        [[1.0, 3.0]]
        """
        from aggrkit.pipeline.correlations import Correlate

        stage = Correlate(names_of(method, "a method is a name or a list of names"), alpha, adjust)
        answer, prepared = self._run(self._bare(stage), level, metrics, where, time_range)
        return Correlations._made(answer, _rows_of_group(prepared))

    def trends(
        self,
        level: Level = "model_hardware",
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        alpha: float = 0.05,
        adjust: Adjustment | None = "fdr_bh",
    ) -> Trends:
        """Say which metrics drift over time, and how fast.

        Parameters
        ----------
        level, metrics, where, time_range
            As in `stats`.
        alpha : float, optional
            Level of the adjusted p-values below which there is a verdict.
        adjust : {"fdr_bh", "fdr_by", "holm", "bonferroni", "none"} or None, optional
            How p-values are adjusted over the whole table.

        Returns
        -------
        Trends
            Columns of the level, then ``metric, unit, n, start, end, slope_per_day, slope_pct_per_day, ci_lower,
            ci_upper, tau, pvalue, pvalue_adjusted, verdict``. `n` is the number of units. `slope_pct_per_day` is in
            percent of the median, and in percentage points for pass/fail metrics; the 95 % interval is that of this
            column. Verdicts are ordered: "worsening", "trending" (the better direction isn't known), "improving",
            "none", and "too_few" (fewer than 4 distinct times).

        Raises
        ------
        UnknownNameError
            If there is no time column; or as in `stats`.
        EmptySelectionError
            If no value of it can be read as a time; or as in `stats`.

        Notes
        -----
        Theil and Sen's slope with Sen's interval, and Mann and Kendall's test with ties of values and times. The unit
        is the run where there are run ids, by its median and first time; else the moment, equal times being one unit.
        Like is compared with like: every value is taken relative to the median of its cell (group, model, hardware,
        task type and conditions), as a ratio where all values of the group are positive, so that a change of what is
        run is no trend. What drifts in a cell that was seen at one time only can't be told. Seasons are not modelled,
        and units are taken as independent: where neighbours go together, alarms are more frequent (simulated, 40 units,
        alpha 5 %: 5 % alarms without, 9 % with a correlation of neighbours of 0.2, 23 % with 0.5). Beyond 2,000 units
        the medians over as many bins of time are taken, and passes and failures are pooled into bins of 10 or more;
        without run ids and beyond 2 million observations, the unit is a slice of time, 4,000 in all.

        References
        ----------
        Mann (1945), Econometrica 13, 245-259. Sen (1968), J. Am. Stat. Assoc. 63, 1379-1389. Kendall (1975), Rank
        Correlation Methods.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> days = pd.date_range("2025-01-01", periods=8)
        >>> df = pd.DataFrame({"model": "a", "timestamp": days, "latency_ms": [10, 11, 10, 12, 12, 13, 14, 14.0]})
        >>> found = df.aggr.trends(level="model")
        >>> found[["slope_pct_per_day", "verdict"]].round(1).values.tolist()
        [[5.0, 'worsening']]
        """
        from aggrkit.pipeline.trends import FindTrends

        answer, prepared = self._run(self._bare(FindTrends(alpha, adjust)), level, metrics, where, time_range)
        return Trends._made(answer, _rows_of_group(prepared))

    def changes(
        self,
        level: Level = "model_hardware",
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        false_alarm: float = 0.05,
        margin: float | Mapping[str, float] = 0.02,
        adjust: Adjustment | None = "fdr_bh",
        across: Names = None,
        common_mode: Literal["keep", "remove"] = "keep",
    ) -> Changes:
        """Say when the level of each metric shifted, by how much, and what else changed at the same place.

        Parameters
        ----------
        level, metrics, where, time_range
            As in `stats`; each group and metric is a series. Group by conditions to see what only one of them did.
        false_alarm : float, optional
            The dial: with ``adjust=None``, the share of series without changes in which one may be reported all the
            same; else the share of false ones among those reported.
        margin : float or mapping, optional
            The smallest change that matters: 0.02 is 2 %, and 2 points for pass rates. By metric, where they differ.
        adjust : {"fdr_bh", "fdr_by", "holm", "bonferroni", "none"} or None, optional
            How p-values are adjusted over all series; changes that don't survive are counted in
            ``meta["not_surviving"]``.
        across : str or list of str, optional
            Models, hardware, task types or conditions that are not held fixed: a series goes on when they change, so
            that e.g. a new machine is a change of level.
        common_mode : {"keep", "remove"}, optional
            "remove": what all groups and conditions of a run share is taken off first, so that a machine that was slow
            in some runs is no change, and a change of a few groups in these runs still is. A change of the code that
            slows everything down is taken off as well. `variance` shows the factor of each run.

        Returns
        -------
        Changes
            Columns of the level, then ``metric, at, at_lower, at_upper, before, after, change_pct, ci_lower, ci_upper,
            pvalue_adjusted, direction, status, verdict, coincides_with``; the sure, the bad and the large first. `at`
            is the time of the first unit after the change, and with 95 % confidence it is between `at_lower` and
            `at_upper`. `change_pct` is in percentage points for pass/fail metrics. `direction` is "up" or "down";
            `verdict` "regressed", "improved", or "changed" where the better direction isn't known. `status` is
            "confirmed" (three or more units on either side), "suspect" (only the last one or two differ) or "trend" (a
            straight line fits better than steps: `before` and `after` are its ends). `coincides_with` names what was
            one thing in the three units before and another in the three after: a version, a machine.

        Raises
        ------
        UnknownNameError
            If there is no time column; or as in `stats`.
        EmptySelectionError
            If no value of it can be read as a time; or as in `stats`.

        Notes
        -----
        Exact segmentation with biweight loss by functional pruning, so that no single run makes a change; a change must
        then hold against noise with memory and against a straight line, see
        `aggrkit.statistics.changepoints.detect`. The unit is the run where there are run ids, by its median and first
        time; else the moment. Like is compared with like as in `trends`; levels of cells and of segments are fitted in
        turn. Values are logarithms where all of a series are positive. Beyond 10,000 units the medians over as many
        bins of time are taken, and passes and failures are pooled into bins of 10 or more. Intervals take the place of
        the change as known.

        References
        ----------
        Fearnhead and Rigaill (2019), Changepoint detection in the presence of outliers, J. Am. Stat. Assoc. 114,
        169-183.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> latency = [10.0, 10.1, 9.9, 10.2, 9.8, 10.1, 9.9, 12.1, 11.9, 12.0, 12.2, 11.8, 12.1, 12.0]
        >>> days = pd.date_range("2025-01-01", periods=14)
        >>> df = pd.DataFrame({"model": "a", "timestamp": days, "latency_ms": latency})
        >>> found = df.aggr.changes(level="model")
        >>> line = found.iloc[0]
        >>> str(line["at"].date()), round(line["change_pct"]), line["status"], line["verdict"]
        ('2025-01-08', 20, 'confirmed', 'regressed')
        """
        from aggrkit.pipeline.changes import FindChanges

        names = () if across is None else names_of(across, "across is a name or a list of names")
        stage = FindChanges(false_alarm, margin, adjust, tuple(names), common_mode)
        answer, prepared = self._run(self._bare(stage), level, metrics, where, time_range)
        units = {metric.name: metric.unit for metric in prepared.metrics}
        answer = replace(answer, meta=MappingProxyType({**answer.meta, "units": units}))
        return Changes._made(answer, _rows_of_group(prepared))

    def differences(
        self,
        dimensions: Names = None,
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        alpha: float = 0.05,
        adjust: Adjustment | None = "fdr_bh",
    ) -> Differences:
        """Say by what the metrics differ, and by how much.

        Parameters
        ----------
        dimensions : str or list of str, optional
            Which columns; by default models, hardware, workers, task types, conditions and versions. Those with fewer
            than 2 or more than 200 values are left out, and named in ``meta["skipped"]``.
        metrics, where, time_range
            As in `stats`.
        alpha : float, optional
            Level of the adjusted p-values.
        adjust : {"fdr_bh", "fdr_by", "holm", "bonferroni", "none"} or None, optional
            How p-values are adjusted over the whole table.

        Returns
        -------
        Differences
            ``dimension, metric, unit, n, groups, effect_size, magnitude, pvalue, pvalue_adjusted, significant, best,
            worst, lowest, highest, spread_pct, adjusted_for``. `n` is the number of runs of each value of the
            dimension, or of observations where there are no run ids and for pass/fail metrics. `lowest` and `highest`
            are the values of the dimension with the lowest and highest level; `best` and `worst` the same, where the
            better direction is known. `spread_pct` says how far the highest is above the lowest: in percent, and in
            percentage points for pass/fail metrics. A constant metric has no difference: NaN, with the reason in
            ``meta["undefined"]``.

        Raises
        ------
        SchemaError
            If no column describes the observations.
        UnknownNameError
            If there is no such column; or as in `stats`.

        Notes
        -----
        Like is compared with like: models, hardware, task types and conditions are held fixed one after the other, as
        long as half of the values stay beside one of another group; `adjusted_for` names them. Values are taken
        relative to the median of their cell, as ratios where all are positive, and ranked; the test is Kruskal and
        Wallis's, with the variance that ranks have within cells. Where there are run ids, the unit is the median of a
        run. Levels are fitted to the medians of each cell's groups. The effect size is epsilon squared ("small" from
        .01, "medium" from .06, "large" from .14). Pass/fail metrics: chi-squared, within cells that of Cochran,
        Mantel and Haenszel, on single observations, with Cramer's V (.1, .3, .5). What was observed together may
        differ for another reason than the dimension.

        References
        ----------
        Kruskal and Wallis (1952), J. Am. Stat. Assoc. 47, 583-621. Mehra and Sarangi (1967), Ann. Math. Stat. 38,
        90-107. Landis, Heyman and Koch (1978), Int. Stat. Rev. 46, 237-254. Tomczak and Tomczak (2014), Trends in Sport
        Sciences 21, 19-25.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> df = pd.DataFrame({"worker": list("aaaaabbbbb"), "latency_ms": [10, 11, 12, 10, 11, 13, 14, 13, 15, 14.0]})
        >>> found = df.aggr.differences()
        >>> found[["dimension", "metric", "best", "worst", "significant"]].values.tolist()
        [['worker', 'latency_ms', 'a', 'b', True]]
        """
        from aggrkit.pipeline.differences import FindDifferences

        names = None if dimensions is None else names_of(dimensions, "dimensions are a name or a list of names")
        stage = FindDifferences(names, alpha, adjust)
        answer, prepared = self._run(self._bare(stage), (), metrics, where, time_range)
        return Differences._made(answer, _rows_of_group(prepared))

    def variance(
        self,
        level: Level = (),
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        alpha: float = 0.05,
        adjust: Adjustment | None = "fdr_bh",
    ) -> Variance:
        """Say where the noise comes from: workers, runs, days, or what is run; and which runs were off as a whole.

        Parameters
        ----------
        level, metrics, where, time_range
            As in `stats`; by default over all observations in one group.
        alpha : float, optional
            Level of the adjusted p-values.
        adjust : {"fdr_bh", "fdr_by", "holm", "bonferroni", "none"} or None, optional
            How p-values are adjusted over all workers and runs.

        Returns
        -------
        Variance
            Columns of the level, then ``metric, factor, level, share, effect_pct, ci_lower, ci_upper, n,
            pvalue_adjusted``. Lines of two kinds: of each metric and factor ("worker", "run", "day", what is run, and
            "residual") the share of the variance, with `level` missing and `effect_pct` the factor's standard deviation
            in percent; and of each worker the offset from the others, shrunken, with its 95 % interval. A factor that
            can't be told from another has no share; ``meta["untold"]`` says why. `runs` of the answer holds the factor
            that all metrics and conditions of a run share: "the machine moved, not the code".

        Raises
        ------
        UnknownNameError
            If there are neither workers nor runs nor times; or as in `stats`.

        Notes
        -----
        Crossed random effects of the logarithms (of the values, where some aren't positive) by the method of moments,
        what is run being held fixed; see `aggrkit.statistics.variance.variance_components`. Workers are judged by their
        runs, not by single observations. The factor of a run is that of a median polish of runs and conditions.

        References
        ----------
        Searle, Casella and McCulloch (1992), Variance Components, chapter 5. Robinson (1991), Stat. Sci. 6, 15-32.
        Tukey (1977), Exploratory Data Analysis, chapter 11.

        Examples
        --------
        >>> import numpy as np, pandas as pd, aggrkit
        >>> rng = np.random.default_rng(0)
        >>> worker = np.repeat(np.arange(6), 40)
        >>> latency = 10 * np.exp(np.where(worker == 2, 0.1, 0) + rng.normal(0, 0.01, 240))
        >>> df = pd.DataFrame({"worker": worker.astype(str), "run_id": np.arange(240) // 4, "latency_ms": latency})
        >>> found = df.aggr.variance()
        >>> worst = found.dropna(subset="level").iloc[0]
        >>> worst["level"], round(worst["effect_pct"])
        ('2', 9)
        """
        from aggrkit.pipeline.variance import FindVariance

        answer, prepared = self._run(self._bare(FindVariance(alpha, adjust)), level, metrics, where, time_range)
        return Variance._made(answer, _rows_of_group(prepared))

    def health(
        self,
        metrics: Names = None,
        where: Where = None,
        time_range: Sequence[Any] | None = None,
        alpha: float = 0.05,
        margin: float = 0.02,
    ) -> Health:
        """Say which workers are sick, and by what evidence.

        Parameters
        ----------
        metrics, where, time_range
            As in `stats`; metrics whose better direction isn't known are left out.
        alpha : float, optional
            Chance that any healthy worker is called sick.
        margin : float, optional
            The smallest offset that matters: 0.02 is 2 %.

        Returns
        -------
        Health
            A row per worker (or device, where there are no workers), the sickest first: ``worker, rank, verdict,
            evidence, offset_pct, spread_ratio, failure_rate, drift_pct_per_day, pvalue, pvalue_adjusted, n_runs, n,
            reason``. Verdicts are ordered: "sick", "suspect", "fine", "too_few". `reason` says it in words. `tests` of
            the answer holds every test that was made.

        Raises
        ------
        UnknownNameError
            If there are neither workers nor hardware; or as in `stats`.

        Notes
        -----
        Each worker against the others, with model, hardware, task type and conditions held fixed: its offset (by runs),
        its spread (Brown and Forsythe), its failures (Fisher), and its drift (Mann and Kendall). p-values are adjusted
        by Holm over the tests of a worker, and then over workers.

        References
        ----------
        Brown and Forsythe (1974), J. Am. Stat. Assoc. 69, 364-367. Holm (1979), Scand. J. Stat. 6, 65-70.

        Examples
        --------
        >>> import numpy as np, pandas as pd, aggrkit
        >>> rng = np.random.default_rng(0)
        >>> worker = np.repeat(np.arange(6), 20)
        >>> latency = 10 * np.exp(np.where(worker == 2, 0.1, 0) + rng.normal(0, 0.01, 120))
        >>> df = pd.DataFrame({"worker": worker.astype(str), "run_id": np.arange(120), "latency_ms": latency})
        >>> df.aggr.health()[["worker", "verdict"]].head(2).values.tolist()
        [['2', 'sick'], ['0', 'fine']]
        """
        from aggrkit.pipeline.health import FindHealth
        from aggrkit.pipeline.runs_of_cells import worker_column

        answer, prepared = self._run(self._bare(FindHealth(alpha, margin)), (), metrics, where, time_range)
        by_worker = replace(prepared, groups=MappingProxyType({"worker": worker_column(prepared.schema)}))
        return Health._made(answer, _rows_of_group(by_worker))

    def _pipeline(self) -> Pipeline:
        from aggrkit.pipeline.pipeline import Pipeline

        return self.pipeline or Pipeline()

    def _bare(self, *stages: Any) -> Pipeline:
        """Return the pipeline without its aggregates, with the postprocessors of a question first."""
        pipeline = self._pipeline()
        return replace(pipeline, aggregate=(), postprocess=(*stages, *pipeline.postprocess))

    def _run(
        self,
        pipeline: Pipeline,
        level: Level,
        metrics: Names,
        where: Where,
        time_range: Sequence[Any] | None,
        *,
        needs_metrics: bool = True,
        numbered: bool = False,
    ) -> tuple[Answer, Prepared]:
        mapping, condition = _split(where)
        selection = Selection(level=level, metrics=metrics, where=mapping, time_range=time_range)  # type: ignore[arg-type]
        observations = self.source(self.given)
        if numbered:
            from aggrkit.pipeline.rows import numbered_rows

            observations = numbered_rows(observations)
        if not needs_metrics and not observations.schema.metrics:
            raise SchemaError("no column was recognised as a metric; name one: df.aggr(metrics=['...'])")
        prepared = pipeline.prepare(observations, selection, condition)
        return pipeline.answer(prepared), prepared

    def _pass_fail(self, metrics: Names) -> Names:
        """Return the metrics that were asked for, or all that are pass or fail."""
        if metrics is not None:
            return metrics
        known = self.schema.metrics
        kept = [metric.name for metric in known if metric.is_proportion]
        if not kept:
            names = [metric.name for metric in known]
            raise UnknownNameError(f"there is no pass/fail metric; recognised: {listed(names)}", choices=names)
        return kept

    def _held(self) -> pd.DataFrame:
        """Return the rows of a source that is in memory, to be compared against."""
        from aggrkit.pipeline.expressions import fetch

        observations = self.source(self.given)
        if observations.take is None:
            raise SchemaError(
                f"{observations.label} is on disk, and can't be put beside another source; open both at once by a glob"
                " and say by=..., or read it into a DataFrame"
            )
        rows = fetch(observations.table.aggregate(n=observations.table.count()), observations.label)["n"][0].as_py()
        return observations.take(range(rows))

    def _against(self, baseline: pd.DataFrame, current: Any) -> Analysis:
        """Return an analysis of these observations and a baseline's together, marked by side."""
        if current is not None:
            raise ValueError(
                "with a DataFrame as baseline, the current side is the one that you ask; leave out 'current'"
            )
        from aggrkit.sources.frame import both_sides

        return Analysis(
            lambda given: both_sides(baseline, self.source(given), given, _SIDE_NAME), self.given, self.pipeline
        )


_SIDE_NAME = "aggrkit_side"


def _split(where: Where) -> tuple[Any, Any]:
    """Tell a mapping of filters from an Ibis expression."""
    if where is None or isinstance(where, Mapping):
        return where, None
    from aggrkit.pipeline.rows import is_condition

    if not is_condition(where):
        raise TypeError(f"'where' is a mapping of column to values, or an Ibis expression; got {quoted(where)}")
    return None, where


def _rows_of_group(
    prepared: Prepared, *, value: bool = False, sides: Sides | None = None
) -> Callable[[pd.Series[Any]], pd.DataFrame]:
    def rows(line: pd.Series[Any]) -> pd.DataFrame:
        from aggrkit.pipeline.rows import rows_behind, rows_of_sides

        groups = {name: line[name] for name in prepared.groups if name in line.index}
        if sides is not None:
            return rows_of_sides(prepared, groups, sides)
        return rows_behind(prepared, groups, (line["column"], line["value"]) if value else None)

    return rows


def _histograms_of(prepared: Prepared) -> Callable[[pd.DataFrame, str, int], pd.DataFrame]:
    def histograms(lines: pd.DataFrame, metric: str, bins: int) -> pd.DataFrame:
        from aggrkit.pipeline.histograms import histograms_of_lines

        return histograms_of_lines(prepared, lines, metric, bins)

    return histograms


def _row_of_observation(prepared: Prepared, answer: Answer) -> Callable[[pd.Series[Any]], pd.DataFrame]:
    def rows(line: pd.Series[Any]) -> pd.DataFrame:
        from aggrkit.pipeline.rows import rows_numbered

        return rows_numbered(prepared, [int(answer.frames["anomalies_rows"]["row"].to_dict()[line.name])])

    return rows
