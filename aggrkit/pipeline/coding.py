"""Columns as whole numbers: equal values have equal numbers, and so have equal combinations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.intp]

__all__ = ["codes_of", "numbered"]


def codes_of(column: Any) -> tuple[Ints, list[Any]]:
    """Return a number for each value of a column, -1 where it is missing, and the values by number."""
    encoded = column.combine_chunks().dictionary_encode()
    chunks = encoded.chunks if hasattr(encoded, "chunks") else [encoded]
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    values = chunks[0].dictionary.to_pylist() if chunks else []
    return (np.concatenate(codes) if codes else np.empty(0)).astype(np.intp), values


def numbered(codes: list[Ints], size: int) -> Ints:
    """Return a number for each combination of codes, from 0 without gaps."""
    found = np.zeros(size, dtype=np.intp)
    for code in codes:
        found = pd.factorize(found * (int(code.max(initial=-1)) + 2) + code + 1)[0].astype(np.intp)
    return found
