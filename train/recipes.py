"""The recipes: each training system of the field as data, in one readable place.

A recipe opens with what it is, where it comes from, its expected hours and its expected result. Flags of
`skin-edge train` override single fields; what was resolved is written to RUN/config.yaml.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import yaml

from ..edge_runtime.errors import UnknownNameError, UsageError
from . import patients
from .augment import Augmentation
from .sampling import check_balance
from .schedules import SCHEDULES
from .search_space import Between, Log, OneOf, Space

NO_AUGMENTATION = Augmentation()

LOSSES = ("cross-entropy", "focal", "logit-adjusted")
"""See losses.py."""

BATCH_NORMS = ("trained-layers", "frozen", "all")
"""Whose BatchNormalization adapts: that of the layers that are trained, none of the backbone's, or every one."""

NO_SETTINGS = ("name", "summary", "source", "expected", "search")
"""Fields that say what a recipe is, not what a training does."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training does, but the data and the seed.

    expected: hours and result, and on which data and machine they were seen.
    image_size: (height, width) in pixels. width: the backbone's width multiplier (alpha).
    unfreeze: how many of the backbone's last layers are trained; None trains all. batch_norm: of BATCH_NORMS; one that
    does not adapt runs in inference mode, with the statistics it came with. batch_norm_momentum: None keeps the
    backbone's own (0.99). l2: penalty on the head's kernel. head_epochs: so many first epochs train the head alone.
    loss: of LOSSES. label_smoothing, mixup: 0 is without. balance: which pictures of a class an epoch shows or how much
    they count ("none", "class-weight", "oversample", "undersample" or a number per class), in training only;
    balance_validation: as many validation pictures of each class, where epochs are compared.
    schedule: of SCHEDULES. warmup_epochs: of a linear rise. plateau_patience, early_stopping: epochs.
    weight_decay: Adam's, decoupled (AdamW). ema: decay per step of the running average of the weights that is
    validated and kept; 0 is without.
    best_by: the validation figure that keeps the best epoch and stops early (higher is better).

    Raises UnknownNameError for a name that is none of the above, UsageError for a number out of its range.
    split: "lesion" or "random". fractions: of images in training, validation and test.
    metadata: fields of `edge_runtime/patient.py` that the network is told beside the picture; none without.
    metadata_dropout: see `patients.Patients.dropped`.
    search: what `skin-edge tune` may vary. It decides nothing about one training, so it is in no run's config.yaml.
    """

    name: str
    summary: str
    source: str
    expected: str

    backbone: str = "mobilenet"
    width: float = 1.0
    image_size: tuple[int, int] = (224, 224)
    weights: str = "imagenet"
    unfreeze: int | None = 50
    batch_norm: str = "trained-layers"
    batch_norm_momentum: float | None = None
    head_batch_norm: bool = True
    dropout: float = 0.5
    l2: float = 1e-3

    augmentation: Augmentation = NO_AUGMENTATION
    mixup: float = 0.0
    balance: str = "none"
    balance_validation: bool = False

    loss: str = "cross-entropy"
    label_smoothing: float = 0.0
    epochs: int = 500
    head_epochs: int = 0
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    ema: float = 0.0
    schedule: str = "plateau"
    warmup_epochs: int = 0
    plateau_patience: int = 5
    plateau_factor: float = 0.5
    early_stopping: int = 15
    best_by: str = "balanced_accuracy"

    split: str = "lesion"
    fractions: tuple[float, float, float] = (0.65, 0.15, 0.20)

    metadata: tuple[str, ...] = ()
    metadata_dropout: float = 0.1
    search: Space = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_balance(self.balance)
        patients.checked(self.metadata)
        for name, known in (("loss", LOSSES), ("schedule", SCHEDULES), ("batch_norm", BATCH_NORMS)):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)
        for name, low, high in (
            ("dropout", 0, 0.99),
            ("label_smoothing", 0, 0.99),
            ("ema", 0, 0.99999),
            ("mixup", 0, 100),
            ("l2", 0, 100),
            ("weight_decay", 0, 1),
            ("metadata_dropout", 0, 0.9),
            ("head_epochs", 0, 10_000),
            ("warmup_epochs", 0, 10_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} {getattr(self, name)} is outside {low}..{high}")

    def to_dict(self) -> dict[str, Any]:
        """YAML- and JSON-ready: all that decides a training."""
        written = asdict(self)
        del written["search"]
        written["image_size"] = list(self.image_size)
        written["fractions"] = list(self.fractions)
        written["metadata"] = list(self.metadata)
        return written

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Recipe:
        known = dict(written)
        known["augmentation"] = Augmentation(**known["augmentation"])
        known["image_size"] = tuple(known["image_size"])
        known["fractions"] = tuple(known["fractions"])
        known["metadata"] = tuple(known.get("metadata", ()))
        return cls(**known)

    def with_settings(self, settings: Mapping[str, str]) -> Recipe:
        """The recipe with some fields replaced: "dropout" -> "0.3", "augmentation.rotation" -> "180".

        Raises UnknownNameError for a field, UsageError where the text is no value of the field's kind.
        """
        own: dict[str, Any] = {}
        augmentation: dict[str, Any] = {}
        for name, text in settings.items():
            inner = name.removeprefix("augmentation.")
            of, target = (self, own) if inner == name else (self.augmentation, augmentation)
            names = [f.name for f in fields(of) if f.name not in NO_SETTINGS]
            if inner not in names or name == "augmentation":
                known = [*(n for n in names if n != "augmentation"), "augmentation.rotation ..."]
                raise UnknownNameError("setting", name, known if of is self else names)
            target[inner] = _value(name, text, getattr(of, inner))
        return replace(self, **own, augmentation=replace(self.augmentation, **augmentation))


def _value(name: str, text: str, present: Any) -> Any:
    """`text` as a value of the kind of `present`."""
    if name == "metadata":
        return patients.names_of(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if isinstance(present, tuple):
        numbers = list(value) if isinstance(value, list) else []
        fits = len(numbers) == len(present) and all(type(number) in (int, float) for number in numbers)
        kind, value = f"{len(present)} numbers such as {list(present)}", tuple(numbers)
    elif isinstance(present, bool):
        fits, kind = isinstance(value, bool), "true or false"
    elif isinstance(present, str):
        fits, kind, value = True, "a name", text
    elif name in ("unfreeze", "batch_norm_momentum") and value is None:
        fits, kind = True, "a number or null"
    elif isinstance(present, int) or name == "unfreeze":
        fits, kind = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    else:
        # YAML 1.1 takes 1e-4 for a text.
        with contextlib.suppress(ValueError):
            value = float(text)
        fits, kind = isinstance(value, float), "a number"
    if not fits:
        raise UsageError(f"--set {name}={text}: {name} is {kind}")
    return value


MOBILENET_ENHANCED = Recipe(
    name="mobilenet-enhanced",
    summary="MobileNet 1.0, last 50 layers, BatchNormalization and dropout 0.5 in the head, heavy augmentation",
    source="published HAM10000 comparison of seven networks, its best (83% test accuracy, random split, 100x125 px)",
    expected="see docs/results.md",
    augmentation=Augmentation(rotation=30, zoom=0.3, shift=0.12, flip_horizontal=True, flip_vertical=True),
    search={
        "learning_rate": Log(1e-4, 1e-2),
        "dropout": Between(0.1, 0.6),
        "l2": Log(1e-5, 1e-2),
        "unfreeze": Between(10, 86),
        "batch_size": OneOf(16, 32, 64),
        "label_smoothing": Between(0.0, 0.2),
        "schedule": OneOf("plateau", "cosine"),
        "augmentation.zoom": Between(0.0, 0.4),
    },
)

MOBILENET_ENHANCED_PUBLISHED = replace(
    MOBILENET_ENHANCED,
    name="mobilenet-enhanced-published",
    summary="mobilenet-enhanced as published: 100x125 px and a random split, which leaks lesions into the test part",
    image_size=(100, 125),
    split="random",
    fractions=(0.675, 0.075, 0.25),
)

QUICKSTART = Recipe(
    name="quickstart",
    summary="a small MobileNet from scratch, for the synthetic images of skin-edge quickstart",
    source="this project",
    expected="a minute on 2 CPU cores; says nothing about real lesions",
    width=0.25,
    image_size=(64, 64),
    weights="none",
    unfreeze=None,
    batch_norm_momentum=0.9,
    dropout=0.2,
    augmentation=Augmentation(rotation=180, zoom=0.1, shift=0.05, flip_horizontal=True, flip_vertical=True),
    epochs=30,
    batch_size=16,
    learning_rate=2e-3,
)

RECIPES = {recipe.name: recipe for recipe in (MOBILENET_ENHANCED, MOBILENET_ENHANCED_PUBLISHED, QUICKSTART)}

DEFAULT = MOBILENET_ENHANCED.name


def get(name: str) -> Recipe:
    """The recipe of that name. Raises UnknownNameError, which lists the known ones."""
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]
