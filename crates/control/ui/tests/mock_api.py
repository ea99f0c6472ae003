#!/usr/bin/env python3
"""A stand-in for a running engine: the web page, and the API it uses, with made-up data.

For work on the page and for its test without an engine:

    crates/control/ui/tests/mock_api.py --port 8099
    crates/control/ui/tests/mock_api.py --port 8099 --flows 50000 --token secret --no-dns

Bodies are those of `crates/types/src/api`, member for member. Names are hostile on purpose: they
come from the guest. Only the standard library is used, and nothing here is ever shipped.
"""

import argparse
import datetime
import itertools
import json
import math
import mimetypes
import random
import re
import signal
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

STATIC = Path(__file__).resolve().parent.parent
HEADERS = {
    "Content-Security-Policy":
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# As an attacker in the guest would name what it looks up.
HOSTILE = [
    "<img src=x onerror=document.title='owned'>",
    "\"><script>document.title='owned'</script>",
    "\u202egnp.elif\u202c",
    "a" * 63 + "." + "b" * 63 + ".example",
]
NAMES = [
    "crates.example", "mirror.debian.example", "api.github.example", "registry.npm.example",
    "telemetry.vendor.example", "s3.eu-central-1.storage.example", None, None,
]
DROPS = {
    "source_address": 3.0, "egress_denied": 9.0, "no_flow": 5.0, "multicast": 2.0,
    "icmp_ignored": 1.0, "fragment_overlap": 0.4, "beyond_window": 0.3, "hop_limit": 0.2,
    "datagram_queue_full": 0.1,
}
TITLES = {
    "not-found": (404, "no such resource"), "method-not-allowed": (405, "not for this method"),
    "invalid-request": (400, "invalid request"), "unknown-port": (404, "no such port"),
    "invalid-specification": (400, "invalid publish specification"),
    "unauthorized": (401, "a token is needed"), "unknown-flow": (404, "no such flow"),
    "unknown-record": (404, "no such record"), "bind-failed": (409, "the port cannot be bound"),
    "unavailable": (409, "switched off in this engine"),
}
SPEC = re.compile(r"(?:(?P<host>(?:[\d.]+:|\[[0-9a-f:]+\]:)?\d+):)?(?P<guest>\d+)(?:/(?P<transport>tcp|udp))?")
PAST_SECONDS = 3600


class Problem(Exception):
    """An error of the API (RFC 9457)."""

    def __init__(self, kind, detail, help=None):
        super().__init__(detail)
        self.status, title = TITLES[kind]
        self.body = {"type": f"urn:portreeve:problem:{kind}", "title": title,
                     "status": self.status, "detail": detail}
        if help is not None:
            self.body["help"] = help


def timestamp(at):
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Flow:
    def __init__(self, engine, number, at):
        rng = engine.rng
        self.slot, self.opened = number, at
        self.id = f"{number}.{rng.randrange(9)}"
        self.from_host = rng.random() < 0.4
        self.protocol = rng.choices(["tcp", "udp", "echo"], [80, 18, 2])[0]
        if self.from_host and self.protocol == "echo":
            self.protocol = "tcp"
        self.phase = rng.choices(
            ["relaying", "dialing_host", "host_finished", "guest_finished"], [92, 3, 3, 2])[0]
        six = rng.random() < 0.3
        outside = (f"[2001:db8:{rng.randrange(65536):x}::{rng.randrange(65536):x}]" if six
                   else f"203.0.113.{rng.randrange(1, 255)}")
        self.guest = ("[fd77::2]" if six else "10.213.77.2") + f":{rng.randrange(1024, 65535)}"
        service = 0 if self.protocol == "echo" else rng.choice([443, 443, 443, 80, 22, 5432])
        self.remote = f"{outside}:{service}"
        self.port = 1 if rng.random() < 0.8 else 2
        self.name = None if self.from_host else rng.choice(NAMES)
        if number < len(HOSTILE):
            self.name, self.from_host, self.protocol = HOSTILE[number], False, "tcp"
        # A few flows carry nearly everything, as flows do.
        self.to_guest = rng.paretovariate(0.5) * 20
        self.from_guest = rng.paretovariate(0.6) * 10

    def info(self, now):
        age = now - self.opened
        info = {"id": self.id, "protocol": self.protocol,
                "origin": "host" if self.from_host else "guest"}
        if self.protocol == "tcp":
            info["phase"] = self.phase
        if self.from_host:
            info["port"] = self.port
            info["client"] = self.remote
        info["guest"] = self.guest
        if self.from_host:
            info["remote"] = "10.213.77.1:4000"
        elif self.protocol != "udp":
            info["remote"] = self.remote
        if self.name is not None:
            info["name"] = self.name
        info["opened"] = timestamp(self.opened)
        info["bytes_to_guest"] = int(min(self.to_guest, 5e6) * age)
        info["bytes_from_guest"] = int(min(self.from_guest, 2e6) * age)
        return info


class Engine:
    """State, changed by `tick` once each quarter second and by requests, under one lock."""

    def __init__(self, options):
        self.lock = threading.RLock()
        self.news = threading.Condition(self.lock)
        self.options = options
        self.rng = random.Random(1)
        self.started = time.time() - PAST_SECONDS - 7384
        self.numbers = itertools.count()
        now = time.time()
        self.flows = {}
        for _ in range(options.flows):
            self._open(now - self.rng.expovariate(1 / 600))
        self.ids = itertools.count(1)
        self.ports = []
        for spec in ["8080:80", "0.0.0.0:2222:22", "5353:53/udp"]:
            self.ports += self._parse(spec)
        self.ports[0]["name"] = "web"
        self.ports[-1].update(state="paused", cause="too many open files (EMFILE)")
        self.records = [
            {"name": "db.internal", "addresses": ["10.0.0.7", "fd00::7"], "ttl": 60},
            {"name": "cache.internal", "addresses": ["10.0.0.9"], "ttl": 300}]
        self.cache = [
            {"name": f"host-{n}.example", "type": "AAAA" if n % 3 == 0 else "A",
             "rcode": "NXDOMAIN" if n % 7 == 6 else "NOERROR", "ttl": 300 - n,
             "addresses": [] if n % 7 == 6 else
             [f"2001:db8::{n:x}" if n % 3 == 0 else f"203.0.113.{n % 250}"]} for n in range(230)]
        self.totals = {}
        self.drops = dict.fromkeys(DROPS, 0.0)
        self.backlog = deque(maxlen=4096)
        self.seq = 0
        self.past = deque(maxlen=PAST_SECONDS)
        for second in range(PAST_SECONDS):
            at = now - PAST_SECONDS + second
            self._count(at, 1.0)
            self.past.append({"at": at, "stats": self.stats()})
        for n in range(60):
            self._happen(now - 60 + n)

    # What goes on by itself.

    def tick(self):
        last = self.past[-1]["at"] + 1
        while True:
            time.sleep(0.25)
            now = time.time()
            with self.lock:
                self._count(now, now - last)
                self._happen(now)
                if now - self.past[-1]["at"] >= 1:
                    self.past.append({"at": now, "stats": self.stats()})
            last = now

    def _count(self, at, dt):
        wave = 1.7 + math.sin(at / 40) + 0.4 * math.sin(at / 7) + 0.3 * self.rng.random()
        burst = 6 if at % 210 < 18 else 1
        rates = {
            "bytes_to_guest": 9e6 * wave * burst, "bytes_from_guest": 2.5e6 * (1.4 + math.cos(at / 55)),
            "frames_to_guest": 2100 * wave * burst, "frames_from_guest": 1500 * (1.4 + math.cos(at / 55)),
            "opened": 42 * wave, "closed": 42 * wave, "refused": 0.8, "egress_refused": 3 * wave,
            "queries": 30 * wave, "hits": 19 * wave, "failed": 0.6, "busy": 0.07 * wave * burst ** 0.5,
            "datagrams": 60 * wave, "dialled": 25 * wave,
        }
        for key, rate in rates.items():
            self.totals[key] = self.totals.get(key, 0) + rate * dt
        for reason, rate in DROPS.items():
            if reason != "fragment_overlap" or at % 300 < 20:
                self.drops[reason] += rate * wave * dt * (5 if at % 130 < 12 else 1)

    def _open(self, at):
        number = next(self.numbers)
        flow = Flow(self, number, at)
        self.flows[flow.id] = flow
        return flow

    def _happen(self, now):
        rng = self.rng
        for _ in range(rng.randrange(3)):
            if len(self.flows) > len(HOSTILE) + 1:
                flow = self.flows[rng.choice(list(self.flows))]
                if flow.slot >= len(HOSTILE):
                    self._close(flow, rng.choice(["finished", "finished", "guest_reset", "idle"]), now)
                    flow = self._open(now)
                    self.emit("flow_opened", now, flow=flow.info(now))
        chance = rng.random()
        if chance < 0.1:
            self.emit("egress_refused", now, protocol="tcp", guest="10.213.77.2:41210",
                      destination="169.254.169.254:80", name=rng.choice(HOSTILE[:2]),
                      reason="metadata")
        elif chance < 0.16:
            self.emit("dropped", now, reason=rng.choice(list(DROPS)), count=rng.randrange(1, 400))
        elif chance < 0.2:
            self.emit("dns_denied", now, name=rng.choice(HOSTILE[:2]), type="A")
        elif chance < 0.23:
            self.emit("flow_refused", now, port=1, client="192.0.2.7:50111", reason="guest_refused")
        elif chance < 0.24:
            self.emit("limit_reached", now, limit="max_flows_per_port", port=2, count=12)
        elif chance < 0.25:
            self.emit("lease", now, protocol="dhcp4", address="10.213.77.2", change="given")

    def _close(self, flow, reason, now):
        del self.flows[flow.id]
        self.emit("flow_closed", now, flow=flow.info(now), reason=reason,
                  duration_us=int((now - flow.opened) * 1e6))

    def emit(self, kind, at=None, **body):
        at = time.time() if at is None else at
        with self.lock:
            self.seq += 1
            self.backlog.append({"seq": self.seq, "time": timestamp(at), "kind": kind, **body})
            self.news.notify_all()

    # What is asked for.

    def health(self):
        return {"status": "ok", "name": self.options.name, "pid": 4242, "mode": "run",
                "started": timestamp(self.started), "guest": True}

    def stats(self):
        total = {key: int(value) for key, value in self.totals.items()}
        traffic = {
            "frames_from_guest": total["frames_from_guest"], "bytes_from_guest": total["bytes_from_guest"],
            "frames_to_guest": total["frames_to_guest"], "bytes_to_guest": total["bytes_to_guest"],
            "datagrams_to_guest": total["datagrams"], "datagrams_from_guest": total["datagrams"]}
        active = int(len(self.flows) * (0.8 + 0.1 * math.sin(self.totals["busy"])))
        flows = {
            "active": active,
            "tcp_by_phase": {"dialing_host": active // 40, "guest_finished": active // 60,
                             "host_finished": active // 50, "relaying": active * 3 // 4},
            "udp_clients": active // 20, "mappings": active // 12, "dials": active // 40,
            "time_wait": 31, "opened": total["opened"], "closed": total["closed"],
            "refused": total["refused"], "egress_refused": total["egress_refused"]}
        bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
        def histogram(count, middle):
            share = [1 / (1 + math.exp(-2 * math.log(bound / middle))) for bound in bounds]
            return {"buckets": [{"le": le, "count": int(count * s)} for le, s in zip(bounds, share)],
                    "count": count, "sum": count * middle}
        stats = {
            "traffic": traffic, "flows": flows,
            "drops": [{"reason": r, "count": int(n)} for r, n in self.drops.items() if n >= 1],
            "dial_seconds": histogram(total["dialled"], 0.018),
            "guest_rtt_seconds": histogram(total["opened"] // 3, 0.0007)}
        if not self.options.no_dns:
            stats["dns"] = {
                "queries": total["queries"], "local": 12, "cache_hits": total["hits"],
                "answered": max(total["queries"] - total["hits"] - total["failed"] - 12, 0),
                "failed": total["failed"], "overflowed": 0, "denied": 40, "rejected": 3, "dropped": 0,
                "rebind_blocked": 2, "upstream_asks": total["queries"] - total["hits"],
                "upstream_timeouts": 7, "upstream_failures": 1}
        stats["driver"] = {
            "turns": total["frames_to_guest"] // 3, "busy_seconds": self.totals["busy"],
            "accepted": total["opened"] // 3, "accept_errors": 2, "link_errors": 0, "guests_gone": 0,
            "link_discarded": 0, "datagram_errors": 0, "open_sockets": active, "listeners": len(self.ports),
            "descriptor_limit": 1048576, "control_queue": 0, "datagram_queue_bytes": 0,
            "events_lost": 0, "captures": 0, "capture_lost": 0}
        return stats

    def flow_page(self, query):
        after = int(query.get("after", -1))
        limit = min(int(query.get("limit", 1000)), 1000)
        now = time.time()
        alive = sorted((f for f in self.flows.values() if f.slot > after), key=lambda f: f.slot)
        page, rest = alive[:limit], alive[limit:]
        flows = [flow.info(now) for flow in page]
        wanted = query.get("contains", "").lower()
        if wanted:
            keys = ("client", "guest", "remote", "target", "name")
            flows = [f for f in flows if any(wanted in f.get(key, "").lower() for key in keys)]
        for key in ("protocol", "origin", "phase"):
            if key in query:
                flows = [f for f in flows if f.get(key) == query[key]]
        body = {"flows": flows}
        if rest:
            body["next"] = page[-1].slot
        body["total"] = len(self.flows)
        return body

    def kill(self, name):
        flow = self.flows.get(name)
        if flow is None:
            raise Problem("unknown-flow", f"no flow {name}; it may have ended")
        self._close(flow, "killed", time.time())

    def port_list(self):
        for port in self.ports:
            port["counters"]["opened"] += self.rng.randrange(3)
            port["counters"]["bytes_to_guest"] += self.rng.randrange(90000)
            port["counters"]["bytes_from_guest"] += self.rng.randrange(900000)
        return {"ports": self.ports}

    def _parse(self, spec):
        match = SPEC.fullmatch(spec)
        if match is None:
            raise Problem("invalid-specification", f"`{spec}`: not a port",
                          "write HOST_PORT:GUEST_PORT, as in 8080:80, or 0:80 for any free host port")
        guest = int(match["guest"])
        address, _, number = (match["host"] or "0").rpartition(":")
        number = int(number) or self.rng.randrange(32768, 60999)
        hosts = [f"{address}:{number}"] if address else [f"127.0.0.1:{number}", f"[::1]:{number}"]
        return [{"id": next(self.ids), "transport": match["transport"] or "tcp", "guest_port": guest,
                 "host": {"inet": host}, "source": "gateway", "state": "listening",
                 "counters": dict.fromkeys(
                     ["flows", "opened", "refused", "bytes_to_guest", "bytes_from_guest"], 0)}
                for host in hosts]

    @staticmethod
    def _bare(port):
        return {key: value for key, value in port.items() if key not in ("state", "cause", "counters")}

    def publish(self, body):
        if not isinstance(body, dict) or not isinstance(body.get("spec"), str):
            raise Problem("invalid-request", "the body has no member `spec`")
        ports = self._parse(body["spec"])
        for port in ports:
            if any(other["host"] == port["host"] for other in self.ports):
                raise Problem("bind-failed", f"cannot listen on {port['host']['inet']}: address in use",
                              "publish it on another host port, or 0 for any free one")
        self.ports += ports
        for port in ports:
            self.emit("published", port=self._bare(port))
        return {"ports": [self._bare(port) for port in ports]}

    def unpublish(self, number):
        found = [port for port in self.ports if str(port["id"]) == number]
        if not found:
            raise Problem("unknown-port", f"no published port {number}")
        self.ports.remove(found[0])
        self.emit("unpublished", port=self._bare(found[0]))

    def dns_status(self):
        if self.options.no_dns:
            raise Problem("unavailable", "this engine was started without a name server",
                          "start it without `--dns none`")
        return {"upstreams": [{"address": "192.0.2.53:53", "down": False, "latency_us": 14200},
                              {"address": "[2001:db8::53]:53", "down": True}],
                "search": ["corp.example"], "cache_entries": len(self.cache),
                "cache_bytes": len(self.cache) * 310, "waiting": 2, "counters": self.stats()["dns"]}

    def set_record(self, name, body):
        try:
            addresses = body["addresses"]
            assert addresses and all(re.fullmatch(r"[0-9a-f.:]+", a) for a in addresses)
        except (AssertionError, KeyError, TypeError):
            raise Problem("invalid-request", "addresses: not an IP address") from None
        self.records = [r for r in self.records if r["name"] != name]
        self.records.append({"name": name, "addresses": addresses, "ttl": body.get("ttl", 60)})

    def remove_record(self, name):
        if not any(r["name"] == name for r in self.records):
            raise Problem("unknown-record", f"no record {name}")
        self.records = [r for r in self.records if r["name"] != name]


def route(engine, method, path, query, body):
    """The answer to a request: a status and what to send as JSON, None for nothing."""
    match method, path.split("/")[2:]:
        case "GET", ["health"]: return 200, engine.health()
        case "GET", ["version"]: return 200, {"version": "0.1.0", "api": ["v1"]}
        case "GET", ["stats"]: return 200, engine.stats()
        case "GET", ["limits"]: return 200, {"max_flows": 32768, "max_flows_per_port": 16384,
                                             "max_published": 4096}
        case "GET", ["flows"]: return 200, engine.flow_page(query)
        case "DELETE", ["flows", name]: return 204, engine.kill(name)
        case "GET", ["ports"]: return 200, engine.port_list()
        case "POST", ["ports"]: return 201, engine.publish(body)
        case "DELETE", ["ports", number]: return 204, engine.unpublish(number)
        case "GET", ["dns"]: return 200, engine.dns_status()
        case "GET", ["dns", "records"]: return 200, {"records": engine.records}
        case "PUT", ["dns", "records", name]: return 204, engine.set_record(name, body)
        case "DELETE", ["dns", "records", name]: return 204, engine.remove_record(name)
        case "GET", ["dns", "cache"]:
            return 200, {"entries": engine.cache[:int(query.get("limit", 1000))],
                         "total": len(engine.cache)}
        case "DELETE", ["dns", "cache"]: return 204, engine.cache.clear()
    raise Problem("not-found", f"no {path} here")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def do_PUT(self):
        self._answer("PUT")

    def do_DELETE(self):
        self._answer("DELETE")

    def _answer(self, method):
        url = urlsplit(self.path)
        path = unquote(url.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        try:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if path == "/":
                return self._send(307, None, {"Location": "/ui/"})
            if path.startswith("/ui/"):
                return self._static(path.removeprefix("/ui/") or "index.html")
            if path == "/mock/past":
                return self._send(200, list(self.engine.past))
            token = self.engine.options.token
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                raise Problem("unauthorized", "the request has no token, or a wrong one")
            if path == "/v1/events":
                return self._events(query)
            with self.engine.lock:
                status, answer = route(self.engine, method, path, query, body)
                answer = None if answer is None else json.dumps(answer).encode()
            self._send(status, answer)
        except Problem as problem:
            self._send(problem.status, problem.body, {"Content-Type": "application/problem+json"})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _static(self, name):
        file = (STATIC / name).resolve()
        if file.parent != STATIC or not file.is_file():
            raise Problem("not-found", f"no /ui/{name} here")
        kind = {".js": "text/javascript", ".svg": "image/svg+xml"}.get(
            file.suffix, mimetypes.guess_type(name)[0])
        self._send(200, file.read_bytes(), {"Content-Type": kind})

    def _events(self, query):
        engine = self.engine
        with engine.lock:
            since = int(query.get("since", engine.seq))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self._end_headers()
        while True:
            with engine.lock:
                engine.news.wait_for(lambda: engine.seq > since, timeout=30)
                records = [r for r in engine.backlog if r["seq"] > since]
            for record in records:
                if record["seq"] > since + 1:
                    self._line({"seq": record["seq"] - 1, "time": record["time"], "kind": "lost",
                                "count": record["seq"] - 1 - since})
                self._line(record)
                since = record["seq"]

    def _line(self, record):
        line = json.dumps(record).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _send(self, status, body, headers=None):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body or b"")))
        self._end_headers()
        self.wfile.write(body or b"")

    def _end_headers(self):
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0: any")
    parser.add_argument("--flows", type=int, default=5000)
    parser.add_argument("--name", default="web")
    parser.add_argument("--token")
    parser.add_argument("--no-dns", action="store_true")
    options = parser.parse_args()
    Handler.engine = Engine(options)
    server = Server(("127.0.0.1", options.port), Handler)
    threading.Thread(target=Handler.engine.tick, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    token = f"?token={options.token}" if options.token else ""
    print(f"http://127.0.0.1:{server.server_port}/ui/{token}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
