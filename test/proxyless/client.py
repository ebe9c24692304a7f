"""A gRPC app in Python: client.py TARGET ADDRESS. See main.go, whose client it is the same as."""

import collections
import http.server
import json
import sys
import threading
import urllib.parse

import grpc
import grpc.experimental

credentials = grpc.xds_channel_credentials(grpc.experimental.insecure_channel_credentials())
check = grpc.secure_channel(sys.argv[1], credentials).unary_unary("/grpc.health.v1.Health/Check")


def once():
    _, call = check.with_call(b"", timeout=20)
    return dict(call.initial_metadata()).get("x-backend", "unnamed")


def many(n, workers):
    answered, failed, error, lock = collections.Counter(), 0, "", threading.Lock()

    def work(count):
        nonlocal failed, error
        for _ in range(count):
            try:
                name = once()
                with lock:
                    answered[name] += 1
            except grpc.RpcError as e:
                with lock:
                    failed, error = failed + 1, f"{e.code()}: {e.details()}"

    threads = [threading.Thread(target=work, args=(n // workers + (i < n % workers),)) for i in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return {"answered": answered, "failed": failed, "error": error}


def until(name, run):
    got = 0
    while got < run:
        try:
            got = got + 1 if once() == name else 0
        except grpc.RpcError:
            got = 0
    return {}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        q = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
        out = until(q["name"], int(q["run"])) if url.path == "/until" else many(int(q["n"]), int(q.get("c", 1)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(out).encode())

    def log_message(self, *_):
        pass


host, _, port = sys.argv[2].rpartition(":")
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
