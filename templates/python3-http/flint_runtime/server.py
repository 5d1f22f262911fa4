"""Serves a WSGI application until SIGTERM, then ends when the calls in flight have their answers."""

import logging
import signal
import sys

from waitress import create_server
from waitress import wasyncore

from .threads import Threads

# Limits are for the gateway and the watchdog to set: here nothing may end a call or a connection that they keep.
UNLIMITED = sys.maxsize
OPTIONS = {
    "channel_timeout": UNLIMITED,
    "cleanup_interval": UNLIMITED,
    "connection_limit": 65536,
    "max_request_body_size": UNLIMITED,
    "max_request_header_size": 2 * 1024 * 1024,
    "clear_untrusted_proxy_headers": False,
    "asyncore_use_poll": True,
    "ident": None,
}


def serve(app, place, threads):
    # More calls than threads is how a busy function looks, not something to warn of.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = create_server(app, _dispatcher=Threads(threads), **place, **OPTIONS)
    stopping = stop_signal(server)
    while not (stopping and is_idle(server)):
        wasyncore.loop(timeout=1, use_poll=True, map=server._map, count=1)
    server.task_dispatcher.shutdown()


def stop_signal(server):
    """A list that has an item once SIGTERM has come."""
    received = []

    def stop(number, _):
        received.append(number)
        server.pull_trigger()

    signal.signal(signal.SIGTERM, stop)
    return received


def is_idle(server):
    return not any(is_busy(channel) for channel in list(server.active_channels.values()))


def is_busy(channel):
    return channel.requests or channel.request or channel.total_outbufs_len
