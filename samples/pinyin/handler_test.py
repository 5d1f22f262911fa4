import unittest
from types import SimpleNamespace

from .handler import handle


def body_of(data):
    return handle(SimpleNamespace(body=data), None)


class PinyinTest(unittest.TestCase):
    def test_chinese_becomes_pinyin(self):
        self.assertEqual(body_of("北京".encode())["body"], "bei jing")

    def test_bytes_that_are_no_text_are_refused(self):
        self.assertEqual(body_of(b"\xff")["statusCode"], 400)
