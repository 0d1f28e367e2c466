"""A read model in several files, each built by a process of its own: for more history than one can follow.

Rules
* Partition p is in file p modulo their number. An instance is in one partition, hence in one file.
* A process that dies is started again, and goes on where its file ends. Meanwhile the file is only late.
"""

import logging
import multiprocessing
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import msgspec

from engine.client.connection import Connection
from engine.errors import ConfigurationError
from engine.projection.merged import MergedReader
from engine.projection.part import DOUBT, END, Task, Update, build
from engine.projection.projection import Progress, Projection
from engine.projection.reach import Reach
from engine.projection.reader import Reader

log = logging.getLogger(__name__)

PAUSE_S = 1.0
CLOSE_S = 6.0
NOTHING_YET = Update(
    positions={},
    # Not done: what there is to read is not known yet.
    progress=Progress(offset=0, end=1, is_rebuild=False),
    events=0,
    generation=0,
    has_failed=False,
)


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Into how many files, and what their processes need: both functions can be pickled."""

    files: int
    open_connection: Callable[[], Connection]
    configure: Callable[[], None]


class SplitProjection:
    """The read model of an app in several files of `directory`. Any thread. See `Projection`."""

    def __init__(self, connection: Connection, directory: Path, split: Split) -> None:
        """Made ready for readers at once. Raises UnreachableError, and ConfigurationError for too many."""
        if split.files > connection.partitions:
            message = (
                f"expected at most as many projections as history has partitions, {connection.partitions}, "
                f"but got {split.files}"
            )
            raise ConfigurationError(message)
        self._reach = Reach()
        self._parts = [
            _Part(Projection(connection, path, partitions=partitions), split, self._take)
            for path, partitions in _shares(directory, split.files, connection.partitions)
        ]

    def start(self) -> None:
        """Begins to follow history."""
        for part in self._parts:
            part.thread.start()

    def close(self) -> None:
        """Ends the processes, within seconds."""
        for part in self._parts:
            part.ask_to_end()
        for part in self._parts:
            part.join()

    def doubt(self, generation: int) -> None:
        """A reader found a file damaged: the processes look, each at its own, and build it anew."""
        for part in self._parts if generation == self.generation else ():
            part.tell(DOUBT)

    def open_reader(self) -> MergedReader:
        """A way to ask, for one thread."""
        readers: dict[int, Reader] = {}
        for part in self._parts:
            reader = part.made.open_reader()
            readers |= dict.fromkeys(part.made.partitions, reader)
        return MergedReader(readers)

    def file_bytes(self) -> int:
        """What all files take on disk now."""
        return sum(part.made.file_bytes() for part in self._parts)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the files are."""
        return tuple(part.made.path for part in self._parts)

    @property
    def events(self) -> int:
        """What was taken in since it began."""
        return sum(part.events_before + part.last.events for part in self._parts)

    @property
    def generation(self) -> int:
        """Files so far: readers of an earlier one must open anew."""
        return sum(part.generation_before + part.last.generation for part in self._parts)

    @property
    def has_failed(self) -> bool:
        """Whether a part stands still by a bug of ours."""
        return any(part.last.has_failed for part in self._parts)

    @property
    def positions(self) -> Mapping[int, int]:
        """By partition, the offset of history that readers see."""
        return self._reach.positions

    @property
    def progress(self) -> Progress:
        """How far the way to where history ended at the start is."""
        all_of_it = [part.last.progress for part in self._parts]
        return Progress(
            offset=sum(each.offset for each in all_of_it),
            end=sum(each.end for each in all_of_it),
            is_rebuild=any(p.made.progress.is_rebuild or p.last.progress.is_rebuild for p in self._parts),
        )

    def reached(self, wanted: Mapping[int, int]) -> "Future[None]":
        """Done when readers see all of history up to these positions."""
        return self._reach.reached(wanted)

    def _take(self, part: "_Part", update: Update) -> None:
        """By the part's own thread."""
        before, part.last = part.last, update
        if any(update.positions.get(number, 0) < at for number, at in before.positions.items()):
            self._reach.reset(part.made.partitions)
        self._reach.advance(update.positions)


class _Part:
    """One file, the process that builds it, and the thread that hears of it."""

    def __init__(self, made: Projection, split: Split, take: "Callable[[_Part, Update], None]") -> None:
        # Made the file, and opens its readers; it never follows.
        self.made = made
        self.last = NOTHING_YET
        # Of processes that have ended.
        self.events_before = self.generation_before = 0
        self._take = take
        self._task = Task(
            open_connection=split.open_connection,
            path=made.path,
            partitions=made.partitions,
            configure=split.configure,
        )
        self._pipe: Pipe | None = None
        self._stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"projection-{made.path.stem}", daemon=True)

    def ask_to_end(self) -> None:
        """Has its process end."""
        self._stopping.set()
        self.tell(END)

    def tell(self, message: str | None) -> None:
        """Says something to its process, if there is one."""
        pipe = self._pipe
        if pipe is not None:
            with suppress(OSError):
                pipe.send(message)

    def join(self) -> None:
        """Waits until that is done."""
        if self.thread.is_alive():
            self.thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._try_process()
                self._stopping.wait(PAUSE_S)
        except BaseException as problem:
            log.critical("nobody builds %s any more, by a bug of ours", self.made.path, exc_info=problem)
            self.last = msgspec.structs.replace(self.last, has_failed=True)

    def _try_process(self) -> None:
        try:
            self._run_process()
        except OSError as problem:
            log.warning("no process can be started for %s, and is tried again: %s", self.made.path, problem)

    def _run_process(self) -> None:
        # Forking a process full of threads and open logs would copy locks nobody can open any more.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=build, args=(self._task, theirs), name=self.thread.name, daemon=True)
        process.start()
        theirs.close()
        with ours:
            self._pipe = ours
            if self._stopping.is_set():
                ours.send(END)
            self._hear(ours)
            self._pipe = None
        process.join(CLOSE_S)
        if process.is_alive():
            process.kill()
            process.join()
        if not self._stopping.is_set():
            text = "the process that builds %s ended with %s, and is started again"
            log.warning(text, self.made.path, process.exitcode)

    def _hear(self, pipe: Pipe) -> None:
        # What it says of itself counts from its beginning.
        self.events_before += self.last.events
        self.generation_before += self.last.generation
        self.last = msgspec.structs.replace(self.last, events=0, generation=0)
        with suppress(EOFError, OSError):
            while True:
                self._take(self, pipe.recv())


def _shares(directory: Path, files: int, partitions: int) -> list[tuple[Path, range]]:
    return [
        (directory / f"projection-{number}-of-{files}.sqlite3", range(number, partitions, files))
        for number in range(files)
    ]
