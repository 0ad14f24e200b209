"""What a reader must know before believing a line of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.model.schema import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    sizes = sample.column("n")
    for key, column, only_unlike in watched:
        looked_at = ~sample.like[sample.cell] if only_unlike else sample.compared()
        if column.role is Role.WORKER:
            looked_at = looked_at & ~sample.refined[sample.cell]
        if not looked_at.any():
            continue
        value = data.units[key].to_numpy()[sample.rows]
        part = pd.DataFrame({"cell": sample.cell, "side": sample.side, "value": value, "n": sizes})[looked_at]
        shares = (
            part.groupby(["cell", "value", "side"], dropna=False, observed=True)["n"]
            .sum()
            .unstack("side", fill_value=0)
        )
        shares = shares.reindex(columns=[0, 1], fill_value=0)
        totals = shares.groupby(level="cell").transform("sum")
        apart = ((shares[0] / totals[0] - shares[1] / totals[1]).abs().groupby(level="cell").sum() / 2).fillna(0.0)
        for cell in apart.index[apart.gt(_UNLIKE)]:
            names[int(cell)].append(_described(column.name, shares.loc[cell]))
    return names


def _described(name: str, shares: pd.DataFrame) -> str:
    before, after = shares[0].idxmax(), shares[1].idxmax()
    one_each = (shares[0] > 0).sum() == 1 and (shares[1] > 0).sum() == 1
    texts = [_text(value) for value in (before, after)]
    return f"{name} ({texts[0]} -> {texts[1]})" if one_each and max(map(len, texts)) <= 40 else name


def _text(value: object) -> str:
    if value is None or value != value:
        return "missing"
    return f"{value:g}" if isinstance(value, float) else str(value)
