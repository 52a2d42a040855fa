"""One conversion, from a RUN to a folder that an app developer takes. `skin-edge convert` and `quickstart` call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..edge_runtime.errors import ConversionError, DataError, OutputExistsError, UsageError
from ..edge_runtime.files import check_replaceable, check_writable, replacing_folder
from ..edge_runtime.model_file import FORMAT
from ..train import run_folder
from ..train.run_folder import Run

Report = Callable[[str], None]

# The float .tflite against the Keras model, and the folded head against the unfolded: largest difference of a
# probability that arithmetic in another order may make.
FLOAT_TOLERANCE = 1e-4
FOLD_TOLERANCE = 1e-5


@dataclass(frozen=True)
class ConvertSettings:
    """What a conversion is told.

    post_training: calibrate only, else quantization-aware training. io: dtype of the int8 file's input ("uint8",
    "int8", "float32"). representative: how many training images calibrate. distill: learn from the float model.
    """

    run: Path
    out: Path
    post_training: bool = False
    io: str = "uint8"
    qat_epochs: int = 3
    qat_learning_rate: float = 2e-5
    distill: bool = True
    representative: int = 300
    overwrite: bool = False


def convert(settings: ConvertSettings, report: Report) -> dict[str, Any]:
    """Writes model_int8.tflite, model_float32.tflite, labels.txt, metadata.json, census.csv and representative.csv.

    Returns the summary: file sizes, how it was quantized, agreement and balanced accuracy of both files on the
    validation part. `out` appears whole or not at all; what it held before stays until then.

    Raises a SkinEdgeError with one line where the run or the output does not serve, and ConversionError where a
    result does not hold what its name promises: the float file differs from the Keras model, the folded head from the
    unfolded, or an operator of the int8 file computes in float.
    """
    run = run_folder.read(settings.run)
    out = settings.out
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        if not settings.overwrite:
            raise OutputExistsError(out)
        if not _is_conversion(out):
            raise UsageError(f"{out} holds no conversion, so --overwrite does not replace it: choose another --out")
        check_replaceable(out, [run.folder])
    check_writable(out)
    if not (run.folder / "model.keras").is_file():
        raise DataError(f"{run.folder} has no model.keras: its training has not ended; go on with --resume")
    report("starting TensorFlow ...")

    from ..train import engine
    from ..train.pipeline import Pictures, load, plain_batches
    from . import calibration, census, metadata, qat, to_tflite
    from .fold import fold_head

    engine.start(run.seed, mixed_precision=False)
    model = run.model()
    spec = run.input_spec

    def pictures_of(rows: Any, name: str) -> Pictures:
        pictures, failures = load(
            list(rows["path"]), spec, on_progress=lambda n: report(f"\rreading {name} images: {n}/{len(rows)}")
        )
        if failures:
            first = next(iter(failures.values()))
            raise DataError(f"{len(failures)} {name} images of {run.folder} cannot be read, the first: {first}")
        report("\r")
        return pictures

    representative = calibration.choose_representative(run, settings.representative)
    if len(representative) < calibration.ENOUGH:
        report(f"warning: {len(representative)} representative images; fewer than {calibration.ENOUGH} are shaky")
    calibration_pictures = pictures_of(representative, "representative")
    calibration_batch = np.concatenate(list(plain_batches(calibration_pictures, spec).as_numpy_iterator()))
    validation = pictures_of(run.part("val"), "validation")
    truth = run.targets(run.part("val"))
    float_scores = model.predict(plain_batches(validation, spec), verbose=0)

    report("converting the float model")
    float_network = to_tflite.float32_tflite(model)
    _check_float(float_network, calibration_batch[:32], model)
    folded = fold_head(model)
    _check_fold(folded, calibration_batch[:32], model)

    history: list[dict[str, float]] = []
    if settings.post_training:
        report(f"calibrating with {len(representative)} training images")
        int8_network = to_tflite.int8_tflite(folded, calibration_batch, settings.io)
        method: dict[str, Any] = {"method": "post-training", "calibration": "min/max"}
    else:
        quantized = qat.quantization_aware(folded, calibration_batch)
        history = _train_quantized(quantized, folded, run, settings, pictures_of, validation, truth, report)
        int8_network = to_tflite.int8_tflite(quantized, None, settings.io)
        method = {
            "method": "quantization-aware training",
            "epochs": settings.qat_epochs,
            "learning_rate": settings.qat_learning_rate,
            "distilled_from_the_float_model": settings.distill,
            "kept_epoch": max(history, key=lambda row: row["score"])["epoch"],
        }
    census.assert_int8(int8_network)
    operators = census.take_census(int8_network)
    method |= {
        "weights": "int8 per channel",
        "activations": "int8 per tensor",
        "float_operators": sorted({row.operator for row in census.float_operators(operators)}),
        "representative_images": len(representative),
    }

    report("comparing both files on the validation part")
    described = metadata.describe(int8_network, run, precision="int8", quantization=method)
    float_described = metadata.describe(float_network, run, precision="float32", quantization={"method": "none"})
    files: dict[str, bytes] = {
        "model_int8.tflite": metadata.packed(int8_network, described),
        "model_float32.tflite": metadata.packed(float_network, float_described),
        "labels.txt": metadata.labels_text(described["labels"]).encode(),
        "metadata.json": metadata.as_json(described).encode(),
        "representative.csv": representative[["image_id", "group", "label"]].to_csv(index=False).encode(),
        "census.csv": census.to_csv(operators).encode(),
    }
    with replacing_folder(out) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        int8_scores = _scores(folder / "model_int8.tflite", validation.pixels)
    return _summary(run, method, files, truth, float_scores, int8_scores, history)


def _is_conversion(folder: Path) -> bool:
    try:
        metadata = json.loads((folder / "metadata.json").read_bytes())
        return metadata["format"] == FORMAT and (folder / "model_int8.tflite").is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _train_quantized(
    quantized: Any,
    teacher: Any,
    run: Run,
    settings: ConvertSettings,
    pictures_of: Callable[[Any, str], Any],
    validation: Any,
    truth: npt.NDArray[np.int64],
    report: Report,
) -> list[dict[str, float]]:
    from ..benchmarks import metrics
    from ..train.pipeline import plain_batches, training_batches
    from . import qat

    rows, spec = run.part("train"), run.input_spec
    pictures = pictures_of(rows, "training")
    one_hot = np.eye(len(run.labels), dtype=np.float32)[run.targets(rows)]
    codes = tuple(label.code for label in run.labels)

    def batches(epoch: int) -> Any:
        # The training's own distribution; a seed of its own, so that the epochs are not those it has seen.
        return training_batches(
            pictures,
            one_hot,
            spec,
            run.recipe.augmentation,
            batch_size=run.recipe.batch_size,
            seed=run.seed + 1,
            epoch=epoch,
        )

    def validate(model: Any) -> float:
        logits = model.predict(plain_batches(validation, spec), verbose=0)
        return float(metrics.evaluate(truth, logits, codes, bootstrap=0)["balanced_accuracy"])

    return qat.train_quantized(
        quantized,
        teacher,
        batches,
        validate,
        epochs=settings.qat_epochs,
        learning_rate=settings.qat_learning_rate,
        distill=settings.distill,
        report=report,
    )


def _check_float(network: bytes, images: npt.NDArray[np.float32], model: Any) -> None:
    from ..edge_runtime.interpreter import Interpreter

    interpreter = Interpreter(network)
    answers = np.concatenate([interpreter.invoke(image[None])[0] for image in images])
    difference = float(np.abs(answers - model.predict(images, verbose=0)).max())
    if not difference <= FLOAT_TOLERANCE:
        raise ConversionError(
            f"the float32 .tflite differs from the Keras model by {difference:.1e} on {len(images)} training images; "
            f"at most {FLOAT_TOLERANCE:.0e} is rounding"
        )


def _check_fold(folded: Any, images: npt.NDArray[np.float32], model: Any) -> None:
    logits = folded.predict(images, verbose=0).astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    difference = float(np.abs(probabilities - model.predict(images, verbose=0)).max())
    if not difference <= FOLD_TOLERANCE:
        raise ConversionError(
            f"folding the head's BatchNormalization changed a probability by {difference:.1e}; "
            f"at most {FOLD_TOLERANCE:.0e} is rounding"
        )


def _scores(path: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What the device answers to already resized pictures: float32 [n, classes]."""
    from ..edge_runtime.classifier import SkinClassifier

    classifier = SkinClassifier(path)
    return np.stack([classifier.invoke(classifier.to_tensor(picture)) for picture in pixels])


def _summary(
    run: Run,
    method: dict[str, Any],
    files: dict[str, bytes],
    truth: npt.NDArray[np.int64],
    float_scores: npt.NDArray[np.float32],
    int8_scores: npt.NDArray[np.float32],
    history: list[dict[str, float]],
) -> dict[str, Any]:
    from ..benchmarks import metrics

    codes = tuple(label.code for label in run.labels)
    groups = run.part("val")["group"].to_numpy(str)
    sizes = {name: len(content) for name, content in files.items() if name.endswith(".tflite")}
    return {
        "bytes": sizes,
        "int8_to_float32_size": sizes["model_int8.tflite"] / sizes["model_float32.tflite"],
        "quantization": method,
        "qat_history": history,
        "validation": {
            "n": len(truth),
            "agreement": metrics.agreement(float_scores, int8_scores),
            "float32": metrics.evaluate(truth, float_scores, codes, groups, bootstrap=0),
            "int8": metrics.evaluate(truth, int8_scores, codes, groups, bootstrap=0),
        },
    }
