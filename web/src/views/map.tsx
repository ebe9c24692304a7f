// The map: who calls whom, as a picture and as a table.

import { useMemo } from "preact/hooks";
import { config, go, place, scope, seconds, set, traffic } from "../data/store";
import { Canvas, DENSE, type Label } from "../map/canvas";
import { useLayout } from "../map/engine";
import { buildGraph, type MapEdge, type MapGraph, type MapNode, reached } from "../map/graph";
import { latency, NONE, percent, plural, rate, windowName } from "../pure/format";
import { link } from "../pure/url";
import { HealthSign, Lock } from "../ui/icons";
import { Empty, Failed, Loading, Search, Section, UrlChoice } from "../ui/parts";
import { type Column, Table } from "../ui/table";
import { Side } from "./mapside";
import { nodeHref, nodeName, serviceHref } from "./names";

/** With more workloads than this the map begins with namespaces, which open one by one. */
const FOLD = 120;

export function MapView() {
  const t = traffic.value;
  const q = place.value.query;
  const many = t !== undefined && t.nodes.length > FOLD && scope.value === "" && (q.find ?? "") === "";
  const detail = q.detail ?? (many ? "namespaces" : "workloads");
  const opened = (q.open ?? "").split(",").filter((n) => n !== "");
  const graph = useMemo<MapGraph | undefined>(() => t && buildGraph(t, config.value, {
    ns: scope.value, search: q.find, folded: (ns) => detail === "namespaces" && !opened.includes(ns),
  }), [t, config.value, scope.value, q.find, detail, q.open]);
  if (t === undefined || graph === undefined) return <Loading what="the map" />;
  const table = q.as === "table";
  return (
    <>
      <div class="bar tools">
        <UrlChoice name="Shown as" of={[["map", "Map"], ["table", "Table"]]} at="as" otherwise="map" />
        <Search at="find" label="Workload or app" />
        {!table && <span class="field">Labels <UrlChoice name="Labels" of={[["auto", "Auto"], ["rps", "Requests"], ["success", "Success"], ["p95", "p95"]]} at="label" otherwise="auto" /></span>}
        <span class="field">Detail <UrlChoice name="Detail" of={[["workloads", "Workloads"], ["namespaces", "Namespaces"]]} at="detail" otherwise={many ? "namespaces" : "workloads"} /></span>
        <span class="grow" />
        <Legend />
      </div>
      {graph.nodes.length === 0
        ? <Nothing search={q.find ?? ""} />
        : table ? <EdgeTable graph={graph} command={t.command} /> : <Picture graph={graph} />}
    </>
  );
}

function Nothing({ search }: { search: string }) {
  if (search !== "") return <Empty title={`No workload is called “${search}”`}><p><button type="button" onClick={() => set({ find: "" })}>Show all</button></p></Empty>;
  return (
    <Empty title="Nobody has called anybody">
      <p>In the last {windowName(seconds.value)} no sidecar{scope.value === "" ? "" : ` of ${scope.value}`} has seen a call. Numbers come about ten seconds after the first.</p>
      <p>Which sidecars are connected: <code>fairlead proxy-status</code></p>
    </Empty>
  );
}

function Legend() {
  return (
    <span class="legend" aria-label="Legend">
      <HealthSign health="ok" word /><HealthSign health="warn" word /><HealthSign health="bad" word />
      <span><Lock secured /> mutual TLS</span><span><Lock secured={false} /> plain</span>
    </span>
  );
}

function Picture({ graph }: { graph: MapGraph }) {
  const q = place.value.query;
  const label = (q.label ?? "auto") as Label;
  const selected = graph.nodes.some((n) => n.id === q.sel) || graph.edges.some((e) => e.id === q.sel) ? q.sel : undefined;
  const picture = useLayout(graph, graph.edges.length <= DENSE);
  const open = (n: MapNode) => {
    if (n.members === undefined) go(nodeHref(n.id));
    else set({ open: [...(q.open ?? "").split(",").filter((o) => o !== ""), n.ns].join(","), sel: "" }, "push");
  };
  if (picture.error !== undefined) return <Failed why={`The map could not be laid out: ${picture.error}. The table shows the same.`} />;
  return (
    <div class={selected === undefined ? "mapbox" : "mapbox with-side"} data-took={picture.took?.toFixed(0)}>
      {picture.layout === undefined ? <Loading what="the map" /> : (
        <Canvas graph={graph} layout={picture.layout} selected={selected} label={label} onOpen={open}
          onSelect={(id) => set({ sel: id ?? "" })} />
      )}
      {graph.hidden > 0 && <p class="hidden-note">{plural(graph.hidden, "workload")} outside of what is looked for <button type="button" onClick={() => set({ ns: "", find: "" })}>show all</button></p>}
      {selected !== undefined && <Side graph={graph} selected={selected} onClose={() => set({ sel: "" })} onOpen={open} />}
    </div>
  );
}

/** The same as the picture, for who would rather read. */
function EdgeTable({ graph, command }: { graph: MapGraph; command: string | undefined }) {
  return (
    <Section title={plural(graph.edges.length, "edge")} command={command} flush>
      <Table id="edges" caption="Who calls whom" rows={graph.edges} rowKey={(e) => e.id} columns={edgeColumns(graph)} sorted="-rps"
        current={place.value.query.sel} empty={<Empty title="No calls" />} />
    </Section>
  );
}

function edgeColumns(graph: MapGraph): Column<MapEdge>[] {
  const nodes = new Map(graph.nodes.map((n) => [n.id, n]));
  const end = (id: string) => {
    const n = nodes.get(id);
    return n?.members === undefined ? <><a href={nodeHref(id)}>{nodeName(id)}</a> <span class="dim">{n?.ns}{n !== undefined && n.cluster !== "" && ` · ${n.cluster}`}</span></> : <a href={link(place.value, "map", [], { ns: n.ns, as: "table" })}>{nodeName(id)}</a>;
  };
  return [
    { key: "src", name: "From", head: true, by: (e) => nodeName(e.src), cell: (e) => <><HealthSign health={e.health} />{end(e.src)}</> },
    { key: "dst", name: "To", by: (e) => nodeName(e.dst), cell: (e) => end(e.dst) },
    { key: "service", name: "Service", by: (e) => e.parts[0]?.service, cell: (e) => [...new Set(e.parts.map((p) => p.service))].slice(0, 3).map((s, i) => s === undefined ? <span class="dim">{NONE}</span> : <>{i > 0 && ", "}<a href={serviceHref(s)}>{s}</a></>) },
    { key: "security", name: "Security", by: (e) => e.security, cell: (e) => !reached(e) ? NONE : <Lock secured={e.security === "mtls" ? true : e.security === "mixed" ? "mixed" : false} reason={e.parts.find((p) => !p.secured)?.reason} /> },
    { key: "protocol", name: "Protocol", by: (e) => e.protocol, cell: (e) => e.protocol },
    { key: "success", name: "Success", number: true, by: (e) => e.total.success, cell: (e) => (e.total.success === undefined ? <span class="dim">{NONE}</span> : <span class={`${e.health}-text`}>{percent(e.total.success)} %</span>) },
    { key: "rps", name: "Requests /s", number: true, by: (e) => e.total.rps, cell: (e) => e.total.requests === 0 && (e.total.open ?? 0) > 0 ? <span class="dim">{rate(e.total.open)} open</span> : rate(e.total.rps) },
    { key: "share", name: "Share", number: true, by: (e) => e.share, cell: (e) => e.share === undefined ? <span class="dim">{NONE}</span> : `${percent(e.share)} %${e.weight === undefined ? "" : ` of ${Math.round(e.weight * 100)}`}` },
    { key: "p50", name: "p50", number: true, by: (e) => e.total.p50, cell: (e) => latency(e.total.p50) },
    { key: "p95", name: "p95", number: true, by: (e) => e.total.p95, cell: (e) => latency(e.total.p95) },
    { key: "p99", name: "p99", number: true, by: (e) => e.total.p99, cell: (e) => latency(e.total.p99) },
  ];
}
