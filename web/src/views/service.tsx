// The page of a service: who calls it and what answers, its routes with who wrote them, its endpoints.

import { at, config, now, place, seconds, traffic } from "../data/store";
import type { Edge, Endpoint, Route, Series, ServiceConfig, Traffic } from "../data/types";
import { useAnswer } from "../data/use";
import { type Arm, perWorkload } from "../map/graph";
import { NONE, percent, plural, span } from "../pure/format";
import { idParts, link } from "../pure/url";
import { Chart, latencyLines, requestLines, successLines } from "../ui/chart";
import { HealthSign } from "../ui/icons";
import { Empty, Loading, Section } from "../ui/parts";
import { type Column, Table } from "../ui/table";
import { cliResource, cliSince, nodeHref, nodeName } from "./names";
import { Octopus } from "./octopus";

export function ServicePage({ id }: { id: string }) {
  const t = traffic.value;
  const name = id.split("/").slice(1).join("/") || id;
  const ns = id.includes("/") ? id.split("/")[0] : undefined;
  const series = useAnswer<Series>("series", { service: id, window: Math.max(900, seconds.value), to: at.value }, at.value === undefined ? 10_000 : 0);
  const known = (config.value?.services ?? []).find((s) => s.id === id);
  // Which endpoints are ejected only the callers know; they are asked.
  const asked = useAnswer<ServiceConfig>(known === undefined ? undefined : "service", { id }, 5_000);
  if (t === undefined) return <Loading what={name} />;
  const edges = t.edges.filter((e) => e.service === id);
  if (known === undefined && edges.length === 0) return <Empty title={`There is no service ${id}`}><p><a href={link(place.value, "workloads", [], { list: "services" })}>All services</a></p></Empty>;
  const s = asked.data === undefined || known === undefined ? known : { ...known, endpoints: asked.data.endpoints };
  return (
    <>
      <Section title={<><a class="up" href={link(place.value, "workloads", [], { list: "services" })}>Services</a> <span class="dim">/</span> {name}</>} command={ns === undefined ? undefined : `fairlead stat svc/${name} -n ${ns}${cliSince()}`}
        aside={ns !== undefined && <a class="button" href={link(place.value, "live", [], { resource: "deploy", namespace: ns, to: `svc/${name}`, run: "1" })}>Tap</a>}>
        <Octopus name={name} about={known === undefined ? "host outside the cluster" : `Service in ${known.ns}: ${known.ports.map((p) => `${p.port}${p.protocol ? ` ${p.protocol}` : ""}`).join(", ")}`}
          total={t.services.find((o) => o.id === id)?.total} into={merge(edges, "src")} out={merge(edges, "dst")} behind />
        {series.data !== undefined && series.data.t.length > 0 && (
          <div class="charts">
            <Chart title="Requests" series={series.data} lines={requestLines} />
            <Chart title="Success" series={series.data} lines={successLines} />
            <Chart title="Latency" series={series.data} lines={latencyLines} />
          </div>
        )}
      </Section>
      {s !== undefined && (
        <>
          <Section flush title="Routes" command={s.command}><Routes s={s} t={t} /></Section>
          <Section flush title={plural(s.endpoints.length, "endpoint")} command={endpointsCommand(edges)}>
            <Table id="endpoints" caption="Endpoints" columns={endpointColumns(s.endpoints)} rows={s.endpoints} rowKey={(e) => e.address} sorted="address"
              empty={<Empty title="No endpoint"><p>Calls are answered 503 UH. Does the selector of the Service match pods, and are they ready?</p></Empty>} />
          </Section>
        </>
      )}
    </>
  );
}

/** Endpoints are as a caller's sidecar has them; without a caller in the mesh none has. */
function endpointsCommand(edges: Edge[]): string | undefined {
  const caller = edges.map((e) => e.src).find((id) => ["deployment", "statefulset", "daemonset"].includes(idParts(id)[1]));
  return caller === undefined ? undefined : `fairlead proxy-config endpoints ${cliResource(caller)}`;
}

/** Callers have all of their calls here, and who answers is one of the routes below. */
function merge(edges: Edge[], end: "src" | "dst"): Arm[] {
  return perWorkload(edges, end).map((e) => ({ ...e, share: undefined }));
}

interface Row { key: string; route: Route; first: boolean; backend?: Route["backends"][number]; really?: number }

/** A row for each backend of each route; beside the weight what really went there. */
function Routes({ s, t }: { s: ServiceConfig; t: Traffic }) {
  const all = t.edges.filter((e) => e.service === s.id);
  const requests = all.reduce((n, e) => n + e.total.requests, 0);
  const really = (b: Route["backends"][number]) => {
    const target = (config.value?.services ?? []).find((o) => o.id === b.service);
    const behind = new Set(target?.endpoints.filter((e) => b.subset === undefined || (e.subsets ?? []).includes(b.subset)).map((e) => e.workload));
    if (requests === 0 || behind.size === 0) return undefined;
    return all.filter((e) => behind.has(e.dst)).reduce((n, e) => n + e.total.requests, 0) / requests;
  };
  const rows: Row[] = s.routes.flatMap<Row>((route, i) => route.backends.length === 0
    ? [{ key: `${i}`, route, first: true }]
    : route.backends.map((backend, k) => ({ key: `${i}.${k}`, route, first: k === 0, backend, really: s.routes.length === 1 ? really(backend) : undefined })));
  return <Table id="routes" caption="Routes, the first that matches is taken" columns={routeColumns(s.id)} rows={rows} rowKey={(r) => r.key} empty={<Empty title="No routes are known" />} />;
}

function routeColumns(id: string): Column<Row>[] {
  return [
    { key: "match", name: "Match", cell: (r) => (r.first ? <code>{r.route.match || "/*"}</code> : "") },
    { key: "port", name: "Port", number: true, cell: (r) => (r.first ? r.route.port ?? NONE : "") },
    { key: "backend", name: "Goes to", cell: (r) => {
      if (r.backend === undefined) return r.route.action || <span class="dim">{NONE}</span>;
      const b = r.backend;
      return <>{b.service === id ? "" : <a href={link(place.value, "workloads", ["service", ...b.service.split("/")])}>{b.service}</a>}{b.subset !== undefined && b.subset !== "" ? <> <span class="dim">subset</span> {b.subset}</> : b.service === id ? <span class="dim">all endpoints</span> : ""}{r.first && r.route.action ? <span class="dim"> · {r.route.action}</span> : ""}</>;
    } },
    { key: "weight", name: "Weight", number: true, cell: (r) => (r.backend?.share === undefined ? NONE : <span class="share"><meter class="plain" min={0} max={1} value={r.backend.share} aria-hidden="true" />{percent(r.backend.share)} %</span>) },
    { key: "really", name: "Went there", number: true, cell: (r) => (r.really === undefined ? <span class="dim">{NONE}</span> : `${percent(r.really)} %`) },
    { key: "by", name: "Written by", cell: (r) => {
      if (!r.first) return "";
      if (r.route.object === undefined) return <span class="dim">{r.route.kind === "default" ? "nobody: the default" : r.route.kind}</span>;
      return <a href={link(place.value, "config", [r.route.kind, ...r.route.object.split("/")])}>{r.route.kind} {r.route.object}{r.route.name ? ` (${r.route.name})` : ""}</a>;
    } },
  ];
}

/** Clusters are told where pods of another one are among them. */
function endpointColumns(of: Endpoint[]): Column<Endpoint>[] {
  const clusters: Column<Endpoint>[] = of.some((e) => e.cluster !== undefined) ? [{ key: "cluster", name: "Cluster", by: (e) => e.cluster, cell: (e) => e.cluster ?? <span class="dim">this one</span> }] : [];
  const health = (e: Endpoint) => (e.ejected !== undefined ? "ejected" : e.health);
  return [
    { key: "address", name: "Address", head: true, by: (e) => e.address, cell: (e) => <span class="mono">{e.address}</span> },
    { key: "health", name: "Health", by: health, cell: (e) => <><HealthSign health={e.ejected !== undefined ? "bad" : e.health === "healthy" ? "ok" : e.health === "draining" ? "warn" : "bad"} />{e.ejected === undefined ? e.health : <><span class="bad-text">ejected</span> <span class="dim">{e.ejected.why}{e.ejected.by === undefined ? "" : ` (by ${e.ejected.by.join(", ")})`}</span></>}</> },
    { key: "pod", name: "Pod", by: (e) => e.pod, cell: (e) => <span class="mono">{e.pod ?? NONE}</span> },
    { key: "workload", name: "Workload", by: (e) => e.workload, cell: (e) => (e.workload === undefined ? NONE : <a href={nodeHref(e.workload)}>{nodeName(e.workload)}</a>) },
    ...clusters,
    { key: "subsets", name: "Subsets", by: (e) => e.subsets?.join(), cell: (e) => e.subsets?.join(", ") || <span class="dim">{NONE}</span> },
    { key: "node", name: "Node", by: (e) => e.node, cell: (e) => <>{e.node ?? NONE} <span class="dim">{e.locality}</span></> },
    { key: "mesh", name: "Mesh", by: (e) => String(e.meshed), cell: (e) => (e.meshed === false ? <span class="warn-text">not in the mesh</span> : <span class="dim">mutual TLS</span>) },
    { key: "age", name: "Age", number: true, by: (e) => (e.since === undefined ? undefined : now.value - e.since), cell: (e) => (e.since === undefined ? NONE : span(now.value - e.since)) },
  ];
}
