"""`skin-edge serve`: what each route answers, to whom, and what is refused. Load is in test_serve_load.py."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from skin_edge.apps.serve import app, commands, openapi, run, server, tls
from skin_edge.apps.serve.access import Access, from_elsewhere
from skin_edge.apps.serve.limits import Limits
from skin_edge.apps.serve.metrics import Metrics
from skin_edge.apps.serve.pool import BusyError, Pool
from skin_edge.apps.web import site
from skin_edge.benchmarks.bundle import pictures
from skin_edge.edge_runtime.answers import record
from skin_edge.edge_runtime.classifier import DISCLAIMER, SkinClassifier
from skin_edge.edge_runtime.cli import COMMANDS
from skin_edge.edge_runtime.errors import UsageError
from skin_edge.edge_runtime.patient import from_list

from . import miniatures

GOLDEN = {"golden.json": b"{}", "golden.bin": b"\0"}
FILES = {"index.html": b"<!doctype html><p>page", "port/a.js": b"export {}"}
FIT = pictures.fit()["fit-22.jpg"]
"""A picture that the packaged model answers, whatever its limits."""
TOKEN = "a-token-of-more-than-twenty-letters"
LIMITS = Limits(workers=2, waiting=2, request_bytes=2**20, pictures=4, seconds=20.0, drain_seconds=10.0)


def picture(seed=0, size=(150, 200), form="JPEG"):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(content, form)
    return content.getvalue()


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory):
    """The packaged model, which answers the noise of `picture` too."""
    return miniatures.without_limits(tmp_path_factory.mktemp("model") / "model.tflite")


@pytest.fixture(scope="module")
def service(unlimited):
    made = run.prepare(run.Setup(unlimited, limits=LIMITS), lambda line: None)
    return dataclasses.replace(made, site=FILES, golden=app.OnceMade(lambda: GOLDEN))


def changed(service, **parts):
    """The same with other parts, and nothing counted yet."""
    return dataclasses.replace(service, metrics=Metrics(), **parts)


@pytest.fixture
def client(service):
    return app.create(changed(service)).test_client()


def form(*pictures, **fields):
    files = [(io.BytesIO(content), name) for name, content in pictures]
    return {"data": {"picture": files, **fields}, "content_type": "multipart/form-data"}


def validator(document, schema):
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    )


@contextlib.contextmanager
def serving(service, **options):
    """The HTTP server in a thread: its port."""
    listening = server.listen("127.0.0.1", 0)
    http = server.Server(app.create(service), service, listening, **options)
    thread = threading.Thread(target=http.run)
    thread.start()
    try:
        yield http
    finally:
        http.stop()
        thread.join(20)
        assert not thread.is_alive()


def exchange(port, request, seconds=10.0):
    """What a connection gives back to these bytes until it is closed."""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while block := connection.recv(65536):
                answer += block
    return answer


def post(content, *headers, path="/v1/predict", kind="image/jpeg"):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode() + content


@pytest.fixture(scope="module")
def real(service):
    limits = dataclasses.replace(LIMITS, receive_seconds=2.0)
    with serving(changed(service, access=Access(TOKEN), limits=limits)) as http:
        yield http


BEARER = f"Authorization: Bearer {TOKEN}"


# ------------------------------------------------------------------------------------------------------- answers


def same_answer(answer, expected):
    """But for the times."""
    times = ("preprocess_ms", "inference_ms")
    return {k: v for k, v in answer.items() if k not in times} == {k: v for k, v in expected.items() if k not in times}


def test_answers_are_those_of_predict(client, unlimited):
    contents = [picture(0), picture(1, form="PNG")]
    answer = client.post("/v1/predict", **form(("a.jpg", contents[0]), ("b.png", contents[1])))
    assert answer.status_code == 200 and answer.json["disclaimer"] == DISCLAIMER
    classifier = SkinClassifier(unlimited)
    for told, name, content in zip(answer.json["answers"], ("a.jpg", "b.png"), contents, strict=True):
        assert same_answer(told, record(name, classifier.predict(content)))
        assert told["decisions"]


def test_a_raw_body_is_one_picture(client):
    for kind in ("image/jpeg", "image/x-anything", "application/octet-stream", None):
        answer = client.post("/v1/predict", data=picture(), content_type=kind)
        assert answer.status_code == 200
        assert [one["file"] for one in answer.json["answers"]] == ["picture"]


def test_a_picture_that_cannot_be_assessed_does_not_stop_the_others(client):
    answer = client.post(
        "/v1/predict", **form(("a.jpg", picture()), ("b.jpg", b"%PDF-1.4"), ("c.jpg", picture()[:900]))
    )
    assert answer.status_code == 200
    assert ["error" in one for one in answer.json["answers"]] == [False, True, True]
    assert all("label" not in one for one in answer.json["answers"][1:])


def test_a_raw_body_that_cannot_be_assessed_is_422(client):
    answer = client.post("/v1/predict", data=b"%PDF-1.4", content_type="image/jpeg")
    assert answer.status_code == 422
    assert answer.json["answers"][0].keys() == {"file", "error"} and answer.json["disclaimer"] == DISCLAIMER


def test_the_map_is_a_png_on_request(client):
    answer = client.post("/v1/predict?heatmap=1", data=picture(), content_type="image/jpeg")
    start, _, drawn = answer.json["answers"][0]["heatmap"].partition(",")
    assert start == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(drawn))).size == (200, 150)
    assert "heatmap" not in client.post("/v1/predict", data=picture(), content_type="image/jpeg").json["answers"][0]
    assert "heatmap" in client.post("/v1/predict", **form(("a.jpg", picture()), heatmap="1")).json["answers"][0]


PATIENT = [
    {"name": "age", "kind": "number", "unit": "years", "maximum": 120.0, "mean": 50.0, "std": 17.0, "clip": 3.0},
    {"name": "sex", "kind": "category", "categories": ["female", "male"]},
]


class OfPatients:
    """A model that was trained with metadata, as far as the server asks one."""

    has_map = False
    encoding = from_list(PATIENT)

    def __init__(self, path):
        self.told = []
        self.real = SkinClassifier(path)

    def to_vector(self, metadata):
        return self.encoding.encode(metadata)

    def predict(self, image, metadata=None):
        self.told.append(metadata)
        return self.real.predict(image)


def test_what_is_known_of_the_patient_is_query_or_form(service, unlimited):
    model = OfPatients(unlimited)
    info = {**service.info, "metadata": {"fields": PATIENT}}
    client = app.create(changed(service, pool=Pool([model], 1), info=info)).test_client()
    assert client.post("/v1/predict?age=45", data=picture(), content_type="image/png").status_code == 200
    assert client.post("/v1/predict?sex=male", **form(("a", picture()), age="45")).status_code == 200
    assert client.post("/v1/predict", **form(("a", picture()))).status_code == 200
    assert model.told == [{"age": "45"}, {"sex": "male", "age": "45"}, None]
    (answer,) = client.post("/v1/predict?heatmap=1", data=picture(), content_type="image/png").json["answers"]
    assert answer["heatmap"] is None  # it has no map
    for wrong in ("?age=200", "?sex=none-of-these", "?site=back", "?age=1&age=2", "?heatmap=yes"):
        answer = client.post(f"/v1/predict{wrong}", data=picture(), content_type="image/png")
        assert answer.status_code == 400, wrong
        assert "\n" not in answer.json["error"]
    described = client.get("/v1/openapi.json").json
    names = [parameter["name"] for parameter in described["paths"]["/v1/predict"]["post"]["parameters"]]
    assert names == ["heatmap", "assess_anything", "age", "sex"]


@pytest.fixture(scope="module")
def limited(service, tmp_path_factory):
    """A client of a model that refuses what is dark."""
    dark = {"feature": "luma", "below": 20000, "reason": "too_dark", "text": "too dark", "remedy": "more light"}
    path = miniatures.with_limits(tmp_path_factory.mktemp("limited") / "model.tflite", dark)
    made = run.prepare(run.Setup(path, limits=LIMITS), lambda line: None)
    return app.create(changed(made, site=FILES)).test_client()


def black():
    content = io.BytesIO()
    Image.new("RGB", (50, 40)).save(content, "PNG")
    return content.getvalue()


def test_a_picture_beyond_the_limits_has_its_reasons_and_no_class(limited):
    reason = {"reason": "too_dark", "text": "too dark", "remedy": "more light"}
    refused = {"error": "cannot assess: too dark (more light)", "reasons": [reason]}
    for query in ("", "?heatmap=1", "?assess_anything=0"):
        answer = limited.post(f"/v1/predict{query}", data=black(), content_type="image/png")
        assert answer.status_code == 422, query
        assert answer.json["answers"] == [{"file": "picture", **refused}]
    answer = limited.post("/v1/predict", **form(("a", black()), ("b", picture()), heatmap="1"))
    assert answer.status_code == 200
    first, second = answer.json["answers"]
    assert first == {"file": "a", **refused}
    assert (second["assessable"], second["reasons"]) == (True, []) and second["label"] in second["possible"]
    assert 'skin_edge_pictures_total{outcome="refused"}' in limited.get("/metrics").text


def test_assess_anything_answers_all_the_same_and_says_so(limited):
    answer = limited.post("/v1/predict?assess_anything=true&heatmap=1", data=black(), content_type="image/png")
    assert answer.status_code == 200
    (record,) = answer.json["answers"]
    assert record["assessable"] is False and [one["reason"] for one in record["reasons"]] == ["too_dark"]
    assert record["label"] and record["heatmap"].startswith("data:image/png;base64,")
    answer = limited.post("/v1/predict?assess_anything=maybe", data=black(), content_type="image/png")
    assert answer.status_code == 400 and answer.json["error"] == "assess_anything is 1 or 0"


def test_what_cannot_be_assessed_is_as_the_document_says(limited):
    schema = validator(limited.get("/v1/openapi.json").json, "Answers")
    for query in ("", "?assess_anything=1"):
        answer = limited.post(f"/v1/predict{query}", **form(("a", black()), ("b", picture()), ("c", b"x")))
        schema.validate(answer.json)
    (record,) = limited.post("/v1/predict", data=picture(), content_type="image/png").json["answers"]
    for key in ("assessable", "reasons", "possible"):
        wrong = {name: value for name, value in record.items() if name != key}
        with pytest.raises(jsonschema.ValidationError):
            schema.validate({"answers": [wrong], "disclaimer": DISCLAIMER})


def test_a_model_of_pictures_alone_takes_no_field(client):
    answer = client.post("/v1/predict?age=45", data=picture(), content_type="image/jpeg")
    assert answer.status_code == 400 and "age" in answer.json["error"]


def test_info_and_health(client, service):
    info = client.get("/v1/info").json
    assert info["sha256"] == service.info["sha256"] and info["disclaimer"] == DISCLAIMER
    assert "/" not in info["file"]  # nobody needs to know where on this machine it lies
    assert client.get("/healthz").json == {"status": "ok"}


def test_a_stuck_request_is_seen_by_the_health_check(service, monkeypatch):
    pool = Pool(service.pool.classifiers, 1)
    client = app.create(changed(service, pool=pool)).test_client()
    monkeypatch.setattr(app, "STUCK_SECONDS", 0.0)
    with pool.one(time.monotonic() + 1):
        time.sleep(0.01)
        assert client.get("/healthz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_metrics_are_prometheus_text(client):
    client.post("/v1/predict", **form(("secret-name.jpg", picture()), ("b", b"nothing")))
    client.get("/somewhere/secret-name")
    text = client.get("/metrics")
    assert text.content_type.startswith("text/plain; version=0.0.4")
    lines = text.text.splitlines()
    assert 'skin_edge_requests_total{route="/v1/predict",code="200"} 1' in lines
    assert 'skin_edge_pictures_total{outcome="answered"} 1' in lines
    assert 'skin_edge_pictures_total{outcome="refused"} 1' in lines
    assert 'skin_edge_request_seconds_bucket{route="/v1/predict",le="+Inf"} 1' in lines
    assert "skin_edge_queue_length 0" in lines
    assert "secret" not in text.text
    kinds = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    for line in lines:
        if not line.startswith("#"):
            name = line.partition("{")[0].partition(" ")[0]
            assert name in kinds or name.rpartition("_")[0] in kinds, line
            float(line.rpartition(" ")[2])


# ------------------------------------------------------------------------------------------------------- OpenAPI


def test_the_document_has_every_route_and_no_other(service):
    made = app.create(service)
    routes = {
        (rule.rule, method.lower())
        for rule in made.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint not in ("index", "page")
    }
    paths = openapi.document(service.info, LIMITS, token=True)["paths"]
    assert {(path, method) for path, methods in paths.items() for method in methods} == routes


def test_answers_are_as_the_document_says(client, service):
    document = client.get("/v1/openapi.json").json
    asked = [
        ("/v1/predict", client.post("/v1/predict", **form(("a", picture()), ("b", b"x"), heatmap="1"))),
        ("/v1/predict", client.post("/v1/predict", data=b"x", content_type="image/png")),
        ("/v1/predict", client.post("/v1/predict", data=b"", content_type="image/png")),
        ("/v1/predict", client.post("/v1/predict", data=b"x", content_type="text/plain")),
        ("/v1/predict", client.post("/v1/predict", **form(*[("a", b"x")] * 5))),
        ("/v1/predict", client.post("/v1/predict", data=b"x", headers={"Sec-Fetch-Site": "cross-site"})),
        ("/v1/info", client.get("/v1/info")),
        ("/v1/info", client.get("/v1/info", headers={"Host": "evil.example"})),
        ("/v1/session", client.post("/v1/session", json={"token": "x"})),
        ("/healthz", client.get("/healthz")),
    ]
    seen = set()
    for path, answer in asked:
        (operation,) = document["paths"][path].values()
        content = operation["responses"][str(answer.status_code)]["content"]["application/json"]
        schema = content["schema"]["$ref"].rpartition("/")[2]
        validator(document, schema).validate(answer.json)
        seen.add(answer.status_code)
    assert seen == {200, 400, 403, 413, 415, 421, 422}


# -------------------------------------------------------------------------------------------------------- access


@pytest.fixture
def guarded(service):
    return app.create(changed(service, access=Access(TOKEN))).test_client()


EVERYWHERE = ["/", "/index.html", "/port/a.js", "/nowhere", "/v1/info", "/v1/openapi.json", "/metrics"]


@pytest.mark.parametrize("path", EVERYWHERE)
def test_without_the_token_everything_is_401(guarded, path):
    guarded = guarded.application.test_client(use_cookies=False)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": "skin_edge_session=x"}):
        answer = guarded.get(path, headers=headers)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        assert b"page" not in answer.data and guarded.post(path, headers=headers).status_code == 401
    assert guarded.post("/v1/predict", data=picture()).status_code == 401
    for body in ({"token": "wrong"}, {"token": ""}, {"token": "\ud800"}):
        assert guarded.post("/v1/session", json=body).status_code == 401
    assert guarded.get("/healthz").status_code == 200


def test_with_the_token_everything_is_there(guarded):
    with_token = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/", headers=with_token).data.startswith(b"<!doctype")
    answer = guarded.post("/v1/predict", data=picture(), content_type="image/jpeg", headers=with_token)
    assert answer.status_code == 200


def test_the_cookie_stands_for_the_token_also_after_a_restart(guarded, service):
    answer = guarded.post("/v1/session", json={"token": TOKEN})
    cookie = answer.headers["Set-Cookie"]
    assert answer.status_code == 200 and TOKEN not in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; ")) and "Secure" not in cookie
    assert guarded.get("/v1/info").status_code == 200
    again = app.create(changed(service, access=Access(TOKEN), secure=True)).test_client(use_cookies=False)
    assert again.get("/v1/info", headers={"Cookie": cookie.partition(";")[0]}).status_code == 200
    assert "Secure" in again.post("/v1/session", json={"token": TOKEN}).headers["Set-Cookie"]
    other = app.create(changed(service, access=Access(TOKEN + "2"))).test_client(use_cookies=False)
    assert other.get("/v1/info", headers={"Cookie": cookie.partition(";")[0]}).status_code == 401


def test_a_browser_is_asked_for_the_token(guarded):
    answer = guarded.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 401 and answer.mimetype == "text/html"
    assert b"Token needed" in answer.data and "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
    assert TOKEN not in answer.text
    again = guarded.get("/?sign-in", headers={"Authorization": f"Bearer {TOKEN}"})
    assert again.status_code == 200 and b"Token needed" in again.data  # the token does not stay in the address


def test_tokens_are_compared_in_constant_time(monkeypatch):
    compared = []
    compare = __import__("hmac").compare_digest
    monkeypatch.setattr("hmac.compare_digest", lambda *both: compared.append(both) or compare(*both))
    access = Access(TOKEN)
    assert access.admits(f"Bearer {TOKEN}", None) and access.admits(f"bearer {TOKEN}", None)
    assert not access.admits("Bearer ü", None) and not access.admits(None, "skin_edge_session=\udcff")
    assert len(compared) == 4


def test_a_short_token_is_refused():
    for token in ("", "short", "ü" * 30, "a" * 30 + "\n"):
        with pytest.raises(UsageError, match="at least 20"):
            Access(token)
    assert TOKEN not in repr(Access(TOKEN))


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("192.168.1.5", True),
        ("skin.example:443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost:80@evil", False),
        ("a, localhost", False),
        ("[::1", False),
        ("[::1]x", False),
        ("localhost:999999", False),
        ("", False),
        (None, False),
    ],
)
def test_only_names_of_this_server_are_hosts(host, known):
    """Else a page of a site whose name resolves to 127.0.0.1 could read answers."""
    assert Access(None, frozenset({"skin.example"})).knows_host(host) is known


def test_another_host_is_421(client):
    for path in ("/", "/healthz", "/v1/info"):
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    ("origin", "site", "elsewhere"),
    [
        (None, None, False),
        ("http://localhost:8000", "same-origin", False),
        (None, "none", False),
        ("http://evil.example", None, True),
        ("null", None, True),
        ("http://localhost:8001", None, True),
        (None, "cross-site", True),
        (None, "same-site", True),
    ],
)
def test_requests_of_other_sites_pages_are_told(origin, site, elsewhere):
    assert from_elsewhere(origin, site, "localhost:8000") is elsewhere


def test_no_other_site_may_read_or_embed(client):
    for answer in (
        client.get("/"),
        client.get("/v1/info", headers={"Origin": "http://evil.example"}),
        client.get("/x"),
    ):
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert client.get("/v1/info").headers["Cache-Control"] == "no-store"
    preflight = client.options("/v1/predict", headers={"Origin": "http://evil.example"})
    assert preflight.status_code == 403


# ---------------------------------------------------------------------------------------------------------- page


def test_files_of_the_page_and_no_others(client):
    first = client.get("/")
    assert first.data == b"<!doctype html><p>page" and first.mimetype == "text/html"
    assert client.get("/port/a.js").mimetype == "text/javascript"
    assert client.get("/", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_the_page_is_that_of_the_web_command():
    """The same files, told that there is an API, each with its type and under the page's own policy."""
    service = run.prepare(run.Setup(limits=LIMITS), lambda line: None)
    whole = site.files(None, server=True)
    assert {**service.site, **service.golden.get()} == whole
    client = app.create(service).test_client()
    assert client.get("/config.json").json["server"] == "v1"
    for path, content in whole.items():
        answer = client.get(f"/{path}")
        assert answer.data == content and answer.status_code == 200
        assert answer.content_type == site.TYPES["." + path.rpartition(".")[2]], path
        assert answer.headers["Content-Security-Policy"].startswith(site.policy(own=False))


def test_golden_pictures_are_made_once_when_they_are_asked_for(service):
    """They take seconds, on a slow machine minutes: the page is there meanwhile, and few threads wait for them."""
    begun, made, answers = threading.Event(), threading.Event(), []

    def make():
        begun.set()
        assert made.wait(30)
        return GOLDEN

    golden = app.OnceMade(make, waiting=2)
    client = app.create(changed(service, golden=golden)).test_client()
    threads = [threading.Thread(target=lambda: answers.append(client.get("/golden.bin"))) for _ in range(2)]
    assert client.get("/").status_code == 200 and not begun.is_set()
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    while golden._places._value:
        time.sleep(0.01)
    answer = client.get("/golden.json")
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) == 5
    assert client.get("/").status_code == 200 and client.get("/healthz").status_code == 200
    made.set()
    for thread in threads:
        thread.join()
    assert [answer.data for answer in answers] == [b"\0"] * 2
    golden._make = None  # it is not called again
    assert client.get("/golden.json").data == b"{}"


def test_a_model_without_a_page_has_the_api(monkeypatch, unlimited):
    def refuses(*_, **__):
        raise UsageError("no page for this model")

    monkeypatch.setattr(site, "served", refuses)
    said = []
    client = app.create(run.prepare(run.Setup(unlimited, limits=LIMITS), said.append)).test_client()
    assert client.get("/").status_code == client.get("/golden.json").status_code == 404
    assert said == ["the API alone is served, without the page: no page for this model"]
    assert client.post("/v1/predict", data=picture(), content_type="image/jpeg").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/port/../index.html",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/port",
        "/port/",
        "/..%2fapp.py",
        "/index.html/",
        "/index.html%00",
        "/./index.html",
        "/\\..\\x",
        "//evil.example/%2f..",
        "/%0d%0aX:%201",
        "/%ff%fe",
    ],
)
def test_no_path_leads_elsewhere(real, path):
    """Files are found by their whole name in a dictionary: there is no folder to leave, and no redirect."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\nConnection: close\r\n\r\n".encode()
    head, _, body = exchange(real.port, request).partition(b"\r\n\r\n")
    assert b" 404 " in head[:20] and json.loads(body) == {"error": "no such path"}
    assert b"Location" not in head and b"X:" not in head


# -------------------------------------------------------------------------------------------------------- limits


def test_what_is_wrong_with_a_request_is_one_line(client):
    cases = [
        (400, {"data": b"", "content_type": "image/jpeg"}),
        (400, {"data": {}, "content_type": "multipart/form-data"}),
        (400, {"data": b"--x", "content_type": "multipart/form-data"}),
        (400, {"data": b"--x", "content_type": "multipart/form-data; boundary=x"}),
        (400, {"data": {"other": (io.BytesIO(picture()), "a.jpg")}, "content_type": "multipart/form-data"}),
        (400, {"data": {"picture": "text"}, "content_type": "multipart/form-data"}),
        (415, {"data": b"x", "content_type": "application/x-www-form-urlencoded"}),
        (415, {"data": b"x", "content_type": "application/json"}),
        (415, {"data": b"x", "content_type": "image/png", "headers": {"Content-Encoding": "gzip"}}),
        (413, {"data": b"x" * (2**20 + 1), "content_type": "image/png"}),
        (413, form(*[("a", b"x")] * 5)),
        (413, form(*[("a", b"x")] * 200)),
        (413, form(("a", b"x"), heatmap="1" * 2**20)),
    ]
    for code, request in cases:
        answer = client.post("/v1/predict", **request)
        assert answer.status_code == code, (answer.status_code, answer.text)
        assert set(answer.json) == {"error"} and "\n" not in answer.json["error"]
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "TRACE", "NONE"):
        answer = client.open("/v1/predict", method=method)
        assert answer.status_code == 405 and answer.headers["Allow"] == "POST", method
    for body in (
        {"data": b""},
        {"json": []},
        {"json": {"token": 1}},
        {"data": b"{", "content_type": "application/json"},
    ):
        assert client.post("/v1/session", **body).status_code == 400


def test_a_fault_is_one_line_without_a_traceback(service, unlimited, capfd):
    class Broken(OfPatients):
        encoding = None

        def predict(self, image, metadata=None):
            raise RuntimeError("a secret of the picture")

    client = app.create(changed(service, pool=Pool([Broken(unlimited)], 1))).test_client()
    answer = client.post("/v1/predict", data=picture(), content_type="image/jpeg")
    assert answer.status_code == 500 and answer.json == {"error": "fault of the server; its log has a line about it"}
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "RuntimeError" in said and "secret" not in said


def test_pictures_are_not_written_to_the_disk(service, monkeypatch):
    """Neither by the form's parser nor by the HTTP server, both of which would from half a megabyte on."""

    def never(*_, **__):
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(f"tempfile.{name}", never)
    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", never)
    large = picture(size=(900, 900), form="BMP")
    roomy = changed(service, limits=dataclasses.replace(LIMITS, request_bytes=2**23))
    assert len(large) > 2e6
    boundary = b"--b\r\nContent-Disposition: form-data; name=picture; filename=x\r\n\r\n"
    with serving(roomy) as http:
        body = boundary + large + b"\r\n--b--\r\n"
        for request in (
            post(large, path="/v1/predict?heatmap=1"),
            post(body, path="/v1/predict?heatmap=1", kind="multipart/form-data; boundary=b"),
        ):
            answer = exchange(http.port, request)
            assert b" 200 OK" in answer[:20], answer[:300]
            assert b"data:image/png" in answer


def test_a_full_queue_is_503_with_a_time(service):
    pool = Pool(service.pool.classifiers[:1], 1)
    client = app.create(changed(service, pool=pool, limits=dataclasses.replace(LIMITS, seconds=0.3))).test_client()
    with pool.one(time.monotonic()), contextlib.ExitStack() as stack:
        waiter = threading.Thread(target=lambda: client.post("/v1/predict", data=picture(), content_type="image/png"))
        waiter.start()
        stack.callback(waiter.join)
        while not pool.waiting:
            time.sleep(0.01)
        answer = client.post("/v1/predict", data=picture(), content_type="image/png")
        assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
        assert client.get("/healthz").status_code == 200
        assert "skin_edge_queue_length 1" in client.get("/metrics").text
    with pool.one(time.monotonic()), pytest.raises(BusyError), pool.one(time.monotonic() + 0.05):
        pass
    with pool.one(time.monotonic()):  # given back by both
        pass


def test_pictures_after_the_time_are_not_assessed(service):
    limits = dataclasses.replace(LIMITS, seconds=0.0)
    answer = app.create(changed(service, limits=limits)).test_client().post("/v1/predict", **form(("a", picture())))
    assert answer.status_code == 200 and "time" in answer.json["answers"][0]["error"]


# ---------------------------------------------------------------------------------------------------------- HTTP


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (post(b"x" * 100), 401),  # and the body is not read
        (b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n", 401),
        (b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n", 413),
        (post(b"", BEARER).replace(b"Content-Length: 0", b"Content-Length: 99999999"), 413),
        (post(b"", BEARER).replace(b"Content-Length: 0", b"Content-Length: -1"), 400),
        (post(b"", BEARER).replace(b"Content-Length: 0", b"Content-Length: " + b"9" * 5000), 400),
        (post(b"", BEARER).replace(b"Content-Length: 0", b"Content-Length: 1\r\nContent-Length: 2"), 400),
        (post(b"", BEARER).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\n\r\n", 411),
        (post(b"", BEARER).replace(b"Content-Length: 0", b"Transfer-Encoding: gzip"), 411),
        (post(b"abc", "Expect: 100-continue")[:-3], 401),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA\x00: b\r\n\r\n", 400),
        (post(b"", BEARER).replace(b"localhost", b"localhost\r\n X: folded"), 421),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 421),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
    ],
)
def test_malformed_requests_are_refused_in_json(real, request_bytes, code):
    head, _, body = exchange(real.port, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.") and int(head.split()[1]) == code, head
    told = json.loads(body)
    assert set(told) == {"error"} and b"nosniff" in head and b"waitress" not in head + body


def test_a_refused_upload_is_told_why_although_it_still_sends(real):
    """The system would reset the connection, and the client never see the answer."""
    body = b"x" * 3_000_000
    head, _, told = exchange(real.port, post(body, BEARER)).partition(b"\r\n\r\n")
    assert b" 413 " in head and b"bytes" in told


def test_what_follows_a_refused_head_is_no_request(real):
    second = post(picture(), BEARER)
    answer = exchange(real.port, post(b"").replace(b"Content-Length: 0", b"Content-Length: 900000") + second)
    assert answer.count(b"HTTP/1.1 ") == 1 and b" 401 " in answer[:20]


def test_pipelined_requests_are_answered_in_order(real):
    keep = post(picture(), BEARER).replace(b"Connection: close\r\n", b"")
    last = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\nConnection: close\r\n\r\n".encode()
    answer = exchange(real.port, keep * 3 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 4 and answer.endswith(b'{"status":"ok"}\n')


def test_a_request_that_arrives_too_slowly_is_cut_off(real):
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", real.port), 20) as slow:
        slow.sendall(post(b"x" * 100, BEARER)[:-100])
        slow.settimeout(0.2)
        while time.monotonic() - begun < 15:
            try:
                slow.sendall(b"x")
                if not slow.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert 2 <= time.monotonic() - begun < 12


def test_bodies_of_all_connections_together_are_bounded(service):
    limits = dataclasses.replace(LIMITS, held_bytes=2_500_000, request_bytes=2**21)
    with serving(changed(service, limits=limits)) as http, contextlib.ExitStack() as stack:
        part = post(b"x" * 1_900_000)[:-1]  # one byte is missing: they stay
        for _ in range(1):
            stack.enter_context(socket.create_connection(("127.0.0.1", http.port), 10)).sendall(part)
        until = time.monotonic() + 10
        while http._total_held() < 1_800_000 and time.monotonic() < until:
            time.sleep(0.01)
        answer = exchange(http.port, part + b"x")
        assert b" 503 " in answer[:20] and b"Retry-After: " in answer
        assert b" 200 OK" in exchange(http.port, post(picture()))[:20]


class Held(OfPatients):
    """A model that answers when it may."""

    encoding = None

    def __init__(self, path):
        super().__init__(path)
        self.begun, self.may = threading.Semaphore(0), threading.Semaphore(0)

    def predict(self, image, metadata=None):
        self.begun.release()
        assert self.may.acquire(timeout=20)
        return super().predict(image)


class Asked(threading.Thread):
    """A request under way, and what came back."""

    def __init__(self, port, **options):
        super().__init__()
        self.port, self.options, self.answer = port, options, b""
        self.start()

    def run(self):
        self.answer = exchange(self.port, post(picture(), **self.options), 20)

    @property
    def status(self):
        self.join()
        return int(self.answer[9:12])


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_waits_for_a_classifier_has_no_thread(service, unlimited):
    """More wait than there are threads; the page is there meanwhile; the next is 503; a stop answers all that wait."""
    model, waiting = Held(unlimited), 20
    with serving(changed(service, pool=Pool([model], waiting))) as http:
        before = threading.active_count()
        first = Asked(http.port)
        assert model.begun.acquire(timeout=20)
        rest = [Asked(http.port, path="/v1/predict" if number % 2 else "//v1/predict") for number in range(waiting)]
        get = "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        until(lambda: b"skin_edge_queue_length 20" in exchange(http.port, get.format("/metrics").encode()))
        assert threading.active_count() == before + 1 + waiting  # those of the clients
        busy = Asked(http.port)
        assert busy.status == 503 and b"Retry-After: " in busy.answer
        assert json.loads(busy.answer.partition(b"\r\n\r\n")[2])["error"].startswith("busy")
        for path in ("/", "/healthz"):
            assert b" 200 OK" in exchange(http.port, get.format(path).encode())[:20]
        http.stop()
        for _ in range(waiting + 1):
            model.may.release()
        assert [asked.status for asked in (first, *rest)] == [200] * (waiting + 1)


def test_without_a_queue_one_request_for_each_classifier_is_answered(service, unlimited):
    model = Held(unlimited)
    with serving(changed(service, pool=Pool([model], 0))) as http:
        for _ in range(3):
            first = Asked(http.port)
            assert model.begun.acquire(timeout=20)
            assert Asked(http.port).status == 503
            model.may.release()
            assert first.status == 200


def test_what_has_waited_too_long_is_503_although_nothing_is_free(service, unlimited):
    model = Held(unlimited)
    limits = dataclasses.replace(LIMITS, seconds=0.5)
    with serving(changed(service, pool=Pool([model], 5), limits=limits)) as http:
        first = Asked(http.port)
        assert model.begun.acquire(timeout=20)
        assert [asked.status for asked in [Asked(http.port) for _ in range(3)]] == [503] * 3
        model.may.release()
        assert first.status == 200


# ------------------------------------------------------------------------------------------------------- process


@contextlib.contextmanager
def process(*arguments, **environment):
    """`skin-edge serve` as a process of its own, and the link that it printed."""
    command = [sys.executable, "-m", "skin_edge.edge_runtime", "serve", "--port", "0", "--workers", "1", *arguments]
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        line = started.stdout.readline()
        assert line.startswith("serving on http"), started.communicate(timeout=30)
        yield started, line.split()[-1]
    finally:
        started.kill()
        started.communicate()


def test_a_process_answers_and_ends_with_0(tmp_path):
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    with process("--token-file", str(token)) as (started, link):
        url, _, token_told = link.partition("?sign-in")
        assert token_told == ""  # who chose it knows it, and logs keep what is printed
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/jpeg"}
        port = int(url.rstrip("/").rpartition(":")[2])
        with urllib.request.urlopen(urllib.request.Request(f"{url}v1/predict", FIT, headers)) as answer:
            assert json.load(answer)["answers"][0]["label"]
        request = post(FIT, BEARER)
        with socket.create_connection(("127.0.0.1", port), 20) as begun:
            begun.sendall(request[:-1])
            time.sleep(0.3)
            started.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", port), 5).close()
            started.send_signal(signal.SIGTERM)  # another one changes nothing
            begun.sendall(request[-1:])
            assert begun.recv(100).startswith(b"HTTP/1.1 200 OK")
        told = started.communicate(timeout=30)
        assert started.returncode == 0 and "Traceback" not in told[1] and TOKEN not in told[1]


def test_ctrl_c_ends_it_with_0_and_the_environment_has_the_token():
    with process(SKIN_EDGE_TOKEN=TOKEN) as (started, link):
        assert link.endswith("/?sign-in")
        started.send_signal(signal.SIGINT)
        assert started.wait(30) == 0


def test_a_token_that_was_made_is_told():
    with process("--behind-proxy", SKIN_EDGE_TOKEN="") as (_, link):
        url, _, token = link.partition("?sign-in#token=")
        assert len(token) >= 43
        request = urllib.request.Request(f"{url}v1/info", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200


def arguments(**changed):
    chosen = {"host": "127.0.0.1", "host_names": (), "told": None, "no_token": False, "behind_proxy": False}
    return {**chosen, **changed}


def test_who_needs_a_token():
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        assert commands._access(**arguments(host=host)).token is None
    made = [commands._access(**arguments(host=host)).token for host in ("0.0.0.0", "::", "192.168.1.5", "raspberrypi")]
    made.append(commands._access(**arguments(behind_proxy=True)).token)
    assert len(set(made)) == 5 and all(len(token) >= 43 for token in made)
    assert commands._access(**arguments(host="0.0.0.0", no_token=True)).token is None
    assert commands._access(**arguments(told=TOKEN)).token == TOKEN


def test_what_is_exposed_is_said():
    assert run.exposed(run.Setup()) == []
    (no_tls,) = run.exposed(run.Setup(host="0.0.0.0", access=Access(TOKEN)))
    assert "TLS" in no_tls
    assert any("everybody" in line for line in run.exposed(run.Setup(host="0.0.0.0")))
    made = run.Setup(host="::1", access=Access(TOKEN), tells_token=True)
    assert run.link(made, 8000) == f"http://[::1]:8000/?sign-in#token={TOKEN}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--certificate", "x.pem"], "--certificate and --key"),
        (["--certificate", "x.pem", "--key", "y.pem"], "x.pem cannot be read"),
        (["--no-token", "--token-file", "x"], "contradict"),
        (["--token-file", "nowhere"], "nowhere cannot be read"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["missing.tflite"], "missing.tflite"),
    ],
)
def test_wrong_usage_is_one_line(words, said, capsys, monkeypatch, tmp_path):
    from skin_edge.edge_runtime import cli

    monkeypatch.chdir(tmp_path)
    assert cli.run(["serve", *words]) in (1, 2)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and said in error


def test_the_command_is_on_the_command_line():
    assert COMMANDS["serve"].target == "skin_edge.apps.serve.commands:serve"


# ----------------------------------------------------------------------------------------------------------- TLS


def certificate(folder):
    line = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = subprocess.run([*line.split(), *names], cwd=folder, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"openssl cannot make a certificate: {made.stderr[-200:]}")
    return folder / "cert.pem", folder / "key.pem"


def test_https(tmp_path):
    if not __import__("shutil").which("openssl"):
        pytest.skip("openssl is not installed")
    cert, key = certificate(tmp_path)
    with process("--certificate", str(cert), "--key", str(key)) as (started, link):
        assert link.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(cert))
        request = urllib.request.Request(f"{link}v1/predict", FIT, {"Content-Type": "image/jpeg"})
        with urllib.request.urlopen(request, context=trusted) as answer:
            assert json.load(answer)["answers"][0]["label"]
        port = int(link.rstrip("/").rpartition(":")[2])
        with contextlib.ExitStack() as stack:  # silent and plain clients do not stop it
            for _ in range(50):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            assert exchange(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").find(b"200") < 0
            with urllib.request.urlopen(f"{link}healthz", context=trusted) as answer:
                assert answer.status == 200
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.maximum_version = ssl.TLSVersion.TLSv1_1
            with socket.create_connection(("127.0.0.1", port), 5) as plain, pytest.raises((ssl.SSLError, OSError)):
                old.wrap_socket(plain)
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0
    with pytest.raises(UsageError, match=r"cert\.pem"):
        tls.context(cert, Path(__file__))
