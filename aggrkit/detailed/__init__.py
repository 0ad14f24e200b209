"""The detailed layer: what can be said of each dimension, with charts and reports, kept up to date."""

from aggrkit.detailed.aggregator import ResultAggregator

__all__ = ["ResultAggregator"]
