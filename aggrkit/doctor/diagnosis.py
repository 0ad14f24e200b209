"""What an examination says."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

__all__ = ["Diagnosis", "failed", "fine", "install", "warned"]


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about one thing.

    Parameters
    ----------
    state : {"ok", "warning", "fail"}
        "warning": something that not everybody needs is missing; "fail": something won't work.
    found : str
        What was found, in words.
    fix : str, optional
        What to do about it: a command where there is one.
    name : str, optional
        What was examined.
    """

    state: Literal["ok", "warning", "fail"]
    found: str
    fix: str = ""
    name: str = ""


def fine(found: str) -> Diagnosis:
    """Say that all is well."""
    return Diagnosis("ok", found)


def warned(found: str, fix: str) -> Diagnosis:
    """Say that something is missing that not everybody needs."""
    return Diagnosis("warning", found, fix)


def failed(found: str, fix: str) -> Diagnosis:
    """Say that something won't work."""
    return Diagnosis("fail", found, fix)


def install(*requirements: str) -> str:
    """Return the command that installs packages for this Python."""
    quoted = (f"'{text}'" if set(text) & set("<>=[] ") else text for text in requirements)
    return f"{sys.executable} -m pip install {' '.join(quoted)}"
