"""From the network that is kept to the files: finalize, verify, pack, write, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..benchmarks.micro.arena import measure_arena
from ..benchmarks.stats import metrics
from ..benchmarks.stats.calibration import choose_temperature, softmax
from ..edge_runtime import training_pictures
from ..edge_runtime.contract import CONTRACT_FILE, LABELS_FILE, LOGITS, PROBABILITIES, labels_text
from ..edge_runtime.errors import ConversionError, GateError
from ..edge_runtime.files import replacing_folder
from ..edge_runtime.preprocess import InputSpec
from ..train.data import grouping, tables
from ..train.runs import earlier_runs
from ..train.runs.run_folder import Run
from . import assessing, checks, confidence
from .assess import limits
from .assessing import Found
from .settings import ConvertSettings
from .stage import Report, Stage
from .strategies import Attempt
from .tflite import answers, census, flatbuffer, front, to_tflite
from .tflite import contract as metadata

FLOAT_FILE = "model_float32.tflite"

_CHECKED = 32  # pictures that the finished files are asked

_WORDS = {
    "int8": {"weights": "int8 per channel", "activations": "int8 per tensor"},
    "w8a16": {"weights": "int8 per channel", "activations": "int16 per tensor"},
    "float16": {"weights": "float16", "activations": "float32"},
    "w8a32": {"weights": "int8 per channel", "activations": "float32"},
}


@dataclass(frozen=True)
class Finished:
    """A network with calibrated probabilities, and what it answers on the validation part.

    Attributes:
        calibration: The temperature and the shift that are in it.
        spec: Of its pictures.
        pictures: The validation part's, of that size.
        scores: Probabilities [n, classes].
        before: The network without its front end, where it has one.
        found: The outlier score and the limits that go with it; None without an assessment.
    """

    network: bytes
    precision: str
    quantization: Mapping[str, Any]
    calibration: confidence.Calibration
    spec: InputSpec
    pictures: answers.Pictures
    scores: npt.NDArray[np.floating[Any]]
    before: bytes | None = None
    found: Found | None = None


def finalize(stage: Stage, kept: Attempt) -> tuple[Finished, Sequence[Any]]:
    """The network with its temperature, softmax and names, and the census of its operators."""
    settings = stage.settings
    temperature = choose_temperature(softmax(kept.logits), stage.truth) if settings.temperature else 1.0
    network = kept.logits_network
    if temperature != 1.0:
        network = confidence.apply_temperature(network, temperature)
    edited = flatbuffer.read(network)
    if settings.micro:
        outputs = [LOGITS]
    else:
        flatbuffer.append_softmax(edited)
        outputs = [PROBABILITIES, "class_activation_map"][: 1 + settings.cam]
    flatbuffer.name_ends(edited, to_tflite.input_names(stage.model), outputs)
    network = flatbuffer.write(edited)
    scores = stage.answers(network, softmax=settings.micro)
    operators = census.take_census(network)
    if settings.name == "int8":
        census.assert_int8(network)
    if settings.micro:
        census.assert_no_float(network)
    quantization = {
        **kept.method,
        **_WORDS[settings.precision],
        "kept_in_float": list(settings.keep_float),
        "float_operators": sorted({row.operator for row in census.float_operators(operators)}),
        "representative_images": len(stage.representative),
    }
    used = confidence.Calibration(stage.shift.tau, tuple(map(float, stage.shift.logits)), temperature)
    pixels = stage.validation.pixels
    return Finished(network, settings.name, quantization, used, stage.spec, pixels, scores), operators


def verify(stage: Stage, kept: Attempt, finished: Finished) -> None:
    """Raises GateError where the file loses more than it may: a softmax may lose what the logits still held."""
    settings = stage.settings
    # Where --auto kept more than its own limit, for nothing better worked, it has said so.
    limit = settings.limit if settings.max_drop is not None or kept.drop <= (settings.limit or 0) else None
    drop = stage.float_balanced_accuracy - stage.balanced_accuracy(finished.scores)
    if limit is not None and drop > limit:
        raise GateError(
            f"the finished file loses {drop * 100:.1f} points of balanced accuracy on the validation part, more "
            f"than --max-drop {limit:g}"
        )


def with_assessment(stage: Stage, finished: Finished) -> Finished:
    """The finished network with an outlier score; as it was where there is a reason against, which is reported.

    Raises ConversionError where what was there before answers otherwise.
    """
    why = assessing.why_not(stage)
    if why is not None:
        if stage.settings.assessment:
            stage.report(f"no assessment, so the file answers any picture: {why}")
        return finished
    found = assessing.find(stage, finished.network)
    if found.said:
        few = finished.pictures[:_CHECKED]
        vectors = None if stage.vectors is None else stage.vectors[:_CHECKED]
        again = answers.answers(found.network, finished.spec, few, vectors, stage.report, softmax=stage.settings.micro)
        if not np.array_equal(again, finished.scores[:_CHECKED]):
            raise ConversionError("the network answers otherwise with an outlier score than without")
        if stage.settings.name == "int8":
            census.assert_int8(found.network)
    return replace(finished, network=found.network, found=found)


def float_twin(stage: Stage) -> Finished:
    """The run's model itself, without temperature and shift."""
    plain = confidence.Calibration(0.0, (0.0,) * len(stage.codes), 1.0)
    pixels = stage.validation.pixels
    return Finished(stage.float_file, "float32", {"method": "none"}, plain, stage.spec, pixels, stage.float_scores)


def with_front(stage: Stage, finished: Finished) -> Finished | None:
    """The finished network with a front end, where one is asked for."""
    size = stage.settings.front_size(stage.run.input_spec)
    if size is None:
        return None
    stage.report(f"a front end of {size[0]}x{size[1]}")
    network = front.prepend(finished.network, *size)
    census.assert_int8(network)
    spec = replace(stage.spec, height=size[0], width=size[1])
    large = answers.Files(list(stage.run.part("val")["path"]), spec)
    scores = answers.answers(network, spec, large, stage.vectors, stage.report)
    return replace(finished, network=network, spec=spec, pictures=large, scores=scores, before=finished.network)


def write(stage: Stage, finished: Finished, fronted: Finished | None, operators: Sequence[Any]) -> dict[str, bytes]:
    """The folder, whole or not at all; returns name -> content.

    Args:
        stage: The conversion.
        finished: The model file.
        fronted: The file with a front end; None without.
        operators: Rows of the census.

    Raises:
        ConversionError: Where a file, read and fed as a device does, answers otherwise than its network.
    """
    settings, run = stage.settings, stage.run
    seen = _training_pictures(run, stage.report) if settings.training_pictures else None
    content, contract = _packed(stage, finished, seen)
    _check_fits(settings, content)
    files = {
        settings.model_file: content,
        FLOAT_FILE: _packed(stage, float_twin(stage), seen)[0],
        LABELS_FILE: labels_text(run.labels).encode(),
        CONTRACT_FILE: contract.encode(),
        "representative.csv": tables.text(stage.representative.loc[:, ["image_id", "group", "label"]]).encode(),
        "census.csv": census.to_csv(operators).encode(),
    }
    made = {settings.model_file: finished}
    if fronted:
        name = _front_file(settings, fronted)
        files[name], made[name] = _packed(stage, fronted, seen)[0], fronted
    with replacing_folder(settings.out) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        for name, one in made.items():
            checks.check_device(folder / name, one.pictures, run.part("val"), one.scores[:_CHECKED])
    return files


def summary(
    stage: Stage,
    kept: Attempt,
    tried: list[dict[str, Any]],
    finished: Finished,
    fronted: Finished | None,
    operators: Sequence[Any],
    files: Mapping[str, bytes],
) -> dict[str, Any]:
    """What `job.convert` returns, JSON-ready.

    Args:
        stage: The conversion.
        kept: The attempt that became the file.
        tried: What each attempt gave.
        finished: The model file.
        fronted: The file with a front end; None without.
        operators: Rows of the census.
        files: Name -> content of everything written.
    """
    settings, truth, codes = stage.settings, stage.truth, stage.codes
    reference = softmax(stage.wanted / finished.calibration.temperature)
    groups = grouping.groups_of(stage.run.part("val"))
    sizes = {name: len(content) for name, content in files.items() if name.endswith(".tflite")}
    return {
        "precision": settings.name,
        "model": settings.model_file,
        "bytes": sizes,
        "size_to_float32": sizes[settings.model_file] / sizes[FLOAT_FILE],
        "quantization": finished.quantization,
        "calibration": finished.calibration.to_dict(),
        "logit_shift_candidates": stage.shift.candidates,
        "tried": tried,
        "qat_history": kept.history,
        "front": _front_figures(stage, finished, fronted) if fronted else None,
        "assessment": json.loads(files[CONTRACT_FILE]).get("assessment"),
        "operators": _counted(operators),
        "validation": {
            "n": len(truth),
            "agreement": metrics.agreement(reference, finished.scores),
            "float32": metrics.evaluate(truth, reference, codes, groups, bootstrap=0),
            settings.name: metrics.evaluate(truth, finished.scores, codes, groups, bootstrap=0),
        },
    }


def _check_fits(settings: ConvertSettings, content: bytes) -> None:
    """Raises GateError where a microcontroller's memory is named and the file needs more."""
    needs: list[tuple[str, int, int | None]] = [("flash", len(content), settings.flash_kb)]
    if settings.arena_kb is not None:
        arena = measure_arena(content)
        if not arena["runs"]:
            raise ConversionError(f"TFLite Micro cannot run the network: {arena['why']}")
        needs.insert(0, ("arena", arena["arena_bytes"], settings.arena_kb))
    broken = [
        f"{name} {size / 1024:,.1f} KB of {limit:,} KB" for name, size, limit in needs if limit and size > 1024 * limit
    ]
    if broken:
        raise GateError(
            f"the network does not fit: {', '.join(broken)}: train a smaller one "
            "(skin-edge train --width 0.25 --image-size 96, say); nothing was written"
        )


def _front_file(settings: ConvertSettings, fronted: Finished) -> str:
    return front.file_name(settings.model_file, fronted.spec.height, fronted.spec.width)


def _front_figures(stage: Stage, finished: Finished, fronted: Finished) -> dict[str, Any]:
    return {
        "model": _front_file(stage.settings, fronted),
        "input": [fronted.spec.height, fronted.spec.width],
        "agreement": metrics.agreement(finished.scores, fronted.scores),
        "largest_change": float(np.abs(fronted.scores - finished.scores).max()),
        "validation": metrics.evaluate(stage.truth, fronted.scores, stage.codes, bootstrap=0),
    }


def _packed(stage: Stage, one: Finished, seen: Mapping[str, Any] | None) -> tuple[bytes, str]:
    """(the file with its labels and contract, the contract). seen: `_training_pictures`."""
    run, settings = stage.run, stage.settings
    where = f"the {len(stage.truth)} validation images of {run.recipe.name}, seed {run.seed}, split {run.config.split}"
    thresholds = confidence.thresholds(one.scores, stage.truth, run.labels, where)
    logits = settings.micro and one.precision == settings.name  # the float baseline has its softmax
    others = answers.of_others(one.network, one.spec, one.pictures, stage.vectors, stage.report, softmax=logits)
    assessment, possible = None, None
    if one.found:
        pictures, report = one.pictures, stage.report
        assessment = assessing.described(one.found, one.network, one.spec, pictures, stage.vectors, where, report)
        possible = limits.possible(one.scores, stage.truth, where)
    contract = metadata.describe(
        one.network,
        run,
        precision=one.precision,
        quantization=one.quantization,
        calibration={**one.calibration.to_dict(), "found_on": where},
        thresholds=thresholds,
        borderline=confidence.borderline(thresholds, stage.codes, one.scores, others),
        spec=one.spec,
        license=settings.license,
        intended_use=settings.intended_use,
        training_pictures=seen,
        front=front.described(one.before, one.spec.height, one.spec.width) if one.before else None,
        assessment=assessment,
        possible=possible,
    )
    return metadata.packed(one.network, run.labels, one.spec, contract, settings.author)


def _training_pictures(run: Run, report: Report) -> dict[str, Any] | None:
    """For the contract: the hashes of all that the run, and those that it learned from, have seen."""
    known = earlier_runs.seen_images([run])
    rows = {part: known.loc[known["split"] == part] for part in training_pictures.PARTS}
    parts = {part: list(zip(of["path"], of["image_id"], strict=True)) for part, of in rows.items()}
    found = training_pictures.described(parts)
    count = sum(map(len, parts.values()))
    if found is None:
        report(
            f"{count} training pictures: more than {training_pictures.MOST}, so the file has no hashes of them and "
            "cannot tell later which pictures it has seen"
        )
        return None
    missing = count - training_pictures.count(found)
    if missing:
        report(f"warning: {missing} of {count} training pictures cannot be read: the file has no hashes of them")
    return found


def _counted(operators: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in operators:
        key = f"{row.operator} ({row.inputs.split(' ')[0]})"
        counts[key] = counts.get(key, 0) + 1
    return counts
