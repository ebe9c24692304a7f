import assert from "node:assert/strict";
import { test } from "node:test";
import type { TapEvent } from "../src/data/types";
import { between, endName, type Exchange, failed, main, RING, tapCommand, tapQuery, withEvents } from "../src/pure/tap";

const event = (more: Partial<TapEvent>): TapEvent => ({
  pod: "a.shop", id: 1, direction: "outbound", start: 1000, duration: 10, src: { addr: "10.0.0.1:1" }, dst: { addr: "10.0.0.2:8080", labels: { pod: "b" } },
  tls: true, method: "GET", authority: "b:8080", path: "/", status: 200, requestId: "r1", ...more,
});
const sides = (list: Exchange[]) => list.map((x) => `${x.out ? "out" : ""}${x.in ? "in" : ""}`);

test("both hops of a request are one row, whichever comes first, also in two portions", () => {
  const hop = event({ direction: "inbound", duration: 7, start: 1001 });
  assert.deepEqual(sides(withEvents([], [event({}), hop])), ["outin"]);
  const later = withEvents(withEvents([], [hop]), [event({})]);
  assert.deepEqual(sides(later), ["outin"]);
  assert.equal(later[0]?.at, 1000);
  assert.equal(main(later[0] as Exchange).direction, "outbound");
  assert.equal(between(later[0] as Exchange), 3);
});

test("the next call of a chain has the same id and is another row", () => {
  const on = event({ src: { addr: "10.0.0.2:2", labels: { pod: "b" } }, dst: { addr: "10.0.0.3:80", labels: { pod: "c" } } });
  assert.deepEqual(sides(withEvents([], [event({}), on, { ...on, direction: "inbound" }])), ["out", "outin"]);
});

test("the same id twice on one side, and no id at all, are rows of their own", () => {
  const list = withEvents([], [event({}), event({}), event({ requestId: undefined }), event({ requestId: "", direction: "inbound" })]);
  assert.deepEqual(sides(list), ["out", "out", "out", "in"]);
  assert.equal(new Set(list.map((x) => x.key)).size, 4);
});

test("the ring is bounded, the oldest go, and what was given is not changed", () => {
  const many = Array.from({ length: RING + 5 }, (_, i) => event({ requestId: `r${i}` }));
  const list = withEvents([], many);
  assert.equal(list.length, RING);
  assert.equal(list[0]?.out?.requestId, "r5");
  withEvents(list, [event({ requestId: "more" })]);
  assert.equal(list.length, RING);
  assert.equal(list[0]?.out?.requestId, "r5");
});

test("what failed", () => {
  const f = (more: Partial<TapEvent>) => failed(event(more));
  assert.deepEqual([f({}), f({ status: 404 }), f({ status: 503 }), f({ status: 0 }), f({ cause: "cut off" }), f({ grpcStatus: "14" }), f({ grpcStatus: "5" }), f({ grpcStatus: "0" })], [false, false, true, true, true, true, false, false]);
  assert.equal(between({ key: "", at: 0, out: event({ duration: 1 }), in: event({ duration: 2 }) }), undefined, "clocks disagree");
});

test("an end is called by its workload", () => {
  assert.equal(endName({ pod: "p", deployment: "d", namespace: "n" }, "1.2.3.4:5"), "d");
  assert.equal(endName({ pod: "p" }, "1.2.3.4:5"), "p");
  assert.equal(endName({}, "1.2.3.4:5"), "1.2.3.4:5");
  assert.equal(endName(undefined, "1.2.3.4:5"), "1.2.3.4:5");
});

test("the command is what a shell would run, the question what the server reads", () => {
  const q = { resource: "deploy/users-v1", namespace: "my app", path: "/a'b; rm -rf", not: "1", "max-rps": "10", "to-namespace": "x", unknown: "y", method: "" };
  assert.equal(tapCommand(q), "fairlead tap deploy/users-v1 -n 'my app' --to-namespace x --path '/a'\\''b; rm -rf' --max-rps 10 --not");
  assert.equal(tapQuery(q), "resource=deploy%2Fusers-v1&namespace=my+app&toNamespace=x&path=%2Fa%27b%3B+rm+-rf&maxRps=10&not=1");
});
