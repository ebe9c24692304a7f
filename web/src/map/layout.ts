// Where nodes stand and how edges run: dagre's layers from callers at the left to callees at the right, in boxes by namespace
// and app. What dagre would take seconds for is laid out by layered.ts, without boxes.

import { Graph, layout as dagre } from "@dagrejs/dagre";
import { layered, selfLoop } from "./layered";

export interface LayoutInput {
  nodes: { id: string; group: string; app: string; cluster?: string; w: number; h: number }[];
  edges: { id: string; src: string; dst: string; w: number; h: number }[];
}
export interface Point { x: number; y: number }
export interface Box { x: number; y: number; w: number; h: number }
export interface LayoutResult {
  nodes: Record<string, Point>;
  edges: Record<string, { points: Point[]; label: Point }>;
  groups: Record<string, Box>;
  clusters: Record<string, Box>;
  width: number; height: number;
}

/** Beyond so many nodes or edges dagre takes too long. */
const DAGRE_NODES = 120;
const DAGRE_EDGES = 300;

export function layout(input: LayoutInput): LayoutResult {
  if (input.nodes.length === 0) return { nodes: {}, edges: {}, groups: {}, clusters: {}, width: 0, height: 0 };
  if (input.nodes.length > DAGRE_NODES || input.edges.length > DAGRE_EDGES) return layered(input);
  const g = new Graph({ directed: true, multigraph: true, compound: true });
  g.setGraph({ rankdir: "LR", nodesep: 24, edgesep: 16, ranksep: 48, marginx: 16, marginy: 24, ranker: "network-simplex" });
  g.setDefaultEdgeLabel(() => ({}));
  const groups = new Set(input.nodes.map((n) => n.group).filter((n) => n !== ""));
  for (const name of groups) g.setNode(`group ${name}`, {});
  const clusters = new Set(input.nodes.map((n) => n.cluster ?? "").filter((n) => n !== ""));
  for (const name of clusters) g.setNode(`cluster ${name}`, {});
  for (const n of input.nodes) if (clusters.has(n.cluster ?? "") && n.group !== "") g.setParent(`group ${n.group}`, `cluster ${n.cluster}`);
  const apps = new Map<string, number>();
  for (const n of input.nodes) if (n.app !== "") apps.set(`${n.group}/${n.app}`, (apps.get(`${n.group}/${n.app}`) ?? 0) + 1);
  for (const n of input.nodes) {
    g.setNode(n.id, { width: n.w, height: n.h });
    if (n.group === "") {
      if (clusters.has(n.cluster ?? "")) g.setParent(n.id, `cluster ${n.cluster}`);
      continue;
    }
    const app = `${n.group}/${n.app}`;
    if ((apps.get(app) ?? 0) > 1 && groups.size * 3 < input.nodes.length * 2) {
      if (!g.hasNode(`app ${app}`)) {
        g.setNode(`app ${app}`, {});
        g.setParent(`app ${app}`, `group ${n.group}`);
      }
      g.setParent(n.id, `app ${app}`);
    } else g.setParent(n.id, `group ${n.group}`);
  }
  for (const e of input.edges) if (e.src !== e.dst) g.setEdge(e.src, e.dst, { width: e.w, height: e.h, labelpos: "c" }, e.id);
  dagre(g);
  return read(g, input, { group: groups, cluster: clusters });
}

function read(g: Graph, input: LayoutInput, boxes: Record<"group" | "cluster", Set<string>>): LayoutResult {
  const out: LayoutResult = { nodes: {}, edges: {}, groups: {}, clusters: {}, width: 0, height: 0 };
  for (const n of input.nodes) {
    const at = g.node(n.id) as Point;
    out.nodes[n.id] = { x: at.x, y: at.y };
  }
  for (const [kind, into] of [["group", out.groups], ["cluster", out.clusters]] as const) {
    for (const name of boxes[kind]) {
      const b = g.node(`${kind} ${name}`) as { x: number; y: number; width: number; height: number };
      into[name] = { x: b.x - b.width / 2, y: b.y - b.height / 2, w: b.width, h: b.height };
    }
  }
  for (const e of input.edges) {
    if (e.src === e.dst) {
      const n = out.nodes[e.src];
      if (n !== undefined) out.edges[e.id] = selfLoop(n);
      continue;
    }
    const at = g.edge({ v: e.src, w: e.dst, name: e.id }) as { points: Point[]; x?: number; y?: number };
    const middle = at.points[Math.floor(at.points.length / 2)] ?? { x: 0, y: 0 };
    const inner = at.points.slice(1, -1).map((p) => ({ x: p.x, y: p.y }));
    out.edges[e.id] = { points: inner, label: { x: at.x ?? middle.x, y: at.y ?? middle.y } };
  }
  dock(input, out);
  const size = g.graph() as { width?: number; height?: number };
  out.width = size.width ?? 0;
  out.height = size.height ?? 0;
  return out;
}

/**
 * Lets edges begin and end at the sides of nodes, callers' right and callees' left, each at a height of its own in the order
 * in which they come; dagre would have them point at the middle, and cross what stands above and below.
 */
function dock(input: LayoutInput, out: LayoutResult): void {
  const size = new Map(input.nodes.map((n) => [n.id, n]));
  const sides = new Map<string, { edge: string; y: number; x: number; end: "src" | "dst" }[]>();
  for (const e of input.edges) {
    const points = out.edges[e.id]?.points;
    const [s, d] = [out.nodes[e.src], out.nodes[e.dst]];
    if (e.src === e.dst || points === undefined || s === undefined || d === undefined) continue;
    const back = d.x <= s.x;
    for (const [end, n, next, sign] of [["src", s, points[0] ?? d, back ? -1 : 1], ["dst", d, points[points.length - 1] ?? s, back ? 1 : -1]] as const) {
      const side = `${end === "src" ? e.src : e.dst} ${sign}`;
      sides.set(side, [...(sides.get(side) ?? []), { edge: e.id, y: next.y, x: n.x + (sign * (size.get(e[end])?.w ?? 0)) / 2, end }]);
    }
  }
  for (const [side, ends] of sides) {
    const n = out.nodes[side.slice(0, side.lastIndexOf(" "))];
    if (n === undefined) continue;
    ends.sort((a, b) => a.y - b.y);
    const gap = Math.min(9, 32 / ends.length);
    ends.forEach((end, i) => {
      const at = { x: end.x, y: n.y + (i - (ends.length - 1) / 2) * gap };
      const points = out.edges[end.edge]?.points;
      if (end.end === "src") points?.unshift(at);
      else points?.push(at);
    });
  }
}
