"""Columns that say the label: never a feature of a model, whatever it gains in a validation."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from ...edge_runtime.errors import UsageError

# Name, or pattern, in lower case -> why. The names are those of the data sets and of `layouts.Dataset`.
LEAKING = {
    "label": "it is the label",
    "dx": "it is the label",
    "diagnosis": "it is the label",
    "diagnosis_*": "it is the label, or how it was found",
    "diagnostic": "it is the label",
    "iddx_*": "it is the diagnosis",
    "target": "it is the label",
    "malignant": "it is the label",
    "benign_malignant": "it is the label",
    "dx_type": "how the label was found: in HAM10000 all melanomas are 'histo' and all 'follow_up' are nevi",
    "biopsed": "a biopsy follows from the suspicion: in PAD-UFES-20 all cancers have one",
    "concomitant_biopsy": "a biopsy follows from the suspicion",
    "mel_*": "known of melanomas only",
    "nevus_type": "known of nevi only",
    "melanocytic": "it follows from the diagnosis",
    "tbp_lv_dnn_lesion_confidence": "another model's answer",
    "lesion": "an id, which only lesions of interest have in ISIC 2024",
    "lesion_id": "an id, which only lesions of interest have in ISIC 2024",
}


def check_features(names: Iterable[str]) -> None:
    """Raises UsageError where one of the columns may not be a feature, and says why. Case does not matter."""
    for name in names:
        for pattern, why in LEAKING.items():
            if fnmatchcase(name.strip().lower(), pattern):
                raise UsageError(f"column {name} leaks the label and cannot be a feature: {why}")
