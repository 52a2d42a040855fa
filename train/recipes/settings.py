"""What a training is told beside its recipe: one table.

`skin-edge train` takes its flags, their ranges and their defaults from it, config.yaml its keys, --config and --resume
what they restore, and --resume what has to be as it was. A setting is added here, in `request.TrainRequest` and in
`request.TrainSettings`; a test resumes with each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...benchmarks.inputs.classes import TASKS

LABEL = {"code": str, "name": str, "malignant": (bool, None)}
_EARLIER = {"run": str, "recipe": str, "sha256": str}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        name: In TrainRequest and TrainSettings.
        flag: On the command line.
        kind: Of its value in config.yaml, as `run_config.problem` knows kinds.
        default: Where neither the call nor --resume nor --config nor the recipe says anything.
        of_recipe: Whether the recipe's field of the same name comes before `default`.
        older: What a run was trained with that does not name the setting.
        restored: Whether --resume takes it from the run.
        match: Whether a resumed training must have it as it was.
        copied: Whether --config takes it over.
        form: How its values are said, written and compared, a name of `request.FORMS`.
        key: Where config.yaml has it, with a dot where it is within another.
        range: Lowest and highest.
        choices: Of a name.
        read: What config.yaml holds -> the setting.
    """

    name: str
    flag: str
    kind: Any
    default: Any = None
    of_recipe: bool = False
    older: Any = None
    restored: bool = True
    match: bool = True
    copied: bool = True
    form: str = "plain"
    key: str = ""
    range: tuple[int, int | None] | None = None
    choices: tuple[str, ...] = ()
    read: Callable[[Any], Any] = _plain

    @property
    def keys(self) -> list[str]:
        """The way to it in config.yaml."""
        return (self.key or self.name).split(".")

    def within(self, written: Mapping[str, Any]) -> bool:
        """Whether config.yaml's content holds it."""
        value: Any = written
        for key in self.keys:
            if not isinstance(value, Mapping) or key not in value:
                return False
            value = value[key]
        return True

    def of(self, written: Mapping[str, Any]) -> Any:
        """Its value by config.yaml's content, which holds it and has been checked."""
        value: Any = written
        for key in self.keys:
            value = value[key]
        return self.read(value)

    def problem(self, value: Any) -> str:
        """What is wrong with a value of the right kind, "" for nothing."""
        if self.choices and value is not None and value not in self.choices:
            return f"{self.keys[-1]} '{value}' is not one of {', '.join(self.choices)}"
        if self.range and value is not None:
            low, high = self.range
            if value < low or (high is not None and value > high):
                return f"{self.keys[-1]} is outside {low}..{high}" if high else f"{self.keys[-1]} must be {low} or more"
        return ""


def _names(value: Any) -> tuple[str, ...]:
    return tuple(value or ())


def _member(name: str) -> Callable[[Any], Any]:
    """Of what a run writes with more that it found: near_duplicates.on, or near_duplicates alone."""
    return lambda value: value.get(name) if isinstance(value, Mapping) else value


def _runs(value: Any) -> tuple[str, ...]:
    return tuple(one["run"] if isinstance(one, Mapping) else one for one in value or ())


TABLE = (
    Setting("split", "--split", str, of_recipe=True, form="split"),
    Setting("seed", "--seed", int, 42, range=(0, 2**32 - 1)),
    Setting("limit", "--limit", (int, None), range=(1, None)),
    Setting("task", "--task", str, of_recipe=True, older="diagnosis", choices=TASKS),
    Setting("xla", "--xla", bool, False, older=False),
    Setting("mixed_precision", "--mixed-precision", (bool, None), older=False),
    Setting("deterministic", "--deterministic", bool, True, older=True),
    Setting("layout", "--layout", (str, None), key="data.layout"),
    Setting("image_column", "--image-column", (str, None), key="csv_columns.image"),
    Setting("label_column", "--label-column", (str, None), key="csv_columns.label"),
    Setting("group_column", "--group-column", (str, None), key="csv_columns.group"),
    Setting("group_from", "--group-from", (str, None)),
    Setting("min_images", "--min-images", int, 0, older=0, range=(0, None)),
    Setting("intended_use", "--intended-use", (str, None)),
    Setting("drop_classes", "--drop-class", ([str], None), (), older=(), form="names", read=_names),
    Setting(
        "distribute",
        "--distribute",
        (str, {"kind": (str, None)}, None),
        choices=("mirrored", "multi-worker"),
        read=_member("kind"),
    ),
    Setting("labels", "--labels", ([LABEL], None), key="own_labels", form="labels"),
    Setting(
        "near_duplicates", "--near-duplicates", (bool, {"on": bool}, None), older=False, read=_member("on")
    ),
    Setting("clean", "--clean", ({"*": int}, [str], None), (), of_recipe=True, older=(), form="names", read=_names),
    Setting("teachers", "--teacher", ([(_EARLIER, str)], None), (), older=(), form="paths", read=_runs),
    Setting(
        "start", "--start", (_EARLIER, str, None), form="path", read=lambda value: next(iter(_runs([value])), None)
    ),
    Setting("images", "--images", (str, None), match=False, form="path"),
    Setting("also", "--also", ([str], None), (), older=(), form="folders", read=_names),
    Setting("skip_unreadable", "--skip-unreadable", bool, False, older=False, match=False),
    Setting("cache", "--cache", (str, None), match=False, form="cache"),
    Setting("tensorboard", "--tensorboard", (str, None), match=False, copied=False, form="path"),
)  # fmt: skip

BY_NAME = {setting.name: setting for setting in TABLE}
