"""Named rules that leave rows out of a data set. Nothing is left out that a rule was not asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from ...edge_runtime.errors import DataError, UnknownNameError, UsageError

Rule = Callable[[pd.DataFrame], pd.Series]

_UNKNOWN = ("", "unknown")

NONE = "none"
"""The choice that leaves nothing out, also where a recipe would."""

# name -> (columns it needs, the rows that it drops)
RULES: dict[str, tuple[tuple[str, ...], Rule]] = {
    "age-zero": (("age",), lambda frame: frame["age"] == 0),
    "age-blank": (("age",), lambda frame: frame["age"].isna()),
    "unknown-sex": (("sex",), lambda frame: frame["sex"].isin(_UNKNOWN)),
    "unknown-site": (("site",), lambda frame: frame["site"].isin(_UNKNOWN)),
    # A published HAM10000 baseline: rows of age 0 and rows with "unknown" in any column go; a blank age stays.
    "published": (
        ("age", "sex", "site"),
        lambda frame: (frame["age"] == 0) | (frame["sex"] == "unknown") | (frame["site"] == "unknown"),
    ),
    NONE: ((), lambda frame: pd.Series(False, frame.index)),
}


def check(rules: Sequence[str]) -> None:
    """Raises UnknownNameError, which lists the known rules; UsageError where NONE is beside another."""
    for name in rules:
        if name not in RULES:
            raise UnknownNameError("rule for --clean", name, RULES)
    if NONE in rules and set(rules) != {NONE}:
        raise UsageError(f"--clean {NONE} leaves nothing out: give it alone, or leave it out")


def clean(frame: pd.DataFrame, rules: Sequence[str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows that no rule drops, and rule -> how many rows it took from what the rules before it had left.

    Raises what `check` raises; DataError where the data has not the column of a rule.
    """
    check(rules)
    dropped: dict[str, int] = {}
    for name in dict.fromkeys(rules):
        columns, rule = RULES[name]
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise DataError(
                f"--clean {name} needs {', '.join(missing)}, which this data does not have; --clean {NONE} leaves "
                "nothing out"
            )
        rows = rule(frame)
        dropped[name] = int(rows.sum())
        frame = frame.loc[~rows].reset_index(drop=True)
    return frame, dropped


def dropped_by(frame: pd.DataFrame, rules: Sequence[str]) -> dict[str, str]:
    """image_id -> the rule that takes it, for every row that `clean` drops."""
    taken: dict[str, str] = {}
    for rule in rules:
        kept, _ = clean(frame, [rule])
        taken |= dict.fromkeys(frame.loc[~frame["image_id"].isin(kept["image_id"]), "image_id"], rule)
        frame = kept
    return taken
