"""`skin-edge bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..edge_runtime import console, packaged
from ..edge_runtime.commands import ModelPath, input_options, num_threads_option
from ..edge_runtime.errors import GateError, UsageError, require
from ..edge_runtime.help import SectionedCommand
from .engines.options import ALSO, FLAGS, engine_options
from .inputs.options import column_options
from .robustness.options import FLAGS as ROBUSTNESS_FLAGS
from .robustness.options import robustness_options

if TYPE_CHECKING:
    from .report.document import Document

_SECTIONS = {
    "Accuracy": ("data", "image_column", "label_column", "group_column", "images", "split", "preprocessing", "margin"),
    "Robustness": ("robustness", "robustness_pictures", "robustness_seed", "robustness_sheet"),
    "Models": ("reference", "mean", "std", "labels"),
    "Time": ("image", "num_runs", "warmup_runs", "num_threads", "processes", "cold_starts", "sweep", "duration_s"),
    "Microcontrollers": ("micro", "npu"),
    "Engines": ("engines", "engines_dir", "engine_repeats", "engine_timeout"),
    "Limits and comparisons": ("gate", "compare", "different_machines"),
    "Output": ("result_json", "html", "markdown", "as_json"),
}


@click.command(cls=SectionedCommand, sections=_SECTIONS)
@click.argument("models", nargs=-1, type=ModelPath())
@click.option(
    "--reference",
    type=ModelPath(),
    metavar="FLOAT",
    help="Float .tflite, or another model, to compare with.  [default: the first MODEL, if there are several]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="CSV|FOLDER",
    help="Labelled images on which to measure accuracy.",
)
@click.option("--split", metavar="PART", help='Part of the data, or "all".  [default: test, where there are parts]')
@column_options
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Image for the timed predictions.  [default: the first of --data, else a generated one]",
)
@click.option(
    "--num-runs", type=click.IntRange(min=1), default=50, show_default=True, help="Number of timed predictions."
)
@click.option(
    "--warmup-runs",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Number of warm-up predictions, which are not timed.",
)
@num_threads_option
@click.option(
    "--processes",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Also time predictions in this many parallel processes, if 2 or more.",
)
@click.option(
    "--cold-starts",
    type=click.IntRange(0, 1000),
    default=5,
    show_default=True,
    help="Number of cold starts to time: a new process from its start to the first prediction.",
)
@click.option("--sweep", is_flag=True, help="Also time 1, 2, 4, ... threads, up to the number of cores.")
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="Also predict continuously for SECONDS and record temperature, clock frequency and throttling.",
)
@click.option(
    "--preprocessing",
    is_flag=True,
    help="Also measure the loss of accuracy in an app that preprocesses images differently (needs --data).",
)
@click.option(
    "--micro",
    is_flag=True,
    help="Measure what a microcontroller needs instead: memory of TFLite Micro, flash, operators.",
)
@click.option(
    "--npu",
    multiple=True,
    metavar="NAME",
    help="With --micro: also compile for this NPU, such as u55-128; can be repeated.",
)
@click.option(
    "--gate",
    metavar="FILE|default",
    help="Check the results against the limits in a YAML file, or the default limits; exit with 3 if one is not met.",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    default=0.03,  # metrics.NON_INFERIORITY_MARGIN, whose module would load NumPy for `--help`
    show_default=True,
    help="Non-inferiority margin of the comparison with the reference, in balanced accuracy.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Compare two earlier results (files of --result-json), the second with the first, instead of measuring.",
)
@click.option(
    "--different-machines",
    is_flag=True,
    help="Allow --compare on results of different machines, and mark them as such.",
)
@robustness_options
@engine_options
@input_options
@click.option("--result-json", type=click.Path(path_type=Path), metavar="FILE", help="Write all results as JSON.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the report as one self-contained HTML page (needs Jinja2: pip install 'skin-edge[bench]').",
)
@click.option("--markdown", type=click.Path(path_type=Path), metavar="FILE", help="Write the report as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def bench(
    models: tuple[Path, ...],
    image_column: str | None,
    label_column: str | None,
    group_column: str | None,
    labels: str | None,
    micro: bool,
    npu: tuple[str, ...],
    gate: str | None,
    compare: bool,
    different_machines: bool,
    engines: tuple[str, ...],
    engines_dir: Path | None,
    engine_repeats: int,
    engine_timeout: float,
    robustness_sheet: Path | None,
    result_json: Path | None,
    html: Path | None,
    markdown: Path | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Measure one or several models on this machine, .tflite files or names of packaged models; without any,
    "default".

    The report has the file size, load time, latency of each stage with its spread, peak memory and the machine. With
    --data it has the accuracy too, with --reference also the differences between the files with their intervals, and
    the images whose predicted class changes. The JSON of several models has one result for each in the list "models".
    If the file can refuse images, or has sets of possible classes, the report has the share refused and the coverage;
    all other figures are of all images, whether refused or not.

    --data is a csv with the columns path and label (optional: image_id, group, split), such as split.csv of a run;
    other column names are set by --image-column, --label-column and --group-column. It can also be the table or the
    folder of HAM10000, ISIC or PAD-UFES-20, or a folder with one subfolder of images for each label.

    --labels, --mean and --std describe models that were not made by skin-edge (--mean and --std those with a float
    input), the reference included. If --labels is a csv with the columns code, name and malignant, it defines the
    classes of the data instead, as in 'skin-edge train'.

    Images that cannot be read are reported and left out; the exit code is then 1.

    --gate prints one line on stderr, after the report, for each limit that is not met. Limits on the value as
    measured (a drop is reference minus model): max_balanced_accuracy_drop, max_accuracy_drop, max_macro_auc_drop,
    min_agreement, min_balanced_accuracy, min_macro_auc, max_refused_share, max_malignant_refused_share (the malignant
    class with the largest), min_set_coverage (the class with the smallest), max_median_ms, max_p95_ms, max_file_mb,
    max_peak_mb. Limit on
    the lower end of the paired 95% interval of balanced accuracy: non_inferiority_margin. Limits on the share of
    predicted classes, or of the decisions of one threshold, that change: max_rounding_flips, if inputs are rounded
    differently by one, and max_kernel_flips, without XNNPACK. A limit on something that was not measured counts as
    not met. A limit inside the 95% interval of the measured value is marked as within noise; the measured value still
    decides. "default" stands for: balanced accuracy drop 0.03 (also the margin), macro AUC drop 0.005, agreement 0.98,
    flips 0.02 each.

    With several models, each must meet all limits; if the first is the reference, it is exempt from those that compare.

    --engine runs the model in other engines, each in a process of its own, and judges whether each may be used: it
    answers golden pictures 20 times in changed order, and those of --data once, as LiteRT with XNNPACK does or not.
    Engines: litert-xnnpack, litert-plain, litert-compiled-cpu, litert-compiled-gpu, tflite-runtime, tflm, mediapipe,
    litertjs-wasm, litertjs-webgpu; delegate:PATH?key=value is an external delegate with its options. The limits of
    --gate are then max_refused, max_margin, min_agreement, max_kernel_flips, max_median_ms, max_p95_ms, max_load_ms
    and max_peak_mb, for each engine; "default" is max_refused 0. --compare takes two or more such results.

    --robustness measures images distorted in 17 ways at 3 strengths: light (temperature, falloff, vignette, frame,
    underexposed, overexposed, glare), camera (smaller, larger, defocus, motion, resolution, jpeg, noise) and what lies
    over the skin (ruler, hair, bubbles).

    --micro takes one MODEL and reports the arena in bytes that TensorFlow Lite Micro needs, flash, and the operators
    with the lines that register them, or why the model cannot run (exit code 1); with --npu also what Arm's compiler
    Vela estimates for ethos-u55-32, -64, -128, -256, u65-256, -512, u85-128, -256, -512, -1024 or -2048. It needs the
    extra "micro".

    \b
    Example:
      skin-edge bench
      skin-edge bench runs/first/int8/model_int8.tflite \\
        --reference runs/first/int8/model_float32.tflite \\
        --data runs/first/split.csv --result-json bench.json
      skin-edge bench a.tflite b.tflite c.tflite \\
        --reference float.tflite --data runs/first/split.csv --html bench.html
      skin-edge bench --data runs/first/split.csv \\
        --robustness --robustness-sheet sheet.png
      skin-edge bench --compare before.json after.json
      skin-edge bench --micro --npu u55-128 --npu u85-256
      skin-edge bench --engine all --data runs/first/split.csv \\
        --result-json engines.json
    """
    outputs = {
        "--result-json": result_json,
        "--html": html,
        "--markdown": markdown,
        "--robustness-sheet": robustness_sheet,
    }
    outputs = {option: path for option, path in outputs.items() if path is not None}
    if micro:
        return _micro(models, npu, outputs, as_json)
    if npu:
        raise UsageError("--npu goes with --micro")
    if compare:
        return _compare(models, different_machines, as_json)
    if different_machines:
        raise UsageError("--different-machines requires --compare")
    if not engines and (given := _given() & FLAGS):
        raise UsageError(f"{', '.join(sorted(given))}: this goes with --engine, which is not given")
    if not settings["robustness"] and (given := _given() & ROBUSTNESS_FLAGS):
        raise UsageError(f"{', '.join(sorted(given))}: this goes with --robustness, which is not given")
    from .bench import BenchSettings, run_bench, run_benches
    from .gate import judge, judge_all, read_gate
    from .inputs.columns import Columns
    from .report import bench_report

    _check_outputs(outputs)
    if engines:
        of_data = {name: settings[name] for name in ("data", "split", "images", "num_threads", "mean", "std")}
        more = {
            "labels": Path(labels) if labels else None,
            "columns": Columns(image_column, label_column, group_column),
        }
        about = {"engines": engines, "folder": engines_dir, "repeats": engine_repeats, "timeout_s": engine_timeout}
        return _engines(models, {**of_data, **more, **about}, gate, outputs, as_json)
    asked = BenchSettings(
        model=models[0] if models else None,
        columns=Columns(image_column, label_column, group_column),
        labels=Path(labels) if labels else None,
        **settings,
    )
    limits = read_gate(gate) if gate else None
    several = len(models) > 1
    result = run_benches(models, asked, _to_stderr) if several else run_bench(asked, _to_stderr)
    if limits is not None:
        result["gate"] = (judge_all if several else judge)(result, limits, str(gate))
    document = bench_report.document(result)
    _say(result, document, as_json)  # first: an unwritable file must not cost what was measured
    _write(outputs, result, document)
    return _judged(result)


def _engines(
    models: Sequence[Path], settings: Mapping[str, Any], gate: str | None, outputs: Mapping[str, Path], as_json: bool
) -> int:
    """settings: of `EngineSettings`, but for the model."""
    if given := _given() - FLAGS - ALSO:
        raise UsageError(f"--engine judges engines: leave {', '.join(sorted(given))} out")
    if len(models) > 1:
        raise UsageError("--engine takes one MODEL")
    from .engines import limits, report
    from .engines.measure import EngineSettings, run_engines

    wanted = limits.read_gate(gate) if gate else None
    settings = {name: value for name, value in settings.items() if value is not None}
    result = run_engines(EngineSettings(model=models[0] if models else None, **settings), _engine_to_stderr)
    if wanted is not None:
        result["gate"] = limits.judge(result, wanted, str(gate), settings["engines"])
    document = report.document(result)
    _say(result, document, as_json)
    _write(outputs, result, document)
    broken = [row for row in (result["gate"] or {"limits": []})["limits"] if not row["passed"]]
    for row in broken:
        console.say(f"error: gate: {row['says']}", err=True)
    if broken:
        return GateError.exit_code
    return 1 if result["pictures"]["failed"] else 0


def _check_outputs(outputs: Mapping[str, Path]) -> None:
    """Before hours are spent. Raises UsageError or MissingExtraError where a file could not be written."""
    from ..edge_runtime import files

    for option, path in outputs.items():
        files.check_writable_file(path, option)
    if "--html" in outputs:
        require("jinja2")


def _say(result: Mapping[str, Any], document: Document, as_json: bool) -> None:
    from ..edge_runtime.classifier import DISCLAIMER
    from .report import terminal

    if as_json:
        console.say_json(result)
        console.say(DISCLAIMER, err=True)
    else:
        console.say(terminal.text(document))


def _judged(result: Mapping[str, Any]) -> int:
    """The exit code, after a line for each limit that is broken or within noise."""
    from .report import bench_report

    results = result.get("models", [result])
    gate = result["gate"]
    if gate:
        begins = [f"{name}: " for name in bench_report.names(result)] if "models" in gate else [""]
        for begin, one in zip(begins, gate.get("models", [gate]), strict=True):
            for row in one["limits"]:
                if not row["passed"] or row["within_noise"]:
                    console.say(f"{'warning' if row['passed'] else 'error'}: gate: {begin}{row['says']}", err=True)
        if not gate["passed"]:
            return GateError.exit_code
    return 1 if any(one["accuracy"] and one["accuracy"]["failed"] for one in results) else 0


def _write(outputs: Mapping[str, Path], result: Mapping[str, Any], document: Document) -> None:
    import json

    from ..edge_runtime import files

    written: dict[Path, str | bytes] = {}
    for option, path in outputs.items():
        if option == "--result-json":
            written[path] = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        elif option == "--html":
            from .report.page import page

            written[path] = page(document)
        elif option == "--robustness-sheet":
            from .report.sheets import png
            from .robustness.sheet import draw

            written[path] = png(draw(result.get("models", [result])[0]["robustness"]))
        else:
            from .report.markdown import markdown

            written[path] = markdown(document)
    files.write_all(written)


def _micro(models: Sequence[Path], npu: Sequence[str], outputs: Mapping[str, Path], as_json: bool) -> int:
    from .micro.measure import measure
    from .micro.report import document

    given = _given() - {"--micro", "--npu", "--json", "--result-json", "--html", "--markdown"}
    if given:
        raise UsageError(f"--micro times nothing and reads no data: leave {', '.join(sorted(given))} out")
    if len(models) > 1:
        raise UsageError(f"--micro takes one model, not {len(models)}")
    _check_outputs(outputs)
    result = measure(packaged.path_of(models[0] if models else None), npu)
    _say(result, document(result), as_json)
    _write(outputs, result, document(result))
    return 0 if result["verdict"] == "runs" else 1


def _compare(results: Sequence[Path], different_machines: bool, as_json: bool) -> int:
    from . import diff as compare
    from .engines import report as engine_report

    given = _given() - {"--compare", "--different-machines", "--json"}
    if given:
        raise UsageError(f"--compare measures nothing: leave {', '.join(sorted(given))} out")
    if engine_report.are_results(results):
        comparison = engine_report.compare(results)
        document = engine_report.compared(comparison)
    else:
        if len(results) != 2:
            raise UsageError(f"--compare takes two results, not {len(results)}: {compare.HOW}")
        a, b = map(compare.read_result, results)
        comparison = compare.compare(a, b, different_machines=different_machines)
        document = compare.document(comparison)
    _say(comparison, document, as_json)
    return 0


def _given() -> set[str]:
    """The flags on the command line."""
    context = click.get_current_context()
    on_line = click.core.ParameterSource.COMMANDLINE
    return {
        option.opts[0]
        for option in context.command.params
        if isinstance(option, click.Option) and context.get_parameter_source(str(option.name)) is on_line
    }


def _to_stderr(done: int, total: int) -> None:
    """One line that overwrites itself on a terminal, else a line at every tenth."""
    if console.rewrites():
        console.progress(f"{done}/{total} images" if done < total else "")
    elif done * 10 // total > (done - 1) * 10 // total:
        console.report(f"{done}/{total} images")


def _engine_to_stderr(engine: str, done: int, total: int) -> None:
    if console.rewrites():
        console.progress(f"{engine}: {done}/{total} answers" if done < total else "")
    elif done == total:
        console.report(f"{engine}: {total} answers")
