"""What can be configured of the service, with its defaults and what is possible."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from aggrkit.model import settings
from aggrkit.model.settings import Setting
from aggrkit.pipeline.anomalies import METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULTS", "SETTINGS", "updated"]

SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "cache_ttl_seconds": Setting(300, "how long an answer is kept; 0 for not at all", least=0),
        "anomaly_threshold": Setting(
            2.5, "score that 'zscore' flags by; setting it alone chooses 'zscore', which holds no chance of false flags"
        ),
        "anomaly_method": Setting("robust", "how anomalies are looked for", choices=METHODS),
        "anomaly_alpha": Setting(
            0.05, "chance of any false flag over all cells; 'robust' and 'gesd' hold it", below=0.5
        ),
        "min_data_points": Setting(5, "smallest cell in which anomalies are looked for", least=0),
        "model_family_grouping": Setting(False, "whether models are grouped by their family where it is known"),
        "normalize_metrics": Setting(True, "whether normalized_<metric> is added"),
        "deduplication_enabled": Setting(True, "whether duplicates are taken out"),
        "filter_invalid_enabled": Setting(True, "whether invalid values are taken out"),
        "percentiles_enabled": Setting(True, "whether percentiles are found"),
        "distributions_enabled": Setting(True, "whether distributions are found"),
        "anomaly_detection_enabled": Setting(True, "whether anomalies are looked for"),
        "comparative_analysis_enabled": Setting(True, "whether results are compared with history"),
        "context_metadata_enabled": Setting(True, "whether what belongs to the results is described"),
        "comparative_lookback_days": Setting(7, "how far history goes back before the current results", below=100_000),
        "comparison_margin": Setting(0.02, "smallest change that matters, 0.02 for 2 %", below=0.5),
        "significance_level": Setting(0.05, "of comparisons, correlations and trends", below=0.5),
        "workers_historical_limit": Setting(10, "history of the so many workers with most results", least=1),
    }
)
"""Every setting that is used, with what it is for."""

DEFAULTS: Final = settings.defaults(SETTINGS)
"""The configuration of a new service; `SETTINGS` says what each setting is for."""


def updated(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration with changes, see `aggrkit.model.settings.updated`.

    A threshold without a method chooses "zscore", the method that has one.

    Raises
    ------
    TypeError, ValueError
        If a value is impossible; nothing is changed then.
    """
    new = settings.updated(SETTINGS, config, changes, stacklevel=4)
    if "anomaly_threshold" in changes and "anomaly_method" not in changes:
        new["anomaly_method"] = "zscore"
    return MappingProxyType(new)
