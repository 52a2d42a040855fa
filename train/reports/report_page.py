"""metrics.json as one HTML page for a dermatologist and an engineer: report.html.

Every figure on the page is a span that names where in metrics.json it stands and how it is printed, so that the two
cannot tell different stories, and a test can hold them to that. The page computes nothing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...benchmarks.report import charts
from ...benchmarks.report.escapes import html_text
from ...benchmarks.report.page import document
from ...benchmarks.stats import few, group_kinds
from ...edge_runtime import preprocess
from ...edge_runtime.classifier import DISCLAIMER
from ...edge_runtime.errors import ImageError
from ...edge_runtime.preprocess import SCALED, InputSpec

_PICTURE = 224  # pixels, the longer side

_STYLE = """
.lead li { margin: .35rem 0; }
td.cell { text-align: right; background: color-mix(in srgb, var(--a) calc(var(--share) * 75%), transparent); }
td.cell.right { outline: 1px solid var(--good); outline-offset: -2px; }
.line.c { stroke: var(--good); } circle.c { fill: var(--good); } i.c { background: var(--good); }
.charts.small { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
span.none { color: var(--soft); }
.sheet { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); } .sheet img { height: 150px; }
.sheet span { white-space: normal; }
[data-figure] { white-space: nowrap; }
"""

PARTS = {"train": "training", "val": "validation", "test": "test", "evaluated": "evaluated"}

_HEADLINES = (
    ("balanced_accuracy", "balanced accuracy"),
    ("accuracy", "accuracy"),
    ("macro_auc", "macro AUC"),
    ("macro_f1", "macro F1"),
)


def page(results: Mapping[str, Any], history: Mapping[str, Sequence[float]] | None = None) -> str:
    """results: what metrics.json holds. history: the columns of history.csv, for the training curves.

    Pictures of mistakes are read from where they lie; one that is gone is said to be.
    """
    show = _Figures(results)
    sections = [
        ("summary", "In plain words", _summary(results, show)),
        ("data", "Data and split", _data(results, show)),
        *([("training", "Training", _training(results, show, history))] if history else []),
        ("results", "Results", _headlines(results, show)),
        ("classes", "Each diagnosis", _classes(results, show)),
        ("confusion", "Confusion matrix", _confusion(results, show)),
        ("roc", "ROC curves", _roc(results, show)),
        ("thresholds", "Operating points", _operating_points(results, show)),
        ("calibration", "Calibration", _calibration(results, show)),
        ("refusal", "Refusing the uncertain", _risk_coverage(results, show)),
        ("subgroups", "Subgroups", _subgroups(results, show)),
        ("mistakes", "The worst mistakes", _mistakes(results, show)),
        ("terms", "Terms and limits", _terms(results)),
    ]
    links = "".join(f'<a href="#{name}">{html_text(title)}</a>' for name, title, _ in sections)
    title = str(results["title"])
    header = (
        f"<header><h1>{html_text(title)}</h1>\n"
        f'<p class="soft">{html_text(results["subtitle"])}</p>\n'
        f'<p class="disclaimer">{html_text(DISCLAIMER)}</p>\n<nav>{links}</nav></header>\n'
    )
    body = "".join(
        f'<section id="{name}"><h2>{html_text(title)}</h2>\n{content}</section>\n' for name, title, content in sections
    )
    return document(f"{title}: skin-edge report", f"{header}<main>\n{body}</main>\n", _STYLE)


class _Figures:
    """Prints figures of metrics.json by their place in it."""

    def __init__(self, results: Mapping[str, Any]):
        self.results = results

    def at(self, *path: str | int) -> Any:
        value: Any = self.results
        for key in path:
            value = value[key]
        return value

    def __call__(self, *path: str | int, form: str = ".3f") -> str:
        """The figure in a span with its JSON pointer (RFC 6901, without the first slash) and its format."""
        value = self.at(*path)
        pointer = html_text("/".join(str(key).replace("~", "~0").replace("/", "~1") for key in path))
        if value is None:
            return f'<span class="none" data-figure="{pointer}">not defined</span>'
        return f'<span data-figure="{pointer}" data-form="{form}">{value:{form}}</span>'

    def interval(self, *path: str | int, form: str = ".3f") -> str:
        """ " (low to high)"; nothing where there is none."""
        if self.at(*path) is None:
            return ""
        return f" ({self(*path, 0, form=form)} to {self(*path, 1, form=form)})"

    def with_interval(self, part: Sequence[str | int], name: str, form: str = ".3f") -> str:
        """A figure of a part, and its interval from the part's `intervals`."""
        return self(*part, name, form=form) + self.interval(*part, "intervals", name, form=form)


def _summary(results: Mapping[str, Any], show: _Figures) -> str:
    test, labels = results["test"], results["labels"]
    lines = [
        "This program looks at one photograph of a skin lesion and gives each of "
        f"{len(labels)} diagnoses a probability. It was tried on {show('test', 'n', form=',')} pictures"
        f"{_of_groups(results, show)}. {_seen(results, show)}. A range in brackets is a 95% interval: where the figure "
        f"would lie with other pictures of the same kind. It is from resamples of "
        f"{group_kinds.drawn_over(test['groups'])}.",
    ]
    failed = results.get("cannot_assess")
    if failed and failed["n"]:
        lines.append(
            f"<b>Cannot assess:</b> {show('cannot_assess', 'n', form=',')} more pictures "
            f"({show('cannot_assess', 'share', form='.1%')}) could not be assessed. They are not in the figures below; "
            f"counted as wrong, accuracy would be {show('cannot_assess', 'accuracy_counting_as_wrong', form='.1%')}."
        )
    majority = html_text(test["majority_class"])
    lines += [
        f"<b>The most probable diagnosis was right</b> for {_percent(show, 'test', 'accuracy')} of the pictures. "
        f"A program that always says '{majority}' would be right for "
        f"{show('test', 'majority_class_baseline', form='.1%')}, so this figure alone says little.",
        "<b>With every diagnosis counted alike</b>, however rare, it was right for "
        f"{_percent(show, 'test', 'balanced_accuracy')} (balanced accuracy).",
    ]
    melanoma = results["melanoma"]
    if melanoma and test["per_class"][melanoma]["n"]:
        at = ("test", "per_class", melanoma)
        lines.append(
            f"<b>Melanoma:</b> of {show(*at, 'n', form=',')} pictures of melanomas, "
            f"{_percent(show, *at, 'sensitivity')} were called melanoma. The rest were given another diagnosis."
        )
    for number, row in enumerate(test["operating_points"]):
        if (row["chosen_for"], row["wanted"]) == ("sensitivity", 0.9) and row["sensitivity"] is not None:
            what = "melanoma" if row["target"] == melanoma else "malignant lesions"
            at = ("test", "operating_points", number)
            lines.append(
                f"<b>As an alarm for {what}:</b> a threshold that found {show(*at, 'wanted', form='.0%')} of them "
                f"before, on other pictures, found {_percent(show, *at, 'sensitivity')} here, and stayed silent for "
                f"{_percent(show, *at, 'specificity')} of the other lesions."
            )
    if melanoma is None:
        lines.append("No diagnosis of this program is melanoma by name, so nothing is said about melanoma.")
    sure = "test", "risk_coverage", "curve"
    at_80 = next(i for i, row in enumerate(show.at(*sure)) if row["coverage"] == 0.8)
    last = len(show.at(*sure)) - 1
    lines += [
        f"<b>Its probabilities</b> are off by {show('test', 'calibration', 'ece', form='.1%')} on average (ECE): how "
        "often it is right differs by that much from how sure it says it is."
        + (
            f" After a correction found on the validation part: {show('test', 'recalibrated', 'ece', form='.1%')}."
            if "recalibrated" in test
            else ""
        ),
        f"<b>If it may stay silent</b> on the fifth of the pictures that it is least sure of, "
        f"{show(*sure, at_80, 'risk', form='.1%')} of its answers are wrong instead of "
        f"{show(*sure, last, 'risk', form='.1%')}.",
    ]
    return f'<ul class="lead">{"".join(f"<li>{line}</li>" for line in lines)}</ul>\n'


def _of_groups(results: Mapping[str, Any], show: _Figures) -> str:
    groups = results["test"]["groups"]
    if not group_kinds.known(groups):
        return "; of how many lesions is not known"
    unknown = f" (of {show('test', 'groups', 'images_unknown', form=',')} it is not known)"
    return (
        f" of {show('test', 'n_groups', form=',')} {group_kinds.unit(groups, plural=groups['n'] != 1)}"
        f"{unknown if groups['images_unknown'] else ''}"
    )


def _seen(results: Mapping[str, Any], show: _Figures) -> str:
    split = results["split"]
    sentences = group_kinds.leaks(split, lambda name: show("split", name, form=".1%"))
    return ". ".join(sentences) + (", so <b>all figures here are too good</b>" if group_kinds.too_good(split) else "")


def _data(results: Mapping[str, Any], show: _Figures) -> str:
    data, split = results["data"], results["split"]
    notes = [f"Data: {html_text(data['name'])}.", f"Split: {html_text(split['kind'])}."]
    notes += [f"{said}." for said in group_kinds.leaks(split, lambda name: show("split", name, form=".1%"))]
    if split.get("share_that_chose_thresholds"):
        notes.append(
            f"{show('split', 'share_that_chose_thresholds', form='.1%')} of these pictures, or their lesions, chose "
            "the epoch and the thresholds, so the figures are too good."
        )
    absent = results["test"]["absent_classes"]
    if absent:
        notes.append(
            f"Without a single test picture, so nothing is known about them here: {html_text(', '.join(absent))}."
        )
    for label in data.get("unknown_labels", {}):
        notes.append(
            f"{show('data', 'unknown_labels', label, form=',')} pictures are labelled '{html_text(label)}', which "
            "the model does not know. It can only be wrong about them; they are in predictions.csv and in no figure."
        )
    parts = list(data["images"])
    rows = [
        [
            f"<b>{html_text(label['code'])}</b> " + html_text(label["name"] if label["name"] != label["code"] else ""),
            {True: "yes", False: "no", None: "nobody said"}[label["malignant"]],
            *(show("data", "counts", label["code"], part, form=",") for part in parts),
        ]
        for label in results["labels"]
    ]
    rows.append(["all images", "", *(show("data", "images", part, form=",") for part in parts)])
    if split["groups_known"]:
        unit = group_kinds.unit(split["groups"])
        rows.append([unit, "", *(show("data", "groups", part, form=",") for part in parts)])
    failed = results.get("cannot_assess")
    table = _table("Images per class and part", ["class", "malignant", *(PARTS[part] for part in parts)], rows)
    if told := results.get("metadata"):
        notes.append(
            "The network is told more than the picture: "
            f"{html_text(', '.join(told['fields']))}. With all of it blank its balanced accuracy on the test part is "
            f"{show('metadata', 'balanced_accuracy_with_all_blank', 'test')}."
        )
        table += _table(
            "Images of which it is not known",
            ["metadata", *(PARTS[part] for part in parts)],
            [
                [html_text(name), *(show("metadata", "blank", name, part, form=",") for part in parts)]
                for name in told["fields"]
            ],
        )
    if failed and failed["n"]:
        table += _table(
            "Cannot assess",
            ["image", "why"],
            [[html_text(case["image_id"]), html_text(case["error"])] for case in failed["first"]],
        )
    return _notes(notes) + table


def _training(results: Mapping[str, Any], show: _Figures, history: Mapping[str, Sequence[float]] | None) -> str:
    assert history is not None
    epochs = [float(epoch) for epoch in history["epoch"]]

    def line(name: str, kind: str, column: str) -> charts.Line:
        return charts.Line(name, kind, list(zip(epochs, map(float, history[column]), strict=True)))

    drawn = [
        charts.lines(
            "Loss (cross-entropy)",
            "epoch",
            "",
            [line("training, augmented", "a", "loss"), line("validation", "b", "val_loss")],
        ),
        charts.lines(
            "Accuracy",
            "epoch",
            "",
            [
                line("training, augmented", "a", "accuracy"),
                line("validation", "b", "val_accuracy"),
                line("validation, balanced", "c", "val_balanced_accuracy"),
            ],
        ),
    ]
    notes = [
        f"{show('training', 'epochs', form='d')} epochs in {show('training', 'hours', form='.2f')} hours; the model is "
        f"that of epoch {show('training', 'best_epoch', form='d')}."
    ]
    return _notes(notes) + _charts(drawn)


def _headlines(results: Mapping[str, Any], show: _Figures) -> str:
    parts = [part for part in ("validation", "test") if part in results]
    rows = [["images", *(show(part, "n", form=",") for part in parts)]]
    rows += [[title, *(show.with_interval((part,), key) for part in parts)] for key, title in _HEADLINES]
    rows += [
        [f"top {k} accuracy", *(show(part, f"top_{k}_accuracy") for part in parts)]
        for k in (2, 3)
        if f"top_{k}_accuracy" in results["test"]
    ]
    rows.append(
        [
            "always the commonest class",
            *(
                f"{show(part, 'majority_class_baseline')} ({html_text(results[part]['majority_class'])})"
                for part in parts
            ),
        ]
    )
    for name in results["test"]["targets"]:
        rows.append(
            [
                f"AUC, {html_text(name)} or not",
                *(
                    show(part, "targets", name, "auc") + show.interval(part, "targets", name, "interval")
                    for part in parts
                ),
            ]
        )
    rows.append(["ECE", *(_nested(show, part, "ece") for part in parts)])
    rows.append(["Brier score (0 to 2)", *(_nested(show, part, "brier") for part in parts)])
    if results.get("cannot_assess"):
        rows.append(["cannot assess", show("cannot_assess", "n", form=",")])
        for name in ("accuracy", "balanced_accuracy"):
            rows.append(
                [
                    f"{name.replace('_', ' ')}, those counted as wrong",
                    show("cannot_assess", f"{name}_counting_as_wrong"),
                ]
            )
    intervals = group_kinds.intervals(results["test"]["groups"], show("test", "bootstrap", form=","))
    notes = [f"In brackets: {intervals}."]
    if "validation" in results:
        notes.append("The validation part chose the epoch and the thresholds; the test part chose nothing.")
    return _notes(notes) + _table("", ["", *(_name_of(results, part) for part in parts)], rows)


def _classes(results: Mapping[str, Any], show: _Figures) -> str:
    codes = [label["code"] for label in results["labels"]]
    rows = []
    for code in codes:
        at = ("test", "per_class", code)
        rows.append(
            [
                html_text(code),
                show(*at, "n", form=","),
                *(show.with_interval(at, name) for name in ("sensitivity", "specificity")),
                show(*at, "precision"),
                show.with_interval(at, "auc"),
                show(*at, "ece"),
                show(*at, "brier"),
            ]
        )
    notes = [
        "Sensitivity: of the pictures of this diagnosis, the share that was called so. Specificity: of all others, the "
        "share that was not. Precision: of the pictures called so, the share that is. Here the answer is the most "
        "probable class; for thresholds see the operating points."
    ]
    notes += _few(few.of_classes(results["test"]["per_class"]))
    columns = ["class", "images", "sensitivity", "specificity", "precision", "AUC", "ECE", "Brier"]
    return _notes(notes) + _table("", columns, rows)


def _confusion(results: Mapping[str, Any], show: _Figures) -> str:
    codes = [label["code"] for label in results["labels"]]
    matrix = results["test"]["confusion_matrix"]
    rows = ""
    for i, code in enumerate(codes):
        cells = "".join(
            f'<td class="cell{" right" if i == k else ""}" '
            f'style="--share: {matrix[i][k] / max(sum(matrix[i]), 1):.3f}">'
            f"{show('test', 'confusion_matrix', i, k, form='d')}</td>"
            for k in range(len(codes))
        )
        rows += f'<tr><th scope="row">{html_text(code)}</th>{cells}</tr>'
    heads = "".join(f'<th scope="col" class="n">{html_text(code)}</th>' for code in codes)
    return (
        _notes(["Rows are the truth, columns the answer; the darker, the larger its share of the row."])
        + '<div class="scroll" role="region" tabindex="0" aria-label="Confusion matrix"><table>'
        f'<thead><tr><th scope="col">truth \\ answer</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>\n'
    )


def _roc(results: Mapping[str, Any], show: _Figures) -> str:
    curves = results["test"]["roc"]
    main = [name for name in results["test"]["targets"] if name in curves]

    def chart(title: str, names: Sequence[str]) -> str:
        data = [
            charts.Line(name, kind, list(zip(curves[name]["fpr"], curves[name]["tpr"], strict=True)))
            for name, kind in zip(names, "ab", strict=False)
        ]
        chance = charts.Line("chance", "ideal", [(0.0, 0.0), (1.0, 1.0)])
        return charts.lines(title, "1 - specificity", "sensitivity", [chance, *data], height=320, dots=False)

    notes = ["One class against all others, by its probability. The areas under the curves (AUC) are in the tables."]
    missing = [label["code"] for label in results["labels"] if label["code"] not in curves]
    if missing:
        notes.append(f"No curve, for one of the two sides has no picture: {html_text(', '.join(missing))}.")
    large = _charts([chart(f"ROC of {' and '.join(main)}", main)]) if main else ""
    rest = [name for name in curves if name not in main]
    small = "".join(chart(f"ROC of {name}", [name]) for name in rest)
    return _notes(notes) + large + (f'<div class="charts small">{small}</div>\n' if small else "")


def _operating_points(results: Mapping[str, Any], show: _Figures) -> str:
    points = results["test"]["operating_points"]
    if not points:
        return _notes(["No threshold was frozen: it is not known which classes are malignant, or on which pictures."])
    rows = []
    for number, row in enumerate(points):
        at = ("test", "operating_points", number)
        other = "specificity" if row["chosen_for"] == "sensitivity" else "sensitivity"
        rows.append(
            [
                f"{html_text(row['target'])}, {show(*at, 'wanted', form='.0%')} {row['chosen_for']}",
                show(*at, "threshold", form=".4f"),
                f"{show(*at, 'found', 'sensitivity')} / {show(*at, 'found', 'specificity')}",
                show.with_interval(at, "sensitivity"),
                show.with_interval(at, "specificity"),
                f"{other} {show(*at, 'roc', other)}",
            ]
        )
    on = html_text(points[0]["on"])
    notes = [
        f"Each threshold was frozen on {on}, and measured here as it is. The score is the probability of melanoma, or "
        "the sum over the malignant classes; a picture counts as found from the threshold on.",
        "The last column is what the ROC curve of these very pictures has at that sensitivity or specificity. No "
        "device can have it, for the threshold would have been chosen with the answers known.",
    ]
    for name, target in results["test"]["targets"].items():
        notes.append(
            f"{html_text(name)}: {html_text(', '.join(target['classes']))}; "
            f"{show('test', 'targets', name, 'n', form=',')} pictures."
        )
    notes += _few(few.of_points(points))
    columns = ["target", "threshold", "when frozen: sensitivity / specificity", "sensitivity", "specificity", "own ROC"]
    return _notes(notes) + _table("", columns, rows)


def _calibration(results: Mapping[str, Any], show: _Figures) -> str:
    test = results["test"]
    kinds = [("as it is", "a", "calibration")]
    rows = [
        [
            "as it is",
            *(show("test", "calibration", k) + show.interval("test", "calibration", "intervals", k) for k in _ERRORS),
        ]
    ]
    notes = [
        "A probability of 0.8 should be right in 8 of 10 pictures. ECE: the mean distance from that, over 15 bins of "
        "the highest probability. Brier score: the squared distance to the truth, 0 to 2. Lower is better for both. "
        "Resampled pictures come twice, which an ECE takes for misjudged: a small one can lie below its interval."
    ]
    if "recalibrated" in test:
        kinds.append(("after the temperature", "b", "recalibrated"))
        name = f"after dividing the logits by {show('test', 'recalibrated', 'temperature', form='.3f')}"
        rows.append([name, *(show("test", "recalibrated", key) for key in _ERRORS)])
        notes.append("The temperature was found on the validation part; 'skin-edge convert' puts one into the file.")
    folded = results["frozen"].get("temperature_in_the_file")
    if folded is not None:
        notes.append(f"The file divides its logits by {show('frozen', 'temperature_in_the_file', form='.3f')} already.")
    lines = [
        charts.Line(name, kind, [(row["confidence"], row["accuracy"]) for row in test[key]["bins"]])
        for name, kind, key in kinds
    ]
    diagonal = charts.Line("calibrated", "ideal", [(0.0, 0.0), (1.0, 1.0)])
    drawn = charts.lines("Reliability, 15 bins", "confidence", "accuracy", [diagonal, *lines], height=300)
    return _notes(notes) + _charts([drawn]) + _table("", ["", "ECE", "Brier score"], rows)


_ERRORS = ("ece", "brier")


def _risk_coverage(results: Mapping[str, Any], show: _Figures) -> str:
    curve = results["test"]["risk_coverage"]["curve"]
    line = charts.Line("wrong answers", "a", [(row["coverage"], row["risk"]) for row in curve])
    rows = [
        [
            show("test", "risk_coverage", "curve", i, "coverage", form=".0%"),
            show("test", "risk_coverage", "curve", i, "n", form=","),
            show("test", "risk_coverage", "curve", i, "risk"),
            show("test", "risk_coverage", "curve", i, "least_confidence"),
        ]
        for i, row in enumerate(curve)
        if row["coverage"] in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
    ]
    notes = [
        "Where only the pictures that the model is surest of are answered, fewer answers are wrong. Area under the "
        f"curve (AURC): {show('test', 'risk_coverage', 'aurc', form='.4f')}; lower is better."
    ]
    columns = ["answered", "images", "share wrong", "least confidence answered"]
    return (
        _notes(notes)
        + _charts([charts.lines("Risk and coverage", "share answered", "share wrong", [line])])
        + _table("", columns, rows)
    )


def _subgroups(results: Mapping[str, Any], show: _Figures) -> str:
    found = results["test"]["subgroups"]
    if not found:
        return _notes(["The data says no age, sex or site of the body, so whether some are served worse is not known."])
    notes = [
        "Groups of under 20 images are too few for a figure. Where intervals overlap, no difference has been shown. "
        "Balanced accuracy is over the classes that a group has, so groups with other classes cannot be compared by it."
    ]
    tables = ""
    described = results["test"]["groups"]
    units = [group_kinds.unit(described)] if group_kinds.known(described) else []

    def named_groups(at: Sequence[str | int]) -> list[str]:
        return [show(*at, "n_groups", form=",") for _ in units]

    names = (
        ("accuracy", "accuracy"),
        ("balanced_accuracy", "balanced accuracy"),
        ("melanoma_sensitivity", "sensitivity for melanoma"),
        ("melanoma_auc", "AUC, melanoma"),
        ("malignant_auc", "AUC, malignant"),
    )
    for attribute, groups in found.items():
        shown = [(key, title) for key, title in names if any(key in row for row in groups)]
        counts = [
            (key, title)
            for key, title in (("n_melanoma", "melanomas"), ("n_malignant", "malignant"))
            if any(key in row for row in groups)
        ]
        rows = []
        for i, row in enumerate(groups):
            at = ("test", "subgroups", attribute, i)
            cells = [html_text(row["group"]), show(*at, "n", form=","), *named_groups(at)]
            if row["too_few"]:
                cells += ["too few images", *[""] * (len(counts) + len(shown) - 1)]
            else:
                cells += [show(*at, key, form=",") for key, _ in counts]
                cells += [show.with_interval(at, key) for key, _ in shown]
            rows.append(cells)
        columns = [attribute, "images", *units, *(title for _, title in (*counts, *shown))]
        tables += _table(f"By {attribute}", columns, rows)
    return _notes(notes) + tables


def _mistakes(results: Mapping[str, Any], show: _Figures) -> str:
    drawn = _notes(
        [
            "The wrong answers of the highest probability; in brackets what the truth was given. Pictures are "
            "upright, small and encoded anew."
        ]
    )
    for name, title in (("melanomas_missed", "Melanomas missed"), ("others", "Other mistakes")):
        cases = results["mistakes"][name]
        if name == "melanomas_missed" and results["melanoma"] is None:
            continue
        items = "".join(_mistake(show, case, ("mistakes", name, "shown", i)) for i, case in enumerate(cases["shown"]))
        drawn += f"<h3>{title}: {show('mistakes', name, 'n', form=',')}"
        drawn += f", the first {len(cases['shown'])}" if cases["n"] > len(cases["shown"]) else ""
        drawn += f'</h3>\n<ul class="sheet">{items}</ul>\n' if items else "</h3>\n"
    return drawn


def _mistake(show: _Figures, case: Mapping[str, Any], at: Sequence[str | int]) -> str:
    source = picture_uri(case["path"])
    alt = html_text(f"{case['image_id']}: {case['truth']} called {case['predicted']}")
    image = f'<img src="{source}" alt="{alt}">' if source else '<p class="soft">the image is gone</p>'
    return (
        f"<li>{image}<b>{html_text(case['image_id'])}</b><br>truth {html_text(case['truth'])} "
        f'({show(*at, "p_truth", form=".3f")})<br><span class="bad">said {html_text(case["predicted"])} '
        f"{show(*at, 'confidence', form='.3f')}</span></li>"
    )


def _terms(results: Mapping[str, Any]) -> str:
    notes = [
        html_text(DISCLAIMER),
        f"License of the data: {html_text(results['data']['license'])}.",
        "The pictures above are of people: pass this page on only as the license of the data allows.",
        "Figures from one data set are no clinical evidence, and say nothing about other cameras, other skin, or "
        "anything that is none of the classes: the model answers with one of them all the same.",
    ]
    return _notes(notes)


def picture_uri(path: str | Path, side: int = _PICTURE) -> str | None:
    """The picture upright, at most `side` pixels, as a JPEG data URI; None where it cannot be read.

    Its pixels are encoded anew, so nothing else of the file (place, device, time) comes along.
    """
    if not str(path):
        return None
    try:
        upright = preprocess.decode(str(path), InputSpec(side, side, decoding=SCALED))
    except ImageError:
        return None
    upright.thumbnail((side, side))
    bare = upright.convert("RGB")
    bare.info = {}
    buffer = io.BytesIO()
    bare.save(buffer, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _few(sentence: str) -> list[str]:
    return [f"{html_text(sentence)}."] if sentence else []


def _percent(show: _Figures, *path: str | int) -> str:
    *part, name = path
    return show.with_interval(part, str(name), form=".1%")


def _nested(show: _Figures, part: str, name: str) -> str:
    return show(part, "calibration", name) + show.interval(part, "calibration", "intervals", name)


def _name_of(results: Mapping[str, Any], part: str) -> str:
    return part if "validation" in results else "these images"


def _notes(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>\n"


def _charts(drawn: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(drawn)}</div>\n'


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML; the first of a row names it."""
    heads = "".join(f'<th scope="col">{html_text(text)}</th>' for text in columns)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    title = f"<caption>{html_text(caption)}</caption>" if caption else ""
    name = html_text(caption or columns[1])
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table>{title}'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>\n"
    )
