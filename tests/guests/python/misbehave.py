"""What a collector must not be able to do. Each mode ends in an exception that nobody catches, or not at all."""

import encodings.idna  # Later than now nothing can be imported; a name look-up wants it.
import os
import socket
import subprocess
import sys
import time


def environment():
    raise RuntimeError(f"{len(os.environ)} variables, arguments {sys.argv[1:]}, standard input {sys.stdin.read()!r}")


def loop():
    while True:
        pass


def eat():
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def chatter():
    for line in range(1_000):
        print("line", line)
    raise RuntimeError("said it all")


MODES = {
    "raise": lambda: {}["nothing"],
    "loop": loop,
    "eat": eat,
    "chatter": chatter,
    "open": lambda: open("/etc/passwd").read(),
    "write": lambda: open("/tmp/x", "w").write("x"),
    "list": lambda: os.listdir("/"),
    "connect": lambda: socket.create_connection(("127.0.0.1", 22), timeout=1),
    "resolve": lambda: socket.getaddrinfo("localhost", 80),
    "listen": lambda: socket.create_server(("127.0.0.1", 0)),
    "spawn": lambda: subprocess.run(["id"]),
    "environment": environment,
    "exit": lambda: sys.exit(3),
    "sleep": lambda: time.sleep(3_600),
    "random": lambda: [os.urandom(1 << 24) for _ in range(1 << 16)],
}
