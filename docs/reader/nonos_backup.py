#!/usr/bin/env python3
"""Reads a backup of a NONOS node, and needs nothing but Python 3.9.

    nonos_backup.py FILE

prints one JSON object a line: what the file says of itself, then each record as tree, key and
stored value (both hexadecimal), and the decoded "value" where docs/FORMAT.md says how. Secrets and
the identity are never decoded. Every checksum of the file is checked before the first line is printed: if anything
is wrong, the exit code is 1, stderr says what and at which offset, and nothing is on stdout.

Numbers that JSON readers may round, those over 64 bits, are decimal text.
"""

import hashlib
import json
import math
import struct
import sys
import zlib

TREES = ["schema", "identity", "peers", "metrics", "epochs", "config", "claims", "secrets", "audit_log"]
RAW, POSTCARD, CBOR, BINCODE, SEALED = range(5)
MAX_BLOCK, MAX_BODY = 96 << 20, 1 << 20
STORED_ONLY = object()


class Damaged(Exception):
    """What is wrong with the file."""


def require(condition, message):
    if not condition:
        raise Damaged(message)


class Fields:
    """Bytes that are taken one after the other, and never more than there are."""

    def __init__(self, data, at=0, end=None):
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def take(self, size):
        require(0 <= size <= self.end - self.at, f"offset {self.at}: it ends too early")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def number(self, code, order="<"):
        """A number of fixed size; `code` is that of the module `struct`."""
        return struct.unpack(order + code, self.take(struct.calcsize("<" + code)))[0]

    def u128(self):
        return int.from_bytes(self.take(16), "little")

    def sized(self):
        return self.take(self.number("I"))


# The file


def read(data):
    """What the file says of itself, and its records: (tree, key, stored, value or STORED_ONLY)."""
    about, header_end = header(data)
    require(len(data) >= header_end + 56, f"offset {len(data)}: it ends before its trailer")
    trailer = len(data) - 56
    fields = Fields(data, trailer)
    index_at, index_size = fields.number("Q"), fields.number("Q")
    stated_hash, magic = fields.take(32), fields.take(8)
    require(magic == b"NONOSEND", f"offset {len(data) - 8}: the file does not end in NONOSEND")
    require(header_end <= index_at and index_at + index_size == trailer, f"offset {trailer}: the index is elsewhere")
    require(about["schema"] <= 2, f"offset 36: schema {about['schema']} is unknown")
    blocks, stated = index(data, index_at, trailer)

    records, found, last, at = [], [[0, 0] for _ in stated], None, header_end
    for number, (offset, tree, first_key) in enumerate(blocks):
        require(offset == at, f"offset {index_at}: block {number} is said to be at {offset}, it is at {at}")
        try:
            at, of_tree, entries = block(data, at, index_at)
            require(of_tree == tree and entries[0][0] == first_key, "it is not the one of the index")
            require(tree < len(TREES) and tree < len(found), f"there is no tree {tree}")
            for key, stored in entries:
                require(last is None or last < (tree, key), f"key {key.hex()} is out of order")
                last = (tree, key)
                try:
                    # Before schema 2, values have no frame.
                    value = decode(tree, key, stored) if about["schema"] == 2 else STORED_ONLY
                except Damaged as error:
                    raise Damaged(f"{TREES[tree]}, key {key.hex()}: {error}") from error
                records.append((TREES[tree], key, stored, value))
                found[tree][0] += 1
                found[tree][1] += xxh3_128(struct.pack("<Q", len(key)) + key + stored)
        except Damaged as error:
            raise Damaged(f"block at offset {offset}: {error}") from error
    require(at == index_at, f"offset {at}: the index knows of no block here")
    for tree, (count, digest) in enumerate(found):
        same = stated[tree] == (count, digest % 2**128)
        require(same, f"offset {index_at}: count or digest of tree {tree} is not that of its records")
    whole = hashlib.blake2b(data[: trailer + 16], digest_size=32).digest()
    require(whole == stated_hash, f"offset {trailer + 16}: the hash is not that of the file")
    about["records"] = {name: found[tree][0] if tree < len(found) else 0 for tree, name in enumerate(TREES)}
    return about, records


def header(data):
    fields = Fields(data)
    require(fields.take(8) == b"NONOSCKP", "offset 0: this is no backup of NONOS")
    version = fields.number("I")
    require(version == 1, f"offset 8: format {version} is unknown, or damaged")
    about = {
        "store_id": fields.take(16).hex(),
        "term": fields.number("Q"),
        "schema": fields.number("I"),
        "commit": fields.number("Q"),
        "created_at": fields.number("q"),
        "program": fields.sized().decode("utf-8", "replace"),
    }
    end = fields.at
    require(fields.number("I") == zlib.crc32(data[:end]), f"offset {end}: the checksum of the header is wrong")
    return about, fields.at


def index(data, at, trailer):
    """Where each block is, (offset, tree, first key), and for each tree (records, digest)."""
    require(trailer - at >= 4, f"offset {at}: there is no index")
    sound = zlib.crc32(data[at : trailer - 4]) == Fields(data, trailer - 4).number("I")
    require(sound, f"offset {trailer - 4}: the checksum of the index is wrong")
    fields = Fields(data, at, trailer - 4)
    blocks = [(fields.number("Q"), fields.number("B"), fields.sized()) for _ in range(fields.number("I"))]
    trees = [(fields.number("Q"), fields.u128()) for _ in range(fields.number("B"))]
    require(fields.at == fields.end, f"offset {fields.at}: bytes follow the index")
    return blocks, trees


def block(data, at, limit):
    """Where the next block is, this one's tree, and its entries (key, value)."""
    fields = Fields(data, at, limit)
    tree, packed, records = fields.number("B"), fields.number("B"), fields.number("I")
    plain_size, stored_size, checksum = fields.number("I"), fields.number("I"), fields.number("I")
    stored = fields.take(stored_size)
    require(checksum == zlib.crc32(stored, zlib.crc32(data[at : at + 14])), "its checksum is wrong")
    require(packed < 2 and plain_size <= MAX_BLOCK, "its header is not understood")
    plain = Fields(lz4(stored, plain_size) if packed else stored)
    require(plain.end == plain_size, "its length is not the stated one")
    entries = []
    while plain.at < plain.end:
        entries.append((plain.sized(), plain.sized()))
    require(records == len(entries) > 0, "it has not as many records as stated")
    return fields.at, tree, entries


# A record


def decode(tree, key, stored):
    """Checks the value frame; the value as JSON has it, or STORED_ONLY."""
    fields = Fields(stored)
    tag, version, checksum = fields.number("B"), fields.number("B"), fields.number("I")
    body = stored[6:]
    bound = struct.pack("<BI", tree, len(key)) + key + stored[:2] + body
    require(checksum == zlib.crc32(bound), "the checksum of the value is wrong")
    encoding = tag >> 1 & 15
    require(tag >> 5 == 1 and encoding <= SEALED, f"unknown tag {tag:#04x}")
    if tag & 1:
        size = fields.number("I")
        require(size <= MAX_BODY, "the body is too long")
        body = lz4(stored[fields.at :], size)
    name = TREES[tree]
    if (name, key) == ("schema", b"__migration__"):
        return STORED_ONLY
    require(version == 2, f"record version {version} is unknown")
    if encoding == CBOR:
        return whole(Fields(body), cbor)
    if encoding != POSTCARD:
        return STORED_ONLY
    if name == "schema":
        return whole(Fields(body), SCHEMA if key == b"__schema_version__" else None)
    if name != "audit_log":
        return whole(Fields(body), SHAPES.get(name))
    fields = Fields(body)
    value = AUDIT(fields)
    if fields.at < fields.end:
        value["number"] = int.from_bytes(fields.take(8), "big")
        value["hash"] = fields.take(32).hex()
    require(fields.at == fields.end, "bytes follow the entry")
    return value


def whole(fields, shape):
    require(shape is not None, "no record of this tree is encoded so")
    value = shape(fields)
    require(fields.at == fields.end, "bytes follow the record")
    return value


# postcard: https://postcard.jamesmunns.com/wire-format


def unsigned(bits):
    def of(fields):
        value = shift = 0
        while True:
            byte = fields.number("B")
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            require(shift < bits, "a number is too long")
        require(value >> bits == 0, "a number is too large")
        return value if bits <= 64 else str(value)

    return of


def signed(fields):
    value = unsigned(64)(fields)
    return value >> 1 ^ -(value & 1)


def flag(fields):
    byte = fields.number("B")
    require(byte < 2, "neither true nor false, neither some nor none")
    return byte == 1


def byte(fields):
    return fields.number("B")


def text(fields):
    return utf8(fields.take(unsigned(64)(fields)))


def utf8(data):
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Damaged("text is not UTF-8") from error


def floating(code):
    return lambda fields: json_float(fields.number(code))


def json_float(value):
    return value if math.isfinite(value) else {"float": str(value)}


def option(of):
    return lambda fields: of(fields) if flag(fields) else None


def many(of):
    return lambda fields: [of(fields) for _ in range(unsigned(64)(fields))]


def record(**members):
    return lambda fields: {name: of(fields) for name, of in members.items()}


u32, u64, u128, f32, f64 = unsigned(32), unsigned(64), unsigned(128), floating("f"), floating("d")
STEP = record(from_version=u32, to_version=u32, applied_at=signed, duration_ms=u64, success=flag)
SCHEMA = record(version=u32, created_at=signed, last_migration=option(signed), migrations_applied=many(STEP))
AUDIT = record(timestamp=signed, tree=text, operation=text, details=option(text))
SHAPES = {
    "peers": record(
        peer_id=text, addresses=many(text), last_seen=signed, avg_latency_ms=option(u32), connection_count=u32,
        is_bootstrap=flag, reputation=byte, protocol_version=option(text), capabilities=option(many(text)),
        first_seen=option(signed), last_failure=option(signed), failure_count=u32,
    ),
    "metrics": record(
        total_requests=u64, successful_requests=u64, error_count=u64, avg_latency_ms=u32, peer_count=u64,
        quality_score=f64, uptime_secs=u64, cpu_usage=option(f32), memory_usage=option(f32),
        network_bytes_sent=option(u64), network_bytes_received=option(u64),
    ),
    "epochs": record(
        epoch=u64, start_time=signed, end_time=signed, total_emission=u128, our_reward=u128, quality_score=f64,
        participated=flag, streak=u32,
    ),
    "claims": record(epoch=u64, amount=u128, claimed_at=signed, tx_hash=option(text), claimant=text),
}


# CBOR: RFC 8949


def cbor(fields, depth=0):
    """One item. What JSON does not have is an object of one member: bytes, float, tag, map, simple."""
    require(depth < 300, "values are nested too deep")
    first = fields.number("B")
    major, short = first >> 5, first & 31
    require(short < 28 or short == 31, "reserved length of CBOR")
    if major == 7:
        if short in (25, 26, 27):
            return json_float(fields.number("efd"[short - 25], ">"))
        simple = fields.number("B") if short == 24 else short
        require(simple != 31, "a break without a beginning")
        return {20: False, 21: True, 22: None}.get(simple, {"simple": simple})
    endless = short == 31
    require(not endless or major in (2, 3, 4, 5), "reserved length of CBOR")
    size = None if endless else fields.number("BHIQ"[short - 24], ">") if short >= 24 else short

    def items():
        count = 0
        while not ended(count):
            part = fields.data[fields.at] if fields.at < fields.end else 0
            require(major not in (2, 3) or part >> 5 == major and part & 31 < 28, "a part of another kind")
            yield cbor(fields, depth + 1)
            count += 1

    def ended(count):
        if not endless:
            return count >= size
        require(fields.at < fields.end, "a break is missing")
        if fields.data[fields.at] != 255:
            return False
        fields.at += 1
        return True

    if major == 0:
        return size
    if major == 1:
        return -1 - size if size < 2**63 else {"int": str(-1 - size)}
    if major == 2:
        parts = [part["bytes"] for part in items()] if endless else [fields.take(size).hex()]
        return {"bytes": "".join(parts)}
    if major == 3:
        return "".join(items()) if endless else utf8(fields.take(size))
    if major == 4:
        return list(items())
    if major == 6:
        return {"tag": size, "value": cbor(fields, depth + 1)}
    pairs, count = [], 0
    while not ended(count):
        pairs.append([cbor(fields, depth + 1), cbor(fields, depth + 1)])
        count += 1
    plain = all(isinstance(name, str) for name, _ in pairs) and len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs) if plain else {"map": pairs}


# LZ4 block: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md


def lz4(data, size):
    fields, out = Fields(data), bytearray()

    def length(short):
        more = 255 if short == 15 else 0
        while more == 255:
            more = fields.number("B")
            short += more
        return short

    while True:
        token = fields.number("B")
        out += fields.take(length(token >> 4))
        if fields.at == fields.end:
            break
        back = fields.number("H")
        count = length(token & 15) + 4
        require(0 < back <= len(out) and len(out) + count <= size, "LZ4: a match is out of bounds")
        seen = bytes(out[len(out) - back :][:count])
        out += (seen * (count // len(seen) + 1))[:count]
    require(len(out) == size, "LZ4: the length is not the stated one")
    return bytes(out)


# XXH3-128, seed 0: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md

MASK = 2**64 - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def word(data, at):
    return int.from_bytes(data[at : at + 8], "little")


def fold(a, b):
    product = a * b
    return product & MASK ^ product >> 64


def avalanche(x):
    x = (x ^ x >> 37) * 0x165667919E3779F9 & MASK
    return x ^ x >> 32


def mix(data, at, key):
    return fold(word(data, at) ^ word(SECRET, key), word(data, at + 8) ^ word(SECRET, key + 8))


def xxh3_128(data):
    """Of 9 bytes or more; what a digest is made of has 14 at least."""
    size = len(data)
    if size <= 16:
        low, high = word(data, 0), word(data, size - 8)
        flip_low = word(SECRET, 32) ^ word(SECRET, 40)
        product = (low ^ high ^ flip_low) * P64_1
        low = (product & MASK) + ((size - 1) << 54) & MASK
        high ^= word(SECRET, 48) ^ word(SECRET, 56)
        high = (product >> 64) + high + (high & 0xFFFFFFFF) * (P32_2 - 1) & MASK
        low ^= int.from_bytes(high.to_bytes(8, "little"), "big")
        product = low * P64_2
        return avalanche(product & MASK) | avalanche((product >> 64) + high * P64_2 & MASK) << 64
    if size <= 240:
        low, high = size * P64_1 & MASK, 0

        def pair(first, second, key):
            nonlocal low, high
            low = low + mix(data, first, key) & MASK ^ word(data, second) + word(data, second + 8) & MASK
            high = high + mix(data, second, key + 16) & MASK ^ word(data, first) + word(data, first + 8) & MASK

        if size <= 128:
            for at in reversed(range((size - 1) // 32 + 1)):
                pair(16 * at, size - 16 * (at + 1), 32 * at)
        else:
            for at in range(4):
                pair(32 * at, 32 * at + 16, 32 * at)
            low, high = avalanche(low), avalanche(high)
            for at in range(4, size // 32):
                pair(32 * at, 32 * at + 16, 3 + 32 * (at - 4))
            pair(size - 16, size - 32, 103)
        last = low * P64_1 + high * P64_4 + size * P64_2 & MASK
        return avalanche(low + high & MASK) | (-avalanche(last) & MASK) << 64
    lanes = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]

    def stripe(at, key):
        words, keys = struct.unpack_from("<8Q", data, at), struct.unpack_from("<8Q", SECRET, key)
        for lane in range(8):
            keyed = words[lane] ^ keys[lane]
            lanes[lane ^ 1] = lanes[lane ^ 1] + words[lane] & MASK
            lanes[lane] = lanes[lane] + (keyed & 0xFFFFFFFF) * (keyed >> 32) & MASK

    for number in range((size - 1) // 64):
        stripe(64 * number, 8 * (number % 16))
        if number % 16 == 15:
            keys = struct.unpack_from("<8Q", SECRET, 128)
            lanes = [(lane ^ lane >> 47 ^ key) * P32_1 & MASK for lane, key in zip(lanes, keys)]
    stripe(size - 64, 121)

    def merged(key, start):
        sums = (fold(lanes[i] ^ word(SECRET, key + 8 * i), lanes[i + 1] ^ word(SECRET, key + 8 * i + 8)) for i in (0, 2, 4, 6))
        return avalanche(start + sum(sums) & MASK)

    return merged(11, size * P64_1 & MASK) | merged(117, ~(size * P64_2) & MASK) << 64


def main(arguments):
    if len(arguments) != 2:
        sys.exit("usage: nonos_backup.py FILE")
    path = arguments[1]
    try:
        with open(path, "rb") as file:
            about, records = read(file.read())
        print(json.dumps(about))
        for tree, key, stored, value in records:
            line = {"tree": tree, "key": key.hex(), "stored": stored.hex()}
            if value is not STORED_ONLY:
                line["value"] = value
            print(json.dumps(line))
        sys.stdout.flush()
    except (Damaged, OSError) as error:
        sys.exit(f"{path}: {error}")


if __name__ == "__main__":
    main(sys.argv)
