// The panel beside the map: what is selected, in numbers; how it is configured; what failed lately.

import { useEffect, useRef } from "preact/hooks";
import { at, config, place, scope, seconds } from "../data/store";
import type { Config, Failures, Series } from "../data/types";
import { useAnswer } from "../data/use";
import { type MapEdge, type MapGraph, type MapNode, reached } from "../map/graph";
import { bytes, count, percent, plural, rate, span } from "../pure/format";
import { idParts, link } from "../pure/url";
import { Chart, latencyLines, requestLines, successLines } from "../ui/chart";
import { HealthSign, Icon, Lock } from "../ui/icons";
import { Command, Empty, Failed, Golden, Tile } from "../ui/parts";
import { FailureList } from "./failures";
import { cliResource, cliSince, cliStat, kindName, nodeHref, nodeName, serviceHref } from "./names";

export function Side({ graph, selected, onClose, onOpen }: { graph: MapGraph; selected: string; onClose: () => void; onOpen: (n: MapNode) => void }) {
  const node = graph.nodes.find((n) => n.id === selected);
  const edge = graph.edges.find((e) => e.id === selected);
  const box = useRef<HTMLElement>(null);
  useEffect(() => { box.current?.scrollTo({ top: 0 }); }, [selected]);
  return (
    <aside ref={box} class="side" aria-label="Details" tabIndex={-1} onKeyDown={(e) => { if (e.key === "Escape") onClose(); }}>
      <button type="button" class="quiet close" title="close (Escape)" onClick={onClose}><Icon name="close" /><span class="unseen">close</span></button>
      {node !== undefined && <NodeSide key={selected} n={node} graph={graph} onOpen={onOpen} />}
      {edge !== undefined && <EdgeSide key={selected} e={edge} />}
    </aside>
  );
}

function NodeSide({ n, graph, onOpen }: { n: MapNode; graph: MapGraph; onOpen: (n: MapNode) => void }) {
  const query: Record<string, string> = n.members === undefined ? { node: n.id } : { ns: n.ns };
  const workload = n.members === undefined && n.ns !== "";
  return (
    <>
      <h2><HealthSign health={n.health} />{n.label}</h2>
      <p class="dim">{n.members === undefined ? kindName(n.kind) : plural(n.members, "workload")}{n.ns !== "" && n.members === undefined && <> in {n.ns}</>}{n.cluster !== "" && <> of cluster {n.cluster}</>}{!n.meshed && n.kind !== "none" && <> · <span class="warn-text">not in the mesh</span></>}</p>
      <p class="links">
        {workload && <a class="button" href={nodeHref(n.id)}>Open page</a>}
        {n.members !== undefined && <><button type="button" onClick={() => onOpen(n)}>Unfold</button><a class="button" href={link(place.value, "map", [], { ns: n.ns })}>Only this</a></>}
        {workload && idParts(n.id)[3] === "" && <a class="button" href={link(place.value, "live", [], { resource: cliResource(n.id).split(" ")[0] ?? "", namespace: n.ns, run: "1" })}>Tap</a>}
      </p>
      <h3>Calls to it</h3>
      <Golden total={n.total} />
      <Trend query={query} />
      <Ends title="Callers" edges={graph.edges.filter((e) => e.dst === n.id)} end="src" />
      <Ends title="Calls" edges={graph.edges.filter((e) => e.src === n.id)} end="dst" />
      {workload && <Pods id={n.id} config={config.value} />}
      {workload && <LastErrors workload={n.id} />}
      {workload && <Command text={cliStat(n.id)} />}
    </>
  );
}

function Ends({ title, edges, end }: { title: string; edges: MapEdge[]; end: "src" | "dst" }) {
  if (edges.length === 0) return null;
  const busiest = [...edges].sort((a, b) => b.total.rps - a.total.rps);
  return (
    <>
      <h3>{title}</h3>
      <ul class="list tight">
        {busiest.slice(0, 8).map((e) => (
          <li key={e.id}><a href={link(place.value, "map", [], { ...place.value.query, sel: e.id })}>
            <HealthSign health={e.health} /><span class="grow clip">{nodeName(e[end])}</span>{reached(e) && <Lock secured={e.security === "mtls" ? true : e.security === "mixed" ? "mixed" : false} />}<span>{e.total.requests > 0 ? `${rate(e.total.rps)} /s` : `${count(e.total.open)} open`}</span>
          </a></li>
        ))}
        {edges.length > 8 && <li class="dim">and {edges.length - 8} more: the table has all</li>}
      </ul>
    </>
  );
}

function EdgeSide({ e }: { e: MapEdge }) {
  const services = [...new Set(e.parts.map((p) => p.service).filter((s): s is string => s !== undefined))];
  const plain = e.parts.find((p) => !p.secured);
  const secured = e.parts.find((p) => p.secured);
  const folded = e.src.startsWith("ns/") || e.dst.startsWith("ns/");
  return (
    <>
      <h2><HealthSign health={e.health} />{nodeName(e.src)} <span class="dim">→</span> {nodeName(e.dst)}</h2>
      <p class="dim">{e.protocol}{services.length > 0 && <> · called as {services.slice(0, 3).map((s, i) => <>{i > 0 && ", "}<a href={serviceHref(s)}>{s}</a></>)}</>}</p>
      <Golden total={e.total}>
        {e.share !== undefined && <Tile name="Share" value={percent(e.share)} unit="%" note={e.weight === undefined ? undefined : `weight ${Math.round(e.weight * 100)} %`} />}
      </Golden>
      {!folded && <Trend query={{ src: e.src, dst: e.dst }} />}
      <h3>Security</h3>
      {secured !== undefined && (
        <div class="facts"><Lock secured /> mutual TLS
          {secured.clientId !== undefined && <p class="mono clip" title={secured.clientId}>{secured.clientId}</p>}
          {secured.serverId !== undefined && <p class="mono clip" title={secured.serverId}>{secured.serverId}</p>}
        </div>
      )}
      {!reached(e) && <p class="facts">Nobody was reached: there was no connection to secure.</p>}
      {plain !== undefined && reached(e) && <p class="facts"><Lock secured={false} /> {plain.note ?? plain.reason ?? "not secured"}</p>}
      <h3>Answers</h3>
      <Codes e={e} />
      <Routes services={services} config={config.value} />
      <LastErrors workload={e.src} to={nodeName(e.dst)} />
      {!folded && <Command text={edgeCommand(e)} />}
    </>
  );
}

/** Calls of one workload to another, as the called sidecar counts them. */
function edgeCommand(e: MapEdge): string {
  const [ns, , name, from] = idParts(e.src);
  if (from !== "" || idParts(e.dst)[3] !== "") return `fairlead edges ${cliResource(e.src).split("/")[0]} -n ${ns}${cliSince()}`;
  if (["address", "host", "other", "none"].includes(idParts(e.dst)[1])) return `fairlead stat-outbound ${cliResource(e.src)}${cliSince()}`;
  if (["address", "other"].includes(idParts(e.src)[1])) return `fairlead stat-inbound ${cliResource(e.dst)}${cliSince()}`;
  return `fairlead stat ${cliResource(e.dst)} --from ${cliResource(e.src).split(" ")[0] ?? name} --from-namespace ${ns}${cliSince()}`;
}

function Codes({ e }: { e: MapEdge }) {
  const t = e.total;
  const rows: [string, string][] = Object.entries(t.codes ?? {}).sort().map(([code, n]) => [code, count(n)]);
  if ((t.retries ?? 0) > 0) rows.push(["retries", count(t.retries)]);
  if ((t.timeouts ?? 0) > 0) rows.push(["timeouts", count(t.timeouts)]);
  if ((t.conns ?? 0) > 0) rows.push(["connections opened", count(t.conns)]);
  if (t.bytesIn !== undefined) rows.push(["bytes to it", bytes(t.bytesIn)]);
  if (t.bytesOut !== undefined) rows.push(["bytes back", bytes(t.bytesOut)]);
  if (rows.length === 0) return <p class="dim">none</p>;
  return <dl class="pairs">{rows.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

function Routes({ services, config: c }: { services: string[]; config: Config | undefined }) {
  const found = (c?.services ?? []).filter((s) => services.includes(s.id)).flatMap((s) => s.routes.map((r) => ({ s, r })));
  if (found.length === 0) return null;
  return (
    <>
      <h3>Routes</h3>
      <ul class="list tight">
        {found.slice(0, 6).map(({ s, r }, i) => (
          <li key={i}><span class="grow"><code>{r.match ?? "/*"}</code> <span class="dim">{r.backends.map((b) => `${b.subset ?? b.service} ${r.backends.length > 1 ? `${percent(b.share)} %` : ""}`).join(" · ")}{r.action}</span></span>
            {r.object === undefined ? <span class="dim">{r.kind === "default" ? "no rule" : r.kind}</span> : <a href={link(place.value, "config", [r.kind, ...r.object.split("/")])}>{r.kind}</a>}
            <span class="unseen">of {s.id}</span></li>
        ))}
      </ul>
    </>
  );
}

function Pods({ id, config: c }: { id: string; config: Config | undefined }) {
  const pods = (c?.workloads ?? []).filter((p) => p.workload === id);
  if (pods.length === 0) return null;
  const endpoints = (c?.services ?? []).flatMap((s) => s.endpoints).filter((p) => p.workload === id);
  const sick = new Set(endpoints.filter((p) => p.health !== "healthy" || p.ejected !== undefined).map((p) => p.pod));
  return (
    <>
      <h3>{plural(pods.length, "pod")}</h3>
      <ul class="list tight">
        {pods.slice(0, 6).map((p) => (
          <li key={p.id}><HealthSign health={sick.has(p.pod) ? "bad" : p.proxy === "none" ? "idle" : p.sync?.state === "SYNCED" ? "ok" : "warn"} /><span class="grow clip mono">{p.pod}</span>
            <span class="dim">{p.proxy === "none" ? "no sidecar" : p.sync?.state === "SYNCED" ? (p.sync.at === undefined ? "synced" : `synced ${span(Date.now() - p.sync.at)} ago`) : p.sync?.state}</span></li>
        ))}
        {pods.length > 6 && <li class="dim">and {pods.length - 6} more</li>}
      </ul>
    </>
  );
}

function Trend({ query }: { query: Record<string, string> }) {
  const series = useAnswer<Series>("series", { ...query, window: Math.max(900, seconds.value), to: at.value }, at.value === undefined ? 10_000 : 0);
  if (series.state === "failed" && series.data === undefined) return <Failed why={series.why} />;
  if (series.data === undefined || series.data.t.length === 0) return null;
  return (
    <>
      <Chart title="Requests" series={series.data} lines={requestLines} height={84} />
      <Chart title="Success" series={series.data} lines={successLines} height={74} />
      <Chart title="Latency" series={series.data} lines={latencyLines} height={84} />
    </>
  );
}

/** What failed lately at the first pods of a workload, as their sidecars remember it. */
function LastErrors({ workload, to }: { workload: string; to?: string }) {
  const pods = (config.value?.workloads ?? []).filter((p) => p.workload === workload && p.proxy === "fairlead");
  const first = pods[0];
  const answer = useAnswer<Failures>(first === undefined ? undefined : "failures", { pod: first === undefined ? "" : `${first.ns}/${first.pod}` }, 10_000);
  if (first === undefined) return null;
  const list = (answer.data?.failures ?? []).filter((f) => to === undefined || f.direction === "outbound").slice(0, 5);
  return (
    <>
      <h3>Last errors{pods.length > 1 && <span class="dim"> of one of {pods.length} pods</span>}</h3>
      {answer.state === "failed" && answer.data === undefined ? <Failed why={answer.why} /> : list.length === 0 ? <Empty title="No call failed since its sidecar began" /> : <FailureList failures={list} />}
      {scope.value === "" && answer.data?.command !== undefined && place.value.query.cli === "1" && <Command text={answer.data.command} />}
    </>
  );
}
