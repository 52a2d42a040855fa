"""The part of a bundle for microcontrollers: model and golden pictures as C arrays, memory, resolver, a self-test."""

from __future__ import annotations

import base64
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...edge_runtime.assessment import FEATURES, OUTLIER_SCORE, checks_of
from ...edge_runtime.contract import GOLDEN
from ...edge_runtime.errors import UsageError
from ...edge_runtime.model_file import ModelFile
from ..micro import operators
from ..micro.arena import answers, measure_arena
from .golden import digest, input_name

# ports/micro and the C port, in a checkout and installed.
_PORTS = Path(__file__).parents[2] / "ports"
_SOURCES = ("Makefile", "README.md", "golden.h", "mps2.ld", "port.c", "selftest.c", "start.c", "tflm.cc")

MOST_PICTURE_BYTES = 240_000
"""Of an upright golden picture that becomes an array: a larger one would not fit beside a model on most chips."""

_WIDTHS = {"uint8": 1, "int8": 1, "float32": 4}


def sources() -> dict[str, bytes]:
    """Name -> content of what is the same for every model."""
    header = {"skin_edge.h": (_PORTS / "c" / "skin_edge.h").read_bytes()}
    return {name: (_PORTS / "micro" / name).read_bytes() for name in _SOURCES} | header


def contents(
    file: ModelFile,
    records: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, bytes],
    uprights: Mapping[str, bytes],
    most_bytes: int = MOST_PICTURE_BYTES,
) -> dict[str, bytes]:
    """Name within micro/ -> content.

    Args:
        file: Of a network that takes a picture alone.
        records: Lines of golden.jsonl.
        inputs: As of `golden.all_records`.
        uprights: Name of a golden picture -> its upright RGB bytes.
        most_bytes: Of an upright picture that is taken; of equal ones the first is.

    Raises:
        UsageError: Where TFLite Micro cannot run the network, or it takes what is known of the patient.
        MissingExtraError: Where TFLite Micro is not installed.
    """
    if file.encoding is not None:
        raise UsageError(f"{file.path} takes what is known of the patient as well, which the C port does not")
    arena = measure_arena(file.content)
    if not arena["runs"]:
        raise UsageError(f"{file.path} cannot run on TFLite Micro: {arena['why']}")
    chosen: dict[str, Mapping[str, Any]] = {}
    for record in records:
        if "error" not in record and len(uprights[record["file"]]) <= most_bytes:
            chosen.setdefault(record["upright"]["sha256"], record)
    goldens = sorted(chosen.values(), key=lambda record: len(uprights[record["file"]]))
    tensors = _tensors(file, [inputs[input_name(record["file"])] for record in goldens])
    return sources() | {
        "config.h": _config(file, arena, len(goldens)).encode(),
        "model.c": _model(file).encode(),
        "golden.c": _golden(file, goldens, uprights, answers(file.content, tensors)).encode(),
    }


def _tensors(file: ModelFile, resized: Sequence[bytes]) -> list[bytes]:
    """The input tensor's bytes of each resized picture."""
    import numpy as np

    from ...edge_runtime.classifier import SkinClassifier

    shape = file.input_spec.height, file.input_spec.width, 3
    with SkinClassifier(file.path) as classifier:
        return [classifier.to_tensor(np.ndarray(shape, np.uint8, rgb)).tobytes() for rgb in resized]


def _config(file: ModelFile, arena: Mapping[str, Any], goldens: int) -> str:
    contract, spec = file.contract, file.input_spec
    needed = operators.needed(file.network)
    methods = list(dict.fromkeys(row["method"] for row in needed))
    output = contract["outputs"][0]
    score = _score_position(file)
    checks = checks_of(contract)
    sentences = [text for check in checks for text in (check.reason.text, check.reason.remedy)]
    texts = [label[key] for label in contract["labels"] for key in ("code", "name")]
    texts += [row["name"] for row in contract["thresholds"]] + [check.reason.reason for check in checks]
    longest = max(max(len(text.encode()) for text in texts), -(-len(contract["notice"].encode()) // 8))
    added = " && \\\n   ".join(f"(resolver).{method}() == kTfLiteOk" for method in methods)
    return f"""/* config.h: what `skin-edge bundle --micro` knows of this model. Generated. */
#ifndef SKIN_EDGE_CONFIG_H
#define SKIN_EDGE_CONFIG_H

#define SKIN_EDGE_LOGITS
#define SKIN_EDGE_MAX_LABELS {len(contract["labels"])}
#define SKIN_EDGE_MAX_THRESHOLDS {max(1, len(contract["thresholds"]))}
#define SKIN_EDGE_MAX_CHECKS {max(1, len(checks))}
#define SKIN_EDGE_TEXT {longest + 1}
#define SKIN_EDGE_SENTENCE {max((len(text.encode()) for text in sentences), default=0) + 1}

#define SKIN_EDGE_MODEL_BYTES {len(file.content)}
#define SKIN_EDGE_INPUT_ROWS {spec.height}
#define SKIN_EDGE_INPUT_COLUMNS {spec.width}
#define SKIN_EDGE_INPUT_WIDTH {_WIDTHS[contract["input"]["dtype"]]} /* bytes of a value */
#define SKIN_EDGE_OUTPUT 0 /* position of `{output["name"]}` */
#define SKIN_EDGE_OUTPUT_BYTES {len(contract["labels"]) * _WIDTHS[output["dtype"]]}
#define SKIN_EDGE_SCORE_OUTPUT {score or 0} /* position of `outlier_score`, 0 where there is none */
#define SKIN_EDGE_SCORE_BYTES {_WIDTHS[contract["outputs"][score]["dtype"]] if score else 0}
#define SKIN_EDGE_THRESHOLDS {len(contract["thresholds"])}

/* CONTRACT.md, section 9: probabilities at level A, and with kernels that round otherwise. */
#define SKIN_EDGE_EXACT_WITHIN {GOLDEN["within"]!r}
#define SKIN_EDGE_OTHER_KERNELS_WITHIN {GOLDEN["other_kernels_within"]!r}
#define SKIN_EDGE_GOLDEN_ALL {goldens}

/* TFLite Micro {arena["version"]} on 64 bits, reference kernels: {arena["activations_bytes"]} bytes for values
 * between layers, {arena["persistent_bytes"]} for what stays. On a 32-bit chip what stays is smaller; CMSIS-NN may want
 * more. */
#define SKIN_EDGE_MEASURED_ARENA_BYTES {arena["arena_bytes"]}
#define SKIN_EDGE_OPERATORS {len(methods)}
#define SKIN_EDGE_ADD_OPERATORS(resolver) \\
  ({added})

#endif
"""


def _score_position(file: ModelFile) -> int | None:
    """Of the output outlier_score among the file's; None where it has none."""
    names = [output.get("name") for output in file.contract["outputs"]]
    return names.index(OUTLIER_SCORE) if OUTLIER_SCORE in names else None


def _model(file: ModelFile) -> str:
    return (
        f"/* model.c: the model file, SHA-256 {digest(file.content)}. Generated. */\n"
        '#include "golden.h"\n\n'
        "#if defined(__GNUC__)\n__attribute__((aligned(16)))\n#elif defined(__ICCARM__)\n"
        "#pragma data_alignment = 16\n#endif\n"
        f"const unsigned char skin_edge_model_file[SKIN_EDGE_MODEL_BYTES] = {{\n{_numbers(file.content)}}};\n"
    )


def _golden(
    file: ModelFile,
    records: Sequence[Mapping[str, Any]],
    uprights: Mapping[str, bytes],
    tflm_outputs: Sequence[bytes],
) -> str:
    codes, score = [label.code for label in file.labels], _score_position(file)
    pieces = [
        '/* golden.c: golden pictures, the smallest first, and their answers. Generated. */\n#include "golden.h"\n'
    ]
    rows: list[str] = []
    for i, (record, tflm) in enumerate(zip(records, tflm_outputs, strict=True)):
        decisions = ", ".join(
            f"{{{float(one['score']).hex()}, {int(one['decision'] == 'refer')}, {int(one['borderline'])}}}"
            for one in record["decisions"]
        )
        output = base64.b64decode(record["outputs"][0]["base64"])
        scored = base64.b64decode(record["outputs"][score]["base64"]) if score else b"\0"
        features = [record.get("features", {}).get(name, 0) for name in FEATURES]
        pieces.append(
            f"#if SKIN_EDGE_GOLDEN_PICTURES > {i}\n"
            f"static const uint8_t pixels_{i}[] SKIN_EDGE_GOLDEN_SECTION = {{\n"
            f"{_numbers(uprights[record['file']])}}};\n"
            f"static const uint8_t output_{i}[] = {{{', '.join(map(str, output))}}};\n"
            f"static const uint8_t tflm_{i}[] = {{{', '.join(map(str, tflm))}}};\n"
            f"static const uint8_t score_{i}[] = {{{', '.join(map(str, scored))}}};\n"
            f"static const int32_t features_{i}[] = {{{', '.join(map(str, features))}}};\n"
            f"static const skin_edge_golden_decision decisions_{i}[] = {{{decisions or '{0, 0, 0}'}}};\n"
            "#endif\n"
        )
        upright, label = record["upright"], codes.index(record["label"])
        rows.append(
            f"#if SKIN_EDGE_GOLDEN_PICTURES > {i}\n"
            f"    {{{_text(record['file'])}, {upright['width']}, {upright['height']}, pixels_{i},\n"
            f'     "{record["input"]["sha256"]}",\n'
            f"     output_{i}, tflm_{i}, score_{i}, {label}, decisions_{i},\n"
            f"     features_{i}, {_text(' '.join(record.get('reasons', [])))}}},\n"
            "#endif\n"
        )
    return "\n".join(pieces) + f"\nconst skin_edge_golden skin_edge_goldens[] = {{\n{''.join(rows)}}};\n"


def _text(text: str) -> str:
    """A C string of a file's name, which may hold anything."""
    plain = string.ascii_letters + string.digits + "-_./ "
    letters = map(chr, text.encode("utf-8", "surrogateescape"))
    return '"' + "".join(one if one in plain else f"\\{ord(one):03o}" for one in letters) + '"'


def _numbers(content: bytes) -> str:
    """Lines of at most 120 columns."""
    return "".join(",".join(map(str, content[i : i + 30])) + ",\n" for i in range(0, len(content), 30))
