"""The result of a benchmark as sections of tables: what the HTML page and the Markdown file have in common.

Cells are text. Every figure of the JSON is in a table, except each single run and each calibration bin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..stats import few, group_kinds
from .terminal import MOST_CLASSES, gate_mark, gate_verdict, shown_classes, spread_text

_Result = Mapping[str, Any]

NO_LABELLED_IMAGES = "No labelled images were given, so accuracy was not measured."

_STATISTICS = ("median", "avg", "std", "p5", "p90", "p95", "p99")


@dataclass(frozen=True)
class Table:
    """columns: titles. rows: one text per column, the first of which names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """name: for links and charts. notes: sentences above the tables."""

    name: str
    title: str
    tables: Sequence[Table]
    notes: Sequence[str] = field(default=())


def sections(result: _Result) -> list[Section]:
    """result: what `bench.run_bench` returned, with "gate" where there was one. What was not measured is left out."""
    found = [_summary(result)]
    if result["gate"]:
        found.append(_gate(result["gate"]))
    if result["warnings"]:
        rows = [(warning["what"], warning["remedy"]) for warning in result["warnings"]]
        found.append(Section("warnings", "The times are doubtful", [Table(("what", "remedy"), rows)]))
    if result["accuracy"]:
        found += _accuracy(result)
    found.append(_latency(result))
    if result["sustained"]:
        found.append(_sustained(result["sustained"]))
    if result["ports"]:
        found.append(_ports(result["ports"]))
    if result["preprocessing"]:
        found.append(_preprocessing(result["preprocessing"]))
    return [*found, _size(result), machine_section(result["machine"]), _models(result)]


def _both(result: _Result) -> list[tuple[str, _Result]]:
    """("model", its figures) and, where there is one, ("reference", its figures)."""
    return [("model", result), *([("reference", result["reference"])] if result["reference"] else [])]


def _summary(result: _Result) -> Section:
    both = _both(result)
    rows = [
        ("file", *(f"{one['size']['file_bytes'] / 1e6:.2f} MB" for _, one in both)),
        ("median latency", *(f"{one['latency']['median_ms']:.2f} ms" for _, one in both)),
    ]
    accuracy = result["accuracy"]
    if accuracy:
        for key, name in (("balanced_accuracy", "balanced accuracy"), ("macro_auc", "macro AUC")):
            rows.append((name, *(with_interval(accuracy[who], key) for who, _ in both)))
    notes: list[str] = []
    if result["gate"]:
        notes.append(f"Gate: {gate_verdict(result['gate'])}.")
    if accuracy and accuracy["reference"]:
        notes.append(f"The same top class for {accuracy['agreement']:.2%} of {accuracy['model']['n']} images.")
        notes.append(verdict(accuracy["non_inferiority"]))
    if not accuracy:
        notes.append(NO_LABELLED_IMAGES)
    if result["warnings"]:
        notes.append("The times are doubtful: see the warnings.")
    return Section("summary", "In short", [Table(("", *(who for who, _ in both)), rows)], notes)


def _gate(gate: _Result) -> Section:
    rows = [gate_cells(row) for row in gate["limits"]]
    return Section("gate", f"Gate: {gate_verdict(gate)}", [Table(GATE_COLUMNS, rows)], gate_notes(gate))


GATE_COLUMNS = ("limit", "", "at", "measured", "95% interval", "what")


def gate_cells(row: _Result) -> tuple[str, ...]:
    """One limit under GATE_COLUMNS."""
    bounds = row["interval"]
    return (
        row["name"],
        gate_mark(row),
        f"{row['limit']:g}",
        "not measured" if row["value"] is None else f"{row['value']:.4g}",
        "-" if bounds is None else f"{bounds[0]:.4g} to {bounds[1]:.4g}",
        row["says"].partition(": ")[2],
    )


def gate_notes(gate: _Result) -> list[str]:
    notes = [f"Limits from {gate['source']}."]
    if "noise" in gate_verdict(gate):
        notes.append(
            "A question mark: the limit lies within the 95% interval of what was measured. Other images of the same "
            "kind may well decide otherwise; more of them would tell."
        )
    return notes


def _accuracy(result: _Result) -> list[Section]:
    accuracy = result["accuracy"]
    who = [name for name in ("model", "reference") if accuracy[name]]
    both = [accuracy[name] for name in who]
    first = both[0]
    rows = [
        (title, *(with_interval(one, key) for one in both))
        for key, title in (
            ("balanced_accuracy", "balanced accuracy"),
            ("accuracy", "accuracy"),
            ("macro_f1", "macro F1"),
            ("macro_auc", "macro AUC"),
        )
    ]
    rows += [
        (f"top {k} accuracy", *(number(one[f"top_{k}_accuracy"]) for one in both))
        for k in (2, 3)
        if f"top_{k}_accuracy" in first
    ]
    rows.append((f"always '{first['majority_class']}'", *(number(one["majority_class_baseline"]) for one in both)))
    rows.append(("ECE, 15 bins", *(number(one["calibration"]["ece"]) for one in both)))
    rows.append(("Brier score", *(number(one["calibration"]["brier"]) for one in both)))
    part = f", {result['data']['split']} part" if result["data"]["split"] else ""
    notes = [
        f"{first['n']} images of {result['data']['path']}{part}, of {group_kinds.counted(first['groups'])}.",
        f"{group_kinds.intervals(first['groups'])}.",
        *(f"{sentence}." for sentence in group_kinds.seen_before(accuracy)),
    ]
    if accuracy.get("recalibrated"):
        notes.append("The reference has the model's logit shift and temperature.")
    if accuracy["failed"]:
        notes.append(f"{len(accuracy['failed'])} more images cannot be assessed and are left out of all figures.")
    tables = [Table(("", *who), rows)]
    if accuracy["failed"]:
        failures = [(failure["image_id"], failure["error"]) for failure in accuracy["failed"]]
        tables.append(Table(("image", "cannot be assessed"), failures))
    found = [Section("accuracy", "Accuracy", tables, notes), _per_class(accuracy, who)]
    if any(accuracy["operating_points"].values()):
        found.append(_operating_points(accuracy["operating_points"]))
    if accuracy["reference"]:
        found.append(_parity(accuracy))
    return found


def _per_class(accuracy: _Result, who: Sequence[str]) -> Section:
    figures = (
        ("sensitivity", "sensitivity"),
        ("specificity", "specificity"),
        ("precision", "precision"),
        ("auc", "AUC"),
    )
    columns = ["class", "images", *(f"{title}, {name}" for _, title in figures for name in who)]
    rows = [
        (
            code,
            str(row["n"]),
            *(number(accuracy[name]["per_class"][code][key]) for key, _ in figures for name in who),
        )
        for code, row in shown_classes(accuracy["model"]).items()
    ]
    labels = accuracy["labels"]
    matrices = [_confusion(labels, accuracy[name]["confusion_matrix"], name) for name in who]
    left_out = len(labels) - len(rows)
    notes = [f"{left_out} classes without images are left out."] if left_out else []
    notes += few_notes(few.of_classes(accuracy["model"]["per_class"]))
    return Section("per-class", "Per class", [Table(columns, rows), *matrices], notes)


def _confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], name: str) -> Table:
    """Of many classes only those that are the truth or the answer of an image."""
    at = range(len(labels))
    if len(labels) > MOST_CLASSES:
        at = [i for i in at if any(matrix[i]) or any(row[i] for row in matrix)]
    rows = [(labels[i], *(str(matrix[i][j]) for j in at)) for i in at]
    return Table(("truth \\ answer", *(labels[j] for j in at)), rows, f"Confusion matrix of the {name}")


def _operating_points(points: Mapping[str, Sequence[_Result]]) -> Section:
    rows = [
        (
            f"{row['target']} for {row['chosen_for_sensitivity']:.2f}, {name}",
            f"{row['threshold']:.4g}",
            with_interval(row, "sensitivity"),
            with_interval(row, "specificity"),
            f"{row['n_positive']} / {row['n_negative']}",
        )
        for name, of_one in points.items()
        for row in of_one
    ]
    columns = ("chosen on other images", "threshold", "sensitivity", "specificity", "positive / negative")
    notes = few_notes(few.of_points(next(of_one for of_one in points.values() if of_one)))
    return Section("thresholds", "At frozen thresholds", [Table(columns, rows)], notes)


def few_notes(sentence: str) -> list[str]:
    """sentence: of `few`."""
    return [f"{sentence}."] if sentence else []


def _parity(accuracy: _Result) -> Section:
    rows: list[tuple[str, str, str]] = []
    for key, title in (
        ("balanced_accuracy", "balanced accuracy"),
        ("accuracy", "accuracy"),
        ("macro_f1", "macro F1"),
        ("macro_auc", "macro AUC"),
    ):
        row = accuracy["difference"][key]
        difference = "-" if row["difference"] is None else f"{row['difference']:+.4f}"
        bounds = row["interval"]
        rows.append((title, difference, f"{bounds[0]:+.4f} to {bounds[1]:+.4f}" if bounds else "-"))
    test = accuracy["mcnemar"]
    notes = [
        f"The same top class for {accuracy['agreement']:.2%} of the images; {len(accuracy['flipped'])} flipped.",
        verdict(accuracy["non_inferiority"]),
        f"McNemar's exact test: {test['only_model_right']} images right only by the model, "
        f"{test['only_reference_right']} only by the reference, p = {test['p_value']:.3g}.",
    ]
    tables = [Table(("model minus reference", "difference", "95% interval, paired"), rows)]
    if accuracy["flipped"]:
        tables.append(
            Table(
                ("flipped image", "truth", "reference", "model"),
                [
                    (flip["image_id"], flip["truth"], *(_answer(flip[name]) for name in ("reference", "model")))
                    for flip in accuracy["flipped"]
                ],
            )
        )
    return Section("parity", "Parity with the reference", tables, notes)


def _latency(result: _Result) -> Section:
    latency = result["latency"]
    rows: list[Sequence[str]] = []
    starts: list[Sequence[str]] = []
    for name, one in _both(result):
        timings = one["latency"]
        for title, figures in (
            (name, timings),
            *((f"{name}, {stage}", row) for stage, row in timings["stages"].items()),
        ):
            rows.append((title, *(milliseconds(figures[f"{key}_ms"]) for key in _STATISTICS)))
        starts.append((name, milliseconds(timings["init_ms"]), milliseconds(timings["warmup_first_ms"])))
    tables = [
        Table(("ms", "median", "mean", "std", "p5", "p90", "p95", "p99"), rows),
        Table(("ms", "load", "first run"), starts),
    ]
    threads = latency["num_threads"]
    notes = [
        f"{latency['num_runs']} runs after {latency['warmup_runs']} to warm up, {threads} "
        f"thread{'s' if threads > 1 else ''}; image {latency['image']} from {latency['image_source']}.",
    ]
    cold, spread, ratios = result["cold_start"], result["processes"], result["ratios"]
    if cold:
        said = "" if cold["median_ms"] is None else f"{cold['median_ms']:.0f} ms, median of {len(cold['runs_ms'])}; "
        notes.append(f"Cold start: {said}{cold['measured']}.")
    if spread:
        notes.append(f"Processes: {spread_text(spread)}.")
        if spread["medians_ms"]:
            pairs = zip(spread["medians_ms"], spread["invoke_medians_ms"], strict=True)
            repeated = [
                (str(i), milliseconds(whole), milliseconds(invoke)) for i, (whole, invoke) in enumerate(pairs, 1)
            ]
            tables.append(Table(("process", "median, ms", "invoke, ms"), repeated))
    if ratios:
        notes.append(f"Model to reference: {ratios['median_ms']:.2f} in all, invoke {ratios['invoke_median_ms']:.2f}.")
    if result["sweep"]:
        keys = ("median_ms", "p95_ms", "invoke_median_ms")
        swept = [(str(row["num_threads"]), *(milliseconds(row[key]) for key in keys)) for row in result["sweep"]]
        tables.append(Table(("threads", "median, ms", "p95, ms", "invoke, ms"), swept))
    return Section("latency", "Latency", tables, notes)


def _sustained(sustained: _Result) -> Section:
    rows = [
        (
            f"{row['start_s']:.1f}",
            str(row["predictions"]),
            milliseconds(row["median_ms"]),
            milliseconds(row["p95_ms"]),
            "-" if row["temperature_c"] is None else f"{row['temperature_c']:.1f}",
            "-" if row["frequency_mhz"] is None else f"{row['frequency_mhz']:.0f}",
            "-" if row["throttled"] is None else ", ".join(row["flags"]) or "no",
        )
        for row in sustained["slices"]
    ]
    notes = [
        f"{sustained['predictions']} predictions in {sustained['seconds']:.1f} s; the end takes "
        f"{sustained['slowdown']:.2f} times the beginning.",
    ]
    if not sustained["sensors"]:
        notes.append("This machine tells neither temperature nor clock nor throttling.")
    columns = ("from, s", "predictions", "median, ms", "p95, ms", "°C", "MHz", "throttling")
    return Section("sustained", "Sustained run", [Table(columns, rows)], notes)


def _ports(rows: Sequence[_Result]) -> Section:
    measured = [row for row in rows if row["top_class"] is not None]
    cells = [("top class", *(_share(row["top_class"], row["n"]) for row in measured))]
    for name in measured[0]["decisions"]:
        cells.append((f"decision {name}", *(_share(row["decisions"][name], row["n"]) for row in measured)))
    notes = [
        f"Answers of {rows[0]['n']} images that change in another correct implementation: one that rounds the input "
        "otherwise, or runs LiteRT's kernels without XNNPACK."
    ]
    notes += [f"{row['way']}: {row['measured']}." for row in rows if row["top_class"] is None]
    columns = ("changes", *(row["way"] for row in measured))
    return Section("ports", "Other implementations", [Table(columns, cells)], notes)


def _share(count: int, n: int) -> str:
    return f"{count} ({count / n:.2%})"


def _preprocessing(rows: Sequence[_Result]) -> Section:
    cells: list[Sequence[str]] = []
    for row in rows:
        if row["accuracy"] is None:
            cells.append((row["way"], "-", "-", "-", row["measured"]))
            continue
        difference = row["difference"]
        said = "-"
        if difference and difference["interval"]:
            low, high = difference["interval"]
            said = f"{difference['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
        cells.append(
            (row["way"], f"{row['agreement']:.2%}", number(row["accuracy"]), number(row["balanced_accuracy"]), said)
        )
    columns = (
        "the app's way",
        "agreement",
        "accuracy",
        "balanced accuracy",
        "balanced accuracy, against the right way",
    )
    notes = [f"What an app loses that prepares the picture otherwise; {rows[0]['n']} images."]
    turned = rows[-1]["n_turned"]
    if turned:
        notes.append(f"{turned} of them have an EXIF orientation.")
    return Section("preprocessing", "Preprocessing", [Table(columns, cells)], notes)


def _size(result: _Result) -> Section:
    both = _both(result)
    rows = [
        (f"{part}, bytes", *(f"{one['size'][f'{part}_bytes']:,}" for _, one in both))
        for part in ("file", "network", "archive")
    ]
    rows.append(("tensor arena, at least, bytes", *(f"{one['network']['arena_bytes']:,}" for _, one in both)))
    names = dict.fromkeys(name for _, one in both for name in one["network"]["operators"])
    operators = [(name, *(str(one["network"]["operators"].get(name, 0)) for _, one in both)) for name in names]
    kinds = dict.fromkeys(kind for _, one in both for kind in one["network"]["computes_in"])
    operators += [
        (f"in all, {kind}", *(str(one["network"]["computes_in"].get(kind, 0)) for _, one in both)) for kind in kinds
    ]
    peak, measured = result["memory"]["peak_bytes"], result["memory"]["measured"]
    notes = [
        f"Peak memory: {'not told by this system' if peak is None else f'{peak / 1e6:.1f} MB resident'}; Python, load "
        f"and one prediction; {measured}."
    ]
    if result["ratios"]:
        notes.append(f"The file is {result['ratios']['file_bytes']:.3f} of the reference's.")
    who = [name for name, _ in both]
    return Section("size", "Size and memory", [Table(("", *who), rows), Table(("operators", *who), operators)], notes)


def machine_section(machine: _Result) -> Section:
    rows = [
        (key.replace("_", " "), "not told by this system" if value is None else str(value))
        for key, value in machine.items()
        if key != "versions"
    ]
    rows += [(name, version or "?") for name, version in machine["versions"].items()]
    return Section("machine", "Machine", [Table(("", ""), rows)])


def _models(result: _Result) -> Section:
    both = _both(result)
    described = [one["model"] for _, one in both]
    rows = [
        (key, *(str(model[key] or "unknown") for model in described))
        for key in ("path", "name", "precision", "input", "sha256")
    ]
    return Section(
        "files", "Files", [Table(("", *(who for who, _ in both)), rows)], [f"Measured at {result['measured_at']}."]
    )


def verdict(verdict: _Result) -> str:
    if verdict["shown"] is None:
        return "Non-inferiority is not defined on these images."
    return (
        f"{'Non-inferior' if verdict['shown'] else 'Non-inferiority is not shown'} in balanced accuracy: the paired "
        f"95% interval's lower end {verdict['lower_end']:+.4f} is {'above' if verdict['shown'] else 'not above'} "
        f"{-verdict['margin']:g}."
    )


def with_interval(figures: _Result, key: str) -> str:
    value, bounds = figures[key], figures.get("intervals", {}).get(key)
    if value is None or bounds is None:
        return number(value)
    return f"{value:.3f} ({bounds[0]:.3f} to {bounds[1]:.3f})"


def _answer(answer: _Result) -> str:
    return f"{answer['label']} {answer['probability']:.3f}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
