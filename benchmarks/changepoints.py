"""The change point detector beside others: false alarms, what is found, labelled series, and time.

``python -m benchmarks.changepoints --reps 1000 --tcpd folder``; the folder has series.csv and annotations.json. Install
``apache-otava asv ruptures`` beside aggrkit to see them as well.
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
from benchmarks.detectors import NOTHING, OURS, Detector, detectors, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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


def change_free(kind: str, n: int, count: int) -> Iterator[Floats]:
    """Make series without changes; the first are the same for any count."""
    rng = np.random.default_rng([KINDS.index(kind), n, 11])
    return (noise(kind, n, rng) for _ in range(count))


def with_changes(kind: str, n: int, count: int) -> Iterator[tuple[list[int], float, Floats]]:
    """Make series with none to four steps of 1 to 6 standard deviations, with their places and size."""
    rng = np.random.default_rng([KINDS.index(kind), n, 12])
    for _ in range(count):
        size = rng.uniform(1, 6)
        places, y = staircase(n, int(rng.integers(5)), size, rng)
        yield places, size, y + noise(kind, n, rng)


def false_alarms(detector: Detector, reps: int, logs: bool = False) -> pd.DataFrame:
    """Share of change-free series with a change, in percent; `logs`: by way of exp(x / 10)."""
    rows = []
    for kind in KINDS:
        row: dict[str, object] = {"noise": kind}
        for n in SIZES:
            if n <= detector.longest:
                series = change_free(kind, n, reps)
                found = [len(detector.find(np.log(np.exp(0.1 * y)) if logs else y)) > 0 for y in series]
                row[f"n={n}"] = 100 * np.mean(found)
        rows.append(row)
    return pd.DataFrame(rows).set_index("noise")


def scores(detector: Detector, reps: int) -> pd.DataFrame:
    """Hits, false and missed changes by kind, length and size of the steps (rounded down)."""
    total: dict[tuple[str, int, int], Floats] = {}
    for kind in KINDS:
        for n in SIZES:
            if n > detector.longest:
                continue
            for places, size, y in with_changes(kind, n, reps):
                found = detector.find(y)
                hit = hits(places, found)
                score = np.array([hit, len(found) - hit, len(places) - hit])
                total[kind, n, int(size)] = total.get((kind, n, int(size)), np.zeros(3)) + score
    index = pd.MultiIndex.from_tuples(total, names=["noise", "n", "size"])
    return pd.DataFrame(list(total.values()), index=index, columns=["hit", "false", "missed"])


def _f1(score: pd.DataFrame) -> float:
    hit, false, missed = score.sum()
    return float(2 * hit / max(2 * hit + false + missed, 1))


def side_by_side(ways: list[Detector], reps: int, peer_reps: int) -> None:
    """Print false alarms and F1 of all, on the same series; the first of them for the slower ones."""
    alarms, rates = {}, {}
    for way in ways:
        count = reps if way.name == OURS else peer_reps
        free, score = false_alarms(way, count), scores(way, count)
        alarms[way.name] = pd.concat([free.mean(axis=1), pd.Series({"all": free.to_numpy().mean()})])
        large = score[score.index.get_level_values("size") >= 2]
        rates[way.name] = {
            **{kind: _f1(large.loc[[kind]]) for kind in KINDS},
            **{f"n={n}": _f1(large.xs(n, level="n")) for n in SIZES if n <= way.longest},
            **{f"{size}-{size + 1} sigma": _f1(score.xs(size, level="size")) for size in range(1, 6)},
            "from 2 sigma": _f1(large),
            "all": _f1(score),
        }
        if way.name == OURS:
            print(f"aggrkit: false alarms in %, {reps} series each; standard error {_error(5, reps):.2f} at 5 %")
            print(free.round(2).to_string(), end="\n\n")
    print(f"false alarms in %, n = {SIZES}; {reps} series of each kind and length for aggrkit, {peer_reps} for others")
    print(pd.DataFrame(alarms).round(1).to_string(), end="\n\n")
    print(f"F1 within {TOLERANCE} points, 0 to 4 steps; by noise and length for steps from 2 sigma")
    print(pd.DataFrame(rates).round(3).to_string(na_rep=""), end="\n\n")
    short = [f"{way.name} up to n = {way.longest}" for way in ways if way.longest < max(SIZES)]
    if short:
        print("Too slow for all lengths:", ", ".join(short), end="\n\n")


def _error(percent: float, count: int) -> float:
    return float(np.sqrt(percent * (100 - percent) / count))


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


def labelled(folder: Path, ways: list[Detector]) -> pd.DataFrame:
    """F1 and cover on the Turing Change Point Dataset: margin 5, a change at 0 added, mean over annotators."""
    notes = json.loads((folder / "annotations.json").read_text())
    data = pd.read_csv(folder / "series.csv")
    by_log = Detector(f"{OURS}, log", lambda y: detect(np.log(y) if y.min() > 0 else y).confirmed.tolist())
    rows = []
    for name, marks in notes.items():
        part = data[data["dataset"] == name]
        if part["series"].nunique() != 1:
            continue
        y = part.sort_values("index")["value"].to_numpy()
        y = y[np.isfinite(y)]
        for way in [ways[0], by_log, *ways[1:]]:
            found = way.find(y)
            scored = {"F1": _tcpd_f1(marks, found), "cover": _cover(marks, found, len(y)), "found": len(found)}
            rows.append({"dataset": name, "way": way.name, **scored})
    table = pd.DataFrame(rows)
    for value in ("F1", "cover", "found"):
        wide = table.pivot_table(index="dataset", columns="way", values=value, sort=False)
        print(value, wide.round(2).to_string(), sep="\n", end="\n\n")
    return table.groupby("way", sort=False)[["F1", "cover"]].mean()


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


def times(ways: list[Detector]) -> pd.DataFrame:
    """Milliseconds for one series; with ~ where n = 1,000 is extrapolated by the square of the length."""
    rng = np.random.default_rng(3)
    rows = []
    for n in (100, 1000, 10_000):
        steps = np.repeat(rng.normal(size=n // 50) * 4, 50)
        for what, y in (
            ("noise", rng.normal(size=n)),
            ("a step every 50", steps + rng.normal(size=n)),
            ("ar.6", noise("ar.6", n, rng)),
        ):
            row: dict[str, object] = {"n": n, "series": what}
            for way in ways:
                slow = n > way.longest
                spent = _ms(way.find, y[:1000] if slow else y, 1 if slow else (5 if n < 10_000 else 3))
                row[way.name] = f"{spent:.2f}" if n <= max(1000, way.longest) else f"~{spent * (n / 1000) ** 2:,.0f}"
            state = State.of(y)
            row["append us"] = f"{1e3 * _ms(state.append, 0.1, 200):.0f}"
            rows.append(row)
    return pd.DataFrame(rows)


def many(ways: list[Detector], count: int = 10_000, sample: int = 300) -> pd.DataFrame:
    """Seconds for so many series of 300 points, every other with a step of 2; the others from a sample."""
    rng = np.random.default_rng(4)
    series = rng.normal(size=(count, 300))
    series[::2, 150:] += 2
    rows = []
    for way in ways:
        taken = count if way.name == OURS else (sample if way.longest > 300 else 4)
        start = time.perf_counter()
        if way.name == OURS:
            detect_many(series)
        else:
            for y in series[:taken]:
                way.find(y)
        spent = (time.perf_counter() - start) * count / taken
        rows.append({"way": way.name, "seconds": spent, "measured on": taken, "times ours": spent})
    table = pd.DataFrame(rows)
    table["times ours"] /= table["seconds"].iloc[0]
    return table


def _ms(call: Callable[[object], object], on: object, repeats: int) -> float:
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        call(on)
        spent.append(time.perf_counter() - start)
    return 1e3 * median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.changepoints", description=__doc__)
    parser.add_argument("--reps", type=int, default=200, help="series of each kind and length")
    parser.add_argument("--peer-reps", type=int, default=20, help="the same for the other detectors")
    parser.add_argument("--tcpd", type=Path, help="folder of the labelled series")
    asked = parser.parse_args()
    pd.set_option("display.width", 250)
    ways = detectors()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, compiled: {COMPILED}, {versions()}")
    start = time.perf_counter()
    detect(np.random.default_rng(1).normal(size=50) + np.repeat([0, 9], 25))
    print(f"first call, with loading or compiling: {time.perf_counter() - start:.2f} s\n")
    timed = [way for way in ways if way.name != NOTHING]
    print("milliseconds for one series", times(timed).to_string(index=False), sep="\n", end="\n\n")
    print("10,000 series of 300 points", many(timed).round(1).to_string(index=False), sep="\n", end="\n\n")
    if asked.tcpd:
        print(labelled(asked.tcpd, ways).round(3).to_string(), end="\n\n")
    side_by_side(ways, asked.reps, asked.peer_reps)
    logs = false_alarms(ways[0], asked.reps, logs=True)
    print("aggrkit: false alarms in % of logarithms of exp(x / 10)", logs.round(2).to_string(), sep="\n", end="\n\n")
    for title, table in (
        ("straight drifts", drifts(asked.reps)),
        ("coverage of 95 % sets and intervals", coverage(2 * asked.reps)),
        ("suspects at false_alarm=0.05, n = 100", suspects(2 * asked.reps)),
    ):
        print(title, table.round(2).to_string(index=False), sep="\n", end="\n\n")


if __name__ == "__main__":
    main()
