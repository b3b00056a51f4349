"""Threads that work beside the caller's, for as long as a call lasts."""

import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial

from plc.engine.runtime import threads as life
from plc.engine.runtime.threads import note_end, start_thread

Work = Callable[[], object]
Answers = queue.SimpleQueue[Exception | None]
# So often it is asked whether a thread has ended, with the process, before it answered.
_LOOK_S = 1.0


class _Helper:
    """One thread, which does the work in its queue, in order."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._asked: queue.SimpleQueue[tuple[Work, Answers] | None] = queue.SimpleQueue()
        start_thread(self, self._serve)

    def ask(self, work: Work) -> Callable[[], None]:
        """Queue work; return a function that waits for its end and raises its error."""
        answers: Answers = queue.SimpleQueue()
        self._asked.put((work, answers))
        return partial(self._wait, answers)

    def _wait(self, answers: Answers) -> None:
        while not self.over.is_set():
            with contextlib.suppress(queue.Empty):
                if (error := answers.get(timeout=_LOOK_S)) is not None:
                    raise error
                return

    def end(self) -> None:
        """Ask the thread to end."""
        self._asked.put(None)

    def _serve(self) -> None:
        try:
            while (asked := self._asked.get()) is not None:
                work, answers = asked
                try:
                    work()
                    answers.put(None)
                except Exception as error:
                    answers.put(error)
                del asked, work, answers  # nothing of a call is kept until the next
        finally:
            note_end(self)


class Crew:
    """The caller's thread and others, ``threads`` in all, which start with the first call."""

    def __init__(self, threads: int) -> None:
        self._others = threads - 1
        self._helpers: list[_Helper] = []
        self._generation = life.generation
        self._at_work = False

    def do(self, work: Work) -> None:
        """Let all threads work, this one among them, until each has nothing left to do.

        Fewer, where the system gives no more.
        """
        if self._others <= 0:
            work()
            return
        if self._generation != life.generation:  # they stayed with the parent
            self._helpers, self._generation, self._at_work = [], life.generation, False
        self.rest()
        self._at_work = True
        try:
            with contextlib.suppress(RuntimeError):  # no more threads are to be had
                while len(self._helpers) < self._others:
                    self._helpers.append(_Helper())
            waits = [helper.ask(work) for helper in self._helpers]
            work()
            for wait in waits:
                wait()
        except BaseException:
            self.rest()
            raise
        self._at_work = False

    def rest(self) -> None:
        """Wait until nobody is at work on a call that an exception ended."""
        if self._at_work and self._generation == life.generation:
            for wait in [helper.ask(tuple) for helper in self._helpers]:
                wait()
        self._at_work = False

    def end(self) -> None:
        """End the other threads; from here on the caller's works alone."""
        self._others = 0
        self.rest()
        self.__del__()
        while self._helpers and self._generation == life.generation:
            self._helpers.pop().over.wait()

    def __del__(self) -> None:
        """Ask the other threads to end."""
        for helper in self._helpers:
            helper.end()
