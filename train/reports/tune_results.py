"""What a search leaves behind: tune.json, trials.csv, tune.html, and the lines on the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...benchmarks.report import charts, terminal
from ...benchmarks.report.document import Block, Charts, Code, Document, Notes, Section, Table, number
from ...benchmarks.report.page import page
from ...edge_runtime import console, csv_files, files
from ...edge_runtime.wording import counted

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}


def write(
    out: Path,
    study: Any,
    about: Mapping[str, Any],
    train_line: Callable[[Mapping[str, str]], str],
    *,
    importances: bool,
) -> dict[str, Any]:
    """Writes the three files into `out`; returns what tune.json holds.

    Args:
        out: The folder of the search.
        study: Optuna's.
        about: What the search was told, as it is kept with the study.
        train_line: Settings -> the line that trains them.
        importances: Half a second that is not spent after every trial.
    """
    result = _summed_up(study, about, train_line)
    if importances:
        result["importances"] = _importances(study, list(about["search"]))
    as_json = json.dumps(result, indent=2) + "\n"
    files.write_all(
        {out / "trials.csv": _csv(result), out / "tune.html": page(document(result)), out / "tune.json": as_json}
    )
    return result


def text(result: Mapping[str, Any], out: Path) -> console.Page:
    """For the terminal; lines of at most 80 columns, but for the command."""
    return terminal.text(replace(document(result), after=[f"written to {out}: tune.html, tune.json, trials.csv"]))


def _summed_up(study: Any, about: Mapping[str, Any], train_line: Callable[[Mapping[str, str]], str]) -> dict[str, Any]:
    last = about["recipe"].get("keep") == "last"
    rows = [_row(trial, last) for trial in study.get_trials(deepcopy=False) if trial.state.name in _STATES]
    complete = [row for row in rows if row["state"] == "complete"]
    best = max(complete, key=lambda row: row["value"], default=None)
    defaults = next((row for row in complete if row["defaults"]), None)
    gain = None if best is None or defaults is None else round(best["value"] - defaults["value"], 6)
    return {
        "study": study.study_name,
        "figure": about["recipe"]["best_by"],
        **about,
        "best": best,
        "defaults": defaults,
        "gain": gain,
        "train": None if best is None else train_line(best["settings"]),
        "importances": {},
        "trials": rows,
    }


def _row(trial: Any, last: bool) -> dict[str, Any]:
    """One trial. value: the kept epoch's validation figure, of a pruned trial too (null where it had no epoch).

    last: the recipe keeps the last epoch, not the best.
    """
    curve = {int(epoch): float(value) for epoch, value in sorted(trial.intermediate_values.items())}
    best = max(curve, key=None if last else lambda epoch: curve[epoch], default=None)
    kept = trial.user_attrs
    return {
        "trial": trial.number,
        "state": _STATES[trial.state.name],
        "defaults": "defaults" in kept,
        "value": None if best is None else curve[best],
        "best_epoch": best,
        "epochs": max(curve, default=0),
        "seconds": kept.get("seconds"),
        "machine": kept.get("machine"),
        "settings": kept.get("settings", {}),
        "error": kept.get("error", "cut off" if trial.state.name == "FAIL" else None),
        "goes_on": kept.get("goes_on"),
        "curve": list(curve.values()),
    }


def _importances(study: Any, names: list[str]) -> dict[str, float]:
    """Each setting's share of what decides the figure, 0..1 (fANOVA, Hutter et al., ICML 2014).

    Empty where Optuna cannot tell yet: fewer than four complete trials that drew every setting, or none that differ.
    """
    import optuna

    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    values = [trial.value for trial in complete if all(name in trial.params for name in names)]
    if len(values) < 4 or len(set(values)) < 2:
        return {}
    forest = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=forest, params=names)
    return {name: round(float(value), 4) for name, value in found.items()}


def _csv(result: Mapping[str, Any]) -> str:
    names = list(result["search"])
    plain = ("trial", "state", "value", "best_epoch", "epochs", "seconds", "machine", "error")
    return csv_files.text(
        [*plain, *names],
        ([*(row[key] for key in plain), *(_setting(row, name, result) for name in names)] for row in result["trials"]),
    )


def _setting(row: Mapping[str, Any], name: str, result: Mapping[str, Any]) -> str:
    """As it was trained; the recipe's own where the trial has no other."""
    if name in row["settings"]:
        return row["settings"][name]
    if not row["defaults"]:
        return ""
    inner = name.removeprefix("augmentation.")
    recipe = result["recipe"]
    value = recipe[inner] if inner == name else recipe["augmentation"][inner]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def document(result: Mapping[str, Any]) -> Document:
    images = result["images"]
    subtitle = (
        f"skin-edge tune of recipe {result['recipe']['name']}, seed {result['seed']}; trained on {images['train']} "
        f"images, compared on the {images['val']} of the validation part; no trial saw the {images['test']} of the "
        "test part"
    )
    best = [_best(result), _history(result)]
    none = [Section("best", "Best settings", [Notes(["No trial has finished yet."])])]
    sections = [*(best if result["best"] else none), _trials(result)]
    return Document(f"Search: {result['study']}", subtitle, sections, "skin-edge tune")


_TEST_SAYS = "the test part says what it is worth"


def _best(result: Mapping[str, Any]) -> Section:
    best, defaults = result["best"], result["defaults"]
    said = f"Trial {best['trial']} reached {best['value']:.3f} {_spoken(result['figure'])} on the validation part"
    if defaults:
        said += f"; the recipe's own settings reached {defaults['value']:.3f}, so the gain is {result['gain']:+.3f}"
    if not best["settings"]:
        said += "; nothing beat the recipe's own settings"
    importances = result["importances"]
    rows = [
        (
            name,
            _range(allowed),
            _setting({"settings": {}, "defaults": True}, name, result),
            _setting(best, name, result),
            number(importances.get(name), ".2f"),
        )
        for name, allowed in result["search"].items()
    ]
    blocks: list[Block] = [
        Notes([f"{said}. The best of several is picked there, so its value is too good; {_TEST_SAYS}."]),
        Table(("setting", "searched", "recipe", "best", "importance"), rows),
        Notes(["To train it, and see what the test part says:"]),
        Code([result["train"]]),
    ]
    if importances:
        names = [name.removeprefix("augmentation.") for name in importances]
        share = [("share", "a", list(importances.values()))]
        blocks.append(Charts([charts.bars("Importance of each setting", names, share)]))
    return Section("best", "Best settings", blocks)


def _history(result: Mapping[str, Any]) -> Section:
    figure = _spoken(result["figure"])
    ended = {
        state: [(row["trial"], row["value"]) for row in result["trials"] if row["state"] == state and row["curve"]]
        for state in ("complete", "pruned")
    }
    steps: list[tuple[float, float]] = []
    for trial, value in ended["complete"]:
        steps.append((trial, max(value, steps[-1][1] if steps else value)))
    if steps:  # to the last trial, though that one was stopped
        steps.append((max(row["trial"] for row in result["trials"]), steps[-1][1]))
    data = [charts.Line("best so far", "a", steps), charts.Line("complete", "a", ended["complete"], joined=False)]
    if ended["pruned"]:
        data.append(charts.Line("pruned", "b", ended["pruned"], joined=False))
    drawn = [charts.lines("Each trial", "trial", figure, data, from_zero=False)]
    best, defaults = result["best"], result["defaults"]
    curves = [charts.Line(f"best (trial {best['trial']})", "a", charts.numbered(best["curve"]))]
    if defaults and defaults["trial"] != best["trial"]:
        curves.append(charts.Line(f"recipe (trial {defaults['trial']})", "b", charts.numbered(defaults["curve"])))
    drawn.append(charts.lines("Validation after each epoch", "epoch", figure, curves, from_zero=False))
    return Section("history", "History", [Charts(drawn)])


def _trials(result: Mapping[str, Any]) -> Section:
    names = list(result["search"])
    shown = sorted(result["trials"], key=lambda row: (row["state"] != "complete", -(row["value"] or 0)))
    rows = [
        (
            str(row["trial"]) + (" (recipe)" if row["defaults"] else ""),
            number(row["value"]),
            row["error"] or row["state"],
            str(row["epochs"]),
            number(row["seconds"], ".0f"),
            *(_setting(row, name, result) or "-" for name in names),
        )
        for row in shown
    ]
    columns = ("trial", _spoken(result["figure"]), "state", "epochs", "s", *names)
    counts = ", ".join(f"{n} {state}" for state, n in _counts(result).items())
    notes = Notes([f"{counted(len(result['trials']), 'trial')}: {counts}; the best first."])
    return Section("trials", "Trials", [notes, Table(columns, rows, detail=True)])


def _counts(result: Mapping[str, Any]) -> dict[str, int]:
    states = [row["state"] for row in result["trials"]]
    return {state: states.count(state) for state in _STATES.values() if state in states}


def _range(allowed: Mapping[str, Any]) -> str:
    if "one_of" in allowed:
        return ", ".join(str(value) for value in allowed["one_of"])
    (low, high), logarithmic = next(iter(allowed.values())), "log" in allowed
    return f"{low:g} .. {high:g}{', logarithmic' if logarithmic else ''}"


def _spoken(figure: str) -> str:
    return figure.replace("_", " ").replace("auc", "AUC")
