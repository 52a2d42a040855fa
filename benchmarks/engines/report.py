"""Engines as a document, and engines and machines side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...edge_runtime.errors import DataError, SkinEdgeError, UsageError
from ..inputs import documents
from ..micro import measure as micro
from ..report.document import Block, Code, Document, Notes, Section, Span, Table, Text, number
from .measure import FORMAT, FORMAT_VERSION

_Result = Mapping[str, Any]

_KINDS = {"may be used": "good", "must not be used": "bad"}
NOT_KNOWN = "not known"
_NONE: dict[str, Any] = {}
_VERSIONS = {FORMAT: FORMAT_VERSION, micro.FORMAT: micro.FORMAT_VERSION}


def document(result: _Result) -> Document:
    """The report of `measure.run_engines`."""
    model, pictures = result["model"], result["pictures"]
    engines = result["engines"]
    asked = f"{pictures['golden']} golden pictures {pictures['repeats']} times each, in changed order"
    if pictures["labelled"]:
        asked += f"; {pictures['labelled']:,} labelled ones once ({_data(pictures)})"
    about = [f"model: {model['path']}", asked, f"reference: {result['reference']}", _machine(result["machine"])]
    if pictures["failed"]:
        count = len(pictures["failed"])
        about.append(f"{count} labelled picture{'s' if count != 1 else ''} cannot be assessed and were left out")
    sections = [
        Section("about", "", [Notes(about)]),
        Section("verdicts", "May this engine be used?", _verdicts(engines)),
        Section("answers", "Answers beside the reference's", _answers(engines)),
        Section("cost", "What ran, and what it costs", [*_cost(engines), *_doubts(result.get("warnings", ()))]),
        Section("thresholds", "Decisions at the frozen thresholds", _thresholds(result), detail=True),
    ]
    missing = [one for one in engines if one["install"]]
    if missing:
        lines = [line for one in missing for line in (f"# {one['name']}: {one['detail']}", one["install"])]
        sections.append(Section("missing", "Not available here, and the line that installs it", [Code(lines)]))
    if result["gate"]:
        rows = [(row["name"], "ok" if row["passed"] else "FAIL", row["says"]) for row in result["gate"]["limits"]]
        sections.append(Section("gate", "Gate", [Table(("limit", "", "measured"), rows)]))
    return Document("Engines", "", [one for one in sections if one.blocks], "skin-edge bench --engine")


def said(engine: _Result) -> Text:
    """An engine's verdict in a few words."""
    verdict = engine["verdict"]
    if verdict is None:
        return Span("not measured", "soft")
    use = verdict["use"]
    if verdict["margin"] is not None:
        return f"{use} of {verdict['margin']:.2g}"
    return Span(use, _KINDS.get(use, "soft"))


def _verdicts(engines: Sequence[_Result]) -> list[Block]:
    rows = [(one["name"], said(one), "; ".join(_reasons(one))) for one in engines]
    return [Table(("engine", "verdict", "why"), rows)]


def _reasons(engine: _Result) -> list[str]:
    return list(engine["verdict"]["reasons"]) if engine["verdict"] else [f"not available: {engine['detail']}"]


def _answers(engines: Sequence[_Result]) -> list[Block]:
    rows: list[Sequence[Text]] = []
    for one in engines:
        for name in ("golden", "labelled"):
            found = one[name]
            if not found or not found["pictures"]:
                continue
            flips = [row["flips"] for row in found["decisions"].values()]
            rows.append(
                (
                    one["name"],
                    name,
                    f"{found['same_top_class']:,} of {found['pictures']:,}",
                    number(found["largest_step"], ".2g"),
                    number(found["mean_step"], ".2g"),
                    number(found["largest_logit_step"], ".2g"),
                    number(max(flips, default=None), "d"),
                    number(found.get("balanced_accuracy"), ".4f"),
                )
            )
    if not rows:
        return []
    columns = (
        "engine",
        "pictures",
        "same top class",
        "largest step",
        "mean step",
        "logit step",
        "flips, most at a threshold",
        "balanced accuracy",
    )
    notes = [
        "A step is the change of a probability, the largest of an answer; a logit step the least that explains it.",
        "A flip is a picture with another decision at one of the file's thresholds.",
    ]
    return [Table(columns, rows), Notes(notes)]


def _cost(engines: Sequence[_Result]) -> list[Block]:
    rows: list[Sequence[Text]] = []
    for one in engines:
        if one["load_ms"] is None:
            continue
        steady: _Result = one["steady"] or _NONE
        peak = one["peak_bytes"]
        rows.append(
            (
                one["name"],
                number(one["load_ms"], ".1f"),
                number(one["first_ms"], ".2f"),
                number(steady.get("median_ms"), ".2f"),
                number(steady.get("p95_ms"), ".2f"),
                number(None if peak is None else peak / 1e6, ".0f", NOT_KNOWN),
                executed(one["executed"]),
                str(one["version"]),
            )
        )
    columns = ("engine", "load ms", "first ms", "median ms", "p95 ms", "peak MB", "operators", "version")
    return [Table(columns, rows)] if rows else []


def _doubts(warnings: Sequence[Mapping[str, str]]) -> list[Block]:
    """What makes the times doubtful."""
    return [Notes([f"{one['what']}; {one['remedy']}" for one in warnings])] if warnings else []


def executed(found: _Result | None) -> str:
    """Who ran the operators, in a few words."""
    if found is None:
        return NOT_KNOWN
    delegate, count, taken = found["delegate"], found["operators"], found["delegated"]
    if delegate is None:
        return f"none of {count}" if count else "none"
    if count is None or taken is None:
        return f"all {delegate}" if found["whole"] else f"part {delegate}"
    parts = found["partitions"]
    return f"{taken} of {count} {delegate}" + (f", {parts} partitions" if parts and parts > 1 else "")


def _thresholds(result: _Result) -> list[Block]:
    rows: list[Sequence[Text]] = []
    for one in result["engines"]:
        for limit in result["thresholds"]:
            found = [one[name]["decisions"][limit["name"]] for name in ("golden", "labelled") if one[name]]
            if not found or found[0]["margin"] is None:
                continue
            rows.append(
                (
                    one["name"],
                    limit["name"],
                    number(limit["threshold"], ".4f"),
                    number(limit["borderline_within"], ".4f", NOT_KNOWN),
                    number(max((row["margin"] or 0.0 for row in found), default=None), ".2g"),
                    number(sum(row["flips"] for row in found), "d"),
                )
            )
    if not rows:
        return []
    return [Table(("engine", "threshold", "value", "borderline within", "largest change of score", "flips"), rows)]


def _data(pictures: _Result) -> str:
    return str(pictures["data"]) + (f", {pictures['split']}" if pictures["split"] else "")


def _machine(machine: _Result) -> str:
    return f"machine: {machine['board'] or machine['cpu'] or NOT_KNOWN}, {machine['cores'] or '?'} cores"


def are_results(paths: Sequence[Path]) -> bool:
    """Whether the first of these files is of `bench --engine` or `--micro`; which others then have to be."""
    try:
        return bool(paths) and _format(documents.read_json(paths[0])) in _VERSIONS
    except SkinEdgeError:
        return False


def read_result(path: Path) -> dict[str, Any]:
    """What `bench --engine` or `--micro` wrote. Raises UsageError where there is no such file, DataError else."""
    result: Any = documents.read_json(path)
    name = _format(result)
    if name not in _VERSIONS:
        raise DataError(f"{path} is no --result-json of 'skin-edge bench --engine' or '--micro'")
    if result["format_version"] != _VERSIONS[name]:
        raise DataError(
            f"{path} is of version {result['format_version']}, this skin-edge reads version {_VERSIONS[name]}: measure "
            "again with one skin-edge"
        )
    return result


def _format(content: Any) -> str:
    return str(content.get("format")) if isinstance(content, dict) else ""  # pyright: ignore


def compare(paths: Sequence[Path]) -> dict[str, Any]:
    """Engines, machines and chips side by side, JSON-ready.

    Args:
        paths: Of results of `bench --engine` and `bench --micro`.

    Returns:
        {"results": [{name, machine, measured_at, model}], "engines": [{"name", "by": one entry per result, None where
        it has no such engine}], "chips": rows of `_chips`, "unlike": what differs and bears on the figures}.

    Raises:
        UsageError: Where there are fewer than two, or they are of different model files, and as `read_result` does.
    """
    if len(paths) < 2:
        raise UsageError("--compare takes two or more results of --engine or --micro")
    results = {str(path): read_result(path) for path in paths}
    models = {name: result["model"]["sha256"] for name, result in results.items()}
    if len(set(models.values())) > 1:
        said = ", ".join(f"{name} {sha256[:12]}" for name, sha256 in models.items())
        raise UsageError(f"the results are of different model files: {said}")
    measured = {name: result for name, result in results.items() if result["format"] == FORMAT}
    names = list(dict.fromkeys(one["name"] for result in measured.values() for one in result["engines"]))
    by = [{one["name"]: one for one in result.get("engines", ())} for result in results.values()]
    unlike: dict[str, list[Any]] = {}
    for result in measured.values():
        bears = {"labelled pictures": result["pictures"]["labelled"], "threads": result["num_threads"]}
        for key, value in bears.items():
            unlike.setdefault(key, []).append(value)
    return {
        "results": [
            {
                "name": name,
                "machine": _machine(result["machine"]).removeprefix("machine: ") if name in measured else None,
                "measured_at": result.get("measured_at"),
                "model": result["model"]["path"],
            }
            for name, result in results.items()
        ],
        "engines": [{"name": name, "by": [rows.get(name) for rows in by]} for name in names],
        "chips": [row for name, result in results.items() if name not in measured for row in _chips(name, result)],
        "unlike": {key: values for key, values in unlike.items() if any(one != values[0] for one in values)},
    }


def _chips(name: str, result: _Result) -> list[dict[str, Any]]:
    """What a result of `bench --micro` says of TFLite Micro and of each NPU; None is not known.

    memory_bytes: the arena, of an NPU its SRAM. flash_bytes: the file, of an NPU also DRAM. estimated_ms: Vela's.
    """
    arena, size = result["tflite_micro"], result["model"]["bytes"]
    empty = {"estimated_ms": None, "operators": None, "operators_on_npu": None}
    first = {"memory_bytes": arena["arena_bytes"], "flash_bytes": size, **empty}
    rows = [{"name": "TFLite Micro", "result": name, "verdict": result["verdict"], "why": result["why"], **first}]
    for npu in result["npus"]:
        row = {"memory_bytes": None, "flash_bytes": None, **empty}
        if npu["compiles"]:
            flash = npu["dram_bytes"] + npu["on_chip_flash_bytes"] + npu["off_chip_flash_bytes"]
            row = {"memory_bytes": npu["sram_bytes"], "flash_bytes": flash} | {key: npu[key] for key in empty}
        said = "compiles" if npu["compiles"] else "cannot be compiled"
        rows.append({"name": npu["npu"], "result": name, "verdict": said, "why": npu["why"], **row})
    return rows


def compared(comparison: _Result) -> Document:
    """The comparison as a document: a row per engine and result."""
    results = comparison["results"]
    notes = [
        f"{one['name']}: {one['machine']}, measured {one['measured_at']}" if one["machine"] else f"{one['name']}: chips"
        for one in results
    ]
    notes += [f"{key} differ: {', '.join(map(str, values))}" for key, values in comparison["unlike"].items()]
    rows: list[Sequence[Text]] = []
    for engine in comparison["engines"]:
        for result, one in zip(results, engine["by"], strict=True):
            if one is None:
                continue
            sets = [one[name] for name in ("golden", "labelled") if one[name] and one[name]["pictures"]]
            pictures = sum(found["pictures"] for found in sets)
            same = sum(found["same_top_class"] for found in sets)
            peak = one["peak_bytes"]
            rows.append(
                (
                    engine["name"],
                    result["name"],
                    said(one),
                    f"{same:,} of {pictures:,}" if sets else "-",
                    number(max((found["largest_step"] for found in sets), default=None), ".2g"),
                    number((one["steady"] or _NONE).get("median_ms"), ".2f"),
                    number(None if peak is None else peak / 1e6, ".0f", NOT_KNOWN),
                    executed(one["executed"]) if sets else "-",
                )
            )
    columns = ("engine", "result", "verdict", "same top class", "largest step", "median ms", "peak MB", "operators")
    sections = [Section("results", "", [Notes(notes)])]
    sections += [Section("engines", "Engines", [Table(columns, rows)])] if rows else []
    chips = [
        (
            one["name"],
            one["result"],
            one["verdict"],
            number(one["memory_bytes"], ",d", NOT_KNOWN),
            number(one["flash_bytes"], ",d", NOT_KNOWN),
            number(one["estimated_ms"], ".2f", NOT_KNOWN),
            number(one["operators_on_npu"], "d", NOT_KNOWN),
        )
        for one in comparison["chips"]
    ]
    columns = ("chip", "result", "verdict", "memory, bytes", "flash, bytes", "ms, estimated", "operators on NPU")
    sections += [Section("chips", "Microcontrollers and NPUs", [Table(columns, chips)])] if chips else []
    return Document("", "", sections, "skin-edge bench --compare")
