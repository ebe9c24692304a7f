// A layout of large graphs in milliseconds: layers by the longest path, order within them by the mean of the neighbours
// (Sugiyama, Tagawa, Toda 1981: the barycentre method), a column that grows too tall broken into several. Edges are drawn
// straight from layer to layer, behind the nodes.

import type { LayoutInput, LayoutResult, Point } from "./layout";

/** Between columns and between nodes; a graph of few nodes has more room. */
const gaps = (nodes: number) => (nodes > 60 ? { x: 90, y: 14 } : { x: 170, y: 44 });
const MARGIN = 24;
const SWEEPS = 6;

export function layered(input: LayoutInput): LayoutResult {
  const index = new Map(input.nodes.map((n, i) => [n.id, i]));
  const out: number[][] = input.nodes.map(() => []);
  const into: number[][] = input.nodes.map(() => []);
  for (const e of input.edges) {
    const s = index.get(e.src);
    const d = index.get(e.dst);
    if (s === undefined || d === undefined || s === d) continue;
    out[s]?.push(d);
    into[d]?.push(s);
  }
  const columns = order(split(ranks(out), input), out, into);
  return place(input, columns, index);
}

/** The layer of each node: behind all of its callers, where edges that close a circle do not count. */
function ranks(out: number[][]): number[] {
  const n = out.length;
  const state = new Uint8Array(n); // 1 on the path, 2 done
  const finished: number[] = [];
  const forward: number[][] = out.map(() => []);
  for (let root = 0; root < n; root++) {
    if (state[root] !== 0) continue;
    const stack: [number, number][] = [[root, 0]]; // a path and how far each node of it is, for no recursion is deep enough
    state[root] = 1;
    while (stack.length > 0) {
      const top = stack[stack.length - 1] as [number, number];
      const next = out[top[0]]?.[top[1]++];
      if (next === undefined) {
        state[top[0]] = 2;
        finished.push(top[0]);
        stack.pop();
      } else if (state[next] !== 1) {
        forward[top[0]]?.push(next);
        if (state[next] === 0) {
          state[next] = 1;
          stack.push([next, 0]);
        }
      }
    }
  }
  const rank = new Array<number>(n).fill(0);
  for (const i of finished.reverse()) for (const to of forward[i] ?? []) rank[to] = Math.max(rank[to] ?? 0, (rank[i] ?? 0) + 1);
  return rank;
}

/** How much wider than tall the picture should be, as screens are. */
const ASPECT = 1.8;

/**
 * The columns: layers in their order, thin ones put together and tall ones broken, so that the picture has the shape of a
 * screen. Without this the layers of a mesh in which everything calls everything would be one node each.
 */
function split(rank: number[], input: LayoutInput): number[][] {
  const layers: number[][] = [];
  rank.forEach((r, i) => (layers[r] ??= []).push(i));
  const first = input.nodes[0];
  const gap = gaps(input.nodes.length);
  const cell = ((first?.h ?? 0) + gap.y) / ((first?.w ?? 0) + gap.x);
  const wanted = Math.max(Math.min(4, layers.length), Math.round(Math.sqrt(ASPECT * cell * input.nodes.length)));
  const size = Math.ceil(input.nodes.length / wanted);
  const columns: number[][] = [];
  for (let layer of layers) {
    if (layer === undefined) continue;
    layer = layer.sort((a, b) => (input.nodes[a]?.group ?? "").localeCompare(input.nodes[b]?.group ?? "") || a - b);
    const last = columns[columns.length - 1];
    if (last !== undefined && last.length + layer.length <= size * 1.2) {
      last.push(...layer);
      continue;
    }
    const parts = Math.ceil(layer.length / (size * 1.2));
    const each = Math.ceil(layer.length / parts);
    for (let at = 0; at < layer.length; at += each) columns.push(layer.slice(at, at + each));
  }
  return columns;
}

function order(columns: number[][], out: number[][], into: number[][]): number[][] {
  const at = new Float64Array(out.length); // 0 to 1 from top to bottom
  const settle = (c: number[]) => c.forEach((i, k) => { at[i] = (k + 0.5) / c.length; });
  columns.forEach(settle);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const beside = sweep % 2 === 0 ? into : out;
    for (const c of sweep % 2 === 0 ? columns : [...columns].reverse()) {
      const mean = new Map<number, number>();
      for (const i of c) {
        const all = beside[i] ?? [];
        mean.set(i, all.length === 0 ? (at[i] ?? 0) : all.reduce((sum, j) => sum + (at[j] ?? 0), 0) / all.length);
      }
      c.sort((a, b) => (mean.get(a) ?? 0) - (mean.get(b) ?? 0) || a - b);
      settle(c);
    }
  }
  return columns;
}

function place(input: LayoutInput, columns: number[][], index: Map<string, number>): LayoutResult {
  const result: LayoutResult = { nodes: {}, edges: {}, groups: {}, clusters: {}, width: 0, height: 0 };
  const gap = gaps(input.nodes.length);
  const height = (c: number[]) => c.reduce((sum, i) => sum + (input.nodes[i]?.h ?? 0) + gap.y, 0);
  const tallest = Math.max(...columns.map(height));
  let x = MARGIN + gap.x / 2; // edges within the first column run at its left
  for (const c of columns) {
    const width = Math.max(...c.map((i) => input.nodes[i]?.w ?? 0));
    let y = MARGIN + (tallest - height(c)) / 2;
    for (const i of c) {
      const n = input.nodes[i];
      if (n === undefined) continue;
      result.nodes[n.id] = { x: x + width / 2, y: y + n.h / 2 };
      y += n.h + gap.y;
    }
    x += width + gap.x;
  }
  result.width = x - gap.x + MARGIN;
  result.height = tallest + 2 * MARGIN;
  for (const e of input.edges) {
    const s = input.nodes[index.get(e.src) ?? -1];
    const d = input.nodes[index.get(e.dst) ?? -1];
    const from = result.nodes[e.src];
    const to = result.nodes[e.dst];
    if (s === undefined || d === undefined || from === undefined || to === undefined) continue;
    if (s === d) {
      result.edges[e.id] = selfLoop(from);
      continue;
    }
    const side = to.x > from.x ? 1 : -1; // to the left where an edge leads back, and round the left of its column where it stays there
    const a = { x: from.x + (side * s.w) / 2, y: from.y };
    const b = { x: to.x - ((to.x === from.x ? -1 : 1) * side * d.w) / 2, y: to.y };
    const label = { x: (a.x + b.x) / 2 - (to.x === from.x ? gap.x / 3 : 0), y: (a.y + b.y) / 2 };
    result.edges[e.id] = { points: to.x === from.x ? [a, label, b] : [a, b], label };
  }
  return result;
}

/** The way of a call to oneself, over the top of the node. */
export function selfLoop(n: Point): { points: Point[]; label: Point } {
  return {
    points: [{ x: n.x - 30, y: n.y - 24 }, { x: n.x - 34, y: n.y - 50 }, { x: n.x + 34, y: n.y - 50 }, { x: n.x + 30, y: n.y - 24 }],
    label: { x: n.x, y: n.y - 52 },
  };
}
