"""A WSGI app for gunicorn: what a request was, answers of every shape, and ends that no answer should have."""

import gzip
import hashlib
import json
import socket
import struct
from urllib.parse import parse_qs

BLOCK = bytes(range(256)) * 256


def app(environ, start):
    path = environ["PATH_INFO"].strip("/").split("/")
    query = {k: v[0] for k, v in parse_qs(environ.get("QUERY_STRING", "")).items()}
    return ROUTES.get(path[0], missing)(environ, start, query)


def plain(start, status, body, *headers):
    start(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return [body]


def missing(environ, start, _query):
    return plain(start, "404 Not Found", b"no such page\n")


def echo(environ, start, query):
    """Says what came: the fields of the head, and length and hash of the body."""
    digest, size = hashlib.sha256(), 0
    while block := environ["wsgi.input"].read(1 << 20):
        digest.update(block)
        size += len(block)
    head = {k[5:].lower().replace("_", "-"): v for k, v in environ.items() if k.startswith("HTTP_")}
    said = {
        "method": environ["REQUEST_METHOD"], "path": environ["PATH_INFO"], "query": environ.get("QUERY_STRING", ""),
        "head": head, "type": environ.get("CONTENT_TYPE"),
        "length": environ.get("CONTENT_LENGTH"), "size": size, "sha256": digest.hexdigest(),
    }
    body = json.dumps(said, sort_keys=True).encode()
    start(query.get("status", "200 OK"), [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def refuse(environ, start, _query):
    """Refuses a body without reading any of it."""
    return plain(start, "413 Request Entity Too Large", b"too large\n", ("Connection", "close"))


def chunks(environ, start, query):
    """An answer without a length."""
    start("200 OK", [("Content-Type", "application/octet-stream")])
    return (BLOCK[: int(query.get("size", 1000))] for _ in range(int(query.get("count", 10))))


def size(environ, start, query):
    """An answer of so many bytes, with its length."""
    while environ["wsgi.input"].read(1 << 20):
        pass
    total = int(query["bytes"])
    start("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(total))])
    return (BLOCK[: min(len(BLOCK), total - at)] for at in range(0, total, len(BLOCK)))


def squeezed(environ, start, _query):
    return plain(start, "200 OK", gzip.compress(b"squeezed " * 1000, mtime=0), ("Content-Encoding", "gzip"))


def cookies(environ, start, _query):
    return plain(start, "200 OK", b"two\n", ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/; HttpOnly"))


def moved(environ, start, query):
    return plain(start, query.get("status", "307 Temporary Redirect"), b"", ("Location", "/echo/moved"))


def short(environ, start, query):
    """Promises more than it gives."""
    total = int(query.get("bytes", 14))
    start("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(total + 1))])
    return (b"as far as this"[: min(14, total - at)] for at in range(0, total, 14))


def cut(environ, start, _query):
    """Resets the connection in the middle of a chunked answer."""
    start("200 OK", [("Content-Type", "text/plain")])

    def body():
        yield b"as far as this"
        reset(environ, start, _query)
        yield b""

    return body()


def reset(environ, start, _query):
    """Resets the connection: without an answer, where none has begun."""
    raw = environ["gunicorn.socket"]
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()
    raise SystemExit


ROUTES = {
    f.__name__: f for f in (echo, refuse, chunks, size, squeezed, cookies, moved, short, cut, reset)
}
