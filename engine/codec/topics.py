"""Names of topics, keys of records, the partition of an instance, and where an inbox record came from."""

import re
import struct
import zlib
from functools import lru_cache

import msgspec

from engine.errors import ConfigurationError

CHECKPOINT_KEY = b"~checkpoint"
FROM_HEADER = "from"
REPLY_TO_HEADER = "reply-to"
TOPIC_NAME_LENGTH_MAX = 249

_WORDS = struct.Struct("<I")
_NAMESPACE = re.compile(r"[a-zA-Z0-9._-]+")
_APP = re.compile(r"[a-zA-Z0-9_-]+")
# Plain decimals only: int() alone would take b" 1", b"+1" and b"1_0", and one number must have one spelling.
_NUMBER = rb"(0|[1-9][0-9]{0,18})"
_TOPIC_ID = rb"([\w.-]+)"
_HISTORY_KEY = re.compile(rb"([^~].*)\|([^|]+)\|" + _NUMBER, re.DOTALL)
_OUT_KEY = re.compile(rb"~out\|" + _TOPIC_ID + b":" + _NUMBER + rb"\|" + _NUMBER)
_INGRESS = re.compile(rb"\|".join((b"i", _TOPIC_ID, _NUMBER, _NUMBER, b"(?:-|" + _NUMBER + b")")))
_REPLY_TO = re.compile(rb"([\w.-]{1,64})\|([\w.-]{1,64})")
_CHANNEL = re.compile(rb"\|".join((b"c", _TOPIC_ID, _NUMBER, _NUMBER)))


class Topics(msgspec.Struct, frozen=True):
    """The topics of one app."""

    commands: str
    inbox: str
    history: str
    activities: str
    replies: str
    deadletter: str


def topics_of(namespace: str, app: str) -> Topics:
    """The topics of `app`. Raises ConfigurationError for names that Kafka would not take."""
    if not _NAMESPACE.fullmatch(namespace):
        message = f"expected a namespace of letters, digits, '.', '_' and '-', but got {namespace!r}"
        raise ConfigurationError(message)
    if not _APP.fullmatch(app):
        # A dot would let two apps meet in one topic: (wf, a.b) and (wf.a, b).
        message = f"expected an app id of letters, digits, '_' and '-', but got {app!r}"
        raise ConfigurationError(message)
    names = [f"{namespace}.{app}.{field}" for field in Topics.__struct_fields__]
    longest = max(names, key=len)
    if len(longest) > TOPIC_NAME_LENGTH_MAX:
        expected = f"expected topic names of at most {TOPIC_NAME_LENGTH_MAX} characters"
        message = f"{expected}, but {longest} has {len(longest)}"
        raise ConfigurationError(message)
    return Topics(*names)


# --- partition ---


def murmur2(data: bytes) -> int:
    """Kafka's hash of a key, as Java computes it, but unsigned. Whoever partitions like Kafka meets us."""
    size = len(data)
    h = 0x9747B28C ^ size
    whole = size & ~3
    for (word,) in _WORDS.iter_unpack(data[:whole]):
        k = word * 0x5BD1E995 & 0xFFFFFFFF
        h = (h * 0x5BD1E995 & 0xFFFFFFFF) ^ ((k ^ k >> 24) * 0x5BD1E995 & 0xFFFFFFFF)
    if whole < size:
        h = (h ^ int.from_bytes(data[whole:], "little")) * 0x5BD1E995 & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return h ^ h >> 15


# An instance is asked for many times while it lives: 16,384 of them take about 3 MB.
@lru_cache(16_384)
def partition_of(instance_id: str, partitions: int) -> int:
    """The partition of `instance_id` among `partitions`, as Kafka's default partitioner has it."""
    return (murmur2(instance_id.encode()) & 0x7FFFFFFF) % partitions


# --- keys of history ---


def history_key(instance_id: str, run_id: str, sequence: int) -> bytes:
    """The key of one event."""
    return f"{instance_id}|{run_id}|{sequence}".encode()


def parse_history_key(key: bytes) -> tuple[str, str, int] | None:
    """(instance id, run id, sequence), or None for what is no event's key.

    It is read from the right, for instance ids may contain `|`.
    """
    found = _HISTORY_KEY.fullmatch(key)
    if found is None:
        return None
    try:
        return found[1].decode(), found[2].decode(), int(found[3])
    except UnicodeDecodeError:
        return None


def out_key(topic_id: str, partition: int, number: int) -> bytes:
    """The key of message `number` in the outbox to one partition of an inbox."""
    return f"~out|{topic_id}:{partition}|{number}".encode()


def parse_out_key(key: bytes) -> tuple[str, int, int] | None:
    """(topic id, partition, number), or None for what is no outbox message's key."""
    found = _OUT_KEY.fullmatch(key)
    return None if found is None else (found[1].decode(), int(found[2]), int(found[3]))


# --- who wants to hear what becomes of a command ---


class ReplyTo(msgspec.Struct, frozen=True, gc=False):
    """Who asked, and which of its questions it is. Both are the asker's own names."""

    requester: str
    request_id: str


def format_reply_to(reply_to: ReplyTo) -> bytes:
    """The value of the `reply-to` header."""
    return f"{reply_to.requester}|{reply_to.request_id}".encode()


def parse_reply_to(header: bytes) -> ReplyTo | None:
    """What `header` says, or None where it can't be answered."""
    found = _REPLY_TO.fullmatch(header)
    return None if found is None else ReplyTo(found[1].decode(), found[2].decode())


def replies_partition(requester: str, partitions: int) -> int:
    """The partition of `replies` that holds all answers for one requester."""
    return zlib.crc32(requester.encode()) % partitions


# --- where an inbox record came from ---


class IngressSource(msgspec.Struct, frozen=True, gc=False):
    """A record of `commands`. `previous` is what its session sent to this target before, None at first."""

    topic_id: str
    partition: int
    offset: int
    previous: int | None


class ChannelSource(msgspec.Struct, frozen=True, gc=False):
    """A message of another instance, from the outbox of a partition of history."""

    topic_id: str
    partition: int
    number: int


def format_source(source: IngressSource | ChannelSource) -> bytes:
    """The value of the `from` header."""
    if isinstance(source, ChannelSource):
        return f"c|{source.topic_id}|{source.partition}|{source.number}".encode()
    previous = "-" if source.previous is None else source.previous
    return f"i|{source.topic_id}|{source.partition}|{source.offset}|{previous}".encode()


def parse_source(header: bytes) -> IngressSource | ChannelSource | None:
    """What `header` says, or None where it says nothing that the engine ever wrote."""
    found = _INGRESS.fullmatch(header)
    if found is not None:
        topic_id, partition, offset, previous = found.groups()
        before = None if previous is None else int(previous)
        return IngressSource(topic_id.decode(), int(partition), int(offset), before)
    found = _CHANNEL.fullmatch(header)
    return None if found is None else ChannelSource(found[1].decode(), int(found[2]), int(found[3]))
