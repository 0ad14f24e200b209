"""The summary layer: nested answers with a cache, from a store or any database manager."""

from aggrkit.service.service import ResultAggregatorService

__all__ = ["ResultAggregatorService"]
