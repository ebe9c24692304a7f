// The picture of the map: boxes, edges, nodes. It is moved by dragging, wheel, buttons and keys.

import { memo } from "preact/compat";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { count, percent, plural, rate, latency } from "../pure/format";
import { healthWord } from "../pure/health";
import { healthShape, Icon } from "../ui/icons";
import { kindName } from "../views/names";
import { NODE_H, NODE_W } from "./engine";
import { type MapEdge, type MapGraph, type MapNode, neighbour, reached } from "./graph";
import type { LayoutResult, Point } from "./layout";

interface View { x: number; y: number; k: number }

export type Label = "auto" | "rps" | "success" | "p95";

const LEAST = 0.08;
const MOST = 2.5;
/** With more edges than this they are drawn faintly, and labelled only around what is selected. */
export const DENSE = 150;
/** So many failing edges are labelled also among many. */
const FEW = 12;
/** The scale at which text can be read without effort. */
const LEGIBLE = 0.85;
/** Below this scale labels cannot be read and are left out. */
const READABLE = 0.45;

export function Canvas({ graph, layout, selected, label, onSelect, onOpen }: {
  graph: MapGraph; layout: LayoutResult; selected: string | undefined; label: Label;
  onSelect: (id: string | undefined) => void; onOpen: (n: MapNode) => void;
}) {
  const svg = useRef<SVGSVGElement>(null);
  const [view, setView] = useState<View>({ x: 0, y: 0, k: 1 });
  const [focus, setFocus] = useState<string | undefined>(undefined);
  const moved = useRef(false); // by the user, who then decides what is seen
  const fit = () => {
    moved.current = false;
    setView(fitted(svg.current, layout));
  };
  const pointOf = (id: string | undefined) => (id === undefined ? undefined : layout.nodes[id] ?? layout.edges[id]?.label);
  const move: SetView = (change) => {
    moved.current = true;
    setView(change);
  };
  const first = useRef(true);
  useLayoutEffect(() => { // all of it, but who comes by a link to something sees that well enough to read
    const at = pointOf(selected);
    fit();
    if (first.current && at !== undefined) setView((v) => (v.k < LEGIBLE ? { k: LEGIBLE, ...centred(at, svg.current) } : v));
    first.current = false;
  }, [layout]);
  useLayoutEffect(() => { // what is chosen stays in sight of the panel, and the rest where it is
    const at = pointOf(selected);
    if (at !== undefined) setView((v) => brought(v, at, svg.current));
    else if (!moved.current) fit();
  }, [selected]);
  useZoom(svg, move);
  useDrag(svg, move, () => onSelect(undefined));
  const zoom = (by: number) => move((v) => scaled(v, by, middle(svg.current)));
  const reach = (id: string) => {
    setFocus(id);
    const el = svg.current?.querySelector<SVGGElement>(`[data-id="${CSS.escape(id)}"]`);
    el?.focus({ preventScroll: true });
    const at = layout.nodes[id];
    if (at !== undefined) move((v) => brought(v, at, svg.current));
  };
  const keys = (e: KeyboardEvent) => {
    const step = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" } as const;
    const to = step[e.key as keyof typeof step];
    if (to !== undefined) {
      const next = neighbour(graph, layout.nodes, focus ?? graph.nodes[0]?.id ?? "", to);
      if (next !== undefined) reach(next);
    } else if (e.key === "Enter" || e.key === " ") {
      const n = graph.nodes.find((m) => m.id === focus);
      if (n === undefined) return;
      if (e.shiftKey) onOpen(n); else onSelect(n.id);
    } else if (e.key === "Escape") onSelect(undefined);
    else if (e.key === "+" || e.key === "=") zoom(1.25);
    else if (e.key === "-") zoom(0.8);
    else if (e.key === "0") fit();
    else return;
    e.preventDefault();
  };
  // What is drawn once and kept must call what is newest.
  const calls = useRef({ onSelect, onOpen });
  calls.current = { onSelect, onOpen };
  const [choose, open] = useMemo(() => [(id: string) => calls.current.onSelect(id), (n: MapNode) => calls.current.onOpen(n)] as const, []);
  const near = selected === undefined ? undefined : nearOf(graph, selected);
  const dense = graph.edges.length > DENSE;
  const failing = dense && graph.edges.filter((e) => e.health === "bad").length <= FEW;
  const labelled = dense ? graph.edges.filter((e) => near?.has(e.id) ?? (failing && e.health === "bad")) : graph.edges;
  return (
    <div class="canvas">
      <svg ref={svg} role="application" aria-label="Map: arrow keys follow calls, Enter shows details, + and - zoom, 0 shows all" onKeyDown={keys}>
        <g transform={`translate(${view.x} ${view.y}) scale(${view.k})`} class={dense ? "dense" : undefined}>
          <Boxes layout={layout} graph={graph} />
          {graph.edges.map((e) => <EdgePath key={e.id} e={e} at={layout.edges[e.id]} lit={near === undefined || near.has(e.id)} selected={selected === e.id} onSelect={choose} plain={dense && !(near?.has(e.id) ?? false)} />)}
          {graph.nodes.map((n) => <NodeBox key={n.id} n={n} at={layout.nodes[n.id]} selected={selected === n.id} lit={near === undefined || near.has(n.id)}
            reachable={(focus ?? graph.nodes[0]?.id) === n.id} onSelect={choose} onOpen={open} onFocus={setFocus} />)}
          {view.k >= READABLE && labelled.map((e) => <EdgeLabel key={e.id} e={e} at={layout.edges[e.id]?.label} label={label} lit={near === undefined || near.has(e.id)} onSelect={choose} />)}
        </g>
      </svg>
      <div class="zoom" role="group" aria-label="Zoom">
        <button type="button" title="closer (+)" onClick={() => zoom(1.25)}><Icon name="plus" /><span class="unseen">closer</span></button>
        <button type="button" title="farther (-)" onClick={() => zoom(0.8)}><Icon name="minus" /><span class="unseen">farther</span></button>
        <button type="button" title="show all (0)" onClick={fit}><Icon name="fit" /><span class="unseen">show all</span></button>
      </div>
    </div>
  );
}

/** What is lit while something is selected: itself, and what is one call away. */
function nearOf(graph: MapGraph, selected: string): Set<string> {
  const out = new Set([selected]);
  for (const e of graph.edges) {
    if (e.id !== selected && e.src !== selected && e.dst !== selected) continue;
    for (const id of [e.id, e.src, e.dst]) out.add(id);
  }
  return out;
}

function Boxes({ layout, graph }: { layout: LayoutResult; graph: MapGraph }) {
  return (
    <>
      {graph.clusters.map((name) => {
        const b = layout.clusters[name];
        if (b === undefined) return null;
        return <g key={name} class="box cluster"><rect x={b.x} y={b.y - 14} width={b.w} height={b.h + 8} rx="12" /><text x={b.x + 12} y={b.y - 1}>cluster {name}</text></g>;
      })}
      {graph.groups.map((name) => {
        const b = layout.groups[name];
        if (b === undefined) return null;
        return <g key={name} class="box"><rect x={b.x} y={b.y - 14} width={b.w} height={b.h + 14} rx="10" /><text x={b.x + 12} y={b.y + 3}>{name.slice(name.indexOf("/") + 1)}</text></g>;
      })}
    </>
  );
}

/** A smooth line through the points, level at each of them. A loop is drawn as it is. */
export function curve(points: Point[]): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  const [a, b, c] = rest;
  if (a !== undefined && b !== undefined && c !== undefined && rest.length === 3 && a.y === b.y && a.y < first.y - 20) {
    return `M${first.x} ${first.y}C${a.x} ${a.y} ${b.x} ${b.y} ${c.x} ${c.y}`;
  }
  let d = `M${first.x} ${first.y}`;
  let from = first;
  for (const to of rest) {
    const middle = (from.x + to.x) / 2;
    d += `C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`;
    from = to;
  }
  return d;
}

const widthOf = (e: MapEdge) => 1.2 + Math.min(3.2, Math.log10(1 + Math.max(e.total.rps, (e.total.conns ?? 0) / 10)) * 1.2);

let pen: CanvasRenderingContext2D | null | undefined;
const widths = new Map<string, number>();

/** How wide a label is, in the font that it is drawn in. */
function widthOfText(text: string): number {
  const known = widths.get(text);
  if (known !== undefined) return known;
  if (pen === undefined) {
    pen = document.createElement("canvas").getContext("2d");
    if (pen !== null) pen.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
  }
  const w = pen?.measureText(text).width ?? text.length * 7;
  if (widths.size > 2000) widths.clear();
  widths.set(text, w);
  return w;
}

interface EdgeProps { e: MapEdge; lit: boolean; onSelect: (id: string) => void }
type PathProps = EdgeProps & { at: LayoutResult["edges"][string] | undefined; selected: boolean; plain: boolean };

/** Numbers change with every event, and what they are drawn as seldom: only then is it drawn again. */
const samePath = (a: PathProps, b: PathProps) => a.at === b.at && a.lit === b.lit && a.selected === b.selected && a.plain === b.plain &&
  a.e.health === b.e.health && a.e.security === b.e.security && Math.abs(widthOf(a.e) - widthOf(b.e)) < 0.25;

const EdgePath = memo(({ e, at, lit, selected, plain, onSelect }: PathProps) => {
  if (at === undefined) return null;
  const d = curve(at.points);
  if (plain) return <path class={`edge thin ${e.health}${lit ? "" : " faint"}`} d={d} onClick={(ev) => { ev.stopPropagation(); onSelect(e.id); }} />;
  const end = at.points[at.points.length - 1] ?? { x: 0, y: 0 };
  const before = at.points[at.points.length - 2] ?? end;
  const turn = e.src === e.dst ? 75 : end.x >= before.x ? 0 : 180; // lines arrive level
  return (
    <g class={`edge ${e.health} ${e.security}${selected ? " selected" : ""}${lit ? "" : " faint"}`} onClick={(ev) => { ev.stopPropagation(); onSelect(e.id); }}>
      <path class="reach" d={d} />
      <path class="line" d={d} stroke-width={widthOf(e)} />
      <path class="head" d="M0 0L-9 4.2V-4.2z" transform={`translate(${end.x} ${end.y}) rotate(${turn})`} />
    </g>
  );
}, samePath);

/** What is written on an edge. */
export function edgeText(e: MapEdge, label: Label): string {
  const t = e.total;
  if (t.requests === 0 && ((t.conns ?? 0) > 0 || (t.open ?? 0) > 0)) return `${count(t.open ?? t.conns)} ${(t.open ?? t.conns) === 1 ? "conn" : "conns"}`;
  if (label === "success") return t.success === undefined ? "" : `${percent(t.success)} %`;
  if (label === "p95") return t.p95 === undefined ? "" : latency(t.p95);
  if (label === "auto" && e.health !== "ok" && e.health !== "idle") return `${percent(t.success)} % ok`;
  if (label === "auto" && e.weight !== undefined) return `${percent(e.share ?? 0)} of ${Math.round(e.weight * 100)} %`;
  if (label === "auto" && e.share !== undefined) return `${percent(e.share)} %`;
  return `${rate(t.rps)} /s`;
}

type LabelProps = EdgeProps & { at: Point | undefined; label: Label };

const sameLabel = (a: LabelProps, b: LabelProps) => a.at === b.at && a.lit === b.lit && a.e.health === b.e.health && a.e.security === b.e.security && edgeText(a.e, a.label) === edgeText(b.e, b.label);

const EdgeLabel = memo(({ e, at, label, lit, onSelect }: LabelProps) => {
  if (at === undefined) return null;
  const text = edgeText(e, label);
  if (text === "") return null;
  const sick = e.health === "warn" || e.health === "bad";
  const w = widthOfText(text) + 30 + (sick ? 14 : 0);
  return (
    <g class={`label ${e.health} ${e.security}${lit ? "" : " faint"}`} transform={`translate(${at.x} ${at.y})`} onClick={(ev) => { ev.stopPropagation(); onSelect(e.id); }}>
      <rect x={-w / 2} y="-10" width={w} height="20" rx="10" />
      {reached(e) && <g class="padlock" transform={`translate(${-w / 2 + 7} -6) scale(.75)`}><path d={e.security === "mtls" ? "M4.5 7V5.2a3.5 3.5 0 0 1 7 0V7M3.5 7h9v6.5h-9z" : "M4.5 7V5.2a3.5 3.5 0 0 1 6.8-1.1M3.5 7h9v6.5h-9z"} /></g>}
      {sick && <path class="shape" d={healthShape[e.health]} transform={`translate(${-w / 2 + 27} 0) scale(.9)`} />}
      <text x={-w / 2 + (sick ? 36 : 22)} y="4">{text}</text>
    </g>
  );
}, sameLabel);

interface NodeProps {
  n: MapNode; at: Point | undefined; selected: boolean; lit: boolean; reachable: boolean;
  onSelect: (id: string) => void; onOpen: (n: MapNode) => void; onFocus: (id: string) => void;
}

function whatOf(n: MapNode): string {
  const t = n.total;
  return t === undefined || t.requests === 0
    ? n.members !== undefined ? `${n.members} workloads` : n.kind === "none" ? "no endpoint" : n.meshed ? (t !== undefined && (t.open ?? 0) > 0 ? plural(t.open ?? 0, "connection") : kindName(n.kind)) : "not in the mesh"
    : `${percent(t.success)} %   ${rate(t.rps)} /s`;
}

const sameNode = (a: NodeProps, b: NodeProps) => a.at === b.at && a.selected === b.selected && a.lit === b.lit && a.reachable === b.reachable &&
  a.n.health === b.n.health && a.n.meshed === b.n.meshed && whatOf(a.n) === whatOf(b.n);

const NodeBox = memo(({ n, at, selected, lit, reachable, onSelect, onOpen, onFocus }: NodeProps) => {
  if (at === undefined) return null;
  const what = whatOf(n);
  const label = short(n.label, 18);
  // The name for screen readers is what can be read, and this, which cannot be seen.
  const more = `, ${label === n.label ? "" : `${n.label}, `}${kindName(n.kind)}${n.ns === "" ? "" : ` in ${n.ns}`}${n.cluster === "" ? "" : ` of cluster ${n.cluster}`}, ${healthWord[n.health]}${n.meshed ? "" : ", not in the mesh"}`;
  return (
    <g class={`node ${n.health}${n.meshed ? "" : " unmeshed"}${selected ? " selected" : ""}${lit ? "" : " faint"}`} transform={`translate(${at.x - NODE_W / 2} ${at.y - NODE_H / 2})`}
      data-id={n.id} tabIndex={reachable ? 0 : -1} role="button" aria-pressed={selected}
      onClick={(e) => { e.stopPropagation(); onSelect(n.id); }} onDblClick={() => onOpen(n)} onFocus={() => onFocus(n.id)}>
      <rect width={NODE_W} height={NODE_H} rx="7" />
      <path class="shape" d={healthShape[n.health]} transform="translate(15 16)" />
      <text class="name" x="27" y="20">{label}</text>
      <text class="what" x="27" y="36">{what}</text>
      <text class="more" x="27" y="36">{more}</text>
    </g>
  );
}, sameNode);

function short(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 7)}…${text.slice(-6)}`;
}

function size(svg: SVGSVGElement | null): { w: number; h: number } {
  return { w: svg?.clientWidth ?? 800, h: svg?.clientHeight ?? 600 };
}

function middle(svg: SVGSVGElement | null): Point {
  const { w, h } = size(svg);
  return { x: w / 2, y: h / 2 };
}

function fitted(svg: SVGSVGElement | null, layout: LayoutResult): View {
  const { w, h } = size(svg);
  const k = Math.max(LEAST, Math.min(1.25, (w - 32) / Math.max(1, layout.width), (h - 48) / Math.max(1, layout.height)));
  return { k, x: (w - layout.width * k) / 2, y: (h - layout.height * k) / 2 + 6 };
}

function scaled(v: View, by: number, at: Point): View {
  const k = Math.max(LEAST, Math.min(MOST, v.k * by));
  return { k, x: at.x - ((at.x - v.x) * k) / v.k, y: at.y - ((at.y - v.y) * k) / v.k };
}

/** Where the picture lies at the scale LEGIBLE with a point in the middle. */
function centred(at: Point, svg: SVGSVGElement | null): Point {
  const m = middle(svg);
  return { x: m.x - at.x * LEGIBLE, y: m.y - at.y * LEGIBLE };
}

/** The view, moved so far that a point can be seen. */
function brought(v: View, at: Point, svg: SVGSVGElement | null): View {
  const { w, h } = size(svg);
  const [x, y] = [at.x * v.k + v.x, at.y * v.k + v.y];
  const [mx, my] = [Math.min(120, w / 4), Math.min(80, h / 4)];
  const clamp = (n: number, least: number, most: number) => Math.max(least, Math.min(most, n));
  return { k: v.k, x: v.x + clamp(x, mx, w - mx) - x, y: v.y + clamp(y, my, h - my) - y };
}

type SetView = (change: (v: View) => View) => void;

function useZoom(svg: { current: SVGSVGElement | null }, setView: SetView): void {
  useEffect(() => {
    const el = svg.current;
    if (el === null) return undefined;
    const wheel = (e: WheelEvent) => {
      e.preventDefault(); // so it cannot be a passive listener, as an attribute's would be
      const r = el.getBoundingClientRect();
      setView((v) => scaled(v, Math.exp(-e.deltaY * (e.deltaMode === 1 ? 0.05 : 0.0015)), { x: e.clientX - r.left, y: e.clientY - r.top }));
    };
    el.addEventListener("wheel", wheel, { passive: false });
    return () => el.removeEventListener("wheel", wheel);
  }, []);
}

/** Dragging moves the picture; two fingers zoom; a click on nothing selects nothing. */
function useDrag(svg: { current: SVGSVGElement | null }, setView: SetView, onNothing: () => void): void {
  const nothing = useRef(onNothing);
  nothing.current = onNothing;
  useEffect(() => {
    const el = svg.current;
    if (el === null) return undefined;
    const fingers = new Map<number, Point>();
    let moved = 0;
    const down = (e: PointerEvent) => {
      fingers.set(e.pointerId, { x: e.clientX, y: e.clientY });
      moved = 0;
    };
    const move = (e: PointerEvent) => {
      const was = fingers.get(e.pointerId);
      if (was === undefined) return;
      const is = { x: e.clientX, y: e.clientY };
      const other = [...fingers.entries()].find(([id]) => id !== e.pointerId)?.[1];
      fingers.set(e.pointerId, is);
      moved += Math.abs(is.x - was.x) + Math.abs(is.y - was.y);
      if (moved > 4 && !el.hasPointerCapture(e.pointerId)) el.setPointerCapture(e.pointerId);
      if (other === undefined) setView((v) => ({ ...v, x: v.x + is.x - was.x, y: v.y + is.y - was.y }));
      else {
        const r = el.getBoundingClientRect();
        const far = (p: Point) => Math.hypot(p.x - other.x, p.y - other.y);
        setView((v) => scaled(v, far(is) / Math.max(1, far(was)), { x: (is.x + other.x) / 2 - r.left, y: (is.y + other.y) / 2 - r.top }));
      }
    };
    const up = (e: PointerEvent) => {
      if (fingers.delete(e.pointerId) && moved <= 4 && e.target === el) nothing.current();
    };
    el.addEventListener("pointerdown", down);
    el.addEventListener("pointermove", move);
    el.addEventListener("pointerup", up);
    el.addEventListener("pointercancel", up);
    return () => {
      el.removeEventListener("pointerdown", down);
      el.removeEventListener("pointermove", move);
      el.removeEventListener("pointerup", up);
      el.removeEventListener("pointercancel", up);
    };
  }, []);
}
