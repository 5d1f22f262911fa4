"""Tests of the template, against its server in a process of its own: python -m unittest discover -s test."""

import gc
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

TEMPLATE = Path(__file__).parent.parent


class Server:
    def __init__(self, test, source, on_socket=False, **variables):
        self.test = test
        self.folder = Path(tempfile.mkdtemp())
        test.addCleanup(shutil.rmtree, self.folder)
        shutil.copy(TEMPLATE / "index.py", self.folder)
        shutil.copytree(TEMPLATE / "flint_runtime", self.folder / "flint_runtime")
        (self.folder / "function").mkdir()
        (self.folder / "function" / "handler.py").write_text(source)
        self.socket = str(self.folder / "up.sock") if on_socket else None
        self.port = free_port()
        self.log = open(self.folder / "log", "wb")
        told = {"upstream_url": f"unix:{self.socket}"} if on_socket else {"http_port": str(self.port)}
        env = {**os.environ, **told, **variables, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen([sys.executable, "index.py"], cwd=self.folder, env=env, stdout=self.log, stderr=self.log)
        test.addCleanup(self.stop)
        while self.process.poll() is None and not self.accepts():
            time.sleep(0.01)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def send(self, method="GET", path="/", body=None, headers={}, **options):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        if self.socket:
            connection.sock = self.connect()
        self.test.addCleanup(connection.close)
        connection.request(method, path, body, headers, **options)
        return connection

    def connect(self):
        family, address = (socket.AF_UNIX, self.socket) if self.socket else (socket.AF_INET, ("127.0.0.1", self.port))
        client = socket.socket(family)
        try:
            client.connect(address)
        except OSError:
            client.close()
            raise
        return client

    def accepts(self):
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def call(self, *args, **kwargs):
        connection = self.send(*args, **kwargs)
        response = connection.getresponse()
        response.content = response.read()
        connection.close()
        return response

    def logged(self, text):
        while text not in self.text():
            if self.process.poll() is not None and text not in self.text():
                raise AssertionError(f"{text!r} is not in the log:\n{self.text()}")
            time.sleep(0.01)

    def text(self):
        return (self.folder / "log").read_text()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


ECHO = """
def handle(event, context):
    return {"body": {
        "body": event.body.decode("latin1"), "method": event.method, "path": event.path, "x": event.headers.get("x-thing"),
        "forwarded": event.headers.get("X-Forwarded-For"), "query": event.query.to_dict(flat=False), "host": context.hostname,
    }, "headers": {"X-Method": event.method}}
"""

# Loads Flask, so that it is around each call.
WITH_FLASK = "import flask\n"

# Does so only in the middle of a call.
LATE_FLASK = """
def handle(event, context):
    from flask import jsonify, request
    return jsonify(path=request.path)
"""

FLASK_ANSWERS = """
from flask import jsonify, make_response

ANSWERS = {
    "flask": lambda: make_response("made", 202),
    "json": lambda: jsonify(ok=True),
    "body": lambda: {"statusCode": 201, "body": jsonify(ok=True)},
}

def handle(event, context):
    return ANSWERS[event.path[1:]]()
"""

ANSWERS = """
def stream():
    yield b"a"
    yield b"b"

ANSWERS = {
    "none": lambda: None,
    "text": lambda: {"body": "é"},
    "bytes": lambda: {"statusCode": 201, "body": b"\\x00\\xff"},
    "list": lambda: {"body": [1]},
    "headers": lambda: {"body": "<b>", "headers": {"content-type": "text/html", "X-A": ["1", "2"], "X-B": 3}},
    "plain": lambda: {"hello": "world", "b": [1.5, None, "é"]},
    "date": lambda: {"day": __import__("datetime").date(2020, 1, 2)},
    "tuple": lambda: ("brewed", 418),
    "nested": lambda: {"body": (1, 2)},
    "stream": lambda: {"body": stream()},
    "teapot": lambda: {"statusCode": "418", "body": "short"},
    "long": lambda: {"body": "abc", "headers": {"Content-Length": "3"}},
    "empty": lambda: {"statusCode": 204},
    "split": lambda: {"body": "x", "headers": {"X-A": "a\\nX-B: b"}},
    "odd": lambda: {"body": {1, 2}},
    "status": lambda: {"statusCode": "nonsense"},
    "none at all": lambda: object(),
}

def handle(event, context):
    return ANSWERS[event.path[1:]]()
"""

FAILURES = """
import sys

def cut():
    yield b"a"
    raise ValueError("cut off")

def handle(event, context):
    if event.path == "/exit":
        sys.exit(3)
    if event.path == "/status":
        return {"statusCode": "nonsense"}
    if event.path == "/cut":
        return {"body": cut()}
    raise ValueError("some trouble")
"""

# Answers when so many calls are there as the path says; the body says how many there were at most.
TOGETHER = """
import threading, time

here, most = 0, 0
changed = threading.Condition()

def handle(event, context):
    global here, most
    with changed:
        here, most = here + 1, max(most, here + 1)
        changed.notify_all()
        changed.wait_for(lambda: most >= int(event.path[1:]))
    # So that a call beyond the limit had time to come in.
    time.sleep(0.05)
    with changed:
        here -= 1
    return str(most)
"""

SLOW = """
import time

def handle(event, context):
    print("called")
    time.sleep(0.3)
    return "x" * 3_000_000
"""


GARBAGE = """
import gc
at_import = gc.get_threshold()[0]
LINE

def handle(event, context):
    return {"body": {"import": at_import, "now": gc.get_threshold()[0], "on": gc.isenabled(), "frozen": gc.get_freeze_count() > 0}}
"""


class ServerTest(unittest.TestCase):
    def test_event(self):
        for prefix in ["", WITH_FLASK]:
            server = Server(self, prefix + ECHO)
            headers = {"X-Thing": "v", "X-Forwarded-For": "10.1.2.3"}
            response = server.call("POST", "//a/b%20c%C3%A9?x=1&x=2", bytes([0, 255]), headers)
            event = json.loads(response.content)
            self.assertTrue(event.pop("host"))
            expected = {"body": "\0\xff", "method": "POST", "path": "/a/b cé", "x": "v", "forwarded": "10.1.2.3", "query": {"x": ["1", "2"]}}
            self.assertEqual(event, expected)

    def test_every_method(self):
        for prefix in ["", WITH_FLASK]:
            self.every_method(Server(self, prefix + ECHO))

    def every_method(self, server):
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]:
            response = server.call(method)
            self.assertEqual(response.headers["X-Method"], method)
            self.assertGreater(int(response.headers["Content-Length"]), 50)
            self.assertEqual(response.content == b"", method == "HEAD")

    def test_chunked_and_large_bodies(self):
        server = Server(self, "def handle(event, context):\n    return str(len(event.body))")
        response = server.call("POST", "/", iter([b"ab", b"c"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        self.assertEqual(response.content, b"3")
        self.assertEqual(server.call("POST", "/", bytes(20_000_000)).content, b"20000000")

    def test_answers(self):
        for prefix in ["", WITH_FLASK]:
            self.answers(Server(self, prefix + ANSWERS))

    def answers(self, server):
        text = "text/plain; charset=utf-8"
        expected = {
            "none": (200, b"", text),
            "text": (200, "é".encode(), text),
            "bytes": (201, b"\0\xff", "application/octet-stream"),
            "list": (200, b"[1]\n", "application/json"),
            "plain": (200, b'{"b":[1.5,null,"\\u00e9"],"hello":"world"}\n', "application/json"),
            "date": (200, b'{"day":"Thu, 02 Jan 2020 00:00:00 GMT"}\n', "application/json"),
            "tuple": (418, b"brewed", "text/html; charset=utf-8"),
            "nested": (200, b"[1,2]\n", "application/json"),
            "stream": (200, b"ab", "application/octet-stream"),
            "teapot": (418, b"short", text),
            "long": (200, b"abc", text),
            "headers": (200, b"<b>", "text/html"),
            "split": (500, b"Internal Server Error", text),
            "odd": (500, b"Internal Server Error", text),
            "status": (500, b"Internal Server Error", text),
            "none%20at%20all": (500, b"Internal Server Error", text),
        }
        for path, (status, body, content_type) in expected.items():
            response = server.call(path=f"/{path}")
            self.assertEqual((response.status, response.content, response.headers["Content-Type"]), (status, body, content_type), path)
        response = server.call(path="/headers")
        self.assertEqual(response.headers.get_all("X-A"), ["1", "2"])
        self.assertEqual(response.headers.get_all("Content-Type"), ["text/html"])
        self.assertEqual(server.call(path="/empty").status, 204)

    def test_answers_of_flask(self):
        server = Server(self, FLASK_ANSWERS)
        answers = [server.call(path=f"/{path}") for path in ["flask", "json", "body"]]
        expected = [(202, b"made"), (200, b'{"ok":true}\n'), (201, b'{"ok":true}\n')]
        self.assertEqual([(answer.status, answer.content) for answer in answers], expected)
        self.assertEqual(Server(self, LATE_FLASK).call(path="/a").content, b'{"path":"/a"}\n')

    def test_flask_is_loaded_only_when_it_is_needed(self):
        loaded = "import sys\ndef handle(event, context):\n    event.path == '/q' and event.query\n    return str('fl' 'ask' in sys.modules)\n"
        server = Server(self, loaded)
        self.assertEqual(server.call().content, b"False")
        self.assertEqual(server.call(path="/q").content, b"False")
        self.assertEqual(Server(self, WITH_FLASK + loaded).call().content, b"True")

    def test_failures_answer_500_and_are_logged(self):
        for prefix in ["", WITH_FLASK]:
            self.failures(Server(self, prefix + FAILURES))

    def failures(self, server):
        response = server.call()
        self.assertEqual((response.status, response.content), (500, b"Internal Server Error"))
        server.logged('raise ValueError("some trouble")')
        self.assertEqual(server.call(path="/exit").status, 500)
        server.logged("sys.exit(3)")
        self.assertEqual(server.call(path="/status").status, 500)
        with self.assertRaises(http.client.IncompleteRead):
            server.call(path="/cut")
        server.logged("cut off")

    def test_garbage_is_collected_once_the_handler_is_imported(self):
        usual = gc.get_threshold()[0]
        for line, now, on in [("", usual, True), ("gc.set_threshold(5)", 5, True), ("gc.disable()", usual, False)]:
            answer = json.loads(Server(self, GARBAGE.replace("LINE", line)).call().content)
            self.assertEqual(answer, {"import": 0, "now": now, "on": on, "frozen": True})

    def test_handler_that_does_not_load(self):
        server = Server(self, "def handle(:")
        self.assertEqual(server.process.wait(), 1)
        server.logged("SyntaxError")

    def test_calls_run_at_once_up_to_the_limit(self):
        for limit, calls, together in [("32", 32, 32), ("2", 6, 2), ("1", 3, 1)]:
            server = Server(self, TOGETHER, http_threads=limit)
            connections = [server.send(path=f"/{together}") for _ in range(calls)]
            answers = {connection.getresponse().read() for connection in connections}
            self.assertEqual(answers, {str(together).encode()})

    def test_the_machine_may_allow_fewer_threads(self):
        sys.path.insert(0, str(TEMPLATE))
        self.addCleanup(sys.path.remove, str(TEMPLATE))
        from flint_runtime.threads import Threads

        class Two(Threads):
            def start_new_thread(self, target, number):
                if number == 2:
                    raise RuntimeError("can't start new thread")
                super().start_new_thread(target, number)

        threads = Two(32)
        served = []
        ready, done = threading.Event(), threading.Semaphore(0)

        class Task:
            def service(self):
                ready.wait()
                served.append(self)
                done.release()

        with self.assertLogs("waitress.queue", "WARNING"):
            for _ in range(5):
                threads.add_task(Task())
        self.assertEqual(len(threads.threads), 2)
        ready.set()
        for _ in range(5):
            done.acquire()
        self.assertEqual(len(served), 5)
        threads.shutdown()

    def test_a_socket_is_as_good_as_a_port(self):
        server = Server(self, ECHO, on_socket=True)
        response = server.call("POST", "/a?x=1", b"hi", {"X-Thing": "v"})
        event = json.loads(response.content)
        self.assertEqual((event["body"], event["path"], event["query"], event["x"]), ("hi", "/a", {"x": ["1"]}, "v"))
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", server.port))
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(), 0)

    def test_sigterm_lets_the_call_in_flight_end(self):
        server = Server(self, SLOW)
        connection = server.send()
        server.logged("called")
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(len(connection.getresponse().read()), 3_000_000)
        self.assertEqual(server.process.wait(), 0)

    def test_sigterm_ends_an_idle_server_with_open_connections(self):
        server = Server(self, ECHO)
        connection = server.send()
        connection.getresponse().read()
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(), 0)


if __name__ == "__main__":
    unittest.main()
