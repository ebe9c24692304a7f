"""Calls of app.py by requests or httpx: calls.py LIBRARY BASE. Each answer is a line of JSON as the story compares them."""

import hashlib
import json
import sys

BIG = bytes(range(256)) * 4096


def summary(body):
    if len(body) < 4000:
        try:
            return body.decode()
        except UnicodeDecodeError:
            pass
    return f"{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}"


def pieces():
    for i in range(20):
        yield bytes([i]) * (1 + 997 * i)


CALLS = [
    ("get", "GET", "/echo?a=%C3%A9&b=%2F", {}),
    ("post-form", "POST", "/echo", {"data": {"a": "1", "b": "zwei"}}),
    ("post-json", "POST", "/echo", {"json": {"a": [1, 2, 3]}}),
    ("post-big", "POST", "/echo", {"data": BIG}),
    ("post-pieces", "POST", "/echo", {"data": pieces}),
    ("fields", "GET", "/echo", {"headers": {"X-One": "a b", "X-Empty": "", "Accept-Encoding": "identity"}}),
    ("redirect", "POST", "/moved", {"data": b"kept", "follow": True}),
    ("redirect-seen", "GET", "/moved", {}),
    ("gzip", "GET", "/squeezed", {}),
    ("cookies", "GET", "/cookies", {}),
    ("chunks", "GET", "/chunks?count=50&size=7000", {}),
    ("big", "GET", "/size?bytes=5000000", {}),
    ("head", "HEAD", "/size?bytes=5000", {}),
    ("delete", "DELETE", "/echo", {}),
    ("missing", "GET", "/missing", {}),
    ("refused", "POST", "/refuse", {"data": b"too large, so to speak"}),
    ("short", "GET", "/short", {}),
    ("after-short", "GET", "/echo", {}),
]


def with_requests(base):
    import requests

    session = requests.Session()
    session.headers["User-Agent"] = "requests"

    def call(method, path, data=None, follow=False, **more):
        data = data() if callable(data) else data
        r = session.request(method, base + path, data=data, allow_redirects=follow, timeout=60, **more)
        return r.status_code, str(r.raw.version / 10), r.raw.headers.items(), r.content

    return call


def with_httpx(base, version):
    import httpx

    client = httpx.Client(http1=version == 1, http2=version == 2, timeout=60, headers={"User-Agent": "httpx"})

    def call(method, path, data=None, follow=False, **more):
        if isinstance(data, bytes) or callable(data):
            more["content"], data = data() if callable(data) else data, None
        r = client.request(method, base + path, data=data, follow_redirects=follow, **more)
        return r.status_code, r.http_version.removeprefix("HTTP/"), r.headers.multi_items(), r.content

    return call


def main():
    library, base = sys.argv[1:]
    call = with_requests(base) if library == "requests" else with_httpx(base, int(library[-1]))
    for name, method, path, more in CALLS:
        said = {"Name": name}
        try:
            status, version, fields, body = call(method, path, **more)
            head = {}
            for k, v in fields:
                head.setdefault(k.lower(), []).append(v)
            said.update(Status=status, Proto=version, Header=head, Body=summary(body))
        except Exception as e:
            said["Error"] = type(e).__name__
        print(json.dumps(said))


main()
