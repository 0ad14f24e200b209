"""How a finding is printed: a table for people, JSON or CSV for programs, or a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import argparse

    from aggrkit.findings import Finding

__all__ = ["as_csv", "as_json", "tell", "write"]

_FORMS: Final = {".json": "json", ".csv": "csv"}


def tell(finding: Finding, given: argparse.Namespace) -> None:
    """Print a finding as the arguments of `aggrkit.cli.asking.add_output` say.

    Raises
    ------
    SourceError
        If the file can't be written.
    """
    form = given.form or (_FORMS.get(Path(given.output).suffix.casefold()) if given.output else None)
    if form == "json":
        write(as_json(finding), given.output)
    elif form == "csv":
        write(as_csv(finding), given.output)
    else:
        from aggrkit.cli.tables import as_text

        write(as_text(finding, given.lines, plain=given.output is not None), given.output)


def write(text: str, output: str | None) -> None:
    """Write text to standard output, or to a file as a whole.

    Raises
    ------
    SourceError
        If the file can't be written.
    """
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    from aggrkit.output import write_whole

    write_whole(output, text)


def as_json(finding: Finding) -> str:
    """Return a finding as JSON: its lines under "records", its words under "words", and its "meta".

    Numbers that JSON doesn't have are null, times are in ISO 8601, UTC.
    """
    from aggrkit.wire import plain

    told: dict[str, Any] = {"records": finding.to_dict("records"), "words": finding.explain(), "meta": finding.meta}
    return json.dumps(plain(told), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(finding: Finding) -> str:
    """Return a finding as CSV: a header, and all lines and columns; what is missing is empty."""
    return finding.to_csv(index=False)
