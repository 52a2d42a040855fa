"""Diagnoses: code, name, malignant or not, in one table.

The order of a model's classes is the order of its own label list, never the order of this table.
Codes and names: Tschandl et al., "The HAM10000 dataset", Scientific Data 5, 180161 (2018); ISIC 2019 challenge; Pacheco
et al., "PAD-UFES-20", Data in Brief 32, 106221 (2020).
"""

from __future__ import annotations

from typing import NamedTuple


class Label(NamedTuple):
    """One class of a model.

    `malignant` is None where nobody said. akiec (actinic keratoses and Bowen's disease) holds precancerous
    lesions and counts as malignant here, as in most published malignant-or-not targets on HAM10000.
    """

    code: str
    name: str
    malignant: bool | None = None


HAM10000 = (
    Label("akiec", "actinic keratosis or intraepithelial carcinoma", True),
    Label("bcc", "basal cell carcinoma", True),
    Label("bkl", "benign keratosis-like lesion", False),
    Label("df", "dermatofibroma", False),
    Label("mel", "melanoma", True),
    Label("nv", "melanocytic nevus", False),
    Label("vasc", "vascular lesion", False),
)

# ISIC 2019 parts akiec into these two.
ISIC2019 = (
    Label("ak", "actinic keratosis", True),
    *HAM10000[1:6],
    Label("scc", "squamous cell carcinoma", True),
    HAM10000[6],
)

PAD_UFES_20 = (
    Label("ack", "actinic keratosis", True),
    Label("bcc", "basal cell carcinoma", True),
    Label("mel", "melanoma", True),
    Label("nev", "melanocytic nevus", False),
    Label("scc", "squamous cell carcinoma or Bowen's disease", True),
    Label("sek", "seborrheic keratosis", False),
)

# Classes that are, or hold, what may become a cancer and is none yet. Wherever they are put on a side, it is said.
PRECANCEROUS = frozenset({"ack", "ak", "akiec"})

_BY_CODE = {label.code: label for label in (*PAD_UFES_20, *ISIC2019, *HAM10000)}


def label_for(code: str) -> Label:
    """The table's label for `code` (case does not matter), or one that is named by its code alone."""
    known = _BY_CODE.get(code.lower())
    return known._replace(code=code) if known else Label(code, code)
