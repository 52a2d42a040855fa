"""The routes: the page, and the API that docs/serve.md describes. Pictures stay in memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from time import monotonic
from typing import IO, Any

import flask
from flask import Response, g, request
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import PathConverter

from ...edge_runtime import __version__, console
from ...edge_runtime.classifier import DISCLAIMER
from ...edge_runtime.errors import SkinEdgeError, UsageError, unknown
from ..web import site
from . import openapi, sign_in
from .access import COOKIE, OPEN_PATHS, Access, from_elsewhere
from .answering import records
from .limits import FIELD_BYTES, SIGN_IN_BYTES, Limits
from .metrics import CONTENT_TYPE, Metrics
from .pool import BusyError, Pool

PICTURE = "picture"
"""Name of the parts of a form that are pictures."""

SESSION_DAYS = 30

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=(), usb=()",
}

ANSWERS_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of everything that is no file of the page."""

_PAGE_SECONDS = 5  # to wait for the page, which a start has to make

STUCK_SECONDS = 120.0
"""A request that is answered for so long is stuck, and /healthz says so."""


@dataclass(frozen=True)
class Service:
    """What the routes need.

    Attributes:
        pool: The classifiers.
        info: Of the model, JSON-ready (`edge_runtime.info.describe`).
        site: Seconds to wait -> path -> content of the page's files, empty where there is no page; raises TimeoutError.
        policy: The page's Content-Security-Policy.
        access: Who may ask.
        limits: What a request may take.
        metrics: What is counted.
        secure: Whether browsers reach this server by https alone, so that the cookie may be kept from http.
    """

    pool: Pool
    info: Mapping[str, Any]
    site: Callable[[float], Mapping[str, bytes]]
    access: Access
    limits: Limits
    metrics: Metrics
    policy: str = "default-src 'none'"
    secure: bool = False


class _RequestError(SkinEdgeError):
    """A request that is not answered; one line, and the status."""

    def __init__(self, code: int, message: str, **headers: str):
        super().__init__(message)
        self.code, self.headers = code, {name.replace("_", "-"): value for name, value in headers.items()}


class _Request(flask.Request):
    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()  # Werkzeug's own goes to the disk from 500 kB on


class _PagePath(PathConverter):
    """A file of the page: whatever is not the API's, so that a wrong method there is 405."""

    regex = r"(?!v1/|healthz$|metrics$)[^/].*?"


class _App(flask.Flask):
    request_class = _Request


def create(service: Service) -> flask.Flask:
    """The WSGI application.

    Args:
        service: What it serves. Its limits of bodies and connections are the HTTP server's as well (`server.py`).
    """
    app = _App(__name__, static_folder=None)
    app.url_map.converters["page"] = _PagePath
    app.url_map.merge_slashes = False  # no redirect to an address that the request names
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["MAX_CONTENT_LENGTH"] = service.limits.request_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = FIELD_BYTES
    app.config["MAX_FORM_PARTS"] = service.limits.pictures + 20
    app.json.sort_keys = False  # pyright: ignore[reportAttributeAccessIssue]  (of the default provider)
    _hooks(app, service)
    _errors(app, service)
    _api(app, service)
    _page(app, service)
    return app


def _hooks(app: flask.Flask, service: Service) -> None:
    access = service.access

    @app.before_request
    def admit() -> None:  # pyright: ignore[reportUnusedFunction]
        g.start = monotonic()
        host = request.environ.get("HTTP_HOST")
        if not access.knows_host(host):
            raise _RequestError(421, "this server does not know itself under the name in Host; see --host-name")
        if request.path not in OPEN_PATHS and not access.admits(
            request.headers.get("Authorization"), request.headers.get("Cookie")
        ):
            raise _RequestError(401, "token needed: Authorization: Bearer TOKEN", WWW_Authenticate="Bearer")
        if request.method not in ("GET", "HEAD") and from_elsewhere(
            request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site"), host
        ):
            raise _RequestError(403, "a page of another site sent this request")

    @app.after_request
    def finish(response: Response) -> Response:  # pyright: ignore[reportUnusedFunction]
        route = request.url_rule.rule if request.url_rule else "other"
        service.metrics.request(route, response.status_code, monotonic() - g.get("start", monotonic()))
        for name, value in SECURITY_HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Content-Security-Policy", ANSWERS_POLICY)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _errors(app: flask.Flask, service: Service) -> None:
    @app.errorhandler(_RequestError)
    def refused(error: _RequestError) -> Response:  # pyright: ignore[reportUnusedFunction]
        if error.code == 401 and request.method == "GET" and (request.path == "/" or request.path.endswith(".html")):
            return _sign_in(401)
        return _json({"error": str(error)}, error.code, error.headers)

    @app.errorhandler(BusyError)
    def busy(error: BusyError) -> Response:  # pyright: ignore[reportUnusedFunction]
        return _json({"error": str(error)}, 503, {"Retry-After": str(error.retry_after)})

    @app.errorhandler(UsageError)
    def usage(error: UsageError) -> Response:  # pyright: ignore[reportUnusedFunction]
        return _json({"error": str(error)}, 400)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:  # pyright: ignore[reportUnusedFunction]
        code = error.code or 500
        message = _SAID.get(code) or f"{error.name.lower()}"
        headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
        return _json({"error": message}, code, headers)

    @app.errorhandler(Exception)
    def fault(error: Exception) -> Response:  # pyright: ignore[reportUnusedFunction]
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
        console.say(f"error: fault of skin-edge in {where}: {type(error).__name__}", err=True)
        return _json({"error": "fault of the server; its log has a line about it"}, 500)


_SAID = {
    400: "malformed request",
    404: "no such path",
    405: "this path does not take this method",
    413: "the request has too many bytes, parts or fields; /v1/openapi.json says how many it may have",
}


def _sign_in(code: int) -> Response:
    page = Response(sign_in.PAGE, code, {"WWW-Authenticate": "Bearer"} if code == 401 else {}, mimetype="text/html")
    page.headers["Content-Security-Policy"] = sign_in.CONTENT_SECURITY_POLICY
    return page


def _json(value: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    response = flask.jsonify(value)
    response.status_code = code
    response.headers.update(headers or {})
    return response


def _api(app: flask.Flask, service: Service) -> None:
    described = openapi.document(service.info, service.limits, token=service.access.token is not None)
    info = {"version": __version__, "disclaimer": DISCLAIMER, **service.info}

    @app.post("/v1/predict")
    def predict() -> Response:  # pyright: ignore[reportUnusedFunction]
        until = g.start + service.limits.seconds
        with service.pool.one(until) as classifier:
            asked = _asked(service)
            answers = records(classifier, asked.pictures, asked.metadata, with_map=asked.with_map, until=until)
        for answer in answers:
            service.metrics.picture("error" not in answer)
        failed = asked.alone and "error" in answers[0]
        return _json({"answers": answers, "disclaimer": DISCLAIMER}, 422 if failed else 200)

    @app.get("/v1/info")
    def about() -> Response:  # pyright: ignore[reportUnusedFunction]
        return _json(info)

    @app.get("/v1/openapi.json")
    def api() -> Response:  # pyright: ignore[reportUnusedFunction]
        return _json(described)

    @app.post("/v1/session")
    def session() -> Response:  # pyright: ignore[reportUnusedFunction]
        request.max_content_length = SIGN_IN_BYTES
        try:
            told: Any = request.get_json(silent=True)
        except RecursionError:  # thousands of brackets
            told = None
        token: Any = told.get("token") if isinstance(told, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(token, str):
            raise _RequestError(400, 'send {"token": "..."} as application/json')
        if service.access.token is None:
            return _json({"signed_in": True})
        if not service.access.is_token(token):
            raise _RequestError(401, "this is not the token of this server", WWW_Authenticate="Bearer")
        response = _json({"signed_in": True})
        response.set_cookie(
            COOKIE,
            service.access.session,
            max_age=SESSION_DAYS * 86400,
            httponly=True,
            samesite="Strict",
            secure=service.secure,
        )
        return response

    @app.get("/healthz")
    def health() -> Response:  # pyright: ignore[reportUnusedFunction]
        stuck = service.pool.longest_seconds() > STUCK_SECONDS
        return _json({"status": "stuck" if stuck else "ok"}, 503 if stuck else 200)

    @app.get("/metrics")
    def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        pool = service.pool
        gauges = {
            "skin_edge_queue_length": ("Requests that wait for a classifier.", float(pool.waiting)),
            "skin_edge_busy": ("Requests that are being answered.", float(pool.busy)),
            "skin_edge_workers": ("Classifiers.", float(len(pool.classifiers))),
        }
        return Response(service.metrics.text(gauges), content_type=CONTENT_TYPE)


@dataclass(frozen=True)
class _Asked:
    """What a request to /v1/predict asks.

    Attributes:
        pictures: Name, bytes of the file.
        metadata: Of the patient; None where the request has none.
        with_map: Whether maps are wanted.
        alone: Whether the body is the picture, so that there is nothing else to answer.
    """

    pictures: Sequence[tuple[str, bytes]]
    metadata: Mapping[str, str] | None
    with_map: bool
    alone: bool


def _asked(service: Service) -> _Asked:
    kind = request.mimetype
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _RequestError(415, "send the body without Content-Encoding")
    if kind == "multipart/form-data":
        pictures = [
            (upload.filename or f"{PICTURE}-{number}", upload.stream.read())
            for number, upload in enumerate(request.files.getlist(PICTURE), 1)
        ]
        others = [name for name in request.files if name != PICTURE]
        if others or not pictures:
            wrong = f"{len(others)} files have other names" if others else "there is none"
            raise _RequestError(400, f"send each picture as a file named {PICTURE!r}: {wrong}")
        if len(pictures) > service.limits.pictures:
            raise _RequestError(
                413, f"{len(pictures)} pictures are more than the {service.limits.pictures} that one request may have"
            )
    elif kind in ("", "application/octet-stream") or kind.startswith("image/"):
        pictures = [(PICTURE, request.get_data(cache=False))]
        if not pictures[0][1]:
            raise _RequestError(400, "the body is empty: send the picture's file, or a form")
    else:
        raise _RequestError(
            415, "send multipart/form-data, or the picture's file as the body with Content-Type: image/jpeg or the like"
        )
    told = _told(service)
    with_map = told.pop("heatmap", "0")
    if with_map not in ("0", "1", "false", "true"):
        raise _RequestError(400, "heatmap is 1 or 0")
    return _Asked(pictures, told or None, with_map in ("1", "true"), kind != "multipart/form-data")


def _told(service: Service) -> dict[str, str]:
    """The fields of query and form, each once."""
    known = openapi.fields(service.info)
    told = dict[str, str]()
    for name, value in (*request.args.items(multi=True), *request.form.items(multi=True)):
        if name not in known:
            raise _RequestError(400, unknown("field", name[:100], known))
        if name in told:
            raise _RequestError(400, f"{name} is given twice")
        told[name] = value
    return told


def _page(app: flask.Flask, service: Service) -> None:
    def page_file(path: str) -> Response:
        try:
            content = service.site(_PAGE_SECONDS).get(path)
        except TimeoutError:
            again = str(_PAGE_SECONDS)  # "Refresh" has a browser ask again by itself
            raise _RequestError(503, "the page is being made", Retry_After=again, Refresh=again) from None
        if content is None:
            raise NotFound
        tag = hashlib.sha256(content).hexdigest()[:32]
        # A file object, which the HTTP server sends piece by piece, without a copy for each slow reader.
        response = flask.send_file(io.BytesIO(content), "application/octet-stream", etag=tag)
        response.content_type = site.TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")
        response.headers["Cache-Control"] = "no-cache"  # asks whether it has changed
        response.headers["Content-Security-Policy"] = f"{service.policy}; frame-ancestors 'none'"
        response.make_conditional(request, accept_ranges=False)
        return response

    def index() -> Response:
        return _sign_in(200) if sign_in.ASKED in request.args else page_file("index.html")

    app.add_url_rule("/", "index", index)
    app.add_url_rule("/<page:path>", "page", page_file)
