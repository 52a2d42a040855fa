"""Limits that a model has to keep: a YAML file, or DEFAULT, against what `bench.run_bench` measured.

A figure that was not measured breaks its limit: a gate that is silent about what it did not look at proves nothing. A
limit within the 95% interval of its figure holds or breaks as the figure does, and is said to be within noise: too few
images to tell.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..edge_runtime.errors import SkinEdgeError, UnknownNameError, UsageError
from ..edge_runtime.wording import counted
from .accuracy import ports
from .inputs import documents
from .stats import group_kinds, metrics

# `--gate default`: is this model still its float reference? About accuracy alone, which is the same on every machine;
# milliseconds and megabytes are the product's own limits. Accuracy figures are 0..1, on the data of --data.
DEFAULT: dict[str, float] = {
    # Balanced accuracy, reference minus model, as measured (the point).
    "max_balanced_accuracy_drop": 0.03,
    # The same figure where chance is against the model: the lower end of the paired 95% interval of model minus
    # reference is above minus this. The stricter one; it needs enough images, and fails where there are too few.
    "non_inferiority_margin": metrics.NON_INFERIORITY_MARGIN,
    # Macro AUC, reference minus model, as measured. Notices ranks that move while the top class stays.
    "max_macro_auc_drop": 0.005,
    # Share of images with the same top class, as measured. Notices a damaged model whose accuracy is right by chance,
    # and the churn behind an accuracy that stays: every image that changes its answer has to be looked at again.
    # Quantization-aware training reaches 0.986 on 1,706 images of HAM10000, whose 95% interval begins at 0.979;
    # post-training quantization 0.965, which fails: one answer in 28 is another one. Whoever accepts that for a faster
    # conversion says so in limits of their own (docs/results.md, "int8").
    "min_agreement": 0.98,
    # What another correct implementation of the same file changes at most, as measured: the top class or one frozen
    # threshold's decision, whichever changes most. One
    # answer in 50, as between the model and its reference. The packaged model has 0.011 and 0.005 on the 1,275
    # validation images of HAM10000 (docs/results.md, "Other implementations").
    "max_rounding_flips": 0.02,
    "max_kernel_flips": 0.02,
}

_Result = Mapping[str, Any]


@dataclass(frozen=True)
class _Limit:
    """read: the measured value, or why there is none. says: what the value is. largest: whether the limit is one.

    compares: whether it is about a model and its reference. interval: the value's 95% interval, asked where there is a
    value; None where it is none of chance, or is not defined. few: which images the interval is of, in words; None for
    all that were measured.
    """

    says: str
    read: Callable[[_Result], float | str]
    interval: Callable[[_Result], tuple[float, float] | None] = lambda _: None
    unit: str = ""
    largest: bool = True
    compares: bool = False
    few: Callable[[_Result], str] | None = None


def _drop(figure: str) -> Callable[[_Result], float | str]:
    def read(result: _Result) -> float | str:
        row = _compared(result)
        if isinstance(row, str):
            return row
        difference = row["difference"][figure]["difference"]
        return f"{figure} is not defined on these images" if difference is None else 0.0 - difference  # not -0.0

    return read


def _lower_end_drop(result: _Result) -> float | str:
    row = _compared(result)
    if isinstance(row, str):
        return row
    bounds = row["difference"]["balanced_accuracy"]["interval"]
    return "the interval is not defined on these images" if bounds is None else 0.0 - bounds[0]


def _drop_interval(figure: str) -> Callable[[_Result], tuple[float, float] | None]:
    def read(result: _Result) -> tuple[float, float] | None:
        bounds = result["accuracy"]["difference"][figure]["interval"]
        return None if bounds is None else (0.0 - bounds[1], 0.0 - bounds[0])

    return read


def _own_interval(figure: str) -> Callable[[_Result], tuple[float, float] | None]:
    def read(result: _Result) -> tuple[float, float] | None:
        bounds = result["accuracy"]["model"]["intervals"][figure]
        return None if bounds is None else (bounds[0], bounds[1])

    return read


def _agreement_interval(result: _Result) -> tuple[float, float]:
    return metrics.wilson(result["accuracy"]["agreement"], result["accuracy"]["model"]["n"])


def _agreement(result: _Result) -> float | str:
    row = _compared(result)
    return row if isinstance(row, str) else row["agreement"]


def _own(figure: str) -> Callable[[_Result], float | str]:
    def read(result: _Result) -> float | str:
        if result["accuracy"] is None:
            return "no --data was given"
        value = result["accuracy"]["model"][figure]
        return f"{figure} is not defined on these images" if value is None else value

    return read


def _compared(result: _Result) -> _Result | str:
    if result["accuracy"] is None:
        return "no --data was given"
    return "no --reference was given" if result["accuracy"]["reference"] is None else result["accuracy"]


def _peak_mb(result: _Result) -> float | str:
    peak = result["memory"]["peak_bytes"]
    return "this system does not report the peak" if peak is None else peak / 1e6


def _drop_limit(figure: str, says: str) -> _Limit:
    return _Limit(f"the drop of {says}", _drop(figure), _drop_interval(figure), compares=True)


_WAYS = {"max_rounding_flips": ports.ROUNDING, "max_kernel_flips": (ports.KERNELS,)}


def _port_limit(name: str, says: str) -> _Limit:
    def read(result: _Result) -> float | str:
        if result.get("ports") is None:
            return "no --data was given"
        found = ports.largest(result["ports"], _WAYS[name])
        return found if isinstance(found, str) else found[0]

    def interval(result: _Result) -> tuple[float, float] | None:
        value = read(result)
        return None if isinstance(value, str) else metrics.wilson(value, result["ports"][0]["n"])

    return _Limit(f"the largest share of answers that {says}", read, interval)


@dataclass(frozen=True)
class _Share:
    """What `refusals.figures` says of one class, or of all. code: "" for all. row: with n, the share and interval."""

    code: str
    value: float
    row: _Result


def _refused(result: _Result) -> _Share | str:
    found = _judged(result, "assessment", "no limits of assessment")
    return found if isinstance(found, str) else _Share("", found["share"], found)


def _refused_malignant(result: _Result) -> _Share | str:
    """Of the malignant class of which most is refused."""
    found = _judged(result, "assessment", "no limits of assessment")
    if isinstance(found, str):
        return found
    codes: list[str] = found["malignant"]["classes"] if found["malignant"] else []
    shares = [_Share(code, row["share"], row) for code, row in found["per_class"].items() if code in codes and row["n"]]
    return max(shares, key=lambda one: one.value) if shares else "no image is of a class known to be malignant"


def _covered(result: _Result) -> _Share | str:
    """Of the class that is least often in its set: of all images, so that refusing does not help."""
    found = _judged(result, "possible", "no sets of possible classes")
    if isinstance(found, str):
        return found
    return min(
        (_Share(code, row["coverage"], row) for code, row in found["per_class"].items() if row["n"]),
        key=lambda one: one.value,
    )


def _judged(result: _Result, key: str, without: str) -> _Result | str:
    if result["accuracy"] is None:
        return "no --data was given"
    return result["accuracy"]["model"].get(key) or f"the file has {without}"


def _share_limit(says: str, share: Callable[[_Result], _Share | str], *, largest: bool = True) -> _Limit:
    def read(result: _Result) -> float | str:
        found = share(result)
        return found if isinstance(found, str) else found.value

    def interval(result: _Result) -> tuple[float, float] | None:
        found = share(result)
        return None if isinstance(found, str) else (found.row["interval"][0], found.row["interval"][1])

    def few(result: _Result) -> str:
        found = share(result)
        return "" if isinstance(found, str) else f"{counted(found.row['n'], 'image')} of {found.code}"

    return _Limit(says, read, interval, largest=largest, few=None if share is _refused else few)


_CLASSES = {"max_malignant_refused_share": _refused_malignant, "min_set_coverage": _covered}


# The keys of a gate. A drop is reference minus model. MB are 10^6 bytes.
LIMITS = {
    "max_balanced_accuracy_drop": _drop_limit("balanced_accuracy", "balanced accuracy"),
    "max_accuracy_drop": _drop_limit("accuracy", "accuracy"),
    "max_macro_auc_drop": _drop_limit("macro_auc", "macro AUC"),
    "non_inferiority_margin": _Limit(
        "the drop of balanced accuracy at the interval's lower end",
        _lower_end_drop,
        _drop_interval("balanced_accuracy"),
        compares=True,
    ),
    "min_agreement": _Limit(
        "agreement with the reference", _agreement, _agreement_interval, largest=False, compares=True
    ),
    "min_balanced_accuracy": _Limit(
        "balanced accuracy", _own("balanced_accuracy"), _own_interval("balanced_accuracy"), largest=False
    ),
    "min_macro_auc": _Limit("macro AUC", _own("macro_auc"), _own_interval("macro_auc"), largest=False),
    "max_rounding_flips": _port_limit("max_rounding_flips", "another rounding of the input changes"),
    "max_kernel_flips": _port_limit("max_kernel_flips", "other kernels change"),
    "max_refused_share": _share_limit("the share refused", _refused),
    "max_malignant_refused_share": _share_limit("the largest share refused of a malignant class", _refused_malignant),
    "min_set_coverage": _share_limit("the smallest coverage of a class's sets", _covered, largest=False),
    "max_median_ms": _Limit("the median latency", lambda result: result["latency"]["median_ms"], unit=" ms"),
    "max_p95_ms": _Limit("the 95th percentile of latency", lambda result: result["latency"]["p95_ms"], unit=" ms"),
    "max_file_mb": _Limit("the file", lambda result: result["size"]["file_bytes"] / 1e6, unit=" MB"),
    "max_peak_mb": _Limit("the peak of memory", _peak_mb, unit=" MB"),
}


def read_gate(source: str, known: Collection[str] = LIMITS, default: Mapping[str, float] = DEFAULT) -> dict[str, float]:
    """The limits of a gate: name -> limit.

    Args:
        source: "default", or a YAML file of `limit: number` lines.
        known: The names of the limits that the file may have.
        default: The limits that "default" stands for.

    Raises:
        UsageError: Where it is missing, is no such file, is empty, or has a key that is not known.
        ModuleNotFoundError: Where PyYAML is.
    """
    if source == "default":
        return dict(default)
    path = Path(source)
    if not path.exists():
        raise UsageError(f'--gate {path}: no such file (or write "default")')
    try:
        content: Any = documents.read_yaml(path)
    except SkinEdgeError as error:
        raise UsageError(f"--gate {error}") from None
    if not isinstance(content, dict) or not content:
        raise UsageError(f"--gate {path} names no limits: write lines such as 'min_agreement: 0.97'")
    limits: dict[str, float] = {}
    for key, value in content.items():  # pyright: ignore[reportUnknownVariableType]
        name = str(key)  # pyright: ignore[reportUnknownArgumentType]
        if name not in known:
            raise UnknownNameError(f"limit in {path}", name, known)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise UsageError(f"--gate {path}: {name} must be a number of at least 0, not {value!r}")
        limits[name] = float(value)
    return limits


def judge(result: _Result, limits: Mapping[str, float], source: str) -> dict[str, Any]:
    """Which limits hold, JSON-ready: {"source", "passed", "limits": [{name, limit, value, interval, within_noise,
    passed, says}]}.

    value: None where it was not measured, and then passed is False. interval: [low, high] of 95%, of accuracy figures;
    over the resamples of `metrics.paired_interval` or `metrics.evaluate`, of agreement and of shares Wilson's.
    within_noise: whether the limit is in it, so that other images of the same kind may well decide otherwise; None
    where that is not known, as where every resample gave the same. says: one sentence with the
    numbers, and, where the model answers otherwise than its reference, in what.

    A limit is met at its exact value, except that of non_inferiority_margin, which has to be undercut.
    """
    rows: list[dict[str, Any]] = []
    for name, limit in limits.items():
        known = LIMITS[name]
        value = known.read(result)
        bounds: tuple[float, float] | None = None
        noise: bool | None = None
        if isinstance(value, str):
            passed, says = False, f"{name} {limit:g}: not measured, {value}"
        else:
            strict = name == "non_inferiority_margin"
            passed = (value < limit or (value == limit and not strict)) if known.largest else value >= limit
            relation = (
                "is within" if passed else ("is above" if value > limit else "is below" if value < limit else "is at")
            )
            says = f"{name} {limit:g}: {known.says} {relation} it with {value:.4g}{known.unit}"
            bounds = known.interval(result)
            if bounds:
                says += f" (95% interval {bounds[0]:.4g} to {bounds[1]:.4g})"
                noise = None if bounds[0] == bounds[1] else bounds[0] <= limit <= bounds[1]
                says += _said_of_noise(result, passed, noise, known.few)
            if not passed:
                says += _what_broke(result, name)
        rows.append(
            {
                "name": name,
                "limit": limit,
                "value": None if isinstance(value, str) else value,
                "interval": None if bounds is None else list(bounds),
                "within_noise": noise,
                "passed": passed,
                "says": says,
            }
        )
    return {"source": source, "passed": all(row["passed"] for row in rows), "limits": rows}


def _said_of_noise(
    result: _Result, passed: bool, noise: bool | None, of: Callable[[_Result], str] | None = None
) -> str:
    """The end of a sentence about a figure with an interval. of: as `_Limit.few`."""
    if noise is False:
        return ""
    figures = result["accuracy"]["model"]
    number, groups = figures["n"], figures["groups"]
    few = f"{number:,} {'image' if number == 1 else 'images'}"
    if of:
        few = of(result)
    elif group_kinds.known(groups):
        few += f" of {group_kinds.counted(groups)}"
    if noise is None:
        return f"; every resample of the {few} gives the same, so the interval says nothing"
    how = "passed" if passed else "failed"
    return f"; {how} within noise, for the limit is inside the interval: {few}, too few to tell"


def judge_all(result: _Result, limits: Mapping[str, float], source: str) -> dict[str, Any]:
    """`judge` of every model of `bench.run_benches`: {"source", "passed", "models": [{"path", **judge}]}, in order.

    Where the first model is the reference, it has no limits that compare it with itself.
    """
    models: list[dict[str, Any]] = []
    for i, one in enumerate(result["models"]):
        is_reference = i == 0 and result["reference"]["is_first_model"]
        own = {name: limit for name, limit in limits.items() if not (is_reference and LIMITS[name].compares)}
        models.append({"path": one["model"]["path"], **judge(one, own, source)})
    return {"source": source, "passed": all(one["passed"] for one in models), "models": models}


def _what_broke(result: _Result, name: str) -> str:
    """What to look at, as the end of the sentence; "" where there is nothing to add."""
    if name in ("max_median_ms", "max_p95_ms"):
        stages = result["latency"]["stages"]
        slowest = max(stages, key=lambda stage: stages[stage]["median_ms"])
        return f"; most of it is {slowest}, {stages[slowest]['median_ms']:.4g} ms"
    if name in _WAYS:
        found = ports.largest(result["ports"], _WAYS[name])
        return "" if isinstance(found, str) else f"; most in {found[1]}, {found[2]}"
    if name == "max_refused_share":
        return _commonest_reason(result["accuracy"]["model"]["assessment"])
    if name in _CLASSES:
        found = _CLASSES[name](result)
        return "" if isinstance(found, str) else f"; it is {found.code}, of {counted(found.row['n'], 'image')}"
    accuracy = result["accuracy"]
    if accuracy is None:
        return ""
    if name == "min_balanced_accuracy":
        return _lowest(accuracy["model"], "sensitivity")
    if name == "min_macro_auc":
        return _lowest(accuracy["model"], "auc")
    if name == "max_macro_auc_drop":
        ours, theirs = (accuracy[who]["per_class"] for who in ("model", "reference"))
        falls = {code: theirs[code]["auc"] - ours[code]["auc"] for code in ours if ours[code]["auc"] is not None}
        worst = max(falls, key=lambda code: falls[code])
        return f"; most in {worst}, from {theirs[worst]['auc']:.3f} to {ours[worst]['auc']:.3f}"
    changes = Counter((flip["reference"]["label"], flip["model"]["label"]) for flip in accuracy.get("flipped", []))
    if not changes:
        return ""
    broken = sum(flip["reference"]["label"] == flip["truth"] for flip in accuracy["flipped"])
    (before, after), count = changes.most_common(1)[0]
    return (
        f"; {changes.total()} of {accuracy['model']['n']} images change class, {broken} from right to wrong, "
        f"most often {before} to {after} ({count})"
    )


def _commonest_reason(found: _Result) -> str:
    reasons = sorted(found["reasons"], key=lambda row: -row["refused"])
    return f"; most often as {reasons[0]['text']} ({reasons[0]['refused']} of {found['n']} images)" if reasons else ""


def _lowest(figures: _Result, figure: str) -> str:
    defined = {code: row[figure] for code, row in figures["per_class"].items() if row[figure] is not None}
    if not defined:
        return ""
    worst = min(defined, key=lambda code: defined[code])
    return f"; lowest for {worst}, {defined[worst]:.3f}"
