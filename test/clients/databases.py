"""Conversations with databases: databases.py PROTOCOL HOST PORT CERTIFICATES. Each is a line of JSON as the story compares them."""

import hashlib
import json
import sys
import threading

BIG = bytes(range(256)) * (1 << 16)  # 16 MiB


def summary(value):
    raw = value if isinstance(value, bytes) else repr(value).encode()
    return f"{len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()}" if len(raw) > 300 else raw.decode()


def postgres(host, port, certificates):
    import psycopg

    def connect(**more):
        return psycopg.connect(host=host, port=port, user="story", password="secret", dbname="postgres", autocommit=True, connect_timeout=30, **more)

    def talk(**more):
        with connect(**more) as c:
            yield "tls", c.pgconn.ssl_in_use
            yield "numbers", c.execute("select i, i * i from generate_series(1, 5000) i").fetchall()
            yield "binary", c.execute("select %b::bytea", (BIG,), binary=True).fetchone()[0]
            c.execute("create temp table t (i int, b bytea)")
            with c.cursor().copy("copy t from stdin (format binary)") as copy:
                copy.set_types(["int4", "bytea"])
                for i in range(200):
                    copy.write_row((i, BIG[i : 50_000 + i]))
            yield "copied-in", c.execute("select count(*), sum(length(b)), md5(string_agg(md5(b), '' order by i)) from t").fetchone()
            with c.cursor().copy("copy (select i, b from t order by i) to stdout") as copy:
                yield "copied-out", b"".join(bytes(d) for d in copy)
            with c.pipeline(), c.cursor() as cur:
                for i in range(500):
                    cur.execute("insert into t values (%s, null)", (1000 + i,))
            yield "pipeline", c.execute("select count(*) from t where b is null").fetchone()
            c.prepare_threshold = 0
            yield "prepared", [c.execute("select %s::int + 1", (i,)).fetchone()[0] for i in range(50)]
            with c.transaction(), c.cursor("server_side") as cur:
                cur.execute("select repeat('x', i) from generate_series(1, 2000) i")
                yield "cursor", list(cur)
            try:
                c.execute("select 1 / 0")
            except psycopg.Error as e:
                yield "error", e.sqlstate
            try:
                c.execute("set statement_timeout = 100; select pg_sleep(60)")
            except psycopg.Error as e:
                yield "timeout", e.sqlstate
            c.execute("set statement_timeout = 0")

            # The request to cancel comes on a connection of its own, which the server ends without a word.
            said = []

            def sleep():
                try:
                    c.execute("select pg_sleep(60)")
                except psycopg.Error as e:
                    said.append(e.sqlstate)

            asleep = threading.Thread(target=sleep)
            asleep.start()
            with connect(**more) as other:
                pid = c.info.backend_pid
                while not other.execute("select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'", (pid,)).fetchone():
                    pass
                c.cancel()
                asleep.join()
                yield "cancelled", said
                c.execute("listen news")
                other.execute("notify news, 'told'")
                yield "notified", [n.payload for n in c.notifies(timeout=30, stop_after=1)]
                other.execute("select pg_terminate_backend(%s)", (pid,))
                try:
                    while True:
                        c.execute("select 1")
                except psycopg.OperationalError as e:
                    yield "terminated", e.sqlstate

    yield from named("plain", talk(sslmode="disable"))
    yield from named("tls", talk(sslmode="verify-full", sslrootcert=certificates + "/ca.pem"))


def mysql(host, port, certificates):
    import pymysql

    def talk(**more):
        with pymysql.connect(host=host, port=int(port), user="story", password="secret", database="story", connect_timeout=30, autocommit=True,
                             local_infile=True, max_allowed_packet=64 << 20, **more) as c, c.cursor() as cur:

            def ask(sql, *args):
                cur.execute(sql, args)
                return cur.fetchall()

            yield "tls", ask("show status like 'Ssl_version'")
            yield "numbers", ask("select seq, seq * seq from seq_1_to_5000")
            yield "binary", ask("select md5(%s)", BIG[: 2 << 20])
            yield "big", ask("select repeat('x', 20000000)")
            ask("create temporary table t (i int, b longblob)")
            cur.executemany("insert into t values (%s, %s)", [(i, BIG[i : 50_000 + i]) for i in range(60)])
            yield "inserted", ask("select count(*), sum(length(b)), md5(group_concat(md5(b) order by i)) from t")
            yield "blobs", ask("select b from t order by i")
            ask("create temporary table f (line text)")
            yield "file", cur.execute("load data local infile '%s/numbers.txt' into table f" % certificates), ask("select count(*), sum(line) from f")
            with c.cursor(pymysql.cursors.SSCursor) as stream:
                stream.execute("select seq, repeat('y', 500) from seq_1_to_20000")
                yield "stream", list(stream)
            try:
                ask("select no_such_column")
            except pymysql.Error as e:
                yield "error", e.args[0]
            try:
                ask("kill connection_id()")
            except pymysql.Error as e:
                yield "killed", e.args[0]

    yield from named("plain", talk(ssl_disabled=True))
    yield from named("tls", talk(ssl={"ca": certificates + "/ca.pem", "check_hostname": True}))
    for name, more in (("wrong-password", {"password": "wrong"}), ("tls-missing", {"user": "tlsonly", "ssl_disabled": True})):
        try:
            pymysql.connect(host=host, port=int(port), **{"user": "story", "password": "secret", "connect_timeout": 30, **more})
        except pymysql.Error as e:
            yield name, e.args[0]


def redis(host, port, certificates, tls):
    import redis

    def connect(protocol):
        more = {"ssl": True, "ssl_ca_certs": certificates + "/ca.pem", "ssl_check_hostname": True} if tls else {}
        return redis.Redis(host=host, port=int(port), socket_timeout=30, protocol=protocol, **more)

    def talk(protocol):
        with connect(protocol) as c:
            key = f"{protocol}"
            c.flushall()
            yield "ping", c.ping()
            yield "set", c.set(key, BIG), c.get(key)
            with c.pipeline(transaction=False) as p:
                for i in range(3000):
                    p.incr("n").lpush("list", i)
                yield "pipeline", p.execute()
            with c.pipeline() as p:
                yield "transaction", p.set("a", 1).incr("a").execute()
            yield "script", c.eval("return {KEYS[1], ARGV[1], string.rep('z', 1000)}", 1, "k", "v")
            yield "scan", sorted(c.scan_iter("*"))
            c.xadd("stream", {"a": "b"}, id="1-1")
            yield "stream", c.xrange("stream")
            try:
                c.lpush(key, "x")
            except redis.ResponseError as e:
                yield "error", str(e)
            with connect(protocol) as other:
                popped = []
                waiting = threading.Thread(target=lambda: popped.append(other.blpop("queue", timeout=30)))
                waiting.start()
                while not any(x["cmd"] == "blpop" for x in c.client_list()):
                    pass
                c.rpush("queue", "job")
                waiting.join()
                yield "blocked", popped
            with c.pubsub(ignore_subscribe_messages=False) as s:
                s.subscribe("news")
                heard = [s.get_message(timeout=30)]
                yield "published", c.publish("news", BIG[:100_000])
                heard.append(s.get_message(timeout=30))
                yield "heard", heard
            c.execute_command("client", "kill", "id", c.client_id())
            yield "again", c.ping()  # by a new connection

    for protocol in (2, 3):
        yield from named(f"resp{protocol}", talk(protocol))
    with connect(2) as c:
        try:
            c.execute_command("auth", "nobody", "wrong")
        except redis.RedisError as e:
            yield "auth", str(e)


def named(prefix, told):
    for name, *values in told:
        yield prefix + "-" + name, *values


PROTOCOLS = {
    "postgres": postgres, "mysql": mysql,
    "redis": lambda *at: redis(*at, tls=False), "rediss": lambda *at: redis(*at, tls=True),
}


def main():
    protocol, *at = sys.argv[1:]
    for name, *values in PROTOCOLS[protocol](*at):
        print(json.dumps({"Name": name, "Body": ", ".join(summary(v) for v in values)}), flush=True)


main()
