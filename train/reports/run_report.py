"""metrics.json as a document for a dermatologist and an engineer: report.html, figures.md and what a command prints.

Every figure names where in metrics.json it stands and how it is printed, so that the two cannot tell different stories,
and a test can hold them to that. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...benchmarks.report import charts, refusals_report, terminal
from ...benchmarks.report.document import (
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
    strong,
)
from ...benchmarks.stats import few, group_kinds
from ...edge_runtime import console
from ...edge_runtime.classifier import DISCLAIMER

PARTS = {"train": "training", "val": "validation", "test": "test", "evaluated": "evaluated"}

_ERRORS = ("ece", "brier")
_SUBGROUPS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "melanoma_sensitivity": "sensitivity for melanoma",
    "melanoma_auc": "AUC, melanoma",
    "malignant_auc": "AUC, malignant",
}
_TOO_GOOD = "so all figures here are too good"


def document(results: Mapping[str, Any], history: Mapping[str, Sequence[float]] | None = None) -> Document:
    """results: what metrics.json holds. history: the columns of history.csv, for the training curves."""
    show = Results(results)
    sections = [
        _summary(show),
        _data(show),
        *([_training(show, history)] if history else []),
        _headlines(show),
        _classes(show),
        _confusion(show),
        _roc(show),
        _operating_points(show),
        *refusals_report.sections([_shown(show)]),
        _calibration(show),
        _risk_coverage(show),
        _subgroups(show),
        _mistakes(show),
        _terms(results),
    ]
    return Document(str(results["title"]), str(results["subtitle"]), sections, "skin-edge report")


def trained(results: Mapping[str, Any], out: Path, *, qat: bool = True) -> console.Page:
    """What a person reads after `skin-edge train`. qat: whether its network can be quantized by training."""
    convert = console.command_line("skin-edge", "convert", out, "--int8", *([] if qat else ["--ptq"]))
    return terminal.text(replace(document(results), after=[f"written to {out}; next:", f"  {convert}"]))


def evaluated(results: Mapping[str, Any], out: Path | None) -> console.Page:
    """What a person reads after `skin-edge evaluate`."""
    written = [f"written to {out}: report.html, figures.md, metrics.json, predictions.csv"] if out else []
    return terminal.text(replace(document(results), after=written))


def _shown(show: Results) -> refusals_report.Shown:
    return refusals_report.Shown("", show, ("test",))


def _summary(show: Results) -> Section:
    lines: list[Text] = [
        _tried(show),
        *_cannot_assess(show),
        show.text(
            "**The most probable diagnosis was right** for {test/accuracy:~.1%} of the pictures. A program that always "
            "says '{test/majority_class}' would be right for {test/majority_class_baseline:.1%}, so this figure alone "
            "says little."
        ),
        show.text(
            "**With every diagnosis counted alike**, however rare, it was right for {test/balanced_accuracy:~.1%} "
            "(balanced accuracy)."
        ),
        *_melanoma(show),
        *_alarms(show),
        *_sureness(show),
        *refusals_report.plain_words(_shown(show)),
    ]
    return Section("summary", "In plain words", [Notes(lines)], detail=True)


def _tried(show: Results) -> Text:
    groups = show.results["test"]["groups"]
    return show.text(
        "This program looks at one photograph of a skin lesion and gives each of {labels} diagnoses a probability. "
        "It was tried on {test/n:,} pictures of {groups}. {seen} A range in brackets is a 95% interval: where the "
        "figure would be with other pictures of the same kind. It is from resamples of {drawn}.",
        labels=str(len(show.results["labels"])),
        groups=show.text(group_kinds.counted(groups, "{{test/groups/n:,}}")),
        seen=tuple(part for sentence in _seen(show) for part in (sentence, " ")),
        drawn=group_kinds.drawn_over(groups),
    )


def _melanoma(show: Results) -> list[Text]:
    code = show.results["melanoma"]
    if code is None:
        return ["No diagnosis of this program is melanoma by name, so nothing is said about melanoma."]
    said = (
        "**Melanoma:** of {n:,} pictures of melanomas, {sensitivity:~.1%} were called melanoma. The rest were given "
        "another diagnosis."
    )
    at = ("test", "per_class", code)
    return [show.text(said, at)] if show.at(*at, "n") else []


def _alarms(show: Results) -> list[Text]:
    return [
        show.text(
            "**As an alarm for {what}:** a threshold that found {wanted:.0%} of them before, on other pictures, "
            "found {sensitivity:~.1%} here, and stayed silent for {specificity:~.1%} of the other lesions.",
            ("test", "operating_points", i),
            what="melanoma" if row["target"] == show.results["melanoma"] else "malignant lesions",
        )
        for i, row in enumerate(show.results["test"]["operating_points"])
        if (row["chosen_for"], row["wanted"]) == ("sensitivity", 0.9) and row["sensitivity"] is not None
    ]


def _sureness(show: Results) -> list[Text]:
    test = show.results["test"]
    curve = test["risk_coverage"]["curve"]
    at_80 = next(i for i, row in enumerate(curve) if row["coverage"] == 0.8)
    corrected = " After a correction found on the validation part: {recalibrated/ece:.1%}."
    return [
        show.text(
            "**Its probabilities** are off by {calibration/ece:.1%} on average (ECE): how often it is right "
            "differs by that much from how sure it says it is." + (corrected if "recalibrated" in test else ""),
            ("test",),
        ),
        show.text(
            "**If it may stay silent** on the fifth of the pictures that it is least sure of, "
            f"{{{at_80}/risk:.1%}} of its answers are wrong instead of {{{len(curve) - 1}/risk:.1%}}.",
            ("test", "risk_coverage", "curve"),
        ),
    ]


def _cannot_assess(show: Results) -> list[Text]:
    failed = show.results.get("cannot_assess")
    if not failed or not failed["n"]:
        return []
    return [
        show.text(
            "**Cannot assess:** {cannot_assess/n:,} more pictures ({cannot_assess/share:.1%}) could not be assessed. "
            "They are not in the figures below; counted as wrong, accuracy would be "
            "{cannot_assess/accuracy_counting_as_wrong:.1%}."
        )
    ]


def _seen(show: Results) -> list[Text]:
    """Over what the model has seen of these pictures in training, as far as that is known."""
    split = show.results["split"]
    sentences = group_kinds.leaks(split, lambda name: f"{{split/{name}:.1%}}")
    found = [show.text(f"{sentence}.") for sentence in sentences]
    if group_kinds.too_good(split):
        found[-1] = (show.text(sentences[-1]), ", ", strong(_TOO_GOOD), ".")
    return found


def _chose(show: Results) -> list[Text]:
    if not show.results["split"].get("share_that_chose_thresholds"):
        return []
    return [
        show.text(
            "{split/share_that_chose_thresholds:.1%} of these pictures, or their lesions, chose the epoch and the "
            "thresholds, so the figures are too good."
        )
    ]


def _unknown_labels(show: Results) -> list[Text]:
    return [
        show.text(
            "{n} pictures are labelled '{label}', which the model does not know. It can only be wrong about them; they "
            "are in predictions.csv and in no figure.",
            n=show("data", "unknown_labels", label, form=","),
            label=label,
        )
        for label in show.results["data"].get("unknown_labels", {})
    ]


def _data(show: Results) -> Section:
    results = show.results
    data, split = results["data"], results["split"]
    notes: list[Text] = [f"Data: {data['name']}.", f"Split: {split['kind']}.", *_seen(show), *_chose(show)]
    absent = results["test"]["absent_classes"]
    if absent:
        notes.append(f"Without a single test picture, so nothing is known about them here: {', '.join(absent)}.")
    notes += _unknown_labels(show)
    parts = list(data["images"])
    rows: list[tuple[Text, ...]] = [
        (
            (strong(label["code"]), f" {label['name']}" if label["name"] != label["code"] else ""),
            {True: "yes", False: "no", None: "nobody said"}[label["malignant"]],
            *(show("data", "counts", label["code"], part, form=",") for part in parts),
        )
        for label in results["labels"]
    ]
    rows.append(("all images", "", *(show("data", "images", part, form=",") for part in parts)))
    if split["groups_known"]:
        unit = group_kinds.unit(split["groups"])
        rows.append((unit, "", *(show("data", "groups", part, form=",") for part in parts)))
    named = [PARTS[part] for part in parts]
    tables = [Table(("class", "malignant", *named), rows, "Images per class and part")]
    if told := results.get("metadata"):
        notes.append(
            show.text(
                "The network is told more than the picture: {fields}. With all of it blank its balanced accuracy on "
                "the test part is {metadata/balanced_accuracy_with_all_blank/test}.",
                fields=", ".join(told["fields"]),
            )
        )
        blanks = [
            (name, *(show("metadata", "blank", name, part, form=",") for part in parts)) for name in told["fields"]
        ]
        tables.append(Table(("metadata", *named), blanks, "Images of which it is not known"))
    failed = results.get("cannot_assess")
    if failed and failed["n"]:
        first = [(case["image_id"], case["error"]) for case in failed["first"]]
        tables.append(Table(("image", "why"), first, "Cannot assess"))
    return Section("data", "Data and split", [Notes(notes), *tables], detail=True)


def _training(show: Results, history: Mapping[str, Sequence[float]]) -> Section:
    epochs = [float(epoch) for epoch in history["epoch"]]

    def line(name: str, kind: str, column: str) -> charts.Line:
        return charts.Line(name, kind, list(zip(epochs, map(float, history[column]), strict=True)))

    loss = [line("training, augmented, with L2", "a", "loss"), line("validation, cross-entropy", "b", "val_loss")]
    accuracy = [line("training, augmented", "a", "accuracy"), line("validation", "b", "val_accuracy")]
    accuracy.append(line("validation, balanced", "c", "val_balanced_accuracy"))
    drawn = [charts.lines("Loss", "epoch", "", loss), charts.lines("Accuracy", "epoch", "", accuracy)]
    note = show.text(
        "{training/epochs:d} epochs in {training/hours:.2f} hours; the model is that of epoch {training/best_epoch:d}."
    )
    return Section("training", "Training", [Notes([note]), Charts(drawn)], detail=True)


def _headlines(show: Results) -> Section:
    results = show.results
    parts = [part for part in ("validation", "test") if part in results]

    def row(title: Text, *path: str, form: str = ".3f") -> tuple[Text, ...]:
        return (title, *(show(part, *path, form=form) for part in parts))

    rows = [row("images", "n", form=",")]
    rows += [(title, *(show.ranged((part,), key) for part in parts)) for key, title in HEADLINES.items()]
    rows += [row(f"top {k} accuracy", f"top_{k}_accuracy") for k in (2, 3) if f"top_{k}_accuracy" in results["test"]]
    rows.append(
        (
            "always the commonest class",
            *((show(part, "majority_class_baseline"), f" ({results[part]['majority_class']})") for part in parts),
        )
    )
    for name in results["test"]["targets"]:
        aucs = [("targets", name, "auc"), ("targets", name, "interval")]
        cells = [(show(part, *aucs[0]), show.interval(part, *aucs[1])) for part in parts]
        rows.append((f"AUC, {name} or not", *cells))
    for key, title in zip(_ERRORS, ("ECE, 15 bins", "Brier score (0 to 2)"), strict=True):
        rows.append((title, *(show.ranged((part, "calibration"), key) for part in parts)))
    if results.get("cannot_assess"):
        rows.append(("cannot assess", show("cannot_assess", "n", form=",")))
        for name in ("accuracy", "balanced_accuracy"):
            wrong = show("cannot_assess", f"{name}_counting_as_wrong")
            rows.append((f"{HEADLINES[name]}, those counted as wrong", wrong))
    told = refusals_report.headlines([_shown(show)])
    rows += told
    intervals = group_kinds.intervals(results["test"]["groups"], "{test/bootstrap:,}")
    notes = [*_seen(show), *_chose(show), *_unknown_labels(show), show.text(f"In brackets: {intervals}.")]
    notes += [refusals_report.OF_ALL, refusals_report.OF_SINGLE] if told else []
    if "validation" in results:
        notes.append("The validation part chose the epoch and the thresholds; the test part chose nothing.")
    if results.get("model", {}).get("sha256"):  # of a run there is none
        notes.append(f"Of {results['model']['name']}, SHA-256 {results['model']['sha256']}.")
    heads = [part if "validation" in results else "these images" for part in parts]
    return Section("results", "Results", [Notes(notes), Table(("", *heads), rows)])


def _classes(show: Results) -> Section:
    cells = ("{n:,}", "{sensitivity:~}", "{specificity:~}", "{precision}", "{auc:~}", "{ece}", "{brier}")
    codes = [label["code"] for label in show.results["labels"]]
    rows = [(code, *show.cells(("test", "per_class", code), *cells)) for code in codes]
    note = (
        "Sensitivity: of the pictures of this diagnosis, the share that was called so. Specificity: of all others, the "
        "share that was not. Precision: of the pictures called so, the share that is. Here the answer is the most "
        "probable class; for thresholds see the operating points."
    )
    per_class = show.results["test"]["per_class"]
    columns = ("class", "images", "sensitivity", "specificity", "precision", "AUC", "ECE", "Brier")
    return Section(
        "classes",
        "Each diagnosis",
        [Notes([note], detail=True), Table(columns, rows), *_few(few.of_classes(per_class))],
    )


def _few(sentence: str) -> list[Notes]:
    return [Notes([f"{sentence}."])] if sentence else []


def _confusion(show: Results) -> Section:
    codes = [label["code"] for label in show.results["labels"]]
    matrix = show.results["test"]["confusion_matrix"]
    rows = [
        (code, *(show("test", "confusion_matrix", i, k, form="d") for k in range(len(codes))))
        for i, code in enumerate(codes)
    ]
    shares = [[count / max(sum(counts), 1) for count in counts] for counts in matrix]
    note = "Rows are the truth, columns the answer; on the page, the darker, the larger its share of the row."
    table = Table(("truth \\ answer", *codes), rows, shares=shares)
    return Section("confusion", "Confusion matrix", [Notes([note]), table], detail=True)


def _roc(show: Results) -> Section:
    test = show.results["test"]
    curves = test["roc"]
    main = [name for name in test["targets"] if name in curves]

    def chart(title: str, names: Sequence[str]) -> charts.Chart:
        data = [
            charts.Line(name, kind, list(zip(curves[name]["fpr"], curves[name]["tpr"], strict=True)))
            for name, kind in zip(names, charts.KINDS, strict=False)
        ]
        chance = charts.Line("chance", "ideal", [(0.0, 0.0), (1.0, 1.0)])
        return charts.lines(title, "1 - specificity", "sensitivity", [chance, *data], height=320, dots=False)

    notes = ["One class against all others, by its probability. The areas under the curves (AUC) are in the tables."]
    missing = [label["code"] for label in show.results["labels"] if label["code"] not in curves]
    if missing:
        notes.append(f"No curve, for one of the two sides has no picture: {', '.join(missing)}.")
    blocks: list[Block] = [Notes(notes)]
    if main:
        blocks.append(Charts([chart(f"ROC of {' and '.join(main)}", main)]))
    rest = [chart(f"ROC of {name}", [name]) for name in curves if name not in main]
    if rest:
        blocks.append(Charts(rest, small=True))
    return Section("roc", "ROC curves", blocks, detail=True)


def _operating_points(show: Results) -> Section:
    test = show.results["test"]
    points = test["operating_points"]
    if not points:
        note = "No threshold was frozen: it is not known which classes are malignant, or on which pictures."
        return Section("thresholds", "Operating points", [Notes([note], detail=True)])
    rows: list[list[Text]] = []
    for i, row in enumerate(points):
        other = "specificity" if row["chosen_for"] == "sensitivity" else "sensitivity"
        rows.append(
            show.cells(
                ("test", "operating_points", i),
                "{target}, {wanted:.0%} {chosen_for}",
                "{threshold:.4f}",
                "{sensitivity:~}",
                "{specificity:~}",
                "{found/sensitivity} / {found/specificity}",
                f"{other} {{roc/{other}}}",
            )
        )
    notes: list[Text] = [
        f"Each threshold was frozen on {points[0]['on']}, and measured here as it is. The score is the probability of "
        "melanoma, or the sum over the malignant classes; a picture counts as found from the threshold on.",
        "The last column is what the ROC curve of these very pictures has at that sensitivity or specificity. No "
        "device can have it, for the threshold would have been chosen with the answers known.",
    ]
    notes += [
        show.text(
            "{name}: {of}; {n:,} pictures.", ("test", "targets", name), name=name, of=", ".join(target["classes"])
        )
        for name, target in test["targets"].items()
    ]
    columns = ("target", "threshold", "sensitivity", "specificity", "when frozen: sensitivity / specificity", "own ROC")
    return Section(
        "thresholds",
        "Operating points",
        [Notes(notes, detail=True), Table(columns, rows), *_few(few.of_points(points))],
    )


def _calibration(show: Results) -> Section:
    test = show.results["test"]
    kinds = [("as it is", "a", "calibration")]
    rows: list[tuple[Text, ...]] = [("as it is", *(show.ranged(("test", "calibration"), key) for key in _ERRORS))]
    notes: list[Text] = [
        "A probability of 0.8 should be right in 8 of 10 pictures. ECE: the mean distance from that, over 15 bins of "
        "the highest probability. Brier score: the squared distance to the truth, 0 to 2. Lower is better for both. "
        "Resampled pictures come twice, which an ECE takes for misjudged: a small one can be below its interval."
    ]
    if "recalibrated" in test:
        kinds.append(("after the temperature", "b", "recalibrated"))
        name = show.text("after dividing the logits by {test/recalibrated/temperature}")
        rows.append((name, *(show("test", "recalibrated", key) for key in _ERRORS)))
        notes.append("The temperature was found on the validation part; 'skin-edge convert' puts one into the file.")
    if show.results["frozen"].get("temperature_in_the_file") is not None:
        notes.append(show.text("The file divides its logits by {frozen/temperature_in_the_file} already."))
    drawn = charts.reliability([(name, kind, test[key]["bins"]) for name, kind, key in kinds], height=300)
    blocks = [Notes(notes), Charts([drawn]), Table(("", "ECE", "Brier score"), rows)]
    return Section("calibration", "Calibration", blocks, detail=True)


def _risk_coverage(show: Results) -> Section:
    curve = show.results["test"]["risk_coverage"]["curve"]
    line = charts.Line("wrong answers", "a", [(row["coverage"], row["risk"]) for row in curve])
    rows = [
        show.cells(("test", "risk_coverage", "curve", i), "{coverage:.0%}", "{n:,}", "{risk}", "{least_confidence}")
        for i, row in enumerate(curve)
        if row["coverage"] in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
    ]
    note = show.text(
        "Where only the pictures that the model is surest of are answered, fewer answers are wrong. Area under the "
        "curve (AURC): {test/risk_coverage/aurc:.4f}; lower is better."
    )
    drawn = charts.lines("Risk and coverage", "share answered", "share wrong", [line])
    table = Table(("answered", "images", "share wrong", "least confidence answered"), rows)
    return Section("refusal", "Refusing the uncertain", [Notes([note]), Charts([drawn]), table], detail=True)


def _subgroups(show: Results) -> Section:
    test = show.results["test"]
    note = (
        "Groups of under 20 images are too few for a figure. Where intervals overlap, no difference has been shown. "
        "Balanced accuracy is over the classes that a group has, so groups with other classes cannot be compared by it."
    )
    if not test["subgroups"]:
        note = "The data says no age, sex or site of the body, so whether some are served worse is not known."
    units = [group_kinds.unit(test["groups"])] if group_kinds.known(test["groups"]) else []
    blocks: list[Block] = [Notes([note])]
    for attribute, groups in test["subgroups"].items():
        shown = {key: title for key, title in _SUBGROUPS.items() if any(key in row for row in groups)}
        counts = {"n_melanoma": "melanomas", "n_malignant": "malignant"}
        counts = {key: title for key, title in counts.items() if any(key in row for row in groups)}
        rows: list[tuple[Text, ...]] = []
        for i, row in enumerate(groups):
            at = ("test", "subgroups", attribute, i)
            cells: list[Text] = [show(*at, key, form=",") for key in (() if row["too_few"] else counts)]
            cells += [show.ranged(at, key) for key in (() if row["too_few"] else shown)]
            if row["too_few"] and (counts or shown):
                cells = ["too few images", *[""] * (len(counts) + len(shown) - 1)]
            rows.append(
                (row["group"], show(*at, "n", form=","), *(show(*at, "n_groups", form=",") for _ in units), *cells)
            )
        name = attribute.replace("_", " ")
        columns = (name, "images", *units, *counts.values(), *shown.values())
        blocks.append(Table(columns, rows, f"By {name}"))
        if not shown:
            blocks.append(Notes(["Every group has too few images for a figure."]))
    return Section("subgroups", "Subgroups", blocks, detail=True)


def _mistakes(show: Results) -> Section:
    note = (
        "The wrong answers of the highest probability; in brackets what the truth was given. Pictures are upright, "
        "small and re-encoded."
    )
    blocks: list[Block] = [Notes([note])]
    for name, title in (("melanomas_missed", "Melanomas missed"), ("others", "Other mistakes")):
        cases = show.results["mistakes"][name]
        if name == "melanomas_missed" and show.results["melanoma"] is None:
            continue
        found = [_mistake(show, case, ("mistakes", name, "shown", i)) for i, case in enumerate(cases["shown"])]
        first = f", the first {len(found)}" if cases["n"] > len(found) else ""
        blocks.append(Pictures(found, (f"{title}: ", show("mistakes", name, "n", form=","), first)))
    return Section("mistakes", "The worst mistakes", blocks, detail=True)


def _mistake(show: Results, case: Mapping[str, Any], at: Sequence[str | int]) -> Picture:
    said = Span((f"said {case['predicted']} ", show(*at, "confidence")), "bad")
    lines = [(f"truth {case['truth']} (", show(*at, "p_truth"), ")"), said]
    alternative = f"{case['image_id']}: {case['truth']} called {case['predicted']}"
    return Picture(str(case["path"]), str(case["image_id"]), lines, alternative)


def _terms(results: Mapping[str, Any]) -> Section:
    notes = [
        DISCLAIMER,
        f"License of the data: {results['data']['license']}.",
        "The pictures above are of people: pass this page on only as the license of the data allows.",
        "Figures from one data set are not clinical evidence, and say nothing about other cameras, other skin, or "
        "anything outside its classes: the model assigns one of them nevertheless.",
    ]
    return Section("terms", "Terms and limits", [Notes(notes)], detail=True)
