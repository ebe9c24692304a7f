// Meshes that do not exist, as functions of time: the same moment always has the same numbers, so replay works.

/** A mesh: services with versions, and who calls what. Filled by the functions at the end. */
function mesh(name, kind) {
  return { name, kind, nodes: [], services: [], edges: [], routes: {}, objects: [], problems: [], yaml: {}, pods: {} };
}

function workload(m, ns, name, { app = name.replace(/-v\d+$/, ""), version = "v1", kind = "deployment", pods = 2, meshed = true, proxy = "fairlead" } = {}) {
  const id = `${ns}/${kind}/${name}`;
  m.nodes.push({ id, ns, kind, name, app, version, meshed, pods });
  m.pods[id] = Array.from({ length: pods }, (_, i) => ({ name: `${name}-${hash(id).toString(36).slice(0, 6)}-${hash(id + i).toString(36).slice(0, 5)}`, i, proxy: meshed ? proxy : "none" }));
  return id;
}

function service(m, ns, name, workloads, port = 8080) {
  const id = `${ns}/${name}`;
  m.services.push({ id, ns, name, port, workloads });
  m.routes[id] = [{ port, kind: "default", match: "/*", action: "", backends: [{ service: id, port, weight: 100, share: 1 }] }];
  return id;
}

function call(m, src, dst, service, rps, more = {}) {
  m.edges.push({ src, dst, service, rps, success: 1, p50: 3, protocol: "http", secured: true, ...more });
}

export function hash(s) {
  let h = 2166136261;
  for (let i = 0; i < s.length; i++) h = Math.imul(h ^ s.charCodeAt(i), 16777619);
  return h >>> 0;
}

/** Between -1 and 1, the same for the same key and ten seconds. */
export function noise(key, ms) {
  const step = Math.floor(ms / 10_000);
  const at = (s) => (hash(`${key}:${s}`) / 2 ** 31) - 1;
  return 0.6 * at(step) + 0.4 * Math.sin(step / 9 + (hash(key) % 7));
}

export function example() {
  const m = mesh("lab", "lab");
  const orders = workload(m, "myapp", "orders-service", { app: "orders", pods: 1 });
  const v1 = workload(m, "myapp", "users-v1", { app: "users" });
  const v2 = workload(m, "myapp", "users-v2", { app: "users", version: "v2", pods: 1 });
  const svc = service(m, "myapp", "users-service", [v1, v2]);
  service(m, "myapp", "orders-service", [orders]);
  split(m, svc, 90, v1, v2);
  call(m, orders, v1, svc, 45, { p50: 1.2 });
  call(m, orders, v2, svc, 5, { p50: 1.4 });
  m.objects.push({ kind: "VirtualService", ns: "myapp", name: "users-service" }, { kind: "DestinationRule", ns: "myapp", name: "users-service" });
  return m;
}

function split(m, svc, weight, v1, v2) {
  const [ns, name] = svc.split("/");
  m.routes[svc] = [{
    port: 8080, name: "split", kind: "VirtualService", object: svc, match: "/*", action: "",
    backends: [{ service: svc, subset: "v1", port: 8080, weight, share: weight / 100 }, { service: svc, subset: "v2", port: 8080, weight: 100 - weight, share: 1 - weight / 100 }],
  }];
  m.yaml[`VirtualService/${svc}`] = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: ${name}
  namespace: ${ns}
spec:
  hosts:
    - ${name}
  http:
    - name: split
      route:
        - destination: {host: ${name}, subset: v1}
          weight: ${weight}
        - destination: {host: ${name}, subset: v2}
          weight: ${100 - weight}
`;
}

export function shop() {
  const m = mesh("production", "cluster");
  const web = workload(m, "shop", "storefront", { pods: 3 });
  const cart = workload(m, "shop", "cart", { pods: 2 });
  const orders = workload(m, "shop", "orders", { pods: 3 });
  const catalog1 = workload(m, "shop", "catalog-v1", { pods: 3 });
  const catalog2 = workload(m, "shop", "catalog-v2", { version: "v2", pods: 1 });
  const search = workload(m, "shop", "search", { proxy: "envoy" });
  const pay = workload(m, "payments", "payments", { pods: 2 });
  const risk = workload(m, "payments", "risk", { pods: 2 });
  const ledger = workload(m, "payments", "ledger", { kind: "statefulset", pods: 3 });
  const mail = workload(m, "notify", "mailer", { pods: 1 });
  const sms = workload(m, "notify", "sms", { pods: 1 });
  const db = workload(m, "data", "postgres", { kind: "statefulset", pods: 1, meshed: false });
  const cache = workload(m, "data", "redis", { kind: "statefulset", pods: 1 });
  const job = workload(m, "shop", "nightly-export", { kind: "job", pods: 1 });
  m.nodes.push({ id: "/address/10.0.3.7", ns: "", kind: "address", name: "10.0.3.7", address: "10.0.3.7", meshed: false });
  m.nodes.push({ id: "/host/api.bank.example", ns: "", kind: "host", name: "api.bank.example", meshed: false });
  m.nodes.push({ id: "-/none/notify/push", ns: "-", kind: "none", name: "notify/push", meshed: false });
  const s = {};
  for (const [ns, name, of] of [["shop", "cart", [cart]], ["shop", "orders", [orders]], ["shop", "catalog", [catalog1, catalog2]], ["shop", "search", [search]], ["shop", "storefront", [web]],
    ["payments", "payments", [pay]], ["payments", "risk", [risk]], ["payments", "ledger", [ledger]], ["notify", "mailer", [mail]], ["notify", "sms", [sms]],
    ["data", "postgres", [db]], ["data", "redis", [cache]], ["notify", "push", []]]) s[name] = service(m, ns, name, of);
  split(m, s.catalog, 80, catalog1, catalog2);
  call(m, "/address/10.0.3.7", web, s.storefront, 4, { secured: false, reason: "Not Provided By Remote", note: "plaintext from 10.0.3.7, not in the mesh" });
  call(m, web, cart, s.cart, 120, { p50: 4 });
  call(m, web, catalog1, s.catalog, 230, { p50: 6 });
  call(m, web, catalog2, s.catalog, 58, { p50: 9, success: 0.982 });
  call(m, web, search, s.search, 64, { p50: 22, protocol: "grpc" });
  call(m, web, orders, s.orders, 31, { p50: 18 });
  call(m, cart, cache, s.redis, 260, { protocol: "tcp" });
  call(m, cart, catalog1, s.catalog, 40, { p50: 5 });
  call(m, cart, catalog2, s.catalog, 10, { p50: 9, success: 0.985 });
  call(m, orders, pay, s.payments, 29, { p50: 44, success: 0.912 });
  call(m, orders, mail, s.mailer, 12, { p50: 8 });
  call(m, orders, sms, s.sms, 3, { p50: 12 });
  call(m, orders, db, s.postgres, 90, { protocol: "tcp", secured: false, reason: "Not Provided By Service Discovery" });
  call(m, orders, "-/none/notify/push", s.push, 0.4, { success: 0, secured: false });
  call(m, pay, risk, s.risk, 29, { p50: 12, protocol: "grpc" });
  call(m, pay, ledger, s.ledger, 58, { p50: 7, protocol: "grpc" });
  call(m, pay, "/host/api.bank.example", "api.bank.example", 14, { p50: 130, success: 0.996, secured: false, reason: "Not Provided By Service Discovery" });
  call(m, ledger, db, s.postgres, 170, { protocol: "tcp", secured: false, reason: "Not Provided By Service Discovery" });
  call(m, job, orders, s.orders, 0.3, { p50: 240 });
  m.objects.push(
    { kind: "VirtualService", ns: "shop", name: "catalog" }, { kind: "DestinationRule", ns: "shop", name: "catalog", warnings: 1 },
    { kind: "HTTPRoute", ns: "payments", name: "payments", errors: 1 }, { kind: "PeerAuthentication", ns: "shop", name: "default" },
    { kind: "DestinationRule", ns: "payments", name: "risk" }, { kind: "ServiceEntry", ns: "payments", name: "bank" });
  m.yaml["HTTPRoute/payments/payments"] = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: payments
  namespace: payments
spec:
  parentRefs:
    - kind: Service
      group: ""
      name: payments
  rules:
    - matches:
        - path: {type: PathPrefix, value: /v2}
      backendRefs:
        - name: payments-next
          port: 8080
    - backendRefs:
        - name: payments   # everything else
          port: 8080
`;
  m.problems = shopProblems();
  return m;
}

function shopProblems() {
  const now = Date.now();
  return [
    { severity: "error", kind: "HTTPRoute", object: "payments/payments", field: "spec.rules[0].backendRefs[0].name", text: "Service payments/payments-next does not exist: calls that match are answered 500", fix: "create the Service, or did you mean `payments`?", since: now - 14 * 60_000, command: "fairlead validate -f payments.yaml" },
    { severity: "error", kind: "Service", object: "notify/push", text: "has no ready endpoint: 24 calls in the last minute were answered 503 UH", fix: "its selector app=push matches no pod", since: now - 47 * 60_000, command: "fairlead proxy-config endpoints deploy/orders -n shop" },
    { severity: "error", kind: "Pod", object: "shop/search-6d9f7", text: "its sidecar refused dst/shop/catalog.shop.svc.cluster.local:8080: too old for field 23", fix: "restart the pod: kubectl rollout restart deploy/search -n shop", since: now - 6 * 60_000, command: "fairlead proxy-status deploy/search -n shop" },
    { severity: "warning", kind: "DestinationRule", object: "shop/catalog", field: "spec.subsets[2]", text: "subset v3: no pod of the Service has the label version=v3", fix: "remove the subset, or label the pods", since: now - 3 * 3600_000, command: "fairlead validate -f catalog.yaml" },
    { severity: "warning", kind: "Pod", object: "payments/ledger-2", text: "its certificate has 18 % of its life left (4h of 24h): it was not renewed", fix: "look at the sidecar's log for what the control plane answers", since: now - 90 * 60_000, command: "fairlead proxy-config secret ledger-2 -n payments" },
  ];
}

/** n services in 20 namespaces, with four calls from each, layered so that most lead on. */
export function big(n = 500) {
  const m = mesh("synthetic", "cluster");
  const ids = [];
  for (let i = 0; i < n; i++) {
    const ns = `team-${String(i % 20).padStart(2, "0")}`;
    const name = `svc-${String(i).padStart(3, "0")}`;
    ids.push([workload(m, ns, name, { pods: 2 }), service(m, ns, name, [])]);
    m.services.at(-1).workloads.push(ids.at(-1)[0]);
  }
  for (let i = 0; i < n; i++) {
    const seen = new Set([i]);
    for (let k = 0; seen.size < 5; k++) {
      const to = k < 12 ? Math.min(n - 1, i + 1 + (hash(`${i}/${k}`) % Math.max(1, Math.floor(n / 8)))) : hash(`${i}!${k}`) % n;
      if (seen.has(to)) continue;
      seen.add(to);
      call(m, ids[i][0], ids[to][0], ids[to][1], 2 + (hash(`r${i}.${k}`) % 80), { success: hash(`s${i}.${k}`) % 40 === 0 ? 0.9 : 1, p50: 2 + (hash(`l${i}.${k}`) % 30), secured: hash(`m${i}.${k}`) % 25 !== 0 });
    }
  }
  return m;
}

export function empty() {
  const m = mesh("lab", "lab");
  const orders = workload(m, "myapp", "orders-service", { app: "orders", pods: 1 });
  service(m, "myapp", "orders-service", [orders]);
  return m;
}

/** Two clusters that have workloads of the same names; the dashboard is the one of west. */
export function twins() {
  const m = mesh("west", "cluster");
  const own = (ns, name, more) => {
    const id = workload(m, ns, name, more);
    m.nodes.at(-1).cluster = "west";
    return id;
  };
  const there = (ns, name, more) => { // whose pods the control plane of west does not count
    delete m.pods[workload(m, ns, name, { ...more, pods: 0 })];
    const n = m.nodes.at(-1);
    n.cluster = "east";
    return n.id += "@east";
  };
  const web2 = there("shop", "web", { pods: 1 });
  const users2 = there("shop", "users");
  const ledger2 = there("payments", "ledger", { kind: "statefulset" });
  const web = own("shop", "web", { pods: 3 });
  const users = own("shop", "users");
  const ledger = own("payments", "ledger", { kind: "statefulset" });
  const s = service(m, "shop", "users", [users]);
  const l = service(m, "payments", "ledger", [ledger]);
  call(m, web, users, s, 40);
  call(m, web, users2, s, 12, { p50: 9, success: 0.97 });
  call(m, web2, users, s, 5, { p50: 8 });
  call(m, users, ledger, l, 20);
  call(m, users, ledger2, l, 3, { p50: 7 });
  return m;
}

export const meshes = { example, shop, big, empty, twins };
