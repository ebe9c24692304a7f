// A server without a mesh, for work on the page: node mock/server.mjs [--mesh shop|example|big|empty|twins] [--port 50751] [--broken]
// With --broken every question is answered by an error, as where the control plane is away.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { config, failures, request, series, traffic } from "./answers.mjs";
import { meshes } from "./mesh.mjs";

const flag = (name, otherwise) => (process.argv.includes(`--${name}`) ? process.argv[process.argv.indexOf(`--${name}`) + 1] : otherwise);
const m = meshes[flag("mesh", "shop")]();
const broken = process.argv.includes("--broken");
const dist = join(dirname(fileURLToPath(import.meta.url)), "../dist");
const types = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
const csp = "default-src 'self'; style-src 'self'; img-src 'self' data:; worker-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const answers = {
  meta: () => ({ version: "0.1.0-dev", mesh: m.kind, name: m.name, clusters: ["local"], replicas: 2, since: Date.now() - 50 * 60_000, step: 10, window: 3600, links: { trace: "http://127.0.0.1:16686/trace/{id}" }, can: { tap: true, secrets: false }, command: "fairlead version" }),
  traffic: (q) => traffic(m, Number(q.get("window") ?? 60), Number(q.get("to") ?? Date.now())),
  series: (q) => series(m, q),
  config: () => config(m),
  service: (q) => config(m).services.find((s) => s.id === q.get("id")),
  sidecar: (q) => ({ certificates: [], endpoints: [], routes: [], command: `fairlead proxy-config all ${q.get("pod")}` }),
  objects: () => ({ objects: m.objects, command: "kubectl get virtualservices,destinationrules,httproutes -A" }),
  object: (q) => objectPage(q),
  problems: () => ({ problems: m.problems, command: "fairlead check --proxy" }),
  failures: (q) => failures(m, q.get("pod") ?? ""),
};

function objectPage(q) {
  const key = `${q.get("kind")}/${q.get("ns")}/${q.get("name")}`;
  const yaml = m.yaml[key] ?? `apiVersion: networking.istio.io/v1\nkind: ${q.get("kind")}\nmetadata:\n  name: ${q.get("name")}\n  namespace: ${q.get("ns")}\nspec:\n  host: ${q.get("name")}\n  subsets:\n    - name: v1\n      labels: {version: v1}\n    - name: v2\n      labels: {version: v2}\n    - name: v3\n      labels: {version: v3}\n`;
  const problems = m.problems.filter((p) => p.kind === q.get("kind") && p.object === `${q.get("ns")}/${q.get("name")}`)
    .map((p) => ({ path: p.field, line: p.severity === "error" ? 15 : 13, severity: p.severity, text: p.text, fix: p.fix }));
  return { yaml, problems, acked: 41, of: 42, command: `kubectl get ${q.get("kind").toLowerCase()} ${q.get("name")} -n ${q.get("ns")} -o yaml` };
}

function stream(req, res) {
  res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store", "content-security-policy": csp });
  const send = (event, data) => res.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  return { send, every: (ms, f) => { const t = setInterval(f, ms); req.on("close", () => clearInterval(t)); } };
}

const server = createServer(async (req, res) => {
  const url = new URL(req.url, "http://localhost");
  const q = url.searchParams;
  const name = url.pathname.replace(/^\/api\/v1\//, "");
  if (url.pathname.startsWith("/api/v1/") && broken) {
    res.writeHead(503, { "content-type": "application/json" });
    return res.end(JSON.stringify({ error: "the control plane does not answer: dial tcp 127.0.0.1:15014: connection refused" }));
  }
  if (name === "events") {
    const s = stream(req, res);
    const window = Number(q.get("window") ?? 60);
    s.send("meta", answers.meta()); s.send("config", config(m)); s.send("problems", answers.problems()); s.send("traffic", traffic(m, window, Date.now()));
    return s.every(1000, () => s.send("traffic", traffic(m, window, Date.now())));
  }
  if (name === "tap") {
    const s = stream(req, res);
    s.send("began", { command: `fairlead tap ${q.get("resource")} -n ${q.get("namespace") ?? ""}`, pods: 12, asked: 2, unmeshed: [] });
    return s.every(60, () => { for (const e of request(m)) s.send("request", e); });
  }
  if (answers[name] && url.pathname.startsWith("/api/v1/")) {
    const answer = answers[name](q);
    res.writeHead(answer ? 200 : 404, { "content-type": "application/json" });
    return res.end(JSON.stringify(answer ?? { error: "there is no such thing" }));
  }
  const file = url.pathname === "/" ? "index.html" : normalize(url.pathname).replace(/^\/+/, "");
  try {
    const body = await readFile(join(dist, `${file}.gz`));
    res.writeHead(200, { "content-type": types[file.split(".").pop()] ?? "application/octet-stream", "content-encoding": "gzip", "content-security-policy": csp });
    res.end(body);
  } catch {
    res.writeHead(404).end("not found\n");
  }
});
server.listen(Number(flag("port", 50751)), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/ (${m.name})`));
