"""The recipes: each training system of the field as data, in one readable place.

A recipe opens with what it is, where it comes from, its expected hours and its expected result. Flags of
`skin-edge train` override single fields; what was resolved is written to RUN/config.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..edge_runtime.errors import UnknownNameError
from .augment import Augmentation

NO_AUGMENTATION = Augmentation()


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training does, but the data and the seed.

    expected: hours and result, and on which data and machine they were seen.
    image_size: (height, width) in pixels. width: the backbone's width multiplier (alpha).
    unfreeze: how many of the backbone's last layers are trained; None trains all. The frozen layers'
    BatchNormalization runs in inference mode. batch_norm_momentum: None keeps the backbone's own (0.99).
    l2: weight decay on the head's kernel. plateau_patience, early_stopping: epochs.
    best_by: the validation figure that keeps the best epoch and stops early (higher is better).
    split: "lesion" or "random". fractions: of images in training, validation and test.
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
    batch_norm_momentum: float | None = None
    head_batch_norm: bool = True
    dropout: float = 0.5
    l2: float = 1e-3

    augmentation: Augmentation = NO_AUGMENTATION

    epochs: int = 500
    batch_size: int = 32
    learning_rate: float = 1e-3
    plateau_patience: int = 5
    plateau_factor: float = 0.5
    early_stopping: int = 15
    best_by: str = "balanced_accuracy"

    split: str = "lesion"
    fractions: tuple[float, float, float] = (0.65, 0.15, 0.20)

    def to_dict(self) -> dict[str, Any]:
        """YAML- and JSON-ready."""
        fields = asdict(self)
        fields["image_size"] = list(self.image_size)
        fields["fractions"] = list(self.fractions)
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recipe:
        known = dict(fields)
        known["augmentation"] = Augmentation(**known["augmentation"])
        known["image_size"] = tuple(known["image_size"])
        known["fractions"] = tuple(known["fractions"])
        return cls(**known)


MOBILENET_ENHANCED = Recipe(
    name="mobilenet-enhanced",
    summary="MobileNet 1.0, last 50 layers, BatchNormalization and dropout 0.5 in the head, heavy augmentation",
    source="published HAM10000 comparison of seven networks, its best (83% test accuracy, random split, 100x125 px)",
    expected="see docs/results.md",
    augmentation=Augmentation(rotation=30, zoom=0.3, shift=0.12, flip_horizontal=True, flip_vertical=True),
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
