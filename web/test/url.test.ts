import assert from "node:assert/strict";
import { test } from "node:test";
import { atOf, changed, format, homeId, idParts, link, parse, windowOf } from "../src/pure/url";

test("an address that was made is read back", () => {
  const places = [
    { view: "overview", path: [], query: {} },
    { view: "map", path: [], query: { ns: "shop", sel: "shop/deployment/a>/address/10.0.3.7", find: "50% & more #1" } },
    { view: "workloads", path: ["service", "", "api.example.com"], query: { window: "300" } },
    { view: "config", path: ["VirtualService", "my ns", "a/b?c#d"], query: {} },
  ] as const;
  for (const p of places) assert.deepEqual(parse(format({ ...p, path: [...p.path], query: { ...p.query } })), p);
});

test("nonsense is the overview, and breaks nothing", () => {
  for (const hash of ["", "#", "#/", "#/nothing/here", "#%", "#/%E0%A4%A"]) assert.equal(parse(hash).view, "overview", hash);
  assert.deepEqual(parse("#/config/%E0%A4%A").path, ["%E0%A4%A"]);
  assert.deepEqual(parse("#/nothing/here").path, []);
});

test("what is empty is not written", () => {
  assert.equal(format({ view: "map", path: [], query: { ns: "", find: "x" } }), "#/map?find=x");
  assert.equal(changed(parse("#/map?sel=a&ns=b"), { sel: "" }), "#/map?ns=b");
});

test("a link keeps the scope and leaves the rest", () => {
  const from = parse("#/map?ns=shop&window=300&at=1700000000000&sel=x&find=y&cli=1");
  assert.equal(link(from, "workloads", ["workload", "shop", "deployment", "a"]), "#/workloads/workload/shop/deployment/a?at=1700000000000&cli=1&ns=shop&window=300");
  assert.equal(link(from, "map", [], { ns: "other" }), "#/map?at=1700000000000&cli=1&ns=other&window=300");
});

test("windows and moments out of bounds are the defaults", () => {
  const w = (v: string) => windowOf(parse(`#/map?window=${v}`));
  assert.deepEqual(["60", "300", "3600", "15", "14", "3601", "1e9", "x", "", "-60", "60.5"].map(w), [60, 300, 3600, 15, 60, 60, 60, 60, 60, 60, 60]);
  const a = (v: string) => atOf(parse(`#/map?at=${v}`));
  assert.deepEqual(["1700000000000", "0", "-1", "x", ""].map(a), [1700000000000, undefined, undefined, undefined, undefined]);
  assert.equal(atOf(parse("#/map")), undefined);
});

test("the name of a node may hold slashes", () => {
  assert.deepEqual(idParts("shop/deployment/cart"), ["shop", "deployment", "cart", ""]);
  assert.deepEqual(idParts("-/none/notify/push"), ["-", "none", "notify/push", ""]);
  assert.deepEqual(idParts("/address/fd00::1"), ["", "address", "fd00::1", ""]);
});

test("a workload of another cluster is one of its own, also in an address", () => {
  assert.deepEqual(idParts("shop/deployment/cart@east"), ["shop", "deployment", "cart", "east"]);
  assert.deepEqual(idParts("-/host/a@b.example"), ["-", "host", "a@b.example", ""]);
  assert.equal(homeId("shop/deployment/cart@east"), "shop/deployment/cart");
  assert.equal(homeId("-/none/notify/push"), "-/none/notify/push");
  const place = parse(format({ view: "workloads", path: ["workload", "shop", "deployment", "cart@east"], query: {} }));
  assert.deepEqual(place.path, ["workload", "shop", "deployment", "cart@east"]);
});
