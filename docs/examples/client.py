#!/usr/bin/env python3
"""A client of kvpaxos, written from docs/PROTOCOL.md alone; (n) is section n of that page.

Usage: client.py tcp://HOST:PORT,udp://HOST:PORT,... put|append|get|delete KEY [VALUE]
Exit codes: 0 done, 1 no such key, 2 usage, 3 not done, 4 no answer to a write that may have run.
"""
import errno, os, socket, struct, sys, time, urllib.parse

TIMEOUT_S = 10  # how long a request is repeated
OPEN_SESSION, WRITE, GET, GREETING, VALUE, COOKIE, REFUSED = 2, 3, 4, 0x81, 0x86, 0x8A, 0x8F
OPERATIONS = {"put": 1, "append": 2, "delete": 3}
NO_QUORUM, SESSION_EXPIRED, ASK_REPLICA, TOO_LARGE_FOR_DATAGRAM = 1, 6, 10, 12
REFUSALS = {1: "no quorum", 2: "busy", 3: "too large", 4: "empty key", 5: "store full",
            6: "session expired", 7: "closed", 8: "too many outstanding", 9: "not serving",
            10: "ask another", 11: "malformed", 12: "too large for UDP", 13: "disk full"}
OF_EVERY_COPY, OF_THIS_COPY = {3, 4, 5, 11}, {6, 7, 8, 13}  # refusals after which it ends (5)


class Failed(Exception):
    """Why there is no answer, and whether this was a write that may have run nevertheless."""


def over_tcp(address, message, patience_s):
    """Asks a replica on a connection (2), which it might keep; returns its id and its answer."""
    with socket.create_connection(address, timeout=0.5) as connection:
        connection.settimeout(patience_s + len(message) / 2e6)
        for part in b"\x01KVPX\0\x01" + b"\0\x09client.py", message:
            connection.sendall(struct.pack(">I", len(part)) + part)
        stream = connection.makefile("rb")
        while length := int.from_bytes(stream.read(4), "big"):
            answer = stream.read(length)
            if answer[0] == GREETING:
                replica = answer[15]
            elif answer[1:9] == message[1:9] and len(answer) == length:
                return replica, answer
    raise ConnectionError("closed by the replica")


def over_udp(address, message, patience_s):
    """Asks it in a datagram (8), and again with a cookie if one comes back."""
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(patience_s)
        datagrams.connect(address)  # so that nobody else is heard
        cookie = bytes(16)
        for _ in range(2):
            datagrams.send(b"KVPU\0\x01\0" + cookie + message)
            while (answer := datagrams.recv(65_535))[8:16] != message[1:9]:
                pass
            if answer[7] != COOKIE:
                return answer[6], answer[7:]
            cookie = answer[16:]
    raise ConnectionError("cookies are not accepted")


class Client:
    """Asks one replica after the other, under the same name, until one has done it (7)."""
    def __init__(self, endpoints):
        self.endpoints = [urllib.parse.urlsplit(endpoint) for endpoint in endpoints.split(",")]
        self.place, self.place_of, self.session = 0, {}, None  # who is asked; where each replica is

    def get(self, key):
        kind, fields = self.ask(GET, struct.pack(">H", len(key)) + key)
        return fields[12:] if kind == VALUE else None  # after revision and length

    def write(self, operation, key, value):
        """One at a time, so that each write is its own floor and comes after no other (6)."""
        if self.session is None:
            self.session, self.sequence = self.ask(OPEN_SESSION, os.urandom(8))[1][:16], 0
        self.sequence += 1
        name = self.session + struct.pack(">QQQ", self.sequence, self.sequence, 0)
        change = struct.pack(">BH", OPERATIONS[operation], len(key)) + key
        length = b"" if operation == "delete" else struct.pack(">I", len(value))
        _, fields = self.ask(WRITE, name + change + length + value)
        return b"OK" if operation != "delete" or fields[8] else None  # after the revision

    def ask(self, kind, fields):
        """The kind of the answer, and its fields after tag and leader (4)."""
        message = bytes([kind]) + os.urandom(8) + fields
        deadline, may_have_run, why = time.monotonic() + TIMEOUT_S, False, None
        while (left_s := deadline - time.monotonic()) > 0:
            time.sleep(0.02 if why else 0)
            patience_s = 0.5 if left_s > 0.7 * TIMEOUT_S else 6  # enough to hear "no quorum" (5)
            where = self.endpoints[self.place]
            exchange = over_udp if where.scheme == "udp" else over_tcp
            following = (self.place + 1) % len(self.endpoints)
            try:
                replica, answer = exchange((where.hostname, where.port), message, patience_s)
            except OSError as error:
                may_have_run |= error.errno not in (errno.ECONNREFUSED, errno.EMSGSIZE)
                why, self.place = why or error, following
                continue
            self.place_of[replica] = self.place
            rest = answer[11:] if answer[9] else answer[10:]
            if answer[0] != REFUSED:
                return answer[0], rest
            code, why = rest[0], REFUSALS.get(rest[0], "refused")
            self.session = None if code == SESSION_EXPIRED else self.session
            proposed = code in (NO_QUORUM, ASK_REPLICA) and rest[-1] == 1
            doubled = exchange is over_udp and code != TOO_LARGE_FOR_DATAGRAM  # as it may be (8)
            may_have_run |= proposed or doubled or code not in REFUSALS
            if code in OF_EVERY_COPY | OF_THIS_COPY:
                raise Failed(why, may_have_run and kind == WRITE and code in OF_THIS_COPY)
            self.place = self.place_of.get(rest[1], following) if code == ASK_REPLICA else following
        raise Failed(f"no answer in {TIMEOUT_S} s ({why})", may_have_run and kind == WRITE)


def main():
    if len(sys.argv) not in (4, 5) or sys.argv[2] not in ("get", *OPERATIONS):
        print(__doc__)
        return 2
    endpoints, command, *words = sys.argv[1:]
    key, value = [os.fsencode(word) for word in (words + [""])[:2]]
    client = Client(endpoints)
    try:
        found = client.get(key) if command == "get" else client.write(command, key, value)
    except Failed as failure:
        why, may_have_run = failure.args
        print(f"{why}; {'it may have run, once' if may_have_run else 'not done'}", file=sys.stderr)
        return 4 if may_have_run else 3
    sys.stdout.buffer.write(b"(absent)\n" if found is None else found + b"\n")
    return 1 if found is None else 0


if __name__ == "__main__":
    sys.exit(main())
