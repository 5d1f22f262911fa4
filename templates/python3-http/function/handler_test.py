import unittest
from types import SimpleNamespace

from .handler import handle


class HandlerTest(unittest.TestCase):
    def test_it_answers_with_what_was_said(self):
        answer = handle(SimpleNamespace(body=b"hi"), None)
        self.assertEqual(answer["statusCode"], 200)
        self.assertIn("hi", answer["body"])
