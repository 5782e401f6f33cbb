"""A structured report for human eyes: as text for a terminal, as one HTML page for a browser.

Whatever stands in the document is data: in HTML everything is escaped, and the page neither loads
nor runs anything; in text, control characters are shown as codes.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from string import Template

from pydicom.dataset import Dataset

from dicom_node.sr.content import WARNING, Finding, FindingState, ReportContent
from dicom_node.sr.reading import read_report, reading

_WIDTH = 88
_MARKS: Mapping[FindingState, str] = {
    FindingState.PRESENT: "+",
    FindingState.ABSENT: "-",
    FindingState.UNDETERMINED: "?",
    FindingState.NOT_EVALUATED: " ",
}


@reading()
def render_text(document: Dataset) -> str:
    """Return the report as lines of at most 88 characters, where its words allow.

    Raises:
        Permanent: the document is no report of ours or is incomplete.
    """
    report = read_report(document)
    blocks = [
        _wrapped(f"*** {report.warning or WARNING} ***"),
        [report.title.meaning, *(f"{name}: {value}" for name, value in _headline(document))],
        _wrapped(report.summary),
        ["Findings", *_finding_lines(report.findings)],
        ["Algorithm", *(f"  {name}: {value}" for name, value in _algorithm_rows(report))],
        ["Evidence", *(f"  {name}: {value}" for name, value in _evidence_rows(document, report))],
    ]
    text = "\n\n".join("\n".join(_visible(line) for line in block) for block in blocks)
    return text + "\n"


@reading()
def render_html(document: Dataset) -> str:
    """Return the report as one HTML page that needs nothing else.

    Raises:
        Permanent: the document is no report of ours or is incomplete.
    """
    report = read_report(document)
    return _PAGE.substitute(
        style=_STYLE,
        title=escape(report.title.meaning),
        warning=escape(report.warning or WARNING),
        headline=_definitions(_headline(document)),
        summary=escape(report.summary),
        counts=_counts(report.findings),
        findings="\n".join(_sections(report.findings)),
        algorithm=_definitions(_algorithm_rows(report)),
        evidence=_definitions(_evidence_rows(document, report)),
    )


def _headline(document: Dataset) -> list[tuple[str, str]]:
    shown = (
        ("Patient", "PatientName"),
        ("Patient ID", "PatientID"),
        ("Birth date", "PatientBirthDate"),
        ("Sex", "PatientSex"),
        ("Accession number", "AccessionNumber"),
        ("Study", "StudyDescription"),
        ("Study date", "StudyDate"),
    )
    rows = [(name, str(document.get(keyword) or "")) for name, keyword in shown]
    readable = {"Patient": _person, "Birth date": _date, "Study date": _date}
    return [(name, readable.get(name, str)(value)) for name, value in rows if value]


def _person(value: str) -> str:
    """Family name, then the rest of the first component group (PS3.5 6.2.1)."""
    family, _, rest = value.partition("=")[0].partition("^")
    return ", ".join(part for part in (family, " ".join(rest.split("^")).strip()) if part)


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 else value


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f} %"


def _algorithm_rows(report: ReportContent) -> list[tuple[str, str]]:
    algorithm = report.algorithm
    if algorithm is None:
        return []
    rows = [
        ("Name", algorithm.name),
        ("Version", algorithm.version),
        ("Manufacturer", algorithm.manufacturer),
        ("Device UID", algorithm.device_uid),
        *algorithm.parameters.items(),
    ]
    rows += [(f"Observer {name}", value) for name, value in report.observer.items()]
    return [(name, value) for name, value in rows if value]


def _evidence_rows(document: Dataset, report: ReportContent) -> list[tuple[str, str]]:
    analysed = f"{sum(report.evidence.values())} instances in {len(report.evidence)} series"
    procedure = report.procedure.meaning if report.procedure else ""
    flags = ("PreliminaryFlag", "CompletionFlag", "VerificationFlag")
    status = ", ".join(str(document.get(flag, "")).lower() for flag in flags)
    rows = [
        ("Analysed", analysed),
        ("Procedure", procedure),
        ("Status", status),
        ("Content date", f"{_date(str(document.get('ContentDate', '')))}"),
        ("Study Instance UID", str(document.get("StudyInstanceUID", ""))),
        ("SOP Instance UID", str(document.get("SOPInstanceUID", ""))),
    ]
    return [(name, value) for name, value in rows if value]


def _finding_lines(findings: Iterable[Finding]) -> Iterable[str]:
    findings = list(findings)
    width = max((len(finding.condition.meaning) for finding in findings), default=0)
    for finding in findings:
        line = (
            f"  {_MARKS[finding.state]} {finding.condition.meaning:<{width}} {finding.site_id:<8}"
            f" {_percent(finding.probability):>8} {finding.state.value}"
        )
        if finding.threshold is not None and finding.probability is not None:
            line += f" (threshold {_percent(finding.threshold)})"
        yield f"{line}: {finding.reason}" if finding.reason else line


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH) or [""]


def _visible(line: str) -> str:
    """A line without control characters, which could steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _definitions(rows: Iterable[tuple[str, str]]) -> str:
    items = (f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in rows)
    return f"<dl>{''.join(items)}</dl>"


def _counts(findings: Iterable[Finding]) -> str:
    counted = Counter(finding.state for finding in findings)
    return "".join(
        f'<li class="{_class(state)}"><b>{counted[state]}</b> {state.value}</li>'
        for state in FindingState
        if counted[state]
    )


def _class(state: FindingState) -> str:
    return state.value.replace(" ", "-")


def _sections(findings: Iterable[Finding]) -> Iterable[str]:
    """One table body for each condition."""
    by_condition: dict[str, list[Finding]] = {}
    for finding in findings:
        by_condition.setdefault(finding.condition.meaning, []).append(finding)
    for condition, group in by_condition.items():
        rows = "\n".join(_row(finding) for finding in group)
        yield (
            f'<tbody><tr><th colspan="4" scope="rowgroup">{escape(condition)}</th></tr>'
            f"\n{rows}</tbody>"
        )


def _row(finding: Finding) -> str:
    place = escape(finding.site.meaning if finding.site else "whole study")
    reason = f'<span class="reason">{escape(finding.reason)}</span>' if finding.reason else ""
    return (
        f'<tr class="{_class(finding.state)}"><td title="{place}">{escape(finding.site_id)}</td>'
        f'<td class="number">{_percent(finding.probability)}</td><td>{_bar(finding)}</td>'
        f'<td><span class="state">{finding.state.value}</span>{reason}</td></tr>'
    )


def _bar(finding: Finding) -> str:
    if finding.probability is None:
        return '<div class="bar empty"></div>'
    limit = finding.threshold
    mark = "" if limit is None else f'<s style="left:{100 * limit:.2f}%"></s>'
    label = f"threshold {_percent(limit)}" if limit is not None else "no threshold"
    return (
        f'<div class="bar" title="{label}">'
        f'<i style="width:{100 * finding.probability:.2f}%"></i>{mark}</div>'
    )


_STYLE = """
:root { --ink:#1c2733; --soft:#5b6b7b; --line:#dfe5eb; --page:#f4f6f8;
  --present:#b3261e; --absent:#2f6f4f; --undetermined:#8a5a00; --none:#7a8794; }
* { box-sizing:border-box }
body { margin:0; background:var(--page); color:var(--ink);
  font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif }
.warning { background:#7a1f00; color:#fff; padding:.8rem 1.5rem; font-weight:600;
  text-align:center }
main { max-width:56rem; margin:1.5rem auto; padding:0 1rem }
section { background:#fff; border:1px solid var(--line); border-radius:8px;
  padding:1.1rem 1.4rem; margin-bottom:1rem }
h1 { font-size:1.35rem; margin:0 0 .8rem } h2 { font-size:1rem; margin:0 0 .7rem }
dl { display:grid; grid-template-columns:repeat(auto-fill,minmax(15rem,1fr)); gap:.5rem 1.5rem;
  margin:0 } dt { color:var(--soft); font-size:.78rem } dd { margin:0; overflow-wrap:anywhere }
ul { list-style:none; display:flex; gap:.6rem; flex-wrap:wrap; padding:0; margin:.8rem 0 0 }
li { border-radius:6px; padding:.15rem .7rem; background:var(--page); color:var(--tone) }
.present { --tone:var(--present) } .absent { --tone:var(--absent) }
.undetermined { --tone:var(--undetermined) } .not-evaluated { --tone:var(--none) }
table { width:100%; border-collapse:collapse }
td { padding:.35rem .6rem .35rem 0; border-top:1px solid var(--line); vertical-align:middle }
th { text-align:left; padding:.9rem 0 .3rem } tbody:first-child th { padding-top:0 }
td:first-child { width:6rem; padding-left:.8rem } td:last-child { width:45% }
.number { width:5rem; text-align:right; font-variant-numeric:tabular-nums }
.bar { position:relative; height:.7rem; min-width:7rem; border-radius:4px; background:#e9edf1 }
.bar i { display:block; height:100%; border-radius:4px; background:var(--tone) }
.bar s { position:absolute; top:-3px; bottom:-3px; width:2px; background:var(--ink) }
.bar.empty { background:repeating-linear-gradient(45deg,#eef1f4 0 5px,#e0e6eb 5px 10px) }
.state { color:var(--tone); font-weight:600 } .reason { color:var(--soft); margin-left:.6rem }
.key { color:var(--soft); font-size:.78rem; margin:.8rem 0 0 }
@media print { body { background:#fff } section { break-inside:avoid } }
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>$style</style></head>
<body><p class="warning" role="alert" style="margin:0">$warning</p>
<main>
<section><h1>$title</h1>$headline</section>
<section><h2>Summary</h2>$summary<ul>$counts</ul></section>
<section><h2>Findings</h2><table>$findings</table>
<p class="key">The bar is the probability, the upright mark the threshold. Not evaluated is not
absent.</p></section>
<section><h2>Algorithm</h2>$algorithm</section>
<section><h2>Evidence</h2>$evidence</section>
</main></body></html>
""")
