// What the page knows: one stream of events for what is live, questions for the rest. Everything that views read are signals.

import { computed, effect, signal } from "@preact/signals";
import { atOf, format, parse, type Place, windowOf } from "../pure/url";
import type { Config, Meta, Problems, Traffic } from "./types";

export const place = signal<Place>(parse(location.hash));
addEventListener("hashchange", () => { place.value = parse(location.hash); });

/** Goes to an address of pure/url; with "replace" no new entry of the browser's history is made. */
export function go(href: string, how: "push" | "replace" = "push"): void {
  if (how === "push") location.hash = href;
  else {
    history.replaceState(null, "", href);
    place.value = parse(href);
  }
}

/** Changes the query of the present place. */
export function set(query: Record<string, string>, how: "push" | "replace" = "replace"): void {
  go(format({ ...place.value, query: { ...place.value.query, ...query } }), how);
}

export const scope = computed(() => place.value.query.ns ?? "");
export const seconds = computed(() => windowOf(place.value));
/** The end of the window, undefined while the page is live. */
export const at = computed(() => atOf(place.value));
export const live = computed(() => at.value === undefined);

export const meta = signal<Meta | undefined>(undefined);
export const config = signal<Config | undefined>(undefined);
export const problems = signal<Problems | undefined>(undefined);
const liveTraffic = signal<Traffic | undefined>(undefined);
const pastTraffic = signal<Traffic | undefined>(undefined);
/** What went on in the window, live or in replay. */
export const traffic = computed(() => (live.value ? liveTraffic.value : pastTraffic.value));

export type Link =
  | { state: "connecting" }
  | { state: "open" }
  | { state: "lost"; since: number; why: string };
export const link = signal<Link>({ state: "connecting" });
/** The time as of the last event; views that say "3 s ago" read it. */
export const now = signal(Date.now());
setInterval(() => { now.value = Date.now(); }, 1000);

/** An answer that is no success, with the server's one line. */
export class AnswerError extends Error {
  constructor(readonly status: number, message: string) { super(message); }
}

export async function ask<T>(path: string, query: Record<string, string | number | undefined> = {}, stop?: AbortSignal): Promise<T> {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined && value !== "") params.set(key, String(value));
  const text = params.toString();
  let answer: Response;
  try {
    answer = await fetch(`api/v1/${path}${text === "" ? "" : `?${text}`}`, { signal: stop ?? null, headers: { accept: "application/json" } });
  } catch (err) {
    if (stop?.aborted) throw err;
    throw new AnswerError(0, "the dashboard's server does not answer: is “fairlead dashboard” still running?");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => undefined) as { error?: string } | undefined;
    throw new AnswerError(answer.status, said?.error ?? `the server answered ${answer.status}`);
  }
  return await answer.json() as T;
}

/** Follows the stream of events for a window. EventSource comes back by itself, unless the server answered with an error. */
function follow(window: number): () => void {
  let source: EventSource | undefined;
  let again: ReturnType<typeof setTimeout> | undefined;
  let wait = 1000;
  const open = () => {
    source = new EventSource(`api/v1/events?window=${window}&topics=traffic,config,problems,meta`);
    source.onopen = () => {
      wait = 1000;
      link.value = { state: "open" };
    };
    source.onerror = () => {
      lost("the connection to the dashboard's server broke off");
      if (source?.readyState !== EventSource.CLOSED) return;
      again = setTimeout(open, wait);
      wait = Math.min(wait * 2, 15_000);
      void ask("meta").catch((err: unknown) => { if (err instanceof AnswerError) lost(err.message); });
    };
    const on = <T>(name: string, take: (data: T) => void) => source?.addEventListener(name, (e) => take(JSON.parse((e as MessageEvent<string>).data) as T));
    on<Traffic>("traffic", (t) => { liveTraffic.value = t; });
    on<Config>("config", (c) => { config.value = c; });
    on<Problems>("problems", (p) => { problems.value = p; });
    on<Meta>("meta", (m) => { meta.value = m; });
    on<{ connected: boolean; error?: string }>("state", (s) => {
      if (s.connected) link.value = { state: "open" };
      else lost(s.error ?? "the control plane does not answer");
    });
  };
  open();
  return () => {
    clearTimeout(again);
    source?.close();
  };
}

function lost(why: string): void {
  const before = link.value;
  link.value = { state: "lost", why, since: before.state === "lost" ? before.since : Date.now() };
}

/** Starts the stream and, in replay, asks for the moment that is looked at. Called once. */
export function start(): void {
  effect(() => follow(seconds.value));
  effect(() => {
    const to = at.value;
    if (to === undefined) return undefined;
    const stop = new AbortController();
    ask<Traffic>("traffic", { window: seconds.value, to }, stop.signal)
      .then((t) => { pastTraffic.value = t; })
      .catch((err: unknown) => { if (!stop.signal.aborted) pastTraffic.value = { from: to, to, seconds: seconds.value, nodes: [], services: [], edges: [], namespaces: [], note: String((err as Error).message) }; });
    return () => stop.abort();
  });
}
