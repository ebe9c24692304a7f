// The tap: requests as they happen, with the filters of the command line.

import { useEffect, useRef, useState } from "preact/hooks";
import { meta, place, set, traffic } from "../data/store";
import type { TapBegan, TapEvent } from "../data/types";
import { clock, latency, NONE, plural } from "../pure/format";
import { endName, type Exchange, failed, filters, main, RING, tapCommand, tapQuery, withEvents } from "../pure/tap";
import { HealthSign, Icon, Lock } from "../ui/icons";
import { Empty, Failed, Section } from "../ui/parts";
import { ExchangeSide } from "./exchange";
import { statusOf } from "./failures";

/** How often what came is shown, and how many rows of it. */
const SHOW_EVERY = 250;
const ROWS = 200;

interface Tap { exchanges: Exchange[]; began?: TapBegan; lost: number; why?: string; notes: string[]; waiting: number; state: "off" | "asking" | "on" | "failed" }

const nothing: Tap = { exchanges: [], lost: 0, notes: [], waiting: 0, state: "off" };

export function LiveView() {
  const q = place.value.query;
  const running = q.run === "1" && (q.resource ?? "") !== "";
  const [paused, setPaused] = useState(false);
  const [key, setKey] = useState<string | undefined>(undefined);
  const tap = useTap(running ? tapQuery(q) : undefined, paused);
  const chosen = tap.exchanges.find((x) => x.key === key);
  const forbidden = meta.value?.can?.tap === false;
  return (
    <>
      <Section title="Live requests" command={tap.began?.command ?? ((q.resource ?? "") === "" ? undefined : tapCommand(q))} aside={<State tap={tap} paused={paused} />}>
        <Filters running={running} />
        {forbidden && <Failed why="You may not tap: the rights of fairlead-tap are needed." />}
        {tap.why !== undefined && <Failed why={tap.why} />}
        {tap.notes.map((n) => <p key={n} class="warn-text">{n}</p>)}
        {(tap.began?.unmeshed ?? []).length > 0 && <p class="warn-text">Without a sidecar, and so not seen: {tap.began?.unmeshed?.join(", ")}</p>}
      </Section>
      <div class={chosen === undefined ? "split one" : "split right"}>
        <Section flush title={<>{plural(tap.exchanges.length, "request")}{tap.exchanges.length === RING && <span class="dim"> (the last; older ones are gone)</span>}</>}
          aside={running && (
            <>
              {paused && tap.waiting > 0 && <span class="dim">{plural(tap.waiting, "more event")}</span>}
              <button type="button" aria-pressed={paused} onClick={() => setPaused(!paused)}><Icon name={paused ? "play" : "pause"} /> {paused ? "Go on" : "Pause"}</button>
            </>
          )}>
          <Rows tap={tap} chosen={key} onChoose={setKey} running={running} />
        </Section>
        {chosen !== undefined && <ExchangeSide x={chosen} onClose={() => setKey(undefined)} />}
      </div>
    </>
  );
}

function State({ tap, paused }: { tap: Tap; paused: boolean }) {
  const text = { off: "not running", asking: "asking the sidecars …", on: paused ? "paused" : `running${tap.began?.pods === undefined ? "" : `, ${plural(tap.began.pods, "pod")}`}`, failed: "ended" }[tap.state];
  return <span class="dim" role="status">{tap.state === "on" && !paused && <HealthSign health="ok" />}{text}{tap.lost > 0 && <span class="warn-text"> · {plural(tap.lost, "request")} not shown</span>}</span>;
}

function Filters({ running }: { running: boolean }) {
  const q = place.value.query;
  const [draft, setDraft] = useState<Record<string, string>>({});
  // What is most likely meant stands there already.
  const likely: Record<string, string> = running || q.resource !== undefined ? {} : { resource: "deploy", namespace: q.ns ?? traffic.value?.namespaces[0]?.name ?? "" };
  const value = (name: string) => draft[name] ?? q[name] ?? likely[name] ?? "";
  const submit = (e: Event) => {
    e.preventDefault();
    set({ ...likely, ...draft, run: "1" }, "push");
    setDraft({});
  };
  return (
    <form class="filters" onSubmit={submit}>
      {filters.map((f) => (
        <label key={f.at} class={f.at === "max-rps" ? "narrow" : undefined}><span>{f.label} {f.flag !== "" && <code class="dim">{f.flag}</code>}</span>
          <input name={f.at} value={value(f.at)} placeholder={f.hint} required={f.at === "resource"} autocomplete="off" spellcheck={false} onInput={(e) => setDraft({ ...draft, [f.at]: e.currentTarget.value })} />
        </label>
      ))}
      <label class="check"><input type="checkbox" checked={value("not") === "1"} onChange={(e) => setDraft({ ...draft, not: e.currentTarget.checked ? "1" : "" })} /> all others <code class="dim">--not</code></label>
      <span class="actions">
        <button type="submit" class="primary"><Icon name="play" /> {running ? "Apply" : "Start"}</button>
        {running && <button type="button" onClick={() => set({ run: "" })}>Stop</button>}
      </span>
    </form>
  );
}

function Rows({ tap, chosen, onChoose, running }: { tap: Tap; chosen: string | undefined; onChoose: (key: string) => void; running: boolean }) {
  if (tap.exchanges.length === 0) {
    if (!running) return <Empty title="Name a resource, and start"><p><code>deploy</code> is every Deployment of the namespace, <code>deploy/users-v1</code> one of them, <code>ns/shop</code> a namespace. The filters decide in the sidecars.</p></Empty>;
    return <Empty title="No request yet"><p>They are shown when they have ended. Connections that are not HTTP are not shown.</p></Empty>;
  }
  const rows = tap.exchanges.slice(-ROWS).reverse();
  return (
    <div class="scroll tall" tabIndex={0} role="region" aria-label="Requests, the latest first">
      <table class="tap">
        <caption class="unseen">Requests, the latest first</caption>
        <thead><tr><th scope="col">Time</th><th scope="col">From</th><th scope="col">To</th><th scope="col">Request</th><th scope="col">Status</th><th scope="col" class="number">Took</th><th scope="col">TLS</th><th scope="col">Seen by</th></tr></thead>
        <tbody>
          {rows.map((x) => {
            const e = main(x);
            const bad = failed(e);
            return (
              <tr key={x.key} class="link" aria-current={chosen === x.key ? "true" : undefined} onClick={() => onChoose(x.key)}>
                <td class="mono dim">{clock(x.at)}</td>
                <td>{endName(e.src.labels, e.src.addr)}</td>
                <td>{endName(e.dst.labels, e.dst.addr)}</td>
                <th scope="row" class="request"><button type="button" class="plain mono clip" title={`${e.method} ${e.path}`} onClick={(ev) => { ev.stopPropagation(); onChoose(x.key); }}><b>{e.method}</b> {e.path}</button></th>
                <td class={bad ? "bad-text" : e.status >= 400 ? "warn-text" : undefined}><HealthSign health={bad ? "bad" : e.status >= 400 ? "warn" : "ok"} />{statusOf(e)}</td>
                <td class="number">{latency(e.duration)}</td>
                <td>{e.tls || e.reason ? <Lock secured={e.tls} reason={e.reason} /> : NONE}</td>
                <td class="dim">{x.out !== undefined && x.in !== undefined ? "both" : x.out !== undefined ? "caller" : "callee"}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {tap.exchanges.length > ROWS && <p class="more">the last {ROWS} of {tap.exchanges.length} are shown</p>}
    </div>
  );
}

/** Follows a tap. What comes is gathered and shown four times a second; while paused it waits, as long as there is room. */
function useTap(query: string | undefined, paused: boolean): Tap {
  const [tap, setTap] = useState<Tap>(nothing);
  const hold = useRef(paused);
  hold.current = paused;
  useEffect(() => {
    if (query === undefined) {
      setTap((t) => ({ ...t, state: "off" }));
      return undefined;
    }
    setTap({ ...nothing, state: "asking" });
    let buffer: TapEvent[] = [];
    let dropped = 0;
    const change = (more: (t: Tap) => Partial<Tap>) => setTap((t) => ({ ...t, ...more(t) }));
    const source = new EventSource(`api/v1/tap?${query}`);
    const on = <T,>(name: string, take: (data: T) => void) => source.addEventListener(name, (e) => take(JSON.parse((e as MessageEvent<string>).data) as T));
    on<TapBegan>("began", (began) => change(() => ({ began, state: "on", why: undefined })));
    on<TapEvent>("request", (e) => {
      buffer.push(e);
      if (buffer.length > 2 * RING) {
        buffer.shift();
        dropped++;
      }
    });
    on<{ n: number; why?: string }>("lost", (l) => change((t) => ({ lost: t.lost + l.n })));
    on<{ text: string }>("note", (n) => change((t) => ({ notes: [...new Set([...t.notes, n.text])].slice(-3) })));
    on<{ text: string }>("failed", (f) => {
      source.close();
      change(() => ({ state: "failed", why: f.text }));
    });
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) change((t) => ({ state: "failed", why: t.why ?? "the server ended the tap" }));
    };
    const timer = setInterval(() => {
      if (hold.current) {
        change((t) => (t.waiting === buffer.length ? {} : { waiting: buffer.length }));
        return;
      }
      if (buffer.length === 0 && dropped === 0) return;
      const events = buffer;
      const gone = dropped;
      buffer = [];
      dropped = 0;
      change((t) => ({ exchanges: withEvents(t.exchanges, events), lost: t.lost + gone, waiting: 0, state: "on" }));
    }, SHOW_EVERY);
    return () => {
      clearInterval(timer);
      source.close();
    };
  }, [query]);
  return tap;
}

