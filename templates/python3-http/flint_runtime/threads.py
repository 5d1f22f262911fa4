"""Threads for the calls of a function, started when there are more calls than threads."""

from threading import Lock

from waitress.task import ThreadedTaskDispatcher


class Threads(ThreadedTaskDispatcher):
    """At most `limit` threads. Most functions never need them all, and starting them takes a tenth of a start."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit
        self.growing = Lock()

    def add_task(self, task):
        with self.growing:
            running = len(self.threads)
            if running < self.limit and len(self.queue) >= running - self.active_count:
                self.grow()
            super().add_task(task)

    def grow(self):
        before = set(self.threads)
        try:
            self.set_thread_count(len(before) + 1)
        except RuntimeError:
            # The machine allows no more: those that there are take the calls in turn.
            if not before:
                raise
            self.threads.intersection_update(before)
            self.limit = len(before)
