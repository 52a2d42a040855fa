"""The page that a browser without the token sees: it takes the token from the link's fragment, or asks for it.

What stands behind "#" is never sent to a server, so the token is in no log of a proxy and in no Referer; the page sends
it once, and gets the cookie.
"""

from __future__ import annotations

import base64
import hashlib

ASKED = "sign-in"
"""In the query of "/": this page, also for those who are signed in, so that the token does not stay in the address.
(Without a query, the page's service worker would answer from its cache.)"""

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 30rem; margin: 3rem auto; padding: 0 1rem; }
input, button { font: inherit; padding: .6rem; box-sizing: border-box; width: 100%; margin: .3rem 0; }
"""

_SCRIPT = """
"use strict";
const form = document.querySelector("form"), said = document.querySelector("output");
async function signIn(token) {
  let answer;
  try {
    answer = await fetch("/v1/session", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
    });
  } catch {
    said.textContent = "The server does not answer.";
    return;
  }
  if (answer.ok) location.replace(location.pathname);
  else said.textContent = "This is not the token of this server.";
}
form.addEventListener("submit", event => { event.preventDefault(); signIn(form.elements.token.value.trim()); });
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  history.replaceState(null, "", location.pathname);
  signIn(given);
}
"""

PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>skin-edge: token needed</title>
<style>{_STYLE}</style>
<h1>Token needed</h1>
<p>Open the link that <code>skin-edge serve</code> printed, or enter its token.</p>
<form>
<label>Token <input name="token" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>
</form>
<p><output role="alert"></output></p>
<script>{_SCRIPT}</script>
</html>
"""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
