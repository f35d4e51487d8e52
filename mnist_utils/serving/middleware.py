"""What the HTTP server does around every request: limits, time-outs, counts, a line of the log, errors as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

MAX_BODY = 64_000_000  # bytes of one request
BODY_SECONDS = 60  # for sending a request's body
HEADER_SECONDS = 10  # for sending its header, at least; at most twice as many

_CURL = "curl -F image=@photo.jpg"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def add_json_errors(app: FastAPI) -> None:
    """Give every error the same form: ``{"Success": false, "Error": "..."}``."""

    def failure(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"Success": False, "Error": message}, status, headers)

    @app.exception_handler(AnyHTTPException)
    async def expected(request: Request, error: AnyHTTPException) -> JSONResponse:
        message, headers = str(error.detail), error.headers
        if error.status_code == 404:
            message = f"there is no {request.url.path}; see /openapi.json"
        if error.status_code == 405:
            allowed = _with_head((headers or {}).get("Allow", ""))
            headers = {**(headers or {}), "Allow": allowed}
            message = f"{request.method} does not go with {request.url.path}; allowed: {allowed}"
        return failure(error.status_code, message, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return failure(*_describe_form_error(request, error))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> JSONResponse:
        return failure(400, "the client went away")  # for the log: nobody receives it

    @app.exception_handler(Exception)
    async def unexpected(_: Request, __: Exception) -> JSONResponse:
        return failure(500, "an error in the server; its log says more")


def _describe_form_error(request: Request, error: RequestValidationError) -> tuple[int, str]:
    """Return the status and the message for a form without pictures in its field ``image``, or with too many."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        if not _has_body(request.headers):
            return 400, f"the body is empty; send a picture: {_CURL}"
        return 415, f"Content-Type: given {kind or 'none'}; allowed: multipart/form-data, as of {_CURL}"
    (flaw, *_), form = error.errors(), error.body
    if flaw["type"] == "missing":
        given = ", ".join(sorted(set(form))) or "none"
        return 400, f"the field 'image' is missing; fields given: {given}. Send a picture: {_CURL}"
    if flaw["type"] == "too_long":
        number, most = flaw["ctx"]["actual_length"], flaw["ctx"]["max_length"]
        if most == 1:
            return 400, f"{number} pictures; {request.url.path} takes one, /predict takes several"
        return 413, f"{number} pictures; allowed: {most} in one request"
    if flaw["type"] == "literal_error":
        return 400, f"{flaw['loc'][-1]}: given {flaw['input']!r}; allowed: {flaw['ctx']['expected'].replace(chr(39), '')}"
    return 400, f"the field 'image' holds a text, not a file; mind the @ in: {_CURL}"


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _with_head(allowed: str) -> str:
    """Add HEAD to the methods of an address that has GET, see `answer_head`."""
    methods = set(allowed.split(", "))
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def answer_head(app: ASGIApp) -> ASGIApp:
    """Answer HEAD as GET, without the body: FastAPI's routes know only the methods that they name."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await app({**scope, "method": "GET"}, receive, without_body)

    return answer


def limit_body(app: ASGIApp) -> ASGIApp:
    """Refuse a body that is too long or too slow while it arrives, before anything is kept of it.

    FastAPI's ``max_body_size`` would refuse an announced length in plain text, and neither it nor uvicorn limits the time.
    """

    async def limit(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        announced = int(headers.get("content-length", "0"))
        until = asyncio.get_running_loop().time() + BODY_SECONDS
        received, whole = 0, not _has_body(headers)

        async def counted() -> Message:
            nonlocal received, whole
            if whole:
                return await receive()
            if announced > MAX_BODY:
                raise HTTPException(413, f"too large: a body of {announced:,} bytes; allowed: {MAX_BODY:,}")
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not arrive within {BODY_SECONDS} seconds") from None
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if received > MAX_BODY:
                raise HTTPException(413, f"too large: a body of more than {MAX_BODY:,} bytes")
            return message

        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start" and not whole:  # else its rest would have to be received
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await app(scope, counted, closed)

    return limit


def log_requests(app: ASGIApp, registry: CollectorRegistry, known: set[str]) -> ASGIApp:
    """Count and time every request, and write a line of JSON about it to stderr."""
    # Not prometheus-fastapi-instrumentator: its own metrics have the label `handler`, and another would need this code.
    requests = Counter("mnist_requests", "Requests", ["method", "path", "status"], registry=registry)
    seconds = Histogram("mnist_request_seconds", "From the headers to the end of the response", ["path"], registry=registry)

    async def observe(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noted)
        finally:
            took = time.perf_counter() - start
            # Not what a stranger may think up: each label lives in memory for ever.
            path = scope["path"] if scope["path"] in known else "other"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            requests.labels(method, path, status).inc()
            seconds.labels(path).observe(took)
            line = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "milliseconds": round(1000 * took, 1),
            }
            with contextlib.suppress(OSError):  # nobody reads it any more
                print(json.dumps(line), file=sys.stderr, flush=True)

    return observe


def http_connection(**arguments: Any) -> asyncio.Protocol:
    """Make uvicorn's protocol for a new connection, closed again when a request's header is too long in coming.

    uvicorn has no such limit of its own; it calls what its setting ``http`` holds. A header is awaited from the
    connection's start, and from its first byte after an answer; before that byte, uvicorn's keep-alive timer runs.
    """
    connection: Any = AutoHTTPProtocol(**arguments)
    loop = asyncio.get_running_loop()
    none_awaited = object()

    def look(awaited_before: object) -> None:
        if connection.transport.is_closing():
            return
        answered = connection.cycle is None or connection.cycle.response_complete
        awaited = connection.cycle if answered and connection.timeout_keep_alive_task is None else none_awaited
        if awaited is awaited_before is not none_awaited:  # the one after the same request as last time
            connection.transport.close()
        else:
            loop.call_later(HEADER_SECONDS, look, awaited)

    loop.call_later(HEADER_SECONDS, look, None)
    return connection
