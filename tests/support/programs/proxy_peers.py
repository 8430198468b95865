# SPDX-License-Identifier: MIT
#
# Drives one of the two proxies of examples/ with real connections: this process is the clients and the backend.
#
#   proxy_peers.py PROXY SOCKETS_SO
#
# SOCKETS_SO is loaded into the proxy and prints "sockets: N" on its standard error when it exits: how many sockets
# are open by then.
#
# Every wait ends when what it waits for is seen, or fails after WAIT_SECONDS.

import os
import re
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

WAIT_SECONDS = 60
program, sockets_library = sys.argv[1:]


class Proxy:
    """A running proxy, with a backend that listens in this process."""

    def __init__(self, *options, backend_port=None, files=None, backlog=512):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.listener.settimeout(WAIT_SECONDS)
        port = backend_port or self.listener.getsockname()[1]
        limit = None
        if files:
            limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        global running
        self.process = running = subprocess.Popen(
            [program, *options, f"127.0.0.1:{port}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit,
            env={**os.environ, "LD_PRELOAD": sockets_library})
        line = self.process.stdout.readline()
        if not line:
            fail(f"the proxy does not start: {self.process.stderr.read()}")
        self.port = int(line.rsplit(":", 1)[1])

    def client(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS)

    def accept(self):
        connection = self.listener.accept()[0]
        connection.settimeout(WAIT_SECONDS)
        return connection

    def pair(self):
        client = self.client()
        return client, self.accept()

    def end_line(self):
        """The next line that the proxy prints: how a session ended."""
        return self.process.stdout.readline().rstrip("\n")

    def stop(self):
        """SIGTERM: it has to exit with 0, without an open socket. Returns the lines of the sessions that it ended."""
        self.process.send_signal(signal.SIGTERM)
        try:
            out, err = self.process.communicate(timeout=WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            fail("the proxy does not end at SIGTERM")
        expect("exit status", self.process.returncode, 0)
        expect("sockets that it left open", err, "sockets: 0\n")
        self.listener.close()
        return out.splitlines()


def fail(text):
    print(f"FAILED: {os.path.basename(program)}: {case}: {text}", file=sys.stderr)
    if running:
        running.kill()
    os._exit(1)


def expect(what, got, wanted):
    if got != wanted:
        fail(f"{what}: got {got!r}, wanted {wanted!r}")


def expect_match(what, got, pattern):
    if not re.fullmatch(pattern, got):
        fail(f"{what}: got {got!r}, wanted {pattern}")


def receive_all(connection):
    """Everything until the other side sends no more. A reset counts as the end."""
    pieces = []
    try:
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    except ConnectionError:
        pass
    return b"".join(pieces)


def has_ended(connection):
    """Waits until the connection has been closed from the other side, whatever comes before."""
    receive_all(connection)
    connection.close()


def in_threads(*functions):
    """Runs them at once. Returns their results, or fails as the first of them."""
    results = [None] * len(functions)
    def run(i):
        try:
            results[i] = functions[i]()
        except BaseException as error:
            fail(f"{error!r}")
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def reset(connection):
    """Closes it so that the other side gets a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def send_until_broken(connection):
    """Sends until the other side is gone."""
    block = bytes(1 << 16)
    try:
        while True:
            connection.sendall(block)
    except TimeoutError:
        fail("the other side neither reads nor goes away")
    except ConnectionError:
        connection.close()


def descriptors(proxy):
    return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))


def await_descriptors(proxy, wanted, at_least=False):
    """Waits until so many are open: at most, or at least."""
    end = time.monotonic() + WAIT_SECONDS
    while descriptors(proxy) < wanted if at_least else descriptors(proxy) > wanted:
        if time.monotonic() > end:
            fail(f"{descriptors(proxy)} descriptors are open, not {wanted}")
        time.sleep(0.02)


# ---- the cases

def relays_both_ways_at_once():
    """Several megabytes each way, byte for byte, and both ends."""
    proxy = Proxy()
    client, backend = proxy.pair()
    up, down = os.urandom(6_000_001), os.urandom(5_000_003)
    def send(connection, data):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    _, _, got_up, got_down = in_threads(lambda: send(client, up), lambda: send(backend, down),
                                        lambda: receive_all(backend), lambda: receive_all(client))
    expect("the way up is the same", got_up == up, True)
    expect("the way down is the same", got_down == down, True)
    expect("end", proxy.end_line(), f"session 1: {len(up)} up, {len(down)} down, both sides closed")
    return proxy


def one_side_may_end_first():
    """The client sends no more and still gets the answer; then the same the other way round."""
    proxy = Proxy()
    client, backend = proxy.pair()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    expect("question", receive_all(backend), b"question")
    answer = os.urandom(2_000_000)
    in_threads(lambda: (backend.sendall(answer), backend.close()),
               lambda: expect("answer is the same", receive_all(client) == answer, True))
    expect("end", proxy.end_line(), "session 1: 8 up, 2000000 down, both sides closed")
    client, backend = proxy.pair()
    backend.sendall(b"greeting")
    backend.shutdown(socket.SHUT_WR)
    expect("greeting", receive_all(client), b"greeting")
    client.sendall(b"late")
    client.close()
    expect("late", receive_all(backend), b"late")
    expect("end", proxy.end_line(), "session 2: 4 up, 8 down, both sides closed")
    return proxy


def client_leaves_in_the_middle():
    """It closes with bytes unread while the backend sends: the backend's connection is closed, too."""
    proxy = Proxy()
    before = descriptors(proxy)
    client, backend = proxy.pair()
    backend.sendall(bytes(100_000))
    expect("a first byte", len(client.recv(1)), 1)
    client.close()
    send_until_broken(backend)
    expect_match("end", proxy.end_line(), r"session 1: 0 up, \d+ down, (Connection reset by peer|Broken pipe)")
    await_descriptors(proxy, before)
    return proxy


def client_is_reset_while_idle():
    """Nothing is on its way; the pending receives have to end."""
    proxy = Proxy()
    client, backend = proxy.pair()
    client.sendall(b"x")
    expect("a byte", backend.recv(1), b"x")
    reset(client)
    has_ended(backend)
    expect("end", proxy.end_line(), "session 1: 1 up, 0 down, Connection reset by peer")
    return proxy


def backend_fails():
    proxy = Proxy()
    client, backend = proxy.pair()
    client.sendall(b"x")
    expect("a byte", backend.recv(1), b"x")
    reset(backend)
    has_ended(client)
    expect("end", proxy.end_line(), "session 1: 1 up, 0 down, Connection reset by peer")
    return proxy


def backend_refuses():
    """Nobody listens on the port: the client is closed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = Proxy(backend_port=unused.getsockname()[1])
        has_ended(proxy.client())
        expect("end", proxy.end_line(), "session 1: 0 up, 0 down, Connection refused")
        return proxy


def backend_does_not_answer():
    """Its queue of connections is full: the connect stays pending until the idle time is over, or SIGTERM."""
    proxy = Proxy("--idle", "500", backlog=0)
    in_the_way = [socket.socket() for _ in range(8)] # the kernel takes one more than the backlog says
    for connection in in_the_way:
        connection.setblocking(False)
        connection.connect_ex(proxy.listener.getsockname())
    has_ended(proxy.client())
    expect("end", proxy.end_line(), "session 1: 0 up, 0 down, idle")
    patient = Proxy(backend_port=proxy.listener.getsockname()[1])
    before = descriptors(patient)
    client = patient.client()
    await_descriptors(patient, before + 2, at_least=True)
    lines = patient.stop()
    expect("sessions that SIGTERM ended", len(lines), 1)
    expect_match("end", lines[0], r"session 1: 0 up, 0 down, (the proxy ends|signal 15 \(Terminated\))")
    has_ended(client)
    return proxy


def idle_time_passes():
    """Not while bytes move; after that not before its time."""
    proxy = Proxy("--idle", "3000")
    begun = time.monotonic()
    client, backend = proxy.pair()
    moved = 0
    while time.monotonic() < begun + 3.5:
        client.sendall(b"x")
        expect("a byte", backend.recv(1), b"x")
        moved += 1
        last = time.monotonic()
        time.sleep(0.1)
    in_threads(lambda: has_ended(client), lambda: has_ended(backend))
    expect("idle time has passed", time.monotonic() - last >= 2.9, True)
    expect("end", proxy.end_line(), f"session 1: {moved} up, 0 down, idle")
    return proxy


def total_time_passes():
    """Although bytes move all the time."""
    proxy = Proxy("--total", "700")
    begun = time.monotonic()
    client, backend = proxy.pair()
    in_threads(lambda: send_until_broken(client), lambda: receive_all(backend))
    expect("total time has passed", time.monotonic() - begun >= 0.6, True)
    expect_match("end", proxy.end_line(), r"session 1: \d+ up, 0 down, total time is over")
    return proxy


def many_sessions():
    """200 at once. Half of them leave, the others end with the proxy."""
    proxy = Proxy()
    before = descriptors(proxy)
    pairs = [proxy.pair() for _ in range(200)]
    for i, (client, _) in enumerate(pairs):
        client.sendall(b"%3d" % i)
    # The backend's connections come in any order.
    for _, backend in pairs:
        text = backend.recv(3, socket.MSG_WAITALL)
        backend.sendall(text * 2)
    for i, (client, _) in enumerate(pairs):
        expect("the client's own answer", client.recv(6, socket.MSG_WAITALL), b"%3d" % i * 2)
    for client, _ in pairs[::2]:
        client.shutdown(socket.SHUT_WR)
    told = []
    with selectors.DefaultSelector() as selector:
        for _, backend in pairs:
            selector.register(backend, selectors.EVENT_READ)
        while len(told) < 100:
            ready = selector.select(WAIT_SECONDS)
            expect("something happens", bool(ready), True)
            for key, _ in ready:
                expect("the backend is told the end", key.fileobj.recv(1), b"")
                selector.unregister(key.fileobj)
                key.fileobj.close()
                told.append(key.fileobj)
    for _ in range(100):
        expect_match("end", proxy.end_line(), r"session \d+: 3 up, 6 down, both sides closed")
    await_descriptors(proxy, before + 200)
    lines = proxy.stop()
    expect("sessions that SIGTERM ended", len(lines), 100)
    for line in lines:
        expect_match("end at SIGTERM", line, r"session \d+: 3 up, 6 down, (the proxy ends|signal 15 \(Terminated\))")
    for client, _ in pairs:
        expect("the client is closed", receive_all(client), b"")
    for _, backend in pairs:
        if backend not in told:
            expect("the backend is closed", receive_all(backend), b"")


def sigterm_while_sends_wait():
    """Nobody reads: the proxy's sends are pending in both directions."""
    proxy = Proxy()
    client, backend = proxy.pair()
    for connection in client, backend:
        connection.settimeout(0.3) # nothing more fits when nothing could be sent for so long
        try:
            while True:
                connection.send(bytes(1 << 16))
        except TimeoutError:
            pass
    lines = proxy.stop()
    expect("sessions that SIGTERM ended", len(lines), 1)


def descriptors_run_short():
    """More clients than it has descriptors for: who is served is served well, and when they have left, others are."""
    proxy = Proxy(files=descriptors_needed + 6)
    client, backend = proxy.pair()
    others = [proxy.client() for _ in range(8)]
    client.sendall(b"a")
    expect("the first client is served", backend.recv(1), b"a")
    for connection in others:
        connection.close()
    client.close()
    expect("the first client has left", backend.recv(1), b"")
    backend.close()
    # Of the others some come to the backend, late and with nothing to say.
    last, text = proxy.client(), b""
    last.sendall(b"z")
    while text != b"z":
        backend = proxy.accept()
        text = receive_some(backend)
        if not text:
            backend.close()
    backend.sendall(b"Z")
    expect("the last client is served", last.recv(1), b"Z")
    proxy.stop()


def receive_some(connection):
    try:
        return connection.recv(1)
    except ConnectionError:
        return b""


cases = [relays_both_ways_at_once, one_side_may_end_first, client_leaves_in_the_middle, client_is_reset_while_idle,
         backend_fails, backend_refuses, backend_does_not_answer, idle_time_passes, total_time_passes, many_sessions,
         sigterm_while_sends_wait, descriptors_run_short]
running = None
case = "start"
idle_proxy = Proxy()
descriptors_needed = descriptors(idle_proxy)
idle_proxy.stop()
for function in cases:
    case = function.__name__
    proxy = function()
    if proxy:
        expect("sessions that SIGTERM ended", proxy.stop(), [])
print(f"{len(cases)} cases")
