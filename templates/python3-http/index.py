"""Starts the HTTP server around the handler. The watchdog waits until it listens, and is its only client."""

import gc
import os
import sys

# What is imported stays. Looking through it for garbage again and again takes a fifth of the start of a function with large tables.
THRESHOLDS = gc.get_threshold()
gc.set_threshold(0)

# Relative ones would be lost when the function changes its folder.
sys.path[:] = map(os.path.abspath, sys.path)

from flint_runtime.app import create_app
from flint_runtime.server import serve
from function import handler


def main():
    threads = int(os.environ.get("http_threads", "32"))
    app = create_app(handler.handle)
    gc.freeze()
    if gc.get_threshold()[0] == 0:
        # Unless the handler has set others.
        gc.set_threshold(*THRESHOLDS)
    serve(app, place(os.environ), threads)


def place(environ):
    """Where to listen: on the socket that upstream_url names, else on a port."""
    url = environ.get("upstream_url", "")
    if url.startswith("unix:"):
        return {"unix_socket": url.removeprefix("unix:")}
    return {"host": "127.0.0.1", "port": int(environ.get("http_port", "5000"))}


if __name__ == "__main__":
    main()
