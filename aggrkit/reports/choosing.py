"""Which template fits results, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import AggrError
from aggrkit.model.metric import METRIC_SPELLINGS, RESULT_TYPES
from aggrkit.model.schema import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.analysis import Analysis
    from aggrkit.model.schema import Schema

__all__ = ["chosen_template"]

_USUAL: Final = "performance"
_SIDES: Final = ("by", "baseline", "current")


def chosen_template(results: Analysis, given: Mapping[str, Any]) -> tuple[str, str]:
    """Return the template that fits results, and why.

    Parameters
    ----------
    results : Analysis
        What the report is of.
    given : mapping
        What is said to the template.

    Returns
    -------
    tuple of str
        Its name, and the reason.

    Examples
    --------
    >>> import aggrkit
    >>> from aggrkit.reports.choosing import chosen_template
    >>> chosen_template(aggrkit.datasets.load("onnx_scoreboard").aggr, {})
    ('compatibility', "the results are of the type 'compatibility'")
    """
    said = [name for name in _SIDES if given.get(name) is not None]
    if said:
        return "regression", f"{said[0]} is given, so two sides are compared"
    if given.get("result_type") in RESULT_TYPES:
        return str(given["result_type"]), "it is the result type that was asked for"
    try:
        schema = results.schema
        kind = _most_frequent_type(results, schema)
    except AggrError:  # nothing that can be read: the report says why
        return _USUAL, "the results don't say what they are"
    if kind is not None:
        return kind, f"the results are of the type {kind!r}"
    names = {METRIC_SPELLINGS.get(metric.name.casefold(), metric.name.casefold()) for metric in schema.metrics}
    shares = {kind: names & {metric.name for metric in metrics} for kind, metrics in RESULT_TYPES.items()}
    best = max(shares, key=lambda kind: len(shares[kind]))
    if shares[best]:
        return best, f"the metric {min(shares[best])} is one of {best.replace('_', ' ')}"
    return _USUAL, "no metric says what the results are"


def _most_frequent_type(results: Analysis, schema: Schema) -> str | None:
    column = schema.role(Role.RESULT_TYPE)
    if column is None:
        return None
    counts = pd.DataFrame(results.distributions([column.name], level=()))
    known = counts[counts["value"].isin(list(RESULT_TYPES))]
    return None if known.empty else str(known.sort_values("count", ascending=False)["value"].iloc[0])
