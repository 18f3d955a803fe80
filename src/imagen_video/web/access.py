"""Who may talk to the server, about what, and how much at once.

On loopback there is no token: only this machine can connect, and what a browser could be made to
send on behalf of a foreign page is refused by its Host and Origin headers. On any other address
every request needs the token. Of gradio's own routes those that the page needs are open; its file,
upload and proxy routes are not: files come from the gallery and go to the uploads, nowhere else.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "imagen_video_session"
MIN_TOKEN_CHARACTERS = 16
MAX_BODY_BYTES = 1 << 18
"""Of all requests but uploads: a prompt of 2,000 characters and every option are a few kB."""
UPLOADS = "/api/uploads"
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_OPEN = frozenset({"/healthz", "/login"})
_LOGIN_BYTES = 4096

# What the page loads, and what it calls.
_ALLOWED = re.compile(
    r"/|/healthz|/metrics|/login|/api/.*|/config/?|/theme\.css|/favicon\.ico|/manifest\.json"
    r"|/(?:assets|static|svelte)/.*"
    r"|/gradio_api/(?:run/predict|startup-events|heartbeat/[A-Za-z0-9_-]+)"
)

_LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>imagen-video</title>
<style>body{font:16px system-ui,sans-serif;max-width:24rem;margin:20vh auto;padding:0 1rem}
input,button{font:inherit;padding:.5rem;width:100%%;box-sizing:border-box;margin:.3rem 0}</style>
<h1>imagen-video</h1><form method="post" action="/login">
<label for="token">Token (printed where the server was started)</label>
<input id="token" name="token" type="password" autofocus autocomplete="current-password">
<button>Open</button></form><p role="alert">%s</p></html>"""


class Guard:
    """ASGI middleware in front of everything."""

    def __init__(self, app: ASGIApp, *, token: str | None, upload_bytes: int) -> None:
        """Wrap an application.

        Args:
            app: what is behind the guard.
            token: what clients must know; None for loopback only.
            upload_bytes: largest body of an upload.
        """
        self._app = app
        self._token = token
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets
            return
        headers = Headers(scope=scope)
        path = scope["path"]
        most = self._upload_bytes if path == UPLOADS else MAX_BODY_BYTES
        refusal = self._refusal(scope, headers, most)
        if refusal is None and path == "/login":
            refusal = await self._login(scope, receive)
        if refusal is not None:
            await refusal(scope, receive, _with_safety(send))
            return
        await self._app(scope, _Bounded(receive, most), _with_safety(send))

    def _refusal(self, scope: Scope, headers: Headers, most: int) -> Response | None:
        """Return the answer to a request that is not passed on."""
        path = scope["path"]
        host = headers.get("host", "")
        if self._token is None and _host_name(host) not in _LOCAL:
            return _error(400, "this server answers to localhost and 127.0.0.1 only")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return _error(403, "requests from pages of other sites are refused")
        if _ALLOWED.fullmatch(path) is None:
            return _error(404, "no such page")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            return _error(413, f"the body is too large; at most {most} bytes")
        if path not in _OPEN and not self._is_known(headers):
            if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
                return RedirectResponse("/login", status_code=303)
            return _error(401, "send the server's token as `Authorization: Bearer TOKEN`")
        return None

    def _is_known(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), self._token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and _same(cookie.value, session_of(self._token))

    async def _login(self, scope: Scope, receive: Receive) -> Response:
        """Show the form, or take the token from it and answer with a cookie."""
        if self._token is None:
            return RedirectResponse("/", status_code=303)
        if scope["method"] != "POST":
            return HTMLResponse(_LOGIN_PAGE % "")
        body = b""
        while len(body) <= _LOGIN_BYTES:
            message = await receive()
            body += message.get("body", b"")
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        given = parse_qs(body[:_LOGIN_BYTES].decode("utf-8", "replace")).get("token", [""])[0]
        if not _same(given.strip(), self._token):
            return HTMLResponse(_LOGIN_PAGE % "This is not the token.", status_code=401)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            COOKIE,
            session_of(self._token),
            httponly=True,
            samesite="strict",
            secure=scope["scheme"] == "https",
        )
        return answer


class _Bounded:
    """Counts a body whose length nobody said, or said wrongly."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                return {"type": "http.disconnect"}
        return message


def session_of(token: str) -> str:
    """Return what a browser keeps instead of the token, from which the token cannot be found."""
    return hmac.new(token.encode(), b"imagen-video session", hashlib.sha256).hexdigest()


def _same(given: str, wanted: str) -> bool:
    """Compare without telling by the time taken how much was right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _host_name(host: str) -> str:
    return re.sub(r":\d+$", "", host).lower()


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status)


def _with_safety(send: Send) -> Send:
    """Add the headers that keep a browser from guessing types, framing and telling others."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message["headers"],
                (b"x-content-type-options", b"nosniff"),
                (b"x-frame-options", b"DENY"),
                (b"referrer-policy", b"no-referrer"),
            ]
        await send(message)

    return sending
