"""What a handler may return, in the terms of the contract."""

TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"
ANSWER_KEYS = {"statusCode", "body", "headers"}


def is_answer(result):
    """Whether it is status, headers and body, rather than the body alone."""
    return isinstance(result, dict) and (not result or bool(ANSWER_KEYS & result.keys()))


def pairs(headers):
    """Headers come as a dict, whose values may be lists, or as a list of pairs."""
    for name, value in headers.items() if hasattr(headers, "items") else headers:
        for one in value if isinstance(value, (list, tuple)) else [value]:
            yield name, one
