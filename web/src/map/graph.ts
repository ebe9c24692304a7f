// From what the server says to what the map draws: workloads put together by namespace where the map would be too large,
// calls of one pair of workloads on one edge, weights beside what really went that way. Pure.

import type { Config, Edge, Node, Traffic, Total } from "../data/types";
import { type Health, healthOf, worst } from "../pure/health";
import { homeId } from "../pure/url";

export interface MapNode {
  id: string; label: string; kind: string; ns: string;
  /** The box that it stands in, "" for none; inside of it those of one app stand together. Boxes of a cluster stand in its own. */
  group: string; app: string; cluster: string;
  meshed: boolean; health: Health; total?: Total;
  /** How many workloads it stands for, where it is a namespace. */
  members?: number;
}

export interface MapEdge {
  id: string; src: string; dst: string; parts: Edge[]; total: Total; health: Health; protocol: string;
  security: "mtls" | "none" | "mixed";
  /** Of the calls to a service with several versions: what is configured, and what happened. */
  weight?: number; share?: number;
}

export interface MapGraph { nodes: MapNode[]; edges: MapEdge[]; groups: string[]; clusters: string[]; hidden: number }

export interface MapOptions {
  ns?: string;
  /** Text that a node's name must hold; neighbours of those that do stay. */
  search?: string;
  /** Namespaces that are one node. */
  folded?: (ns: string) => boolean;
}

export function buildGraph(traffic: Traffic, config: Config | undefined, options: MapOptions = {}): MapGraph {
  const kept = keep(traffic, options);
  const folded = options.folded ?? (() => false);
  const place = new Map<string, string>(); // of a node's id, the id of what stands for it
  const nodes = new Map<string, MapNode>();
  for (const n of traffic.nodes) {
    if (!kept.has(n.id)) continue;
    const isFolded = (n.ns ?? "") !== "" && n.ns !== "-" && folded(n.ns);
    const id = isFolded ? namespaceId(n) : n.id;
    place.set(n.id, id);
    const known = nodes.get(id);
    if (known === undefined) nodes.set(id, isFolded ? namespaceNode(n) : nodeOf(n));
    else fold(known, n);
  }
  const weights = weightsOf(config, traffic);
  const edges = new Map<string, MapEdge>();
  for (const e of traffic.edges) {
    const src = place.get(e.src);
    const dst = place.get(e.dst);
    if (src === undefined || dst === undefined || (src === dst && e.src !== e.dst)) continue;
    const id = `${src}>${dst}`;
    const known = edges.get(id);
    if (known === undefined) edges.set(id, { ...edgeOf(e, weights), id, src, dst });
    else join(known, e);
  }
  // What was two parts of all calls, by two protocols or two routes to one workload, is no split.
  for (const e of edges.values()) if (e.weight === undefined && (e.share ?? 0) >= 0.9995) e.share = undefined;
  for (const n of nodes.values()) if (n.members !== undefined) n.health = worst(n.health, healthOf(n.total));
  const names = (of: (n: MapNode) => string) => [...new Set([...nodes.values()].map(of).filter((g) => g !== ""))].sort();
  return { nodes: [...nodes.values()], edges: [...edges.values()], groups: names((n) => n.group), clusters: names((n) => n.cluster), hidden: traffic.nodes.length - kept.size };
}

/** The nodes that are wanted, and those that they call or are called by. */
function keep(traffic: Traffic, { ns, search }: MapOptions): Set<string> {
  const text = (search ?? "").toLowerCase();
  const own = new Set(traffic.nodes
    .filter((n) => (ns === undefined || ns === "" || n.ns === ns) && (text === "" || n.name.toLowerCase().includes(text) || (n.app ?? "").toLowerCase().includes(text)))
    .map((n) => n.id));
  const all = new Set(own);
  if (own.size === traffic.nodes.length) return all;
  for (const e of traffic.edges) {
    if (own.has(e.src)) all.add(e.dst);
    if (own.has(e.dst)) all.add(e.src);
  }
  return all;
}

function nodeOf(n: Node): MapNode {
  const ns = n.ns === "-" ? "" : (n.ns ?? ""); // a node of an older control plane in no namespace says none
  const cluster = n.cluster ?? "";
  return {
    id: n.id, label: n.name, kind: n.kind, ns, group: cluster === "" ? ns : `${cluster}/${ns}`, cluster, app: ns === "" ? "" : (n.app ?? n.name),
    meshed: n.meshed, health: n.kind === "none" ? "bad" : healthOf(n.total), total: n.total,
  };
}

/** A namespace is another one in each cluster. */
function namespaceId(n: Node): string { return n.cluster === undefined ? `ns/${n.ns}` : `ns/${n.ns}@${n.cluster}`; }

function namespaceNode(n: Node): MapNode {
  return { id: namespaceId(n), label: n.ns, kind: "namespace", ns: n.ns, group: "", app: "", cluster: n.cluster ?? "", meshed: n.meshed, health: healthOf(n.total), total: n.total, members: 1 };
}

function fold(known: MapNode, n: Node): void {
  known.members = (known.members ?? 1) + 1;
  known.meshed = known.meshed && n.meshed;
  known.total = addTotals(known.total, n.total);
}

function edgeOf(e: Edge, weights: (e: Edge) => number | undefined): Omit<MapEdge, "id" | "src" | "dst"> {
  const weight = weights(e);
  const split = weight !== undefined || (e.share !== undefined && e.share < 0.9995);
  return {
    parts: [e], total: e.total, health: healthOf(e.total), protocol: e.protocol, security: e.secured ? "mtls" : "none",
    weight, share: split ? e.share : undefined,
  };
}

function join(known: MapEdge, e: Edge): void {
  known.parts.push(e);
  known.total = addTotals(known.total, e.total) ?? e.total;
  // Between two workloads one route that fails is a failing edge; between namespaces the sum of all calls counts.
  const folded = known.src.startsWith("ns/") || known.dst.startsWith("ns/");
  known.health = folded ? healthOf(known.total) : worst(known.health, healthOf(e.total));
  const security = e.secured ? "mtls" : "none";
  if (known.security !== security) known.security = "mixed";
  if (known.protocol !== e.protocol) known.protocol = "mixed";
  // Shares of calls to different services cannot be put together, and weights with them. Those to one service can.
  if (known.parts[0]?.service === e.service && known.share !== undefined && e.share !== undefined) known.share += e.share;
  else known.weight = known.share = undefined;
}

/**
 * Totals together. Counts and rates add up; success follows from the counts; a percentile of the whole is not known, but it is
 * at most the largest of the parts, and that is what is shown.
 */
export function addTotals(a: Total | undefined, b: Total | undefined): Total | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  const requests = a.requests + b.requests;
  const out: Total = { rps: a.rps + b.rps, requests };
  for (const key of ["failures", "retries", "timeouts", "conns", "open", "bytesIn", "bytesOut"] as const) {
    if (a[key] !== undefined || b[key] !== undefined) out[key] = (a[key] ?? 0) + (b[key] ?? 0);
  }
  for (const key of ["p50", "p95", "p99"] as const) {
    if (a[key] !== undefined || b[key] !== undefined) out[key] = Math.max(a[key] ?? 0, b[key] ?? 0);
  }
  const counted = [a, b].filter((t) => t.success !== undefined);
  const of = counted.reduce((n, t) => n + t.requests, 0);
  if (of > 0) out.success = counted.reduce((n, t) => n + (t.success ?? 0) * t.requests, 0) / of;
  out.codes = { ...a.codes };
  for (const [code, n] of Object.entries(b.codes ?? {})) out.codes[code] = (out.codes[code] ?? 0) + n;
  return out;
}

/**
 * What the routes of a service give to the workload that an edge leads to, where they split. They do not say how much of it each
 * cluster gets: of a workload that stands in several nothing is said.
 */
function weightsOf(config: Config | undefined, traffic: Traffic): (e: Edge) => number | undefined {
  const services = new Map((config?.services ?? []).map((s) => [s.id, s]));
  const shared = new Set(traffic.nodes.map((n) => n.id).filter((id) => homeId(id) !== id).map(homeId));
  return (e) => {
    const service = e.service === undefined ? undefined : services.get(e.service);
    if (service === undefined || shared.has(homeId(e.dst))) return undefined;
    const route = service.routes.find((r) => r.backends.length > 1 && r.name !== undefined && r.name === e.route) ?? service.routes.find((r) => r.backends.length > 1);
    if (route === undefined) return undefined;
    let weight: number | undefined;
    for (const b of route.backends) {
      const target = services.get(b.service) ?? (b.service === e.service ? service : undefined);
      const hit = target?.endpoints.some((p) => p.workload === e.dst && (b.subset === undefined || (p.subsets ?? []).includes(b.subset)));
      if (hit) weight = (weight ?? 0) + (b.share ?? 0);
    }
    return weight;
  };
}

/** An edge as the calls of one workload at its other end, by whatever protocol and to whatever service, make it up. */
export type Arm = Edge & { mixed?: boolean };

/** One edge for each workload at an end: what the workload at hand calls, or is called by. A share is of the calls to one service. */
export function perWorkload(edges: Edge[], end: "src" | "dst"): Arm[] {
  const out = new Map<string, Arm>();
  for (const e of edges) {
    const known = out.get(e[end]);
    if (known === undefined) {
      out.set(e[end], { ...e });
      continue;
    }
    const share = known.share !== undefined && e.share !== undefined && known.service === e.service ? known.share + e.share : undefined;
    const plain = known.secured ? e : known;
    out.set(e[end], {
      ...known, share, total: addTotals(known.total, e.total) ?? e.total, secured: known.secured && e.secured, reason: plain.reason, note: plain.note,
      mixed: known.mixed === true || known.secured !== e.secured,
    });
  }
  return [...out.values()];
}

/** Whether calls along an edge had somebody to reach. Where no endpoint was there is no connection that could be secured. */
export function reached(e: { dst: string }): boolean { return !e.dst.startsWith("-/none/"); }

/** What of a graph decides where things stand: the same key, the same picture. */
export function shapeKey(g: MapGraph): string {
  return `${g.nodes.map((n) => `${n.id} ${n.group} ${n.app} ${n.cluster}`).sort().join("|")}#${g.edges.map((e) => e.id).sort().join("|")}`;
}

export type Direction = "left" | "right" | "up" | "down";

/**
 * Where an arrow key leads: left and right along edges, to callers and callees, the busiest first; up and down to what stands
 * nearest above and below.
 */
export function neighbour(g: MapGraph, at: Record<string, { x: number; y: number }>, from: string, to: Direction): string | undefined {
  const here = at[from];
  if (here === undefined) return undefined;
  if (to === "left" || to === "right") {
    const [own, other] = to === "right" ? (["src", "dst"] as const) : (["dst", "src"] as const);
    const along = g.edges.filter((e) => e[own] === from && e[other] !== from).sort((a, b) => b.total.rps - a.total.rps);
    return along[0]?.[other];
  }
  let best: string | undefined;
  let least = Infinity;
  for (const n of g.nodes) {
    const there = at[n.id];
    if (there === undefined || n.id === from) continue;
    const dy = to === "down" ? there.y - here.y : here.y - there.y;
    if (dy <= 1) continue;
    const far = dy + 3 * Math.abs(there.x - here.x);
    if (far < least) [best, least] = [n.id, far];
  }
  return best;
}
