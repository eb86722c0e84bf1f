"""Draws plots as SVG, inline or as files: lines with error bars, intervals and heat maps."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from html import escape

COLOURS = ("#1f6fb4", "#d1601f", "#2f8f4e", "#8d4fb0")
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 38


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a plot.

    Attributes:
      points: (x, y, half the height of the error bar).
    """

    label: str
    points: Sequence[tuple[float, float, float]]
    colour: str
    dashed: bool = False


def lines(
    title: str,
    series: Sequence[Line],
    x_label: str,
    y_label: str,
    log_x: bool = False,
    width: int = 420,
    height: int = 260,
) -> str:
    """Plots lines. The y axis starts at zero; the x axis is logarithmic if `log_x` is set."""
    points = [point for line in series for point in line.points]
    xs = [_log(x, log_x) for x, _, _ in points]
    top = max(y + half for _, y, half in points) * 1.05 or 1.0
    left, right = min(xs), max(xs)
    across = _scale(left, right if right > left else left + 1, _LEFT, width - _RIGHT)
    up = _scale(0, top, height - _BOTTOM, _TOP)
    parts = [_text(width / 2, 15, title, "middle", bold=True)]
    for tick in _ticks(top):
        parts += [_rule(_LEFT, up(tick), width - _RIGHT, up(tick), "#ddd"), _text(_LEFT - 5, up(tick) + 4, f"{tick:g}", "end")]
    shown = sorted({x for x, _, _ in points})
    marks = shown
    if len(shown) > 5:
        marks = [tick for tick in _ticks(right) if tick >= left]
        # The ticks of a logarithmic axis are exponents; their powers are rounded for the labels.
        marks = [float(f"{10**tick:.3g}") for tick in marks] if log_x else marks
    for x in marks:
        parts.append(_text(across(_log(x, log_x)), height - _BOTTOM + 15, f"{x:g}", "middle"))
    parts.append(_text((_LEFT + width - _RIGHT) / 2, height - 6, x_label, "middle"))
    parts.append(f'<g transform="rotate(-90 12 {height / 2:.0f})">{_text(12, height / 2, y_label, "middle")}</g>')
    for number, line in enumerate(series):
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        path = " ".join(f"{across(_log(x, log_x)):.1f},{up(y):.1f}" for x, y, _ in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="1.8"{dash}/>')
        for x, y, half in line.points:
            place = across(_log(x, log_x))
            if half:
                parts.append(_rule(place, up(max(y - half, 0)), place, up(y + half), line.colour))
            if len(line.points) <= 12:
                parts.append(
                    f'<circle cx="{place:.1f}" cy="{up(y):.1f}" r="2.6" fill="{line.colour}">'
                    f"<title>{escape(line.label)}: {y:.3f} at {x:g}</title></circle>"
                )
        place = _TOP + 12 + 14 * number
        parts.append(f'<line x1="{width - 130}" y1="{place - 4}" x2="{width - 108}" y2="{place - 4}" '
                     f'stroke="{line.colour}" stroke-width="1.8"{dash}/>')  # fmt: skip
        parts.append(_text(width - 104, place, line.label, "start"))
    return _figure(width, height, title, parts)


def intervals(title: str, rows: Sequence[tuple[str, float, float, float, bool]], shown: Callable[[float], str]) -> str:
    """Plots one interval per row, (label, value, low, high, strong), and marks zero; weak rows are grey."""
    width, labels = 760, 330
    height = _TOP + 18 * len(rows) + 24
    low, high = min(0.0, *(row[2] for row in rows)), max(0.0, *(row[3] for row in rows))
    across = _scale(low, high if high > low else low + 1, labels + 20, width - 70)
    bottom = height - 20
    parts = [_text(width / 2, 15, title, "middle", bold=True), _rule(across(0), _TOP, across(0), bottom, "#888")]
    for number, (label, value, begin, end, strong) in enumerate(rows):
        y, colour = _TOP + 12 + 18 * number, COLOURS[0] if strong else "#999"
        parts += [
            _text(labels, y + 4, label, "end"), _rule(across(begin), y, across(end), y, colour, 2),
            f'<circle cx="{across(value):.1f}" cy="{y}" r="3.4" fill="{colour}"/>',
            _text(width - 60, y + 4, shown(value), "start"),
        ]  # fmt: skip
    parts += [_text(across(x), height - 6, shown(x), "middle") for x in sorted({low, 0.0, high})]
    return _figure(width, height, title, parts)


def heat_map(title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """Plots a matrix whose cells range from white (0) to blue (the largest value), each labelled with its value."""
    side, labels = (46 if len(columns) <= 16 else 18), 110
    width, height = labels + side * len(columns) + 10, _TOP + 20 + 24 * len(rows) + 6
    largest = max((value for row in values for value in row), default=1.0) or 1.0
    parts = [_text(width / 2, 15, title, "middle", bold=True)]
    parts += [_text(labels + side * (i + 0.5), _TOP + 14, name, "middle") for i, name in enumerate(columns)]
    for i, (name, row) in enumerate(zip(rows, values)):
        y = _TOP + 20 + 24 * i
        parts.append(_text(labels - 6, y + 16, name, "end"))
        for j, value in enumerate(row):
            x, share = labels + side * j, value / largest
            red, green, blue = (round(255 + (to - 255) * share) for to in (31, 111, 180))
            parts.append(
                f'<rect x="{x}" y="{y}" width="{side - 1}" height="23" fill="rgb({red},{green},{blue})">'
                f"<title>{escape(name)}, {escape(columns[j])}: {value:.3f}</title></rect>"
            )
            if len(columns) <= 16:
                colour = "#fff" if share > 0.6 else "#222"
                parts.append(_text(x + side / 2, y + 16, f"{value:.2f}", "middle", colour=colour))
    return _figure(width, height, title, parts)


def as_file(figure: str) -> str:
    """Returns the content of a file for a figure. In a page, the style of the page sets the font and the background."""
    own = 'xmlns="http://www.w3.org/2000/svg" style="background: #fff; font: 11px system-ui, sans-serif"'
    return figure.replace("<svg ", f"<svg {own} ", 1) + "\n"


def _figure(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str, bold: bool = False, colour: str = "#222") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _log(x: float, log: bool) -> float:
    return math.log10(x) if log else x


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    return lambda value: begin + (value - low) / (high - low) * (end - begin)


def _ticks(top: float) -> list[float]:
    """Returns about five round numbers from 0 to `top`."""
    step = 10.0 ** math.floor(math.log10(top / 4))
    step = next(step * factor for factor in (1, 2, 5, 10) if top / (step * factor) <= 6)
    return [step * i for i in range(int(top / step) + 1)]
