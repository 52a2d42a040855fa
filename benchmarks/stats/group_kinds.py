"""What is known of which pictures belong together, and every sentence that speaks of it.

Whether a split leaks, how far an interval may be trusted, "lesions it never saw": all of that can be said only as far
as somebody named the patient or the lesion of a picture. So each picture carries the kind of its group (`KINDS`), those
of a set of pictures make one description (`Groups.described`), and the sentences are made of that and of nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime import training_pictures

PATIENT, LESION, GIVEN, UNKNOWN = "patient", "lesion", "given", "unknown"
KINDS = (PATIENT, LESION, GIVEN, UNKNOWN)
"""Of one picture's group. given: the data, or the user, names groups and does not say of what. unknown: nobody names
one, so the picture is a group by itself, or one with the near-duplicates that were found."""

NEAR_DUPLICATES = "near-duplicates"
"""Of a set of pictures: no group is named for any, but near-duplicates were brought together."""

COLUMN = "group_kind"
"""Of a split.csv, predictions.csv and the frames of `train`."""

# What `Groups.described` gives, as metrics.json has it.
Described = Mapping[str, Any]

_UNITS = {PATIENT: ("patient", "patients"), LESION: ("lesion", "lesions"), GIVEN: ("group", "groups")}
_NOBODY_SAYS = "for it is not known which show the same lesion or patient"


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of some pictures.

    Attributes:
        names: Text [n].
        kinds: Text [n], of KINDS.
    """

    names: npt.NDArray[Any]
    kinds: npt.NDArray[Any]

    @property
    def drawn(self) -> npt.NDArray[Any] | None:
        """What a bootstrap draws whole, [n]; None where no group is named and no two pictures are in one."""
        known = (self.kinds != UNKNOWN).any() or len(np.unique(self.names)) < len(self.names)
        return self.names if known else None

    def take(self, rows: npt.NDArray[Any]) -> Groups:
        """Of the pictures at these positions, or where the mask is True."""
        return Groups(self.names[rows], self.kinds[rows])

    def described(self) -> dict[str, Any]:
        """JSON-ready: {"kind", "n", "images", "images_unknown"}.

        kind: the weakest that holds for all pictures whose group is named (lesion where it is patient for some and
        lesion for others, for a patient's group holds his lesions whole; given where it is that for some), else
        NEAR_DUPLICATES where pictures share a group all the same, else UNKNOWN. n: how many groups are named; None
        where none is. images_unknown: of the `images`, those whose group nobody names.
        """
        named = self.names[self.kinds != UNKNOWN]
        if len(named):
            kind = next(kind for kind in (GIVEN, LESION, PATIENT) if (self.kinds == kind).any())
        else:
            kind = UNKNOWN if self.drawn is None else NEAR_DUPLICATES
        return {
            "kind": kind,
            "n": len(np.unique(named)) if len(named) else None,
            "images": len(self.names),
            "images_unknown": len(self.names) - len(named),
        }


def of(groups: Groups | npt.NDArray[Any] | None, n: int) -> Groups:
    """Names alone are groups that were given; None is n pictures of which nothing is known."""
    if isinstance(groups, Groups):
        return groups
    kind, names = (UNKNOWN, np.arange(n)) if groups is None else (GIVEN, groups)
    return Groups(names, np.full(n, kind))


def kinds_of(
    names: Sequence[str], image_ids: Sequence[str], patients: Sequence[str] = (), lesions: Sequence[str] = ()
) -> list[str]:
    """The kind of each picture's group where no column says it: [n], of KINDS.

    The patient or the lesion that is named for a picture says it. A group that goes by the id of a picture is none that
    anybody named: so a split.csv calls single pictures, and those that near-duplicates joined.

    Args:
        names: [n], the group of each image.
        image_ids: [n], the id of each image.
        patients: [n], the patient of each image, "" where not known; empty where the data has none.
        lesions: [n], the lesion of each image, likewise.
    """
    ids = set(image_ids)
    kinds: list[str] = []
    for i, name in enumerate(names):
        if patients and patients[i]:
            kinds.append(PATIENT)
        elif lesions and lesions[i]:
            kinds.append(LESION)
        else:
            kinds.append(UNKNOWN if not name or name in ids else GIVEN)
    return kinds


def known(groups: Described) -> bool:
    """Whether a patient, lesion or group is named for any of the pictures."""
    return groups["n"] is not None


def unit(groups: Described, *, plural: bool = True) -> str:
    """What a group is, "lesions" say; "lesions or patients" where that is not known."""
    one, many = _UNITS.get(groups["kind"], ("lesion or patient", "lesions or patients"))
    return many if plural else one


def counted(groups: Described, number: str = "{:,}") -> str:
    """How many there are, for after "1,706 images of": "1,253 lesions".

    Args:
        number: How they are written.
    """
    if not known(groups):
        return "a number of lesions that is not known"
    text = f"{number.format(groups['n'])} {unit(groups, plural=groups['n'] != 1)}"
    if groups["images_unknown"]:
        text += f" (that of {groups['images_unknown']:,} images is not known)"
    return text


def drawn_over(groups: Described) -> str:
    """What the resamples of an interval draw, for after "resamples of"."""
    kind, unknown = groups["kind"], groups["images_unknown"]
    if not known(groups):
        together = " (near-duplicates together)" if kind == NEAR_DUPLICATES else ""
        return f"single images{together}, for it is not known which show the same lesion or patient"
    named = f"whole {unit(groups)}" + (", as the data names them" if kind == GIVEN else "")
    return named + (f" ({unknown:,} images of unknown ones singly)" if unknown else "")


def intervals(groups: Described, bootstrap: str = "") -> str:
    """The sentence that goes with a table of intervals.

    Args:
        bootstrap: How many resamples, as it is to be written.
    """
    return f"95% intervals from {bootstrap + ' ' if bootstrap else ''}resamples of {drawn_over(groups)}"


def leaks(split: Mapping[str, Any], share: Callable[[str], str]) -> list[str]:
    """What of the test images the model has seen in training: sentences without full stops.

    Args:
        split: Of metrics.json.
        share: How the share under a key is written.

    Returns:
        groups: of the test images (`Groups.described`). leaked_share_of_test: 0..1, None where it is not known;
        leaked_share_of_test_with_near_duplicates where those were looked for. checked: of an evaluation, {"pictures",
        "groups"}, what could be compared with the training. seen_by_hash: of a model file's, `training_pictures.seen`.
    """
    groups, checked, leaked = split["groups"], split.get("checked"), "leaked_share_of_test"
    one = unit(groups, plural=False)
    if checked is not None:
        if split[leaked] is None:
            return ["Whether any of these images, or of their lesions, was in training is not known"]
        if checked["groups"]:
            return [f"{share(leaked)} of these images were in training, or another image of their {one} was"]
        found = [f"{share(leaked)} of these images were in training; whether others of their lesions were is not known"]
        if split.get("seen_by_hash"):
            by_bytes, by_ids = training_pictures.seen_in(split["seen_by_hash"]["train"])
            ids = _has_ids(split["seen_by_hash"])
            found.append(
                f"They are recognised by the bytes of the files ({by_bytes:,}) and by public ids ({by_ids:,})"
                if ids
                else "They are recognised by the bytes of the files"
            )
            found += _limits_of_hashes(split["seen_by_hash"])
        return found
    near = f"{leaked}_with_near_duplicates"
    looked_for = split.get(near) is not None
    if split[leaked] is None:
        found = ["Whether test images show a lesion or patient of training is not known, for the data names none"]
        return found + ([f"{share(near)} of them have a near-duplicate in training"] if looked_for else [])
    unknown = groups["images_unknown"]
    of = f"the {groups['images'] - unknown:,} test images whose {one} is known" if unknown else "the test images"
    found = [f"{share(leaked)} of {of} show a {one} of training"]
    return found + ([f"{share(near)} of the test images do so, or have a near-duplicate there"] if looked_for else [])


def _has_ids(seen: Mapping[str, Any]) -> bool:
    """Whether the model file has the hash of any public id. seen: `training_pictures.seen`'s."""
    return any((seen[part].get("by_id") or {"ids": 0})["ids"] for part in training_pictures.PARTS)


def _limits_of_hashes(seen: Mapping[str, Any]) -> list[str]:
    """What keeps the hashes of a model file from telling all that it has seen. seen: `training_pictures.seen`'s."""
    parts = [seen[part] for part in training_pictures.PARTS]
    found: list[str] = []
    if not_known := seen.get("not_known"):
        found.append(f"Of {not_known:,} of them it is not known: a copy that was saved again has other bytes")
    lacking = sum(part["pictures"] - part["hashes"] for part in parts)
    if lacking > 0:
        found.append(f"The file lacks the hashes of {lacking:,} pictures of its training")
    by_chance = sum(map(training_pictures.explained_by_chance, parts))
    if by_chance:
        found.append(
            f"{by_chance:,} of these images match a hash of a training picture, no more than expected by chance"
        )
    return found


def seen_before(accuracy: Mapping[str, Any]) -> list[str]:
    """What of the measured images a model file, and its reference, has learned from: sentences without full stops.

    Args:
        accuracy: Of `parity.compare`; one of an older version says nothing, which is "not known".
    """
    said: list[str] = []
    found: Mapping[str, Any] = accuracy.get("seen_in_training") or {}
    for who in ("model", "reference") if accuracy["reference"] else ("model",):
        seen = found.get(who)
        if seen is None or not seen["compared"]:
            said.append(f"Whether the {who} has learned from any of these images is not known")
            continue
        told = [training_pictures.seen_in(seen[part]) for part in training_pictures.PARTS]
        for (by_bytes, by_ids), what in zip(told, ("were in training", "chose the thresholds"), strict=True):
            if by_bytes or by_ids:
                how = f" ({by_bytes:,} by the bytes of the files, {by_ids:,} by public ids)" if by_ids else ""
                said.append(f"{by_bytes + by_ids:,} of these images {what} of the {who}{how}: its figures are too good")
        if not any(map(sum, told)):
            ids = " and by public ids" if _has_ids(seen) else ""
            said.append(f"None of these images was in training of the {who}, by the bytes of the files{ids}")
        said += _limits_of_hashes(seen)
    return said


def too_good(split: Mapping[str, Any]) -> bool:
    """Whether it is known that the model has seen some of the test images, or of their lesions, in training."""
    return any(split.get(f"leaked_share_of_test{ending}") for ending in ("", "_with_near_duplicates"))
