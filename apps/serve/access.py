"""Who may ask: the Host header, the token, and where a browser's request comes from."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass, field

from ...edge_runtime.errors import UsageError

COOKIE = "skin_edge_session"
SHORTEST_TOKEN = 20
"""Characters of a token that a user chose."""

OPEN_PATHS = frozenset({"/healthz", "/v1/session"})
"""What is answered without a token; /v1/session takes it and gives the cookie."""


@dataclass(frozen=True)
class Access:
    """What a request has to show.

    Attributes:
        token: That every request has to bring; None where none is needed.
        names: Host names under which this server is reached, in lower case, beside localhost and any address.
    """

    token: str | None = field(default=None, repr=False)
    names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        token = self.token
        if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
            raise UsageError(
                f"the token has to be at least {SHORTEST_TOKEN} visible ASCII characters: "
                'python3 -c "import secrets; print(secrets.token_urlsafe(32))" makes one'
            )

    @property
    def session(self) -> str:
        """What the cookie holds: derived from the token, so that it is valid after a restart, and not the token."""
        return hmac.new((self.token or "").encode(), b"skin-edge session", hashlib.sha256).hexdigest()

    def admits(self, authorization: str | None, cookies: str | None) -> bool:
        """Whether a request brought the token, compared in constant time.

        Args:
            authorization: The header of this name.
            cookies: The header Cookie.
        """
        if self.token is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        pairs = (cookie.strip().partition("=") for cookie in (cookies or "").split(";"))
        return any(_equal(value, self.session) for name, _, value in pairs if name == COOKIE)

    def is_token(self, given: str) -> bool:
        """Whether `given` is the token, compared in constant time."""
        return self.token is not None and _equal(given, self.token)

    def knows_host(self, host: str | None) -> bool:
        """Whether the Host header is an address, or a name of this server.

        A page of another site whose name an attacker makes resolve to this address (DNS rebinding) sends that name. No
        such attack is possible with an address.
        """
        name = _name_of(host or "")
        if name is None:
            return False
        if name == "localhost" or name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def own_names() -> frozenset[str]:
    """The names of this machine in its network: "raspberrypi", "raspberrypi.local"."""
    name = socket.gethostname().lower()
    return frozenset({name, f"{name.partition('.')[0]}.local"})


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def from_elsewhere(origin: str | None, fetch_site: str | None, host: str | None) -> bool:
    """Whether a page of another site made the browser send this.

    Args:
        origin: The header Origin, which browsers add to what may change something.
        fetch_site: The header Sec-Fetch-Site.
        host: The header Host.
    """
    if fetch_site in ("cross-site", "same-site"):
        return True
    return origin is not None and origin.lower().partition("://")[2] != (host or "").lower()


def _name_of(host: str) -> str | None:
    """The name in "name:port", without the brackets of an IPv6 address; None where it is malformed."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    return name.lower().rstrip(".") or None


def _equal(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())
