import assert from "node:assert/strict";
import { test } from "node:test";
// @ts-ignore: plain script
import { config, traffic } from "../mock/answers.mjs";
// @ts-ignore: plain script
import { meshes } from "../mock/mesh.mjs";
import type { Config, Edge, Traffic } from "../src/data/types";
import { addTotals, buildGraph, neighbour, perWorkload, reached, shapeKey } from "../src/map/graph";
import { BAD, healthOf, lifeLeft, WARN, worst } from "../src/pure/health";

const AT = 1_700_000_000_000;
const shop = () => traffic(meshes.shop(), 60, AT) as Traffic;
const example = () => ({ t: traffic(meshes.example(), 60, AT) as Traffic, c: config(meshes.example()) as Config });

test("the example: three workloads, and weights beside what happened", () => {
  const { t, c } = example();
  const g = buildGraph(t, c);
  assert.deepEqual(g.nodes.map((n) => n.label), ["orders-service", "users-v1", "users-v2"]);
  assert.deepEqual(g.groups, ["myapp"]);
  assert.deepEqual(g.edges.map((e) => [e.dst.split("/")[2], e.weight, e.security]), [["users-v1", 0.9, "mtls"], ["users-v2", 0.1, "mtls"]].map(([a, b, s]) => [a, b === 0.1 ? 1 - 90 / 100 : b, s]));
  const shares = g.edges.map((e) => e.share ?? 0);
  assert.ok(Math.abs((shares[0] ?? 0) + (shares[1] ?? 0) - 1) < 1e-9, "the shares of a split are all of it");
});

test("what is in no namespace stands in no box, and edges to what has no endpoint have no lock", () => {
  const t = shop();
  const told = t.nodes.filter((n) => n.ns === "" || n.ns === "-");
  assert.equal(told.length, 3);
  for (const n of told) delete (n as Partial<typeof n>).ns; // as a control plane without the word for it says it
  const g = buildGraph(t, undefined, { folded: () => false });
  assert.ok(g.groups.every((name) => typeof name === "string" && name !== ""), JSON.stringify(g.groups));
  assert.ok(g.nodes.every((n) => typeof n.group === "string" && typeof n.ns === "string"));
  assert.deepEqual(g.edges.filter((e) => !reached(e)).map((e) => e.dst), ["-/none/notify/push"]);
});

test("a workload that is called by two protocols is one at the side of its caller", () => {
  const total = (rps: number, success: number) => ({ rps, requests: rps * 60, success, open: 1 });
  const edge = (over: Partial<Edge>): Edge => ({ id: "x", src: "a", dst: "b", service: "s/b", protocol: "http", secured: true, share: 0.9, total: total(9, 1), ...over });
  const http = edge({});
  const grpc = edge({ protocol: "grpc", share: 0.1, total: total(1, 0.5) });
  const [one, ...others] = perWorkload([http, grpc], "dst");
  assert.deepEqual(others, []);
  assert.deepEqual([one?.share, one?.total.rps, one?.total.success, one?.mixed], [1, 10, 0.95, false]);
  const nodes = ["a", "b"].map((id) => ({ id, ns: "s", kind: "deployment", name: id, meshed: true }));
  const g = buildGraph({ ...shop(), nodes, edges: [http, grpc] }, undefined);
  assert.deepEqual(g.edges.map((e) => e.share), [undefined], "all of the calls is no share");
  const plain = edge({ service: "s/c", secured: false, reason: "Not Provided By Remote" });
  const [mixed] = perWorkload([http, plain], "dst");
  assert.deepEqual([mixed?.share, mixed?.secured, mixed?.mixed, mixed?.reason], [undefined, false, true, "Not Provided By Remote"]);
});

test("without the configuration there are shares and no weights", () => {
  const g = buildGraph(example().t, undefined);
  assert.deepEqual(g.edges.map((e) => e.weight), [undefined, undefined]);
  assert.ok(g.edges.every((e) => e.share !== undefined));
});

test("a namespace is shown with what it calls and is called by", () => {
  const g = buildGraph(shop(), undefined, { ns: "payments" });
  assert.deepEqual(new Set(g.nodes.map((n) => n.label)), new Set(["payments", "risk", "ledger", "orders", "api.bank.example", "postgres"]));
  assert.equal(g.hidden, shop().nodes.length - 6);
});

test("a folded namespace is one node, its inner calls are gone, the others one edge each", () => {
  const t = shop();
  const g = buildGraph(t, undefined, { folded: (ns) => ns === "shop" });
  const n = g.nodes.find((m) => m.id === "ns/shop");
  assert.equal(n?.members, t.nodes.filter((m) => m.ns === "shop").length);
  assert.ok(!g.edges.some((e) => e.src === "ns/shop" && e.dst === "ns/shop"));
  const toData = g.edges.filter((e) => e.src === "ns/shop" && e.dst.startsWith("data/statefulset/postgres"));
  assert.equal(toData.length, 1);
});

test("what no endpoint was reached for fails, and what is not in the mesh is said", () => {
  const g = buildGraph(shop(), undefined);
  assert.equal(g.nodes.find((n) => n.label === "notify/push")?.health, "bad");
  assert.equal(g.nodes.find((n) => n.label === "10.0.3.7")?.meshed, false);
});

test("edges of one pair are one: secured and not is mixed, sick where a part is", () => {
  const base: Traffic = { from: 0, to: 60, seconds: 60, nodes: ["a", "b"].map((name) => ({ id: `n/pod/${name}`, ns: "n", kind: "pod", name, meshed: true })), services: [], edges: [], namespaces: [] };
  const edge = (more: Partial<Edge>): Edge => ({ id: "", src: "n/pod/a", dst: "n/pod/b", protocol: "http", secured: true, service: "n/b", share: 0.5, total: { rps: 1, requests: 60, success: 1, p99: 4 }, ...more });
  const one = buildGraph({ ...base, edges: [edge({}), edge({ secured: false, share: 0.25, total: { rps: 2, requests: 120, success: 0.9, p99: 9 } })] }, undefined).edges[0];
  assert.deepEqual([one?.security, one?.health, one?.total.rps, one?.total.p99, one?.share], ["mixed", "bad", 3, 9, 0.75]);
  assert.ok(Math.abs((one?.total.success ?? 0) - (60 + 108) / 180) < 1e-9);
  const other = buildGraph({ ...base, edges: [edge({}), edge({ service: "n/c" })] }, undefined).edges[0];
  assert.equal(other?.share, undefined, "shares of different services are not added");
});

test("totals: what is unknown stays unknown", () => {
  const sum = addTotals({ rps: 0, requests: 0, conns: 2 }, { rps: 1, requests: 10, success: 0.5 });
  assert.deepEqual(sum, { rps: 1, requests: 10, conns: 2, success: 0.5, codes: {} });
  assert.equal(addTotals({ rps: 0, requests: 0 }, { rps: 0, requests: 0 })?.success, undefined);
});

test("numbers change, the picture stays; an edge more is another picture", () => {
  const a = buildGraph(traffic(meshes.shop(), 60, AT) as Traffic, undefined);
  const b = buildGraph(traffic(meshes.shop(), 60, AT + 100_000) as Traffic, undefined);
  assert.equal(shapeKey(a), shapeKey(b));
  b.edges.pop();
  assert.notEqual(shapeKey(a), shapeKey(b));
});

test("arrow keys: right to the busiest callee, left back, up and down to the nearest", () => {
  const { t, c } = example();
  const g = buildGraph(t, c);
  const [orders = "", v1 = "", v2 = ""] = g.nodes.map((n) => n.id);
  const at = { [orders]: { x: 0, y: 50 }, [v1]: { x: 200, y: 0 }, [v2]: { x: 200, y: 100 } };
  assert.equal(neighbour(g, at, orders, "right"), v1);
  assert.equal(neighbour(g, at, v2, "left"), orders);
  assert.equal(neighbour(g, at, v1, "down"), v2);
  assert.equal(neighbour(g, at, v2, "up"), v1);
  assert.equal(neighbour(g, at, v1, "right"), undefined);
  assert.equal(neighbour(g, at, "gone", "up"), undefined);
});

test("health: bounds belong to the better side", () => {
  const h = (success: number | undefined, requests = 10) => healthOf({ rps: 1, requests, success });
  assert.deepEqual([h(1), h(WARN), h(WARN - 0.001), h(BAD), h(BAD - 0.001), h(0), h(undefined), h(undefined, 0)], ["ok", "ok", "warn", "warn", "bad", "bad", "ok", "idle"]);
  assert.equal(healthOf({ rps: 0, requests: 0, open: 3 }), "ok");
  assert.equal(worst("ok", "bad", "idle"), "bad");
  assert.deepEqual([lifeLeft({ from: 0, to: 100 }, 75), lifeLeft({ from: 0, to: 100 }, 200), lifeLeft({ from: 5, to: 5 }, 1)], [0.25, 0, 0]);
});

test("workloads of one name in two clusters are two nodes, each in the boxes of its cluster", () => {
  const m = meshes.twins();
  const t = traffic(m, 60, AT) as Traffic;
  const g = buildGraph(t, config(m) as Config);
  assert.deepEqual(g.clusters, ["east", "west"]);
  assert.deepEqual(g.groups, ["east/payments", "east/shop", "west/payments", "west/shop"]);
  const users = g.nodes.filter((n) => n.label === "users");
  assert.deepEqual(users.map((n) => [n.id, n.group]), [["shop/deployment/users@east", "east/shop"], ["shop/deployment/users", "west/shop"]]);
  assert.equal(g.edges.find((e) => e.dst === "shop/deployment/users@east")?.health, "warn");
  assert.equal(g.edges.find((e) => e.src === "shop/deployment/web" && e.dst === "shop/deployment/users")?.health, "ok");
  const both = buildGraph(t, undefined, { ns: "shop", folded: () => true }).nodes.map((n) => n.id).filter((id) => id.startsWith("ns/shop"));
  assert.deepEqual(both, ["ns/shop@east", "ns/shop@west"]);
});

test("a mesh of one cluster has no boxes of clusters", () => {
  const g = buildGraph(shop(), undefined);
  assert.deepEqual(g.clusters, []);
  assert.ok(g.groups.every((name) => !name.includes("/")));
});

test("of a workload that stands in two clusters no weight is told: routes do not say how much each gets", () => {
  const { t, c } = example();
  const v1 = t.edges.find((e) => e.dst.endsWith("users-v1"));
  const node = t.nodes.find((n) => n.id === v1?.dst);
  assert.ok(v1 !== undefined && node !== undefined);
  t.nodes.push({ ...node, id: `${node.id}@east`, cluster: "east" });
  t.edges.push({ ...v1, id: `${v1.id}@east`, dst: `${v1.dst}@east` });
  const weight = new Map(buildGraph(t, c).edges.map((e) => [e.dst, e.weight]));
  assert.equal(weight.get("myapp/deployment/users-v1"), undefined);
  assert.equal(weight.get("myapp/deployment/users-v1@east"), undefined);
  assert.ok(weight.get("myapp/deployment/users-v2") !== undefined);
});
