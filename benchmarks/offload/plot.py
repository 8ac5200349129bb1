"""The outcomes as a picture: an SVG that can be read on a light page and on a dark one."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

__all__ = ["plot"]

_LEFT: Final = 236  # of the bars
_WIDTH: Final = 330  # of the longest one
_BAR, _GAP, _GROUP = 22, 6, 40
_TOP: Final = 66
_COLOURS: Final = {"fresh": "#2f6fa8", "stale": "#c2571a", "ours": "#2e7d46"}

# A page of its own behind it all: what is read does not depend on the page around it.
_STYLE: Final = """\
    text { font: 14px system-ui, sans-serif; fill: #1b2733; }
    .title { font-size: 16px; font-weight: 600; }
    .quiet { font-size: 13px; fill: #4a5866; }
    .way { text-anchor: end; }
    .stale-word { font-size: 13px; fill: #9c3f0c; }
    .page { fill: #f7f9fb; }"""


def plot(outcomes: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Draw requests a second as bars, with the stale reads beside them.

    Args:
        outcomes: as `Outcome` has them.
        names: of the ways, for people.
    """
    most = max(outcome["throughput"] for outcome in outcomes)
    parts: list[str] = []
    y = _TOP
    for writes in sorted({outcome["writes"] for outcome in outcomes}):
        parts.append(f'<text class="quiet" x="24" y="{y}">{writes:.0%} writes</text>')
        y += 12
        for outcome in (one for one in outcomes if one["writes"] == writes):
            parts += _bar(outcome, names[outcome["way"]], y, most)
            y += _BAR + _GAP
        y += _GROUP - _GAP
    height = y - 8
    body = "\n  ".join(parts)
    title = "Requests a second on one primary and two replicas, and stale reads"
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 {height}" width="880" height="{height}" \
role="img" aria-labelledby="title">
  <title id="title">{title}</title>
  <style>
{_STYLE}
  </style>
  <rect class="page" width="880" height="{height}" rx="10"/>
  <text class="title" x="24" y="34">{title}</text>
  {body}
</svg>
"""


def _bar(outcome: Mapping[str, Any], name: str, y: int, most: float) -> list[str]:
    kind = "ours" if outcome["way"] == "bookmarks" else "stale" if outcome["stale"] else "fresh"
    width = round(_WIDTH * outcome["throughput"] / most)
    base = y + _BAR - 6
    stale = f"{outcome['stale']:,} stale reads" if outcome["stale"] else "no stale read"
    style = "stale-word" if outcome["stale"] else "quiet"
    return [
        f'<text class="way" x="{_LEFT - 10}" y="{base}">{escape(name)}</text>',
        f'<rect x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}" rx="3" '
        f'fill="{_COLOURS[kind]}"/>',
        f'<text x="{_LEFT + width + 8}" y="{base}">{outcome["throughput"]:.0f}</text>',
        f'<text class="{style}" x="{_LEFT + width + 52}" y="{base}">{stale}, '
        f"99 % within {outcome['p99'] / 1000:.1f} s</text>",
    ]
