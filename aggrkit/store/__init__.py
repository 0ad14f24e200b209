"""The store: one DuckDB file that keeps results, what was run on what, and answers worth keeping."""

from aggrkit.store.ingest import Ingested
from aggrkit.store.manager import BenchmarkDBManager

__all__ = ["BenchmarkDBManager", "Ingested"]
