"""The API as an OpenAPI 3.1 document, for the model that is served. tests/test_serve.py holds answers against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...edge_runtime import __version__
from ...edge_runtime.assessment import checks_of
from ...edge_runtime.classifier import DISCLAIMER
from ...edge_runtime.contract import possible_thresholds
from .limits import Limits

FLAGS = ("heatmap", "assess_anything")
"""What /v1/predict takes of every model, each 0 or 1."""


def fields(info: Mapping[str, Any]) -> tuple[str, ...]:
    """What /v1/predict takes beside pictures: FLAGS, and the patient's fields where the model knows any.

    Args:
        info: Of the model, as `edge_runtime.info.describe` gives it.
    """
    return (*FLAGS, *(field["name"] for field in _metadata(info)))


def document(info: Mapping[str, Any], limits: Limits, *, token: bool) -> dict[str, Any]:
    """JSON-ready.

    Args:
        info: Of the model, as `edge_runtime.info.describe` gives it.
        limits: Of the server.
        token: Whether requests need one.
    """
    paths = {"/v1/predict": _predict(info, limits), **_others()}
    for methods in paths.values():
        for operation in methods.values():
            responses = operation["responses"]
            responses["421"] = _error("The Host header has a name that this server does not know.")
            if "requestBody" in operation:
                responses["403"] = _error("A page of another site sent this.")
            if token and "security" not in operation:
                responses["401"] = _error("The token is missing.")
    return {
        "openapi": "3.1.0",
        "info": {"title": "skin-edge", "version": __version__, "description": DISCLAIMER},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"cookie": []}] if token else [],
        "paths": paths,
        "components": {
            "schemas": _schemas(info),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "skin_edge_session"},
            },
        },
    }


def _predict(info: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """The path item of /v1/predict."""
    flags = {name: {**_FLAG, "description": said} for name, said in zip(FLAGS, _FLAGS_SAID, strict=True)}
    told = {**flags, **{field["name"]: _patient_field(field) for field in _metadata(info)}}
    parameters = [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in told.items()]
    pictures = {
        "type": "array",
        "minItems": 1,
        "maxItems": limits.pictures,
        "items": {"type": "string", "format": "binary"},
        "description": "Files: JPEG, PNG, WebP, TIFF, BMP, GIF, JPEG 2000, and AVIF or HEIC where it is installed.",
    }
    form = {
        "type": "object",
        "required": ["picture"],
        "properties": {"picture": pictures, **told},
        "additionalProperties": False,
    }
    raw = {"schema": {"type": "string", "contentMediaType": "image/*", "minLength": 1}}
    return {
        "post": {
            "summary": "Answers pictures.",
            "description": "In a form, a picture that cannot be assessed has a record with its error among the "
            "others', and the reasons where it is beyond the model's limits. Fields stand in the query or in the "
            "form, each once.",
            "operationId": "predict",
            "parameters": parameters,
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {"schema": form, "encoding": {"picture": {"contentType": "image/*"}}},
                    "image/*": raw,
                    "application/octet-stream": raw,
                },
            },
            "responses": {
                "200": _json("An answer for each picture, in their order.", "Answers"),
                "400": _error("No picture, or a field that is not known or has an unusable value."),
                "413": _error(f"More than {limits.request_bytes} bytes, or {limits.pictures} pictures."),
                "415": _error("Another kind of body."),
                "422": _json("The body is one picture, and it cannot be assessed.", "Answers"),
                "503": {
                    **_error(f"{limits.waiting} requests wait already."),
                    "headers": {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
                },
            },
        }
    }


def _others() -> dict[str, Any]:
    """Path -> path item of all but /v1/predict."""
    return {
        "/v1/info": {
            "get": {
                "summary": "Describes the model, as `skin-edge info --json`.",
                "operationId": "info",
                "responses": {"200": _json("The description.", "Info")},
            }
        },
        "/v1/session": {
            "post": {
                "summary": "Takes the token and gives a browser the cookie that stands for it.",
                "operationId": "session",
                "security": [],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Token"}}},
                },
                "responses": {
                    "200": _json("The cookie is set, where a token is needed.", "Session"),
                    "400": _error("No token in the body."),
                    "401": _error("Another token."),
                    "413": _error("Too many bytes."),
                },
            }
        },
        "/v1/openapi.json": {
            "get": {
                "summary": "This document.",
                "operationId": "openapi",
                "responses": {"200": {"description": "OpenAPI 3.1.", "content": {"application/json": {}}}},
            }
        },
        "/metrics": {
            "get": {
                "summary": "Counters in Prometheus' text format.",
                "operationId": "metrics",
                "responses": {
                    "200": {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
                },
            }
        },
        "/healthz": {
            "get": {
                "summary": "Whether the server answers.",
                "operationId": "healthz",
                "security": [],
                "responses": {
                    "200": _json("It does.", "Health"),
                    "503": _json("A request has been answered for minutes.", "Health"),
                },
            }
        },
    }


_FLAG = {"type": "string", "enum": ["0", "1", "false", "true"], "default": "0"}
_FLAGS_SAID = (
    "Whether each answer has its class activation map; null where the model has none.",
    "Whether a picture that is beyond the model's limits is answered all the same: `assessable` is then false, and it "
    "is no answer to be shown as one.",
)


def _metadata(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    return info["metadata"]["fields"] if info["metadata"] else []


def _patient_field(field: Mapping[str, Any]) -> dict[str, Any]:
    if field["kind"] == "number":
        said = f"{field['unit']}, above 0, at most {field['maximum']:g}; 0 and nothing: not known."
        return {"type": "string", "description": said}
    return {"type": "string", "enum": ["", "unknown", *field["categories"]]}


def _json(described: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": described, "content": content}


def _error(described: str) -> dict[str, Any]:
    return _json(described, "Error")


def _schemas(info: Mapping[str, Any]) -> dict[str, Any]:
    probability = {"type": "number", "minimum": 0, "maximum": 1.000001}
    codes = [label["code"] for label in info["labels"]]
    label = {"type": "string", "enum": codes} if len(codes) <= _MOST_LISTED else {"type": "string"}
    milliseconds = {"type": "number", "minimum": 0}
    decision = _object(
        name={"type": "string", "description": "Of the threshold, such as mel-0.95."},
        score=probability,
        threshold=probability,
        decision={"enum": ["refer", "below"], "description": '"below" is no all-clear.'},
        borderline={"type": ["boolean", "null"]},
    )
    answer = _object(
        file={"type": "string", "description": "Name of the picture, as the request gave it."},
        label=label,
        probabilities={"type": "object", "additionalProperties": probability},
        decisions={"type": "array", "items": decision},
        preprocess_ms=milliseconds,
        inference_ms=milliseconds,
    )
    answer["properties"]["heatmap"] = {"type": ["string", "null"], "pattern": "^data:image/png;base64,"}
    text = {"type": "string"}
    reasons = {"type": "array", "items": _object(reason=text, text=text, remedy=text)}
    contract: Mapping[str, Any] = info["contract"] or {}
    if checks_of(contract):
        _add(
            answer,
            assessable={"type": "boolean", "description": "false, with assess_anything alone: not to be shown."},
            reasons={**reasons, "description": "Why it cannot be assessed; none where it can."},
        )
    if possible_thresholds(contract):
        _add(answer, possible={"type": "array", "items": label, "description": "The classes that it may well be."})
    not_assessed = _object(file={"type": "string"}, error={"type": "string"})
    not_assessed["properties"]["reasons"] = {
        **reasons,
        "description": "Where it is beyond the model's limits.",
        "minItems": 1,
    }
    not_assessed["description"] = "Cannot assess: no class is given, least of all benign."
    return {
        "Answer": answer,
        "NotAssessed": not_assessed,
        "Answers": _object(
            answers={
                "type": "array",
                "minItems": 1,
                "items": {
                    "oneOf": [{"$ref": "#/components/schemas/Answer"}, {"$ref": "#/components/schemas/NotAssessed"}]
                },
            },
            disclaimer={"const": DISCLAIMER},
        ),
        "Info": {
            "type": "object",
            "required": ["version", "disclaimer", "sha256", "labels", "input", "metadata", "contract"],
        },
        "Token": {"type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}},
        "Session": _object(signed_in={"const": True}),
        "Health": _object(status={"enum": ["ok", "stuck"]}),
        "Error": _object(error={"type": "string", "description": "One line: what, and what to do."}),
    }


_MOST_LISTED = 1000


def _add(schema: dict[str, Any], **properties: Any) -> None:
    """More properties that are always there."""
    schema["properties"].update(properties)
    schema["required"].extend(properties)


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }
