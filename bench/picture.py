"""Draw a recorded detection on a time axis, as SVG: ``python bench/picture.py docs/pictures/detection.json`` (`make picture`).

A lane for each node that had to do with it, the controller's last. A lane has two rows: above the votes (doubt,
examination, vote, what the node then calls the victim), below its own path to the victim (probe, waiting, miss, relays).
The first votes and the verdict lie within a few milliseconds, so from the first vote on the axis is stretched; the
picture says so. Nothing is drawn that the trace doesn't hold.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

Line = dict[str, Any]
LEFT, RIGHT, TOP, LANE = 148, 24, 118, 38
FLAT, STRETCHED = 640.0, 330.0
"""Pixels of the two parts of the axis."""
LEAD = 4.0
"""Milliseconds before the first vote from which the axis is stretched."""
UP, DOWN = -5, 11
"""The rows of a lane, from its middle."""
INK, GREY, FAINT = "#24292f", "#6e7781", "#d8dee4"
PROBE, MISS, RELAY, ASK, KERNEL, VIEW, DEAD = (
    "#0969da", "#cf222e", "#e36209", "#8250df", "#0a7b75", "#1a7f37", "#a40e26"
)  # fmt: skip
VOTES = {"none": INK, "alive": "#2da44e", "agent-down": "#d4a72c", "abstain": "#ffffff"}


@dataclass
class Canvas:
    """SVG, in order of drawing."""

    parts: list[str] = field(default_factory=list)

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, **more: object
    ) -> None:
        self._put("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width, **more)

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str, **more: object) -> None:
        self._put("rect", x=x, y=y, width=max(0.0, width), height=height, fill=fill, **more)

    def dot(self, x: float, y: float, radius: float, fill: str, **more: object) -> None:
        self._put("circle", cx=x, cy=y, r=radius, fill=fill, **more)

    def shape(self, points: list[tuple[float, float]], fill: str, **more: object) -> None:
        self._put("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill=fill, **more)

    def cross(self, x: float, y: float, size: float, colour: str) -> None:
        self.line(x - size, y - size, x + size, y + size, colour, 2)
        self.line(x - size, y + size, x + size, y - size, colour, 2)

    def text(
        self, x: float, y: float, words: str, size: float = 12, colour: str = INK, **more: object
    ) -> None:
        self.parts.append(
            f"<text{_attributes({'x': x, 'y': y, 'font-size': size, 'fill': colour, **more})}>{escape(words)}</text>"
        )

    def _put(self, kind: str, **attributes: object) -> None:
        self.parts.append(f"<{kind}{_attributes(attributes)}/>")


def _attributes(values: dict[str, object]) -> str:
    def shown(value: object) -> str:
        return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)

    return "".join(f' {name.replace("_", "-")}="{escape(shown(value))}"' for name, value in values.items())


class Story:
    """The trace, asked by what the picture needs."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.victim: str = told["victim"]
        self.silent: float = told["silent_ms"]
        """Until when something may still have come through."""
        self.verdict: float = told["verdict_ms"]
        self.lines: list[Line] = [line for line in told["lines"] if line["at"] <= self.verdict + 3]
        asks = self.sent("ask")
        self.asker: str = asks[0]["node"]
        self.asked_at: float = asks[0]["at"]
        self.observers = {self.asker} | {line["peer"] for line in asks}
        self.voted_at: float = self.sent("votes")[0]["at"]
        self.closed_at: float = next(
            line["at"] for line in self.lines if line["what"] == "closed" and line["at"] >= self.voted_at
        )
        self.probed_at, self.missed_at = self._first_miss()

    def all(self, **wanted: object) -> list[Line]:
        return [line for line in self.lines if all(line.get(key) == value for key, value in wanted.items())]

    def sent(self, kind: str) -> list[Line]:
        return self.all(what="sent", kind=kind, about=self.victim)

    def pings(self, node: str) -> list[float]:
        """When it pinged the victim."""
        return [line["at"] for line in self.all(node=node, what="sent", kind="ping", peer=self.victim)]

    def times(self, node: str, what: str) -> list[float]:
        return [line["at"] for line in self.all(node=node, what=what, about=self.victim)]

    def answered(self, node: str, asked_at: float) -> bool:
        nonce = next(
            line["nonce"]
            for line in self.all(node=node, what="sent", kind="ping", peer=self.victim)
            if line["at"] == asked_at
        )
        return bool(self.all(node=node, what="received", kind="ack", nonce=nonce))

    def examination(self, node: str) -> tuple[float, float] | None:
        """From its beginning to the node's vote, or as far as the trace goes."""
        begun = self.times(node, "examines")
        if not begun:
            return None
        voted = [line["at"] for line in self.sent("votes") if line["node"] == node]
        return begun[0], voted[0] if voted else self.verdict

    def relayed(self) -> Iterator[tuple[Line, Line]]:
        """Each request for help with the moment in which it came."""
        for asked in self.sent("relay"):
            for came in self.all(what="received", kind="relay", nonce=asked["nonce"], node=asked["peer"]):
                yield asked, came

    def delivered(self, kind: str) -> Iterator[tuple[Line, Line]]:
        """Each message of a round with its arrival; copies come in their order."""
        arrivals: dict[tuple[str, str], list[Line]] = {}
        for line in self.all(what="received", kind=kind, about=self.victim):
            arrivals.setdefault((line["peer"], line["node"]), []).append(line)
        for line in self.sent(kind):
            came = arrivals.get((line["node"], line["peer"]))
            if came:
                yield line, came.pop(0)

    def lanes(self) -> list[str]:
        """Observers by their first probe after the crash, then others that had to do with it."""
        nodes = {line["node"] for line in self.lines} - {self.victim, "controller"}
        after = {node: min((at for at in self.pings(node) if at > 0), default=math.inf) for node in nodes}
        concerned = [node for node in nodes if node in self.observers or self._helps(node)]
        return sorted(concerned, key=lambda node: (node not in self.observers, after[node], node))

    def role(self, node: str) -> str:
        windows = {line["node"] for line in self.all(what="view")}
        words = ["observer" if node in self.observers else "helps" if self._relays(node) else "no observer"]
        return ", ".join([*words, "window"] if node in windows else words)

    def _relays(self, node: str) -> bool:
        return any(line["peer"] == node for line in self.sent("relay"))

    def _helps(self, node: str) -> bool:
        told = any(line["peer"] == node for line in self.sent("votes"))
        return told or self._relays(node)

    def _first_miss(self) -> tuple[float, float]:
        """The probe whose miss led to the questions."""
        missed = [at for at in self.times(self.asker, "missed") if at <= self.asked_at]
        probes = [at for at in self.pings(self.asker) if 0 < at < missed[-1]]
        return probes[0], missed[-1]


def draw(told: dict[str, Any]) -> str:
    """The picture of a trace as `detection.story` writes it."""
    story = Story(told)
    lanes = [story.victim, *story.lanes(), "controller"]
    begin: float = story.lines[0]["at"] - 6
    bend, end = story.voted_at - LEAD, story.verdict + 3
    height = TOP + LANE * len(lanes) + 122
    width = LEFT + FLAT + STRETCHED + RIGHT

    def x(at: float) -> float:
        if at <= bend:
            return LEFT + (at - begin) / (bend - begin) * FLAT
        return LEFT + FLAT + (at - bend) / (end - bend) * STRETCHED

    y = {name: TOP + LANE * (number + 0.5) for number, name in enumerate(lanes)}
    bottom = TOP + LANE * len(lanes)
    canvas = Canvas()
    canvas.rectangle(0, 0, width, height, "#ffffff")
    _head(canvas, told, story)
    _grid(canvas, story, lanes, y, x, (begin, bend, end), bottom, width)
    _steps(canvas, story, x)
    _rounds(canvas, story, y, x)
    for node in lanes[:-1]:
        _path(canvas, story, node, y, x)
    _verdict(canvas, story, y, x)
    _legend(canvas, bottom + 52)
    body = "\n".join(canvas.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="Helvetica, Arial, sans-serif" role="img" '
        f'aria-label="One detection on a time axis">\n{body}\n</svg>\n'
    )


Place = Callable[[float], float]


def _head(canvas: Canvas, told: dict[str, Any], story: Story) -> None:
    canvas.text(
        16,
        26,
        f"One detection: {story.victim} of {told['nodes']} falls silent at 0 ms",
        17,
        font_weight="bold",
    )
    others = told["all_ms"]
    canvas.text(
        16,
        44,
        f"recorded {told['recorded'][:10]}, agents on real sockets in a network namespace each; "
        f"of {len(others)} crashes ({others[0]} to {others[-1]} ms) the middle one",
        12,
        GREY,
    )


def _grid(
    canvas: Canvas,
    story: Story,
    lanes: list[str],
    y: dict[str, float],
    x: Place,
    span: tuple[float, float, float],
    bottom: float,
    width: float,
) -> None:
    begin, bend, end = span
    canvas.rectangle(x(bend), TOP, width - RIGHT - x(bend), bottom - TOP, "#fff8e6")
    for number, name in enumerate(lanes):
        if number % 2:
            canvas.rectangle(LEFT, y[name] - LANE / 2, FLAT, LANE, "#f6f8fa")
    ticks = [float(at) for at in range(0, int(bend), 100) if x(bend) - x(at) > 30]
    ticks += [float(at) for at in range(math.ceil(bend / 10) * 10, int(end) + 1, 10)]
    for at in ticks:
        canvas.line(x(at), TOP, x(at), bottom, FAINT)
        canvas.text(x(at), bottom + 16, f"{at:.0f}", 11, GREY, text_anchor="middle")
    canvas.text(LEFT - 10, bottom + 16, "ms", 11, GREY, text_anchor="end")
    scale = (x(end) - x(bend)) / (end - bend) / ((x(bend) - x(begin)) / (bend - begin))
    canvas.line(x(bend), TOP - 6, x(bend), bottom + 6, "#bf8700", 1.5, stroke_dasharray="5 3")
    canvas.text(x(bend) + 8, bottom + 32, f"from here on {scale:.0f} times as wide", 11, "#9a6700")
    canvas.rectangle(x(0), TOP, max(2.0, x(story.silent) - x(0)), bottom - TOP, MISS, fill_opacity=0.25)
    canvas.line(x(0), TOP - 6, x(0), bottom, MISS, 1.5)
    for name in lanes:
        role = {story.victim: "falls silent", "controller": "reads its windows"}.get(name) or story.role(name)
        canvas.text(16, y[name] - 1, name, 13, MISS if name == story.victim else INK, font_weight="bold")
        canvas.text(16, y[name] + 12, role, 10.5, GREY)
    canvas.line(16, bottom, width - RIGHT, bottom, FAINT)


def _steps(canvas: Canvas, story: Story, x: Place) -> None:
    """What the time was spent on: the way of the one who asked, then of the votes."""
    moments = [
        (0.0, "until the next probe"),
        (story.probed_at, "time-out"),
        (story.missed_at, "retry and relays"),
        (story.asked_at, "observers examine it: pings, kernel"),
        (story.voted_at, "signed votes"),
        (story.closed_at, "to the controller"),
        (story.verdict, ""),
    ]
    fills = ("#eaeef2", "#ddf4ff", "#fff1e5", "#fbefff", "#eaeef2", "#dafbe1")
    for (begun, words), (over, _), fill in zip(moments, moments[1:], fills, strict=False):
        left, right = x(begun), x(over)
        canvas.rectangle(left, 58, right - left, 40, fill, stroke="#ffffff", stroke_width=1.5)
        middle = (left + right) / 2
        canvas.text(middle, 92, f"{over - begun:.0f} ms", 11, INK, text_anchor="middle")
        for number, row in enumerate(_broken(words, right - left)):
            canvas.text(
                middle,
                70 + 11 * number if len(_broken(words, right - left)) > 1 else 75,
                row,
                10.5,
                INK,
                text_anchor="middle",
            )


def _broken(words: str, room: float) -> list[str]:
    """In two rows where one would be too long (a letter takes about 5.4 pixels)."""
    if 5.4 * len(words) <= room:
        return [words]
    cut = min(
        (i for i, letter in enumerate(words) if letter == " "),
        key=lambda i: abs(i - len(words) / 2),
        default=0,
    )
    return [words[:cut], words[cut + 1 :]] if cut else [words]


def _rounds(canvas: Canvas, story: Story, y: dict[str, float], x: Place) -> None:
    for sent, came in story.delivered("ask"):
        first = sent["at"] - story.asked_at < 20
        ends = (x(sent["at"]), y[sent["node"]] + UP, x(came["at"]), y[came["node"]] + UP)
        canvas.line(*ends, ASK, 1.2 if first else 0.7, stroke_opacity=0.8 if first else 0.35)
    for sent, came in story.delivered("votes"):
        if sent["node"] in y and came["node"] in y:
            told = came["node"] not in story.observers
            ends = (x(sent["at"]), y[sent["node"]] + UP, x(came["at"]), y[came["node"]] + UP)
            canvas.line(
                *ends, VIEW if told else INK, 1.4 if told else 0.6, stroke_opacity=0.9 if told else 0.25
            )


def _path(canvas: Canvas, story: Story, node: str, y: dict[str, float], x: Place) -> None:
    up, down = y[node] + UP, y[node] + DOWN
    span = story.examination(node)
    pings = story.pings(node)
    if span is not None:
        canvas.rectangle(
            x(span[0]), up - 6, x(span[1]) - x(span[0]), 12, "#f0e6ff", stroke=ASK, stroke_width=0.8, rx=3
        )
        for at in pings:
            if span[0] - 1 <= at <= span[1]:
                canvas.line(x(at), up - 4, x(at), up + 4, PROBE, 1.3)
        for at in story.times(node, "asks kernel"):
            canvas.rectangle(x(at) + 2.5, up - 3, 6, 6, KERNEL)
    _probes(canvas, story, node, pings, down, x)
    for asked, came in story.relayed():
        if asked["node"] == node and came["node"] in y:
            canvas.line(x(asked["at"]), down, x(came["at"]) + 3, y[came["node"]] + DOWN, RELAY, 1.2)
        if came["node"] == node:
            at = x(came["at"]) + 3
            canvas.shape([(at, down - 4), (at + 4, down), (at, down + 4), (at - 4, down)], RELAY)
    for line in story.all(node=node, what="state", about=story.victim):
        at = x(line["at"])
        if line["new"] == "doubted":
            canvas.shape(
                [(at, up - 14), (at + 11, up - 10), (at, up - 6)], "#f2b90c", stroke=INK, stroke_width=0.6
            )
        elif line["new"] == "unreachable":
            canvas.shape([(at, up - 8), (at + 11, up - 4), (at, up)], DEAD)
            canvas.line(at, up - 8, at, up + 6, DEAD, 1.6)
    own = [line for line in story.sent("votes") if line["node"] == node and node in line["votes"]]
    if own:
        vote = own[0]["votes"][node]
        canvas.rectangle(x(own[0]["at"]) - 4.5, up - 4.5, 9, 9, VOTES[vote], stroke=INK, stroke_width=1)


def _probes(canvas: Canvas, story: Story, node: str, pings: list[float], row: float, x: Place) -> None:
    """Its own path: what it asked, how long it waited, what it missed; and the answers of the time before."""
    gone = 0.0
    for missed in story.times(node, "missed"):
        asked = next((at for at in pings if gone <= at < missed), None)
        if asked is None:
            continue
        again = next((at for at in story.times(node, "missed again") if at > missed), None)
        gone = again or story.verdict
        canvas.line(x(asked), row, x(missed), row, PROBE, 2, stroke_opacity=0.45)
        canvas.line(x(missed), row, x(gone), row, PROBE, 2, stroke_opacity=0.45, stroke_dasharray="4 2")
        canvas.dot(x(asked), row, 4, PROBE)
        canvas.cross(x(missed), row, 4, MISS)
        if again is not None:
            canvas.cross(x(again), row, 4, MISS)
            canvas.dot(x(again), row, 6.5, "none", stroke=MISS, stroke_width=1.3)
    for at in pings:
        if at <= 0 and story.answered(node, at):
            canvas.dot(x(at), row, 4, "#ffffff", stroke=PROBE, stroke_width=2)


def _verdict(canvas: Canvas, story: Story, y: dict[str, float], x: Place) -> None:
    floor = y["controller"]
    for read in story.all(node="controller", what="reads"):
        shown = [line["at"] for line in story.all(node=read["peer"], what="view") if line["at"] <= read["at"]]
        if shown and read["peer"] in y:
            canvas.line(x(shown[-1]), y[read["peer"]] + UP, x(read["at"]), floor + UP, VIEW, 1.4)
            canvas.dot(x(read["at"]), floor + UP, 3, VIEW)
    at = x(story.verdict)
    star = [
        (at + radius * math.sin(turn * math.pi / 5), floor + 3 - radius * math.cos(turn * math.pi / 5))
        for turn, radius in ((turn, 9.0 if turn % 2 == 0 else 3.8) for turn in range(10))
    ]
    canvas.shape(star, DEAD)
    canvas.text(
        at - 14,
        floor + 12,
        f"verdict: {story.verdict:.0f} ms",
        12.5,
        DEAD,
        text_anchor="end",
        font_weight="bold",
    )


def _legend(canvas: Canvas, top: float) -> None:
    def probe(x: float, y: float) -> None:
        canvas.line(x - 8, y, x + 9, y, PROBE, 2, stroke_opacity=0.45)
        canvas.dot(x - 8, y, 4, PROBE)

    def missed_again(x: float, y: float) -> None:
        canvas.cross(x, y, 4, MISS)
        canvas.dot(x, y, 6.5, "none", stroke=MISS, stroke_width=1.3)

    def doubt(x: float, y: float) -> None:
        canvas.shape([(x - 4, y - 5), (x + 7, y), (x - 4, y + 5)], "#f2b90c", stroke=INK, stroke_width=0.6)

    def dead(x: float, y: float) -> None:
        canvas.shape([(x - 4, y - 6), (x + 7, y - 1.5), (x - 4, y + 3)], DEAD)
        canvas.line(x - 4, y - 6, x - 4, y + 8, DEAD, 1.6)

    def examination(x: float, y: float) -> None:
        canvas.rectangle(x - 9, y - 6, 19, 13, "#f0e6ff", stroke=ASK, stroke_width=0.8, rx=3)
        canvas.line(x - 5, y - 4, x - 5, y + 5, PROBE, 1.3)
        canvas.rectangle(x, y - 2.5, 6, 6, KERNEL)

    entries: list[tuple[str, Callable[[float, float], None]]] = [
        ("probe answered", lambda x, y: canvas.dot(x, y, 4, "#ffffff", stroke=PROBE, stroke_width=2)),
        ("probe, waiting", probe),
        ("missed; retried, two relays asked", lambda x, y: canvas.cross(x, y, 4, MISS)),
        ("missed again", missed_again),
        (
            "relay pings it too",
            lambda x, y: canvas.shape([(x, y - 4), (x + 4, y), (x, y + 4), (x - 4, y)], RELAY),
        ),
        ("doubted", doubt),
        ("all observers asked", lambda x, y: canvas.line(x - 9, y + 4, x + 9, y - 4, ASK, 1.2)),
        ("examination: pings, kernel probes", examination),
        ("vote: none", lambda x, y: canvas.rectangle(x - 4.5, y - 4.5, 9, 9, VOTES["none"], stroke=INK)),
        (
            "vote on its way",
            lambda x, y: canvas.line(x - 9, y + 4, x + 9, y - 4, INK, 0.8, stroke_opacity=0.5),
        ),
        ("called unreachable", dead),
        (
            "told to a window, read by the controller",
            lambda x, y: canvas.line(x - 9, y + 4, x + 9, y - 4, VIEW, 1.4),
        ),
    ]
    at, row = 26.0, top
    for words, mark in entries:
        room = 46 + 6.3 * len(words)
        if at + room > LEFT + FLAT + STRETCHED:
            at, row = 26.0, row + 26
        mark(at, row)
        canvas.text(at + 16, row + 4, words, 11.5)
        at += room


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--out", type=Path, help="default: beside the trace, as .svg")
    chosen = parser.parse_args()
    told = json.loads(chosen.trace.read_text(encoding="utf-8"))
    (chosen.out or chosen.trace.with_suffix(".svg")).write_text(draw(told), encoding="utf-8")


if __name__ == "__main__":
    main()
