"""Makes the handler a WSGI application."""

import os
import sys

from .plain import PlainApp

FRAMEWORKS = ("flask", "werkzeug")
# A folder with more files than this is not looked through.
MAX_FILES = 1000


def create_app(handle):
    """With Flask around each call when the function uses it; otherwise Flask need not be loaded, which is most of a start."""
    if any(name in sys.modules for name in FRAMEWORKS) or mentions_framework("function"):
        from .with_flask import create_app as with_flask

        return with_flask(handle)
    return PlainApp(handle)


def mentions_framework(folder):
    """Whether the function's code may load one of them later, in the middle of a call."""
    count = 0
    for path, _, names in os.walk(folder):
        for name in names:
            count += 1
            if count > MAX_FILES:
                return True
            if name.endswith(".py") and mentions(os.path.join(path, name)):
                return True
    return False


def mentions(file):
    with open(file, "rb") as source:
        text = source.read()
    return any(name.encode() in text for name in FRAMEWORKS)
