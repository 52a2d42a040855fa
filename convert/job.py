"""One conversion, from a RUN to a folder that an app developer takes. `skin-edge convert` and `quickstart` call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..edge_runtime.containers import is_there
from ..edge_runtime.contract import CONTRACT_FILE, FORMAT
from ..edge_runtime.errors import DataError, OutputExistsError, UsageError
from ..edge_runtime.files import alone_in, check_replaceable, temporary_folder
from ..train.runs import run_folder
from ..train.runs.run_folder import Run
from .settings import ConvertSettings

Report = Callable[[str], None]


def convert(settings: ConvertSettings, report: Report) -> dict[str, Any]:
    """Writes model_int8.tflite (or what the precision names), model_float32.tflite, labels.txt, metadata.json,
    census.csv and representative.csv.

    `out` appears whole or not at all; what it held before stays until then.

    Args:
        settings: Which run, to which precision and how.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.

    Returns:
        The summary: file sizes, how it was quantized, what was tried, agreement and balanced accuracy of both files on
        the validation part.

    Raises:
        SkinEdgeError: With one line where the run or the output cannot be used.
        ConversionError: Where a result does not hold what its name promises: the float file differs from the Keras
            model, the folded head from the unfolded, or an operator of the int8 file computes in float.
        GateError: Where the loss of balanced accuracy is above max_drop.
    """
    settings.check()
    run = run_folder.read(settings.run, settings.images)
    settings.front_size(run.input_spec)
    if settings.micro and run.encoding is not None:
        raise UsageError(
            f"{run.folder} takes patient metadata as well, which the C port does not: --micro is for images"
        )
    _check_output(settings, run)
    _check_there(run)
    with alone_in(settings.out, "skin-edge convert"), temporary_folder():
        _check_output(settings, run)  # once more: another conversion may have ended meanwhile
        _check_parts(run)
        report("starting TensorFlow ...")
        from . import finish, stage, strategies  # which import it

        loaded = stage.load(settings, run, report)
        kept, tried = strategies.select(strategies.strategies(settings), loaded)
        finished, operators = finish.finalize(loaded, kept)
        finish.verify(loaded, kept, finished)
        finished = finish.with_assessment(loaded, finished)
        report("comparing both files on the validation part")
        fronted = finish.with_front(loaded, finished)
        files = finish.write(loaded, finished, fronted, operators)
        return finish.summary(loaded, kept, tried, finished, fronted, operators, files)


def _check_parts(run: Run) -> None:
    for part, purpose in (("train", "calibrate the ranges"), ("val", "compare the files")):
        if run.part(part).empty:
            raise DataError(f"{run.folder / 'split.csv'} has no '{part}' images, which {purpose}")
    if len(run.labels) < 2:
        raise DataError(f"{run.folder / 'config.yaml'} names {len(run.labels)} classes; a classifier needs two")


def _check_output(settings: ConvertSettings, run: Run) -> None:
    out = settings.out
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        if not settings.overwrite:
            raise OutputExistsError(out)
        if not _is_conversion(out):
            raise UsageError(f"{out} holds no conversion, so --overwrite does not replace it: choose another --out")
        check_replaceable(out, [run.folder])
    if not (run.folder / "model.keras").is_file():
        raise DataError(f"{run.folder} has no model.keras: its training has not finished; continue with --resume")


def _check_there(run: Run) -> None:
    rows = run.split.loc[run.split["split"].isin(("train", "val"))]
    gone = [path for path in rows["path"] if not is_there(path)]
    if gone:
        raise DataError(
            f"{len(gone)} of {len(rows)} pictures of {run.folder} are not there, the first is {gone[0] or 'unknown'}: "
            "--images FOLDER says where they are now"
        )


def _is_conversion(folder: Path) -> bool:
    try:
        contract = json.loads((folder / CONTRACT_FILE).read_bytes())
        return contract["format"] == FORMAT and any(folder.glob("model_*.tflite"))
    except (OSError, ValueError, KeyError, TypeError):
        return False
