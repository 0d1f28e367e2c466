"""What becomes of users' values on their way: through a start, an activity, an event, and back."""

import collections
import enum
import ipaddress
import uuid
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, NamedTuple, Optional, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import limits
from engine.core.values import decode_value, encode_value, signature_of
from engine.errors import LimitExceededError
from engine.model import commands as cm
from engine.model.failure import Payload
from tests.core.driver import World


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Item:
    name: str
    price: float = 0.0
    colour: Colour = Colour.RED


@dataclass
class Order:
    id: int
    items: list[Item] = field(default_factory=list)
    note: str | None = None


@dataclass(frozen=True)
class Frozen:
    depth: int = 3


class Model(pydantic.BaseModel):
    amount: Decimal
    placed: datetime


class Parcel(pydantic.BaseModel):
    """Of values that JSON has no kinds for, some of which only pydantic can put into words."""

    weight: Decimal
    sent: datetime
    number: uuid.UUID
    took: timedelta
    label: bytes
    sender: ipaddress.IPv4Address
    route: set[int]


class Basket(pydantic.BaseModel):
    models: list[Model]
    by_name: dict[str, Model] = {}


class Point(NamedTuple):
    x: int
    y: int = 0


Pair = collections.namedtuple("Pair", "left right")  # noqa: PYI024 -- users have these too


class Options(TypedDict, total=False):
    fast: bool


class Packed(msgspec.Struct):
    size: int


@dataclass
class Mixed:
    point: Point
    model: Model | None
    options: Options
    packed: Packed


MODEL = Model(amount=Decimal("1.10"), placed=datetime(2026, 1, 2, tzinfo=UTC))

PARCEL = Parcel(
    weight=Decimal("0.10"),
    sent=datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC),
    number=uuid.UUID(int=7),
    took=timedelta(days=1, microseconds=1),
    label="é".encode(),
    sender=ipaddress.IPv4Address("10.0.0.1"),
    route={1, 2},
)

SHAPED = [
    (Order, Order(1, [Item("pen", 1.5)], "n")),
    (Item, Item("pen")),
    (list[Item], [Item("a"), Item("b")]),
    (dict[str, Item], {"a": Item("a")}),
    (Optional[Order], Order(1)),  # noqa: UP045 -- as Dapr's users write it
    (Order | None, None),
    (Model, MODEL),
    (Optional[Model], MODEL),  # noqa: UP045
    (Model | None, None),
    (Parcel, PARCEL),
    (list[Parcel], [PARCEL]),
    (list[Model], [MODEL]),
    (Basket, Basket(models=[MODEL], by_name={"a": MODEL})),
    (Point, Point(1, 2)),
    (Pair, Pair(1, 2)),
    (list[Point], [Point(1), Point(2)]),
    (Options, {"fast": True}),
    (Packed, Packed(3)),
    (Colour, Colour.RED),
    (Mixed, Mixed(Point(1), MODEL, {"fast": False}, Packed(1))),
]


def taking(kind):
    def workflow(ctx, value):
        returned = yield ctx.call_activity(step, input=value)
        return [type(value).__name__, type(returned).__name__, returned]

    def step(ctx, value):
        assert (type(value) is dict) == (kind is Options)
        return value

    for function in (workflow, step):
        function.__annotations__ = {"value": kind}
    step.__annotations__["return"] = kind
    return workflow, step


@pytest.mark.parametrize(("kind", "value"), SHAPED, ids=lambda each: str(each)[:40])
def test_an_annotated_value_arrives_as_what_it_was(kind, value):
    arrived = decode_value(encode_value(value, "a value"), kind)
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize("kind", [Order, Model, Point, Options])
def test_a_workflow_and_its_activity_get_their_annotated_types(kind):
    value = {
        Order: Order(1),
        Model: MODEL,
        Point: Point(1, 2),
        Options: {"fast": True},
    }[kind]
    workflow, step = taking(kind)
    world = World(workflow, step=step)
    world.start("workflow", value)
    world.settle()
    name = "dict" if kind is Options else kind.__name__
    assert world.output()[:2] == [name, name]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Item, b'{"name":"pen"}'),
        (list[Item], b'[{"name":"pen"}]'),
        (dict[str, list[Item]], b'{"a":[{"name":"pen"}]}'),
        (Order, b'{"id":1,"items":[{"name":"pen"}]}'),
        (Frozen, b"{}"),
    ],
)
def test_the_defaults_of_a_dataclass_are_handed_on_with_it(kind, text):
    value = decode_value(Payload(text), kind)
    again = decode_value(encode_value(value, "a value"))
    expected = decode_value(encode_value(_made_anew(value), "a value"))
    assert again == expected
    assert "colour" in str(again) or kind is Frozen
    assert again != {}


def _made_anew(value):
    """The same, by its own constructor."""
    if isinstance(value, list):
        return [_made_anew(each) for each in value]
    if isinstance(value, dict):
        return {name: _made_anew(each) for name, each in value.items()}
    if is_dataclass(value):
        return type(value)(**{each.name: _made_anew(getattr(value, each.name)) for each in fields(value)})
    return value


def test_without_an_annotation_a_value_is_plain_json():
    for value, plain in [
        (
            Order(1, [Item("pen", 1.5)]),
            {"id": 1, "items": [{"name": "pen", "price": 1.5, "colour": "red"}], "note": None},
        ),
        (MODEL, {"amount": "1.10", "placed": "2026-01-02T00:00:00Z"}),
        (SimpleNamespace(a=1, b=[2]), {"a": 1, "b": [2]}),
        (Point(1, 2), [1, 2]),
        ((1, 2), [1, 2]),
        ({1: "one"}, {"1": "one"}),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"bytes", "Ynl0ZXM="),
        ({"a": None, "b": "null", "c": [1.5, None]}, {"a": None, "b": "null", "c": [1.5, None]}),
    ]:
        assert decode_value(encode_value(value, "a value")) == plain


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_json_can_say_comes_back_as_it_was(value):
    assert decode_value(encode_value(value, "a value")) == value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"a": [1, (None, float("-inf"))]},
        Item("pen", float("inf")),
        SimpleNamespace(a=float("nan")),
    ],
)
def test_a_number_that_json_has_not_is_refused_and_not_made_null(value):
    with pytest.raises(ValueError, match=r"expected a value for a price .* it holds (nan|-?inf)"):
        encode_value(value, "a price")


def test_half_a_character_is_named():
    with pytest.raises(ValueError, match=r"a name that JSON can say, but .* half a character, '.udc80'"):
        encode_value({"x": ["ab\udc80"]}, "a name")


@pytest.mark.parametrize("value", [object(), {"f": print}, [1j], "\ud800"])
def test_what_json_cannot_say_is_refused_by_the_call_that_gave_it(value):
    def workflow(ctx, _value):
        try:
            yield ctx.call_activity("step", input=value)
        except (TypeError, ValueError) as error:
            return type(error).__name__

    world = World(workflow)
    world.start("workflow")
    assert world.output() in {"TypeError", "ValueError"}


def test_a_value_that_contains_itself_is_refused_with_a_reason():
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nests too deeply or contains itself"):
        encode_value(loop, "a loop")


def test_an_annotation_that_json_cannot_tell_apart_leaves_the_value_plain():
    def either(ctx, value: Order | dict): ...

    assert signature_of(either) == (True, None, None)


def test_an_annotation_that_cannot_be_resolved_leaves_the_value_plain():
    def unresolved(ctx, value: "Nowhere"): ...  # noqa: F821

    assert signature_of(unresolved) == (True, None, None)


def test_an_input_that_does_not_fit_its_annotation_fails_the_run_with_the_reason():
    def workflow(ctx, order: Order):
        yield ctx.create_timer(order.id)

    world = World(workflow)
    world.start("workflow", {"no": "id"})
    assert world.failure().type == "ValidationError"
    assert "id" in world.failure().message


def test_a_result_that_does_not_fit_its_annotation_is_the_workflows_to_handle():
    def step(ctx) -> Order: ...

    def workflow(ctx, _value):
        try:
            yield ctx.call_activity(step)
        except msgspec.ValidationError as error:
            return str(error)

    world = World(workflow, step=step)
    world.start("workflow")
    world.complete("no order")
    assert "Expected `object`" in world.output()


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        (Payload(b"\x00\xff", "application/octet-stream"), "bytes b'\\x00\\xff'"),
        (Payload(b"", "text/plain"), "bytes b''"),
        (Payload(b'{"a":1}', "application/json"), "dict {'a': 1}"),
        (Payload(b"", ""), "NoneType None"),
        (Payload(b"null", ""), "NoneType None"),
        (None, "NoneType None"),
    ],
)
def test_a_payload_is_read_as_its_content_type_says(given, arrives):
    def workflow(ctx, value):
        raised = yield ctx.wait_for_external_event("go")
        assert raised == value
        return f"{type(value).__name__} {value!r}"

    world = World(workflow)
    world.send(cm.StartInstance(instance_id="i", workflow="workflow", input=given))
    world.send(cm.RaiseEvent(instance_id="i", name="go", data=given))
    assert world.output() == arrives


def test_data_that_is_not_the_json_it_claims_to_be_reaches_the_workflow_as_an_error():
    def workflow(ctx, _value):
        try:
            yield ctx.wait_for_external_event("go")
        except msgspec.DecodeError:
            return "caught"

    world = World(workflow)
    world.start("workflow")
    world.send(cm.RaiseEvent(instance_id="i", name="go", data=Payload(b"{")))
    assert world.output() == "caught"


@pytest.mark.parametrize("size", [limits.PAYLOAD_BYTES_MAX, limits.PAYLOAD_BYTES_MAX + 1])
@pytest.mark.parametrize("place", ["input", "output", "result", "child", "continue_as_new"])
def test_a_value_at_the_limit_passes_and_one_byte_more_is_an_error_that_names_the_limit(place, size):
    text = "x" * (size - 2)

    def step(ctx, value):
        return text if place == "result" else None

    def child(ctx, value):
        return None

    def workflow(ctx, again):
        if again is not None:
            return "ok"
        if place == "output":
            return text
        if place == "continue_as_new":
            return ctx.continue_as_new(text)
        if place == "child":
            yield ctx.call_child_workflow(child, input=text)
        else:
            yield ctx.call_activity(step, input=text if place == "input" else None)
        return "ok"

    world = World(workflow, child, step=step)
    world.start("workflow")
    world.settle()
    if size == limits.PAYLOAD_BYTES_MAX:
        assert world.output() in ("ok", text)
        return
    failure = world.failure()
    assert failure.type == ("TaskFailedError" if place == "result" else LimitExceededError.__name__)
    assert "to be at most 524,288, but it is 524,289; store large values elsewhere" in failure.message
