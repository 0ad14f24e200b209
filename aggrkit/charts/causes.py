"""Where noise comes from, and which workers are off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from aggrkit.charts.forest import Forest, counted, limits
from aggrkit.charts.parts import (
    MOST_LINES,
    count,
    finished,
    fixed_part,
    group_numbers,
    labels,
    left_out,
    nothing,
    number,
    numbers,
    require,
    signed,
)
from aggrkit.charts.stacks import MOST_SEGMENTS, Stacks

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

__all__ = ["health_chart", "variance_chart", "workers_chart"]

_FACTORS: Final = ("worker", "run", "day")
_REST: Final = "not explained"
_VERDICTS: Final = ("sick", "suspect", "fine", "too_few")
_OFF: Final = ("surely off", "within the noise")
# no group has these names
_EFFECT, _LOW, _HIGH, _P, _SHARE, _PART = "__effect", "__low", "__high", "__p", "__share", "__part"
_LONGEST: Final = 64
_THAN: Final = " than the other workers"


def variance_chart(variance: pd.DataFrame, groups: Sequence[str] = ()) -> alt.LayerChart:
    """Return how the noise of each metric is shared out among workers, runs, days, and what nothing explains.

    Parameters
    ----------
    variance : pandas.DataFrame
        The frame "variance" (see `aggrkit.model.answer.COLUMNS`).
    groups : sequence of str, optional
        Names of the group columns.

    Returns
    -------
    altair.LayerChart
        A bar of 100 % for each group and metric, with the standard deviation of each part beside it; what is run
        counts as no noise. At most 40 lines, the noisiest.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import variance_chart
    >>> line = {"metric": "latency_ms", "level": None, "factor": ["worker", "residual"]}
    >>> variance_chart(pd.DataFrame(line | {"share": [0.3, 0.1], "effect_pct": [3.0, 1.7]})).description
    'Noise of 1 line: of that of latency_ms, 75 % is worker, 25 % is not explained.'
    """
    title = "Where the noise comes from"
    require(variance, [*groups, "metric", "factor", "level", "share", "effect_pct"])
    lines = pd.DataFrame(variance).reset_index(drop=True)
    lines[_SHARE], lines[_EFFECT] = numbers(lines, "share"), numbers(lines, "effect_pct")
    known = lines["level"].isna() & lines["factor"].isin([*_FACTORS, "residual"]) & lines[_SHARE].notna()
    lines = lines[known].copy()
    series = group_numbers(lines, [*groups, "metric"])
    lines[_PART] = lines["factor"].map(str).replace("residual", _REST)
    shares = lines[_SHARE].groupby([series, lines[_PART]], sort=False).sum().unstack()
    shares = shares[shares.sum(axis=1) > 0]
    if not len(shares):
        return nothing(title, "nothing varies, or nothing repeats.")
    parts = [name for name in (*_FACTORS, _REST) if name in shares.columns]
    noise = np.sqrt((lines[_EFFECT] ** 2).groupby(series).sum()).reindex(shares.index)
    order = list(noise.sort_values(ascending=False, kind="stable").index)
    kept = order[: min(MOST_LINES, MOST_SEGMENTS // len(parts))]
    first = lines[~series.duplicated()].iloc[kept]
    percent = 100 * shares.div(shares.sum(axis=1), axis=0)
    names = labels(first, groups, metric=True)
    plot = Stacks(
        names=names,
        said=[_deviations(lines[series.eq(key)]) for key in kept],
        parts=parts,
        shares=percent.loc[kept],
        rest=_REST,
        title="share of the noise (% of the variance)",
    )
    best = percent.loc[kept[0], parts].dropna().sort_values(ascending=False, kind="stable")
    return finished(
        plot.layers(),
        title=title,
        subtitle=[
            "; ".join(
                words
                for words in (fixed_part(first, [*groups, "metric"]), "beside: standard deviation of each part")
                if words
            ),
            left_out(len(order) - len(kept), "the least noisy"),
        ],
        description=f"Noise of {count(len(order), 'line')}: of that of {names[0]}, "
        + ", ".join(f"{share:.0f} % is {name}" for name, share in best.items())
        + ".",
    )


def workers_chart(variance: pd.DataFrame, groups: Sequence[str] = (), *, alpha: float = 0.05) -> alt.LayerChart:
    """Return how far each worker is off the others, with its interval.

    Parameters
    ----------
    variance : pandas.DataFrame
        The frame "variance" (see `aggrkit.model.answer.COLUMNS`).
    groups : sequence of str, optional
        Names of the group columns.
    alpha : float, optional
        With an adjusted p-value below, a worker is surely off.

    Returns
    -------
    altair.LayerChart
        At most 40 lines, those that are surely off first.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import workers_chart
    >>> line = {"metric": "latency_ms", "factor": "worker", "level": "w3", "effect_pct": 9.0}
    >>> line |= {"ci_lower": 7.0, "ci_upper": 11.0, "n": 12, "pvalue_adjusted": 0.001}
    >>> workers_chart(pd.DataFrame([line])).description
    'Workers against the others, 1 line: 1 surely off; farthest is w3, +9 % (+7 to +11).'
    """
    title = "Workers against the others"
    require(variance, [*groups, "metric", "level", "effect_pct", "ci_lower", "ci_upper", "n", "pvalue_adjusted"])
    lines = pd.DataFrame(variance).reset_index(drop=True)
    for name, column in ((_EFFECT, "effect_pct"), (_LOW, "ci_lower"), (_HIGH, "ci_upper"), (_P, "pvalue_adjusted")):
        lines[name] = numbers(lines, column)
    told = lines[lines["level"].notna() & lines[_EFFECT].notna()]
    if not len(told):
        return nothing(title, "no worker can be told from the others.")
    within = ~(told[_P] < alpha)
    told = told.iloc[np.lexsort((-told[_EFFECT].abs(), within))]
    shown = told.head(MOST_LINES)
    names = [*groups, "metric", "level"]
    verdicts = [_OFF[0] if sure else _OFF[1] for sure in told[_P] < alpha]
    said = [_offset(line) for _, line in shown.iterrows()]
    plot = Forest(
        names=labels(shown, ["level", *names[:-1]]),
        x=shown[_EFFECT],
        low=shown[_LOW],
        high=shown[_HIGH],
        verdicts=verdicts[: len(shown)],
        said=said,
        tips={
            "metric": list(shown["metric"]),
            "adjusted p-value": [number(p) for p in shown[_P]],
            "n": list(shown["n"]),
        },
        title="offset from the other workers (%)",
        domain=limits(shown[_EFFECT], shown[_LOW], shown[_HIGH], 1.0),
    )
    return finished(
        plot.layers(),
        values=plot.values(),
        title=title,
        subtitle=[fixed_part(shown, names), plot.cut(), left_out(len(told) - len(shown))],
        description=f"{title}, {count(len(told), 'line')}: {counted(pd.DataFrame({'verdict': verdicts}), _OFF)}; "
        f"farthest is {plot.names[0]}, {said[0]}.",
    )


def health_chart(health: pd.DataFrame) -> alt.LayerChart:
    """Return the workers, the sickest first: how far each is off, its verdict, and why.

    Parameters
    ----------
    health : pandas.DataFrame
        The frame "health" (see `aggrkit.model.answer.COLUMNS`).

    Returns
    -------
    altair.LayerChart
        At most 40 workers.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import health_chart
    >>> line = {"worker": "w3", "rank": 1, "verdict": "sick", "evidence": "offset", "offset_pct": 9.0, "n_runs": 12}
    >>> frame = pd.DataFrame([line | {"pvalue_adjusted": 0.001, "reason": "latency_ms 9 % higher than the others"}])
    >>> health_chart(frame).description
    'Health of 1 worker: 1 sick; first is w3, latency_ms 9 % higher than the others.'
    """
    title = "Health of workers"
    require(health, ["worker", "rank", "verdict", "evidence", "offset_pct", "pvalue_adjusted", "n_runs", "reason"])
    lines = pd.DataFrame(health).reset_index(drop=True)
    lines["verdict"] = lines["verdict"].astype(object).where(lines["verdict"].notna(), "too_few").map(str)
    if not len(lines):
        return nothing(title, "there are no workers.")
    lines = lines.iloc[numbers(lines, "rank").argsort(kind="stable")]
    shown = lines.head(MOST_LINES)
    offset = numbers(shown, "offset_pct")
    missing = pd.Series(np.nan, index=shown.index)
    reasons = [str(reason) for reason in shown["reason"]]
    plot = Forest(
        names=labels(shown, ["worker"]),
        x=offset,
        low=missing,
        high=missing,
        verdicts=list(shown["verdict"]),
        said=[_short(reason) for reason in reasons],
        tips={
            "why": reasons,
            "evidence": list(shown["evidence"]),
            "adjusted p-value": [number(p) for p in numbers(shown, "pvalue_adjusted")],
            "runs": [number(n) for n in numbers(shown, "n_runs")],
        },
        title="offset from the other workers (%)",
        domain=limits(offset, missing, missing, 1.0),
    )
    return finished(
        plot.layers(),
        values=plot.values(),
        title=title,
        subtitle=[
            "the sickest first" + ("; a worker without a point has no offset" if offset.isna().any() else ""),
            plot.cut(),
            left_out(len(lines) - len(shown), "the healthiest"),
        ],
        description=f"Health of {count(len(lines), 'worker')}: {counted(lines, _VERDICTS)}; first is {plot.names[0]}, "
        f"{reasons[0]}.",
    )


def _short(reason: str) -> str:
    """Return a reason without what all of them say."""
    told = reason.replace(_THAN, "")
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 1]}…"


def _offset(line: pd.Series[float]) -> str:
    known = pd.notna(line[_LOW]) and pd.notna(line[_HIGH])
    span = f" ({signed(line[_LOW])} to {signed(line[_HIGH])})" if known else ""
    return f"{signed(line[_EFFECT])} %{span}"


def _deviations(lines: pd.DataFrame) -> str:
    """Return the standard deviation of each part, in words."""
    told = lines[lines[_EFFECT] > 0].sort_values(_EFFECT, ascending=False, kind="stable")
    return ", ".join(
        f"{part} {signed(effect).lstrip('+')} %" for part, effect in zip(told[_PART], told[_EFFECT], strict=True)
    )
