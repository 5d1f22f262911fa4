"""Starts the HTTP server around the handler. The watchdog waits until it listens, and is its only client."""

import os

from flint_runtime.app import create_app
from flint_runtime.server import serve
from function import handler


def main():
    port = int(os.environ.get("http_port", "5000"))
    threads = int(os.environ.get("http_threads", "32"))
    serve(create_app(handler.handle), port, threads)


if __name__ == "__main__":
    main()
