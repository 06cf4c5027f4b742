"""How the demonstration looks on a terminal while it runs: its chapters, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from device_sim.demo.story import STORY, Chapter


class Stage:
    """The live list of chapters."""

    def __init__(self, console: Console) -> None:
        """Show on `console`; a console that is no terminal gets plain lines instead."""
        self.console = console
        self._done: dict[Chapter, float] = {}
        self._now: Chapter | None = None
        self._since = time.monotonic()
        self._detail = ""
        self._live: Live | None = None

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the list on the screen for the length of the block."""
        if not self.console.is_terminal:
            yield
            return
        with Live(self, console=self.console, refresh_per_second=8, transient=True) as self._live:
            yield
        self._live = None

    def begin(self, chapter: Chapter) -> None:
        """A chapter begins."""
        self._now, self._since, self._detail = chapter, time.monotonic(), ""

    def end(self) -> None:
        """The running chapter is done."""
        chapter = self._now
        if chapter is None:
            return
        self._done[chapter] = time.monotonic() - self._since
        if not self.console.is_terminal:
            told = f"✔ {chapter.zh} {chapter.en}  {self._done[chapter]:.1f} s  {self._detail}"
            self.console.print(told, highlight=False)

    def report(self, _step: str, figures: Mapping[str, Any]) -> None:
        """Show the newest figures of the running chapter."""
        shown = [
            (name, value) for name, value in figures.items() if isinstance(value, int) and not isinstance(value, bool)
        ]
        self._detail = " · ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in shown[:6])

    def __rich__(self) -> Group:
        """Render the list."""
        rows: list[Any] = [Text("现场为证 Fieldproof", style="bold cyan"), Text()]
        for chapter in STORY:
            zh, en = chapter.zh, chapter.en
            if chapter in self._done:
                line = Text.assemble(("✔ ", "green"), (f"{zh} ", "bold"), (en, "dim"), f"  {self._done[chapter]:.1f} s")
            elif chapter is self._now:
                seconds = time.monotonic() - self._since
                text = Text.assemble((f"{zh} ", "bold yellow"), en, f"  {seconds:.0f} s  ", (self._detail, "cyan"))
                rows.append(Spinner("dots", text=text))
                continue
            else:
                line = Text(f"  {zh} {en}", style="bright_black")
            rows.append(line)
        return Group(*rows)
