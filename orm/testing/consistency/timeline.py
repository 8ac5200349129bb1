"""A violation for people: as text, and as a picture that needs nothing but itself."""

from collections.abc import Sequence
from html import escape
from typing import Final

from orm.testing.consistency.checker import Violation
from orm.testing.consistency.history import Operation, Seen

__all__ = ["picture", "text"]

_SHOWN: Final = 6
"""Keys that are shown of one operation."""


def text(violation: Violation) -> str:
    """A small timeline: one operation a line, the one that should not be last."""
    operations = violation.history
    began = min(operation.start for operation in operations)
    rows = [
        (
            f"{1000 * (o.start - began):.1f} ms",
            o.session,
            _what(o),
            _where(o),
            _links(o, operations),
        )
        for o in operations
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{violation.anomaly}: {violation.reason}"]
    for when, *rest, links in rows:
        cells = [when.rjust(widths[0])]
        cells += [cell.ljust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append(f"  {'  '.join(cells)}  {links}".rstrip())
    return "\n".join(lines)


def _what(operation: Operation) -> str:
    parts = []
    if operation.writes or operation.kind == "write":
        parts.append("writes " + _keys(operation.writes))
    if operation.reads:
        parts.append("reads " + _keys(operation.reads))
    if operation.kind == "bookmark":
        parts.append("hands out a bookmark")
    done = ", ".join(parts) or operation.kind
    return done if operation.outcome == "ok" else f"{done} ({operation.outcome})"


def _keys(seen: Sequence[Seen]) -> str:
    shown = [f"k{one.key}=v{one.version}" for one in seen[:_SHOWN]]
    return " ".join(shown) + (" …" if len(seen) > _SHOWN else "")


def _where(operation: Operation) -> str:
    return f"{operation.server} ({operation.why})" if operation.why else operation.server


def _links(operation: Operation, operations: Sequence[Operation]) -> str:
    sessions = {other.id: other.session for other in operations}
    from_ = [sessions[name] for name in operation.after if name in sessions]
    others = [session for session in from_ if session != operation.session]
    return f"<- {', '.join(others)}" if others else ""


# The picture -------------------------------------------------------------------------------

_LANE: Final = 64
_COLUMN: Final = 210
_LEFT: Final = 120
_TOP: Final = 56
_BOX: Final = (190, 40)

_STYLE: Final = """\
text{font:12px sans-serif;fill:#222}.head{font-size:15px;font-weight:bold}.small{fill:#666}
line{stroke:#ccc}rect{fill:#eef3fa;stroke:#56779f}rect.bad{fill:#fdecea;stroke:#b3261e}
path{fill:none;stroke:#56779f;marker-end:url(#tip)}"""


def picture(violation: Violation) -> str:
    """The same as an SVG document: a lane for each session, time from left to right."""
    operations = violation.history
    lanes = {name: n for n, name in enumerate(dict.fromkeys(o.session for o in operations))}
    places = {
        o.id: (_LEFT + column * _COLUMN, _TOP + lanes[o.session] * _LANE)
        for column, o in enumerate(operations)
    }
    width = _LEFT + len(operations) * _COLUMN
    height = _TOP + len(lanes) * _LANE + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0L8,4L0,8z" style="fill:#56779f;stroke:none"/></marker></defs>',
        f'<text class="head" x="8" y="20">{escape(violation.anomaly)}</text>',
        f'<text x="8" y="38">{escape(violation.reason)}</text>',
    ]
    for name, lane in lanes.items():
        y = _TOP + lane * _LANE + _BOX[1] // 2
        parts.append(f'<line x1="{_LEFT}" x2="{width}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="8" y="{y + 4}">{escape(name)}</text>')
    for operation in operations:
        parts += _arrows(operation, places)
        parts += _box(operation, places[operation.id], last=operation is operations[-1])
    return "\n".join([*parts, "</svg>", ""])


def _arrows(operation: Operation, places: dict[str, tuple[int, int]]) -> list[str]:
    x, y = places[operation.id]
    before = dict.fromkeys((*operation.after, *(seen.writer for seen in operation.reads)))
    return [
        f'<path d="M{places[name][0] + _BOX[0]},{places[name][1] + 20}L{x},{y + 20}"/>'
        for name in before
        if name in places and name != operation.id
    ]


def _box(operation: Operation, place: tuple[int, int], *, last: bool) -> list[str]:
    x, y = place
    style = ' class="bad"' if last else ""
    return [
        f'<rect{style} x="{x}" y="{y}" width="{_BOX[0]}" height="{_BOX[1]}" rx="5"/>',
        f'<text x="{x + 8}" y="{y + 17}">{escape(_what(operation))}</text>',
        f'<text class="small" x="{x + 8}" y="{y + 33}">{escape(_where(operation))}</text>',
        f"<title>{escape(operation.id)}</title>",
    ]
