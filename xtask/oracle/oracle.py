#!/usr/bin/env python3
"""Independent oracle for the NSEC secret formats: stdlib + PyNaCl + argon2-cffi, no Rust involved.

    oracle.py fixtures DIR   write the deterministic text fixtures into DIR
    oracle.py serve          answer seal / seal2 / open / quit requests, one line each
"""
import hashlib, hmac, os, sys
import nacl.bindings as B
from nacl.exceptions import CryptoError
from argon2.low_level import Type, hash_secret_raw

# ---------------------------------------------------------------- primitives
MAX_DATA = 64 * 1024
KIND_PLAIN, KIND_SEALED, KIND_ANONYMOUS = 0, 1, 2


def le64(n): return n.to_bytes(8, "little")
def be64(n): return n.to_bytes(8, "big")
def lp(b): return le64(len(b)) + b


def h256(msg):
    return hashlib.blake2b(msg, digest_size=32).digest()


def mac(key, person, msg):
    """Keyed, personalized BLAKE2b-256. hashlib zero-pads the personalization to 16 bytes."""
    return hashlib.blake2b(msg, digest_size=32, key=key, person=person).digest()


# ---------------------------------------------------------------- keys (3.1)
def clamp(sk):
    s = bytearray(sk)
    s[0] &= 248
    s[31] = s[31] & 127 | 64
    return bytes(s)


def public_of(sk): return B.crypto_scalarmult_base(clamp(sk))
def auth_of(sk): return mac(clamp(sk), b"nsec1.auth", b"")
def kid_of(pk): return h256(b"nsec1.kid" + pk)[:8]


def context(store, tree, key, version):
    return h256(lp(b"nsec1.ctx") + lp(store) + lp(tree) + lp(key) + le64(version))


# ---------------------------------------------------------------- records (3.2)
def padme(n):
    """PADME length: only the top S bits of the mantissa of n may differ from zero."""
    if n < 2:
        return n
    e = n.bit_length() - 1                  # floor(log2 n)
    s = e.bit_length()                      # floor(log2 e) + 1
    low = (1 << (e - s)) - 1
    return (n + low) & ~low


def padded_len(n, padding):
    return {"none": n, "block64": n + -n % 64, "padme": padme(n)}[padding]


def seal_box(inner, pk, esk):
    """Sealed box. With esk: built by hand from its definition; without: libsodium's own."""
    if esk is None:
        return B.crypto_box_seal(inner, pk)
    epk = B.crypto_scalarmult_base(esk)
    nonce = hashlib.blake2b(epk + pk, digest_size=24).digest()
    return epk + B.crypto_box(inner, nonce, pk, esk)


def make_record(kind, pk, auth, store, tree, key, version, padding, data, esk=None):
    if len(data) > MAX_DATA:
        raise ValueError("too-large")
    if kind == KIND_ANONYMOUS:
        version = 0                         # in the header and in ctx
    ctx = context(store, tree, key, version)
    pad = bytes(padded_len(len(data), padding) - len(data))
    inner = b"\1" + ctx + len(data).to_bytes(4, "big") + data + pad
    rec = b"NSEC" + bytes([1, kind, 0, 0]) + kid_of(pk) + be64(version) + seal_box(inner, pk, esk)
    if kind == KIND_SEALED:
        rec += mac(auth, b"nsec1.tag", ctx + lp(rec))
    return rec


def open_record(sk, store, tree, key, rec):
    """(version, data), or ValueError(reason). Order: parse, key id, tag, box, ctx, length, padding."""
    def need(ok, reason):
        if not ok:
            raise ValueError(reason)

    need(rec[:4] == b"NSEC", "magic")
    need(len(rec) >= 24, "too-short")
    need(rec[4] == 1, "format-version")
    kind = rec[5]
    need(kind in (KIND_PLAIN, KIND_SEALED, KIND_ANONYMOUS), "kind")
    need(rec[6] == 0, "flags")
    need(rec[7] == 0, "reserved")
    need(kind != KIND_PLAIN, "plain")
    version = int.from_bytes(rec[16:24], "big")
    need(kind != KIND_ANONYMOUS or version == 0, "record-version")
    body_end = len(rec) - (32 if kind == KIND_SEALED else 0)
    need(body_end >= 24 + 48 + 37, "too-short")
    pk = public_of(sk)
    need(rec[8:16] == kid_of(pk), "key-id")
    ctx = context(store, tree, key, version)
    if kind == KIND_SEALED:                 # ctx, first check: inside the tag
        tag = mac(auth_of(sk), b"nsec1.tag", ctx + lp(rec[:body_end]))
        need(hmac.compare_digest(tag, rec[body_end:]), "tag")
    try:
        inner = B.crypto_box_seal_open(rec[24:body_end], pk, clamp(sk))
    except CryptoError:
        raise ValueError("box") from None
    need(inner[0] == 1, "inner-version")
    need(hmac.compare_digest(inner[1:33], ctx), "ctx")  # second check: inside the box
    n = int.from_bytes(inner[33:37], "big")
    need(n <= MAX_DATA and n <= len(inner) - 37, "length")
    need(not any(inner[37 + n:]), "padding")
    return version, inner[37:37 + n]


# ---------------------------------------------------------------- manifest (3.4)
def manifest(auth, counter, entries):
    """entries: (tree, key, value) triples. Returns (acc, 48-byte manifest)."""
    total = sum(int.from_bytes(mac(auth, b"nsec1.elem", lp(t) + lp(k) + lp(v)), "little")
                for t, k, v in entries)
    acc = (total % 2**256).to_bytes(32, "little")
    tag = mac(auth, b"nsec1.manifest", le64(counter) + le64(len(entries)) + acc)
    return acc, be64(counter) + be64(len(entries)) + tag


# ---------------------------------------------------------------- keyring (3.3, postcard)
def leb128(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def zigzag(i): return leb128(2 * i if i >= 0 else -2 * i - 1)


def key_entry(e):
    kid, pk, created = e
    return kid + pk + zigzag(created)


def keyring(auth, store, generation, active, state):
    """state: None for Active, or (from entry or None, started_at)."""
    body = store + leb128(generation) + key_entry(active)
    if state is None:
        body += leb128(0)
    else:
        old, started_at = state
        body += leb128(1) + (b"\0" if old is None else b"\1" + key_entry(old)) + zigzag(started_at)
    msg = b"NKRG\1" + body
    return msg + mac(auth, b"nsec1.keyring", msg)


# ---------------------------------------------------------------- audit chain (8)
def audit_start(store): return h256(b"nsec1.audit0" + store)


def audit_next(prev, seq, tree_key, entry):
    return h256(lp(b"nsec1.audit") + prev + le64(seq) + lp(tree_key) + lp(entry))


def audit_head_tag(auth, seq, h, first_seq, before):
    return mac(auth, b"nsec1.audithead", le64(seq) + h + le64(first_seq) + before)


# ---------------------------------------------------------------- key files (5)
def key_file(typ, pk, secret, store, created, passphrase=None, m=0, t=0, p=0, salt=b"", nonce=b""):
    head = ("nsec-key 1\n"
            f"type = {typ}\n"
            f"key-id = {kid_of(pk).hex()}\n"
            f"created = {created}\n"
            f"store-id = {store.hex() if store else 'none'}\n"
            f"public = {pk.hex()}\n")
    if passphrase is None:
        text = head + "protection = none\n"
        if typ != "public":
            text += f"secret = {secret.hex()}\n"
    else:
        text = head + ("protection = argon2id\n"
                       f"kdf = argon2id v=19 m={m} t={t} p={p} salt={salt.hex()}\n")
        raw = hash_secret_raw(passphrase.encode(), salt, time_cost=t, memory_cost=m, parallelism=p,
                              hash_len=32, type=Type.ID, version=19)
        wrap = mac(raw, b"nsec1.wrap", text.encode())
        sealed = B.crypto_secretbox(secret, nonce, wrap)   # tag, then ciphertext
        text += f"nonce = {nonce.hex()}\nsealed = {sealed.hex()}\n"
    check = h256(lp(b"nsec1.check") + text.encode())
    return (text + f"check = {check.hex()}\n").encode()


# ---------------------------------------------------------------- Curve25519 points
# Own affine arithmetic on the twisted Edwards form; slow and simple.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
A = 486662
D = -121665 * pow(121666, -1, P) % P
IDENTITY = (0, 1)


def inv(x): return pow(x, -1, P)


def sqrt(a):
    """A square root of a mod P, or None."""
    r = pow(a, (P + 3) // 8, P)
    if (r * r - a) % P:
        r = r * pow(2, (P - 1) // 4, P) % P
    return None if (r * r - a) % P else r


def ed_add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * inv(1 + k) % P, (y1 * y2 + x1 * x2) * inv(1 - k) % P


def ed_mul(n, pt):
    acc = IDENTITY
    for bit in bin(n)[2:]:
        acc = ed_add(acc, acc)
        if bit == "1":
            acc = ed_add(acc, pt)
    return acc


def on_curve(u): return sqrt((u**3 + A * u * u + u) % P) is not None    # else: on the twist


def to_edwards(u):
    """Edwards point of a Montgomery u on the curve (either sign of x)."""
    y = (u - 1) * inv(u + 1) % P
    return sqrt((y * y - 1) * inv(D * y * y + 1) % P), y


def to_montgomery(pt): return (1 + pt[1]) * inv(1 - pt[1]) % P


def bad_public(pk):
    """None if acceptable, else why not."""
    u = int.from_bytes(pk, "little")
    if u >= P:                              # covers the high bit too
        return "non-canonical"
    if not on_curve(u):
        return "twist"
    pt = to_edwards(u)
    if ed_mul(8, pt) == IDENTITY:
        return "small-order"
    return None if ed_mul(L, pt) == IDENTITY else "torsion"


# ---------------------------------------------------------------- fixtures
def rnd(label, n):
    """Deterministic bytes: the same label always gives the same bytes."""
    return hashlib.shake_256(b"nsec-oracle-1/" + label.encode()).digest(n)


def rnd_int(label, bits): return int.from_bytes(rnd(label, 32), "big") >> (256 - bits)
def hx(b): return b.hex() or "-"
def line(**f): return " ".join(f"{k}={hx(v) if isinstance(v, bytes) else v}" for k, v in f.items())


VECTOR_3_6 = (
    "4e534543010100008ad06ac367cf1c7a00000000000000070faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20d5e7be4ddc0dac19"
    "af4f4d6d669f19b3dbbc2c065fec7fe5f315a95a0b18eb94aaefa0174f273f2a3ebf32e55f4b184b63e2d55dc9598998e0fca8f12957c233184277c8c096d015"
    "7e869ace9271b5538c027604f14366d8c802a2a1bde19d1a74b231784db222e9ba72fdbc21623f481df10a19f5094c048b2d2d9bb00975433c50e531d6da04fa"
    "0377cad1981b36914d053c8c19")

BIG = 2**63 + 5


def record_line(kind, sk, store, tree, key, version, padding, data, esk):
    """data: bytes, or (fill byte, length) for the big ones."""
    fields = dict(kind=kind, sk=sk, store=store, tree=tree, key=key.encode(),
                  version=0 if kind == KIND_ANONYMOUS else version, padding=padding)
    if isinstance(data, tuple):
        fields["data_fill"] = f"{data[0]:02x}*{data[1]}"
        data = bytes([data[0]]) * data[1]
    else:
        fields["data"] = data
    rec = make_record(kind, public_of(sk), auth_of(sk), store, tree.encode(), key.encode(), version,
                      padding, data, esk)
    assert open_record(sk, store, tree.encode(), key.encode(), rec) == (fields["version"], data)
    fields["esk"] = esk
    if "data" in fields:
        fields["record"] = rec
    else:
        fields["record_sha256"] = hashlib.sha256(rec).digest()
        if len(data) == 4096:
            fields["record"] = rec
    return line(**fields)


def records_txt():
    out = ["# 3.2 records. Fields: kind sk store tree key version padding data|data_fill esk record|record_sha256",
           "# tree is text; key is the hex of the key name's UTF-8; esk is the ephemeral secret key of the sealed box.",
           "# data_fill=<byte>*<len>; record_sha256 = SHA-256 of the record (4096: with the record; longer: hash only).",
           "# The vector of section 3.6:"]
    out.append(record_line(1, b"\x11" * 32, bytes(range(16)), "secrets", "wallet_key", 7, "block64",
                           b"super_secret_key_material", b"\x22" * 32))
    assert out[-1].endswith(" record=" + VECTOR_3_6)

    def add(label, kind, tree, key, version, padding, data, sk=None, esk=None):
        out.append(record_line(kind, sk or rnd(label + "/sk", 32), rnd(label + "/store", 16), tree, key,
                               version, padding, data, esk or rnd(label + "/esk", 32)))

    def data(label, n):
        return (rnd(label + "/fill", 1)[0], n) if n >= 4096 else rnd(label + "/data", n)

    for kind in (1, 2):
        out.append(f"# kind {kind}: every length with every padding")
        for n in (0, 1, 63, 64, 65, 4096, 65536):
            for padding in ("none", "block64", "padme"):
                if kind == 2 and n == 4096 and padding != "block64":
                    continue                # one is enough, it is 8 KiB of text
                label = f"len/{kind}/{n}/{padding}"
                add(label, kind, "secrets", f"name-{n}-{padding}", 1 + rnd_int(label + "/ver", 20),
                    padding, data(label, n))
    out.append("# more lengths, for PADME")
    for n in (2, 3, 9, 17, 33, 100, 129, 1000, 5000, 50000, 65535):
        add(f"padme/{n}", 1, "secrets", f"padme-{n}", n, "padme", data(f"padme/{n}", n))
    out.append("# data that is, or ends in, zero bytes; the default padding near its upper end")
    add("zero/1", 1, "secrets", "zeros", 3, "block64", bytes(64))
    add("zero/2", 1, "secrets", "zeros", 4, "none", bytes(5))
    add("zero/3", 1, "secrets", "ends-in-zeros", 5, "block64", b"abc" + bytes(7))
    add("zero/4", 2, "secrets", "ends-in-zeros", 0, "padme", b"abc" + bytes(7))
    add("zero/5", 1, "secrets", "zeros", 6, "block64", (0, 4095 + 1))
    add("near/1", 1, "secrets", "near-max", 7, "block64", (0xA5, 65535))
    add("near/2", 1, "secrets", "near-max", 8, "none", (0xA5, 65535))
    out.append("# trees, key names, versions")
    names = [("identity", "encrypted_key"), ("identity", "node_id"), ("secrets", "k"),
             ("secrets", "Schl\u00fcssel"), ("secrets", "\u79d8\u5bc6\u306e\u9375"),
             ("identity", "\u043a\u043b\u044e\u0447 \U0001f511"), ("secrets", "with space/and:colon=\n"),
             ("secrets", "long-" * 60)]
    versions = [1, 2, 255, 256, BIG, 2**64 - 1, 0, 2**32]
    for i, ((tree, key), version) in enumerate(zip(names, versions)):
        add(f"name/1/{i}", 1, tree, key, version, "block64", rnd(f"name/1/{i}/data", 32))
        add(f"name/2/{i}", 2, tree, key, 0, "block64", rnd(f"name/2/{i}/data", 32))
    out.append("# one secret key, spelled unclamped and clamped (the two records of each kind are equal)")
    loose = bytearray(rnd("clamp/sk", 32))
    loose[0] |= 7
    loose[31] |= 128
    loose[31] &= 191
    loose = bytes(loose)
    for kind in (1, 2):
        for sk in (loose, clamp(loose)):
            add("clamp", kind, "secrets", "wallet_key", BIG, "block64", b"either spelling", sk=sk)
        a, b = (x.split(" record=")[1] for x in out[-2:])
        assert a == b and loose != clamp(loose)
    out.append("# the ephemeral key clamped as well")
    add("esk", 1, "secrets", "wallet_key", 9, "none", b"clamped esk", esk=clamp(rnd("esk/e", 32)))
    return out


def derived_txt():
    out = ["# 3.1. Fields: sk pk auth kid. The first four spell edge cases; two pairs spell the same key twice."]
    sks = [bytes(32), b"\xff" * 32, b"\x11" * 32, clamp(b"\xff" * 32)]
    sks += [rnd(f"derived/{i}", 32) for i in range(16)] + [clamp(rnd("derived/0", 32))]
    for sk in sks:
        pk = public_of(sk)
        out.append(line(sk=sk, pk=pk, auth=auth_of(sk), kid=kid_of(pk)))
    return out


def manifest_txt():
    out = ["# 3.4. Fields: auth counter entries acc manifest. entries = tree:keyhex:valuehex joined by ','; '-' if none.",
           "# Values are kind-1 records under the same auth (version = 1, 2, ..), except identity/node_id (32 plain bytes).",
           "# Vectors 5 and 6 hold the same entries in another order. acc is little-endian."]
    sk, store = rnd("manifest/sk", 32), rnd("manifest/store", 16)
    pk, auth = public_of(sk), auth_of(sk)

    def entry(tree, key, version):
        if key == "node_id":
            return tree.encode(), key.encode(), rnd("manifest/node_id", 32)
        value = make_record(1, pk, auth, store, tree.encode(), key.encode(), version, "none",
                            rnd(f"manifest/data/{version}", 5), rnd(f"manifest/esk/{version}", 32))
        return tree.encode(), key.encode(), value

    five = [entry("secrets", "wallet_key", 1), entry("identity", "encrypted_key", 2),
            entry("secrets", "api-\u00fc", 3), entry("identity", "node_id", 0), entry("secrets", "z", 5)]
    wrapped = False
    for counter, entries in [(0, []), (2**64 - 1, []), (1, five[:1]), (2, five[:2]), (5, five),
                             (5, five[::-1]), (BIG, five[1:3]), (6, [five[4]])]:
        acc, value = manifest(auth, counter, entries)
        elems = [int.from_bytes(mac(auth, b"nsec1.elem", lp(t) + lp(k) + lp(v)), "little") for t, k, v in entries]
        wrapped |= sum(elems) >= 2**256
        text = ",".join(f"{t.decode()}:{hx(k)}:{hx(v)}" for t, k, v in entries) or "-"
        out.append(line(auth=auth, counter=counter, entries=text, acc=acc, manifest=value))
    assert wrapped                          # at least one sum exceeds 2^256
    return out


def keyring_txt():
    out = ["# 3.3. Fields: auth store generation key_id public created_at state from_key_id from_public from_created_at",
           "# started_at keyring. state=active|rekeying; the from_ fields and started_at are '-' where absent",
           "# (rekeying with from '-' is enrolment from plaintext). Times are signed decimal."]
    T = 1_760_000_000

    def entry(name, created):
        pk = public_of(rnd(name, 32))
        return kid_of(pk), pk, created

    cases = [(0, 0, None), (1, T, None), (127, -1, None), (128, 63, None), (300, 64, None),
             (2**64 - 1, 2**63 - 1, None), (2, -2**63, None),
             (1, T, (None, T + 5)), (2, T, ("from", T + 7)), (BIG, T, ("from", -65))]
    for i, (generation, created, state) in enumerate(cases):
        name = f"keyring/{i}"
        auth, store, active = auth_of(rnd(name, 32)), rnd(name + "/store", 16), entry(name, created)
        old = entry(name + "/from", T - 1000 * i) if state and state[0] else None
        value = keyring(auth, store, generation, active, state and (old, state[1]))
        o = old or ("-", "-", "-")
        out.append(line(auth=auth, store=store, generation=generation, key_id=active[0], public=active[1],
                        created_at=active[2], state="rekeying" if state else "active", from_key_id=o[0],
                        from_public=o[1], from_created_at=o[2], started_at=state[1] if state else "-",
                        keyring=value))
    return out


def audit_txt():
    out = ["# 8. A line 'store start' opens a chain (start = h[-1]); its entries follow as 'seq key entry h', seq from 0;",
           "# then heads 'auth seq h first_seq before tag' (before = h[first_seq - 1]). key = i64 BE milliseconds."]
    for c, count in enumerate((8, 1)):
        store, auth = rnd(f"audit/{c}/store", 16), auth_of(rnd(f"audit/{c}/sk", 32))
        prev = audit_start(store)
        out.append(line(store=store, start=prev))
        hs = [prev]                         # hs[i + 1] = h[i]
        sizes = [0, 1, 60, 127, 128, 129, 300, 64]
        for seq in range(count):
            millis = [1_760_000_000_000, 1_760_000_000_001, 1_760_000_000_250][seq % 3] + 1000 * (seq // 3)
            if c == 1:
                millis = -1                 # before 1970: sign bit set in the key
            key = millis.to_bytes(8, "big", signed=True)
            data = rnd(f"audit/{c}/{seq}", sizes[seq])
            prev = audit_next(prev, seq, key, data)
            hs.append(prev)
            out.append(line(seq=seq, key=key, entry=data, h=prev))
        for seq, first in [(0, 0), (3, 0), (7, 0), (7, 4), (7, 7)]:
            if seq < count:
                out.append(line(auth=auth, seq=seq, h=hs[seq + 1], first_seq=first, before=hs[first],
                                tag=audit_head_tag(auth, seq, hs[seq + 1], first, hs[first])))
    out.append("# a head with big numbers, not from the chains above")
    h, before, auth = rnd("audit/h", 32), rnd("audit/before", 32), auth_of(rnd("audit/sk", 32))
    out.append(line(auth=auth, seq=2**64 - 1, h=h, first_seq=BIG, before=before,
                    tag=audit_head_tag(auth, 2**64 - 1, h, BIG, before)))
    return out


def key_files():
    """{file name: bytes} and the lines of keyfiles.txt."""
    files = {}
    out = ["# 5. Fields: file passphrase sk auth public type store created. passphrase = hex of its UTF-8 bytes, or '-'.",
           "# full: sk (as given, maybe unclamped) and the auth derived from it; writer: auth only; public: neither."]
    small, medium, default = (1024, 1, 1), (8192, 2, 4), (65536, 3, 4)
    cases = [("full-none", "full", True, None, None), ("full-none-nostore", "full", False, None, None),
             ("full-none-clamped", "full", True, None, None),
             ("writer-none", "writer", True, None, None), ("writer-none-nostore", "writer", False, None, None),
             ("public-none", "public", True, None, None), ("public-none-nostore", "public", False, None, None),
             ("full-argon-small", "full", True, "correct horse battery staple", small),
             ("full-argon-medium", "full", False, "Stra\u00dfe \u79d8\u5bc6 \U0001f511", medium),
             ("full-argon-default", "full", True, "orbit-lantern-quiet-mosaic-velvet-harbor", default),
             ("writer-argon-small", "writer", False, "x", small),
             ("writer-argon-medium", "writer", True, " leading and trailing ", medium)]
    for i, (name, typ, has_store, phrase, cost) in enumerate(cases):
        sk = rnd(f"keyfile/{name}", 32)
        if name.endswith("clamped"):
            sk = clamp(sk)
        pk, auth = public_of(sk), auth_of(sk)
        store = rnd(f"keyfile/{name}/store", 16) if has_store else None
        created = [1_760_000_000 + i, 0][i == 4]
        m, t, p = cost or (0, 0, 0)
        files[name + ".key"] = key_file(typ, pk, auth if typ == "writer" else sk, store, created, phrase, m, t, p,
                                        rnd(f"keyfile/{name}/salt", 16), rnd(f"keyfile/{name}/nonce", 24))
        out.append(line(file=name + ".key", passphrase=phrase.encode() if phrase else "-",
                        sk=sk if typ == "full" else "-", auth="-" if typ == "public" else auth,
                        public=pk, type=typ, store=store if store else "none", created=created))
    return files, out


def points_txt():
    out = ["# Public keys. Fields: public verdict why. ok = canonical, on the curve, not of small order, torsion-free."]

    def add(u, verdict, why):
        raw = u if isinstance(u, bytes) else u.to_bytes(32, "little")
        assert (bad_public(raw) is None) == (verdict == "ok"), (raw.hex(), why)
        out.append(line(public=raw, verdict=verdict, why=why))

    honest = [public_of(rnd(f"point/{i}", 32)) for i in range(20)]
    for pk in honest:
        add(pk, "ok", "honest")
    add(9, "ok", "base_point")
    # A generator of the 8-torsion: L * (any curve point) has an order dividing 8.
    u = 2
    while True:
        if on_curve(u):
            torsion = ed_mul(L, to_edwards(u))
            if ed_mul(4, torsion) != IDENTITY:
                break
        u += 1
    eighths = sorted({to_montgomery(ed_mul(k, torsion)) for k in (1, 3, 5, 7)})
    low = [(0, "order_2"), (1, "order_4"), (P - 1, "twist_order_4")] + [(e, "order_8") for e in eighths]
    for v, why in low:
        add(v, "bad", "low_" + why)
    for v, why in low:                      # v + P fits 255 bits only for v < 19
        if v + P < 2**255:
            add(v + P, "bad", f"low_{why}_plus_p")
    for v, why in low:
        add(v + 2**255, "bad", f"low_{why}_high_bit")
        if v + P < 2**255:
            add(v + P + 2**255, "bad", f"low_{why}_plus_p_high_bit")
    for pk in honest[:3]:
        add(int.from_bytes(pk, "little") | 1 << 255, "bad", "honest_high_bit")
    # P and P + 1 as such are the low_.._plus_p lines above; named once more, with their neighbours.
    for v, why in [(P, "p"), (P + 1, "p_plus_1"), (P + 2, "p_plus_2"), (P + 9, "base_point_plus_p"),
                   (2**255 - 1, "2^255-1"), (2**256 - 1, "2^256-1")]:
        add(v, "bad", "non_canonical_" + why)
    found, i = 0, 0
    while found < 10:
        u = rnd_int(f"twist/{i}", 255) % P
        i += 1
        if not on_curve(u):
            add(u, "bad", "twist")
            found += 1
    for i in range(10):                     # multiples 1..7 of the generator have order 8 4 8 2 8 4 8
        k = i % 7 + 1
        u = to_montgomery(ed_add(to_edwards(int.from_bytes(honest[i], "little")), ed_mul(k, torsion)))
        add(u, "bad", f"torsion_order_{[8, 4, 8, 2, 8, 4, 8][k - 1]}")
    return out


def identity_txt():
    out = ["# Ed25519 identities. Fields: seed public node_id. The first seed is RFC 8032 test 1."]
    seeds = [bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"), bytes(32), b"\xff" * 32]
    for seed in seeds + [rnd(f"identity/{i}", 32) for i in range(7)]:
        public, _ = B.crypto_sign_seed_keypair(seed)
        out.append(line(seed=seed, public=public, node_id=h256(b"nonos-node-id" + public)))
    return out


def fixtures(directory):
    os.makedirs(os.path.join(directory, "keyfiles"), exist_ok=True)

    def write(name, content):
        with open(os.path.join(directory, name), "wb") as f:
            f.write(content)

    files, lines = key_files()
    for name, content in files.items():
        write(os.path.join("keyfiles", name), content)
    texts = {"keyfiles.txt": lines, "records.txt": records_txt(), "derived.txt": derived_txt(),
             "manifest.txt": manifest_txt(), "keyring.txt": keyring_txt(), "audit.txt": audit_txt(),
             "points.txt": points_txt(), "identity.txt": identity_txt()}
    for name, lines in texts.items():
        write(name, ("\n".join(lines) + "\n").encode())


# ---------------------------------------------------------------- serve
def unhex(s, size=None):
    try:
        b = b"" if s == "-" else bytes.fromhex(s)
    except ValueError:
        raise ValueError("request: bad hex") from None
    if size is not None and len(b) != size:
        raise ValueError(f"request: want {size} bytes, got {len(b)}")
    return b


def answer(words):
    if words[0] in ("seal", "seal2") and len(words) == 8:
        cmd, k, store, tree, key, version, padding, data = words
        k, version = unhex(k, 32), int(version)
        if not 0 <= version < 2**64 or padding not in ("none", "block64", "padme"):
            raise ValueError("request: version or padding")
        if cmd == "seal":
            kind, pk, auth = KIND_SEALED, public_of(k), auth_of(k)
        else:
            kind, pk, auth = KIND_ANONYMOUS, k, None
            if bad_public(pk):
                raise ValueError(f"public-key {bad_public(pk)}")
        return make_record(kind, pk, auth, unhex(store, 16), tree.encode(), unhex(key), version, padding,
                           unhex(data)).hex()
    if words[0] == "open" and len(words) == 6:
        _, sk, store, tree, key, rec = words
        version, data = open_record(unhex(sk, 32), unhex(store, 16), tree.encode(), unhex(key), unhex(rec))
        return f"ok {version} {hx(data)}"
    raise ValueError("request: unknown command or wrong number of words")


def serve():
    sys.stdin.reconfigure(encoding="utf-8", errors="backslashreplace")
    for request in sys.stdin:
        words = request.split()
        if words == ["quit"]:
            break
        try:
            reply = answer(words or [""])
        except ValueError as e:             # includes bad requests
            reply = f"error {e}"
        print(reply, flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "fixtures":
        fixtures(sys.argv[2])
    elif len(sys.argv) == 2 and sys.argv[1] == "serve":
        serve()
    else:
        sys.exit(__doc__)
