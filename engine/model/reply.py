"""What became of a command, told to the one who asked: committed with what the command did, or not at all."""

import msgspec


class Reply(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The answer to one command that had the header `reply-to`.

    A reader of history that has passed `position` of `partition` has seen what the command did. It may have
    been recorded for later, where its instance stalls; `detail` says so.
    """

    requester: str
    request_id: str
    instance_id: str
    is_accepted: bool
    reason: str
    detail: str
    partition: int
    position: int
