// Calls of app.py by undici: calls.mjs BASE. Each answer is a line of JSON as the story compares them.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const { Agent, request, fetch, FormData } = createRequire(process.env.NODE_PATH + "/")("undici");
const base = process.argv[2];
const dispatcher = new Agent({ connections: 1, pipelining: 1 });
const big = Buffer.alloc(1 << 20, "undici");

function summary(body) {
  if (body.length < 4000 && Buffer.from(body.toString()).equals(body)) return body.toString();
  return `${body.length} bytes, sha256 ${createHash("sha256").update(body).digest("hex")}`;
}

function tell(name, status, fields, body) {
  const head = {};
  for (const [k, v] of fields) head[k.toLowerCase()] = [...(head[k.toLowerCase()] ?? []), ...[v].flat()];
  console.log(JSON.stringify({ Name: name, Status: status, Proto: "1.1", Header: head, Body: summary(Buffer.from(body)) }));
}

async function call(name, path, options = {}) {
  try {
    const r = await request(base + path, { dispatcher, ...options });
    tell(name, r.statusCode, Object.entries(r.headers), await r.body.arrayBuffer());
  } catch (e) {
    console.log(JSON.stringify({ Name: name, Error: e.code ?? e.name }));
  }
}

async function* pieces() {
  for (let i = 0; i < 20; i++) yield Buffer.alloc(1 + 997 * i, i);
}

await call("get", "/echo?a=%C3%A9");
await call("post", "/echo", { method: "POST", body: "hello" });
await call("post-big", "/echo", { method: "POST", body: big });
await call("post-pieces", "/echo", { method: "POST", body: pieces() });
await call("put", "/echo", { method: "PUT", body: big });
await call("fields", "/echo", { headers: { "X-One": "a b", "X-Empty": "" } });
await call("chunks", "/chunks?count=50&size=7000");
await call("big", "/size?bytes=5000000");
await call("head", "/size?bytes=5000", { method: "HEAD" });
await call("cookies", "/cookies");
await call("missing", "/missing");
await call("short", "/short");
await call("after-short", "/echo");
for (const [name, path, options] of [
  ["fetch", "/echo", {}],
  ["fetch-gzip", "/squeezed", {}],
  ["fetch-moved", "/moved", { method: "POST", body: "kept" }],
]) {
  const r = await fetch(base + path, { dispatcher, ...options });
  tell(name, r.status, r.headers, await r.arrayBuffer());
}
// Sixteen at once, on as many connections as it takes.
const many = new Agent();
const sums = await Promise.all(
  Array.from({ length: 16 }, async (_, i) => {
    const r = await request(`${base}/size?bytes=${100000 + i}`, { dispatcher: many });
    return (await r.body.arrayBuffer()).byteLength;
  }),
);
console.log(JSON.stringify({ Name: "together", Status: 200, Body: sums.join(" ") }));
await Promise.all([dispatcher.close(), many.close()]);
