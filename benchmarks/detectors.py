"""Detectors of change points: ours, and those of other tools that are installed, each with the defaults it has.

Every one is a function from a series to the places where levels begin. The others come with
``pip install apache-otava asv ruptures``; what isn't there is left out.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aggrkit.statistics.changepoints import detect

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Find = Callable[[Floats], list[int]]

OURS = "aggrkit"
NOTHING = "no change"


class Detector(NamedTuple):
    """A detector, and the longest series that it takes less than a second or two for."""

    name: str
    find: Find
    longest: int = 10_000


def detectors() -> list[Detector]:
    """Return ours, those that are installed, and "no change"."""
    found = [Detector(OURS, by_aggrkit)]
    if find_spec("otava"):
        found.append(Detector("Otava", by_otava()))
    if find_spec("asv"):
        found.append(Detector("asv", by_asv()))
    if find_spec("ruptures"):
        for units, by_noise in (("noise", True), ("std", False)):
            found.append(Detector(f"Binseg/{units}", by_ruptures("Binseg", by_noise)))
            found.append(Detector(f"Pelt/{units}", by_ruptures("Pelt", by_noise), 200))
    return [*found, Detector(NOTHING, lambda _: [])]


def versions() -> str:
    """Return what the detectors are, with their versions, and what isn't installed."""
    names = {"otava": "apache-otava", "asv": "asv", "ruptures": "ruptures"}
    return ", ".join(
        f"{name} {version(name)}" if find_spec(module) else f"without {name} (not installed)"
        for module, name in names.items()
    )


def by_aggrkit(y: Floats) -> list[int]:
    """Return the confirmed changes, with the defaults; a trend has none."""
    return detect(y).confirmed.tolist()


def by_otava() -> Find:
    """Return Otava's computation with its defaults: a window of 50, p below 0.001, changes of any size."""
    from otava.analysis import compute_change_points

    # Otava wants a list: it doesn't cut its windows out of an array.
    return lambda y: [int(change.index) for change in compute_change_points(y.tolist())[0]]


def by_asv() -> Find:
    """Return the step detection of asv; where its steps begin."""
    from asv.step_detect import detect_steps

    return lambda y: [int(step[0]) for step in detect_steps(y.tolist())[1:]]


def by_ruptures(method: str, by_noise: bool) -> Find:
    """Return a search of ruptures for shifts of the mean, with the penalty ``3 log n``.

    ruptures has no default penalty and doesn't scale. The series are in units of their noise, as the differences of
    neighbours have it, or in units of their standard deviation (changes included), as in the Turing benchmark.
    """
    import ruptures

    def find(y: Floats) -> list[int]:
        scale = np.median(np.abs(np.diff(y))) / (0.6745 * np.sqrt(2)) if by_noise else 0.0
        z = (y - y.mean()) / (scale or y.std() or 1.0)
        search = getattr(ruptures, method)(model="l2", min_size=3, jump=1).fit(z)
        return search.predict(pen=3 * np.log(len(y)))[:-1]

    return find
