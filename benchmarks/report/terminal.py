"""The result of a benchmark as a table for the terminal, at most 80 columns, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...edge_runtime import console
from ...edge_runtime.classifier import DISCLAIMER
from ...edge_runtime.console import WIDTH, fit, tail
from ..stats import few, group_kinds

MOST_FLIPPED = 10

NO_ACCURACY = "no --data: accuracy not measured"

# Of more classes than these only those with images are listed: ImageNet's thousand on ten pictures say nothing.
MOST_CLASSES = 32

_Result = Mapping[str, Any]


def as_json(result: _Result) -> str:
    """Indented JSON. Raises ValueError for a number that JSON does not know."""
    return json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def table(result: _Result) -> console.Page:
    """result: what `bench.run_bench` returned."""
    sections = [
        _models(result),
        machine_lines(result["machine"]),
        _size_and_memory(result),
        _latency(result),
        *([endurance_lines(result["sustained"])] if result["sustained"] else []),
        *([warning_lines(result["warnings"])] if result["warnings"] else []),
        _accuracy(result),
        *([port_lines(result["ports"])] if result["ports"] else []),
        *([preprocessing_lines(result["preprocessing"])] if result["preprocessing"] else []),
        *([_gate(result["gate"])] if result["gate"] else []),
        [DISCLAIMER],
    ]
    return joined(sections)


def joined(sections: Sequence[Sequence[str]]) -> console.Page:
    """Sections of lines as one text, an empty line between them, cut to WIDTH."""
    blocks = [console.page(fit(line.rstrip(), WIDTH) for line in section) for section in sections]
    return console.page(line for i, block in enumerate(blocks) for line in (*([""] if i else []), block))


def _models(result: _Result) -> list[str]:
    lines = [row_of("model", described(result["model"]))]
    if result["reference"]:
        lines.append(row_of("reference", described(result["reference"]["model"])))
    return lines


def described(model: _Result) -> str:
    about = f" ({model['precision'] or 'precision unknown'}, input {model['input']})"
    return tail(model["path"], WIDTH - 16 - len(about)) + about


def machine_lines(machine: _Result) -> list[str]:
    governor = f"governor {machine['governor'] or 'unknown'}"
    degrees = [machine[key] for key in ("temperature_c", "temperature_after_c")]
    heat = " to ".join(f"{value:.1f}" for value in degrees if value is not None)
    throttled = machine["throttled"]
    state = [
        governor,
        f"{heat} °C" if heat else "temperature unknown",
        *([] if throttled is None else [f"throttled: {'no' if _is_zero(throttled) else throttled}"]),
    ]
    memory = machine["memory_bytes"]
    versions = [f"{name} {version or '?'}" for name, version in machine["versions"].items()]
    return [
        "machine",
        row_of("  board", machine["board"] or "unknown"),
        row_of("  cpu", f"{machine['cpu'] or 'unknown'}, {machine['cores'] or '?'} cores, {machine['architecture']}"),
        row_of("  state", ", ".join(state)),
        row_of("  memory", f"{memory / 2**30:.1f} GiB" if memory else "unknown"),
        row_of("  system", f"{machine['os'] or 'unknown'}, kernel {machine['kernel'] or 'unknown'}"),
        row_of("  software", f"skin-edge {machine['skin_edge']}, Python {machine['python']},"),
        row_of("", ", ".join(versions)),
    ]


def _is_zero(throttled: str) -> bool:
    try:
        return int(throttled, 16) == 0
    except ValueError:
        return False


def _size_and_memory(result: _Result) -> list[str]:
    sizes = [("model", result["size"])]
    if result["reference"]:
        sizes.append(("reference", result["reference"]["size"]))
    lines = [f"{'size':16}{'file':>16}{'network':>16}{'labels, metadata':>20}"]
    for name, size in sizes:
        cells = [f"{size['file_bytes'] / 1e6:.3f} MB", f"{size['network_bytes'] / 1e6:.3f} MB"]
        lines.append(f"  {name:14}{cells[0]:>16}{cells[1]:>16}{size['archive_bytes'] / 1e3:>17.1f} kB")
    if result["ratios"]:
        lines.append(f"  {'ratio':14}{result['ratios']['file_bytes']:>16.3f}")
    memory = result["memory"]
    peak = memory["peak_bytes"]
    lines += [
        "",
        row_of("peak memory", f"{peak / 1e6:.1f} MB resident" if peak else "not told by this system"),
        *wrapped(f"Python, load and one prediction; {memory['measured']}"),
        row_of("tensor arena", f"at least {result['network']['arena_bytes'] / 1e6:.3f} MB of activations at once"),
        *hanging("operators", _operators(result["network"])),
    ]
    return lines


def _operators(network: _Result) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in network["operators"].items())
    kinds = ", ".join(f"{count} {kind}" for kind, count in network["computes_in"].items())
    return f"{counts} ({kinds})"


def _latency(result: _Result) -> list[str]:
    latency = result["latency"]
    threads = latency["num_threads"]
    lines = [
        f"latency, ms: {latency['num_runs']} runs after {latency['warmup_runs']} to warm up, {threads} "
        f"thread{'s' if threads > 1 else ''}; image: {latency['image']}",
        row_of("  image from", tail(latency["image_source"], WIDTH - 16)),
        f"{'':16}{'median':>9}{'mean':>9}{'std':>9}{'p5':>9}{'p90':>9}{'p95':>9}{'p99':>9}",
    ]
    measured = [("model", latency)]
    if result["reference"]:
        measured.append(("reference", result["reference"]["latency"]))
    for name, figures in measured:
        lines.append(_timings(f"  {name}", figures))
        lines += [_timings(f"    {stage}", row) for stage, row in figures["stages"].items()]
        first = figures["warmup_first_ms"]
        lines.append(
            row_of("    start", f"load {figures['init_ms']:.1f}, first run {'-' if first is None else f'{first:.1f}'}")
        )
    if result["ratios"]:
        ratios = result["ratios"]
        lines.append(row_of("  ratio", f"{ratios['median_ms']:.2f} in all, invoke {ratios['invoke_median_ms']:.2f}"))
    if latency["p99_ms"] is None:
        lines.append("  p99 from 200 runs on: --num-runs 200")
    cold, spread = result["cold_start"], result["processes"]
    if cold:
        said = "-" if cold["median_ms"] is None else f"{cold['median_ms']:.0f} ms, median of {len(cold['runs_ms'])}"
        lines += hanging("  cold start", f"{said} ({cold['measured']})")
    if spread:
        lines += hanging("  processes", spread_text(spread))
    if result["sweep"]:
        lines += sweep_lines(result["sweep"])
    return lines


def sweep_lines(sweep: Sequence[_Result]) -> list[str]:
    lines = [f"{'  threads':16}{'median':>9}{'p95':>9}{'invoke':>9}"]
    for row in sweep:
        cells = "".join(f"{row[key]:>9.2f}" for key in ("median_ms", "p95_ms", "invoke_median_ms"))
        lines.append(f"{row['num_threads']:>9}{'':7}{cells}")
    return lines


def spread_text(spread: _Result) -> str:
    """The repeated processes in one sentence."""
    medians = spread["medians_ms"]
    if not medians:
        return spread["measured"]
    return (
        f"medians of {len(medians)}: {min(medians):.2f} to {max(medians):.2f} ms, spread {spread['spread']:.1%} "
        f"({spread['measured']})"
    )


def endurance_lines(sustained: _Result) -> list[str]:
    lines = [
        f"sustained: {sustained['predictions']} predictions in {sustained['seconds']:.1f} s; the end takes "
        f"{sustained['slowdown']:.2f} times the beginning",
    ]
    if not sustained["sensors"]:
        lines.append("  this machine tells neither temperature nor clock nor throttling")
    lines.append(f"{'  from, s':16}{'median':>9}{'p95':>9}{'°C':>9}{'MHz':>9}  throttling")
    for row in sustained["slices"]:
        degrees, clock = (
            f"{'-' if row[key] is None else format(row[key], '.1f' if key == 'temperature_c' else '.0f'):>9}"
            for key in ("temperature_c", "frequency_mhz")
        )
        flags = "-" if row["throttled"] is None else ", ".join(row["flags"]) or "no"
        lines.append(
            f"{row['start_s']:>9.1f}{'':7}{row['median_ms']:>9.2f}{row['p95_ms']:>9.2f}{degrees}{clock}  {flags}"
        )
    return lines


def warning_lines(warnings: Sequence[_Result]) -> list[str]:
    lines = ["the times above are doubtful"]
    for warning in warnings:
        for mark, key in (("  ! ", "what"), ("    -> ", "remedy")):
            lines += console.wrap(warning[key], first=mark, rest=" " * len(mark))
    return lines


def port_lines(rows: Sequence[_Result]) -> list[str]:
    lines = [
        f"another correct implementation: answers that change, of {rows[0]['n']} images",
        f"{'':34}{'top class':>10}  decision, where most change",
    ]
    for row in rows:
        if row["top_class"] is None:
            lines += hanging(f"  {row['way']}", row["measured"])
            continue
        n, most = row["n"], max(row["decisions"], key=lambda name: row["decisions"][name], default="")
        said = f"{row['decisions'][most] / n:.2%} ({most})" if most else "no thresholds"
        lines.append(f"  {row['way']:32}{row['top_class'] / n:>10.2%}  {said}")
    return lines


def preprocessing_lines(rows: Sequence[_Result]) -> list[str]:
    lines = [
        f"an app that prepares the picture otherwise; {rows[0]['n']} images",
        f"{'':28}{'agreement':>9}{'accuracy':>9}{'balanced':>9}  against the right way",
    ]
    for row in rows:
        if row["accuracy"] is None:
            lines.append(f"  {row['way']:26}{row['measured']}")
            continue
        cells = f"{row['agreement']:>9.2%}{row['accuracy']:>9.3f}{row['balanced_accuracy']:>9.3f}"
        difference = row["difference"]
        said = ""
        if difference and difference["interval"]:
            low, high = difference["interval"]
            said = f"  {difference['difference']:+.3f} ({low:+.3f}, {high:+.3f})"
        lines.append(f"  {row['way']:26}{cells}{said}")
    return lines


def _timings(name: str, figures: _Result) -> str:
    keys = ("median_ms", "avg_ms", "std_ms", "p5_ms", "p90_ms", "p95_ms", "p99_ms")
    return f"{name:16}" + "".join(f"{'-' if figures[key] is None else f'{figures[key]:.2f}':>9}" for key in keys)


def _accuracy(result: _Result) -> list[str]:
    accuracy = result["accuracy"]
    if accuracy is None:
        return [NO_ACCURACY]
    model, reference = accuracy["model"], accuracy["reference"]
    both = [model] if reference is None else [model, reference]
    part = f", {result['data']['split']} part" if result["data"]["split"] else ""
    lines = [
        f"accuracy on {model['n']} images of {tail(result['data']['path'], 40)}{part}",
        *([f"  {group_kinds.counted(model['groups'])}"] if group_kinds.known(model["groups"]) else []),
        f"{'  with 95% interval':24}" + "".join(f"{name:>24}" for name in ("model", "reference")[: len(both)]),
    ]

    def line(name: str, cells: Sequence[str]) -> None:
        lines.append(f"  {console.cell(name, 22)}" + "".join(f"{cell:>24}" for cell in cells))

    line("balanced accuracy", [with_interval(one, "balanced_accuracy") for one in both])
    line("accuracy", [with_interval(one, "accuracy") for one in both])
    line(f"  always '{model['majority_class']}'", [f"{one['majority_class_baseline']:.3f}{'':14}" for one in both])
    line("macro F1", [with_interval(one, "macro_f1") for one in both])
    line("macro AUC", [with_interval(one, "macro_auc") for one in both])
    line("ECE, 15 bins", [f"{one['calibration']['ece']:.3f}{'':14}" for one in both])
    line("Brier score", [f"{one['calibration']['brier']:.3f}{'':14}" for one in both])
    for k in (2, 3):
        if f"top_{k}_accuracy" in model:
            line(f"top {k} accuracy", [f"{one[f'top_{k}_accuracy']:.3f}{'':14}" for one in both])
    lines += wrapped(group_kinds.intervals(model["groups"]))
    for sentence in group_kinds.seen_before(accuracy):
        lines += wrapped(sentence)
    lines += ["", *_per_class(both)]
    lines += _operating_points(accuracy["operating_points"])
    if reference is not None:
        lines += ["", *_parity(accuracy)]
    if accuracy["failed"]:
        failed = accuracy["failed"]
        lines += [
            "",
            f"cannot assess {len(failed)} of {model['n'] + len(failed)} images, left out of all figures; the first:",
            *wrapped(failed[0]["error"]),
        ]
    return lines


def _per_class(both: Sequence[_Result]) -> list[str]:
    titles = ("sensitivity", "specificity", "precision", "AUC")
    lines = [f"{'per class':16}{'images':>8}" + "".join(f"{title:>14}" for title in titles)]
    if len(both) > 1:
        lines[0] = f"{'model/reference':16}{'images':>8}" + "".join(f"{title:>14}" for title in titles)
    for code, row in shown_classes(both[0]).items():
        cells = [
            "/".join(_number(one["per_class"][code][key]) for one in both)
            for key in ("sensitivity", "specificity", "precision", "auc")
        ]
        lines.append(f"  {console.cell(code, 14)}{row['n']:>8}" + "".join(f"{cell:>14}" for cell in cells))
    return lines + few_lines(few.of_classes(both[0]["per_class"]))


def few_lines(sentence: str) -> list[str]:
    """sentence: of `few`."""
    return wrapped(sentence) if sentence else []


def shown_classes(figures: _Result) -> dict[str, _Result]:
    """Code -> figures of the classes that a report lists. figures: of `metrics.evaluate`."""
    rows: dict[str, _Result] = figures["per_class"]
    return rows if len(rows) <= MOST_CLASSES else {code: row for code, row in rows.items() if row["n"]}


def _operating_points(points: Mapping[str, Sequence[_Result]]) -> list[str]:
    """At each file's own thresholds, which were frozen when it was made."""
    if not any(points.values()):
        return []
    who = [name for name in ("model", "reference") if points.get(name)]
    lines = ["", f"{'at frozen thresholds':26}" + "".join(f"{name:>27}" for name in who)]
    lines.append(f"{'':26}" + f"{'sensitivity':>15}{'specificity':>12}" * len(who))
    nothing: _Result = {"sensitivity": None, "specificity": None}
    found = [{(row["target"], row["chosen_for_sensitivity"]): row for row in points[name]} for name in who]
    for target, sensitivity in dict.fromkeys(key for rows in found for key in rows):
        rows = [of_one.get((target, sensitivity), nothing) for of_one in found]
        cells = (f"{_number(row['sensitivity']):>15}{_number(row['specificity']):>12}" for row in rows)
        lines.append(console.pad(f"  {fit(target, 12)} for {sensitivity:.2f}", 26) + "".join(cells))
    return lines + few_lines(few.of_points(points[who[0]]))


def _parity(accuracy: _Result) -> list[str]:
    lines = ["model minus reference, paired, with 95% interval"]
    if accuracy.get("recalibrated"):
        lines.append("  (the reference with the model's logit shift and temperature)")
    for key, name in (("balanced_accuracy", "balanced accuracy"), ("accuracy", "accuracy"), ("macro_auc", "macro AUC")):
        row = accuracy["difference"][key]
        if row["difference"] is not None and row["interval"] is not None:
            low, high = row["interval"]
            lines.append(f"  {name:22}{row['difference']:>+8.4f}  ({low:+.4f} to {high:+.4f})")
    flipped = accuracy["flipped"]
    lines.append(f"  {'same top class':22}{accuracy['agreement']:>8.2%}  ({len(flipped)} flipped)")
    lines += [*_verdict(accuracy["non_inferiority"]), _mcnemar(accuracy["mcnemar"])]
    if flipped:
        lines += ["", *flipped_lines(flipped)]
    return lines


def flipped_lines(flipped: Sequence[_Result], most: int = MOST_FLIPPED) -> list[str]:
    """How many images changed class, and the first of them."""
    broken = sum(flip["reference"]["label"] == flip["truth"] for flip in flipped)
    mended = sum(flip["model"]["label"] == flip["truth"] for flip in flipped)
    lines = [
        f"flipped: {broken} from right to wrong, {mended} from wrong to right, "
        f"{len(flipped) - broken - mended} from wrong to wrong",
        f"  {'image':28}{'truth':14}{'reference':>17}{'model':>17}",
    ]
    for flip in flipped[:most]:
        cells = [
            console.pad(f"{fit(flip[who]['label'], 10)} {flip[who]['probability']:.3f}", 17, ">")
            for who in ("reference", "model")
        ]
        image_id, truth = console.pad(tail(flip["image_id"], 26), 28), console.pad(fit(flip["truth"], 12), 14)
        lines.append(f"  {image_id}{truth}{cells[0]}{cells[1]}")
    if len(flipped) > most:
        lines.append(f"  and {len(flipped) - most} more: --result-json FILE lists them all")
    return lines


def _verdict(verdict: _Result) -> list[str]:
    if verdict["shown"] is None:
        return ["  non-inferiority: not defined on these images"]
    relation = "above" if verdict["shown"] else "not above"
    text = (
        f"{'non-inferior' if verdict['shown'] else 'non-inferiority not shown'} in balanced accuracy: the interval's "
        f"lower end {verdict['lower_end']:+.4f} is {relation} {-verdict['margin']:g}"
    )
    return wrapped(text)


def _mcnemar(test: _Result) -> str:
    return (
        f"  McNemar exact: right only by the model {test['only_model_right']}, only by the reference "
        f"{test['only_reference_right']}, p {test['p_value']:.2g}"
    )


def gate_verdict(gate: _Result) -> str:
    """gate: of `gate.judge` or `gate.judge_all`."""
    rows = [row for one in gate.get("models", [gate]) for row in one["limits"]]
    noise = sum(bool(row["within_noise"]) for row in rows)
    return ("passed" if gate["passed"] else "FAILED") + (
        f", {noise} of {len(rows)} limits within noise" if noise else ""
    )


def gate_title(gate: _Result) -> str:
    verdict = f": {gate_verdict(gate)}"
    return f"gate {tail(gate['source'], WIDTH - 5 - len(verdict))}{verdict}"


def gate_mark(row: _Result) -> str:
    """ "ok" or "FAIL", with a question mark where the limit is within noise. row: of a gate's "limits"."""
    return ("ok" if row["passed"] else "FAIL") + ("?" if row["within_noise"] else "")


def _gate(gate: _Result) -> list[str]:
    lines = [gate_title(gate)]
    for row in gate["limits"]:
        mark = f"{gate_mark(row):5}"
        lines += console.wrap(row["says"], first=f"  {mark} ", rest=" " * 8)
    return lines


def with_interval(figures: _Result, key: str) -> str:
    value, bounds = figures[key], figures["intervals"][key]
    if value is None or bounds is None:
        return f"{_number(value)}{'':14}"
    return f"{value:.3f} ({bounds[0]:.3f}-{bounds[1]:.3f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def row_of(name: str, value: str) -> str:
    return f"{name:16}{value}"


def wrapped(text: str) -> list[str]:
    return console.wrap(text, WIDTH - 2, "  ", "  ")


def hanging(name: str, text: str) -> list[str]:
    """A row whose value goes on below itself where it is long."""
    return console.wrap(text, first=f"{name:16}", rest=" " * 16)
