"""What the command returns to the shell."""

from typing import Final

__all__ = ["DATA_TROUBLE", "DONE", "FAILED", "INTERRUPTED", "USAGE"]

DONE: Final = 0
FAILED: Final = 1
"""The command ran, and its answer is no: a gate is closed, a report failed."""
USAGE: Final = 2
DATA_TROUBLE: Final = 3
"""It can't be done: the results can't be read or can't answer the question, or something that it takes is missing."""
INTERRUPTED: Final = 130
