"""A client of NATS's protocol, as far as it is told here: nats.py SERVER PORT. Prints what it saw, one JSON object a line."""
import hashlib, json, socket, sys

server, port = sys.argv[1], int(sys.argv[2])


def connect(**options):
    conn = socket.create_connection((server, port), 60)
    lines = conn.makefile("rb")
    info = json.loads(lines.readline().split(b" ", 1)[1])  # the server speaks first
    conn.sendall(b"CONNECT " + json.dumps({"verbose": False, **options}).encode() + b"\r\nPING\r\n")
    answer = lines.readline().strip().decode()
    return conn, lines, info, answer


def said(name, status, body):
    print(json.dumps({"Name": name, "Status": status, "Body": body}))


conn, lines, info, answer = connect()
said("greeting", 0 if answer == "PONG" else 1, f"{info['proto']} {info['max_payload']} {answer}")

# One publishes, another one gets it: a megabyte less a bit, as large as may be.
publisher = connect()[0]
conn.sendall(b"SUB orders 1\r\nPING\r\n")
assert lines.readline() == b"PONG\r\n"
payload = bytes(i * i >> 3 & 255 for i in range(1 << 16)) * 15
publisher.sendall(b"PUB orders %d\r\n%s\r\n" % (len(payload), payload))
head = lines.readline().strip().decode()
got = lines.read(len(payload) + 2)[:-2]
said("message", 0 if got == payload else 1, head + " " + hashlib.sha256(got).hexdigest())

# Many small ones keep their order.
publisher.sendall(b"".join(b"PUB orders %d\r\n%d\r\n" % (len(str(i)), i) for i in range(5000)))
order = []
for _ in range(5000):
    size = int(lines.readline().split()[-1])
    order.append(int(lines.read(size + 2)))
said("order", 0 if order == list(range(5000)) else 1, str(len(order)))

# The server refuses what it does not take, and ends the connection.
conn, lines, _, _ = connect()
conn.sendall(b"PUB orders 9000000\r\n")
refused = lines.readline().strip().decode()
said("refused", 0, refused + " " + str(lines.read()))
