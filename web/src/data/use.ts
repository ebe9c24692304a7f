// Questions that views ask while they are shown.

import { useEffect, useState } from "preact/hooks";
import { ask } from "./store";

export type Asked<T> = { state: "loading"; data?: T } | { state: "ready"; data: T } | { state: "failed"; why: string; data?: T };

type Query = Record<string, string | number | undefined>;

/** Asks when the question changes, and again every so many ms; the last answer stays while the next is awaited. */
export function useAnswer<T>(path: string | undefined, query: Query = {}, every = 0): Asked<T> {
  return useAsked<T>(path === undefined ? "" : `${path}?${JSON.stringify(query)}`, (stop) => ask<T>(path ?? "", query, stop), every);
}

/** The same for several questions, whose answers come together. */
export function useAnswers<T>(path: string, queries: Query[], every = 0): Asked<T[]> {
  return useAsked<T[]>(queries.length === 0 ? "" : `${path}?${JSON.stringify(queries)}`, (stop) => Promise.all(queries.map((q) => ask<T>(path, q, stop))), every);
}

/** The key is what the question is known by; nothing is asked where it is empty. */
function useAsked<T>(key: string, question: (stop: AbortSignal) => Promise<T>, every: number): Asked<T> {
  const [answer, setAnswer] = useState<Asked<T>>({ state: "loading" });
  useEffect(() => {
    if (key === "") return undefined;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    setAnswer((before) => ({ state: "loading", data: before.data }));
    const once = () => {
      question(stop.signal)
        .then((data) => setAnswer({ state: "ready", data }))
        .catch((err: unknown) => { if (!stop.signal.aborted) setAnswer((before) => ({ state: "failed", why: (err as Error).message, data: before.data })); })
        .finally(() => { if (every > 0 && !stop.signal.aborted) timer = setTimeout(once, every); });
    };
    once();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [key, every]);
  return answer;
}
