import assert from "node:assert/strict";
import { test } from "node:test";
// @ts-ignore: plain script
import { meshes } from "../mock/mesh.mjs";
// @ts-ignore: plain script
import { traffic } from "../mock/answers.mjs";
import type { Traffic } from "../src/data/types";
import { buildGraph, type MapGraph } from "../src/map/graph";
import { layout, type LayoutInput, type LayoutResult } from "../src/map/layout";

const input = (g: MapGraph): LayoutInput => ({
  nodes: g.nodes.map((n) => ({ id: n.id, group: n.group, app: n.app, cluster: n.cluster, w: 160, h: 46 })),
  edges: g.edges.map((e) => ({ id: e.id, src: e.src, dst: e.dst, w: 84, h: 20 })),
});
const graph = (name: string, options = {}) => buildGraph(traffic(meshes[name](), 60, 1_700_000_000_000) as Traffic, undefined, options);

function overlaps(r: LayoutResult): string[] {
  const all = Object.entries(r.nodes);
  return all.flatMap(([a, p], i) => all.slice(i + 1).filter(([, q]) => Math.abs(p.x - q.x) < 160 && Math.abs(p.y - q.y) < 46).map(([b]) => `${a} lies on ${b}`));
}

for (const [name, options] of [["example", {}], ["shop", {}], ["twins", {}], ["big", {}], ["big", { folded: () => true }]] as const) {
  test(`${name} ${JSON.stringify(Object.keys(options))}: every node has a place of its own, every edge a line between its ends`, () => {
    const g = graph(name, options);
    const r = layout(input(g));
    assert.equal(Object.keys(r.nodes).length, g.nodes.length);
    assert.deepEqual(overlaps(r), []);
    for (const e of g.edges) {
      const points = r.edges[e.id]?.points ?? [];
      const [from, to] = [r.nodes[e.src], r.nodes[e.dst]];
      const [first, last] = [points[0], points[points.length - 1]];
      assert.ok(first && last && from && to, e.id);
      assert.ok(Math.abs(first.x - from.x) <= 81 && Math.abs(first.y - from.y) <= 24, `${e.id} begins at its caller`);
      assert.ok(Math.abs(last.x - to.x) <= 81 && Math.abs(last.y - to.y) <= 24, `${e.id} ends at its callee`);
    }
    for (const p of Object.values(r.nodes)) assert.ok(p.x > 0 && p.y > 0 && p.x < r.width && p.y < r.height);
  });
}

test("callers stand left of callees", () => {
  const g = graph("shop");
  const r = layout(input(g));
  for (const e of g.edges) assert.ok((r.nodes[e.src]?.x ?? 0) < (r.nodes[e.dst]?.x ?? 0), e.id);
});

test("a box holds the nodes of its namespace", () => {
  const g = graph("shop");
  const r = layout(input(g));
  for (const n of g.nodes) {
    const [box, at] = [r.groups[n.group], r.nodes[n.id]];
    if (n.group === "") continue;
    assert.ok(box && at && at.x > box.x && at.x < box.x + box.w && at.y > box.y && at.y < box.y + box.h, n.id);
  }
});

test("a large mesh has the shape of a screen, also where everything calls everything", () => {
  for (const options of [{}, { folded: () => true }]) {
    const r = layout(input(graph("big", options)));
    const aspect = r.width / r.height;
    assert.ok(aspect > 0.8 && aspect < 4, `${aspect}`);
  }
});

test("circles, loops, duplicates and ends that do not exist", () => {
  const node = (id: string) => ({ id, group: "g", app: id, w: 160, h: 46 });
  const edge = (src: string, dst: string, n = 0) => ({ id: `${src}>${dst}${n}`, src, dst, w: 84, h: 20 });
  const small = layout({ nodes: ["a", "b", "c"].map(node), edges: [edge("a", "b"), edge("a", "b", 1), edge("b", "c"), edge("c", "a"), edge("a", "a")] });
  assert.deepEqual(overlaps(small), []);
  assert.equal(Object.keys(small.edges).length, 5);
  const many = Array.from({ length: 200 }, (_, i) => node(`n${i}`));
  const circle = layout({ nodes: many, edges: [...many.map((n, i) => edge(n.id, `n${(i + 1) % 200}`)), edge("n0", "gone"), edge("n5", "n5")] });
  assert.deepEqual(overlaps(circle), []);
  assert.deepEqual(layout({ nodes: [], edges: [] }).width, 0);
});

test("a layer of very many is broken into columns", () => {
  const node = (id: string) => ({ id, group: "g", app: id, w: 160, h: 46 });
  const callers = Array.from({ length: 400 }, (_, i) => node(`n${i}`));
  const r = layout({ nodes: [...callers, node("hub")], edges: callers.map((n) => ({ id: `${n.id}>hub`, src: n.id, dst: "hub", w: 0, h: 0 })) });
  assert.ok(r.width > r.height, `${r.width} by ${r.height}`);
  assert.deepEqual(overlaps(r), []);
});

test("boxes of a cluster stand in its own, and those of two clusters apart", () => {
  const g = graph("twins");
  const r = layout(input(g));
  assert.deepEqual(Object.keys(r.clusters).sort(), ["east", "west"]);
  for (const [name, b] of Object.entries(r.groups)) {
    const c = r.clusters[name.split("/")[0] ?? ""];
    assert.ok(c !== undefined && b.x >= c.x && b.y >= c.y && b.x + b.w <= c.x + c.w && b.y + b.h <= c.y + c.h, `${name} leaves its cluster`);
  }
  const [a, b] = [r.clusters.east, r.clusters.west];
  assert.ok(a !== undefined && b !== undefined && (a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y), "the clusters overlap");
});
