"""The routes: the page, and the API that docs/serve.md describes. Pictures stay in memory."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from time import monotonic
from typing import IO, Any

import flask
from flask import Response, g, request
from werkzeug import Request
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

_AGAIN_SECONDS = 5  # after which it is worth asking again for golden pictures that are being made

STUCK_SECONDS = 120.0
"""A request that is answered for so long is stuck, and /healthz says so."""


@dataclass(frozen=True)
class Service:
    """What the routes need.

    Attributes:
        pool: The classifiers.
        info: Of the model, JSON-ready (`edge_runtime.info.describe`).
        site: Path -> content of the page's files; empty where there is no page.
        golden: The same of `site.GOLDEN`, which are made when they are first asked for.
        policy: The page's Content-Security-Policy.
        access: Who may ask.
        limits: What a request may take.
        metrics: What is counted.
        secure: Whether browsers reach this server by https alone, so that the cookie may be kept from http.
    """

    pool: Pool
    info: Mapping[str, Any]
    site: Mapping[str, bytes]
    golden: OnceMade
    access: Access
    limits: Limits
    metrics: Metrics
    policy: str = "default-src 'none'"
    secure: bool = False


class OnceMade:
    """Files that take seconds to make: the first who asks for them makes them, and a few others wait meanwhile.

    Args:
        make: Gives path -> content.
        waiting: How many may wait, each in a thread that answers nothing else.
    """

    def __init__(self, make: Callable[[], Mapping[str, bytes]], waiting: int = 4):
        self._make, self._lock = make, threading.Lock()
        self._places = threading.BoundedSemaphore(waiting)
        self._made: Mapping[str, bytes] | None = None

    def get(self) -> Mapping[str, bytes] | None:
        """The files; None where too many wait for them already."""
        if self._made is not None:
            return self._made
        if not self._places.acquire(blocking=False):
            return None
        try:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
                return self._made
        finally:
            self._places.release()


class _RequestError(SkinEdgeError):
    """A request that is not answered; one line, and the status."""

    def __init__(self, code: int, message: str, **headers: str):
        super().__init__(message)
        self.code, self.headers = code, {name.replace("_", "-"): value for name, value in headers.items()}


class _PagePath(PathConverter):
    """A file of the page: whatever is not the API's, so that a wrong method there is 405."""

    regex = r"(?!v1/|healthz$|metrics$)[^/].*?"


def create(service: Service) -> flask.Flask:
    """The WSGI application.

    Args:
        service: What it serves. Its limits of bodies and connections are the HTTP server's as well (`server.py`).
    """
    app = flask.Flask(__name__, static_folder=None)
    app.url_map.converters["page"] = _PagePath
    app.url_map.merge_slashes = False  # no redirect to an address that the request names
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.config["MAX_CONTENT_LENGTH"] = SIGN_IN_BYTES
    _hooks(app, service)
    _api(app, service)
    _page(app, service)
    app.wsgi_app = _Predict(service, app.wsgi_app)
    return app


def _hooks(app: flask.Flask, service: Service) -> None:
    @app.before_request
    def admit() -> None:  # pyright: ignore[reportUnusedFunction]
        g.start = monotonic()
        _admit(service.access, request)

    @app.after_request
    def finish(response: Response) -> Response:  # pyright: ignore[reportUnusedFunction]
        route = request.url_rule.rule if request.url_rule else "other"
        _finish(service.metrics, response, route, g.get("start", monotonic()))
        return response

    @app.errorhandler(Exception)
    def refused(error: Exception) -> Response:  # pyright: ignore[reportUnusedFunction]
        return _refusal(error, request)


def _admit(access: Access, asked: Request) -> None:
    """Raises _RequestError where the client may not ask."""
    host = asked.environ.get("HTTP_HOST")
    if not access.knows_host(host):
        raise _RequestError(421, "this server does not know itself under the name in Host; see --host-name")
    if asked.path not in OPEN_PATHS and not access.admits(
        asked.environ.get("HTTP_AUTHORIZATION"), asked.environ.get("HTTP_COOKIE")
    ):
        raise _RequestError(401, "token needed: Authorization: Bearer TOKEN", WWW_Authenticate="Bearer")
    if asked.method not in ("GET", "HEAD") and from_elsewhere(
        asked.environ.get("HTTP_ORIGIN"), asked.environ.get("HTTP_SEC_FETCH_SITE"), host
    ):
        raise _RequestError(403, "a page of another site sent this request")


def _finish(metrics: Metrics, response: Response, route: str, start: float) -> None:
    metrics.request(route, response.status_code, monotonic() - start)
    response.headers.extend(SECURITY_HEADERS)
    response.headers.setdefault("Content-Security-Policy", ANSWERS_POLICY)
    response.headers.setdefault("Cache-Control", "no-store")


def _refusal(error: Exception, asked: Request) -> Response:
    """What is answered in the place of an answer: one line, with the status that fits."""
    if isinstance(error, _RequestError):
        if error.code == 401 and asked.method == "GET" and (asked.path == "/" or asked.path.endswith(".html")):
            return _sign_in(401)
        return _json({"error": str(error)}, error.code, error.headers)
    if isinstance(error, BusyError):
        return _json({"error": str(error)}, 503, {"Retry-After": str(error.retry_after)})
    if isinstance(error, UsageError):
        return _json({"error": str(error)}, 400)
    if isinstance(error, HTTPException):
        code = error.code or 500
        message = _SAID.get(code) or f"{error.name.lower()}"
        headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
        return _json({"error": message}, code, headers)
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
    text = json.dumps(value, separators=(",", ":"))
    return Response(f"{text}\n", code, headers, mimetype="application/json")


def _api(app: flask.Flask, service: Service) -> None:
    app.add_url_rule(PREDICT, "predict", methods=["POST"])  # `_Predict` answers it; other methods are 405 here
    described = openapi.document(service.info, service.limits, token=service.access.token is not None)
    info = {"version": __version__, "disclaimer": DISCLAIMER, **service.info}

    @app.get("/v1/info")
    def about() -> Response:  # pyright: ignore[reportUnusedFunction]
        return _json(info)

    @app.get("/v1/openapi.json")
    def api() -> Response:  # pyright: ignore[reportUnusedFunction]
        return _json(described)

    @app.post("/v1/session")
    def session() -> Response:  # pyright: ignore[reportUnusedFunction]
        try:
            body: Any = request.get_json(silent=True)
        except RecursionError:  # thousands of brackets
            body = None
        token: Any = body.get("token") if isinstance(body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
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


PREDICT = "/v1/predict"

ARRIVED = "skin_edge.arrived"
"""In a WSGI environment: when the request was there as a whole, by `time.monotonic`."""

BUSY = "skin_edge.busy"
"""In a WSGI environment: whether the HTTP server had no place in the queue for the request, or not in time."""


class _PredictRequest(Request):
    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()  # Werkzeug's own goes to the disk from 500 kB on


class _Predict:
    """POST /v1/predict, before Flask, whose routing, contexts and signals cost a third of a millisecond a request.

    Args:
        service: What the routes need.
        others: Answers every other request.
    """

    def __init__(self, service: Service, others: Callable[..., Iterable[bytes]]):
        self._service, self._others = service, others

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PREDICT or environ["REQUEST_METHOD"] != "POST":
            return self._others(environ, start_response)
        start, asked = environ.get(ARRIVED, monotonic()), _PredictRequest(environ)
        asked.max_content_length = self._service.limits.request_bytes
        asked.max_form_memory_size = FIELD_BYTES
        asked.max_form_parts = self._service.limits.pictures + 20
        try:
            _admit(self._service.access, asked)
            if environ.get(BUSY):
                raise self._service.pool.busy_error()
            response = self._answer(asked, start + self._service.limits.seconds)
        except Exception as error:
            response = _refusal(error, asked)
        _finish(self._service.metrics, response, PREDICT, start)
        return response(environ, start_response)

    def _answer(self, request: Request, until: float) -> Response:
        service = self._service
        with service.pool.one(until) as classifier:
            asked = _asked(request, service)
            answers = records(
                classifier,
                asked.pictures,
                asked.metadata,
                with_map=asked.with_map,
                until=until,
                assess_anything=asked.assess_anything,
            )
        for answer in answers:
            service.metrics.picture("error" not in answer)
        failed = asked.alone and "error" in answers[0]
        return _json({"answers": answers, "disclaimer": DISCLAIMER}, 422 if failed else 200)


@dataclass(frozen=True)
class _Asked:
    """What a request to /v1/predict asks.

    Attributes:
        pictures: Name, bytes of the file.
        metadata: Of the patient; None where the request has none.
        with_map: Whether maps are wanted.
        assess_anything: Whether pictures beyond the model's limits are answered all the same.
        alone: Whether the body is the picture, so that there is nothing else to answer.
    """

    pictures: Sequence[tuple[str, bytes]]
    metadata: Mapping[str, str] | None
    with_map: bool
    assess_anything: bool
    alone: bool


def _asked(request: Request, service: Service) -> _Asked:
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
    fields = _fields(request, service)
    with_map, anything = (_flag(fields, name) for name in openapi.FLAGS)
    return _Asked(pictures, fields or None, with_map, anything, kind != "multipart/form-data")


def _flag(fields: dict[str, str], name: str) -> bool:
    """Takes it out of the fields."""
    value = fields.pop(name, "0")
    if value not in ("0", "1", "false", "true"):
        raise _RequestError(400, f"{name} is 1 or 0")
    return value in ("1", "true")


def _fields(request: Request, service: Service) -> dict[str, str]:
    """Those of query and form, each once."""
    known = openapi.fields(service.info)
    given = dict[str, str]()
    for name, value in (*request.args.items(multi=True), *request.form.items(multi=True)):
        if name not in known:
            raise _RequestError(400, unknown("field", name[:100], known))
        if name in given:
            raise _RequestError(400, f"{name} is given twice")
        given[name] = value
    return given


def _page(app: flask.Flask, service: Service) -> None:
    def page_file(path: str) -> Response:
        content = service.site.get(path)
        if content is None and path in site.GOLDEN and service.site:
            made = service.golden.get()
            if made is None:
                raise _RequestError(503, "the golden pictures are being made", Retry_After=str(_AGAIN_SECONDS))
            content = made[path]
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
