// The first view: how each namespace does, and where to look.

import { meta, place, problems, scope, seconds, at, traffic } from "../data/store";
import type { Edge, Namespace, Total, Traffic } from "../data/types";
import { useAnswer } from "../data/use";
import type { Series } from "../data/types";
import { addTotals } from "../map/graph";
import { latency, NONE, percent, plural, rate, windowName } from "../pure/format";
import { healthOf } from "../pure/health";
import { idParts, link } from "../pure/url";
import { Chart, latencyLines, requestLines, successLines } from "../ui/chart";
import { HealthSign, Lock } from "../ui/icons";
import { Empty, Golden, Loading, Section, Tile } from "../ui/parts";
import { type Column, Table } from "../ui/table";
import { cliSince, nodeHref, nodeName } from "./names";

export function OverviewView() {
  const t = traffic.value;
  const series = useAnswer<Series>("series", { window: Math.max(900, seconds.value), to: at.value, ns: scope.value }, at.value === undefined ? 10_000 : 0);
  if (t === undefined) return <Loading what="the mesh" />;
  const spaces = t.namespaces.filter((n) => scope.value === "" || n.name === scope.value);
  const own = scope.value === "" && t.total !== undefined ? t : undefined;
  const total = own?.total ?? spaces.map((n) => n.total).reduce<Total | undefined>(addTotals, undefined);
  const list = problemsOf(scope.value);
  return (
    <>
      <Section title={scope.value === "" ? "The mesh" : `Namespace ${scope.value}`} command={(spaces.length === 1 ? spaces[0]?.command : undefined) ?? t.command} aside={<span class="dim">calls of the last {windowName(seconds.value)}</span>}>
        <Golden total={total}>
          <Tile name="Mutual TLS" value={percent(own?.mtls ?? mtlsOf(spaces))} unit="%" />
          <Tile name="Problems" value={String(list.length)} sign={list.length > 0 ? <HealthSign health={list.some((p) => p.severity === "error") ? "bad" : "warn"} /> : undefined} />
        </Golden>
        {series.data !== undefined && (
          <div class="charts">
            <Chart title="Requests" series={series.data} lines={requestLines} />
            <Chart title="Success" series={series.data} lines={successLines} />
            <Chart title="Latency" series={series.data} lines={latencyLines} />
          </div>
        )}
      </Section>
      <Section title="Namespaces" command={`fairlead stat ns${cliSince()}`} flush>
        <Table id="ns" caption="Namespaces" columns={columns} rows={spaces} rowKey={(n) => n.name} sorted="name"
          empty={<Empty title="No pods are in the mesh"><p>Label a namespace, then restart its pods: <code>kubectl label namespace NAME fairlead.dev/inject=enabled</code></p></Empty>} />
      </Section>
      <div class="columns">
        <Section title="Most failures" command={t.command} flush><Sick t={t} /></Section>
        <Section title="Busiest" command={`fairlead stat deploy ${scope.value === "" ? "-A" : `-n ${scope.value}`}${cliSince()}`} flush><Busy t={t} /></Section>
      </div>
    </>
  );
}

/** The part of all calls that is secured, of what is known of each namespace. */
function mtlsOf(spaces: Namespace[]): number | undefined {
  const weight = (n: Namespace) => n.total.requests + (n.total.conns ?? 0);
  const known = spaces.filter((n) => n.mtls !== undefined && weight(n) > 0);
  const all = known.reduce((sum, n) => sum + weight(n), 0);
  return all === 0 ? undefined : known.reduce((sum, n) => sum + weight(n) * (n.mtls ?? 0), 0) / all;
}

function problemsOf(ns: string) {
  return (problems.value?.problems ?? []).filter((p) => ns === "" || p.object === ns || p.object.startsWith(`${ns}/`));
}

const columns: Column<Namespace>[] = [
  { key: "name", name: "Namespace", head: true, by: (n) => n.name, cell: (n) => <><HealthSign health={healthOf(n.total)} /><a href={link(place.value, "map", [], { ns: n.name })}>{n.name}</a></> },
  { key: "success", name: "Success", number: true, by: (n) => n.total.success, cell: (n) => <Share of={n.total.success} /> },
  { key: "rps", name: "Requests /s", number: true, by: (n) => n.total.rps, cell: (n) => rate(n.total.rps) },
  { key: "p50", name: "p50", number: true, by: (n) => n.total.p50, cell: (n) => latency(n.total.p50) },
  { key: "p95", name: "p95", number: true, by: (n) => n.total.p95, cell: (n) => latency(n.total.p95) },
  { key: "p99", name: "p99", number: true, by: (n) => n.total.p99, cell: (n) => latency(n.total.p99) },
  { key: "mtls", name: "Mutual TLS", number: true, by: (n) => n.mtls, cell: (n) => (n.mtls === undefined ? NONE : `${percent(n.mtls)} %`) },
  { key: "pods", name: "Pods in the mesh", number: true, by: (n) => n.meshedPods, cell: (n) => (n.pods === undefined ? NONE : `${n.meshedPods ?? 0} of ${n.pods}`) },
  {
    key: "problems", name: "Problems", number: true, by: (n) => problemsOf(n.name).length,
    cell: (n) => {
      const all = problemsOf(n.name);
      return all.length === 0 ? <span class="dim">0</span> : <a href={link(place.value, "problems", [], { ns: n.name })}><HealthSign health={all.some((p) => p.severity === "error") ? "bad" : "warn"} />{all.length}</a>;
    },
  },
];

/** A share as a bar and a number. */
export function Share({ of }: { of: number | undefined }) {
  if (of === undefined) return <span class="dim">{NONE}</span>;
  const health = healthOf({ rps: 1, requests: 1, success: of });
  return <span class="share"><meter class={health} min={0} max={1} value={of} aria-hidden="true" /><span class={`${health}-text`}>{percent(of)} %</span></span>;
}

function inScope(e: Edge): boolean {
  return scope.value === "" || idParts(e.src)[0] === scope.value || idParts(e.dst)[0] === scope.value;
}

function Sick({ t }: { t: Traffic }) {
  const sick = t.edges.filter((e) => inScope(e) && (e.total.failures ?? 0) > 0).sort((a, b) => (b.total.failures ?? 0) - (a.total.failures ?? 0)).slice(0, 6);
  if (sick.length === 0) return <Empty title="No call failed"><p>In the last {windowName(seconds.value)}, nowhere in {scope.value === "" ? "the mesh" : scope.value}.</p></Empty>;
  return (
    <ul class="list">
      {sick.map((e) => (
        <li key={e.id}><a href={link(place.value, "map", [], { sel: `${e.src}>${e.dst}` })}>
          <HealthSign health={healthOf(e.total)} />
          <span class="grow clip">{nodeName(e.src)} <span class="dim">→</span> {nodeName(e.dst)}</span>
          <span class="dim">{plural(e.total.failures ?? 0, "failure")}</span><b class={`${healthOf(e.total)}-text`}>{percent(e.total.success)} %</b>
        </a></li>
      ))}
    </ul>
  );
}

function Busy({ t }: { t: Traffic }) {
  const busy = t.nodes.filter((n) => (n.total?.requests ?? 0) > 0 && (scope.value === "" || n.ns === scope.value)).sort((a, b) => (b.total?.rps ?? 0) - (a.total?.rps ?? 0)).slice(0, 6);
  const unsecured = (id: string) => t.edges.some((e) => e.dst === id && !e.secured);
  if (busy.length === 0) return <Empty title="No calls yet"><p>Numbers come about ten seconds after the first call{meta.value?.mesh === "lab" ? <>: <code>fairlead lab exec POD -- fairlead demo-app call URL</code></> : ""}.</p></Empty>;
  return (
    <ul class="list">
      {busy.map((n) => (
        <li key={n.id}><a href={nodeHref(n.id)}>
          <HealthSign health={healthOf(n.total)} />
          <span class="grow clip">{n.name} <span class="dim">{n.ns}</span></span>
          <Lock secured={!unsecured(n.id)} reason="some calls come in plaintext" />
          <span class="dim">p95 {latency(n.total?.p95)}</span><b>{rate(n.total?.rps)} /s</b>
        </a></li>
      ))}
    </ul>
  );
}
