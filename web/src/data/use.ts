// Questions that views ask while they are shown.

import { useEffect, useState } from "preact/hooks";
import { ask } from "./store";

export type Asked<T> = { state: "loading"; data?: T } | { state: "ready"; data: T } | { state: "failed"; why: string; data?: T };

/** Asks when the question changes, and again every so many ms; the last answer stays while the next is awaited. */
export function useAnswer<T>(path: string | undefined, query: Record<string, string | number | undefined> = {}, every = 0): Asked<T> {
  const [answer, setAnswer] = useState<Asked<T>>({ state: "loading" });
  const key = path === undefined ? "" : `${path}?${JSON.stringify(query)}`;
  useEffect(() => {
    if (path === undefined) return undefined;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    setAnswer((before) => ({ state: "loading", data: before.data }));
    const once = () => {
      ask<T>(path, query, stop.signal)
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
