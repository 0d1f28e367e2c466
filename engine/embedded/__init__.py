"""The log in one directory of one process, on SQLite: for `engine dev`, demos and tests.

`EmbeddedLog` is the owner's side (the `Log` port), `EmbeddedCommandSource` the ingress's, `EmbeddedClientLog`
that of everybody else, in this process or another.
"""

from engine.embedded.client import EmbeddedClientLog
from engine.embedded.commands import EmbeddedCommandSource
from engine.embedded.lags import EmbeddedLags
from engine.embedded.log import EmbeddedLog

__all__ = ["EmbeddedClientLog", "EmbeddedCommandSource", "EmbeddedLags", "EmbeddedLog"]
