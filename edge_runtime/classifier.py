"""`SkinClassifier`: a .tflite file and a picture -> a `Prediction`."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from . import assessment, packaged, preprocess
from . import contract as contracts
from .assessment import Reason
from .errors import MetadataError, ModelFileError, PredictionError, SkinEdgeError, UsageError
from .interpreter import Interpreter, Tensor
from .model_file import ModelFile, read_model_file
from .preprocess import ImageLike
from .quantization import byte_table, dequantize, quantize, softmax_of

if TYPE_CHECKING:
    import numpy.typing as npt

    # The input tensor, that of the metadata where some is given, what was measured of the picture, and the milliseconds
    # that they took.
    _Prepared = tuple[npt.NDArray[Any], npt.NDArray[Any] | None, Mapping[str, float], float]

METADATA_INPUT = "metadata"
"""Name of the second input, where the network has one: as a tensor and in its signature."""

DISCLAIMER = "For research and product development. Not a medical device."

DEFAULT_MODEL = packaged.file_of(packaged.DEFAULT)


@dataclass(frozen=True)
class Decision:
    """What one of the file's thresholds says of a picture: docs/contract.md, section 8.

    Attributes:
        name: Such as "mel-0.95", the target and the sensitivity it was chosen for.
        score: Of the threshold's classes, 0..1.
        threshold: Frozen in the file.
        decision: "refer" or "below", which is not an all-clear.
        borderline: Whether another correct implementation may decide otherwise; None where the file, of an earlier
            format, does not say.
    """

    name: str
    score: float
    threshold: float
    decision: str
    borderline: bool | None


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Where `assessable` is False, it is "cannot assess" and the reasons: label, probabilities and decisions are then for
    measurements alone, and must not be shown as an answer.

    Attributes:
        label: The code of the most probable class.
        probabilities: Code -> 0..1 over all classes, largest first.
        preprocess_ms: Time of decoding, resizing and quantizing, in milliseconds.
        inference_ms: Time of the network, in milliseconds.
        decisions: One for each of the file's thresholds, in their order; none where it has none.
        reasons: Why it cannot be assessed; none where it can, or where the file has no limits.
        possible: The codes of the classes that it may well be, in the order of the labels: of validation pictures of
            each class a stated share (`contract["possible"]["coverage"]`) has the true one among them. None where the
            file does not say. The most probable class is always among them.
        features: What was measured for the assessment, by name; empty where the file has no limits.
    """

    label: str
    probabilities: dict[str, float]
    preprocess_ms: float
    inference_ms: float
    decisions: tuple[Decision, ...] = ()
    reasons: tuple[Reason, ...] = ()
    possible: tuple[str, ...] | None = None
    features: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def assessable(self) -> bool:
        """Whether none of the file's limits is broken."""
        return not self.reasons

    @property
    def refusal(self) -> str:
        """ "cannot assess: too dark (more light); ..."; empty where the picture can be assessed."""
        return assessment.in_words(self.reasons)


class SkinClassifier:
    """Classifies pictures with a .tflite file: one that `skin-edge convert` wrote, or one that others made.

    One classifier may be called from several threads: they take turns at the network. As a context manager it is
    closed at the end.

    Args:
        model_path: The file, or the name of a packaged model (`packaged.path_of`); None is "default". Or what
            `read_model_file` has read of it, which goes from process to process.
        num_threads: Threads of the interpreter, 1 to 256.
        mean: Of the input of a float model that others made: it takes (pixel - mean) / std, with pixels of 0..255.
        std: Of the input of such a model, above 0.
        labels: A text file with the labels of a model that others made, one per line.
        delegate: "xnnpack", the engine's default; "none"; or the path of an external delegate; see `Interpreter`.

    Raises:
        ModelFileError: Where the file is missing, damaged, changed since it was sealed, or no image classifier with
            three colour channels.
        UsageError: Where the delegate cannot be used.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | ModelFile | None = None,
        num_threads: int = 1,
        *,
        mean: float | None = None,
        std: float | None = None,
        labels: str | os.PathLike[str] | None = None,
        delegate: str | os.PathLike[str] = "xnnpack",
    ):
        if not 1 <= num_threads <= 256:  # LiteRT crashes the process where it cannot start as many
            raise ValueError(f"num_threads must be 1 to 256, not {num_threads}")
        if isinstance(model_path, ModelFile):
            file = model_path
        else:
            file = read_model_file(
                packaged.DEFAULT if model_path is None else model_path, mean=mean, std=std, labels_file=labels
            )
        self.path = file.path
        self.labels = file.labels
        self.input_spec = file.input_spec
        self.contract = file.contract
        self.encoding = file.encoding
        try:
            self.interpreter = Interpreter(file.content, num_threads, os.fspath(delegate))
            self._input, self._output = _checked(self.interpreter, file)
            self._vector = _checked_vector(self.interpreter, file)
        except ModelFileError as error:
            raise ModelFileError(f"{file.path}: {error}") from None
        self._to_probabilities = _TO_PROBABILITIES.get(file.scores)
        self._codes = tuple(label.code for label in file.labels)
        table = byte_table(file.input_spec.real_table, self._input.quantization, self._input.dtype)
        self._table = table[:, 0] if (table == table[:, :1]).all() else table
        self._bytes_unchanged = self._table.dtype == np.uint8 and np.array_equal(self._table, np.arange(256))
        _check_input_bytes(file, self._bytes_unchanged)
        self._thresholds = _thresholds(file.contract, self._codes)
        self._checks = assessment.checks_of(file.contract)
        self._possible = contracts.possible_thresholds(file.contract)
        names = [output.get("name") for output in file.contract.get("outputs", ())]
        # Of a file before version 6 whatever comes second is the map.
        self._map = 1 if len(names) > 1 and names[1] != assessment.OUTLIER_SCORE else None
        self._outlier_score = names.index(assessment.OUTLIER_SCORE) if assessment.OUTLIER_SCORE in names else None
        self._lock = threading.Lock()
        _alive.add(self)
        self._nothing_known = None if self._vector is None else self.to_vector(None)

    def __enter__(self) -> SkinClassifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forget_lock(self) -> None:
        """In the child of a fork: the thread that held it is not there."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Releases the network. Every prediction afterwards raises UsageError; closing twice is allowed."""
        with self._lock:
            self.interpreter.close()

    def predict(self, image: ImageLike, metadata: Mapping[str, object] | None = None) -> Prediction:
        """One picture -> its Prediction.

        Args:
            image: A path; the bytes of a file (bytes, bytearray, memoryview); a file open for reading bytes, which is
                read to its end; a Pillow image; or a uint8 array [height, width, 3] in RGB.
            metadata: For a model that was trained with it (`encoding` names its fields): {"age": 45, "sex": "female"}.
                What is left out, None, "" or "unknown" is not known, and so is everything without metadata: the model
                was trained with such gaps. See `patient.Encoding.encode`.

        Raises:
            ImageError: Where it cannot be decoded.
            MetadataError: For a field, a word or a value that the model does not know.
            PredictionError: Where the network's answer is not finite: all mean "cannot assess", never "benign".
        """
        return self._answer(*self._prepare(image, metadata))[0]

    def predict_many(
        self,
        images: Iterable[ImageLike],
        *,
        workers: int = 2,
        metadata: Iterable[Mapping[str, object] | None] | None = None,
    ) -> Iterator[Prediction | SkinEdgeError]:
        """Classifies many images, and decodes the next ones while the network answers.

        At most workers + 1 images are taken ahead of the answers, so an endless iterable is fine; an array or Pillow
        image must not change before its answer is there.

        Args:
            images: Each as `predict` takes it.
            workers: Number of threads that decode, at least 1.
            metadata: One per image, as `predict` takes it; None for a model of images alone.

        Returns:
            One answer per image, in their order: the Prediction, or the error that `predict` raises for that image.

        Raises:
            ValueError: Where `workers` is below 1, or `metadata` has more or fewer entries than `images`.
        """
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        pairs = ((image, None) for image in images) if metadata is None else zip(images, metadata, strict=True)
        return self._predict_many(pairs, workers)

    def _predict_many(
        self, pairs: Iterable[tuple[ImageLike, Mapping[str, object] | None]], workers: int
    ) -> Iterator[Prediction | SkinEdgeError]:
        process = os.getpid()
        with self.ahead(workers) as ahead:
            for image, known in pairs:
                if os.getpid() != process:
                    raise UsageError("these answers belong to the process that was forked: request new ones")
                ahead.put(image, known)
                if len(ahead) > workers:
                    yield ahead.get()
            while len(ahead) and os.getpid() == process:
                yield ahead.get()

    def ahead(self, workers: int = 2) -> Ahead:
        """What `predict_many` is made of, for pictures that come in their own time.

        Args:
            workers: Number of threads that decode, at least 1.
        """
        return Ahead(self._prepare, lambda prepared: self._answer(*prepared)[0], workers)

    def predict_frame(
        self,
        frame: npt.NDArray[np.uint8],
        layout: str = "rgb",
        rotation: int = 0,
        *,
        width: int | None = None,
        full_range: bool = True,
        metadata: Mapping[str, object] | None = None,
    ) -> Prediction:
        """A frame of a camera -> its Prediction.

        Args:
            frame: uint8, of the shape that `layout` has.
            layout: One of `frames.LAYOUTS`, such as "rgb" or "nv21".
            rotation: Degrees clockwise to turn the frame upright: 0, 90, 180 or 270.
            width: Pixels of a row that are image, where rows are padded; None takes all.
            full_range: Whether YUV values are 0..255 (JPEG) rather than 16..235.
            metadata: As `predict` takes it.

        Raises:
            ImageError: Where the array does not have the layout's shape or is not uint8.
            UnknownNameError: For another layout.
            UsageError: For another rotation.
            MetadataError: As `predict` does.
            PredictionError: As `predict` does.
        """
        from . import frames

        start = perf_counter()
        rgb = frames.to_rgb(frame, layout, rotation, width=width, full_range=full_range)
        converted_ms = (perf_counter() - start) * 1000
        tensor, vector, features, preprocess_ms = self._prepare(rgb, metadata)
        return self._answer(tensor, vector, features, converted_ms + preprocess_ms)[0]

    def predict_pixels(
        self, pixels: npt.NDArray[np.uint8], vector: npt.NDArray[Any] | None = None
    ) -> tuple[Prediction, npt.NDArray[np.float32]]:
        """As `predict`, of a picture that is decoded and resized already, as when several models share it; for figures.

        Args:
            pixels: uint8 [height, width, 3] in RGB, of the network's input size: what `preprocess.to_pixels` returns.
            vector: `to_vector`'s, for a model that takes metadata; None knows nothing of the patient.

        Returns:
            The Prediction, and its probabilities as `invoke` returns them: [classes], in the order of `labels`, of
            which those of files that others made may have two alike.

        Raises:
            PredictionError: As `predict` does.
        """
        prediction, outputs = self._answer(*self._measured(pixels, vector, perf_counter()))
        return prediction, self._to_scores(outputs)

    @property
    def has_map(self) -> bool:
        """Whether `predict_with_map` has a class activation map to give."""
        return self._map is not None

    def predict_with_map(
        self, image: ImageLike, metadata: Mapping[str, object] | None = None
    ) -> tuple[Prediction, npt.NDArray[np.float32]]:
        """As `predict`, and the class activation map: float32 [rows, columns, classes], in the order of `labels`.

        Each position covers an equal part of the whole upright picture; its value is what the part adds to the logit
        of the class (the mean over the positions is the logit). `heatmap.overlay` draws it. Zhou et al., "Learning
        deep features for discriminative localization", CVPR 2016.

        Args:
            image: As `predict` takes it.
            metadata: As `predict` takes it.

        Raises:
            UsageError: Where the model was converted without --cam.
        """
        if self._map is None:
            raise UsageError(f"{self.path} has no class activation map: convert the run with --cam")
        prediction, outputs = self._answer(*self._prepare(image, metadata))
        return prediction, self._real(outputs, self._map)[0]

    def _real(self, outputs: tuple[npt.NDArray[Any], ...], position: int) -> npt.NDArray[np.float32]:
        return dequantize(outputs[position], self.interpreter.outputs[position].quantization)

    def _prepare(self, image: ImageLike, metadata: Mapping[str, object] | None) -> _Prepared:
        """Several threads may do so at once."""
        start = perf_counter()
        vector = self.to_vector(metadata) if metadata else None
        return self._measured(preprocess.to_pixels(image, self.input_spec), vector, start)

    def _measured(self, pixels: npt.NDArray[np.uint8], vector: npt.NDArray[Any] | None, start: float) -> _Prepared:
        """start: when its preparation began."""
        features: Mapping[str, float] = assessment.measure(pixels) if self._checks else {}
        tensor = self.to_tensor(pixels)
        return tensor, vector, features, (perf_counter() - start) * 1000

    def _answer(
        self,
        tensor: npt.NDArray[Any],
        vector: npt.NDArray[Any] | None,
        features: Mapping[str, float],
        preprocess_ms: float,
    ) -> tuple[Prediction, tuple[npt.NDArray[Any], ...]]:
        start = perf_counter()
        outputs = self._invoke(tensor, vector)
        probabilities = self._to_scores(outputs)
        inference_ms = (perf_counter() - start) * 1000
        order: list[int] = np.argsort(-probabilities, kind="stable").tolist()
        ranked = {self._codes[i]: float(probabilities[i]) for i in order}
        measured = self.with_score(features, outputs)
        prediction = Prediction(
            self._codes[order[0]],
            ranked,
            preprocess_ms,
            inference_ms,
            self.decide(probabilities),
            assessment.failed(self._checks, measured),
            self.possible(probabilities),
            measured,
        )
        return prediction, outputs

    def with_score(self, features: Mapping[str, float], outputs: tuple[npt.NDArray[Any], ...]) -> Mapping[str, float]:
        """`assessment.measure`'s features, with the network's own where the file has such an output.

        Args:
            features: Of the picture; empty where nothing is assessed.
            outputs: The network's, as `outputs` returns them.

        Raises:
            PredictionError: Where the score is not finite.
        """
        if self._outlier_score is None or not self._checks:
            return features
        score = float(self._real(outputs, self._outlier_score).ravel()[0])
        if not math.isfinite(score):
            raise PredictionError(f"cannot assess: the network's {assessment.OUTLIER_SCORE} is not finite")
        return {**features, assessment.OUTLIER_SCORE: score}

    def possible(self, probabilities: npt.NDArray[np.float32]) -> tuple[str, ...] | None:
        """The codes of the classes that a picture may well be; None where the file does not say.

        Args:
            probabilities: [classes], in the order of `labels`.
        """
        if self._possible is None:
            return None
        values: list[float] = probabilities.tolist()
        top = int(np.argmax(probabilities))
        return tuple(
            code
            for position, (code, value, limit) in enumerate(zip(self._codes, values, self._possible, strict=True))
            if value >= limit or position == top
        )

    def decide(self, probabilities: npt.NDArray[np.float32]) -> tuple[Decision, ...]:
        """What each of the file's thresholds says.

        Args:
            probabilities: [classes], in the order of `labels`.
        """
        values: list[float] = probabilities.tolist()
        decisions: list[Decision] = []
        for name, positions, threshold, within in self._thresholds:
            score = sum(values[position] for position in positions)
            decision = "refer" if score >= threshold else "below"
            borderline = None if within is None else abs(score - threshold) < within
            decisions.append(Decision(name, score, threshold, decision, borderline))
        return tuple(decisions)

    @property
    def operating_points(self) -> tuple[str, ...]:
        """The names of the file's thresholds, in their order: "malignant-0.90", "mel-0.95", ..."""
        return tuple(name for name, *_ in self._thresholds)

    def to_tensor(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """uint8 [height, width, 3] -> the input tensor [1, height, width, 3] in the network's dtype.

        Args:
            pixels: RGB, of the network's input size, such as `preprocess.to_pixels` returns.
        """
        if self._bytes_unchanged:
            return pixels[None]
        if self._table.ndim == 1:
            return self._table[pixels][None]
        return np.stack([self._table[pixels[..., channel], channel] for channel in range(3)], axis=-1)[None]

    def to_vector(self, metadata: Mapping[str, object] | None) -> npt.NDArray[Any]:
        """What is known of the patient -> the second input tensor [1, length] in the network's dtype.

        Args:
            metadata: As `predict` takes it.

        Raises:
            MetadataError: As `predict` does, and where the model takes pictures alone.
        """
        if self.encoding is None:
            raise MetadataError(f"{self.path} takes no metadata: it was trained on pictures alone")
        return self._as_tensor(self.encoding.encode(metadata))

    def row_to_vector(self, row: Mapping[str, object]) -> npt.NDArray[Any] | None:
        """As `to_vector`, from a row of a data set (`patient.Encoding.of_row`); None for a model of pictures alone.

        Args:
            row: Column -> value.
        """
        return None if self.encoding is None else self._as_tensor(self.encoding.of_row(row))

    def _as_tensor(self, vector: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        assert self._vector is not None
        quantization = self._vector.quantization
        return (quantize(vector, quantization, self._vector.dtype) if quantization.is_quantized else vector)[None]

    def invoke(self, tensor: npt.NDArray[Any], vector: npt.NDArray[Any] | None = None) -> npt.NDArray[np.float32]:
        """The input tensor -> float32 [classes], probabilities in the order of `labels`.

        Args:
            tensor: `to_tensor`'s.
            vector: `to_vector`'s, for a model that takes metadata; None knows nothing of the patient.

        Raises:
            PredictionError: Where one of them is not finite.
        """
        return self._to_scores(self._invoke(tensor, vector))

    def outputs(self, tensor: npt.NDArray[Any], vector: npt.NDArray[Any] | None = None) -> tuple[npt.NDArray[Any], ...]:
        """As `invoke`, but every output as the network gives it, in the file's order.

        Args:
            tensor: `to_tensor`'s.
            vector: `to_vector`'s, for a model that takes metadata; None knows nothing of the patient.
        """
        return self._invoke(tensor, vector)

    def _invoke(self, tensor: npt.NDArray[Any], vector: npt.NDArray[Any] | None) -> tuple[npt.NDArray[Any], ...]:
        if self._nothing_known is None:
            values = (tensor,)
        else:
            known = self._nothing_known if vector is None else vector
            values = (tensor, known) if self.interpreter.inputs[0] is self._input else (known, tensor)
        with self._lock:
            return self.interpreter.invoke(*values)

    def to_probabilities(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The values of the network's first output -> probabilities, without a check of the result.

        `invoke` does this and checks it; apart from it for an answer that another engine gave.

        Args:
            values: float32 [classes], the real values of the first output.
        """
        return self._to_probabilities(values) if self._to_probabilities else values

    def _to_scores(self, outputs: tuple[npt.NDArray[Any], ...]) -> npt.NDArray[np.float32]:
        scores = self.to_probabilities(dequantize(outputs[0].ravel(), self._output.quantization))
        if not np.isfinite(scores).all():
            raise PredictionError("cannot assess: the network's output has a value that is not finite")
        if self.contract and (scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING):
            raise PredictionError("cannot assess: the network's output has a value outside 0..1")
        return scores


class Ahead:
    """Pictures that are decoded before it is their turn; made by `SkinClassifier.ahead`, and a context manager.

    Args:
        prepare: Decodes, on one of the threads.
        answer: Runs the network, on the caller's thread.
        workers: Number of threads.
    """

    def __init__(
        self,
        prepare: Callable[[ImageLike, Mapping[str, object] | None], _Prepared],
        answer: Callable[[_Prepared], Prediction],
        workers: int,
    ):
        from collections import deque
        from concurrent.futures import Future, ThreadPoolExecutor  # a single picture starts faster without

        self._prepare, self._answer = prepare, answer
        self._waiting: deque[Future[_Prepared]] = deque()
        self._pool = ThreadPoolExecutor(workers)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, image: ImageLike, metadata: Mapping[str, object] | None = None) -> None:
        """Begins to decode.

        Args:
            image: As `SkinClassifier.predict` takes it.
            metadata: As there.
        """
        self._waiting.append(self._pool.submit(self._prepare, image, metadata))

    def get(self) -> Prediction | SkinEdgeError:
        """The answer of the first one that has none, or the error that `SkinClassifier.predict` raises for it."""
        try:
            return self._answer(self._waiting.popleft().result())
        except MetadataError as error:
            return error
        except UsageError:  # closed: not the image's fault
            raise
        except SkinEdgeError as error:
            return error

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


_alive: weakref.WeakSet[SkinClassifier] = weakref.WeakSet()


def _forget_locks() -> None:
    for classifier in list(_alive):
        classifier.forget_lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_locks)


# A softmax in float32 may be above 1 by so much.
_ROUNDING = 1e-6


def _thresholds(
    contract: Mapping[str, Any], codes: Sequence[str]
) -> tuple[tuple[str, tuple[int, ...], float, float | None], ...]:
    """(name, positions of its classes in the order of the labels, threshold, what is borderline) of each."""
    rows: list[tuple[str, tuple[int, ...], float, float | None]] = []
    for row in contract.get("thresholds", ()):
        positions = tuple(position for position, code in enumerate(codes) if code in row["classes"])
        within = row.get("borderline_within")
        limit = None if within is None else float(within)
        rows.append((contracts.threshold_name(row), positions, float(row["threshold"]), limit))
    return tuple(rows)


def _check_input_bytes(file: ModelFile, unchanged: bool) -> None:
    described: dict[str, Any] = file.contract.get("input") or {}
    said = described.get("bytes")
    if said is not None and (said == contracts.UNCHANGED) != unchanged:
        raise ModelFileError(f"{file.path}: its contract says that bytes go in {said}, its tensor otherwise")


def _of_two(probability: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.concatenate([1 - probability, probability])


def _sigmoid_of_two(logit: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return softmax_of(np.concatenate([np.zeros_like(logit), logit]))


# ModelFile.scores -> what makes probabilities of them. Only files of others need it.
_TO_PROBABILITIES = {"logits": softmax_of, "probability": _of_two, "logit": _sigmoid_of_two}


def _checked(interpreter: Interpreter, file: ModelFile) -> tuple[Tensor, Tensor]:
    """The input and the output with the answer, where the interpreter sees them as the file describes them."""
    spec, classes = file.input_spec, 1 if file.scores in ("probability", "logit") else len(file.labels)
    outputs = len(file.contract.get("outputs", ["probabilities"]))
    inputs = 1 if file.encoding is None else 2
    if len(interpreter.inputs) != inputs or len(interpreter.outputs) != outputs:
        raise ModelFileError(
            f"the network has {len(interpreter.inputs)} inputs and {len(interpreter.outputs)} outputs, not {inputs} "
            f"and {outputs}"
        )
    source, target = interpreter.inputs[0], interpreter.outputs[0]
    if inputs == 2 and source.name == METADATA_INPUT:  # a converter may permute them
        source = interpreter.inputs[1]
    if source.shape != (1, spec.height, spec.width, 3):
        raise ModelFileError(
            f"the input is {list(source.shape)}, but the file says [1, {spec.height}, {spec.width}, 3]"
        )
    if math.prod(target.shape) != classes:
        raise ModelFileError(f"the output is {list(target.shape)}, but the file lists {classes} labels")
    for other, described in zip(interpreter.outputs[1:], file.contract.get("outputs", ())[1:], strict=True):
        if described.get("name") == assessment.OUTLIER_SCORE:
            if math.prod(other.shape) != 1:
                raise ModelFileError(f"output {other.name} is {list(other.shape)}, not one {assessment.OUTLIER_SCORE}")
        elif len(other.shape) != 4 or other.shape[0] != 1 or other.shape[3] != classes:
            raise ModelFileError(f"output {other.name} is {list(other.shape)}, no map of {classes} classes")
    for tensor in (source, target):
        if tensor.dtype not in (np.uint8, np.int8, np.float32):
            raise ModelFileError(f"tensor {tensor.name} is {np.dtype(tensor.dtype)}, not uint8, int8 or float32")
        raw_bytes = tensor is source and not file.contract  # others' networks may take bytes without a scale
        if (tensor.dtype != np.float32) != tensor.quantization.is_quantized and not raw_bytes:
            raise ModelFileError(f"tensor {tensor.name} is {np.dtype(tensor.dtype)} but its scale does not fit that")
    return source, target


def _checked_vector(interpreter: Interpreter, file: ModelFile) -> Tensor | None:
    """The input of the metadata, where the file describes one."""
    if file.encoding is None:
        return None
    tensor = next((tensor for tensor in interpreter.inputs if tensor.name == METADATA_INPUT), None)
    if tensor is None:
        raise ModelFileError(f"the network has no input named {METADATA_INPUT}")
    if tensor.shape != (1, file.encoding.length):
        raise ModelFileError(
            f"the input {tensor.name} is {list(tensor.shape)}, but the file says [1, {file.encoding.length}]"
        )
    if tensor.dtype not in (np.uint8, np.int8, np.float32):
        raise ModelFileError(f"tensor {tensor.name} is {np.dtype(tensor.dtype)}, not uint8, int8 or float32")
    if (tensor.dtype != np.float32) != tensor.quantization.is_quantized:
        raise ModelFileError(f"tensor {tensor.name} is {np.dtype(tensor.dtype)} but its scale does not fit that")
    return tensor
