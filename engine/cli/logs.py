"""Log records on stderr, one line each, as JSON or as text. Payloads are never put into log records."""

import logging
import os
import sys
import time
from datetime import UTC, datetime

import msgspec
from typing_extensions import override

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, message, process, what `extra` says, an error."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """See `logging`. Never more than one line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            # Not the record's own: that is cached, and wrong after a fork.
            "process": os.getpid(),
        }
        fields.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """For people: time, level, logger, message, extras."""

    def __init__(self) -> None:
        form = "%(asctime)s.%(msecs)03dZ %(levelname)-8s %(name)s: %(message)s"
        super().__init__(form, "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        """See `logging`."""
        extras = [f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD]
        return " ".join([super().formatMessage(record), *extras])


def configure_logging(level: str, form: str) -> None:
    """Sends all records from `level` on to stderr, in place of whatever was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
