"""The tables of the comparison, in Markdown, and their place in docs/benchmarks.md."""

import statistics
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/benchmarks.md"
# All other engines are peers.
OURS, OURS_ELSEWHERE = "gnp", "gnp, tract"


class Times:
    """The seconds of the steps of one network, by engine, kind and number of threads."""

    def __init__(self):
        self.seconds = {}

    def add(self, engine, kind, threads, seconds):
        self.seconds.setdefault((engine, kind, threads), []).extend(seconds)

    def engines(self):
        return list(dict.fromkeys(engine for engine, _, _ in self.seconds))

    def median(self, engine, kind, threads):
        """In seconds; None where the engine has no such step."""
        seconds = self.seconds.get((engine, kind, threads))
        return statistics.median(seconds) if seconds else None

    def best(self, kind, threads):
        """The peer with the fastest step."""
        medians = {engine: self.median(engine, kind, threads) for engine in self.engines() if engine not in (OURS, OURS_ELSEWHERE)}
        return min((engine for engine in medians if medians[engine]), key=medians.get, default=None)

    def cell(self, engine, kind, threads):
        """Milliseconds: the median, and the quartiles."""
        seconds = self.seconds.get((engine, kind, threads))
        if not seconds:
            return "–"
        quartiles = [value * 1e3 for value in statistics.quantiles(seconds if len(seconds) > 1 else seconds * 2, n=4, method="inclusive")]
        low, middle, high = (f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in quartiles)
        return f"{middle} ({low}–{high})"

    def ratio(self, over, under):
        """Of the medians of two (engine, kind, threads)."""
        over, under = self.median(*over), self.median(*under) if under[0] else None
        return f"{over / under:.2f}" if over and under else "–"


def summary(networks, threads):
    """A line a network: our steps over those of the best peer, and a step with the penalty over a plain one."""
    columns = _columns(["plain / best", "GNP / best", "GNP / plain"], threads)
    yield "| network | " + " | ".join(columns) + " | best peer, GNP |"
    yield "|---|" + "---:|" * len(columns) + "---|"
    for name, times in networks.items():
        cells, best = [], []
        for count in threads:
            for kind in ["plain", "GNP"]:
                cells.append(times.ratio((OURS, kind, count), (times.best(kind, count), kind, count)))
            cells.append(times.ratio((OURS, "GNP", count), (OURS, "plain", count)))
            best.append(times.best("GNP", count) or "–")
        yield f"| {name} | " + " | ".join(cells) + f" | {'; '.join(dict.fromkeys(best))} |"


def details(networks, threads):
    """A line a network and engine: milliseconds, and the ratios to the best peer's step with the penalty."""
    columns = _columns(["plain, ms", "GNP, ms", "GNP / best"], threads)
    yield "| network | engine | " + " | ".join(columns) + " |"
    yield "|---|---|" + "---:|" * len(columns)
    for name, times in networks.items():
        for engine in times.engines():
            cells = []
            for count in threads:
                cells += [times.cell(engine, kind, count) for kind in ("plain", "GNP")]
                cells.append(times.ratio((engine, "GNP", count), (times.best("GNP", count), "GNP", count)))
            yield f"| {name} | {engine} | " + " | ".join(cells) + " |"


def _columns(titles, threads):
    return [f"{title}, {count} thread{'s' * (count > 1)}" for count in threads for title in titles]


def write(command, lines):
    """Puts the lines between the marks of this command in docs/benchmarks.md."""
    begin, end = (f"<!-- {command}: {mark} -->\n" for mark in ("begin", "end"))
    before, rest = PAGE.read_text().split(begin)
    PAGE.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1])
