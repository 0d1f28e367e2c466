"""Topic names, keys, partitions and provenance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codec import topics
from engine.codec.topics import ChannelSource, IngressSource
from engine.core import limits
from engine.errors import ConfigurationError
from tests.codec import samples

# From Kafka's own UtilsTest.testMurmur2.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
NUMBERS = st.integers(0, 10**19 - 1)
TOPIC_IDS = st.from_regex(r"[A-Za-z0-9_-]{1,22}", fullmatch=True)


@pytest.mark.parametrize(("key", "expected"), JAVA.items())
def test_murmur2_is_javas(key: bytes, expected: int) -> None:
    assert expected & 0xFFFFFFFF == topics.murmur2(key)


def test_a_partition_is_kafkas_positive_hash_of_the_id() -> None:
    for key, expected in JAVA.items():
        assert (expected & 0x7FFFFFFF) % 12 == topics.partition_of(key.decode(), 12)


def test_topics_are_named_by_namespace_and_app() -> None:
    names = topics.topics_of("wf", "shop")

    assert names == topics.Topics(
        commands="wf.shop.commands",
        inbox="wf.shop.inbox",
        history="wf.shop.history",
        activities="wf.shop.activities",
        replies="wf.shop.replies",
        deadletter="wf.shop.deadletter",
    )


@pytest.mark.parametrize(
    ("namespace", "app"),
    [("", "a"), ("wf", ""), ("wf", "a.b"), ("w f", "a"), ("wf", "ä"), ("wf", "a\n"), ("wf", "a" * 250)],
)
def test_names_that_kafka_would_not_take_are_refused(namespace: str, app: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected .*, but"):
        topics.topics_of(namespace, app)


@samples.QUICK
@given(samples.TEXTS | st.sampled_from(["a|b", "|", "a|b|1", "a|1", "x\ny"]), TOPIC_IDS, NUMBERS)
def test_a_history_key_is_read_back_for_every_valid_id(instance_id: str, run_id: str, sequence: int) -> None:
    if limits.invalid_instance_id(instance_id) is None:
        key = topics.history_key(instance_id, run_id, sequence)
        assert topics.parse_history_key(key) == (instance_id, run_id, sequence)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"a",
        b"a|b",
        b"a||1",
        b"|b|1",
        b"a|b|",
        b"a|b|01",
        b"a|b|+1",
        b"a|b|1_0",
        b"a|b| 1",
        b"a|b|-1",
        b"a|b|1\n",
        b"\xff|b|1",
        b"a|b|" + b"1" * 5000,
        topics.CHECKPOINT_KEY,
        topics.out_key("t", 1, 2),
    ],
)
def test_what_is_no_events_key_is_none(key: bytes) -> None:
    assert topics.parse_history_key(key) is None


@samples.QUICK
@given(TOPIC_IDS, NUMBERS, NUMBERS)
def test_an_out_key_is_read_back(topic_id: str, partition: int, number: int) -> None:
    assert topics.parse_out_key(topics.out_key(topic_id, partition, number)) == (topic_id, partition, number)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"~out",
        b"~out|t:1",
        b"~out|:1|2",
        b"~out|t:|2",
        b"~out|t:1|",
        b"~out|t:1|02",
        b"~out|t|1|2",
        b"out|t:1|2",
        topics.CHECKPOINT_KEY,
        b"a|b|1",
    ],
)
def test_what_is_no_out_key_is_none(key: bytes) -> None:
    assert topics.parse_out_key(key) is None


@samples.QUICK
@given(
    st.builds(IngressSource, TOPIC_IDS, NUMBERS, NUMBERS, st.none() | NUMBERS)
    | st.builds(ChannelSource, TOPIC_IDS, NUMBERS, NUMBERS)
)
def test_a_source_is_read_back(source: IngressSource | ChannelSource) -> None:
    assert topics.parse_source(topics.format_source(source)) == source


def test_a_source_is_written_as_the_readme_says() -> None:
    assert topics.format_source(IngressSource("t", 1, 2, None)) == b"i|t|1|2|-"
    assert topics.format_source(IngressSource("t", 1, 2, 0)) == b"i|t|1|2|0"
    assert topics.format_source(ChannelSource("t", 1, 2)) == b"c|t|1|2"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"i",
        b"c|t|1",
        b"i|t|1|2",
        b"i|t|1|2|",
        b"i|t|1|2|x",
        b"i||1|2|-",
        b"x|t|1|2",
        b"c|t|1|2|-",
        b"c|t|01|2",
        b"c|t|1|2\n",
        b"c|\xff|1|2",
        b"i|t|1|-|-",
    ],
)
def test_what_is_no_source_is_none(header: bytes) -> None:
    assert topics.parse_source(header) is None


@pytest.mark.parametrize("header", [b"gateway-1|7", b"a.b_c-D|9", b"x" * 64 + b"|" + b"y" * 64])
def test_who_asks_for_a_reply_is_read_back(header: bytes) -> None:
    reply_to = topics.parse_reply_to(header)

    assert reply_to is not None
    assert topics.format_reply_to(reply_to) == header


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"|",
        b"a",
        b"a|",
        b"|b",
        b"a|b|c",
        b"a b|c",
        b"a|b\n",
        b"\xff|b",
        b"x" * 65 + b"|b",
        b"a|" + b"y" * 65,
    ],
)
def test_who_can_t_be_answered_is_none(header: bytes) -> None:
    assert topics.parse_reply_to(header) is None


def test_replies_lie_by_the_crc_of_their_requester_as_the_readme_says() -> None:
    assert topics.replies_partition("123456789", 1000) == 0xCBF43926 % 1000
