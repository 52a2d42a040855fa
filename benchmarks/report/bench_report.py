"""A benchmark as a document: the models beside each other, and what is known of each alone.

A benchmark of one model is a list of one, with its reference in a second column. Every figure of the JSON is in a
table, except each single run and each calibration bin, which are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from ...edge_runtime.wording import counted
from ..stats import few, group_kinds, metrics
from . import charts, refusals_report, robustness_report
from .document import (
    HEADLINES,
    Block,
    Charts,
    Document,
    Notes,
    Picture,
    Pictures,
    Results,
    Section,
    Span,
    Table,
    Text,
    number,
    ranged,
    strong,
)

MOST_FLIPPED = 10
"""On the terminal, of all models together."""

MOST_PICTURES = 60
"""Of the flipped images, shared by the models; a page of a few megabytes can still be mailed."""

MOST_CLASSES = 32
"""Of more classes than these only those with images are listed: ImageNet's thousand on ten pictures say nothing."""

_STATISTICS = {"median": "median", "avg": "mean", "std": "std", "p5": "p5", "p90": "p90", "p95": "p95", "p99": "p99"}

_Result = Mapping[str, Any]


class _Column(NamedTuple):
    """What is in one column. one: model, size, network and latency, of a measured model all else too. figures: its
    accuracy, None where there is none. points: at its frozen thresholds. at: where in the result the figures are.
    """

    name: str
    one: _Result
    figures: _Result | None
    points: Sequence[_Result]
    at: Sequence[str | int]


class _Benchmark:
    """A result of `run_bench` or `run_benches` as columns. several: whether models have to be told apart by name."""

    def __init__(self, result: _Result):
        self.result = result
        self.several = "models" in result
        self.models: list[_Result] = result["models"] if self.several else [result]
        self.names = names(result) if self.several else ["model"]
        self.columns = [
            _column(name, one, one["accuracy"], "model", *(("models", i) if self.several else ()))
            for i, (name, one) in enumerate(zip(self.names, self.models, strict=True))
        ]
        reference = result["reference"]
        if self.several and not reference["is_first_model"]:
            self.columns.append(_column("reference", reference, reference["accuracy"], "model", "reference"))
        elif not self.several and reference:
            self.columns.append(_column("reference", reference, result["accuracy"], "reference"))
        gate = result["gate"]
        self.gates: list[_Result] = [] if gate is None else gate["models"] if self.several else [gate]
        self.compared = [
            (name, one["accuracy"])
            for name, one in zip(self.names, self.models, strict=True)
            if one["accuracy"] and one["accuracy"]["reference"]
        ]

    @property
    def heads(self) -> list[str]:
        return [column.name for column in self.columns]

    def each(self, key: str) -> list[tuple[str, Any]]:
        """(the beginning of a title, what stands under the key) of each model that has it."""
        return [
            (f"{name}: " if self.several else "", one[key])
            for name, one in zip(self.names, self.models, strict=True)
            if one.get(key)
        ]

    @property
    def shown(self) -> list[refusals_report.Shown]:
        """The columns with accuracy, for what their files refuse."""
        show, alone = Results(self.result, missing="-"), len(self.columns) == 1
        return [
            refusals_report.Shown("" if alone else column.name, show, column.at, column.name == "reference")
            for column in self.columns
            if column.figures
        ]

    def row(self, title: str, cell: Callable[[_Column], Text]) -> tuple[Text, ...]:
        return (title, *map(cell, self.columns))


def _column(name: str, one: _Result, accuracy: _Result | None, model: str, *at: str | int) -> _Column:
    """at: where in the result `one` is."""
    if not accuracy:
        return _Column(name, one, None, [], ())
    points: Sequence[_Result] = accuracy["operating_points"].get(model) or []
    return _Column(name, one, accuracy[model], points, (*at, "accuracy", model))


def document(result: _Result) -> Document:
    """result: what `bench.run_bench` or `bench.run_benches` returned. What was not measured is left out."""
    bench = _Benchmark(result)
    machine = result["machine"]
    where = machine["board"] or machine["cpu"] or machine["architecture"] or "an unknown machine"
    title = str(result["model"]["path"]).replace("\\", "/").rpartition("/")[2] if not bench.several else ""
    sections = [_summary(bench), *_gate(bench), *_warnings(bench)]
    if bench.models[0]["accuracy"]:
        sections += [_accuracy(bench), _per_class(bench), *_thresholds(bench)]
        sections += [*refusals_report.sections(bench.shown), *_parity(bench)]
    sections += [_latency(bench), *_sustained(bench), *_ports(bench), *_preprocessing(bench), *_robustness(bench)]
    sections.append(_size(bench))
    return Document(
        title or f"{len(bench.models)} models",
        f"skin-edge bench on {where}, {result['measured_at']}",
        [*sections, _machine(machine), _files(bench)],
        "skin-edge bench",
    )


def names(result: _Result) -> list[str]:
    """A short name for each model, no two alike: what their paths differ in."""
    paths = [str(one["model"]["path"]).replace("\\", "/").removesuffix(".tflite") for one in result["models"]]
    parts = [[part for part in path.split("/") if part not in ("", ".")] for path in paths]
    while all(len(one) > 1 for one in parts) and len({one[0] for one in parts}) == 1:
        parts = [one[1:] for one in parts]
    while all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
        parts = [one[:-1] for one in parts]
    short = ["/".join(one) for one in parts]
    return short if len(set(short)) == len(short) and "reference" not in short else paths


def gate_verdict(gate: _Result) -> str:
    """gate: of `gate.judge` or `gate.judge_all`."""
    rows = [row for one in gate.get("models", [gate]) for row in one["limits"]]
    noise = sum(bool(row["within_noise"]) for row in rows)
    return ("passed" if gate["passed"] else "FAILED") + (
        f", {noise} of {len(rows)} limits within noise" if noise else ""
    )


def gate_cells(row: _Result) -> tuple[Text, ...]:
    """One limit. The mark has a question mark where the limit is within noise."""
    return (
        row["name"],
        ("ok" if row["passed"] else "FAIL") + ("?" if row["within_noise"] else ""),
        f"{row['limit']:g}",
        number(row["value"], ".4g", "not measured"),
        "-" if row["interval"] is None else Span("{:.4g} to {:.4g}".format(*row["interval"]), "whole"),
        row["says"].partition(": ")[2],
    )


def _summary(bench: _Benchmark) -> Section:
    rows = [
        bench.row("file", lambda column: f"{column.one['size']['file_bytes'] / 1e6:.2f} MB"),
        bench.row("median latency", lambda column: f"{column.one['latency']['median_ms']:.2f} ms"),
    ]
    notes: list[Text] = []
    if bench.several:
        whom = "the first" if bench.result["reference"]["is_first_model"] else "the reference"
        notes.append(f"{len(bench.models)} models, each compared with {whom}.")
    if bench.gates:
        notes.append(f"Gate: {gate_verdict(bench.result['gate'])}.")
    if bench.models[0]["accuracy"]:
        rows += [
            bench.row(HEADLINES[key], lambda column, key=key: _ranged(column.figures, key))
            for key in ("balanced_accuracy", "macro_auc")
        ]
        rows += refusals_report.headlines(bench.shown)
        for name, accuracy in bench.compared:
            of = f"{name}: the" if bench.several else "The"
            notes.append(f"{of} same top class for {accuracy['agreement']:.2%} of {accuracy['model']['n']} images.")
            notes.append((f"{name}: " if bench.several else "") + _verdict(accuracy["non_inferiority"]))
    else:
        notes.append("No labelled images were given (no --data), so accuracy was not measured.")
    if any(one["warnings"] for one in bench.models):
        notes.append("The times are unreliable: see the warnings.")
    return Section("summary", "In short", [*([Notes(notes)] if notes else []), Table(("", *bench.heads), rows)])


def _gate(bench: _Benchmark) -> list[Section]:
    gate = bench.result["gate"]
    if not gate:
        return []
    notes = ["The default limits." if gate["source"] == "default" else f"Limits from {gate['source']}."]
    if "noise" in gate_verdict(gate):
        notes.append(
            "A question mark: the limit is within the 95% interval of what was measured. Other images of the same "
            "kind may well decide otherwise; more of them would tell."
        )
    blocks: list[Block] = []
    columns = ("limit", "", "at", "measured", "95% interval", "what")
    for name, one in zip(bench.names, bench.gates, strict=True):
        held = sum(row["passed"] for row in one["limits"])
        mark = "ok" if one["passed"] else "FAIL"
        caption = f"{name}: {mark}, {held} of {len(one['limits'])} limits held" if bench.several else ""
        if one["limits"]:
            blocks.append(Table(columns, list(map(gate_cells, one["limits"])), caption))
        else:
            notes.append(f"{name} is the reference: no limit is for it.")
    return [Section("gate", f"Gate: {gate_verdict(gate)}", [Notes(notes), *blocks])]


def _warnings(bench: _Benchmark) -> list[Section]:
    found = {warning["what"]: warning["remedy"] for one in bench.models for warning in one["warnings"]}
    notes: list[Text] = [(strong(what), ". Remedy: ", remedy) for what, remedy in found.items()]
    return [Section("warnings", "The times are unreliable", [Notes(notes)])] if notes else []


def _accuracy(bench: _Benchmark) -> Section:
    first = bench.models[0]["accuracy"]
    model, failed = first["model"], first["failed"]
    rows = [bench.row(title, lambda column, key=key: _ranged(column.figures, key)) for key, title in HEADLINES.items()]
    rows += [
        bench.row(f"top {k} accuracy", lambda column, k=k: _plain(column.figures, f"top_{k}_accuracy"))
        for k in (2, 3)
        if f"top_{k}_accuracy" in model
    ]
    always = f"always '{model['majority_class']}'"
    rows += [
        bench.row(always, lambda column: _plain(column.figures, "majority_class_baseline")),
        bench.row("ECE, 15 bins", lambda column: _plain(column.figures, "calibration", "ece")),
        bench.row("Brier score", lambda column: _plain(column.figures, "calibration", "brier")),
    ]
    data = bench.models[0]["data"]
    part = f", {data['split']} part" if data["split"] else ""
    notes: list[Text] = [
        f"{counted(model['n'], 'image')} of {data['path']}{part}, of {group_kinds.counted(model['groups'])}.",
        f"{group_kinds.intervals(model['groups'])}.",
    ]
    if bench.several:
        seen = [(f"{column.name}: ", {**column.one["accuracy"], "reference": None}) for column in bench.columns]
    else:
        seen = [("", first)]
    notes += [f"{begin}{sentence}." for begin, one in seen for sentence in group_kinds.seen_before(one)]
    if any(accuracy.get("recalibrated") for _, accuracy in bench.compared):
        notes.append(
            "For the differences the reference has each model's logit shift and temperature."
            if bench.several
            else "The reference has the model's logit shift and temperature."
        )
    blocks: list[Block] = [Notes(notes)]
    drawn = [
        (column.name, kind, column.figures["calibration"]["bins"])
        for column, kind in zip(bench.columns, cycle(charts.KINDS), strict=False)
        if column.figures
    ]
    blocks.append(Charts([charts.reliability(drawn)]))
    blocks.append(Table(("", *bench.heads), rows))
    if failed:
        blocks.append(
            Notes([f"Cannot assess {len(failed)} of {model['n'] + len(failed)} images, left out of all figures."])
        )
        failures = [(failure["image_id"], failure["error"]) for failure in failed]
        blocks.append(Table(("image", "cannot be assessed"), failures, most=1))
    return Section("accuracy", "Accuracy", blocks)


def _per_class(bench: _Benchmark) -> Section:
    """One table of all figures for up to two columns, of which the cells hold both; else a table for each figure."""
    titles = {"sensitivity": "sensitivity", "specificity": "specificity", "precision": "precision", "auc": "AUC"}
    figures = [column.figures for column in bench.columns if column.figures]
    labels = bench.models[0]["accuracy"]["labels"]
    codes = _shown_classes(figures[0])
    counts = [(code, str(figures[0]["per_class"][code]["n"])) for code in codes]

    def cells(code: str, key: str) -> list[str]:
        return [str(number(one["per_class"][code][key])) for one in figures]

    if len(figures) > 2:
        tables = [
            Table(("class", "images", *bench.heads), [(*row, *cells(row[0], key)) for row in counts], title)
            for key, title in titles.items()
        ]
    else:
        caption = " / ".join(bench.heads) if len(figures) == 2 else ""
        rows = [(*row, *(Span(" / ".join(cells(row[0], key)), "whole") for key in titles)) for row in counts]
        tables = [Table(("class", "images", *titles.values()), rows, caption)]
    drawn = [
        charts.bars(
            f"{title} per class",
            codes,
            [
                (name, kind, [one["per_class"][code][key] for code in codes])
                for name, kind, one in zip(bench.heads, cycle(charts.KINDS), figures, strict=False)
            ],
        )
        for key, title in (("sensitivity", "Sensitivity"), ("specificity", "Specificity"), ("auc", "AUC"))
    ]
    left_out = len(labels) - len(codes)
    notes = [f"{counted(left_out, 'class', 'classes')} without images left out."] if left_out else []
    notes += _few(few.of_classes(figures[0]["per_class"]))
    blocks: list[Block] = [*([Notes(notes)] if notes else []), Charts(drawn), *tables]
    blocks += [
        _confusion(labels, one["confusion_matrix"], name) for name, one in zip(bench.heads, figures, strict=True)
    ]
    return Section("per-class", "Per class", blocks)


def _shown_classes(figures: _Result) -> list[str]:
    rows: dict[str, _Result] = figures["per_class"]
    return [code for code, row in rows.items() if len(rows) <= MOST_CLASSES or row["n"]]


def _confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], name: str) -> Table:
    """Of many classes only those that are the truth or the answer of an image."""
    at = range(len(labels))
    if len(labels) > MOST_CLASSES:
        at = [i for i in at if any(matrix[i]) or any(row[i] for row in matrix)]
    rows = [(labels[i], *(str(matrix[i][k]) for k in at)) for i in at]
    shares = [[matrix[i][k] / max(sum(matrix[i]), 1) for k in at] for i in at]
    caption = f"Confusion matrix of {'the ' if name in ('model', 'reference') else ''}{name}"
    return Table(("truth \\ answer", *(labels[i] for i in at)), rows, caption, detail=True, shares=shares)


def _thresholds(bench: _Benchmark) -> list[Section]:
    """At each file's own thresholds, which were frozen when it was made."""
    rows = [
        (
            f"{row['target']} for {row['chosen_for_sensitivity']:.2f}, {column.name}",
            number(row["threshold"], ".4g"),
            _ranged(row, "sensitivity"),
            _ranged(row, "specificity"),
            f"{row['n_positive']} / {row['n_negative']}",
        )
        for column in bench.columns
        for row in column.points
    ]
    columns = ("chosen on other images", "threshold", "sensitivity", "specificity", "positive / negative")
    rows.sort(key=lambda row: str(row[0]))
    notes = _few(few.of_points([row for column in bench.columns[:1] for row in column.points]))
    blocks = [*([Notes(notes)] if notes else []), Table(columns, rows)]
    return [Section("thresholds", "At frozen thresholds", blocks)] if rows else []


def _few(sentence: str) -> list[str]:
    return [f"{sentence}."] if sentence else []


def _parity(bench: _Benchmark) -> list[Section]:
    both = bench.compared
    if not both:
        return []
    rows: list[tuple[Text, ...]] = [
        (title, *(_difference(accuracy["difference"][key]) for _, accuracy in both)) for key, title in HEADLINES.items()
    ]
    shares = [(one["agreement"], metrics.wilson(one["agreement"], one["model"]["n"])) for _, one in both]
    tests = [one["mcnemar"] for _, one in both]
    answers: list[tuple[Text, ...]] = [
        ("same top class", *(ranged(share, bounds, ".2%") for share, bounds in shares)),
        ("flipped", *(str(len(one["flipped"])) for _, one in both)),
        ("correct only in the reference", *(str(test["only_reference_right"]) for test in tests)),
        ("correct only in the model", *(str(test["only_model_right"]) for test in tests)),
        ("McNemar's exact test, p", *(number(test["p_value"], ".3g") for test in tests)),
    ]
    heads = [name for name, _ in both] if bench.several else ["difference"]
    blocks: list[Block] = [
        Notes([(f"{name}: " if bench.several else "") + _verdict(one["non_inferiority"]) for name, one in both]),
        Table(("model minus reference", *heads), rows, "Differences, paired, with 95% interval"),
        Table(("", *(heads if bench.several else ["images"])), answers, "Answers"),
    ]
    for name, accuracy in both:
        if accuracy["flipped"]:
            blocks += _flipped(f"{name}: " if bench.several else "", accuracy["flipped"], len(both))
    return [Section("parity", "Parity with the reference", blocks)]


def _flipped(begin: str, flipped: Sequence[_Result], sharing: int) -> list[Block]:
    broken = sum(flip["reference"]["label"] == flip["truth"] for flip in flipped)
    mended = sum(flip["model"]["label"] == flip["truth"] for flip in flipped)
    said = (
        f"flipped: {broken} from right to wrong, {mended} from wrong to right, "
        f"{len(flipped) - broken - mended} from wrong to wrong"
    )
    most = MOST_PICTURES // sharing
    shown = [
        Picture(
            flip["path"],
            flip["image_id"],
            [f"truth {flip['truth']}", *(_marked(model, flip) for model in ("reference", "model"))],
            f"{flip['image_id']}, {flip['truth']}",
        )
        for flip in flipped[:most]
    ]
    rows = [
        (
            flip["image_id"],
            flip["truth"],
            *(f"{flip[model]['label']} {flip[model]['probability']:.3f}" for model in ("reference", "model")),
        )
        for flip in flipped
    ]
    return [
        Notes([_said(begin, said)]),
        Pictures(shown, more=f"and {len(flipped) - most} more, listed below" if len(flipped) > most else ""),
        Table(
            ("flipped image", "truth", "reference", "model"),
            rows,
            most=max(MOST_FLIPPED // sharing, 3),
            more="--result-json FILE lists them all",
        ),
    ]


def _marked(model: str, flip: _Result) -> Text:
    right = flip[model]["label"] == flip["truth"]
    answer = f"{flip[model]['label']} {flip[model]['probability']:.2f} {'✓' if right else '✗'}"
    return (f"{model} ", Span(answer, "good" if right else "bad"))


def _latency(bench: _Benchmark) -> Section:
    rows: list[tuple[Text, ...]] = []
    for column in bench.columns:
        timings = column.one["latency"]
        for title, row in ((column.name, timings), *((f"- {name}", row) for name, row in timings["stages"].items())):
            rows.append((title, *(number(row[f"{key}_ms"], ".2f") for key in _STATISTICS)))
    drawn = [
        charts.Line(column.name, kind, charts.numbered(column.one["latency"]["runs_ms"]))
        for column, kind in zip(bench.columns, cycle(charts.KINDS), strict=False)
    ]
    blocks: list[Block] = [
        Notes(_how_timed(bench)),
        Charts([charts.lines("Each timed run", "run", "ms", drawn)]),
        Table(("ms", *_STATISTICS.values()), rows),
        _starts(bench),
        *_processes(bench),
        *_threads(bench),
    ]
    return Section("latency", "Latency, ms", blocks)


def _how_timed(bench: _Benchmark) -> list[Text]:
    latency = bench.models[0]["latency"]
    notes: list[Text] = [
        f"{counted(latency['num_runs'], 'run')} after {latency['warmup_runs']} to warm up, "
        f"{counted(latency['num_threads'], 'thread')}; image {latency['image']}, {latency['image_source']}.",
    ]
    if latency["p99_ms"] is None:
        notes.append("p99 needs 200 runs or more: --num-runs 200.")
    cold = [one for _, one in bench.each("cold_start")]
    if cold:
        notes.append(f"Cold start: median of {len(cold[0]['runs_ms'])}; {cold[0]['measured']}.")
    if bench.several:
        notes.append(
            "The models were measured one after the other, the reference once, beside the first compared with it."
        )
    return notes


def _starts(bench: _Benchmark) -> Table:
    compared = any(column.one.get("ratios") for column in bench.columns)
    rows: list[tuple[Text, ...]] = []
    for column in bench.columns:
        timings, cold, ratios = column.one["latency"], column.one.get("cold_start"), column.one.get("ratios")
        cells = [number(cold and cold["median_ms"], ".0f"), *(number(timings[k], ".2f") for k in _STARTS)]
        if compared:
            cells += [number(ratios and ratios[k], ".2f") for k in _RATIOS]
        rows.append((column.name, *cells))
    heads = ("total / reference", "invoke / reference") if compared else ()
    return Table(("ms", "cold start", "load", "first run", *heads), rows)


def _processes(bench: _Benchmark) -> list[Block]:
    blocks: list[Block] = []
    for begin, spread in bench.each("processes"):
        blocks.append(Notes([_said(begin, f"processes: {_spread(spread)}")]))
        pairs = zip(spread["medians_ms"], spread["invoke_medians_ms"], strict=True)
        repeated = [(str(i), *(number(one, ".2f") for one in pair)) for i, pair in enumerate(pairs, 1)]
        if repeated:
            blocks.append(Table(("process", "median, ms", "invoke, ms"), repeated, detail=True))
    return blocks


def _threads(bench: _Benchmark) -> list[Block]:
    keys = ("median_ms", "p95_ms", "invoke_median_ms")
    return [
        Table(
            ("threads", "median, ms", "p95, ms", "invoke, ms"),
            [(str(row["num_threads"]), *(number(row[key], ".2f") for key in keys)) for row in sweep],
            f"{begin}latency over threads",
        )
        for begin, sweep in bench.each("sweep")
    ]


_STARTS = ("init_ms", "warmup_first_ms")
_RATIOS = ("median_ms", "invoke_median_ms")


def _spread(spread: _Result) -> str:
    medians = spread["medians_ms"]
    if not medians:
        return spread["measured"]
    return (
        f"medians of {len(medians)}: {min(medians):.2f} to {max(medians):.2f} ms, spread {spread['spread']:.1%} "
        f"({spread['measured']})"
    )


def _sustained(bench: _Benchmark) -> list[Section]:
    blocks: list[Block] = []
    columns = ("from, s", "predictions", "median, ms", "p95, ms", "°C", "MHz", "throttling")
    for begin, found in bench.each("sustained"):
        rows = [
            (
                f"{row['start_s']:.1f}",
                str(row["predictions"]),
                *(number(row[key], ".2f") for key in ("median_ms", "p95_ms")),
                number(row["temperature_c"], ".1f"),
                number(row["frequency_mhz"], ".0f"),
                "-" if row["throttled"] is None else ", ".join(row["flags"]) or "no",
            )
            for row in found["slices"]
        ]
        taken = f"{found['predictions']} predictions in {found['seconds']:.1f} s"
        notes = [_said(begin, f"{taken}; the end takes {found['slowdown']:.2f} times the beginning")]
        if not found["sensors"]:
            notes.append("This machine reports neither temperature nor clock frequency nor throttling.")
        blocks += [Notes(notes), Charts(_over_time(begin, found["slices"])), Table(columns, rows)]
    return [Section("sustained", "Sustained run", blocks)] if blocks else []


def _over_time(begin: str, slices: Sequence[_Result]) -> list[charts.Chart]:
    times = [("median", "a", "median_ms"), ("p95", "b", "p95_ms")]
    data = [charts.Line(name, kind, [(row["start_s"], row[key]) for row in slices]) for name, kind, key in times]
    drawn = [charts.lines(f"{begin}Latency over time", "s", "ms", data)]
    for key, title, unit in (("temperature_c", "Temperature", "°C"), ("frequency_mhz", "Clock", "MHz")):
        points = [(row["start_s"], row[key]) for row in slices if row[key] is not None]
        if points:
            line = charts.Line(title, "b", points)
            drawn.append(charts.lines(f"{begin}{title} over time", "s", unit, [line], from_zero=False))
    return drawn


def _ports(bench: _Benchmark) -> list[Section]:
    blocks: list[Block] = []
    for begin, rows in bench.each("ports"):
        measured = [row for row in rows if row["top_class"] is not None]
        said = f"answers of {rows[0]['n']} images that change in another correct implementation"
        notes = [_said(begin, f"{said}: one that rounds the input otherwise, or runs LiteRT's kernels without XNNPACK")]
        notes += [f"{row['way']}: {row['measured']}." for row in rows if row["top_class"] is None]
        names = measured[0]["decisions"] if measured else ()
        cells: list[tuple[Text, ...]] = [
            (
                row["way"],
                _share(row["top_class"], row["n"]),
                *(_share(row["decisions"][name], row["n"]) for name in names),
            )
            for row in measured
        ]
        columns = ("changes", "top class", *(f"decision {name}" for name in names))
        blocks += [Notes(notes), Table(columns, cells)]
    return [Section("ports", "Other implementations", blocks)] if blocks else []


def _share(count: int, n: int) -> Text:
    return Span(f"{count} ({count / n:.2%})", "whole")


def _preprocessing(bench: _Benchmark) -> list[Section]:
    blocks: list[Block] = []
    columns = ("the app's way", "agreement", "accuracy", "balanced accuracy", "balanced, against the right way")
    for begin, rows in bench.each("preprocessing"):
        notes = [_said(begin, f"an app that prepares the picture otherwise; {rows[0]['n']} images")]
        cells: list[tuple[Text, ...]] = []
        for row in rows:
            if row["accuracy"] is None:
                notes.append(f"{row['way']}: {row['measured']}.")
                continue
            figures = [number(row["agreement"], ".2%"), number(row["accuracy"]), number(row["balanced_accuracy"])]
            cells.append((row["way"], *figures, _difference(row["difference"] or _NOTHING)))
        if rows[-1]["n_turned"]:
            notes.append(f"{rows[-1]['n_turned']} of them have an EXIF orientation.")
        blocks += [Notes(notes), Table(columns, cells)]
    return [Section("preprocessing", "Preprocessing", blocks)] if blocks else []


def _robustness(bench: _Benchmark) -> list[Section]:
    blocks = [block for begin, found in bench.each("robustness") for block in robustness_report.blocks(found, begin)]
    return [Section("robustness", "Robustness", blocks)] if blocks else []


def _size(bench: _Benchmark) -> Section:
    rows = [
        bench.row(f"{part}, bytes", lambda column, part=part: f"{column.one['size'][f'{part}_bytes']:,}")
        for part in ("file", "network", "archive")
    ]
    rows.append(bench.row("tensor arena, at least, bytes", lambda column: f"{column.one['network']['arena_bytes']:,}"))

    def peak(column: _Column) -> Text:
        found = column.one.get("memory")
        return number(found["peak_bytes"] / 1e6 if found and found["peak_bytes"] is not None else None, ".1f")

    rows.append(bench.row("peak memory, resident, MB", peak))
    counts: list[tuple[Text, ...]] = []
    for key, begin in (("operators", ""), ("computes_in", "in all, ")):
        for name in dict.fromkeys(name for column in bench.columns for name in column.one["network"][key]):
            counts.append(
                bench.row(
                    f"{begin}{name}",
                    lambda column, key=key, name=name: str(column.one["network"][key].get(name, 0)),
                )
            )
    memory = bench.models[0]["memory"]
    said = " Not reported by this system." if memory["peak_bytes"] is None else ""
    notes = [f"Peak memory: Python, load and one prediction; {memory['measured']}.{said}"]
    notes += [
        _said(begin, f"the file is {ratios['file_bytes']:.3f} of the reference's")
        for begin, ratios in bench.each("ratios")
    ]
    tables = [Table(("", *bench.heads), rows), Table(("operators", *bench.heads), counts)]
    return Section("size", "Size and memory", [Notes(notes), *tables])


_MACHINE = {
    "memory_bytes": "memory, bytes",
    "temperature_c": "temperature, °C",
    "temperature_after_c": "temperature after, °C",
    "skin_edge": "skin-edge",
}


def _machine(machine: _Result) -> Section:
    rows = [
        (_MACHINE.get(key, key.replace("_", " ")), "not reported by this system" if value is None else str(value))
        for key, value in machine.items()
        if key != "versions"
    ]
    rows += [(name, version or "not known") for name, version in machine["versions"].items()]
    return Section("machine", "Machine", [Table(("", ""), rows)])


def _files(bench: _Benchmark) -> Section:
    keys = ("name", "precision", "input", "path")
    rows = [
        (column.name, *(str(column.one["model"][key] or f"{key} unknown") for key in keys)) for column in bench.columns
    ]
    sums = [(column.name, str(column.one["model"]["sha256"])) for column in bench.columns]
    return Section("files", "Files", [Table(("", *keys), rows), Table(("", "SHA-256"), sums, detail=True)])


def _verdict(verdict: _Result) -> str:
    if verdict["shown"] is None:
        return "Non-inferiority is not defined on these images."
    return (
        f"{'Non-inferior' if verdict['shown'] else 'Non-inferiority is not shown'} in balanced accuracy: the paired "
        f"95% interval's lower end {verdict['lower_end']:+.4f} is {'above' if verdict['shown'] else 'not above'} "
        f"{-verdict['margin']:g}."
    )


def _said(begin: str, sentence: str) -> str:
    """begin: whom it is about, "" where there is one model."""
    return f"{begin}{sentence}." if begin else f"{sentence[:1].upper()}{sentence[1:]}."


_NOTHING: _Result = {"difference": None, "interval": None}


def _difference(row: _Result) -> Text:
    return ranged(row["difference"], row["interval"], "+.4f")


def _ranged(figures: _Result | None, key: str) -> Text:
    return "-" if figures is None else ranged(figures[key], figures.get("intervals", {}).get(key))


def _plain(figures: _Result | None, *keys: str) -> Text:
    value: Any = figures
    for key in keys:
        value = value and value[key]
    return number(value)
