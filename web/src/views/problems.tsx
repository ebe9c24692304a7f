// What is wrong, and what to do.

import { link as connection, now, place, problems, set } from "../data/store";
import type { Problem } from "../data/types";
import { plural, span } from "../pure/format";
import { link } from "../pure/url";
import { HealthSign } from "../ui/icons";
import { Command, Empty, Failed, Loading, Search, Section, UrlChoice } from "../ui/parts";
import { serviceHref } from "./names";

export function ProblemsView() {
  const p = problems.value;
  if (p === undefined) return connection.value.state === "lost" ? <Failed why={connection.value.why} /> : <Loading what="problems" />;
  const q = place.value.query;
  const text = (q.find ?? "").toLowerCase();
  const ns = q.ns ?? "";
  const list = p.problems.filter((x) => (q.severity === undefined || x.severity === q.severity) && (ns === "" || x.object === ns || x.object.startsWith(`${ns}/`)) &&
    (text === "" || `${x.kind} ${x.object} ${x.text}`.toLowerCase().includes(text)));
  const errors = p.problems.filter((x) => x.severity === "error").length;
  return (
    <Section flush title={p.problems.length === 0 ? "Problems" : `${plural(errors, "error")}, ${plural(p.problems.length - errors, "warning")}`} command={p.command}
      aside={<>{ns !== "" && <button type="button" onClick={() => set({ ns: "" })}>of {ns} ✕</button>}<Search at="find" label="Object or text" /><UrlChoice name="Severity" of={[["", "All"], ["error", "Errors"], ["warning", "Warnings"]]} at="severity" otherwise="" /></>}>
      {list.length === 0
        ? <Empty title={p.problems.length === 0 ? "Nothing is wrong" : "None of these"}><p>{p.problems.length === 0 ? "No object is refused, every sidecar has what it should, certificates are renewed in time, and every service that is called has endpoints." : `${plural(p.problems.length, "problem")} of other kinds.`}</p></Empty>
        : <ul class="problems">{sorted(list).map((x, i) => <Row key={`${x.kind}${x.object}${i}`} x={x} />)}</ul>}
    </Section>
  );
}

function sorted(list: Problem[]): Problem[] {
  return [...list].sort((a, b) => a.severity.localeCompare(b.severity) || (b.since ?? 0) - (a.since ?? 0));
}

function Row({ x }: { x: Problem }) {
  return (
    <li class={x.severity}>
      <HealthSign health={x.severity === "error" ? "bad" : "warn"} />
      <div class="grow">
        <p class="line"><b><span class="dim">{x.kind}</span> <a href={hrefOf(x)}>{x.object}</a></b><span class="grow" />{x.since !== undefined && <span class="dim">for {span(now.value - x.since)}</span>}</p>
        <p>{x.field !== undefined && <code class="dim">{x.field} </code>}{x.text}</p>
        {x.fix !== undefined && x.fix !== "" && <p class="fix"><span class="dim">Do:</span> {x.fix}</p>}
        {x.command !== undefined && <Command text={x.command} />}
      </div>
    </li>
  );
}

function hrefOf(x: Problem): string {
  if (x.kind === "Service") return serviceHref(x.object);
  if (x.kind === "Pod") return link(place.value, "map", [], { find: x.object.split("/").pop()?.split("-")[0] ?? "" });
  return link(place.value, "config", [x.kind, ...x.object.split("/")]);
}
