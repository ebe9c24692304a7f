// Workloads and services: their lists, and a page for each.

import { config, place, scope, seconds, traffic } from "../data/store";
import type { Node, Service } from "../data/types";
import { latency, NONE, percent, rate, windowName } from "../pure/format";
import { healthOf } from "../pure/health";
import { HealthSign } from "../ui/icons";
import { Empty, Loading, Search, Section, UrlChoice } from "../ui/parts";
import { type Column, Table } from "../ui/table";
import { cliSince, kindName, nodeHref, serviceHref } from "./names";
import { Share } from "./overview";
import { ServicePage } from "./service";
import { WorkloadPage } from "./workload";

export function WorkloadsView() {
  const [what, ...rest] = place.value.path;
  if (what === "workload" && rest.length >= 3) return <WorkloadPage key={rest.join("/")} id={rest.join("/")} />;
  if (what === "service" && rest.length >= 2) return <ServicePage key={rest.join("/")} id={rest[0] === "" ? rest.slice(1).join("/") : rest.join("/")} />;
  const t = traffic.value;
  if (t === undefined) return <Loading what="workloads" />;
  const text = (place.value.query.find ?? "").toLowerCase();
  const wanted = (n: { ns?: string; name: string }) => (scope.value === "" || n.ns === scope.value) && n.name.toLowerCase().includes(text);
  const services = place.value.query.list === "services";
  return (
    <Section flush title={services ? "Services" : "Workloads"} command={`fairlead stat ${services ? "svc" : "deploy"} ${scope.value === "" ? "-A" : `-n ${scope.value}`}${cliSince()}`}
      aside={<><Search at="find" label="Name" /><UrlChoice name="List" of={[["workloads", "Workloads"], ["services", "Services"]]} at="list" otherwise="workloads" /></>}>
      {services
        ? <Table id="services" caption="Services" columns={serviceColumns()} rows={t.services.filter(wanted)} rowKey={(s) => s.id} sorted="-rps" empty={<None what="service" text={text} />} />
        : <Table id="workloads" caption="Workloads" columns={workloadColumns(t.nodes)} rows={t.nodes.filter((n) => wanted(n) && !["none", "address", "host", "other"].includes(n.kind))} rowKey={(n) => n.id} sorted="-rps" empty={<None what="workload" text={text} />} />}
    </Section>
  );
}

function None({ what, text }: { what: string; text: string }) {
  return <Empty title={text === "" ? `There is no ${what} here` : `No ${what} is called “${text}”`}><p>{what === "service" ? `Services are listed that were called in the last ${windowName(seconds.value)}, or that are configured.` : "Workloads are those of pods that the control plane knows."}</p></Empty>;
}

function workloadColumns(all: Node[]): Column<Node>[] {
  const clusters: Column<Node>[] = all.some((n) => n.cluster !== undefined) ? [{ key: "cluster", name: "Cluster", by: (n) => n.cluster, cell: (n) => n.cluster ?? <span class="dim">{NONE}</span> }] : [];
  return [
    { key: "name", name: "Workload", head: true, by: (n) => n.name, cell: (n) => <><HealthSign health={healthOf(n.total)} /><a href={nodeHref(n.id)}>{n.name}</a></> },
    { key: "ns", name: "Namespace", by: (n) => n.ns, cell: (n) => n.ns },
    ...clusters,
    { key: "kind", name: "Kind", by: (n) => n.kind, cell: (n) => <span class="dim">{kindName(n.kind)}</span> },
    { key: "pods", name: "Ready", number: true, by: (n) => n.pods, cell: (n) => n.pods === undefined || n.id.includes("@") ? NONE : n.ready !== undefined && n.ready < n.pods ? <span class="warn-text">{n.ready} of {n.pods}</span> : `${n.ready ?? n.pods} of ${n.pods}` },
    { key: "mesh", name: "Mesh", by: (n) => String(n.meshed), cell: (n) => (n.meshed ? <span class="dim">in the mesh</span> : <span class="warn-text">not in the mesh</span>) },
    { key: "success", name: "Success", number: true, by: (n) => n.total?.success, cell: (n) => <Share of={n.total?.success} /> },
    { key: "rps", name: "Requests /s", number: true, by: (n) => n.total?.rps, cell: (n) => rate(n.total?.rps) },
    { key: "p50", name: "p50", number: true, by: (n) => n.total?.p50, cell: (n) => latency(n.total?.p50) },
    { key: "p95", name: "p95", number: true, by: (n) => n.total?.p95, cell: (n) => latency(n.total?.p95) },
    { key: "p99", name: "p99", number: true, by: (n) => n.total?.p99, cell: (n) => latency(n.total?.p99) },
  ];
}

function serviceColumns(): Column<Service>[] {
  const known = new Map((config.value?.services ?? []).map((s) => [s.id, s]));
  const ready = (s: Service) => known.get(s.id)?.endpoints.filter((e) => e.health === "healthy" && e.ejected === undefined).length;
  return [
    { key: "name", name: "Service", head: true, by: (s) => s.name, cell: (s) => <><HealthSign health={healthOf(s.total)} /><a href={serviceHref(s.id)}>{s.name}</a></> },
    { key: "ns", name: "Namespace", by: (s) => s.ns, cell: (s) => s.ns ?? <span class="dim">outside the cluster</span> },
    { key: "endpoints", name: "Healthy endpoints", number: true, by: ready, cell: (s) => {
      const all = known.get(s.id)?.endpoints.length;
      if (all === undefined) return <span class="dim">{NONE}</span>;
      return <span class={ready(s) === 0 ? "bad-text" : (ready(s) ?? 0) < all ? "warn-text" : undefined}>{ready(s)} of {all}</span>;
    } },
    { key: "success", name: "Success", number: true, by: (s) => s.total?.success, cell: (s) => <Share of={s.total?.success} /> },
    { key: "rps", name: "Requests /s", number: true, by: (s) => s.total?.rps, cell: (s) => rate(s.total?.rps) },
    { key: "p50", name: "p50", number: true, by: (s) => s.total?.p50, cell: (s) => latency(s.total?.p50) },
    { key: "p95", name: "p95", number: true, by: (s) => s.total?.p95, cell: (s) => latency(s.total?.p95) },
    { key: "p99", name: "p99", number: true, by: (s) => s.total?.p99, cell: (s) => latency(s.total?.p99) },
    { key: "rules", name: "Rules", by: (s) => known.get(s.id)?.routes.filter((r) => r.kind !== "default").length, cell: (s) => {
      const kinds = [...new Set(known.get(s.id)?.routes.filter((r) => r.kind !== "default").map((r) => r.kind))];
      return kinds.length === 0 ? <span class="dim">{percent(undefined)}</span> : kinds.join(", ");
    } },
  ];
}
