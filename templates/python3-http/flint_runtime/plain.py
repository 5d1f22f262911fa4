"""Calls the handler without Flask, and makes the usual answers. All others, and errors, are passed on to Flask."""

import os
from threading import Lock
from types import GeneratorType

from .answer import BINARY, TEXT, is_answer, pairs

JSON = "application/json"
# Statuses of answers without a body, and headers that say how the body travels.
BODILESS = {204, 304}
UNUSUAL_HEADERS = {"content-length", "transfer-encoding", "connection"}


class NotUsual(Exception):
    """An answer that is for Flask to make."""


class Event:
    """The request as the handler sees it. The body is bytes. Headers and query are Werkzeug's, made when they are asked for."""

    def __init__(self, environ):
        self._environ = environ
        self.body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.method = environ["REQUEST_METHOD"]
        path = environ.get("PATH_INFO") or "/"
        self.path = "/" + path.encode("latin-1").decode(errors="replace").lstrip("/")

    def __getattr__(self, name):
        if name not in ("headers", "query"):
            raise AttributeError(f"the event has no {name}")
        from werkzeug.wrappers import Request

        request = Request(self._environ)
        self.headers, self.query = request.headers, request.args
        return getattr(self, name)


class Context:
    def __init__(self):
        self.hostname = os.uname().nodename


class PlainApp:
    """A WSGI application."""

    def __init__(self, handle):
        self.handle = handle
        self.context = Context()
        self.lock = Lock()
        self.flask = None

    def __call__(self, environ, start_response):
        try:
            result = self.handle(Event(environ), self.context)
        except (Exception, SystemExit) as error:
            return self.with_flask(environ, start_response, raising(error))
        answer = None if environ["REQUEST_METHOD"] == "HEAD" else usual(result)
        if answer is None:
            return self.with_flask(environ, start_response, lambda: result)
        status, headers, body = answer
        start_response(status, headers)
        return body

    def with_flask(self, environ, start_response, outcome):
        from .with_flask import OUTCOME, create_app

        with self.lock:
            self.flask = self.flask or create_app(self.handle)
        return self.flask({**environ, OUTCOME: outcome}, start_response)


def raising(error):
    def outcome():
        raise error

    return outcome


def usual(result):
    """Status, headers and body for what needs no help, else None. What is wrong with a result is for Flask to say."""
    answer = result if is_answer(result) else {"body": result}
    try:
        body, content_type, length = encode(answer.get("body"))
        headers = [("Content-Type", content_type), *length]
        for name, value in pairs(answer.get("headers") or {}):
            add(headers, name, str(value))
        return status_line(int(answer.get("statusCode", 200))), headers, body
    except Exception:
        return None


def encode(body):
    """The pieces of a body, its type, and the header with its length."""
    if isinstance(body, GeneratorType):
        return body, BINARY, []
    if body is None or isinstance(body, str):
        data, content_type = (body or "").encode(), TEXT
    elif isinstance(body, (bytes, bytearray)):
        data, content_type = bytes(body), BINARY
    elif isinstance(body, (dict, list)):
        import json

        # As Flask writes it.
        data, content_type = json.dumps(body, sort_keys=True, separators=(",", ":")).encode() + b"\n", JSON
    else:
        raise NotUsual
    return [data], content_type, [("Content-Length", str(len(data)))]


def add(headers, name, value):
    if name.lower() in UNUSUAL_HEADERS or any(sign in name + value for sign in "\r\n"):
        raise NotUsual
    if name.lower() == "content-type":
        headers[:] = [header for header in headers if header[0].lower() != "content-type"]
    headers.append((name, value))


def status_line(code):
    if code == 200:
        return "200 OK"
    if code < 200 or code in BODILESS:
        raise NotUsual
    from http import HTTPStatus

    return f"{code} {HTTPStatus(code).phrase}"
