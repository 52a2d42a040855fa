"""What a process does that answers pictures in bulk: the same lines, whichever process and machine it is."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .. import answers, console
from ..classifier import SkinClassifier
from ..errors import ImageError, SkinEdgeError
from ..model_file import ModelFile
from .sources import Picture

DIED = "the process that answered it died, and again when it was tried alone"


@dataclass(frozen=True)
class Settings:
    """What decides the answers beside the model's file.

    Attributes:
        top_k: As `answers.record` takes it.
        operating_point: As `answers.record` takes it.
        num_threads: As `SkinClassifier` takes it.
        delegate: As `SkinClassifier` takes it.
        assess_anything: As `answers.record` takes it.
    """

    top_k: int | None = None
    operating_point: str | None = None
    num_threads: int = 1
    delegate: str = "xnnpack"
    assess_anything: bool = False


@dataclass(frozen=True)
class Answer:
    """A line of the file of answers.

    Attributes:
        line: JSON, with its line break.
        assessed: Whether it has an answer and not an error.
    """

    line: bytes
    assessed: bool


class NamedBytes(io.BytesIO):
    """The bytes of a picture that was read elsewhere. Messages name it as they name the file.

    Args:
        content: Of the file.
        name: Its path.
    """

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name


def classifier_for(model: ModelFile, settings: Settings) -> SkinClassifier:
    """The classifier that answers with these settings."""
    return SkinClassifier(model, settings.num_threads, delegate=settings.delegate)


def answer(
    classifier: SkinClassifier,
    pictures: Sequence[Picture],
    settings: Settings,
    *,
    decoding: int = 2,
    contents: Sequence[bytes | None] = (),
) -> Iterator[Answer]:
    """One Answer per picture, in their order.

    Args:
        classifier: Of `classifier_for`.
        pictures: Some.
        settings: Those of the classifier.
        decoding: Threads that decode meanwhile.
        contents: Of each picture the bytes of its file, or None where its path is to be opened; or nothing at all.
    """
    images = [
        one.path if content is None or isinstance(one.path, bytes) else NamedBytes(content, one.path)
        for one, content in zip(pictures, contents or [None] * len(pictures), strict=True)
    ]
    known = [one.metadata for one in pictures]
    answers_of = classifier.predict_many(images, workers=decoding, metadata=known)
    for picture, given in zip(pictures, answers_of, strict=True):
        yield as_line(picture, given, settings)


def as_line(picture: Picture, given: answers.Prediction | SkinEdgeError, settings: Settings) -> Answer:
    """The line that says it.

    Args:
        picture: Whose name the line has.
        given: Of `predict_many`.
        settings: What of it is wanted.
    """
    record = answers.record(
        picture.name,
        given,
        top_k=settings.top_k,
        operating_point=settings.operating_point,
        times=False,
        assess_anything=settings.assess_anything,
    )
    assessed = "error" not in record
    if picture.beside:
        record = {"file": record.pop("file"), **picture.beside, **record}
    return Answer(console.json_text(record).encode() + b"\n", assessed)


def died(picture: Picture, settings: Settings) -> Answer:
    """Of a picture that ends the process that answers it: a fault of a decoder, or more memory than there is."""
    path = picture.name if isinstance(picture.path, bytes) else picture.path
    return as_line(picture, ImageError(f"cannot assess: {path}: {DIED}"), settings)
