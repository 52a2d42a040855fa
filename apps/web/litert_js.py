"""LiteRT.js, which runs the model in the browser: one version, file by file, with its digests."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ...edge_runtime.errors import UsageError

VERSION = "2.5.3"
URL = "https://cdn.jsdelivr.net/npm/"
"""Serves the files of npm's packages as they are, with CORS."""


@dataclass(frozen=True)
class File:
    """One of the runtime's files.

    Attributes:
        package: Of npm.
        path: Within the package.
        integrity: "sha384-" and the digest, as browsers take it.
    """

    package: str
    path: str
    integrity: str

    @property
    def url(self) -> str:
        """The file in the pinned version."""
        return f"{URL}{self.package}@{VERSION}/{self.path}"


_CORE = "@litertjs/core"

# Computed from the packages that npm installs, by `integrity`.
FILES = {
    "core": File(_CORE, "dist/index.js", "sha384-MapSVJ/DPwvaWpp7q+Bid9O3uY1oB0KOU1QRMP+Mm5zdz5oMme/BUyX6dVAMWnPg"),
    "utils": File(
        "@litertjs/wasm-utils",
        "dist/index.js",
        "sha384-HIPwlWsctS5BRqrnvJKDVJ8SvqKB0QmiImdr6+hpP7+8UqeMJX/qrBkdfKQV2WZ/",
    ),
    "loader": File(
        _CORE,
        "wasm/litert_wasm_internal.js",
        "sha384-NB/Wc4iozynQO5jzJ2VFoMKbqMvwwFGWxJL/o63IJT6W2JfZbsSLxA2cF6H/mLpQ",
    ),
    "wasm": File(
        _CORE,
        "wasm/litert_wasm_internal.wasm",
        "sha384-AZ/Ak4CbDpjqpSr8WsnoL3Dcx6bDFA/k9b/jahok1TGHZ2OqIRjLBMiEmiNedhlC",
    ),
    # for browsers without relaxed SIMD
    "compatible_loader": File(
        _CORE,
        "wasm/litert_wasm_compat_internal.js",
        "sha384-oh4nb8zDq6eVOpGeZE5gwDOJ16QujHLL8k/HEXt3XiPxr+8zn3YnkXP8P3BlJET1",
    ),
    "compatible_wasm": File(
        _CORE,
        "wasm/litert_wasm_compat_internal.wasm",
        "sha384-glAZ6WjS7tLRt89pbTPXvLC1c7DCaVSfL2ngn5gZJiUuPs76fWYJy7ZeFaD0PJXx",
    ),
}

IMPORT = b'"@litertjs/wasm-utils"'
"""How `core` imports `utils`: a bare name, which a browser knows nothing of."""


def integrity(content: bytes) -> str:
    """The SHA-384 of subresource integrity, https://www.w3.org/TR/SRI."""
    return f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}"


def read(folder: Path) -> dict[str, bytes]:
    """Name in FILES -> content, from an unpacked node_modules.

    Raises:
        UsageError: Where a file is missing or is not that of VERSION.
    """
    found: dict[str, bytes] = {}
    for name, file in FILES.items():
        path = folder / file.package / file.path
        if not path.is_file() and (folder / "node_modules").is_dir():
            path = folder / "node_modules" / file.package / file.path
        how = f"npm install {_CORE}@{VERSION} makes a node_modules folder that has it"
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            raise UsageError(f"--runtime {folder}: {path} cannot be read ({error.strerror}); {how}") from None
        if integrity(found[name]) != file.integrity:
            raise UsageError(f"--runtime {folder}: {path} is not that of {file.package} {VERSION}; {how}")
    return found
