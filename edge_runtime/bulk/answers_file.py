"""The file of answers: JSON Lines that grow by whole lines, and csv and Parquet that are made of such lines.

Beside NAME lie

    NAME.about.json       which model and settings its answers are of: only with the same ones is it gone on with
    NAME.journal.jsonl    the lines, of a csv or Parquet file, which itself is there when it is whole

A killed process, or a full disk, leaves whole lines and perhaps a part of one, which is cut off when the work goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, cast

from .. import __version__, csv_files, errors, files, locks, stopping
from ..errors import DataError, OutputExistsError, UsageError
from ..model_file import ModelFile
from .answering import Answer
from .sources import Names

SUFFIXES = (".jsonl", ".csv", ".parquet")

_SYNC_SECONDS = 5.0  # a power cut costs as much
_ROWS = 10_000  # of a row group
_REMEDY = f"; make room or fix it, then {stopping.GOES_ON}"

Identity = Callable[[Mapping[str, Any]], str]


def name_of(record: Mapping[str, Any]) -> str:
    """The name of a record's picture."""
    return str(record["file"])


def about(
    made_by: str, model: ModelFile, operating_points: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What a file says of its answers beside them: JSON-ready.

    Args:
        made_by: The command.
        model: That answers.
        operating_points: The names of its thresholds.
        settings: What else decides what the lines hold; with others the file is not gone on with.
    """
    return {
        "made_by": made_by,
        "skin_edge": __version__,
        "model": {
            "file": model.path.name,
            "sha256": hashlib.sha256(model.content).hexdigest(),
            "classes": [label.code for label in model.labels],
            "operating_points": list(operating_points),
            **{name: True for name in ("assessment", "possible") if name in model.contract},
        },
        "settings": dict(settings),
    }


class AnswersFile:
    """A file of answers that is open: made by `opened`.

    Attributes:
        seen: The identities of the pictures that it has an answer or an error for.
        pictures: How many lines it has.
        not_assessed: How many of these are errors.
    """

    def __init__(self, out: Path, about: Mapping[str, Any], identity: Identity):
        self.seen, self.pictures, self.not_assessed = Names(), 0, 0
        self._out, self._about, self._identity = out, about, identity
        self._path = journal_of(out)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self._end = self._read()
        except BaseException:
            self.close()
            raise
        self._synced = monotonic()

    def append(self, answers: Sequence[Answer]) -> None:
        """Adds whole lines, or none where there is no room for all.

        Args:
            answers: With identities that are not in `seen`; the caller adds them there.
        """
        content = b"".join(answer.line for answer in answers)
        try:
            written = 0
            while written < len(content):
                written += os.write(self._descriptor, content[written:])
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(content)
        self.pictures += len(answers)
        self.not_assessed += sum(not answer.assessed for answer in answers)
        if monotonic() - self._synced > _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Onto the disk, so that a power cut does not take it."""
        with contextlib.suppress(OSError):  # the file system has none
            os.fsync(self._descriptor)
        self._synced = monotonic()

    def finish(self) -> None:
        """Says that it is whole; a csv or Parquet file is made now."""
        self.sync()
        if self._path != self._out:
            with files.replacing(self._out) as temporary:
                _WRITERS[self._out.suffix.lower()](temporary, self._about, self._records)
        whole = {"complete": True, "pictures": self.pictures, "not_assessed": self.not_assessed}
        _write_about(self._out, {**self._about, **whole})

    def close(self) -> None:
        """Its lines stay."""
        os.close(self._descriptor)

    def _records(self) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as file:
            for line in file:
                yield json.loads(line)

    def _read(self) -> int:
        """Takes in what is there; returns where its last whole line ends, behind which it is cut off."""
        end = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record: Any = json.loads(line)
                    self.seen.add(self._identity(record))
                    self.not_assessed += "error" in record
                except (ValueError, LookupError, TypeError, AttributeError):
                    raise DataError(
                        f"{self._path} line {number} is no answer: the file was changed by something else; choose "
                        "another --out"
                    ) from None
                self.pictures += 1
                end += len(line)
        os.ftruncate(self._descriptor, end)
        return end


@contextlib.contextmanager
def opened(
    out: Path,
    about: Mapping[str, Any],
    *,
    doing: str,
    resume: bool | None,
    overwrite: bool = False,
    identity: Identity = name_of,
) -> Generator[AnswersFile, None, None]:
    """Gives the file of answers, which nobody else may write to meanwhile.

    Args:
        out: Its suffix is one of SUFFIXES.
        about: As `about` makes it.
        doing: Name of the command, such as "skin-edge predict", shown to another process that wants to write.
        resume: Whether what is there is gone on with; None does so where it is there.
        overwrite: Whether what is there is removed first.
        identity: Of a record, by which pictures are told apart.

    Raises:
        UsageError: Where it cannot be written, is there already, is held by another process, or holds answers of
            another model or other settings.
        DataError: Where what is there are no answers.
        UnwritableError: Where the disk is full, or the like.
        MissingExtraError: Where Parquet is wanted and pyarrow is not installed.
    """
    check_suffix(out)
    files.check_writable_file(out)
    remedy = files.ELSEWHERE if resume is None else _REMEDY
    with (
        stopping.saying("" if resume is None else stopping.GOES_ON),
        locks.locked(out, doing),
        files.telling(out, remedy),
    ):
        if overwrite:
            for path in (about_of(out), journal_of(out), out):
                path.unlink(missing_ok=True)
        elif resume is False:
            _check_absent(out)
        is_begun = _check_same(out, about)
        if not is_begun:
            _write_about(out, {**about, "complete": False})
        file = AnswersFile(out, about, identity)
        try:
            if is_begun:
                _write_about(out, {**about, "complete": False})
            yield file
        finally:
            file.sync()
            file.close()


def check_suffix(out: Path) -> None:
    """Raises UsageError where the suffix is none of SUFFIXES, MissingExtraError where its package is not installed."""
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: name a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if suffix == ".parquet":
        errors.require("pyarrow")


def journal_of(out: Path) -> Path:
    """Where its lines are."""
    return out if out.suffix.lower() == ".jsonl" else out.with_name(f"{out.name}.journal.jsonl")


def about_of(out: Path) -> Path:
    """The file beside `out` that names the model and the settings of its answers."""
    return out.with_name(f"{out.name}.about.json")


def _check_absent(out: Path) -> None:
    for path in (out, journal_of(out)):
        if os.path.lexists(path):
            raise OutputExistsError(
                path, "continue it with --resume, choose another --out, or replace it with --overwrite"
            )


def _check_same(out: Path, about: Mapping[str, Any]) -> bool:
    """Whether there is something to go on with. Raises UsageError where it is of something else."""
    path = about_of(out)
    begun = any(os.path.lexists(one) and one.stat().st_size for one in (out, journal_of(out)))
    try:
        there: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        if begun:
            raise UsageError(
                f"{out} cannot be continued: {path.name} is missing, which says of which model its answers are; choose "
                "another --out"
            ) from None
        return False
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read ({error}): choose another --out, or --overwrite") from None
    known = cast("dict[str, Any]", there) if isinstance(there, dict) else {}
    different = _difference(known, json.loads(json.dumps(about)))
    if different and begun:
        raise UsageError(f"{out} has answers {different}: continue with that, or choose another --out")
    return begun and not different


def _difference(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What the answers that are there were made with that differs; "" where nothing does."""
    models = [str(about.get("model", {}).get("sha256")) for about in (there, wanted)]
    if models[0] != models[1]:
        return f"of the model with SHA-256 {models[0][:12]}..., not {models[1][:12]}..."
    settings = [{"made by": about.get("made_by"), **about.get("settings", {})} for about in (there, wanted)]
    for name in {**settings[0], **settings[1]}:
        old, new = (json.dumps(one.get(name)) for one in settings)
        if old != new:
            return f"with {name.replace('_', ' ')} {old[:100]}, not {new[:100]}"
    return ""


def _write_about(out: Path, about: Mapping[str, Any]) -> None:
    files.write(about_of(out), json.dumps(about, indent=2) + "\n")


# ------------------------------------------------------------------------------------------------------ csv and Parquet


def _columns(about: Mapping[str, Any]) -> dict[str, type]:
    """Column -> the type of its cells."""
    columns: dict[str, type] = {"file": str, "label": str}
    columns |= {f"probability_{code}": float for code in about["model"]["classes"]}
    for point in about["model"]["operating_points"]:
        columns |= {f"decision_{point}": str, f"score_{point}": float}
        columns |= {f"threshold_{point}": float, f"borderline_{point}": bool}
    more = [name for key, name in (("possible", "possible"), ("assessment", "reasons")) if key in about["model"]]
    return {**columns, **dict.fromkeys(more, str), "error": str}


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {name: _text(record.get(name)) for name in ("file", "label", "error")}
    cells |= {f"probability_{code}": value for code, value in record.get("probabilities", {}).items()}
    for decision in record.get("decisions", ()):
        for part in ("decision", "score", "threshold", "borderline"):
            cells[f"{part}_{decision['name']}"] = decision[part]
    if "possible" in record:
        cells["possible"] = " ".join(record["possible"])
    if record.get("reasons"):
        cells["reasons"] = " ".join(reason["reason"] for reason in record["reasons"])
    return cells


def _text(value: str | None) -> str | None:
    """A byte of a name that is not text is written as Python and JSON escape it: a whole table would be unreadable."""
    return value if value is None else value.encode("utf-8", "backslashreplace").decode()


def _write_csv(path: Path, about: Mapping[str, Any], records: Callable[[], Iterator[dict[str, Any]]]) -> None:
    columns = list(_columns(about))
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = ([_lower(cells.get(name)) for name in columns] for cells in map(_flat, records()))
        csv_files.write(file, columns, rows)


def _lower(cell: Any) -> Any:
    return str(cell).lower() if isinstance(cell, bool) else cell  # as JSON and most other languages have it


def _write_parquet(path: Path, about: Mapping[str, Any], records: Callable[[], Iterator[dict[str, Any]]]) -> None:
    import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs]

    arrow: Any = pa
    types = {str: arrow.string(), float: arrow.float64(), bool: arrow.bool_()}
    schema = arrow.schema([(name, types[kind]) for name, kind in _columns(about).items()])
    writer: Any = cast("Any", pq).ParquetWriter(path, schema)
    with writer:
        rows = list[dict[str, Any]]()
        for record in records():
            rows.append(_flat(record))
            if len(rows) == _ROWS:
                writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
                rows.clear()
        if rows:
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}
