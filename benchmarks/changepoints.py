"""The change point detector: false alarms, what it finds, labelled series, and time, beside ruptures if that is there.

``python -m benchmarks.changepoints --reps 200 --tcpd folder``; the folder has series.csv and annotations.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aggrkit.statistics.changepoints import COMPILED, State, detect, detect_many

try:
    import ruptures
except ImportError:  # the benchmark says so
    ruptures = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

KINDS = ["gaussian", "t3", "lognormal", "outliers", "ar.3", "ar.6", "bimodal", "rounded"]
SIZES = [50, 200, 1000]
TOLERANCE = 5


def noise(kind: str, n: int, rng: np.random.Generator) -> Floats:
    """Make noise with standard deviation 1 (that of the bulk, for outliers)."""
    if kind == "t3":
        return rng.standard_t(3, n) / np.sqrt(3)
    if kind == "lognormal":
        x = rng.lognormal(0, 0.5, n)
        return (x - np.exp(0.125)) / np.sqrt((np.exp(0.25) - 1) * np.exp(0.25))
    if kind == "outliers":
        return rng.normal(size=n) + np.where(rng.random(n) < 0.02, rng.uniform(5, 20, n), 0)
    if kind.startswith("ar"):
        rho = float(kind[2:])
        x = rng.normal(size=n + 50)
        for t in range(1, n + 50):
            x[t] = rho * x[t - 1] + x[t] * np.sqrt(1 - rho**2)
        return x[50:]
    if kind == "bimodal":
        return (rng.normal(size=n) * 0.5 + np.where(rng.random(n) < 0.3, 2.0, 0.0) - 0.6) / np.sqrt(0.25 + 0.84)
    x = rng.normal(size=n)
    return np.round(x) / np.sqrt(1 + 1 / 12) if kind == "rounded" else x


def staircase(n: int, changes: int, size: float, rng: np.random.Generator) -> tuple[list[int], Floats]:
    """Make steps up or down, at least 6 points or 5 % of the series apart."""
    apart = max(6, n // 20)
    places = np.sort(rng.integers(0, n - (changes + 1) * apart + 1, changes)) + apart * np.arange(1, changes + 1)
    y = np.zeros(n)
    for place in places:
        y[place:] += rng.choice([-1, 1]) * size
    return places.tolist(), y


def hits(true: Iterable[int], found: Iterable[int], tolerance: int = TOLERANCE) -> int:
    left, count = set(found), 0
    for place in true:
        near = min(left, key=lambda x: abs(x - place), default=None)
        if near is not None and abs(near - place) <= tolerance:
            left.discard(near)
            count += 1
    return count


def by_aggrkit(y: Floats) -> list[int]:
    found = detect(y)
    return [] if found.trend else found.confirmed.tolist()


def by_ruptures(method: str, model: str = "l2") -> Callable[[Floats], list[int]]:
    def find(y: Floats) -> list[int]:
        scale = np.median(np.abs(np.diff(y))) / (0.6745 * np.sqrt(2)) or y.std() or 1.0
        z = (y - y.mean()) / scale
        search = getattr(ruptures, method)(model=model, min_size=3, jump=1).fit(z)
        return search.predict(pen=3 * np.log(len(y)))[:-1]

    return find


def peers() -> dict[str, Callable[[Floats], list[int]]]:
    if ruptures is None:
        print("ruptures is not installed, so nothing is shown beside aggrkit: pip install ruptures")
        return {}
    return {"ruptures Binseg l2": by_ruptures("Binseg"), "ruptures Pelt l2": by_ruptures("Pelt")}


def quality(find: Callable[[Floats], list[int]], reps: int, sizes: list[int]) -> tuple[pd.DataFrame, dict[str, object]]:
    rows, total, by_size = [], np.zeros(3), {}
    for number, kind in enumerate(KINDS):
        alarms, scores = {}, np.zeros(3)
        for n in sizes:
            rng = np.random.default_rng([number, n, 11])
            alarms[n] = np.mean([len(find(noise(kind, n, rng))) > 0 for _ in range(reps)])
            for _ in range(reps // 2):
                changes, size = int(rng.integers(1, 5)), rng.uniform(1, 6)
                places, y = staircase(n, changes, size, rng)
                found = find(y + noise(kind, n, rng))
                hit = hits(places, found)
                score = np.array([hit, len(found) - hit, changes - hit])
                by_size.setdefault(int(size), np.zeros(3))
                by_size[int(size)] += score
                if size >= 2:
                    scores += score
        total += scores
        share = {f"alarms n={n} %": 100 * v for n, v in alarms.items()}
        rows.append({"noise": kind, **share, "alarms %": 100 * np.mean(list(alarms.values())), "F1": _f1(scores)})
    summary = {"F1 from 2 sigma": _f1(total)} | {f"{k}-{k + 1} sigma": _f1(v) for k, v in sorted(by_size.items())}
    return pd.DataFrame(rows), summary


def _f1(score: Floats) -> float:
    hit, false, missed = score
    return 2 * hit / max(2 * hit + false + missed, 1)


def drifts(reps: int) -> pd.DataFrame:
    """What is said of straight drifts of so many standard deviations over the series, and of single steps of 2."""
    rows = []
    for n in SIZES:
        for drift in (3, 6, 12):
            rng = np.random.default_rng([n, drift])
            found = [detect(np.linspace(0, drift, n) + rng.normal(size=n)) for _ in range(reps)]
            trend = np.mean([f.trend is not None for f in found])
            rows.append(
                {
                    "n": n,
                    "drift": drift,
                    "trend %": 100 * trend,
                    "changes %": 100 * np.mean([len(f.confirmed) > 0 for f in found]),
                }
            )
    return pd.DataFrame(rows)


def coverage(reps: int) -> pd.DataFrame:
    """How often the location set and the interval of the change hold the truth, one step in the middle, n = 100."""
    rows = []
    for kind in ("gaussian", "t3", "ar.3"):
        for size in (1.5, 2.0, 3.0):
            rng = np.random.default_rng([KINDS.index(kind), int(size * 10)])
            place, width, change, seen = [], [], [], 0
            for _ in range(reps):
                y = noise(kind, 100, rng)
                y[50:] += size
                found = detect(y)
                if len(found.confirmed) == 1:
                    seen += 1
                    place.append(found.lower[0] <= 50 <= found.upper[0])
                    width.append(found.upper[0] - found.lower[0] + 1)
                    change.append(found.ci_lower[0] <= size <= found.ci_upper[0])
            shares = [100 * float(np.mean(x)) if x else np.nan for x in (place, change)]
            rows.append(
                {
                    "noise": kind,
                    "step": size,
                    "found %": 100 * seen / reps,
                    "place covered %": shares[0],
                    "set": np.mean(width),
                    "change covered %": shares[1],
                }
            )
    return pd.DataFrame(rows)


def suspects(reps: int) -> pd.DataFrame:
    """Suspects in change-free series, and where the last 2 points are 6 standard deviations up."""
    rows = []
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng([number, 5])
        series = [noise(kind, 100, rng) for _ in range(reps)]
        free = np.mean(["suspect" in detect(y).status for y in series])
        moved = [detect(np.append(y[:-2], y[-2:] + 6)) for y in series]
        rows.append(
            {
                "noise": kind,
                "suspects %": 100 * free,
                "found %": 100 * np.mean([len(f) > 0 and f.status[-1] == "suspect" for f in moved]),
            }
        )
    return pd.DataFrame(rows)


def labelled(folder: Path) -> pd.DataFrame:
    """F1 and cover of the Turing Change Point Dataset: margin 5, a change at 0 added, mean over annotators."""
    notes = json.loads((folder / "annotations.json").read_text())
    data = pd.read_csv(folder / "series.csv")
    ways = {"aggrkit": by_aggrkit, "aggrkit, log": lambda y: by_aggrkit(np.log(y)) if y.min() > 0 else by_aggrkit(y)}
    ways = {**ways, "no change": lambda _: [], **peers()}
    rows = []
    for name, marks in notes.items():
        part = data[data["dataset"] == name]
        if part["series"].nunique() != 1:
            continue
        y = part.sort_values("index")["value"].to_numpy()
        y = y[np.isfinite(y)]
        for way, find in ways.items():
            found = find(y)
            rows.append(
                {
                    "dataset": name,
                    "way": way,
                    "F1": _tcpd_f1(marks, found),
                    "cover": _cover(marks, found, len(y)),
                    "found": len(found),
                }
            )
    table = pd.DataFrame(rows)
    print(table.pivot(index="dataset", columns="way", values=["F1", "found"]).round(2).to_string())
    return table.groupby("way", sort=False)[["F1", "cover"]].mean().reset_index()


def _tcpd_f1(marks: dict[str, list[int]], found: list[int]) -> float:
    sets, seen = [set(m) | {0} for m in marks.values()], set(found) | {0}
    precision = hits(sorted(set().union(*sets)), seen) / len(seen)
    recall = float(np.mean([hits(sorted(s), seen) / len(s) for s in sets]))
    return 2 * precision * recall / (precision + recall)


def _cover(marks: dict[str, list[int]], found: list[int], n: int) -> float:
    def parts(places: list[int]) -> list[tuple[int, int]]:
        edges = [0, *sorted({p for p in places if 0 < p < n}), n]
        return list(pairwise(edges))

    def overlap(one: tuple[int, int], two: tuple[int, int]) -> float:
        both = max(0, min(one[1], two[1]) - max(one[0], two[0]))
        return both / (one[1] - one[0] + two[1] - two[0] - both)

    ours = parts(found)
    return float(
        np.mean([sum((b - a) * max(overlap((a, b), o) for o in ours) for a, b in parts(m)) / n for m in marks.values()])
    )


def times() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = []
    for n in (100, 1000, 10_000):
        steps = np.repeat(rng.normal(size=n // 50) * 4, 50)
        for what, y in (
            ("noise", rng.normal(size=n)),
            ("a step every 50", steps + rng.normal(size=n)),
            ("ar.6", noise("ar.6", n, rng)),
        ):
            row: dict[str, object] = {"n": n, "series": what, "aggrkit ms": _ms(lambda y=y: detect(y))}
            for name, find in peers().items():
                row[f"{name} ms"] = _ms(lambda y=y, find=find: find(y), 1) if n < 10_000 else np.nan
            state = State.of(y)
            row["append us"] = 1e3 * _ms(lambda state=state: state.append(0.1), 200)
            rows.append(row)
    return pd.DataFrame(rows)


def _ms(call: Callable[[], object], repeats: int = 7) -> float:
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return 1e3 * median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.changepoints", description=__doc__)
    parser.add_argument("--reps", type=int, default=200, help="change-free series of each kind and size")
    parser.add_argument("--tcpd", type=Path, help="folder of the labelled series")
    parser.add_argument("--peers", action="store_true", help="the scores of the peers as well (slow)")
    asked = parser.parse_args()
    pd.set_option("display.width", 200)
    print(f"Python {platform.python_version()}, numpy {np.__version__}, compiled: {COMPILED}")
    start = time.perf_counter()
    detect(np.random.default_rng(1).normal(size=50) + np.repeat([0, 9], 25))
    print(f"first call, with loading or compiling: {time.perf_counter() - start:.2f} s\n")
    ways: dict[str, Callable[[Floats], list[int]]] = {"aggrkit": by_aggrkit}
    if asked.peers:
        ways |= peers()
    for name, find in ways.items():
        sizes = SIZES if name == "aggrkit" else SIZES[:2]
        table, summary = quality(find, asked.reps if name == "aggrkit" else min(asked.reps, 50), sizes)
        print(f"{name}: false alarms at false_alarm=0.05, and F1 within {TOLERANCE} points for steps from 2 sigma")
        print(table.round(3).to_string(index=False))
        print({k: round(float(v), 3) for k, v in summary.items()}, "\n")
    for title, table in (
        ("straight drifts", drifts(asked.reps)),
        ("coverage of 95 % sets and intervals", coverage(2 * asked.reps)),
        ("suspects at false_alarm=0.05, n = 100", suspects(2 * asked.reps)),
    ):
        print(title, table.round(2).to_string(index=False), sep="\n", end="\n\n")
    if asked.tcpd:
        print(labelled(asked.tcpd).round(3).to_string(index=False), "\n")
    print(times().round(2).to_string(index=False), "\n")
    rng = np.random.default_rng(4)
    many = rng.normal(size=(10_000, 300))
    many[::2, 150:] += 2
    start = time.perf_counter()
    detect_many(many)
    print(f"10,000 series of 300 points, every other with a step: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
