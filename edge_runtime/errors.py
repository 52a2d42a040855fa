"""Every exception that a user can cause, and the exit code each one ends a command with.

Exit codes: 0 good, 1 failed, 2 wrong usage, 3 a gate was not met. A message is one line that says what is
wrong, where, and what to do; `cli.main` prints it once, as `error: <message>`.
"""

from __future__ import annotations

from collections.abc import Iterable

MOST_CHARACTERS = 2000
"""Of a message: what a file says may be quoted in it, and may be long."""


class SkinEdgeError(Exception):
    """Something failed that was not a programming error. Base of all exceptions of this package."""

    exit_code = 1

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 300]} ... {text[-200:]}"


class UsageError(SkinEdgeError):
    """The call itself is wrong: no such path, contradicting options, an output that exists."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in the table it was looked up in: `unknown` makes the message of the same arguments.

    Args:
        kind: What it is a name of, such as "layout".
        name: The unknown name.
        known: The names that are known.
        among: Where to look for what was meant, if not in `known`.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], among: Iterable[str] = ()):
        super().__init__(unknown(kind, name, known, among))


def unknown(kind: str, name: str, known: Iterable[str], among: Iterable[str] = ()) -> str:
    """What is said of a name that is not known: the likeliest that was meant, and the known ones.

    Args:
        kind: What it is a name of, such as "layout".
        name: The unknown name.
        known: The names that are known.
        among: Where to look for what was meant, if not in `known`, which may be shortened.
    """
    from difflib import get_close_matches

    known = list(known)
    names = list(among) or known
    lowered = {other.rpartition(".")[2].lower(): other for other in names} | {other.lower(): other for other in names}
    wanted = name[:100].lower()
    longer = [other for other in lowered if wanted and other.startswith(wanted)]
    close = longer[:1] or get_close_matches(wanted, lowered, n=1)
    meant = f" (did you mean '{lowered[close[0]]}'?)" if close else ""
    return f"unknown {kind} '{name}'{meant}; known: {', '.join(known)}"


class OutputExistsError(UsageError):
    """The output is there already and nothing allowed its replacement."""

    def __init__(self, path: object, remedy: str = "choose another --out, or replace it with --overwrite"):
        super().__init__(f"{path} exists already: {remedy}")


class UnwritableError(SkinEdgeError):
    """An output that cannot be written although the call is right: no space, no permission, a broken disk.

    Args:
        path: Of the output.
        reason: The system's.
        remedy: What to do, with what stands before it, such as ": make room".
    """

    def __init__(self, path: object, reason: str, remedy: str = ""):
        self.path, self.reason, self.remedy = path, reason, remedy
        super().__init__(f"{path} cannot be written ({reason}){remedy}")


class ImageError(SkinEdgeError):
    """An image that cannot be decoded, or that is nothing a model can look at."""


class ModelFileError(SkinEdgeError):
    """A model file that is no .tflite, is damaged, or does not say how it wants to be fed."""


class MetadataError(UsageError):
    """What is said of a patient and a model cannot take: an unknown field or word, or an impossible value."""


class PredictionError(SkinEdgeError):
    """The network ran but its answer cannot be used (not finite): the case cannot be assessed."""


class DataError(SkinEdgeError):
    """A data set, csv or run folder that does not hold what is needed."""


class ConversionError(SkinEdgeError):
    """A conversion whose result does not hold what its name promises."""


class GateError(SkinEdgeError):
    """A measured figure is beyond the limit that was set for it."""

    exit_code = 3


class PlatformError(SkinEdgeError):
    """This machine has no TFLite interpreter that can be installed."""


class MissingExtraError(SkinEdgeError):
    """A package is not installed that an optional part needs."""

    def __init__(self, module: str, extra: str):
        super().__init__(
            f"this needs {module}, which is not installed: "
            f'pip install "skin-edge[{extra}]" (in a checkout: pip install ".[{extra}]")'
        )


# Top-level module -> the extra that brings it.
EXTRA_OF_MODULE = {
    "sklearn": "train",
    "tensorflow": "train",
    "tf_keras": "train",
    "tensorflow_model_optimization": "train",
    "pandas": "train",
    "h5py": "train",
    "matplotlib": "train",
    "imagehash": "train",
    "scipy": "train",
    "optuna": "train",
    "sqlalchemy": "train",
    "yaml": "bench",
    "jinja2": "bench",
    "markupsafe": "bench",
    "flatbuffers": "train",
    "cv2": "train",
    "atheris": "fuzz",
    "tflite_micro": "micro",
    "ethosu": "micro",
    "flask": "serve",
    "werkzeug": "serve",
    "waitress": "serve",
    "watchfiles": "watch",
    "pyarrow": "parquet",
    "distributed": "dask",
}


def require(*modules: str) -> None:
    """Raises MissingExtraError for the first of the optional modules that is not installed; imports none."""
    from importlib.util import find_spec

    for module in modules:
        try:
            there = find_spec(module) is not None
        except ValueError:  # sys.modules names it as not there
            there = False
        if not there:
            raise MissingExtraError(module, EXTRA_OF_MODULE[module])


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The message for a missing optional package, or None where `error` is about something else."""
    module = (error.name or "").split(".")[0]
    extra = EXTRA_OF_MODULE.get(module)
    return MissingExtraError(module, extra) if extra else None
