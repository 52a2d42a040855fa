"""Diagnoses: code, name, malignant or not, in one table.

The order of a model's classes is the order of its own label list, never the order of this table.
Codes and names: Tschandl et al., "The HAM10000 dataset", Scientific Data 5, 180161 (2018); ISIC 2019 challenge; Pacheco
et al., "PAD-UFES-20", Data in Brief 32, 106221 (2020).
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
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

# A diagnosis of the ISIC archive, in lower case -> code. Old wording (`diagnosis`) and new (`diagnosis_2` to `_5`).
ISIC_DIAGNOSES = {
    "nevus": "nv",
    "melanoma": "mel",
    "melanoma, nos": "mel",
    "melanoma in situ": "mel",
    "melanoma invasive": "mel",
    "melanoma metastasis": "mel",
    "basal cell carcinoma": "bcc",
    "actinic keratosis": "ak",
    "solar or actinic keratosis": "ak",
    "squamous cell carcinoma": "scc",
    "squamous cell carcinoma, nos": "scc",
    "squamous cell carcinoma in situ": "scc",
    "squamous cell carcinoma, invasive": "scc",
    "seborrheic keratosis": "bkl",
    "pigmented benign keratosis": "bkl",
    "lichenoid keratosis": "bkl",
    "lichen planus like keratosis": "bkl",
    "solar lentigo": "bkl",
    "lentigo nos": "bkl",
    "dermatofibroma": "df",
    "vascular lesion": "vasc",
    "benign soft tissue proliferations - vascular": "vasc",
}

# Words that people give folders and labels, beside codes, names and ISIC's; each with the codes that it may stand for.
_OTHER_WORDS = {
    "benign": ("benign", "benign lesion", "benign lesions", "non-malignant", "not malignant", "non-cancer"),
    "malignant": ("malignant", "malignant lesion", "malignant lesions", "malign", "cancer"),
    "mel": ("melanomas", "malignant melanoma"),
    "nv": ("nevi", "naevus", "naevi", "melanocytic nevi", "melanocytic naevus", "melanocytic naevi"),
    "bcc": ("basal cell carcinomas",),
    "scc": ("squamous cell carcinomas", "Bowen's disease", "Bowen disease"),
    "ak": ("actinic keratoses", "solar keratosis"),
    "akiec": ("actinic keratoses and intraepithelial carcinoma",),
    "bkl": (
        *("benign keratosis", "benign keratoses", "benign keratosis-like lesions", "seborrheic keratoses"),
        *("seborrhoeic keratosis", "seborrhoeic keratoses", "solar lentigines", "lentigo"),
    ),
    "df": ("dermatofibromas",),
    "vasc": ("vascular lesions", "vascular"),
}

BENIGN_MALIGNANT = (Label("benign", "benign", False), Label("malignant", "malignant", True))

_TABLE = {label.code: label for label in (*BENIGN_MALIGNANT, *PAD_UFES_20, *ISIC2019, *HAM10000)}


def label_for(code: str) -> Label:
    """The label of this code that the table knows by code, name or another word, else one named by its code alone.

    Capitals, spaces, hyphens and underscores do not matter: "Basal_Cell-Carcinoma" is bcc's, under its own code.
    """
    codes = _meanings().get(_letters(code))
    return _TABLE[codes[0]]._replace(code=code) if codes else Label(code, code)


def is_known(word: str) -> bool:
    """Whether `label_for` knows what it means."""
    return _letters(word) in _meanings()


def is_precancerous(code: str) -> bool:
    """Whether a label is, or holds, what may become a cancer and is none yet."""
    return bool(PRECANCEROUS & set(_meanings().get(_letters(code), ())))


def same_label(word: str, codes: Sequence[str]) -> str | None:
    """The one of `codes` that `word` is: the same, or the same but for capitals and spaces, or of the same meaning.

    None where none or several are.
    """
    if word in codes:
        return word
    letters = _letters(word)
    meanings = set(_meanings().get(letters, ()))
    alike = [code for code in codes if letters and letters == _letters(code)]
    alike = alike or [code for code in codes if meanings & set(_meanings().get(_letters(code), ()))]
    return alike[0] if len(alike) == 1 else None


def has_control_characters(text: str) -> bool:
    """Whether it holds what a terminal, a line or a file would take for something else: newlines, control characters,
    marks that turn the direction of writing, bytes that are not UTF-8."""
    if text.isascii() and text.isprintable():
        return False
    return any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _DIRECTIONS for c in text)


_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def _letters(text: str) -> str:
    folded = unicodedata.normalize("NFC", text).casefold()
    return "".join(c for c in folded if not c.isspace() and c not in "-_,'\u2019")


@functools.cache
def _meanings() -> dict[str, tuple[str, ...]]:
    """A word's letters -> the codes of the table that it may stand for; the first names it."""
    found: dict[str, tuple[str, ...]] = {}
    said = [(code, code) for code in _TABLE]
    said += [(label.name, code) for code, label in _TABLE.items()]
    said += [*ISIC_DIAGNOSES.items()]
    said += [(word, code) for code, words in _OTHER_WORDS.items() for word in words]
    for word, code in said:
        key = _letters(word)
        found[key] = tuple(dict.fromkeys((*found.get(key, ()), code)))
    # The data sets' codes of one diagnosis, such as nv and nev, mean the same.
    by_name: dict[str, tuple[str, ...]] = {}
    for code, label in _TABLE.items():
        by_name[label.name] = (*by_name.get(label.name, ()), code)
    return {
        key: tuple(dict.fromkeys(alike for code in codes for alike in (code, *by_name[_TABLE[code].name])))
        for key, codes in found.items()
    }
