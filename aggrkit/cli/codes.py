"""What the command returns to the shell."""

from typing import Final

__all__ = ["DATA_TROUBLE", "DONE", "FAILED", "INTERRUPTED", "PIPE_CLOSED", "USAGE"]

DONE: Final = 0
FAILED: Final = 1
"""The command ran, and its answer is no: a gate is closed, a report failed."""
USAGE: Final = 2
DATA_TROUBLE: Final = 3
"""It can't be done: the results can't be read or can't answer the question, or something that it takes is missing."""
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
"""Whoever read the output wanted no more of it, as in ``aggrkit stats ... | head``; the same as of other commands."""
