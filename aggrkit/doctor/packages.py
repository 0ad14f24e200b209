"""Examinations of what is installed."""

from __future__ import annotations

import platform
import shutil
from importlib import metadata
from typing import Final

from packaging.requirements import Requirement

from aggrkit.doctor.diagnosis import Diagnosis, failed, fine, install, warned

__all__ = ["browser", "versions"]

_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")


def versions() -> Diagnosis:
    """Compare what is installed with what aggrkit asks for."""
    wanted = [Requirement(text) for text in metadata.requires("aggrkit") or ()]
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    missing, old = [], []
    for requirement in needed:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.append(requirement)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            old.append(f"{requirement.name} {version} ({requirement.specifier} is needed)")
            missing.append(requirement)
    if missing:
        absent = [one.name for one in missing if not any(text.startswith(f"{one.name} ") for text in old)]
        said = [
            f"of another version: {', '.join(old)}" if old else "",
            f"missing: {', '.join(absent)}" if absent else "",
        ]
        return failed("; ".join(filter(None, said)), install(*(f"{one.name}{one.specifier}" for one in missing)))
    return fine(
        f"aggrkit {metadata.version('aggrkit')} on Python {platform.python_version()}, and the {len(needed)} packages "
        "that it needs"
    )


def browser() -> Diagnosis:
    """Look for the browser that prints reports as PDF."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        return warned(
            "neither Chromium nor Chrome is on the search path: reports can't be written as PDF",
            "install it, e.g. apt-get install chromium, or write reports as HTML",
        )
    return fine(found)
