// The parts that all views are made of.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { link, meta, place, set } from "../data/store";
import type { Total } from "../data/types";
import { cliPrefix, latency, NONE, percent, rate } from "../pure/format";
import { healthOf } from "../pure/health";
import { HealthSign, Icon } from "./icons";

/** A command of the command line that prints the same, to be copied. */
export function Command({ text: own }: { text: string }) {
  const prefix = cliPrefix(meta.value?.command);
  const text = own.startsWith("fairlead ") && !own.startsWith(`${prefix} `) ? prefix + own.slice("fairlead".length) : own;
  const [copied, setCopied] = useState(false);
  const copy = () => {
    navigator.clipboard.writeText(text).then(() => {
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    }).catch(() => undefined); // it can still be selected
  };
  return (
    <div class="command">
      <code>{text}</code>
      <button type="button" class="quiet" onClick={copy}><Icon name="copy" /><span aria-live="polite">{copied ? "copied" : "copy"}</span></button>
    </div>
  );
}

/** A part of a view: its heading, and behind the sign of a prompt the command that prints the same. */
export function Section({ title, command, aside, children, flush }: {
  title: ComponentChildren; command?: string | undefined; aside?: ComponentChildren; children: ComponentChildren; flush?: boolean;
}) {
  const [shown, setShown] = useState(false);
  const all = place.value.query.cli === "1";
  return (
    <section class={flush ? "panel flush" : "panel"}>
      <header>
        <h2>{title}</h2>
        {command && <button type="button" class="quiet" aria-expanded={shown || all} title="the command that prints this" onClick={() => setShown(!shown)}><Icon name="prompt" /><span class="unseen">the command that prints this</span></button>}
        <span class="grow" />
        {aside}
      </header>
      {command && (shown || all) && <Command text={command} />}
      {children}
    </section>
  );
}

export function Tile({ name, value, unit, sign, note }: { name: string; value: string; unit?: string; sign?: ComponentChildren; note?: ComponentChildren }) {
  const [number, own] = split(value);
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>{sign}<span class="value">{number}</span>{number !== NONE && <span class="unit">{unit ?? own}</span>}</dd>
      {note !== undefined && <dd class="note">{note}</dd>}
    </div>
  );
}

/** "4.1 ms" as number and unit. */
function split(value: string): [string, string] {
  const [number = value, ...unit] = value.split(" ");
  return [number, unit.join(" ")];
}

/** The golden metrics of something. */
export function Golden({ total, children }: { total: Total | undefined; children?: ComponentChildren }) {
  const tcp = total !== undefined && total.requests === 0 && ((total.conns ?? 0) > 0 || (total.open ?? 0) > 0);
  return (
    <dl class="tiles">
      {tcp ? (
        <>
          <Tile name="Open connections" value={rate(total.open)} />
          <Tile name="Opened" value={rate(total.conns)} />
        </>
      ) : (
        <>
          <Tile name="Success" value={percent(total?.success)} unit="%" sign={<HealthSign health={healthOf(total)} />} />
          <Tile name="Requests" value={rate(total?.rps)} unit="/s" />
          <Tile name="p50" value={latency(total?.p50)} />
          <Tile name="p95" value={latency(total?.p95)} />
          <Tile name="p99" value={latency(total?.p99)} />
        </>
      )}
      {children}
    </dl>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><p class="title">{title}</p>{children}</div>;
}

export function Failed({ why }: { why: string }) {
  return <div class="failed" role="alert"><HealthSign health="bad" /><p>{why}</p></div>;
}

export function Loading({ what }: { what: string }) {
  const l = link.value;
  if (l.state === "lost") return <Failed why={`${what} cannot be shown: ${l.why}`} />;
  return <div class="loading" role="status"><span class="bar" aria-hidden="true" /><p>Loading {what} …</p></div>;
}

/** A choice of a few, written into the address under a key. */
export function Choice({ name, of, value, onPick }: { name: string; of: readonly (readonly [value: string, label: string])[]; value: string; onPick?: (v: string) => void; }) {
  return (
    <div class="choice" role="group" aria-label={name}>
      {of.map(([v, label]) => <button type="button" key={v} aria-pressed={v === value} onClick={() => onPick?.(v)}>{label}</button>)}
    </div>
  );
}

/** A choice that lives in the address. */
export function UrlChoice({ name, of, at, otherwise }: { name: string; of: readonly (readonly [value: string, label: string])[]; at: string; otherwise: string }) {
  return <Choice name={name} of={of} value={place.value.query[at] ?? otherwise} onPick={(v) => set({ [at]: v === otherwise ? "" : v })} />;
}

export function Search({ at, label }: { at: string; label: string }) {
  return (
    <label class="search"><Icon name="search" /><span class="unseen">{label}</span>
      <input type="search" placeholder={label} value={place.value.query[at] ?? ""} onInput={(e) => set({ [at]: e.currentTarget.value })} />
    </label>
  );
}
