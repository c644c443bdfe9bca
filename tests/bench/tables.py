"""The results as Markdown, ratios first, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.records import Figure, LeftOut, Row
from tests.bench.sizes import SMOKE
from tests.bench.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.bench.records import Finding
    from tests.bench.targets import Target


_REASON_CHARS: Final = 300
_SMOKE: Final = "**Smallest sizes:** this shows that everything runs, and nothing about the targets."


@dataclass(frozen=True, slots=True)
class Section:
    """What one subject found."""

    name: str
    title: str
    findings: Sequence[Finding]
    load: float
    began: str

    @property
    def rows(self) -> list[Row]:
        """Its measurements."""
        return [finding for finding in self.findings if isinstance(finding, Row)]

    @property
    def left_out(self) -> list[LeftOut]:
        """What it left out."""
        return [finding for finding in self.findings if isinstance(finding, LeftOut)]


def markdown(sections: Sequence[Section], machine: Mapping[str, object]) -> str:
    """The table of targets, then one table a subject, then how it was run."""
    parts = [_SMOKE] if machine.get("sizes") == SMOKE.name else []
    parts.append("\n".join(_targets(sections)))
    parts += ["\n".join(_section(section)) for section in sections]
    parts.append("\n".join(_machine(machine)))
    return "\n\n".join(parts) + "\n"


def document(sections: Sequence[Section], machine: Mapping[str, object]) -> dict[str, object]:
    """The same as a JSON document, with every round."""
    figures, reasons = _figures(sections), _reasons(sections)
    targets = [
        {
            **asdict(target),
            "value": figures[target.key].value if target.key in figures else None,
            "is_met": target.is_met_by(figures[target.key].value) if target.key in figures else None,
            "detail": figures[target.key].detail if target.key in figures else reasons.get(target.key, ""),
        }
        for target in TARGETS
    ]
    return {
        "schema": "ionetctl.bench/1",
        "machine": dict(machine),
        "targets": targets,
        "subjects": [
            {
                "name": section.name,
                "title": section.title,
                "load": section.load,
                "began": section.began,
                "rows": [_row_document(row) for row in section.rows],
                "left_out": [asdict(one) for one in section.left_out],
            }
            for section in sections
        ],
    }


def _row_document(row: Row) -> dict[str, object]:
    return {
        "name": row.name,
        "command": row.command,
        "units": row.units,
        "floor": row.of.name if row.of else None,
        "cpu_ratio": row.cpu_ratio,
        "wall_ratio": row.wall_ratio,
        "cpu_s": row.cpu_s,
        "wall_s": row.wall_s,
        "cpu_per_unit_s": row.cpu_per_unit,
        "spread": row.spread,
        "peak_mib": row.peak_mib,
        "sent_mib": row.sent_mib,
        "hosts_cpu_s": row.hosts_cpu_s,
        "is_cut": row.is_cut,
        "note": row.note,
        "rounds": [asdict(sample) for sample in row.samples],
    }


def _figures(sections: Sequence[Section]) -> dict[str, Figure]:
    """The figure of each target that has any: of several the one that is farthest from meeting it."""
    found = [one for section in sections for one in section.findings if isinstance(one, Figure)]
    worst: dict[str, Figure] = {}
    for target in TARGETS:
        own = [figure for figure in found if figure.target == target.key]
        if own:
            worst[target.key] = (min if target.is_floor else max)(own, key=lambda figure: figure.value)
    return worst


def _reasons(sections: Sequence[Section]) -> dict[str, str]:
    return {key: one.why for section in sections for one in section.left_out for key in one.targets}


def _targets(sections: Sequence[Section]) -> Iterator[str]:
    figures, reasons = _figures(sections), _reasons(sections)
    yield "| target | limit | measured | |"
    yield "| --- | --- | --- | --- |"
    for target in TARGETS:
        limit = f"{'≥' if target.is_floor else '≤'} {number(target.limit)} {target.unit}"
        yield f"| {target.what} | {limit} | {_verdict(target, figures.get(target.key), reasons)} |"


def _verdict(target: Target, figure: Figure | None, reasons: Mapping[str, str]) -> str:
    if figure is None:
        return f"not measured: {reasons.get(target.key, 'its subject was not run')} | "
    met = "met" if target.is_met_by(figure.value) else "**not met**"
    detail = f" ({figure.detail})" if figure.detail else ""
    return f"{number(figure.value)}{detail} | {met}"


def _section(section: Section) -> Iterator[str]:
    yield f"### {section.title}"
    yield ""
    rows = section.rows
    if rows:
        yield f"Begun {section.began}, at a load of {section.load:.1f}."
        yield ""
        yield "| | CPU ratio | wall ratio | CPU s | spread | wall s | CPU a unit | hosts' CPU s | memory MiB | loopback MiB | |"
        yield f"|{' --- |' * 11}"
        yield from map(_row, rows)
        yield ""
        yield from (f"- {row.name}: `{row.command}`" for row in rows if row.command)
    for one in section.left_out:
        yield f"- left out: {one.what}: {' '.join(one.why.split())[:_REASON_CHARS]}"


def _row(row: Row) -> str:
    least = "≥ " if row.is_cut else ""
    cells = (
        row.name,
        *(
            f"{least}{number(ratio)}" if ratio is not None else ""
            for ratio in (row.cpu_ratio, row.wall_ratio)
        ),
        least + number(row.cpu_s),
        f"{row.spread:.0%}" if row.spread is not None else "one round",
        least + number(row.wall_s) if row.wall_s else "",
        seconds(row.cpu_per_unit) if row.units != 1 else "",
        number(row.hosts_cpu_s) if row.hosts_cpu_s is not None else "",
        f"{row.peak_mib:.0f}" if row.peak_mib else "",
        f"{row.sent_mib:.1f}" if row.sent_mib is not None else "",
        row.note,
    )
    return f"| {' | '.join(cells)} |"


def _machine(machine: Mapping[str, object]) -> Iterator[str]:
    yield "### The run"
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    for name, value in machine.items():
        if isinstance(value, dict):
            text = ", ".join(f"{key} {one}" for key, one in value.items())
        else:
            text = str(value)
        yield f"| {name} | {text} |"


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    return f"{number(value)} s" if value >= 1 else f"{number(value * 1e3)} ms"
