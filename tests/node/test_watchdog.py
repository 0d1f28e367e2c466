"""What is said of code that keeps the owners' thread."""

import threading

from engine.node.worker import _place_of


def _blocks(begun: threading.Event, over: threading.Event) -> None:
    begun.set()
    over.wait()


def test_the_place_names_the_function_that_does_not_return_and_its_line() -> None:
    begun, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=_blocks, args=(begun, over))
    thread.start()
    begun.wait()
    place = _place_of(thread.ident or 0)
    over.set()
    thread.join()
    assert f"_blocks ({__file__}:{_blocks.__code__.co_firstlineno + 2})" in place
    # The innermost call first.
    assert place.index("_blocks") < place.index("_bootstrap")
