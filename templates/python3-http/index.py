"""The HTTP server around the handler. The watchdog starts it, waits until it listens, and is its only client."""

import os
import signal
import socket
import sys
import traceback

from flask import Flask, Response, jsonify, make_response, request
from waitress import serve

from function import handler

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# The watchdog and the gateway set the limits that count; here nothing may cut a body.
MAX_BODY_BYTES = 1 << 50

app = Flask(__name__)
app.url_map.merge_slashes = False


class Event:
    """One call: body (bytes), headers, method, query, path."""

    def __init__(self):
        self.body = request.get_data()
        self.headers = request.headers
        self.method = request.method
        self.query = request.args
        self.path = request.path


class Context:
    """Where the call is answered."""

    def __init__(self):
        self.hostname = os.getenv("HOSTNAME", socket.gethostname())


def to_response(value):
    """What the handler returned, as an answer."""
    if value is None:
        return Response(status=200)
    if not isinstance(value, dict) or not {"statusCode", "body", "headers"} & value.keys():
        return make_response(jsonify(value) if isinstance(value, (dict, list)) else value)
    body = value.get("body", "")
    body = jsonify(body) if isinstance(body, (dict, list)) else "" if body is None else body
    response = make_response(body, int(value.get("statusCode", 200)))
    headers = value.get("headers") or {}
    for name, text in headers.items() if isinstance(headers, dict) else headers:
        response.headers[name] = text
    return response


@app.route("/", defaults={"path": ""}, methods=METHODS)
@app.route("/<path:path>", methods=METHODS)
def call(path):
    """Answers one call; what the handler raises is logged and answered with 500."""
    try:
        return to_response(handler.handle(Event(), Context()))
    except Exception as error:  # pylint: disable=broad-except
        traceback.print_exc()
        return Response(f"{type(error).__name__}: {error}\n", status=500, mimetype="text/plain")


def main():
    # The watchdog stops this process only when no call is in flight.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threads = int(os.getenv("threads", "16"))
    serve(
        app,
        host="127.0.0.1",
        port=int(os.getenv("http_port", "5000")),
        threads=threads,
        max_request_body_size=MAX_BODY_BYTES,
        clear_untrusted_proxy_headers=False,
        ident=None,
    )


if __name__ == "__main__":
    main()
