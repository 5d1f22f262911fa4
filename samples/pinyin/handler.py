from pypinyin import lazy_pinyin


def handle(event, context):
    """The body's Chinese text as pinyin; what is not Chinese stays as it is."""
    try:
        text = event.body.decode("utf-8")
    except UnicodeDecodeError:
        return {"statusCode": 400, "body": "the body must be UTF-8 text\n"}
    return {
        "statusCode": 200,
        "body": " ".join(lazy_pinyin(text)),
        "headers": {"Content-Type": "text/plain; charset=utf-8"},
    }
