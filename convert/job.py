"""One conversion, from a RUN to a folder that an app developer takes. `skin-edge convert` and `quickstart` call it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..benchmarks.stats.calibration import choose_temperature, logits_of, softmax
from ..benchmarks.stats.metrics import wilson
from ..edge_runtime import training_pictures
from ..edge_runtime.containers import is_there
from ..edge_runtime.contract import CONTRACT_FILE, FORMAT, LABELS_FILE, labels_text
from ..edge_runtime.errors import ConversionError, DataError, GateError, OutputExistsError, UnknownNameError, UsageError
from ..edge_runtime.files import alone_in, check_replaceable, replacing_folder
from ..edge_runtime.network import Network
from ..edge_runtime.preprocess import FULL, SCALED, InputSpec
from ..train.data import grouping, tables
from ..train.runs import run_folder
from ..train.runs.run_folder import Run
from .quantize.representative import CALIBRATED, PRECISIONS

Report = Callable[[str], None]

# The float .tflite against the Keras model, and the folded head against the unfolded: largest difference of a
# probability that arithmetic in another order may make.
FLOAT_TOLERANCE = 1e-4
FOLD_TOLERANCE = 1e-5

# Largest share of validation images with another top class in the int8 file than in the simulation that was trained.
# Classes whose logits lie within TIE of each other, in steps of the int8 logits, may change places: rounding does that,
# and a network that has learned little has many such. A fault of the conversion, such as a bias that overflows, moves
# logits by more.
MOST_FLIPPED = 0.05
TIE = 4

METHODS = ("qat", "ptq", "auto")
_EFFORTS = {"ptq": "post-training", "qat": "quantization-aware training"}
AUTO_MAX_DROP = 0.01  # of balanced accuracy, 0..1


@dataclass(frozen=True)
class ConvertSettings:
    """What a conversion is told.

    precision: one of PRECISIONS. method, for int8: "qat", quantization-aware training; "ptq", calibrate only; "auto",
    the smallest effort that stays within max_drop. percentile: of post-training calibration; None is the extremes.
    max_drop: largest accepted loss of balanced accuracy against the float model on the validation part, 0..1; more is
    a GateError. keep_float: patterns of layer names that stay in float (post-training only). io: dtype of the input
    ("uint8", "int8", "float32"). representative: how many training images calibrate. distill: learn from the float
    model. temperature: find one on the validation part. tau: strength of the logit shift for rare classes, 0 is none,
    None is chosen on the validation part. cam: a class activation map as second output. front: "HEIGHTxWIDTH" or
    "auto": also a file that takes such a picture and reduces it by itself (`front`). scaled_decode: the file asks for
    large JPEGs at 1/2, 1/4 or 1/8, also where the run was not trained so. author, license: of the model, for its
    metadata; by default skin-edge and what the data's terms ask. intended_use: what the model is for, in words; by
    default what is known of the data (`contract.describe`). images: the folder in which the run's pictures lie
    now; None is where they were, seen from the run.
    """

    run: Path
    out: Path
    precision: str = "int8"
    method: str = "qat"
    percentile: float | None = None
    max_drop: float | None = None
    keep_float: tuple[str, ...] = ()
    io: str = "uint8"
    qat_epochs: int = 3
    qat_learning_rate: float = 2e-5
    distill: bool = True
    representative: int = 300
    temperature: bool = True
    tau: float | None = 0.0
    cam: bool = False
    front: str | None = None
    scaled_decode: bool = False
    author: str | None = None
    license: str | None = None
    intended_use: str | None = None
    overwrite: bool = False
    images: Path | None = None

    @property
    def name(self) -> str:
        """The precision that the file's name promises: "mixed" where layers were kept in float."""
        return "mixed" if self.keep_float else self.precision

    @property
    def model_file(self) -> str:
        return f"model_{self.name}.tflite"

    @property
    def limit(self) -> float | None:
        """The largest accepted loss of balanced accuracy, where there is one."""
        return AUTO_MAX_DROP if self.max_drop is None and self.method == "auto" else self.max_drop

    def check(self) -> None:
        """Raises UsageError where the settings contradict each other."""
        for kind, name, known in (("method", self.method, METHODS), ("precision", self.precision, PRECISIONS)):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if self.max_drop is not None and not 0 <= self.max_drop <= 1:
            raise UsageError(f"--max-drop {self.max_drop}: a loss of balanced accuracy, 0 to 1")
        post_training = self.precision != "int8" or bool(self.keep_float)
        if post_training and self.method != "ptq":
            what = "layers kept in float go" if self.keep_float else f"precision {self.precision} goes"
            raise UsageError(f"{what} with post-training quantization: --ptq")
        if self.precision != "int8" and self.keep_float:
            raise UsageError("layers are kept in float in an int8 network only: leave --precision or --keep-float out")
        if self.precision != "int8" and self.io != "float32":
            raise UsageError(f"precision {self.precision} takes float32 input: leave --io out, or say --io float32")
        if self.front is not None and (self.name, self.io) != ("int8", "uint8"):
            raise UsageError("a front end goes before an int8 network that takes bytes: --front with --int8, no --io")
        if self.percentile is not None and self.method == "qat":
            raise UsageError("a percentile is for post-training calibration: --ptq or --auto")
        if self.percentile is not None and self.precision in ("float16", "w8a32"):
            raise UsageError(f"precision {self.precision} calibrates nothing: leave --calibration out")


@dataclass(frozen=True)
class _Attempt:
    """A quantized network, its outputs being logits, and how it did on the validation part."""

    logits_network: bytes
    logits: npt.NDArray[np.float32]
    method: dict[str, Any]
    history: list[dict[str, float]]
    balanced_accuracy: float
    drop: float


def convert(settings: ConvertSettings, report: Report) -> dict[str, Any]:
    """Writes model_int8.tflite (or what the precision names), model_float32.tflite, labels.txt, metadata.json,
    census.csv and representative.csv.

    Returns the summary: file sizes, how it was quantized, what was tried, agreement and balanced accuracy of both files
    on the validation part. `out` appears whole or not at all; what it held before stays until then.

    Raises a SkinEdgeError with one line where the run or the output does not serve; ConversionError where a result
    does not hold what its name promises: the float file differs from the Keras model, the folded head from the
    unfolded, or an operator of the int8 file computes in float; GateError where the loss is above max_drop.
    """
    settings.check()
    run = run_folder.read(settings.run, settings.images)
    _front_size(run, settings)
    _check_output(settings, run)
    _check_there(run)
    with alone_in(settings.out, "skin-edge convert"):
        return _convert(settings, run, report)


def _convert(settings: ConvertSettings, run: Run, report: Report) -> dict[str, Any]:
    _check_output(settings, run)  # once more: another conversion may have ended meanwhile
    for part, purpose in (("train", "calibrate the ranges"), ("val", "compare the files")):
        if run.part(part).empty:
            raise DataError(f"{run.folder / 'split.csv'} has no '{part}' images, which {purpose}")
    if len(run.labels) < 2:
        raise DataError(f"{run.folder / 'config.yaml'} names {len(run.labels)} classes; a classifier needs two")
    report("starting TensorFlow ...")

    from ..benchmarks.stats import metrics
    from ..train import engine
    from ..train.data import patients
    from ..train.pipeline.batches import Pictures, inputs_of, load, plain_batches
    from . import confidence
    from .quantize import representative as calibration
    from .quantize.fold import fold_head
    from .quantize.heatmap import with_map
    from .quantize.post_training import Calibration, quantize
    from .tflite import answers, census, flatbuffer, front, to_tflite
    from .tflite import contract as metadata

    engine.start(run.seed, mixed_precision=False)
    model = run.model()
    spec, encoding = _spec_for(run, settings), run.encoding
    size = _front_size(run, settings)
    front_spec = spec if size is None else replace(spec, height=size[0], width=size[1])
    fronted: dict[str, Any] | None = None
    codes = tuple(label.code for label in run.labels)

    def pictures_of(rows: Any, name: str) -> Pictures:
        pictures, failures = load(
            list(rows["path"]), spec, on_progress=lambda n: report(f"\rreading {name} images: {n}/{len(rows)}")
        )
        if failures:
            first = next(iter(failures.values()))
            raise DataError(f"{len(failures)} {name} images of {run.folder} cannot be read, the first: {first}")
        report("\r")
        known = patients.encoded(encoding, rows, run.recipe.metadata_dropout) if encoding else None
        return replace(pictures, patients=known)

    representative = calibration.choose_representative(run, settings.representative)
    if len(representative) < calibration.ENOUGH:
        report(f"warning: {len(representative)} representative images; fewer than {calibration.ENOUGH} are shaky")
    calibration_pictures = pictures_of(representative, "representative")
    if calibration_pictures.patients:
        calibration_pictures = replace(calibration_pictures, patients=calibration_pictures.patients.with_gaps(run.seed))
    calibration_batch = inputs_of(calibration_pictures, spec)
    first = [array[:32] for array in calibration_batch]
    validation = pictures_of(run.part("val"), "validation")
    pixels, vectors = validation.pixels, validation.patients.vectors if validation.patients else None
    truth = run.targets(run.part("val"))
    float_scores = model.predict(plain_batches(validation, spec), verbose=0)

    report("converting the float model")
    float_file = to_tflite.float32_tflite(model)
    _check_float(float_file, first, model)
    folded = fold_head(model)
    _check_fold(folded, first, model)

    counts = np.bincount(run.targets(run.part("train")), minlength=len(codes))
    float_logits = logits_of(float_scores)
    candidates = confidence.tradeoff(float_logits, truth, counts) if settings.tau != 0 else []
    tau = confidence.choose_tau(candidates) if settings.tau is None else settings.tau
    shift = confidence.shift_for(tau, counts)
    if tau:
        folded = confidence.shift_head(folded, shift)
    network = with_map(folded) if settings.cam else folded
    wanted = float_logits + shift  # what the float network answers with this shift
    float_balanced = _balanced_accuracy(metrics, truth, wanted, codes)

    def attempt(method: str, percentile: float | None) -> _Attempt:
        history: list[dict[str, float]] = []
        simulated: npt.NDArray[np.float32] | None = None
        if method == "ptq":
            calibrates = settings.precision in CALIBRATED
            ranges = Calibration() if percentile is None else Calibration("percentile", percentile)
            report(f"quantizing after training ({settings.name})")
            quantized = quantize(
                network,
                calibration_batch,
                precision=settings.precision,
                calibration=ranges,
                io=settings.io,
                keep_float=settings.keep_float,
                vectors=(-1, 1),  # by the encoding
            )
            described: dict[str, Any] = {"method": "post-training"}
            if calibrates:
                described["calibration"] = "min/max" if percentile is None else f"percentile {percentile:g}"
        else:
            quantized, history, simulated = _quantization_aware(
                network, folded, run, settings, calibration_batch, pictures_of, validation, truth, wanted, report
            )
            described = {
                "method": "quantization-aware training",
                "epochs": settings.qat_epochs,
                "learning_rate": settings.qat_learning_rate,
                "distilled_from_the_float_model": settings.distill,
                "kept_epoch": max(history, key=lambda row: row["score"])["epoch"],
            }
        logits = answers.answers(quantized, spec, pixels, vectors, report)
        if simulated is not None:
            _check_simulation(simulated, logits, _logit_step(quantized), report)
        balanced = _balanced_accuracy(metrics, truth, logits, codes)
        return _Attempt(quantized, logits, described, history, balanced, float_balanced - balanced)

    kept, tried = _choose(attempt, settings, float_balanced, report)
    probabilities = softmax(kept.logits)
    temperature = choose_temperature(probabilities, truth) if settings.temperature else 1.0
    logits_network = kept.logits_network
    if temperature != 1.0:
        logits_network = confidence.apply_temperature(logits_network, temperature)
    edited = flatbuffer.read(logits_network)
    flatbuffer.append_softmax(edited)
    outputs = ["probabilities", "class_activation_map"][: 1 + settings.cam]
    flatbuffer.name_ends(edited, to_tflite.input_names(model), outputs)
    quantized_file = flatbuffer.write(edited)
    quantized_scores = answers.answers(quantized_file, spec, pixels, vectors, report)
    operators = census.take_census(quantized_file)
    if settings.name == "int8":
        census.assert_int8(quantized_file)
    method = {
        **kept.method,
        **_PRECISION_WORDS[settings.precision],
        "kept_in_float": list(settings.keep_float),
        "float_operators": sorted({row.operator for row in census.float_operators(operators)}),
        "representative_images": len(representative),
    }

    # Where --auto kept more than its own limit, for nothing better worked, it has said so.
    limit = settings.limit if settings.max_drop is not None or kept.drop <= (settings.limit or 0) else None
    final_drop = float_balanced - _balanced_accuracy(metrics, truth, quantized_scores, codes)
    if limit is not None and final_drop > limit:  # an int8 softmax may lose what the logits still held
        raise GateError(
            f"the finished file loses {final_drop * 100:.1f} points of balanced accuracy on the validation part, more "
            f"than --max-drop {limit:g}"
        )

    report("comparing both files on the validation part")
    where = f"the {len(truth)} validation images of {run.recipe.name}, seed {run.seed}, split {run.config.split}"
    calibrated = confidence.Calibration(tau, tuple(map(float, shift)), temperature)
    plain = confidence.Calibration(0.0, (0.0,) * len(codes), 1.0)

    trained_on = _training_pictures(run, report)

    def packed(
        content: bytes, precision: str, quantization: Any, used: Any, scores: Any, pictures: Any, before: bytes | None
    ) -> tuple[bytes, str]:
        """before: the network without its front end, where it has one, whose size then is that of `pictures`."""
        own = spec if before is None else front_spec
        thresholds = confidence.thresholds(scores, truth, run.labels, where)
        others = answers.of_others(content, own, pictures, vectors, report)
        contract = metadata.describe(
            content,
            run,
            precision=precision,
            quantization=quantization,
            calibration={**used.to_dict(), "found_on": where},
            thresholds=thresholds,
            borderline=confidence.borderline(thresholds, codes, scores, others),
            spec=own,
            license=settings.license,
            intended_use=settings.intended_use,
            training_pictures=trained_on,
            front=front.described(before, own.height, own.width) if before else None,
        )
        return metadata.packed(content, run.labels, own, contract, settings.author)

    model_bytes, contract = packed(quantized_file, settings.name, method, calibrated, quantized_scores, pixels, None)
    float_bytes, _ = packed(float_file, "float32", {"method": "none"}, plain, float_scores, pixels, None)
    files: dict[str, bytes] = {
        settings.model_file: model_bytes,
        "model_float32.tflite": float_bytes,
        LABELS_FILE: labels_text(run.labels).encode(),
        CONTRACT_FILE: contract.encode(),
        "representative.csv": tables.text(representative.loc[:, ["image_id", "group", "label"]]).encode(),
        "census.csv": census.to_csv(operators).encode(),
    }
    checked: dict[str, tuple[Any, npt.NDArray[np.float32]]] = {settings.model_file: (pixels, quantized_scores)}
    if size is not None:
        report(f"a front end of {size[0]}x{size[1]}")
        front_file = front.file_name(settings.model_file, *size)
        network_with_front = front.prepend(quantized_file, *size)
        census.assert_int8(network_with_front)
        large = answers.Files(list(run.part("val")["path"]), front_spec)
        front_scores = answers.answers(network_with_front, front_spec, large, vectors, report)
        files[front_file], _ = packed(
            network_with_front, settings.name, method, calibrated, front_scores, large, quantized_file
        )
        checked[front_file] = large, front_scores
        fronted = {
            "model": front_file,
            "input": list(size),
            "agreement": metrics.agreement(quantized_scores, front_scores),
            "largest_change": float(np.abs(front_scores - quantized_scores).max()),
            "validation": metrics.evaluate(truth, front_scores, codes, bootstrap=0),
        }
    with replacing_folder(settings.out) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        for name, (pictures, expected) in checked.items():
            _check_device(folder / name, pictures, run.part("val"), expected[:32])
    reference = softmax(wanted / temperature)
    groups = grouping.groups_of(run.part("val"))
    sizes = {name: len(content) for name, content in files.items() if name.endswith(".tflite")}
    return {
        "precision": settings.name,
        "model": settings.model_file,
        "bytes": sizes,
        "size_to_float32": sizes[settings.model_file] / sizes["model_float32.tflite"],
        "quantization": method,
        "calibration": calibrated.to_dict(),
        "logit_shift_candidates": candidates,
        "tried": tried,
        "qat_history": kept.history,
        "front": fronted,
        "operators": _counted(operators),
        "validation": {
            "n": len(truth),
            "agreement": metrics.agreement(reference, quantized_scores),
            "float32": metrics.evaluate(truth, reference, codes, groups, bootstrap=0),
            settings.name: metrics.evaluate(truth, quantized_scores, codes, groups, bootstrap=0),
        },
    }


_PRECISION_WORDS = {
    "int8": {"weights": "int8 per channel", "activations": "int8 per tensor"},
    "w8a16": {"weights": "int8 per channel", "activations": "int16 per tensor"},
    "float16": {"weights": "float16", "activations": "float32"},
    "w8a32": {"weights": "int8 per channel", "activations": "float32"},
}


def _front_size(run: Run, settings: ConvertSettings) -> tuple[int, int] | None:
    if settings.front is None:
        return None
    from .tflite.front import size_of

    return size_of(settings.front, run.input_spec.height, run.input_spec.width)


def _check_output(settings: ConvertSettings, run: Run) -> None:
    out = settings.out
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        if not settings.overwrite:
            raise OutputExistsError(out)
        if not _is_conversion(out):
            raise UsageError(f"{out} holds no conversion, so --overwrite does not replace it: choose another --out")
        check_replaceable(out, [run.folder])
    if not (run.folder / "model.keras").is_file():
        raise DataError(f"{run.folder} has no model.keras: its training has not ended; go on with --resume")


def _check_there(run: Run) -> None:
    rows = run.split.loc[run.split["split"].isin(("train", "val"))]
    gone = [path for path in rows["path"] if not is_there(path)]
    if gone:
        raise DataError(
            f"{len(gone)} of {len(rows)} pictures of {run.folder} are not there, the first is {gone[0] or 'unknown'}: "
            "--images FOLDER says where they lie now"
        )


def _training_pictures(run: Run, report: Report) -> dict[str, Any] | None:
    """For the contract: the hashes of all that the run, and those that it learned from, have seen."""
    known = run_folder.learned_from(run)
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


def _is_conversion(folder: Path) -> bool:
    try:
        contract = json.loads((folder / CONTRACT_FILE).read_bytes())
        return contract["format"] == FORMAT and any(folder.glob("model_*.tflite"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _choose(
    attempt: Callable[[str, float | None], _Attempt], settings: ConvertSettings, float_balanced: float, report: Report
) -> tuple[_Attempt, list[dict[str, Any]]]:
    """The attempt that is kept, and a row for each that was made, with why."""
    percentile = settings.percentile
    if settings.method == "auto":
        efforts = [("ptq", None), ("ptq", 99.99 if percentile is None else percentile), ("qat", None)]
    else:
        efforts = [(settings.method, percentile)]
    limit = settings.limit
    tried: list[dict[str, Any]] = []
    attempts: list[tuple[_Attempt, int]] = []  # and each one's row in `tried`
    for method, value in efforts:
        try:
            made = attempt(method, value)
        except (UsageError, ConversionError) as error:
            if settings.method != "auto":
                raise
            report(f"{_EFFORTS[method]} failed: {error}")
            failed = {"balanced_accuracy": None, "drop": None, "kept": False, "error": str(error)}
            tried.append({"effort": _EFFORTS[method], **failed})
            continue
        attempts.append((made, len(tried)))
        name = made.method["method"] + (f", {made.method['calibration']}" if "calibration" in made.method else "")
        meets = limit is None or made.drop <= limit
        tried.append({"effort": name, "balanced_accuracy": made.balanced_accuracy, "drop": made.drop, "kept": meets})
        if limit is not None:
            report(
                f"{name}: balanced accuracy {made.balanced_accuracy:.3f}, float {float_balanced:.3f}\n"
                f"  {abs(made.drop) * 100:.1f} points {'lost' if made.drop > 0 else 'gained'}, at most "
                f"{limit * 100:g} may be lost: {'kept, the smallest effort that serves' if meets else 'not kept'}"
            )
        if meets:
            return made, tried
    if attempts and settings.max_drop is None and any("error" in row for row in tried):
        # Nobody asked for a limit, and what was to do better did not work: the best of the others is what there is.
        kept, row = min(attempts, key=lambda one: one[0].drop)
        tried[row]["kept"] = True
        report(
            f"{tried[row]['effort']} is kept, the best that worked: it loses {kept.drop * 100:.1f} points of balanced "
            "accuracy on the validation part; --max-drop makes a limit of that"
        )
        return kept, tried
    drops = ", ".join(
        f"{row['effort']} " + (f"failed ({row['error']})" if "error" in row else f"{row['drop'] * 100:.1f}")
        for row in tried
    )
    raise GateError(
        f"no conversion loses at most {(limit or 0) * 100:g} points of balanced accuracy (--max-drop) on the "
        f"validation part: {drops}; try more --qat-epochs, or --keep-float for the layers that "
        "'skin-edge debug-quantization' names"
    )


def _quantization_aware(
    network: Any,
    teacher: Any,
    run: Run,
    settings: ConvertSettings,
    calibration_batch: Sequence[npt.NDArray[np.float32]],
    pictures_of: Callable[[Any, str], Any],
    validation: Any,
    truth: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.float64],
    report: Report,
) -> tuple[bytes, list[dict[str, float]], npt.NDArray[np.float32]]:
    """(a .tflite whose first output is logits, the epochs, the simulation's logits on the validation part).

    wanted: the teacher's logits there, float64 [n, classes]; a constant per row is left open.
    """
    from ..benchmarks.stats import metrics
    from ..train.engine import tf
    from ..train.pipeline.batches import plain_batches, training_batches
    from .quantize import post_training, qat
    from .tflite import flatbuffer, to_tflite

    rows, spec = run.part("train"), run.input_spec
    alone = len(calibration_batch) == 1
    quantized = qat.quantization_aware(network, calibration_batch[0] if alone else calibration_batch)
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
            balance=run.recipe.balance,
        )

    def answers_of(model: Any, spec: Any = spec) -> npt.NDArray[np.float32]:
        return tf.nest.flatten(model.predict(plain_batches(validation, spec), verbose=0))[0]

    def validate(model: Any) -> dict[str, float]:
        logits = answers_of(model)
        balanced, away = _balanced_accuracy(metrics, truth, logits, codes), qat.divergence(logits, wanted)
        # What learns from the float network is as good as it is near to it; the balanced accuracy of a few hundred
        # pictures would choose by luck among epochs that differ in a handful of answers.
        score = -away if settings.distill else balanced
        return {"score": score, "divergence": away, "balanced_accuracy": balanced}

    history = qat.train_quantized(
        quantized,
        teacher,
        batches,
        validate,
        epochs=settings.qat_epochs,
        learning_rate=settings.qat_learning_rate,
        distill=settings.distill,
        report=report,
    )
    qat.widen_dead_channels(quantized)
    network = to_tflite.trained_int8_tflite(quantized, settings.io)
    if settings.io == "uint8" and not alone:
        edited = flatbuffer.read(network)
        post_training.float_vectors(edited)
        network = flatbuffer.write(edited)
    return network, history, answers_of(quantized, _as_fed(network, spec))


def _balanced_accuracy(metrics: Any, truth: npt.NDArray[np.int64], scores: Any, codes: tuple[str, ...]) -> float:
    return float(metrics.evaluate(truth, scores, codes, bootstrap=0)["balanced_accuracy"])


def _check_float(network: bytes, inputs: Sequence[npt.NDArray[np.float32]], model: Any) -> None:
    from ..edge_runtime.interpreter import Interpreter

    interpreter = Interpreter(network)
    answers = np.concatenate([interpreter.invoke(*(one[None] for one in row))[0] for row in zip(*inputs, strict=True)])
    difference = float(np.abs(answers - model.predict(list(inputs), verbose=0)).max())
    if not difference <= FLOAT_TOLERANCE:
        raise ConversionError(
            f"the float32 .tflite differs from the Keras model by {difference:.1e} on {len(answers)} training images; "
            f"at most {FLOAT_TOLERANCE:.0e} is rounding"
        )


def _check_fold(folded: Any, inputs: Sequence[npt.NDArray[np.float32]], model: Any) -> None:
    probabilities = softmax(folded.predict(list(inputs), verbose=0).astype(np.float64))
    difference = float(np.abs(probabilities - model.predict(list(inputs), verbose=0)).max())
    if not difference <= FOLD_TOLERANCE:
        raise ConversionError(
            f"folding the head's BatchNormalization changed a probability by {difference:.1e}; "
            f"at most {FOLD_TOLERANCE:.0e} is rounding"
        )


def _check_simulation(
    simulated: npt.NDArray[np.float32], answers: npt.NDArray[np.float32], step: float, report: Report
) -> None:
    """Raises ConversionError where more of the answers differ than rounding and chance explain; says what is noise.

    simulated, answers: logits [n, classes]. step: between two neighbouring logits of the file.
    """
    chosen = np.take_along_axis(simulated, answers.argmax(axis=1)[:, None], axis=1)[:, 0]
    flipped = int((simulated.max(axis=1) - chosen > TIE * step).sum())
    if flipped <= max(2, MOST_FLIPPED * len(answers)):
        return
    low, high = wilson(flipped / len(answers), len(answers))
    if low > MOST_FLIPPED:
        raise ConversionError(
            f"the int8 file gives another top class than its simulation in training for {flipped} of {len(answers)} "
            f"validation images (95% interval {low:.1%} to {high:.1%}), by more than {TIE} steps of its logits; at "
            f"most {MOST_FLIPPED:.0%} is rounding"
        )
    report(
        f"warning: the int8 file gives another top class than its simulation for {flipped} of {len(answers)} "
        f"validation images (95% interval {low:.1%} to {high:.1%}), which is within noise of the "
        f"{MOST_FLIPPED:.0%} that rounding does: more validation images would tell"
    )


def _as_fed(network: bytes, spec: Any) -> Any:
    """The spec whose input values are those of the file's integers, where bytes go in unchanged (`byte_table`).

    They are half a step off the training's, which lie between two integers: a simulation fed with those rounds some up
    and some down, by the noise of float32.
    """
    from ..edge_runtime.interpreter import Interpreter

    source = Interpreter(network).inputs[0]
    if not source.quantization.is_quantized:
        return spec
    zero = float(source.quantization.zero_point - np.iinfo(source.dtype).min)
    return replace(spec, mean=(zero,) * 3, std=(1 / source.quantization.scale,) * 3)


def _logit_step(network: bytes) -> float:
    """The scale of the int8 logits, a quantized network's first output or what is dequantized into it."""
    parsed = Network(network)
    logits = parsed.outputs[0]
    for operator in parsed.operators:
        if operator.name == "DEQUANTIZE" and operator.outputs[0] == logits:
            logits = operator.inputs[0]
    return logits.scales[0]


def _spec_for(run: Run, settings: ConvertSettings) -> InputSpec:
    """How the file's pictures are prepared: as the run's; a run of before contract 4 has them decoded in full."""
    scaled = settings.scaled_decode or run.input_spec.decoding == SCALED
    return replace(run.input_spec, decoding=SCALED if scaled else FULL)


def _check_device(path: Path, pictures: Any, rows: Any, expected: npt.NDArray[np.float32]) -> None:
    """The finished file, read and fed as a device does, answers as the network did.

    pictures, rows: of the validation part, of which the first as many as `expected` are asked.
    """
    from ..edge_runtime.classifier import SkinClassifier

    classifier = SkinClassifier(path)
    known = rows.to_dict("records")
    answers = np.stack(
        [
            classifier.invoke(classifier.to_tensor(pictures[position]), classifier.row_to_vector(known[position]))
            for position in range(len(expected))
        ]
    )
    difference = float(np.abs(answers - expected).max())
    if not difference <= 1e-6:
        raise ConversionError(f"the finished {path.name} answers otherwise than its network, by {difference:.1e}")


def _counted(operators: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in operators:
        key = f"{row.operator} ({row.inputs.split(' ')[0]})"
        counts[key] = counts.get(key, 0) + 1
    return counts
