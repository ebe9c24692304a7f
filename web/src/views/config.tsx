// The objects of the mesh, and what is wrong in them, at the line.

import { useEffect, useRef } from "preact/hooks";
import { place, set } from "../data/store";
import type { ObjectPage, ObjectProblem, ObjectRow, Objects } from "../data/types";
import { useAnswer } from "../data/use";
import { plural } from "../pure/format";
import { link } from "../pure/url";
import { tokens } from "../pure/yaml";
import { HealthSign } from "../ui/icons";
import { Command, Empty, Failed, Loading, Search, Section } from "../ui/parts";

export function ConfigView() {
  const objects = useAnswer<Objects>("objects", {}, 5_000);
  const [kind, ns, ...name] = place.value.path;
  if (objects.data === undefined) return objects.state === "failed" ? <Failed why={objects.why} /> : <Loading what="objects" />;
  const text = (place.value.query.find ?? "").toLowerCase();
  const scope = place.value.query.ns ?? "";
  const list = objects.data.objects.filter((o) => (scope === "" || o.ns === scope) && `${o.kind} ${o.ns ?? ""}/${o.name}`.toLowerCase().includes(text));
  return (
    <div class="split">
      <Section flush title="Objects" command={objects.data.command} aside={<>{scope !== "" && <button type="button" onClick={() => set({ ns: "" })}>of {scope} ✕</button>}<Search at="find" label="Kind or name" /></>}>
        {list.length === 0 ? <Empty title={objects.data.objects.length === 0 ? "There are no objects" : "None of these"}><p>Calls go by the defaults where no object says otherwise.</p></Empty> : <ObjectList list={list} current={[kind, ns, name.join("/")].join("/")} />}
      </Section>
      {kind === undefined ? <Section title="No object is chosen"><Empty title="Choose an object at the left"><p>Its YAML is shown as the control plane has it, with what is wrong at the line.</p></Empty></Section>
        : <ObjectView key={place.value.path.join("/")} kind={kind} ns={ns ?? ""} name={name.join("/")} />}
    </div>
  );
}

function ObjectList({ list, current }: { list: ObjectRow[]; current: string }) {
  const kinds = [...new Set(list.map((o) => o.kind))].sort();
  return (
    <div class="objects">
      {kinds.map((k) => (
        <div key={k}>
          <h3>{k}</h3>
          <ul class="list">
            {list.filter((o) => o.kind === k).sort((a, b) => `${a.ns}/${a.name}`.localeCompare(`${b.ns}/${b.name}`)).map((o) => (
              <li key={`${o.ns}/${o.name}`}><a href={link(place.value, "config", [o.kind, o.ns ?? "", o.name], keep())} aria-current={current === `${o.kind}/${o.ns ?? ""}/${o.name}` ? "true" : undefined}>
                <span class="grow clip">{o.name} <span class="dim">{o.ns}</span></span>
                {(o.errors ?? 0) > 0 && <span class="bad-text"><HealthSign health="bad" /> {o.errors}</span>}
                {(o.warnings ?? 0) > 0 && <span class="warn-text"><HealthSign health="warn" /> {o.warnings}</span>}
              </a></li>
            ))}
          </ul>
        </div>
      ))}
    </div>
  );
}

function keep(): Record<string, string> {
  const find = place.value.query.find;
  return find === undefined ? {} : { find };
}

function ObjectView({ kind, ns, name }: { kind: string; ns: string; name: string }) {
  const answer = useAnswer<ObjectPage>("object", { kind, ns, name }, 3_000);
  const title = <><span class="dim">{kind}</span> {ns === "" ? name : `${ns}/${name}`}</>;
  if (answer.data === undefined) return <Section title={title}>{answer.state === "failed" ? <Failed why={answer.why} /> : <Loading what={name} />}</Section>;
  const o = answer.data;
  return (
    <Section flush title={title} command={o.command} aside={<Applied acked={o.acked} of={o.of} />}>
      {answer.state === "failed" && <Failed why={`${answer.why}. What is shown may be old.`} />}
      {o.problems.filter((p) => p.line === undefined).map((p, i) => <ProblemLine key={i} p={p} />)}
      <Yaml text={o.yaml} problems={o.problems} />
      {o.problems.length > 0 && <div class="inset"><Command text={`fairlead validate -f FILE   # says the same of a file, before it is applied`} /></div>}
    </Section>
  );
}

/** How many sidecars have what the object says. */
function Applied({ acked, of }: { acked: number | undefined; of: number | undefined }) {
  if (acked === undefined || of === undefined) return null;
  if (of === 0) return <span class="dim">no sidecar is concerned</span>;
  return <span><HealthSign health={acked >= of ? "ok" : "warn"} />{acked >= of ? `all ${plural(of, "sidecar")} have it` : `${acked} of ${plural(of, "sidecar")} have it`}</span>;
}

function ProblemLine({ p }: { p: ObjectProblem }) {
  return (
    <div class={`said ${p.severity}`}>
      <HealthSign health={p.severity === "error" ? "bad" : "warn"} />
      <span>{p.path !== undefined && <code>{p.path}: </code>}{p.text}{p.fix !== undefined && p.fix !== "" && <span class="dim"> {p.fix}</span>}</span>
    </div>
  );
}

function Yaml({ text, problems }: { text: string; problems: ObjectProblem[] }) {
  const first = useRef<HTMLDivElement>(null);
  useEffect(() => { first.current?.scrollIntoView({ block: "nearest" }); }, [text]);
  const at = new Map<number, ObjectProblem[]>();
  for (const p of problems) if (p.line !== undefined) at.set(p.line, [...(at.get(p.line) ?? []), p]);
  const firstLine = Math.min(...at.keys());
  return (
    <div class="yaml scroll" tabIndex={0} role="region" aria-label="YAML">
      {text.replace(/\n$/, "").split("\n").map((line, i) => {
        const said = at.get(i + 1);
        return (
          <div key={i} ref={i + 1 === firstLine ? first : undefined}>
            <div class={said === undefined ? "row" : `row ${said.some((p) => p.severity === "error") ? "error" : "warning"}`}>
              <span class="number" aria-hidden="true">{i + 1}</span>
              <code>{tokens(line).map((t, k) => (t.kind === "plain" ? t.text : <span key={k} class={t.kind}>{t.text}</span>))}{"\n"}</code>
            </div>
            {said?.map((p, k) => <ProblemLine key={k} p={p} />)}
          </div>
        );
      })}
    </div>
  );
}
