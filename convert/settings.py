"""The settings of a conversion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..edge_runtime.errors import UnknownNameError, UsageError, require
from ..edge_runtime.preprocess import InputSpec
from .quantize.representative import PRECISIONS

METHODS = ("qat", "ptq", "auto")
AUTO_MAX_DROP = 0.01  # of balanced accuracy, 0..1


@dataclass(frozen=True)
class ConvertSettings:
    """The settings of a conversion.

    Attributes:
        run: The folder that `skin-edge train` wrote.
        out: The folder to create.
        precision: One of PRECISIONS.
        method: For int8. "qat": quantization-aware training. "ptq": post-training quantization. "auto": the first of
            these, least effort first, that stays within max_drop.
        percentile: Of post-training calibration; None is the extremes.
        max_drop: Largest accepted loss of balanced accuracy against the float model on the validation part, 0..1; more
            is a GateError.
        keep_float: Patterns of layer names that stay in float (post-training only).
        io: Dtype of the input ("uint8", "int8", "float32").
        qat_epochs: Epochs of quantization-aware training, at least 1.
        qat_learning_rate: Its learning rate, above 0.
        distill: Whether quantization-aware training learns from the float model's outputs.
        representative: Number of training images in the representative dataset, at least 1.
        temperature: Whether to calibrate the probabilities by a temperature, found on the validation part.
        tau: Strength of the logit shift for rare classes, 0 is none, None is chosen on the validation part.
        cam: Whether a class activation map is the second output.
        front: "HEIGHTxWIDTH" or "auto": also a file that takes such a picture and reduces it by itself (`front`).
        micro: Whether the file is for a microcontroller: int8 in and out, the softmax left to the port.
        arena_kb, flash_kb: Memory and flash of that microcontroller, in units of 1024 bytes; None: not checked.
        scaled_decode: The file asks for large JPEGs at 1/2, 1/4 or 1/8, also where the run was not trained so.
        assessment: Whether the file says when a picture cannot be assessed, and which classes are possible.
        training_pictures: Whether the file has hashes of the pictures that it learned from (about 9 bytes of each), by
            which `evaluate` and `bench` recognise them.
        author, license: Of the model, for its metadata; by default skin-edge and what the data's terms ask.
        intended_use: What the model is for, in words; by default what is known of the data (`contract.describe`).
        overwrite: Whether a conversion in `out` is replaced.
        images: The folder in which the run's pictures are now; None is where they were, seen from the run.
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
    micro: bool = False
    arena_kb: int | None = None
    flash_kb: int | None = None
    scaled_decode: bool = False
    assessment: bool = True
    training_pictures: bool = True
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

    def front_size(self, spec: InputSpec) -> tuple[int, int] | None:
        """(height, width) of the front end, None without one. Raises UsageError where it does not fit the network."""
        from .tflite.front import size_of

        return None if self.front is None else size_of(self.front, spec.height, spec.width)

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
            raise UsageError(f"precision {self.precision} takes float32 input: leave --io out, or use --io float32")
        if self.front is not None and (self.name, self.io) != ("int8", "uint8"):
            raise UsageError("a front end goes before an int8 network that takes bytes: --front with --int8, no --io")
        if self.micro and ((self.name, self.io) != ("int8", "int8") or self.cam or self.front):
            raise UsageError(
                "a microcontroller's file is int8 throughout, without a map and a front end: --micro alone"
            )
        if (self.arena_kb or self.flash_kb) and not self.micro:
            raise UsageError("--arena and --flash go with --micro")
        if self.arena_kb:
            require("tflite_micro")  # before hours of training
        if self.percentile is not None and self.method == "qat":
            raise UsageError("a percentile is for post-training calibration: --ptq or --auto")
        if self.percentile is not None and self.precision in ("float16", "w8a32"):
            raise UsageError(f"precision {self.precision} has no calibration: leave --calibration out")
