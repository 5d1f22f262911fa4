"""Calls the handler for each request, and makes what it returns a response."""

import os
import socket
from types import GeneratorType

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import InternalServerError

TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"
ANSWER_KEYS = {"statusCode", "body", "headers"}


class Event:
    """The request as the handler sees it. The body is bytes."""

    def __init__(self):
        self.body = request.get_data()
        self.headers = request.headers
        self.method = request.method
        self.query = request.args
        self.path = request.path


class Context:
    def __init__(self):
        self.hostname = socket.gethostname()


def create_app(handle):
    app = Flask("function", root_path=os.path.abspath("function"), static_folder=None)
    app.config["MAX_FORM_MEMORY_SIZE"] = None
    context = Context()

    # Before routing, so every path and every method gets here, also one that no route could name.
    @app.before_request
    def call():
        try:
            return to_response(handle(Event(), context))
        except SystemExit as error:
            raise RuntimeError(f"the handler called sys.exit({error.code})") from error

    # Flask has logged the exception with its traceback by then.
    @app.errorhandler(InternalServerError)
    def failed(_):
        return Response("Internal Server Error", 500, content_type=TEXT)

    return app


def to_response(result):
    if isinstance(result, dict) and (not result or ANSWER_KEYS & result.keys()):
        return from_answer(result)
    if result is None or isinstance(result, (str, bytes, bytearray, GeneratorType)):
        return from_body(result)
    return result


def from_answer(answer):
    response = from_body(answer.get("body"))
    response.status_code = int(answer.get("statusCode", 200))
    for name, value in pairs(answer.get("headers") or {}):
        if name.lower() == "content-type":
            del response.headers["Content-Type"]
        response.headers.add(name, str(value))
    return response


def pairs(headers):
    """Headers come as a dict, whose values may be lists, or as a list of pairs."""
    for name, value in headers.items() if hasattr(headers, "items") else headers:
        for one in value if isinstance(value, (list, tuple)) else [value]:
            yield name, one


def from_body(body):
    if isinstance(body, Response):
        return body
    if body is None or isinstance(body, str):
        return Response(body or "", content_type=TEXT)
    if isinstance(body, (bytes, bytearray)):
        return Response(bytes(body), content_type=BINARY)
    if isinstance(body, GeneratorType):
        return Response(body, content_type=BINARY)
    return jsonify(body)
