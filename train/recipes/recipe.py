"""What a recipe is: a training system of the field as data. The recipes themselves are in published.py.

A recipe opens with what it is, where it comes from, its expected result and its expected hours. Flags of
`skin-edge train` override single fields; what was resolved is written to RUN/config.yaml.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from operator import attrgetter
from typing import Any

from ...benchmarks.inputs.documents import parse_yaml
from ...edge_runtime.errors import UnknownNameError, UsageError
from ...edge_runtime.preprocess import DECODINGS, EARLIER, FULL, InputSpec
from ..data import patients
from ..pipeline.augment import Augmentation
from ..pipeline.sampling import check_balance
from . import kinds
from .schedules import SCHEDULES
from .search_space import Space

NO_AUGMENTATION = Augmentation()

LOSSES = ("cross-entropy", "focal", "logit-adjusted")
"""See `train/loop/losses.py`, which has a function for each."""

BATCH_NORMS = ("trained-layers", "frozen", "all")
"""Whose BatchNormalization adapts: that of the layers that are trained, none of the backbone's, or every one."""

POOLINGS = ("average", "max", "flatten")
"""From the backbone's features to one vector: the mean or the largest over all positions, or all of them in a row."""

KEEPS = ("best", "last")
"""Which epoch is kept."""

FIGURES = ("balanced_accuracy", "accuracy", "macro_auc")
"""Of the validation part, by which epochs and trials are compared."""

NO_SETTINGS = ("name", "summary", "source", "expected", "hours", "qat", "task", "clean", "search")
"""Fields that say what a recipe is, or that flags of their own override."""

METADATA_ONLY = "metadata-only"
"""The backbone that sees nothing: the network is told the metadata alone."""

MOST_PIXELS = 1024
"""Of a side of a picture."""

MOST_HIDDEN, MOST_UNITS = 16, 65_536
"""Hidden layers of the head, and units of each."""

_TUPLES = ("image_size", "fractions", "hidden", "clean", "metadata")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training does, but the data and the seed.

    Attributes:
        expected: The result, by its source.
        hours: That 30 epochs of 6,500 pictures take on two CPU cores, from the time of a training step.
        qat: Whether quantization-aware training knows the network; else convert with --ptq.
        task: Of tasks.TASKS, where --task says nothing.
        clean: Rules that leave rows out.
        backbone: Of backbones.BACKBONES or networks.NETWORKS.
        width: The backbone's width multiplier (alpha).
        image_size: (height, width) in pixels.
        decoding: Of preprocess.DECODINGS, whether large JPEGs are decoded in full.
        unfreeze: How many of the backbone's last layers are trained; None trains all.
        batch_norm: Of BATCH_NORMS; one that does not adapt runs in inference mode, with the statistics it came with.
        batch_norm_momentum: None keeps the backbone's own (0.99).
        batch_norm_batches: So many batches of an epoch are shown again before each validation, and BatchNormalization
            gets their mean statistics, with the weights that are validated; 0 keeps the moving averages. For deep
            networks, whose moving averages lag behind their weights.
        l2: Penalty on the head's kernel.
        balance: Which pictures of a class an epoch shows or how much they count ("none", "class-weight", "oversample",
            "undersample" or a number per class), in training only.
        balance_validation: As many validation pictures of each class, where epochs are compared.
        loss: Of LOSSES.
        logit_adjustment: Tau of the logit-adjusted loss: 1 trains for equally frequent classes, 0 for those of the
            training part.
        label_smoothing, mixup: 0 is without.
        distillation: Where there are teachers (`distillation.py`), their share in a target.
        teacher_views: 1, or 4 to ask them for a picture's mirror images too.
        head_epochs: So many first epochs train the head alone.
        weight_decay: Adam's, decoupled (AdamW).
        ema: Decay per step of the running average of the weights that is validated and kept; 0 is without.
        schedule: Of SCHEDULES.
        warmup_epochs: Of a linear rise.
        plateau_patience, early_stopping: Epochs.
        keep: "best" keeps the best epoch by the validation figure `best_by` (of FIGURES, higher is better), and stops
            early when it has not risen for a while; "last" keeps the last one, for a schedule that ends, and does not
            stop early.
        split: "lesion" or "random".
        fractions: Of images in training, validation and test.
        metadata: Fields of `edge_runtime/patient.py` that the network is told beside the picture; none without.
        metadata_units: Of the dense layer between them and the picture's features; with 0 they join the features as
            they are.
        metadata_dropout: See `patients.Patients.dropped`.
        search: What `skin-edge tune` may vary. It decides nothing about one training, so it is in no run's config.yaml.

    Raises:
        UnknownNameError: For a name that is not one of the above.
        UsageError: For a number out of its range.
    """

    name: str
    summary: str
    source: str
    expected: str
    hours: float = 0.0
    qat: bool = True
    task: str = "diagnosis"
    clean: tuple[str, ...] = ()

    backbone: str = "mobilenet"
    width: float = 1.0
    image_size: tuple[int, int] = (224, 224)
    decoding: str = FULL
    weights: str = "imagenet"
    unfreeze: int | None = 50
    batch_norm: str = "trained-layers"
    batch_norm_momentum: float | None = None
    batch_norm_batches: int = 0
    pooling: str = "average"
    head_batch_norm: bool = True
    hidden: tuple[int, ...] = ()
    dropout: float = 0.5
    l2: float = 1e-3

    augmentation: Augmentation = NO_AUGMENTATION
    mixup: float = 0.0
    balance: str = "none"
    balance_validation: bool = False

    loss: str = "cross-entropy"
    logit_adjustment: float = 1.0
    label_smoothing: float = 0.0
    distillation: float = 0.7
    teacher_views: int = 1
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
    keep: str = "best"
    best_by: str = "balanced_accuracy"

    split: str = "lesion"
    fractions: tuple[float, float, float] = (0.65, 0.15, 0.20)

    metadata: tuple[str, ...] = ()
    metadata_units: int = 32
    metadata_dropout: float = 0.1
    search: Space = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_balance(self.balance)
        patients.checked(self.metadata)
        if self.backbone == METADATA_ONLY and not self.metadata:
            raise UsageError(
                f"backbone {METADATA_ONLY} without metadata has nothing to learn from: --metadata age,sex,site"
            )
        for name, known in (
            ("loss", LOSSES),
            ("schedule", SCHEDULES),
            ("batch_norm", BATCH_NORMS),
            ("pooling", POOLINGS),
            ("keep", KEEPS),
            ("best_by", FIGURES),
            ("decoding", DECODINGS),
        ):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)
        for name, low, high in (
            ("width", 0, 8),
            ("epochs", 1, 1_000_000),
            ("batch_size", 1, 65_536),
            ("learning_rate", 0, 1e38),
            ("plateau_patience", 0, 1_000_000),
            ("plateau_factor", 0, 1),
            ("early_stopping", 0, 1_000_000),
            ("dropout", 0, 0.99),
            ("label_smoothing", 0, 0.99),
            ("ema", 0, 0.99999),
            ("distillation", 0, 1),
            ("mixup", 0, 100),
            ("logit_adjustment", 0, 5),
            ("l2", 0, 100),
            ("weight_decay", 0, 1),
            ("metadata_units", 0, 10_000),
            ("metadata_dropout", 0, 0.9),
            ("head_epochs", 0, 10_000),
            ("batch_norm_batches", 0, 1_000_000),
            ("warmup_epochs", 0, 10_000),
            ("augmentation.resolution", 0, 1),
            ("augmentation.compression", 0, 1),
            ("augmentation.noise", 0, 255),
            ("augmentation.aspect", 0, 3),
            ("augmentation.light", 0, 8),
            ("augmentation.temperature", 0, 500),
            ("augmentation.frame", 0, 0.9),
            ("augmentation.blur", 0, 0.5),
            ("augmentation.hairs", 0, 200),
        ):
            value = attrgetter(name)(self)
            if not low <= value <= high:
                raise UsageError(f"{name} {value} is outside {low}..{high}")

        for side in self.image_size:
            if not 8 <= side <= MOST_PIXELS:
                raise UsageError(f"image_size {side} is outside 8..{MOST_PIXELS}")
        if len(self.hidden) > MOST_HIDDEN or not all(1 <= units <= MOST_UNITS for units in self.hidden):
            raise UsageError(f"hidden {list(self.hidden)}: at most {MOST_HIDDEN} layers of 1..{MOST_UNITS} units")
        if not all(0 < fraction < 1 for fraction in self.fractions):
            raise UsageError(f"fractions {self.fractions} are not between 0 and 1")
        if self.teacher_views not in (1, 4):
            raise UsageError(f"teacher_views {self.teacher_views} is neither 1 nor 4")

    @property
    def input_spec(self) -> InputSpec:
        """How the network's pictures are prepared."""
        return InputSpec(*self.image_size, decoding=self.decoding)

    def to_dict(self) -> dict[str, Any]:
        """YAML- and JSON-ready: all that decides a training."""
        written = asdict(self)
        del written["search"]
        for name in _TUPLES:
            written[name] = list(written[name])
        return written

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Recipe:
        """What `to_dict` wrote, perhaps by an older version.

        Raises ValueError for a field that is missing, not known or of another type; else what the constructor raises.
        """
        known = {"decoding": EARLIER, **written}  # a run of before there was a choice goes on as it began
        for name in ("name", "summary", "source", "expected", "augmentation"):
            if name not in known:
                raise ValueError(f"recipe.{name} is missing")
        if not isinstance(known["augmentation"], Mapping):
            raise ValueError("recipe.augmentation must be named values")
        kinds.check_fields(known["augmentation"], Augmentation, "recipe.augmentation.")
        known["augmentation"] = Augmentation(**known["augmentation"])
        kinds.check_fields(known, cls, "recipe.")
        for name in _TUPLES:
            known[name] = tuple(known.get(name, ()))
        return cls(**known)

    def with_settings(self, settings: Mapping[str, Any]) -> Recipe:
        """The recipe with some fields replaced: "dropout" -> "0.3", "augmentation.rotation" -> "180".

        A value that is not text is taken as the text that stands for it: 0.3, (224, 224), None, True.

        Raises UnknownNameError for a field, UsageError where the text is not a value of the field's kind.
        """
        own: dict[str, Any] = {}
        augmentation: dict[str, Any] = {}
        for name, value in settings.items():
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            inner = name.removeprefix("augmentation.")
            of, target = (self, own) if inner == name else (self.augmentation, augmentation)
            names = [f.name for f in fields(of) if f.name not in NO_SETTINGS]
            if inner not in names or name == "augmentation":
                known = [*(n for n in names if n != "augmentation"), "augmentation.rotation ..."]
                inner_names = (f"augmentation.{f.name}" for f in fields(self.augmentation))
                among = [*names, *inner_names] if of is self else [f"augmentation.{n}" for n in names]
                raise UnknownNameError("setting", name, known if of is self else names, among)
            target[inner] = _value(name, text, getattr(of, inner))
        return replace(self, **own, augmentation=replace(self.augmentation, **augmentation))


def _value(name: str, text: str, present: Any) -> Any:
    """`text` as a value of the kind of `present`."""
    if name == "metadata":
        return patients.names_of(text.replace('"', ""))
    try:
        value = parse_yaml(text)
    except ValueError:
        value = None
    if name == "hidden":
        units = list(value) if isinstance(value, list) else [None]
        fits = all(type(number) is int and number > 0 for number in units)
        kind, value = "numbers of units such as [256, 128]", tuple(units)
    elif isinstance(present, tuple):
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
