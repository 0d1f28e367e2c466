"""Avro's numbers, strings and bytes, in plain Python, shared by the generated encoders and decoders."""

from functools import lru_cache

LONG_MIN = -(2**63)
LONG_MAX = 2**63 - 1
VARINT_BYTES_MAX = 10
SMALL_LONGS = 4096


def _varint(rest: int) -> bytes:
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


# Fourteen bits in one look-up, with more to come or as the last: a time or offset is two or three of these.
_TO_COME = tuple(bytes((pair & 0x7F | 0x80, pair >> 7 | 0x80)) for pair in range(1 << 14))
_LAST = tuple(_varint(pair) for pair in range(1 << 14))
# Lengths, sequences and attempts are looked up here, by their value.
SMALL = _LAST[: 2 * SMALL_LONGS : 2]


def encode_long(number: int) -> bytes:
    """`number` as Avro's long: zigzag, seven bits a byte, lowest first."""
    if not LONG_MIN <= number <= LONG_MAX:
        message = f"expected a number of 64 bits, but got {number}"
        raise OverflowError(message)
    rest = (number << 1) ^ (number >> 63)
    if rest < 1 << 14:
        return _LAST[rest]
    if rest < 1 << 28:
        return _TO_COME[rest & 0x3FFF] + _LAST[rest >> 14]
    if rest < 1 << 42:
        return _TO_COME[rest & 0x3FFF] + _TO_COME[rest >> 14 & 0x3FFF] + _LAST[rest >> 28]
    return _varint(rest)


# For times and offsets, which repeat through a turn.
cached_long = lru_cache(8192)(encode_long)


@lru_cache(16_384)
def cached_id(text: str) -> bytes:
    """`text` as Avro's string. Only for ids and names, which are short and come again and again."""
    data = text.encode()
    return encode_long(len(data)) + data


def decode_long(value: bytes, position: int, first: int) -> tuple[int, int]:
    """Goes on with a long whose first byte, before `position`, is `first`: (still zigzagged, position)."""
    if first < 0x80:
        return first, position
    number = first & 0x7F
    shift = 7
    while True:
        byte = value[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift >= 7 * VARINT_BYTES_MAX:
            message = f"expected a number of at most {VARINT_BYTES_MAX} bytes, but it goes on"
            raise ValueError(message)
    if byte == 0 or number >> 64:
        # Two ways to write one number would be two digests of one record.
        message = "expected a number in its shortest form of at most 64 bits, but got another"
        raise ValueError(message)
    return number, position


def decode_length(value: bytes, position: int, first: int) -> tuple[int, int]:
    """Goes on with a length: like `decode_long`, but refuses a negative one. Still to be halved."""
    number, position = decode_long(value, position, first)
    if number & 1:
        message = f"expected a length, but got {-(number >> 1) - 1}"
        raise ValueError(message)
    return number, position


def decode_count(value: bytes, position: int) -> tuple[int, int]:
    """The count of an array's next block. A negative one is followed by the block's size, not needed here."""
    number, position = decode_long(value, position + 1, value[position])
    if not number & 1:
        return number >> 1, position
    _, position = decode_length(value, position + 1, value[position])
    return (number >> 1) + 1, position


def invalid_branch(branch: int) -> ValueError:
    """To be raised for a union branch or boolean that the schema doesn't have."""
    return ValueError(f"expected the byte of a branch or boolean, but got {branch:#04x}")
