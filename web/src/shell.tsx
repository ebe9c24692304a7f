// What stands around every view: where one is, of which namespace and time, whether the page is still told the truth.

import { useEffect, useRef, useState } from "preact/hooks";
import { at, link, live, meta, now, place, problems, scope, seconds, set, traffic } from "./data/store";
import { clock, plural, span, windowName } from "./pure/format";
import { link as href, type View, windows } from "./pure/url";
import { HealthSign, Icon } from "./ui/icons";
import { Choice } from "./ui/parts";
import { nextTheme, theme } from "./ui/theme";
import { ConfigView } from "./views/config";
import { LiveView } from "./views/live";
import { MapView } from "./views/map";
import { OverviewView } from "./views/overview";
import { ProblemsView } from "./views/problems";
import { WorkloadsView } from "./views/workloads";

const names: [View, string][] = [
  ["overview", "Overview"], ["map", "Map"], ["workloads", "Workloads"], ["live", "Live"], ["problems", "Problems"], ["config", "Config"],
];

const shown: Record<View, () => preact.JSX.Element> = {
  overview: OverviewView, map: MapView, workloads: WorkloadsView, live: LiveView, problems: ProblemsView, config: ConfigView,
};

export function Shell() {
  const { view, path } = place.value;
  const Current = shown[view];
  useTitle(view, path);
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>Skip to the content</a>
      <header class="top">
        <a class="brand" href={href(place.value, "overview")}><img src="favicon.svg" alt="" width="22" height="22" />Fairlead</a>
        <nav aria-label="Views">
          {names.map(([v, name]) => (
            <a key={v} href={href(place.value, v)} aria-current={v === view ? "page" : undefined}>{name}{v === "problems" && <Badge />}</a>
          ))}
        </nav>
        <span class="grow" />
        <MeshName />
        <button type="button" class="quiet" aria-pressed={place.value.query.cli === "1"} title="show the commands that print the same" onClick={() => set({ cli: place.value.query.cli === "1" ? "" : "1" })}><Icon name="prompt" /><span class="unseen">show the commands that print the same</span></button>
        <button type="button" class="quiet" title={`colours: ${theme.value}`} onClick={nextTheme}><Icon name={theme.value === "auto" ? "auto" : theme.value === "light" ? "sun" : "moon"} /><span class="unseen">colours: {theme.value}</span></button>
      </header>
      {view !== "live" && view !== "config" && view !== "problems" && <Bar />}
      <Banner />
      <main id="main" tabIndex={-1} class={view}><h1 class="unseen">{names.find(([v]) => v === view)?.[1]}</h1><Current /></main>
      <Announcer />
    </>
  );
}

function useTitle(view: View, path: string[]): void {
  const name = [...path].pop() ?? names.find(([v]) => v === view)?.[1] ?? "";
  const m = meta.value;
  useEffect(() => { document.title = `${name} – ${m === undefined ? "" : `${m.name} – `}Fairlead`; }, [name, m?.name]);
}

function Badge() {
  const all = problems.value?.problems ?? [];
  const errors = all.filter((p) => p.severity === "error").length;
  if (all.length === 0) return null;
  return <span class={`badge ${errors > 0 ? "bad" : "warn"}`} aria-label={`${plural(errors, "error")}, ${plural(all.length - errors, "warning")}`}>{all.length}</span>;
}

function MeshName() {
  const m = meta.value;
  const l = link.value;
  const state = l.state === "lost" ? "bad" : l.state === "open" && m !== undefined ? "ok" : "idle";
  return (
    <span class="mesh">
      <HealthSign health={state} />
      {m === undefined ? "connecting …" : <><b>{m.name}</b> <span class="dim">{!m.name.includes(m.mesh) && `${m.mesh}, `}{m.version}{(m.replicas ?? 0) > 1 && `, ${m.replicas} replicas`}</span></>}
    </span>
  );
}

/** Which namespace and which time is looked at. */
function Bar() {
  const t = traffic.value;
  const spaces = [...new Set([...(t?.namespaces ?? []).map((n) => n.name), scope.value])].filter((n) => n !== "").sort();
  return (
    <div class="bar" role="region" aria-label="Namespace and time">
      <label>Namespace
        <select value={scope.value} onChange={(e) => set({ ns: e.currentTarget.value })}>
          <option value="">all</option>
          {spaces.map((n) => <option key={n} value={n}>{n}</option>)}
        </select>
      </label>
      <span class="field">Last <Choice name="Time range" of={windows.map((w) => [String(w), windowName(w)] as const)} value={String(seconds.value)} onPick={(v) => set({ window: v === "60" ? "" : v })} /></span>
      {live.value ? <LiveSign /> : <Replay />}
      <span class="grow" />
      {t !== undefined && (t.cut ?? 0) > 0 && <span class="dim" title="A bound was reached: these are counted together, as “other”">{plural(t.cut ?? 0, "edge")} counted together</span>}
      {t?.note && <span class="warn-text">{t.note}</span>}
    </div>
  );
}

function LiveSign() {
  const t = traffic.value;
  const since = t?.since ?? meta.value?.since;
  const end = t?.to ?? now.value;
  return (
    <>
      <button type="button" onClick={() => set({ at: String(Math.round(end / 1000) * 1000) })} disabled={t === undefined}><Icon name="pause" /> Replay</button>
      <span class="dim">{t === undefined ? "" : `live, ${clock(t.to)}`}{since !== undefined && end - since < seconds.value * 1000 && ` – data since ${clock(since)}`}</span>
    </>
  );
}

/** The last hour once more: a slider over what the control plane remembers, and a way to let it run. */
function Replay() {
  const [running, setRunning] = useState(false);
  const step = (meta.value?.step ?? 10) * 1000;
  const end = now.value;
  const begin = Math.max(traffic.value?.since ?? meta.value?.since ?? 0, end - (meta.value?.window ?? 3600) * 1000);
  const moment = at.value ?? end;
  useEffect(() => {
    if (!running) return undefined;
    const timer = setInterval(() => {
      const next = (at.peek() ?? 0) + step;
      if (next > Date.now()) setRunning(false);
      else set({ at: String(next) });
    }, 700);
    return () => clearInterval(timer);
  }, [running, step]);
  return (
    <span class="replay">
      <button type="button" onClick={() => setRunning(!running)} aria-pressed={running}><Icon name={running ? "pause" : "play"} /><span class="unseen">{running ? "pause" : "run"}</span></button>
      <input type="range" aria-label="Moment" aria-valuetext={`${clock(moment)}, ${span(end - moment)} ago`} min={begin} max={end} step={step} value={moment}
        onInput={(e) => set({ at: e.currentTarget.value })} />
      <output>{clock(moment)} <span class="dim">{span(end - moment)} ago</span></output>
      <button type="button" class="primary" onClick={() => set({ at: "" })}>Back to live</button>
    </span>
  );
}

// The banner is read out by the Announcer: its own text changes every second.
function Banner() {
  const l = link.value;
  if (l.state !== "lost") return null;
  const t = traffic.value;
  return (
    <div class="banner" role="region" aria-label="Connection">
      <HealthSign health="bad" />
      <span><b>Not connected</b> for {span(now.value - l.since)}: {l.why}. {t === undefined ? "" : `What is shown is of ${clock(t.to)}. `}Connecting again …</span>
    </div>
  );
}

/** Says to screen readers what changed, at most every ten seconds. */
function Announcer() {
  const [text, setText] = useState("");
  const lastSaid = useRef(0);
  const l = link.value;
  const errors = (problems.value?.problems ?? []).filter((p) => p.severity === "error").length;
  const said = l.state === "lost" ? `Not connected: ${l.why}` : l.state === "open" ? `Connected. ${plural(errors, "error")}.` : "";
  useEffect(() => {
    const timer = setTimeout(() => {
      lastSaid.current = Date.now();
      setText(said);
    }, Math.max(0, lastSaid.current + 10_000 - Date.now()));
    return () => clearTimeout(timer);
  }, [said]);
  return <div class="unseen" role="status" aria-live="polite">{text}</div>;
}
