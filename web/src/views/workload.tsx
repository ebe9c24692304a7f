// The page of a workload: who calls it and whom it calls, its pods with their sidecars and certificates, its services.

import { at, config, now, place, seconds, traffic } from "../data/store";
import type { Endpoint, Failures, PodConfig, Series, ServiceConfig } from "../data/types";
import { useAnswer, useAnswers } from "../data/use";
import { perWorkload } from "../map/graph";
import { NONE, percent, plural, span, windowName } from "../pure/format";
import { lifeLeft } from "../pure/health";
import { homeId, idParts, link } from "../pure/url";
import { Chart, latencyLines, requestLines, successLines } from "../ui/chart";
import { HealthSign } from "../ui/icons";
import { Empty, Failed, Loading, Section } from "../ui/parts";
import { type Column, Table } from "../ui/table";
import { FailureList } from "./failures";
import { cliResource, cliStat, kindName, serviceHref } from "./names";
import { Octopus } from "./octopus";

export function WorkloadPage({ id }: { id: string }) {
  const [ns, kind, name, other] = idParts(id);
  const t = traffic.value;
  const series = useAnswer<Series>("series", { node: id, window: Math.max(900, seconds.value), to: at.value }, at.value === undefined ? 10_000 : 0);
  const services = (config.value?.services ?? []).filter((s) => s.endpoints.some((e) => e.workload === homeId(id)));
  // Which endpoints are ejected only the callers know; they are asked.
  const asked = useAnswers<ServiceConfig>("service", services.slice(0, ASKED).map((s) => ({ id: s.id })), 5_000);
  if (t === undefined) return <Loading what={name} />;
  const node = t.nodes.find((n) => n.id === id);
  const pods = (config.value?.workloads ?? []).filter((p) => p.workload === id);
  if (node === undefined && pods.length === 0) return <Empty title={`There is no ${kindName(kind)} ${name} in ${ns}${other === "" ? "" : ` of cluster ${other}`}`}><p>It is gone, or nobody has called it in the last {windowName(seconds.value)}. <a href={link(place.value, "workloads")}>All workloads</a></p></Empty>;
  return (
    <>
      <Section title={<><a class="up" href={link(place.value, "workloads")}>Workloads</a> <span class="dim">/</span> {name}</>} command={cliStat(id)}
        aside={<><a class="button" href={link(place.value, "map", [], { sel: id })}>On the map</a>{other === "" && <a class="button" href={link(place.value, "live", [], { resource: cliResource(id).split(" ")[0] ?? "", namespace: ns, run: "1" })}>Tap</a>}</>}>
        <Octopus name={name} about={`${kindName(kind)} in ${ns}${node?.cluster === undefined ? "" : ` of cluster ${node.cluster}`}${node?.meshed === false ? ", not in the mesh" : ""}`} total={node?.total} into={perWorkload(t.edges.filter((e) => e.dst === id), "src")} out={perWorkload(t.edges.filter((e) => e.src === id), "dst")} />
        {series.data !== undefined && series.data.t.length > 0 && (
          <div class="charts">
            <Chart title="Requests" series={series.data} lines={requestLines} />
            <Chart title="Success" series={series.data} lines={successLines} />
            <Chart title="Latency" series={series.data} lines={latencyLines} />
          </div>
        )}
        {services.length > 0 && <p class="also">Endpoints of {services.map((s, i) => <>{i > 0 && ", "}<a href={serviceHref(s.id)}>{s.name}</a></>)}</p>}
      </Section>
      {other !== "" && <Section title="Pods"><Empty title={`Its pods are known to the control plane of cluster ${other}`}><p>Here is what pods of this cluster have called there, and were called by.</p></Empty></Section>}
      {other === "" && <Section flush title={plural(pods.length, "pod")} command={`fairlead proxy-status ${cliResource(id)}`}>
        <Table id="pods" caption="Pods" columns={podColumns((asked.data ?? []).flatMap((s) => s.endpoints))} rows={pods} rowKey={(p) => p.id} sorted="pod" empty={<Empty title="The control plane knows no pod of it" />} />
      </Section>}
      <Errors pods={pods} />
    </>
  );
}

/** At most so many sidecars are asked what failed, and so many Services' callers what they have ejected. */
const ASKED = 3;

function Errors({ pods }: { pods: PodConfig[] }) {
  const asked = pods.filter((p) => p.proxy === "fairlead").slice(0, ASKED);
  if (asked.length === 0) return null;
  return (
    <Section title="Last errors" command={asked.map((p) => `fairlead errors ${p.pod} -n ${p.ns}`)[0]} aside={pods.length > asked.length ? <span class="dim">of {asked.length} of {pods.length} pods</span> : undefined}>
      {asked.map((p) => <PodErrors key={p.id} pod={p} alone={asked.length === 1} />)}
    </Section>
  );
}

function PodErrors({ pod, alone }: { pod: PodConfig; alone: boolean }) {
  const answer = useAnswer<Failures>("failures", { pod: `${pod.ns}/${pod.pod}` }, 10_000);
  const list = answer.data?.failures.slice(0, 8) ?? [];
  return (
    <div class="poderrors">
      {!alone && <h3 class="mono">{pod.pod}{answer.data?.total !== undefined && <span class="dim"> {plural(answer.data.total, "failure")} since its sidecar began</span>}</h3>}
      {answer.state === "failed" && answer.data === undefined ? <Failed why={answer.why} /> : list.length === 0 ? <p class="dim">{answer.data === undefined ? "…" : "No call failed since its sidecar began."}</p> : <FailureList failures={list} />}
    </div>
  );
}

/** Of the endpoints that pods are, asked are those of which callers have said whether they are ejected. */
function podColumns(asked: Endpoint[]): Column<PodConfig>[] {
  const podOf = (e: Endpoint) => `${e.ns ?? ""}/${e.pod ?? ""}`;
  const ofHere = (e: Endpoint) => e.cluster === undefined; // pods of two clusters may have one name
  const endpoints = new Map((config.value?.services ?? []).flatMap((s) => s.endpoints).filter(ofHere).map((e) => [podOf(e), e]));
  const ejected = new Map(asked.filter((e) => ofHere(e) && e.ejected !== undefined).map((e) => [podOf(e), e.ejected]));
  const state = (p: PodConfig) => endpoints.get(`${p.ns}/${p.pod}`);
  return [
    { key: "pod", name: "Pod", head: true, by: (p) => p.pod, cell: (p) => <span class="mono">{p.pod}</span> },
    { key: "health", name: "Endpoint", by: (p) => state(p)?.health, cell: (p) => {
      const e = state(p);
      if (e === undefined) return <span class="dim">of no service</span>;
      const out = ejected.get(podOf(e));
      if (out !== undefined) return <><HealthSign health="bad" /><span class="bad-text">ejected</span> <span class="dim">{out.why}{out.by === undefined ? "" : ` (by ${out.by.join(", ")})`}</span></>;
      return <><HealthSign health={e.health === "healthy" ? "ok" : e.health === "draining" ? "warn" : "bad"} />{e.health ?? NONE}</>;
    } },
    { key: "node", name: "Node", by: (p) => state(p)?.node, cell: (p) => state(p)?.node ?? <span class="dim">{NONE}</span> },
    { key: "proxy", name: "Sidecar", by: (p) => p.proxy, cell: (p) => (p.proxy === "none" ? <span class="warn-text">none</span> : <>{p.proxy} <span class="dim">{p.version}</span></>) },
    { key: "sync", name: "Configuration", by: (p) => p.sync?.state, cell: (p) => <SyncCell p={p} /> },
    { key: "cert", name: "Certificate", by: (p) => p.certificate?.to, cell: (p) => <CertCell p={p} /> },
    { key: "id", name: "Identity", by: (p) => p.certificate?.id, cell: (p) => <span class="mono dim">{p.certificate?.id ?? NONE}</span> },
  ];
}

function SyncCell({ p }: { p: PodConfig }) {
  const s = p.sync;
  if (s === undefined || s.state === "NONE") return <span class="dim">{NONE}</span>;
  const refused = s.refused?.[0];
  return (
    <span title={refused === undefined ? undefined : `refused ${refused.resource}: ${refused.reason}`}>
      <HealthSign health={s.state === "SYNCED" ? "ok" : s.state === "ERROR" ? "bad" : "warn"} />{s.state.toLowerCase()}
      {s.at !== undefined && <span class="dim"> {span(now.value - s.at)} ago</span>}
      {refused !== undefined && <span class="bad-text"> refused {refused.resource}</span>}
    </span>
  );
}

function CertCell({ p }: { p: PodConfig }) {
  const c = p.certificate;
  if (c === undefined) return <span class="dim">{NONE}</span>;
  const left = lifeLeft(c, now.value);
  const health = left <= 0 ? "bad" : left < 0.25 ? "warn" : "ok";
  return (
    <span class="share" title={`from ${new Date(c.from).toISOString()} to ${new Date(c.to).toISOString()}`}>
      <meter class={health === "ok" ? "plain" : health} min={0} max={1} value={left} aria-hidden="true" />
      <span class={health === "ok" ? undefined : `${health}-text`}>{left <= 0 ? "expired" : `${span(c.to - now.value)} left`}</span><span class="unseen">{percent(left)} % of its life</span>
    </span>
  );
}
