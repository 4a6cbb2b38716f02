#!/usr/bin/env python3
"""A client of kvpaxos in another language, written from docs/PROTOCOL.md alone; the numbers are that page's sections.

It does one thing after the other, over TCP and UDP: a request that is not answered in time goes to the next replica
under the same name, so that a write runs once however often it was sent. See --help.
"""
import argparse
import itertools
import os
import random
import socket
import struct
import sys
import time

ATTEMPT_S = 0.5  # how long one replica is given before the next is asked
LABEL = b"client.py"
PUT, APPEND, DELETE = 1, 2, 3
NO_QUORUM, BUSY, SESSION_EXPIRED, NOT_SERVING, ASK_REPLICA, TOO_LARGE_FOR_DATAGRAM = 1, 2, 6, 9, 10, 12
FINAL = {3: "too large", 4: "empty key", 5: "store full", 11: "malformed"}  # what every copy is told
OF_THIS_COPY = {6: "session expired", 7: "closed", 8: "too many outstanding", 13: "disk full"}


class Refused(Exception):
    """The write was not done, and no copy of it will be."""


class NoAnswer(Exception):
    """The deadline passed, or the session was forgotten: whether a write ran is unknown."""


class Fields:
    """The fields of a message, one after the other (1)."""

    def __init__(self, data):
        self.data, self.kind = data[1:], data[0]

    def take(self, count):
        part, self.data = self.data[:count], self.data[count:]
        if len(part) < count:
            raise ValueError("the message is truncated")
        return part

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def optional(self):
        return self.number(1) if self.number(1) else None


class Tcp:
    """One connection (2): frames, which are a length and a message."""

    is_datagrams = False

    def __init__(self, host, port):
        self.tags = itertools.count(1)
        self.socket = socket.create_connection((host, port), ATTEMPT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(b"\x01KVPX" + struct.pack(">HH", 1, len(LABEL)) + LABEL)
        greeting = self.receive()
        if greeting.kind != 0x81 or greeting.take(6) != b"KVPX\0\x01":
            raise ConnectionError("not greeted")
        self.cluster, self.replica = greeting.number(8), greeting.number(1)

    def send(self, message):
        self.socket.settimeout(ATTEMPT_S + len(message) / 2e6)  # longer for large values (7)
        self.socket.sendall(struct.pack(">I", len(message)) + message)

    def receive_exactly(self, count):
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError("closed by the replica")
            data += part
        return bytes(data)

    def receive(self):
        return Fields(self.receive_exactly(int.from_bytes(self.receive_exactly(4), "big")))

    def ask(self, kind, rest):
        tag = next(self.tags)
        self.send(struct.pack(">BQ", kind, tag) + rest)
        while True:
            answer = self.receive()
            found = answer.number(8)
            if found == tag:
                return answer
            if found == 0:
                raise ConnectionError("refused by the replica")


class Udp:
    """A socket for one replica (8): one message a datagram, a cookie that proves our address."""

    is_datagrams = True

    def __init__(self, host, port):
        self.tags = itertools.count(random.getrandbits(63))
        family, _, _, _, self.address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self.socket, self.cookie = socket.socket(family, socket.SOCK_DGRAM), bytes(16)
        label = struct.pack(">H", len(LABEL)) + LABEL
        greeting = self.ask(0x06, label + bytes(128 - 23 - 9 - len(label)))
        self.cookie, self.cluster = greeting.take(16), greeting.number(8)

    def ask(self, kind, rest):
        for _ in range(3):  # more cookies than one mean that they do not come from where we send to
            tag = next(self.tags)
            datagram = b"KVPU\0\x01\0" + self.cookie + struct.pack(">BQ", kind, tag) + rest
            if len(datagram) > 65_507:  # as the replica would refuse it; the size that it names is not needed here
                return Fields(bytes([0x8F, 0, TOO_LARGE_FOR_DATAGRAM]))
            self.socket.sendto(datagram, self.address)
            answer = self.receive(tag)
            if answer.kind != 0x8A:
                return answer
            self.cookie = answer.take(16)  # it was not done: again, with this cookie
        raise ConnectionError("no cookie is accepted")

    def receive(self, tag):
        until = time.monotonic() + ATTEMPT_S
        while True:
            self.socket.settimeout(max(until - time.monotonic(), 0.001))
            datagram, sender = self.socket.recvfrom(65_535)
            if sender != self.address or datagram[:6] != b"KVPR\0\x01" or len(datagram) < 16:
                continue
            answer = Fields(datagram[7:])
            if answer.number(8) == tag:
                self.replica = datagram[6]
                return answer


class Client:
    """Requests that are repeated until they are answered (7), in a session (6)."""

    def __init__(self, endpoints, timeout_s=10.0):
        self.endpoints, self.timeout_s = endpoints, timeout_s  # (Tcp or Udp, host, port), ...
        self.lanes = [None] * len(endpoints)
        self.place, self.cluster, self.session, self.sequence = 0, 0, None, 0

    def get(self, key):
        """The value, or None."""
        answer = self.ask(0x04, struct.pack(">H", len(key)) + key)
        answer.number(8)
        return answer.take(answer.number(4)) if answer.kind == 0x86 else None

    def put(self, key, value):
        """The revision of this change."""
        return self.write(PUT, key, value).number(8)

    def append(self, key, value):
        """The length of the value after it."""
        answer = self.write(APPEND, key, value)
        answer.number(8)
        return answer.number(8)

    def delete(self, key):
        """Whether the key was there."""
        answer = self.write(DELETE, key, None)
        answer.number(8)
        return answer.number(1) == 1

    def write(self, operation, key, value):
        if self.session is None or time.monotonic() - self.used > self.expiry_s / 2:
            answer = self.ask(0x02, struct.pack(">Q", random.getrandbits(64)))
            self.session, self.expiry_s, self.sequence = answer.take(16), answer.number(4), 0
        self.used = time.monotonic()
        self.sequence += 1  # one write at a time: the floor is the number itself, and `after` is 0
        rest = self.session + struct.pack(">QQQBH", self.sequence, self.sequence, 0, operation, len(key)) + key
        return self.ask(0x03, rest if value is None else rest + struct.pack(">I", len(value)) + value)

    def ask(self, kind, rest):
        """Asks one replica after the other until one does it, refuses it for good, or the deadline has passed."""
        deadline, pause_s, may_run, why = time.monotonic() + self.timeout_s, 0.01, False, "nobody can be reached"
        while time.monotonic() < deadline:
            lane = None
            try:
                lane = self.lane()
                answer = lane.ask(kind, rest)
                answer.optional()  # who leads; only a hint
                if answer.kind != 0x8F:
                    return answer
                code = answer.number(1)
            except (OSError, ValueError) as error:
                may_run, why = may_run or lane is not None, str(error)
                self.lanes[self.place] = None
                self.move()
                time.sleep(pause_s)
                continue
            if code in FINAL:
                raise Refused(FINAL[code])
            if code in OF_THIS_COPY:
                self.session = None if code == SESSION_EXPIRED else self.session
                raise (NoAnswer if may_run and kind == 0x03 else Refused)(OF_THIS_COPY[code])
            named = answer.number(1) if code == ASK_REPLICA else None
            if code in (NO_QUORUM, ASK_REPLICA):
                may_run |= answer.number(1) == 1  # "proposed"
            # A datagram may arrive twice (8), and an unknown code is a lost answer (9).
            is_known = code in (NO_QUORUM, BUSY, NOT_SERVING, ASK_REPLICA)
            may_run |= code != TOO_LARGE_FOR_DATAGRAM and (lane.is_datagrams or not is_known)
            why = f"refusal {code}"
            if code == BUSY:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 0.5)
            self.move(named, over_tcp=code == TOO_LARGE_FOR_DATAGRAM)
        raise (NoAnswer if may_run and kind == 0x03 else Refused)(f"no answer in {self.timeout_s:g} s: {why}")

    def lane(self):
        """The connection to the replica that is asked, which is made where there is none."""
        if self.lanes[self.place] is None:
            transport, host, port = self.endpoints[self.place]
            lane = transport(host, port)
            if self.cluster and lane.cluster and lane.cluster != self.cluster:
                sys.exit("the endpoints belong to different clusters")
            self.cluster, self.lanes[self.place] = lane.cluster or self.cluster, lane
        return self.lanes[self.place]

    def move(self, named=None, over_tcp=False):
        """On to the replica with this id if it is known, else to the next endpoint."""
        count = len(self.endpoints)
        order = [(self.place + step) % count for step in range(1, count + 1)]
        order = [place for place in order if not over_tcp or self.endpoints[place][0] is Tcp]
        if not order:
            raise Refused("too large for a datagram, and no endpoint is tcp://")
        known = [place for place in order if self.lanes[place] and self.lanes[place].replica == named]
        self.place = (known or order)[0]


def endpoints_of(text, protocol):
    transports, found = {"tcp": Tcp, "udp": Udp}, []
    for part in text.split(","):
        scheme, _, rest = part.strip().rpartition("://")
        host, _, port = rest.rpartition(":")
        found.append((transports[scheme or protocol], host.strip("[]"), int(port)))
    return found


def main():
    parser = argparse.ArgumentParser(description="A client of kvpaxos in a page of Python.",
                                     epilog="Exit codes: 0 done, 1 key absent, 2 usage, 3 refused, 4 outcome unknown.")
    parser.add_argument("--endpoints", metavar="LIST", help="host:port,... or tcp://host:port,udp://host:port,...")
    parser.add_argument("--protocol", choices=["tcp", "udp"], default="tcp")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("command", choices=["put", "get", "append", "delete"])
    parser.add_argument("arguments", nargs="+", metavar="KEY [VALUE]")
    given = parser.parse_args()
    words = [os.fsencode(word) for word in given.arguments]
    if len(words) != (2 if given.command in ("put", "append") else 1):
        parser.error(f"{given.command} takes another number of arguments")
    base = {"tcp": 1111, "udp": 5555}[given.protocol]
    local = ",".join(f"127.0.0.1:{base + replica}" for replica in range(5))
    client = Client(endpoints_of(given.endpoints or local, given.protocol), given.timeout)
    try:
        found = getattr(client, given.command)(*words)
    except Refused as refusal:
        print(f"not done: {refusal}", file=sys.stderr)
        return 3
    except NoAnswer as error:
        print(f"{error}; whether it was done is unknown", file=sys.stderr)
        return 4
    if found is None or found is False:
        print("(absent)")
        return 1
    sys.stdout.buffer.write({"put": b"OK revision=%d", "append": b"OK length=%d"}[given.command] % found
                            if given.command in ("put", "append") else found if given.command == "get" else b"OK")
    print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
