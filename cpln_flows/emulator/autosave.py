"""Save the state of a platform a moment after each change, and at the end.

The file is written in another thread, because a slow disk must not stop the platform. What is
written was collected in the event loop; documents are never changed in place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from cpln_flows.emulator.clock import Clock, Timer
from cpln_flows.emulator.saved import SavedState
from cpln_flows.emulator.state import StateError, StateFolder

MOMENT_SECONDS = 0.5

logger: logging.Logger = logging.getLogger(__name__)


class Autosave:
    """Saves one platform's state.

    Args:
        folder: Where to save it; it is open.
        clock: The platform's clock.
        collect: Returns the current state.
    """

    def __init__(
        self, folder: StateFolder, clock: Clock, collect: Callable[[], SavedState]
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._collect = collect
        self._timer: Timer | None = None
        self._writing: asyncio.Future[bool] | None = None
        self._is_due = False
        self._is_running = False

    def start(self) -> None:
        """Save for the first time, and after each change from now on; in a running event loop.

        Raises:
            StateError: The state cannot be saved.
        """
        self._folder.write(self._collect())
        self._is_running = True

    def changed(self) -> None:
        """Note a change; several within a moment are saved together."""
        if not self._is_running:
            return
        self._is_due = True
        if self._timer is None and self._writing is None:
            self._timer = self._clock.call_later(MOMENT_SECONDS, self._begin)

    async def aclose(self) -> None:
        """Save what is not saved yet, and leave the folder."""
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        if self._is_due:
            await asyncio.to_thread(self._write, self._collect())
        self._folder.close()

    def _begin(self) -> None:
        self._timer = None
        self._is_due = False
        state = self._collect()
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._write, state)
        self._writing.add_done_callback(self._end)

    def _end(self, written: asyncio.Future[bool]) -> None:
        self._writing = None
        if self._is_due:
            self.changed()
        elif not written.result():
            # The next change tries again, or the end does.
            self._is_due = True

    def _write(self, state: SavedState) -> bool:
        try:
            self._folder.write(state)
        except StateError as error:
            logger.error("%s", error)  # noqa: TRY400 - the message is for the user of the platform
            return False
        return True
