#!/usr/bin/env python3
"""Reads a backup (*.nonos, a checkpoint) and prints it as JSON, one object a line.

    python3 -I -S -B nonos_backup.py FILE

Written from FORMAT.md alone. What the file says about itself is checked before the first line is
printed. If anything is wrong nothing is printed, stderr has one line that says what and at which
offset, and the exit code is 1. Not checked: the chain of the audit log and what is sealed.
"""

import decimal
import hashlib
import json
import struct
import sys
import zlib

TREES = ("schema", "identity", "peers", "metrics", "epochs", "config", "claims", "secrets", "audit_log")
ALL_TREES = 16                        # trees in the index; those without a name are empty
SCHEMA = 2                            # the one that FORMAT.md describes; below, values have no frames
MAX_PROGRAM = 256
MAX_PLAIN = 96 << 20                  # bytes of a block
MAX_BODY, MAX_SECRET_BODY = 1 << 20, 80 << 10
MAX_DEPTH = 512                       # of nested CBOR; FORMAT.md has no limit
RAW, POSTCARD, CBOR, BINCODE, SEALED = range(5)
TRAILER = struct.Struct("<QQ32s8s")
BLOCK = struct.Struct("<BBIII")


class Wrong(Exception):
    """Something at an offset of the file is not as it must be."""

    def __init__(self, text, offset):
        super().__init__("at offset %d: %s" % (offset, text))


class Cursor:
    """Reads `data` and never behind its end. place(text, at) makes an error of the file."""

    def __init__(self, data, place=Wrong, at=0, end=None):
        self.data, self.place, self.at = data, place, at
        self.end = len(data) if end is None else end

    def wrong(self, text, at=None):
        return self.place(text, self.at if at is None else at)

    def left(self):
        return self.end - self.at

    def take(self, size, what):
        if size > self.left():
            raise self.wrong("%s: %d bytes wanted, %d left" % (what, size, self.left()))
        self.at += size
        return bytes(self.data[self.at - size:self.at])

    def int(self, size, what, order="little", signed=False):
        return int.from_bytes(self.take(size, what), order, signed=signed)

    def text(self, size, what):
        at = self.at
        try:
            return self.take(size, what).decode("utf-8")
        except UnicodeDecodeError:
            raise self.wrong("%s: not UTF-8" % what, at) from None

    def done(self, what):
        if self.left():
            raise self.wrong("%s: %d bytes are left" % (what, self.left()))


def crc32(*parts):
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


# ---------------------------------------------------------------- LZ4

def run_length(source, length, at):
    if length == 15:
        while source[at] == 255:
            length, at = length + 255, at + 1
        length, at = length + source[at], at + 1
    return length, at


def lz4(source, size, place):
    """The content of a bare LZ4 block, which has exactly `size` bytes."""
    out, at = bytearray(), 0
    try:
        while True:
            token = source[at]
            length, at = run_length(source, token >> 4, at + 1)
            if length > min(len(source) - at, size - len(out)):
                raise place("LZ4: literals are too long", at)
            out += source[at:at + length]
            at += length
            if at == len(source):                       # the last sequence has no match
                break
            offset = source[at] | source[at + 1] << 8
            length, at = run_length(source, token & 15, at + 2)
            length += 4
            if not 0 < offset <= len(out) or length > size - len(out):
                raise place("LZ4: match of %d bytes, %d back, does not fit" % (length, offset), at)
            piece = bytes(out[len(out) - offset:len(out) - offset + length])
            out += (piece * (length // offset + 1))[:length]    # it may overlap what it makes
    except IndexError:
        raise place("LZ4: it ends inside a sequence", len(source)) from None
    if len(out) != size:
        raise place("LZ4: %d bytes instead of the %d said" % (len(out), size), at)
    return bytes(out)


# ---------------------------------------------------------------- XXH3-128, seed 0

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MX1, MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
WORD = [int.from_bytes(SECRET[i:i + 8], "little") for i in range(len(SECRET) - 7)]   # WORD[i]: at byte i
STRIPE_KEYS = [struct.unpack_from("<8Q", SECRET, 8 * i) for i in range(16)]
LAST_KEY = struct.unpack_from("<8Q", SECRET, 192 - 64 - 7)
SCRAMBLE_KEY = struct.unpack_from("<8Q", SECRET, 192 - 64)


def fold(a, b):
    product = a * b
    return (product & M64) ^ (product >> 64)


def avalanche(h):
    h = ((h ^ h >> 37) * MX1) & M64
    return h ^ h >> 32


def xxh3_128(data):
    """At least 4 bytes: what is hashed here begins with a length of 8."""
    n = len(data)

    def at(i):
        return int.from_bytes(data[i:i + 8], "little")

    if n <= 8:
        both = int.from_bytes(data[:4], "little") | int.from_bytes(data[-4:], "little") << 32
        product = (both ^ WORD[16] ^ WORD[24]) * (P64_1 + (n << 2))
        low, high = product & M64, product >> 64
        high = (high + (low << 1)) & M64
        low ^= high >> 3
        low = ((low ^ low >> 35) * MX2) & M64
        return avalanche(high) << 64 | (low ^ low >> 28)
    if n <= 16:
        low, high = at(0), at(n - 8)
        product = (low ^ high ^ WORD[32] ^ WORD[40]) * P64_1
        high ^= WORD[48] ^ WORD[56]
        low = ((product & M64) + ((n - 1) << 54)) & M64
        high = ((product >> 64) + high + (high & M32) * (P32_2 - 1)) & M64
        low ^= int.from_bytes(high.to_bytes(8, "little"), "big")
        product = low * P64_2
        high = ((product >> 64) + high * P64_2) & M64
        return avalanche(high) << 64 | avalanche(product & M64)
    if n <= 240:
        low, high = (n * P64_1) & M64, 0

        def mix(one, two, key):
            nonlocal low, high
            a, b, c, d = at(one), at(one + 8), at(two), at(two + 8)
            low = (low + fold(a ^ WORD[key], b ^ WORD[key + 8])) & M64 ^ (c + d) & M64
            high = (high + fold(c ^ WORD[key + 16], d ^ WORD[key + 24])) & M64 ^ (a + b) & M64

        if n <= 128:
            for i in range((n - 1) // 32, -1, -1):
                mix(16 * i, n - 16 * (i + 1), 32 * i)
        else:
            for i in range(0, 128, 32):
                mix(i, i + 16, i)
            low, high = avalanche(low), avalanche(high)
            for i in range(128, n - 31, 32):
                mix(i, i + 16, 3 + i - 128)
            mix(n - 16, n - 32, 136 - 17 - 16)
        last = (low * P64_1 + high * P64_4 + n * P64_2) & M64
        return (-avalanche(last) & M64) << 64 | avalanche((low + high) & M64)

    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]

    def stripe(offset, key):
        words = struct.unpack_from("<8Q", data, offset)
        for i in range(8):
            mixed = words[i] ^ key[i]
            acc[i] = (acc[i] + words[i ^ 1] + (mixed & M32) * (mixed >> 32)) & M64

    for i in range((n - 1) // 64):
        stripe(64 * i, STRIPE_KEYS[i % 16])
        if i % 16 == 15:
            for j in range(8):
                acc[j] = ((acc[j] ^ acc[j] >> 47 ^ SCRAMBLE_KEY[j]) * P32_1) & M64
    stripe(n - 64, LAST_KEY)

    def merge(key, start):
        for i in range(0, 8, 2):
            start += fold(acc[i] ^ WORD[key + 8 * i], acc[i + 1] ^ WORD[key + 8 * i + 8])
        return avalanche(start & M64)

    return merge(192 - 64 - 11, ~(n * P64_2) & M64) << 64 | merge(11, (n * P64_1) & M64)


# ---------------------------------------------------------------- numbers in JSON

def number(n):
    """A number of at most 64 bits, otherwise decimal text."""
    if -(1 << 63) <= n < 1 << 64:
        return n
    context = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)

    def convert(n, bits):                               # in halves: str() is slow, and refuses long ones
        if bits <= 4096:
            return decimal.Decimal(n)
        half = bits >> 1
        high, low = convert(n >> half, bits - half), convert(n & (1 << half) - 1, half)
        return context.fma(high, context.power(decimal.Decimal(2), half), low)

    return "-" * (n < 0) + format(convert(abs(n), n.bit_length()), "f")


def real(x):
    if x != x:
        return "NaN"
    return ("-Infinity" if x < 0 else "Infinity") if x in (float("inf"), float("-inf")) else x


# ---------------------------------------------------------------- postcard: each reads (cursor, what)

def varint(c, what, bits=64):
    at, value = c.at, 0
    for shift in range(0, bits, 7):
        byte = c.int(1, what)
        value |= (byte & 127) << shift
        if byte < 128 and value >> bits == 0:
            return value
    raise c.wrong("%s: number of more than %d bits" % (what, bits), at)


def u8(c, what):
    return c.int(1, what)


def u32(c, what):
    return varint(c, what, 32)


def u64(c, what):
    return varint(c, what, 64)


def u128(c, what):
    return str(varint(c, what, 128))


def i64(c, what):
    value = varint(c, what, 64)
    return value >> 1 ^ -(value & 1)


def boolean(c, what):
    value = c.int(1, what)
    if value > 1:
        raise c.wrong("%s: %d is neither 0 nor 1" % (what, value), c.at - 1)
    return value == 1


def f32(c, what):
    return real(struct.unpack("<f", c.take(4, what))[0])


def f64(c, what):
    return real(struct.unpack("<d", c.take(8, what))[0])


def text(c, what):
    return c.text(varint(c, what), what)


def option(read):
    return lambda c, what: read(c, what) if boolean(c, what) else None


def list_of(read):
    def read_list(c, what):
        count = varint(c, what)
        if count > c.left():                            # each has at least a byte
            raise c.wrong("%s: %d elements in %d bytes" % (what, count, c.left()))
        return [read(c, what) for _ in range(count)]
    return read_list


def fields(**readers):
    return lambda c, what: {name: read(c, what + "." + name) for name, read in readers.items()}


SCHEMA_INFO = fields(
    version=u32, created_at=i64, last_migration=option(i64), migrations_applied=list_of(fields(
        from_version=u32, to_version=u32, applied_at=i64, duration_ms=u64, success=boolean)))
PEER = fields(
    peer_id=text, addresses=list_of(text), last_seen=i64, avg_latency_ms=option(u32), connection_count=u32,
    is_bootstrap=boolean, reputation=u8, protocol_version=option(text), capabilities=option(list_of(text)),
    first_seen=option(i64), last_failure=option(i64), failure_count=u32)
METRICS = fields(
    total_requests=u64, successful_requests=u64, error_count=u64, avg_latency_ms=u32, peer_count=u64,
    quality_score=f64, uptime_secs=u64, cpu_usage=option(f32), memory_usage=option(f32),
    network_bytes_sent=option(u64), network_bytes_received=option(u64))
EPOCH = fields(
    epoch=u64, start_time=i64, end_time=i64, total_emission=u128, our_reward=u128, quality_score=f64,
    participated=boolean, streak=u32)
CLAIM = fields(epoch=u64, amount=u128, claimed_at=i64, tx_hash=option(text), claimant=text)
AUDIT_ENTRY = fields(timestamp=i64, tree=text, operation=text, details=option(text))


def audit_entry(c, what):
    """The entry, then its place in the chain, which one that is not chained yet has not."""
    value = AUDIT_ENTRY(c, what)
    chained = c.left() > 0
    value["number"] = c.int(8, "number in the chain", "big") if chained else None
    value["hash"] = c.take(32, "hash in the chain").hex() if chained else None
    return value


# ---------------------------------------------------------------- CBOR

BREAK = object()


def cbor(c, what, depth=0, may_break=False):
    """One item as its JSON equivalent, or BREAK."""
    start = c.at
    first = c.int(1, what)
    major, info = first >> 5, first & 31
    if depth > MAX_DEPTH:
        raise c.wrong("CBOR is nested deeper than %d" % MAX_DEPTH, start)
    if 28 <= info <= 30 or info == 31 and (major in (0, 1, 6) or major == 7 and not may_break):
        raise c.wrong("CBOR: byte %02x has no meaning here" % first, start)
    if info == 31:
        size = None
    else:
        size = info if info < 24 else c.int(1 << info - 24, what, "big")
    if major == 0:
        return size
    if major == 1:
        return number(-1 - size)
    if major in (2, 3):
        whole = cbor_string(c, what, major, size)
        return list(whole) if major == 2 else whole
    if major == 4:
        return list(cbor_items(c, what, depth, size, False))
    if major == 5:
        flat = list(cbor_items(c, what, depth, size and 2 * size, True))
        keys, values = flat[::2], flat[1::2]
        names = {k if isinstance(k, str) else json.dumps(k) for k in keys if not isinstance(k, (list, dict))}
        if len(names) < len(keys):                      # no JSON object has such keys
            return [[k, v] for k, v in zip(keys, values)]
        return {k if isinstance(k, str) else json.dumps(k): v for k, v in zip(keys, values)}
    if major == 6:
        if size not in (2, 3):                          # of other tags only what they tag
            return cbor(c, what, depth + 1)
        at, first = c.at, c.int(1, what)                # a big number is in a byte string
        if first >> 5 != 2 or 28 <= first & 31 <= 30:
            raise c.wrong("CBOR: big number is not in a byte string", at)
        c.at = at
        n = int.from_bytes(bytes(cbor(c, what, depth + 1)), "big")
        return number(n if size == 2 else -1 - n)
    if info == 31:
        return BREAK
    if info > 24:
        return real(struct.unpack(">" + "efd"[info - 25], c.data[c.at - (1 << info - 24):c.at])[0])
    if info == 24 and size < 32:
        raise c.wrong("CBOR: simple value %d in two bytes" % size, start)
    return {20: False, 21: True}.get(size)              # null, undefined, and those without a meaning


def cbor_items(c, what, depth, count, pairs):
    """The items of an array or a map (a key, a value, ...), to its break if count is None."""
    done = 0
    while count is None or done < count:
        item = cbor(c, what, depth + 1, count is None and not (pairs and done % 2))
        if item is BREAK:
            return
        yield item
        done += 1


def cbor_string(c, what, major, size):
    read, pieces = (c.take if major == 2 else c.text), []
    if size is not None:
        return read(size, what)
    while True:                                         # pieces of the same kind up to a break
        at, first = c.at, c.int(1, what)
        info = first & 31
        if first == 255:
            return (b"" if major == 2 else "").join(pieces)
        if first >> 5 != major or info > 27:
            raise c.wrong("CBOR: byte %02x has no meaning in a string" % first, at)
        pieces.append(read(info if info < 24 else c.int(1 << info - 24, what, "big"), what))


# ---------------------------------------------------------------- values

# tree: (encodings, record version, decoder or None); a key of `schema` has its own
KINDS = {
    "identity": ((RAW, SEALED), 2, None), "secrets": ((RAW, SEALED), 2, None),
    "peers": ((POSTCARD,), 2, PEER), "metrics": ((POSTCARD,), 2, METRICS), "epochs": ((POSTCARD,), 2, EPOCH),
    "claims": ((POSTCARD,), 2, CLAIM), "audit_log": ((POSTCARD,), 2, audit_entry),
    "config": ((CBOR, BINCODE), 2, cbor),               # nothing says of which type what is bincode is
    b"__schema_version__": ((POSTCARD,), 2, SCHEMA_INFO), b"__origin__": ((POSTCARD,), 2, None),
    b"__migration__": ((POSTCARD,), 1, None), b"__audit_head__": ((RAW,), 2, None),
    b"__keyring__": ((RAW,), 2, None), b"__secrets_manifest__": ((RAW,), 2, None),
    b"__purge_needed__": ((RAW,), 2, None), b"__redacted__": ((RAW,), 2, None),
}
UNKNOWN = (range(SEALED + 1), None, None)


def check_key(tree, key, wrong):
    if tree in ("peers", "config", "secrets"):
        try:
            good = 1 <= len(key) <= 1024 and key.decode("utf-8")
        except UnicodeDecodeError:
            good = False
    elif tree in ("metrics", "audit_log"):
        good = len(key) == 8 and key[0] < 128           # a time, not negative
    else:
        good = tree in ("schema", "identity") or len(key) == 8
    if not good:
        raise wrong("key of %d bytes is none of tree %s" % (len(key), tree), 0)


def open_value(tree_number, key, frame, place):
    """Checks a key and a value frame. Gives [] or, where FORMAT.md says how to decode it, [what it is]."""
    tree = TREES[tree_number]
    check_key(tree, key, place)
    encodings, record_version, decode = KINDS.get(key, UNKNOWN) if tree == "schema" else KINDS[tree]
    c = Cursor(frame, place)
    tag, version, crc = c.int(1, "tag"), c.int(1, "record version"), c.int(4, "frame's CRC")
    if crc != crc32(struct.pack("<BI", tree_number, len(key)), key, frame[:2], frame[6:]):
        raise place("CRC of the value frame is wrong", 2)
    encoding = tag >> 1 & 15
    if tag >> 5 != 1 or encoding not in encodings:
        raise place("frame of version %d, encoding %d in tree %s" % (tag >> 5, encoding, tree), 0)
    if record_version not in (None, version):
        raise place("record version %d is not known" % version, 1)
    size = c.int(4, "length of the plain body") if tag & 1 else len(frame) - 6
    if size > (MAX_SECRET_BODY if tree == "secrets" else MAX_BODY):
        raise place("body of %d bytes is too long" % size, 6)
    if tag & 1:
        body = Cursor(lz4(frame[10:], size, lambda text, at: place(text, 10 + at)),
                      lambda text, at: place("%s (byte %d of the plain body)" % (text, at), 6))
    else:
        body = Cursor(frame, place, 6)
    if decode is None or encoding == BINCODE:
        return []
    value = decode(body, tree)
    body.done("record")
    return [value]


# ---------------------------------------------------------------- the file

class Backup:
    def __init__(self, data):
        self.data = data
        self.read_header()
        self.read_trailer()
        self.read_index()
        self.framed = self.header["schema"] >= SCHEMA

    def read_header(self):
        if self.data[:8] != b"NONOSCKP":
            raise Wrong("not a backup: it does not begin with NONOSCKP", 0)
        c = Cursor(self.data, at=8)
        if c.int(4, "version") != 1:
            raise Wrong("version of the file is not known", 8)
        self.header = {
            "store_id": c.take(16, "store id").hex(), "term": c.int(8, "term"), "schema": c.int(4, "schema"),
            "commit": c.int(8, "commit"), "created_at": c.int(8, "created at", signed=True)}
        at, size = c.at, c.int(4, "program length")
        if size > MAX_PROGRAM:
            raise Wrong("program of %d bytes is too long" % size, at)
        program = Cursor(self.data, at=c.at)
        c.take(size, "program")
        at = c.at
        if c.int(4, "header's CRC") != crc32(self.data[:at]):
            raise Wrong("CRC of the header is wrong", at)
        self.header["program"] = program.text(size, "program")
        if self.header["schema"] > SCHEMA:
            raise Wrong("schema %d is not known" % self.header["schema"], 36)
        self.first_block = c.at

    def read_trailer(self):
        self.trailer = len(self.data) - TRAILER.size
        if self.trailer < self.first_block or self.data[-8:] != b"NONOSEND":
            raise Wrong("it does not end with NONOSEND: cut off, or something follows", max(0, len(self.data) - 8))
        self.index, size, self.hash, _ = TRAILER.unpack_from(self.data, self.trailer)
        if self.index < self.first_block or self.index + size != self.trailer:
            raise Wrong("index at %d of %d bytes does not fit" % (self.index, size), self.trailer)

    def read_index(self):
        c = Cursor(self.data, Wrong, self.index, self.trailer - 4)
        crc = Cursor(self.data, Wrong, max(self.index, c.end), self.trailer)
        if crc.int(4, "index's CRC") != crc32(self.data[self.index:c.end]):
            raise Wrong("CRC of the index is wrong", c.end)
        self.blocks, self.trees = [], []
        for _ in range(c.int(4, "number of blocks")):   # ends with the bytes of the index at the latest
            entry = c.at
            offset, tree = c.int(8, "block's offset"), c.int(1, "block's tree")
            self.blocks.append((entry, offset, tree, c.take(c.int(4, "first key's length"), "first key")))
        if c.int(1, "number of trees") != ALL_TREES:
            raise Wrong("number of trees is not %d" % ALL_TREES, c.at - 1)
        for _ in range(ALL_TREES):
            self.trees.append((c.at, c.int(8, "tree's records"), c.int(16, "tree's digest")))
        c.done("index")
        self.header["records"] = {name: tree[1] for name, tree in zip(TREES, self.trees)}

    def read_block(self, at, entry, tree, first_key):
        """Checks all but the records of a block: (where it ends, how many it has, a cursor over them)."""
        c = Cursor(self.data, Wrong, at, self.index)
        prefix = c.take(BLOCK.size, "block")
        number, packed, count, plain, stored = BLOCK.unpack(prefix)
        crc, base = c.int(4, "block's CRC"), c.at
        content = c.take(stored, "what the block stores")
        if crc != crc32(prefix, content):
            raise Wrong("CRC of the block is wrong", at)
        if number != tree or number >= len(TREES):
            raise Wrong("block of tree %d, in the index of tree %d" % (number, tree), at)
        if packed > 1:
            raise Wrong("LZ4 of the block is neither 0 nor 1", at + 1)
        if count == 0:
            raise Wrong("block without records", at + 2)
        if plain > MAX_PLAIN or not packed and plain != stored:
            raise Wrong("plain length %d of the block cannot be" % plain, at + 6)
        if not packed:
            return c.at, count, Cursor(self.data, Wrong, base, c.at)
        content = lz4(content, plain, lambda text, where: Wrong(text, base + where))
        return c.at, count, Cursor(
            content, lambda text, where: Wrong("%s (byte %d of the plain block)" % (text, where), at))

    def records(self):
        """(tree's number, key, value, place of the value) of every record. Checks the blocks and the order."""
        at, last = self.first_block, (-1, b"")
        for entry, offset, tree, first_key in self.blocks:
            if offset != at:
                raise Wrong("the block begins at %d, in the index at %d" % (at, offset), entry)
            at, count, c = self.read_block(at, entry, tree, first_key)
            for i in range(count):
                start = c.at
                key = c.take(c.int(4, "key's length"), "key")
                if i == 0 and key != first_key:
                    raise Wrong("first key in the index is not that of the block", entry + 13)
                if (tree, key) <= last:
                    raise c.wrong("record is not behind the one before it", start)
                last = (tree, key)
                value = c.take(c.int(4, "value's length"), "value")
                base = c.at - len(value)
                yield tree, key, value, lambda text, where, c=c, base=base: c.wrong(text, base + where)
            c.done("block")
        if at != self.index:
            raise Wrong("the blocks end, the index begins at %d" % self.index, at)

    def check(self):
        """Reads everything, and compares it with the index and the trailer."""
        counts, digests = [0] * ALL_TREES, [0] * ALL_TREES
        for tree, key, value, place in self.records():
            counts[tree] += 1
            digests[tree] = (digests[tree] + xxh3_128(struct.pack("<Q", len(key)) + key + value)) % (1 << 128)
            if self.framed:
                open_value(tree, key, value, place)
        for tree, (at, count, digest) in enumerate(self.trees):
            if counts[tree] != count:
                raise Wrong("tree %d has %d records, not %d" % (tree, counts[tree], count), at)
            if digests[tree] != digest:
                raise Wrong("digest of tree %d is wrong" % tree, at + 8)
        hashed = self.trailer + 16
        if hashlib.blake2b(memoryview(self.data)[:hashed], digest_size=32).digest() != self.hash:
            raise Wrong("BLAKE2b-256 of the file is wrong", hashed)

    def lines(self):
        yield self.header
        for tree, key, value, place in self.records():
            line = {"tree": TREES[tree], "key": key.hex(), "stored": value.hex()}
            for decoded in open_value(tree, key, value, place) if self.framed else []:
                line["value"] = decoded
            yield line


def main(arguments):
    if len(arguments) != 1:
        sys.stderr.write("usage: python3 -I -S -B nonos_backup.py FILE\n")
        return 1
    sys.setrecursionlimit(10000)                        # for CBOR of MAX_DEPTH
    try:
        with open(arguments[0], "rb") as file:
            backup = Backup(file.read())
        backup.check()
        with open(1, "wb", closefd=False) as out:
            for line in backup.lines():
                out.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        return 0
    except (Wrong, OSError, MemoryError) as error:
        sys.stderr.write("nonos_backup: %s: %s\n" % (ascii(arguments[0]), ascii(str(error) or "no memory")[1:-1]))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
