"""What a reader must know before believing a line of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.model.schema import Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from aggrkit.pipeline.units import Sample
    from aggrkit.statistics.comparison import Differences

__all__ = ["differing", "notes_of"]

_UNLIKE: Final = 0.5


def notes_of(
    sample: Sample,
    found: Differences | None,
    lines: pd.DataFrame,
    design: NDArray[np.object_],
    unlike: list[list[str]] | None = None,
    remarks: Mapping[int, Sequence[str]] | None = None,
) -> Any:
    """Say of each cell what a reader must know before believing it.

    What differs between the sides (`differing`) is looked up unless it is given; `remarks` are further ones, by cell.
    """
    cells = sample.data.cells
    unlike = differing(sample) if unlike is None else unlike
    remarks = remarks or {}
    left_out = lines["left_out_pct"].to_numpy(dtype=float)
    lone = np.zeros(cells, dtype=bool) if found is None else np.minimum(found.n_baseline, found.n_current) == 1
    sizes_of = lines[["n_baseline", "n_current"]].to_numpy(dtype=int)
    notes: list[str] = []
    for cell in range(cells):
        parts: list[str] = []
        sizes = sizes_of[cell]
        if not sizes.min():
            side = sample.data.names[0 if not sizes[0] else 1]
            notes.append(f"no data in {side}")
            continue
        if not sample.like[cell]:
            parts.append("not like with like")
        elif found is not None and design[cell] == "runs" and lone[cell]:
            parts.append("a single run on one side: its noise is taken to be that of the other side")
        elif design[cell] == "observations of a single run":
            parts.append("a single run on a side: run-to-run noise can't be seen, alarms are too frequent")
        elif design[cell] == "observations within a run":
            parts.append("both sides in one run: compared by its observations")
        elif design[cell] == "runs of one value":
            parts.append("a run has one value: compared by values")
        elif design[cell] == "observations" and found is not None:
            parts.append("no run ids: observations are taken as independent")
        parts += remarks.get(cell, ())
        if unlike[cell]:
            parts.append("differs too: " + ", ".join(unlike[cell]))
        if sample.refined[cell]:
            parts.append("compared on the workers that both sides have, for workers differ")
        if sample.like[cell] and left_out[cell] >= 1:
            parts.append(f"{left_out[cell]:.0f} % of the observations unmatched: the other side has none of their kind")
        if found is not None and found.heterogeneity[cell] < 0.001:
            parts.append(f"the change differs between the {found.strata[cell]} strata")
        if found is not None and found.se[cell] == 0:
            parts.append("no variation on either side")
        notes.append("; ".join(parts))
    return pd.array(notes, dtype="str")


def differing(sample: Sample) -> list[list[str]]:
    """Name what differs between the sides of each cell and isn't matched on."""
    data, cells = sample.data, sample.data.cells
    matched = {column.name for column in data.matched}
    watched = [(f"d{k}", column, False) for k, column in enumerate(data.matching.differing)]
    watched += [
        (f"p{k}", column, False) for k, column in enumerate(data.matching.perhaps) if column.name not in matched
    ]
    watched += [(f"m{k}", column, True) for k, column in enumerate(data.matching.on)]
    names: list[list[str]] = [[] for _ in range(cells)]
    for key, column, only_unlike in watched:
        looked_at = ~sample.like[sample.cell] if only_unlike else sample.compared()
        if column.role is Role.WORKER:
            looked_at = looked_at & ~sample.refined[sample.cell]
        if not looked_at.any():
            continue
        for cell, values in _apart(sample, data.units[key], looked_at):
            names[cell].append(_described(column.name, values))
    return names


def _apart(
    sample: Sample, column: pd.Series[Any], looked_at: NDArray[np.bool_]
) -> Iterator[tuple[int, list[pd.Index[Any]]]]:
    """Give the cells whose sides share less than half of the values of a column, and the values of either side."""
    codes, values = pd.factorize(column, use_na_sentinel=False)
    key = (sample.cell * len(values) + codes[sample.rows])[looked_at]
    pairs, pair = np.unique(key, return_inverse=True)
    cell, code = np.divmod(pairs, len(values))
    place = sample.side[looked_at] * len(pairs) + pair
    mass = np.bincount(place, sample.column("n")[looked_at], 2 * len(pairs)).reshape(2, -1)
    totals = [np.bincount(cell, weight, sample.data.cells)[cell] for weight in mass]
    with np.errstate(invalid="ignore"):
        shares = [weight / total for weight, total in zip(mass, totals, strict=True)]
    distance = np.nan_to_num(np.bincount(cell, np.abs(shares[0] - shares[1]), sample.data.cells) / 2)
    for found in np.flatnonzero(distance > _UNLIKE).tolist():
        mine = slice(*np.searchsorted(cell, [found, found + 1]))
        yield found, [values[code[mine][weight[mine] > 0]] for weight in mass]


def _described(name: str, values: Sequence[Any]) -> str:
    """Name a column whose values differ; with the values, where each side has one."""
    texts = [_text(side[0]) for side in values if len(side) == 1]
    return f"{name} ({texts[0]} -> {texts[1]})" if len(texts) == 2 and max(map(len, texts)) <= 40 else name


def _text(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    return f"{value:g}" if isinstance(value, float) else str(value)
