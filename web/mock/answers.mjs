// What the server would answer of a mesh of mesh.mjs.
import { hash, noise } from "./mesh.mjs";

const COMMANDS = { traffic: "fairlead edges -A -o wide", problems: "fairlead validate -f .", objects: "kubectl get virtualservices,destinationrules,httproutes -A" };

/** What an edge has in a window: a Total. */
function total(e, to, seconds) {
  const rps = Math.max(0, e.rps * (1 + 0.25 * noise(`${e.src}>${e.dst}`, to)));
  if (e.protocol === "tcp") {
    const conns = Math.round(rps * seconds / 10);
    return { rps: 0, requests: 0, conns, open: Math.ceil(rps / 8), bytesIn: conns * 5300, bytesOut: conns * 48_000 };
  }
  const requests = Math.round(rps * seconds);
  const success = requests === 0 ? undefined : Math.min(1, Math.max(0, e.success < 1 ? e.success + 0.01 * noise(`s${e.src}>${e.dst}`, to) : 1));
  const failures = requests === 0 ? 0 : Math.round(requests * (1 - success));
  const slow = 1 + 0.2 * noise(`p${e.src}>${e.dst}`, to);
  const out = { rps, requests, failures, retries: Math.round(failures / 3), codes: { "2xx": requests - failures }, bytesIn: requests * 310, bytesOut: requests * 2200 };
  if (failures > 0) out.codes["5xx"] = failures;
  if (requests > 0) Object.assign(out, { success: 1 - failures / requests, p50: e.p50 * slow, p95: e.p50 * slow * 2.7, p99: e.p50 * slow * 5.1 });
  return out;
}

export function sum(totals) {
  const out = { rps: 0, requests: 0, failures: 0, retries: 0, conns: 0, open: 0, bytesIn: 0, bytesOut: 0, codes: {} };
  const weighted = { p50: 0, p95: 0, p99: 0 };
  for (const t of totals) {
    for (const k of ["rps", "requests", "failures", "retries", "conns", "open", "bytesIn", "bytesOut"]) out[k] += t[k] ?? 0;
    for (const [c, n] of Object.entries(t.codes ?? {})) out.codes[c] = (out.codes[c] ?? 0) + n;
    for (const p of Object.keys(weighted)) weighted[p] += (t[p] ?? 0) * t.requests;
  }
  if (out.requests > 0) {
    out.success = 1 - out.failures / out.requests;
    for (const p of Object.keys(weighted)) out[p] = weighted[p] / out.requests;
  }
  return out;
}

export function traffic(m, seconds, to) {
  const edges = m.edges.map((e) => ({
    id: `${e.src}>${e.dst}>${e.service}`, src: e.src, dst: e.dst, service: e.service, protocol: e.protocol, secured: e.secured,
    reason: e.reason, note: e.note, route: m.routes[e.service]?.[0]?.name,
    clientId: e.secured ? spiffe(e.src) : undefined, serverId: e.secured ? spiffe(e.dst) : undefined, total: total(e, to, seconds),
  }));
  for (const e of edges) {
    const all = edges.filter((o) => o.src === e.src && o.service === e.service).reduce((n, o) => n + o.total.requests, 0);
    if (all > 0) e.share = e.total.requests / all;
  }
  const secured = (list) => {
    const n = (l) => l.reduce((a, e) => a + e.total.requests + (e.total.conns ?? 0), 0);
    return n(list) === 0 ? undefined : n(list.filter((e) => e.secured)) / n(list);
  };
  const into = new Map();
  for (const e of edges) into.set(e.dst, [...(into.get(e.dst) ?? []), e]);
  const nodes = m.nodes.map((n) => ({ ...n, ready: n.pods, total: into.has(n.id) ? sum(into.get(n.id).map((e) => e.total)) : undefined }));
  const names = [...new Set(m.nodes.map((n) => n.ns).filter((n) => n !== "" && n !== "-"))].sort();
  const nsOf = (id) => id.split("/")[0];
  return {
    from: to - seconds * 1000, to, seconds, since: Date.now() - 50 * 60_000, command: COMMANDS.traffic, nodes, edges, total: sum(edges.map((e) => e.total)), mtls: secured(edges),
    services: m.services.map((s) => ({ id: s.id, ns: s.ns, name: s.name, total: sum(edges.filter((e) => e.service === s.id).map((e) => e.total)) })),
    namespaces: names.map((name) => {
      const mine = edges.filter((e) => nsOf(e.dst) === name);
      const works = m.nodes.filter((n) => n.ns === name);
      const pods = works.reduce((n, w) => n + (w.pods ?? 0), 0);
      return {
        name, total: sum(mine.map((e) => e.total)), mtls: secured(mine), workloads: works.length, pods,
        meshedPods: works.filter((w) => w.meshed).reduce((n, w) => n + w.pods, 0), command: `fairlead stat ns/${name}`,
      };
    }),
  };
}

const spiffe = (id) => `spiffe://cluster.local/ns/${id.split("/")[0]}/sa/${id.split("/").at(-1).replace(/-v\d+$/, "")}`;

export function series(m, query) {
  const seconds = Number(query.get("window") ?? 3600);
  const end = Math.floor(Number(query.get("to") ?? Date.now()) / 10_000) * 10_000;
  const step = seconds <= 900 ? 10 : 30;
  const keep = (e) => (!query.has("node") || e.dst === query.get("node")) && (!query.has("src") || (e.src === query.get("src") && e.dst === query.get("dst"))) &&
    (!query.has("service") || e.service === query.get("service")) && (!query.has("ns") || e.dst.startsWith(`${query.get("ns")}/`));
  const edges = m.edges.filter(keep);
  const out = { t: [], rps: [], success: [], p50: [], p95: [], p99: [], step, command: "fairlead stat deploy -A" };
  for (let at = end - seconds * 1000; at <= end; at += step * 1000) {
    const s = sum(edges.map((e) => total(e, at, step)));
    out.t.push(at / 1000);
    for (const k of ["rps", "success", "p50", "p95", "p99"]) out[k].push(s[k] ?? null);
  }
  return out;
}

export function config(m) {
  const now = Date.now();
  const address = (id, i) => `10.244.${hash(id) % 200}.${10 + i}:8080`;
  return {
    command: "fairlead proxy-status",
    services: m.services.map((s) => ({
      id: s.id, ns: s.ns, name: s.name, hosts: [`${s.name}.${s.ns}.svc.cluster.local`], ports: [{ port: s.port, protocol: "http" }],
      routes: m.routes[s.id], command: `fairlead proxy-config routes deploy -n ${s.ns}`,
      endpoints: s.workloads.flatMap((w) => {
        const node = m.nodes.find((n) => n.id === w);
        return m.pods[w].map((p) => ({
          address: address(w, p.i), pod: p.name, ns: s.ns, workload: w, node: `node-${1 + (hash(p.name) % 3)}`, locality: `eu-1/${"abc"[hash(p.name) % 3]}`,
          meshed: node.meshed, health: hash(p.name) % 11 === 0 && node.pods > 1 ? "unhealthy" : "healthy", subsets: [node.version], since: now - (hash(p.name) % 90_000) * 1000,
          ejected: w.includes("payments/deployment/payments") && p.i === 1 ? { by: ["shop/orders-7d9f"], why: "5 errors in a row (5xx)" } : undefined,
        }));
      }),
    })),
    workloads: Object.entries(m.pods).flatMap(([id, pods]) => {
      const node = m.nodes.find((n) => n.id === id);
      return pods.map((p) => ({
        id: `${node.ns}/pod/${p.name}`, ns: node.ns, pod: p.name, workload: id, proxy: p.proxy, version: p.proxy === "none" ? undefined : "0.1.0",
        sync: p.proxy === "none" ? { state: "NONE" } : node.name === "search" && p.i === 0
          ? { state: "ERROR", at: now - 360_000, refused: [{ resource: "dst/shop/catalog.shop.svc.cluster.local:8080", reason: "too old for field 23" }] } : { state: "SYNCED", at: now - (hash(p.name) % 900) * 1000 },
        certificate: p.proxy === "none" ? undefined : { id: spiffe(id), from: now - (node.name === "ledger" && p.i === 2 ? 19.7 : 6 + (hash(p.name) % 5)) * 3600_000, to: now + (node.name === "ledger" && p.i === 2 ? 4.3 : 18 - (hash(p.name) % 5)) * 3600_000 },
      }));
    }),
  };
}

export function failures(m, pod) {
  const mine = Object.entries(m.pods).find(([, pods]) => pods.some((p) => pod.endsWith(`/${p.name}`)))?.[0];
  const list = m.edges.filter((e) => e.success < 1 && (e.src === mine || e.dst === mine)).slice(0, 6);
  return {
    pod, total: list.length * 31, command: `fairlead errors ${pod.split("/")[1]} -n ${pod.split("/")[0]}`,
    failures: list.map((e, i) => ({
      start: new Date(Date.now() - 7000 * (i + 1)).toISOString(), direction: e.src === mine ? "outbound" : "inbound", durationMs: e.p50, method: "POST", authority: `${e.service.split("/").pop()}:8080`,
      path: "/v1/charge?card=<script>alert(1)</script>", status: 503, flags: e.success === 0 ? "UH" : "", source: e.src, destination: e.dst, requestId: `6f1c-${i}`,
      cause: e.success === 0 ? "no healthy upstream: outbound|8080||push.notify.svc.cluster.local: no endpoints" : undefined,
    })),
  };
}

let id = 0;
/** One request of the mesh, as both sidecars see it. */
export function request(m) {
  const http = m.edges.filter((e) => e.protocol !== "tcp" && m.pods[e.src]);
  const e = http[Math.floor(Math.random() * http.length)];
  if (e === undefined) return [];
  id++;
  const bad = Math.random() > e.success;
  const requestId = `${hash(String(id)).toString(16).padStart(8, "0")}-4c1e-9d2b-${String(id).padStart(12, "0")}`;
  const [sns, , sname] = e.src.split("/");
  const [dns, , dname] = e.dst.split("/");
  const base = {
    id, start: Date.now(), method: e.protocol === "grpc" ? "POST" : ["GET", "GET", "GET", "POST"][id % 4], scheme: "http", authority: `${(e.service ?? "").split("/").pop()}:8080`,
    path: e.protocol === "grpc" ? "/shop.v1.Search/Query" : ["/api/user/123", "/v1/items?page=2", "/checkout", "/<b>not bold</b>"][id % 4], protocol: e.protocol === "grpc" ? "HTTP/2" : "HTTP/1.1",
    tls: e.secured, reason: e.reason, status: bad ? 503 : 200, grpcStatus: e.protocol === "grpc" ? (bad ? "14" : "0") : undefined, flags: bad ? "UF" : undefined,
    cause: bad ? "connection refused by the app" : undefined, bytesIn: 120, bytesOut: 664, requestId, traceId: hash(requestId).toString(16).padStart(32, "a"),
    src: { addr: "10.244.0.2:54306", labels: { namespace: sns, pod: m.pods[e.src][0].name, deployment: sname } },
    dst: { addr: "10.244.0.3:8080", labels: { namespace: dns, pod: m.pods[e.dst]?.[0].name ?? "", deployment: dname ?? "" } },
    requestHeaders: [{ name: "user-agent", value: "python-urllib/3.11" }, { name: "authorization", value: "REDACTED" }, { name: "x-request-id", value: requestId }],
    responseHeaders: [{ name: "content-type", value: "application/json" }, { name: "server", value: "fairlead" }],
  };
  const took = e.p50 * (0.6 + Math.random());
  const out = [{ ...base, pod: `${m.pods[e.src][0].name}.${sns}`, direction: "outbound", duration: took, head: took * 0.93, route: m.routes[e.service]?.[0]?.name ?? "default" }];
  if (m.pods[e.dst] && e.secured) out.unshift({ ...base, pod: `${m.pods[e.dst][0].name}.${dns}`, direction: "inbound", duration: took * 0.8, head: took * 0.75 });
  return out;
}
