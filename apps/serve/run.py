"""From what a user chose to a server that runs until it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...edge_runtime import stopping
from ...edge_runtime.classifier import DISCLAIMER, SkinClassifier
from ...edge_runtime.errors import UsageError
from ...edge_runtime.info import describe
from ...edge_runtime.model_file import read_model_file
from ..web import site
from . import app, server, tls
from .access import Access, is_loopback
from .limits import Limits
from .metrics import Metrics
from .pool import Pool
from .sign_in import ASKED


@dataclass(frozen=True)
class Setup:
    """What the user chose.

    Attributes:
        model: A .tflite file; None for the packaged one.
        host: Address to listen on.
        port: 0 for any.
        access: Who may ask.
        tells_token: Whether the printed link has the token, because nobody knows it yet. Logs keep what is printed.
        limits: What requests may take.
        tls: Certificate and key; None for plain HTTP.
        behind_proxy: Whether a proxy on this machine ends TLS.
        runtime: Folder of LiteRT.js for the page; None where the page fetches it.
        input_options: Mean, std, labels as SkinClassifier takes them.
    """

    model: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    access: Access = field(default_factory=Access)
    tells_token: bool = False
    limits: Limits = field(default_factory=Limits)
    tls: tuple[Path, Path] | None = None
    behind_proxy: bool = False
    runtime: Path | None = None
    input_options: Mapping[str, Any] | None = None


def run(setup: Setup, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C.

    Args:
        setup: What the user chose.
        say: Takes the line with the address, once the server answers.
        warn: Takes lines about what is exposed, and why there is no page.

    Raises:
        UsageError: Where the address, the certificate or an option cannot be used.
        ModelFileError: Where the model cannot.
    """
    context = tls.context(*setup.tls) if setup.tls else None
    service = prepare(setup, warn)
    listening = server.listen(setup.host, setup.port)
    own = server.listen("127.0.0.1", 0) if context else listening
    http = server.Server(
        app.create(service), service, own, proxied=setup.behind_proxy, url_scheme="https" if context else "http"
    )
    front = tls.Front(listening, context, http.port, setup.limits.connections) if context else None

    def stop() -> None:
        if front:
            front.stop_accepting()
        http.stop()

    with stopping.gently(stop):
        if front:
            front.start()
        for line in exposed(setup):
            warn(line)
        say(f"serving on {link(setup, listening.getsockname()[1])}")
        warn(DISCLAIMER)
        http.run()
        if front:
            front.finish(5.0)


def prepare(setup: Setup, warn: Callable[[str], None]) -> app.Service:
    """Reads the model and makes all that the routes need; each classifier has answered once, so that none is slow.

    Args:
        setup: What the user chose.
        warn: Takes a line where this model has no page.
    """
    told = dict(setup.input_options or {})
    classifiers = [SkinClassifier(setup.model, **told) for _ in range(setup.limits.workers)]
    first = classifiers[0]
    grey = np.full((first.input_spec.height, first.input_spec.width, 3), 128, np.uint8)
    for classifier in classifiers:
        classifier.predict(grey)
    labels = {"labels_file" if name == "labels" else name: value for name, value in told.items()}
    file = read_model_file(first.path, **labels)
    info = {**describe(first, file), "file": first.path.name}
    return app.Service(
        pool=Pool(classifiers, setup.limits.waiting),
        info=info,
        site=_page(setup, warn),
        golden=app.OnceMade(lambda: site.golden(file)),
        policy=site.policy(own=setup.runtime is not None),
        access=setup.access,
        limits=setup.limits,
        metrics=Metrics(),
        secure=setup.tls is not None or setup.behind_proxy,
    )


def _page(setup: Setup, warn: Callable[[str], None]) -> Mapping[str, bytes]:
    """The page's files; none where the model has no page. A folder without the runtime ends the command."""
    try:
        return site.served(setup.model, runtime=setup.runtime)
    except UsageError as error:
        if setup.runtime is not None:
            raise
        warn(f"the API alone is served, without the page: {error}")
        return {}


def link(setup: Setup, port: int) -> str:
    """What a browser opens: with the token behind "#", which no browser sends to a server.

    Args:
        setup: What the user chose.
        port: That was bound.
    """
    from .access import own_names

    scheme = "https" if setup.tls else "http"
    host = setup.host
    if host in ("0.0.0.0", "::"):
        host = min(own_names(), key=lambda name: not name.endswith(".local"))
    elif ":" in host:
        host = f"[{host}]"
    sign_in = f"?{ASKED}" if setup.access.token else ""
    token = f"#token={setup.access.token}" if setup.tells_token else ""
    return f"{scheme}://{host}:{port}/{sign_in}{token}"


def exposed(setup: Setup) -> list[str]:
    """What others can do now, where it is more than this machine's users."""
    if is_loopback(setup.host) and not setup.behind_proxy:
        return []
    lines: list[str] = []
    if setup.access.token is None:
        lines.append(
            "warning: no token: everybody who reaches this address may send pictures, read the model and its figures"
        )
    if setup.tls is None and not setup.behind_proxy:
        lines.append(
            "warning: no TLS: pictures, answers and the token can be read in this network; use --certificate and --key"
        )
    return lines
