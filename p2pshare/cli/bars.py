"""Progress as bars on a terminal: one for each recipient of an upload, one for each download.

Text from elsewhere is plain text to rich: no markup, no emoji names, no highlighting.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from p2pshare.cli import words
from p2pshare.cli.courses import Course, Courses, State

_LABEL_COLUMNS: Final = 24
_ROOM_FOR_TIME: Final = 60
_ROOM_FOR_FILES: Final = 76
_ROOM_FOR_WORDS: Final = 90
"""Columns of a terminal from which the time left, the files, and a state in several words are shown."""
_MARGIN: Final = 3
"""Columns free at the right, where a terminal echoes ^C: one that wraps tears the bars from their place."""


class Bars(Courses):
    """Bars at the bottom of standard error's terminal, lines above them."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._console = console or Console(stderr=True)
        self._progress = _Bars(self._console)
        self._tasks: dict[Course, TaskID] = {}
        self._is_asking = False

    def note(self, text: str) -> None:
        """A line above the bars; a question that is open keeps its line."""
        if self._is_asking:
            self._console.line()
        self._console.print(Text(text), soft_wrap=True)

    def result(self, path: Path) -> None:
        """A line for a script, and for a person the answer to where it went."""
        if sys.stdout.isatty():
            self.note(str(path))  # the same terminal: above the bars, not through them
        else:
            super().result(path)

    def error(self, text: str) -> None:
        """A line above the bars, in red."""
        self._console.print(Text("error: ", "bold red").append(text, "default"), soft_wrap=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bars away while a question is asked."""
        self._progress.stop()
        self._is_asking = True
        try:
            yield
        finally:
            self._is_asking = False
            if self._tasks:
                self._progress.start()

    def close(self) -> None:
        """Take the bars away, and show the cursor again."""
        self._progress.stop()

    def began(self, course: Course) -> None:
        """Another bar; while a question is asked it waits."""
        if course not in self._tasks:
            self._tasks[course] = self._progress.add_task(course.label, total=None)
        self.changed(course)
        if not self._is_asking:
            self._progress.start()

    def moved(self, course: Course) -> None:
        """Move it."""
        self.changed(course)

    def changed(self, course: Course) -> None:
        """Draw what holds now: in place of the speed and the time left, why it does not move."""
        task, progress = self._tasks[course], course.progress
        if progress is None or course.state is not State.ACTIVE:
            self._progress.update(task, rate=self._words(course), left="")
        else:
            left = words.duration(progress.seconds_left)
            self._progress.update(task, rate=words.rate(progress.rate), left=left)
        if progress is not None and course.is_started:
            self._progress.update(
                task,
                total=progress.size,
                completed=progress.stored,
                amount=words.amount(progress),
                files=words.files_done(progress),
            )

    def _words(self, course: Course) -> str:
        if course.state is State.ACTIVE:
            return ""
        return course.words if self._console.width >= _ROOM_FOR_WORDS else course.state.value

    def ended(self, course: Course) -> None:
        """Take it away; with the last one, all of the display."""
        self._progress.remove_task(self._tasks.pop(course))
        if not self._tasks:
            self._progress.stop()


class _Label(ProgressColumn):
    """Whose bar it is."""

    def render(self, task: Task) -> Text:
        """The text as it is: never markup."""
        return Text(task.description, "bold", overflow="ellipsis", no_wrap=True)


class _Field(ProgressColumn):
    """A text that the task carries under a name."""

    def __init__(self, name: str, style: str = "") -> None:
        super().__init__(Column(justify="right", no_wrap=True))
        self._name = name
        self._style = style

    def render(self, task: Task) -> Text:
        """The text as it is: never markup."""
        return Text(str(task.fields.get(self._name, "")), self._style)


class _Bars(Progress):
    """rich's bars with our columns, a little narrower than the terminal."""

    def __init__(self, console: Console) -> None:
        self._terminal = console
        columns: list[ProgressColumn] = [
            _Label(Column(max_width=_LABEL_COLUMNS)),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            _Field("amount"),
            _Field("rate", "cyan"),
        ]
        if console.width >= _ROOM_FOR_TIME:
            columns.append(_Field("left"))
        if console.width >= _ROOM_FOR_FILES:
            columns.append(_Field("files", "dim"))
        super().__init__(
            *columns,
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def get_renderable(self) -> RenderableType:
        """What is drawn."""
        return Constrain(super().get_renderable(), self._terminal.width - _MARGIN)
