"""The result frames: tidy pandas frames that can explain themselves."""

from aggrkit.findings.anomalies import Anomalies
from aggrkit.findings.base import Finding
from aggrkit.findings.calibration import Calibration
from aggrkit.findings.causes import Health, Variance
from aggrkit.findings.changes import Changes
from aggrkit.findings.comparison import Comparison
from aggrkit.findings.descriptive import Distributions, Proportions, Stats
from aggrkit.findings.relations import Correlations, Differences, Trends

__all__ = [
    "Anomalies",
    "Calibration",
    "Changes",
    "Comparison",
    "Correlations",
    "Differences",
    "Distributions",
    "Finding",
    "Health",
    "Proportions",
    "Stats",
    "Trends",
    "Variance",
]
