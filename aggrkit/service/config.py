"""What can be configured of the service, with its defaults and what is possible."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from aggrkit.errors import quoted
from aggrkit.pipeline.anomalies import METHODS

__all__ = ["DEFAULTS", "updated"]

DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "cache_ttl_seconds": 300,
        "anomaly_threshold": 2.5,
        "anomaly_method": "robust",
        "anomaly_alpha": 0.05,
        "min_data_points": 5,
        "model_family_grouping": False,
        "normalize_metrics": True,
        "deduplication_enabled": True,
        "filter_invalid_enabled": True,
        "percentiles_enabled": True,
        "distributions_enabled": True,
        "anomaly_detection_enabled": True,
        "comparative_analysis_enabled": True,
        "context_metadata_enabled": True,
        "comparative_lookback_days": 7,
        "comparison_margin": 0.02,
        "significance_level": 0.05,
        "workers_historical_limit": 10,
    }
)
"""Every setting that is used.

``cache_ttl_seconds``: how long an answer is kept; 0 for not at all. ``anomaly_method``: "robust" and "gesd" hold
``anomaly_alpha`` as the chance of any false flag over all cells; "zscore" flags by ``anomaly_threshold`` and holds
none; setting the threshold alone chooses "zscore". ``min_data_points``: smallest cell in which anomalies are looked
for. ``model_family_grouping``: whether models are grouped by their family where it is known. ``normalize_metrics``:
whether ``normalized_<metric>`` is added. ``..._enabled``: whether a stage is run. ``comparative_lookback_days``: how
far history goes back before the current results. ``comparison_margin``: smallest change that matters, 0.02 for 2 %.
``significance_level``: of comparisons and correlations. ``workers_historical_limit``: history of the so many workers
with most results.
"""

_SHARES: Final = ("anomaly_alpha", "comparison_margin", "significance_level")


def updated(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration with changes; unknown keys are kept, with a warning.

    Raises
    ------
    TypeError, ValueError
        If a value is impossible; nothing is changed then.
    """
    if not isinstance(changes, Mapping):
        raise TypeError(f"the configuration is a dictionary of changes; got {quoted(changes)}")
    for key, value in changes.items():
        _check(key, value)
    unknown = sorted(str(key) for key in changes if key not in DEFAULTS)
    if unknown:
        warnings.warn(
            f"unknown settings are kept but not used: {', '.join(unknown)}; those in use: {', '.join(DEFAULTS)}",
            UserWarning,
            stacklevel=3,
        )
    implied = {"anomaly_method": "zscore"} if "anomaly_threshold" in changes else {}
    return MappingProxyType({**config, **implied, **changes})


def _check(key: str, value: Any) -> None:
    if key not in DEFAULTS:
        return
    default = DEFAULTS[key]
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise TypeError(f"{key} is True or False; got {quoted(value)}")
    elif key == "anomaly_method":
        if value not in METHODS:
            raise ValueError(f"{key} is one of {', '.join(METHODS)}; got {quoted(value)}")
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{key} is a number; got {quoted(value)}")
    elif key in _SHARES and not 0 < value < 0.5:
        raise ValueError(f"{key} is a share between 0 and 0.5; got {quoted(value)}")
    elif not 0 <= value < float("inf"):
        raise ValueError(f"{key} can't be negative or infinite; got {quoted(value)}")
    elif not value and key not in ("cache_ttl_seconds", "min_data_points"):
        raise ValueError(f"{key} must be above 0; got {quoted(value)}")
