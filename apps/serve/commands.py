"""`skin-edge serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...edge_runtime import console
from ...edge_runtime.commands import input_options, model_argument
from ...edge_runtime.errors import UsageError, require

if TYPE_CHECKING:
    from .access import Access


@click.command()
@model_argument
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on. Any but a loopback address needs a token; 0.0.0.0 is every network of this machine.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="TCP port to listen on; 0 takes any that is free.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File that holds the token.  [default: the environment variable SKIN_EDGE_TOKEN, else a new token for each "
    "start]",
)
@click.option(
    "--no-token",
    is_flag=True,
    help="Ask for no token: everybody who reaches the address may send pictures and read the model.",
)
@click.option(
    "--host-name",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="Another name under which browsers reach this server, such as that of the proxy; repeatable. Addresses, "
    "localhost and this machine's name are known.",
)
@click.option(
    "--certificate", type=click.Path(path_type=Path), metavar="FILE", help="Certificate for https, PEM with its chain."
)
@click.option(
    "--key", type=click.Path(path_type=Path), metavar="FILE", help="Private key of the certificate, PEM, not encrypted."
)
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="Serve a reverse proxy on this machine that ends TLS: a token is needed, and its X-Forwarded-Proto and "
    "X-Forwarded-Host count.",
)
@click.option(
    "--runtime",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The node_modules folder that holds LiteRT.js, which the page then takes from this server.  [default: the "
    "page fetches a pinned version from a public host]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Number of requests to answer at the same time.  [default: the number of cores]",
)
@click.option(
    "--queue",
    type=click.IntRange(0, 1000),
    default=32,
    show_default=True,
    help="Number of requests that may wait; the next is answered 503.",
)
@click.option(
    "--max-megabytes",
    type=click.IntRange(1, 512),
    default=64,
    show_default=True,
    help="Largest request, in units of 2^20 bytes.",
)
@click.option(
    "--max-pictures",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    help="Largest number of pictures in one request.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=30.0,
    show_default=True,
    help="Seconds for one request, waiting included, once it has arrived.",
)
@input_options
def serve(
    model: Path | None,
    host: str,
    port: int,
    token_file: Path | None,
    no_token: bool,
    host_names: tuple[str, ...],
    certificate: Path | None,
    key: Path | None,
    behind_proxy: bool,
    runtime: Path | None,
    workers: int | None,
    queue: int,
    max_megabytes: int,
    max_pictures: int,
    timeout: float,
    mean: float | None,
    std: float | None,
    labels: str | None,
) -> None:
    """Serve MODEL, a .tflite file or the name of a packaged model (without MODEL, "default"): the page for browsers
    and an HTTP API.

    On this machine alone unless --host says otherwise. Pictures are kept in memory until they are answered, never on
    disk, and no log names them. SIGTERM and Ctrl-C finish what was begun.

    \b
    Example:
      skin-edge serve
      skin-edge serve model_int8.tflite --port 8080
      skin-edge serve --host 0.0.0.0 --certificate cert.pem --key key.pem
      curl -F picture=@photo.jpg http://127.0.0.1:8000/v1/predict
    """
    require("flask", "waitress")
    from . import run
    from .limits import Limits

    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key belong together: give both, or neither")
    if no_token and token_file:
        raise UsageError("--no-token and --token-file contradict each other: give one of them")
    told = _token(token_file) if token_file else os.environ.get("SKIN_EDGE_TOKEN") or None
    access = _access(host, host_names, told, no_token=no_token, behind_proxy=behind_proxy)
    chosen = Limits(waiting=queue, request_bytes=max_megabytes * 2**20, pictures=max_pictures, seconds=timeout)
    setup = run.Setup(
        model=model,
        host=host,
        port=port,
        access=access,
        tells_token=told is None and access.token is not None,
        limits=chosen.with_workers(workers),
        tls=(certificate, key) if certificate and key else None,
        behind_proxy=behind_proxy,
        runtime=runtime,
        input_options={"mean": mean, "std": std, "labels": labels},
    )
    run.run(setup, console.say, lambda line: console.say(line, err=True))


def _access(host: str, host_names: tuple[str, ...], told: str | None, *, no_token: bool, behind_proxy: bool) -> Access:
    """told: the token that the user chose; without one, a new one where it is needed."""
    import secrets

    from .access import Access, is_loopback, own_names

    names = own_names() | {name.lower() for name in host_names}
    if no_token or (told is None and is_loopback(host) and not behind_proxy):
        return Access(None, names)
    return Access(secrets.token_urlsafe(32) if told is None else told, names)


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"--token-file {path} cannot be read: {reason}") from None
