"""Calls the handler for each request, and makes what it returns a response, with all that Flask can do."""

import os
import socket
from types import GeneratorType

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import InternalServerError

from .answer import BINARY, TEXT, is_answer, pairs

# In a request's environ: what to call in place of the handler.
OUTCOME = "flint.outcome"


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
            outcome = request.environ.get(OUTCOME)
            return to_response(outcome() if outcome else handle(Event(), context))
        except SystemExit as error:
            raise RuntimeError(f"the handler called sys.exit({error.code})") from error

    # Flask has logged the exception with its traceback by then.
    @app.errorhandler(InternalServerError)
    def failed(_):
        return Response("Internal Server Error", 500, content_type=TEXT)

    return app


def to_response(result):
    if is_answer(result):
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
