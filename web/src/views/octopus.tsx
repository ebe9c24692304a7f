// Callers – this – callees.

import { place } from "../data/store";
import type { Total } from "../data/types";
import { type Arm as Edge, reached } from "../map/graph";
import { latency, percent, plural, rate } from "../pure/format";
import { healthOf } from "../pure/health";
import { link } from "../pure/url";
import { HealthSign, Lock } from "../ui/icons";
import { Empty, Golden } from "../ui/parts";
import { nodeHref, nodeName } from "./names";

/** At most so many at each side; the map's table has all. */
const MOST = 12;

export function Octopus({ name, about, total, into, out, behind = false }: {
  name: string; about: string; total: Total | undefined; into: Edge[]; out: Edge[];
  /** What stands at the right answers for it, as workloads do for a service. */
  behind?: boolean;
}) {
  return (
    <div class="octopus">
      <Arm title="Callers" edges={into} end="src" empty="Nobody calls it" />
      <div class="middle"><p class="title"><HealthSign health={healthOf(total)} />{name}</p><p class="dim">{about}</p><Golden total={total} /></div>
      <Arm title={behind ? "Answered by" : "Calls"} edges={out} end="dst" empty={behind ? "Nobody has answered" : "It calls nobody"} />
    </div>
  );
}

function Arm({ title, edges, end, empty }: { title: string; edges: Edge[]; end: "src" | "dst"; empty: string }) {
  const busiest = [...edges].sort((a, b) => b.total.rps - a.total.rps || (b.total.open ?? 0) - (a.total.open ?? 0));
  return (
    <div class={`arm ${end}`}>
      <h3>{title}</h3>
      {edges.length === 0 ? <Empty title={empty} /> : (
        <ul>
          {busiest.slice(0, MOST).map((e) => (
            <li key={e.id} class={healthOf(e.total)}>
              <a href={nodeHref(e[end])}>
                <span class="line"><HealthSign health={healthOf(e.total)} /><b class="clip grow">{nodeName(e[end])}</b>{reached(e) && <Lock secured={e.mixed === true ? "mixed" : e.secured} reason={e.note ?? e.reason} />}</span>
                <span class="line dim"><Numbers e={e} /></span>
              </a>
            </li>
          ))}
          {edges.length > MOST && <li class="dim"><a href={link(place.value, "map", [], { as: "table" })}>and {plural(edges.length - MOST, "other")}</a></li>}
        </ul>
      )}
    </div>
  );
}

function Numbers({ e }: { e: Edge }) {
  const t = e.total;
  if (t.requests === 0) return <span>{plural(t.open ?? 0, "connection")} open</span>;
  return <><span class={`${healthOf(t)}-text`}>{percent(t.success)} %</span><span>{rate(t.rps)} /s</span><span>p95 {latency(t.p95)}</span>{e.share !== undefined && e.share < 0.9995 && end(e)}</>;
}

function end(e: Edge) {
  return <span title={`of the calls to ${e.service}`}>{percent(e.share)} % share</span>;
}
