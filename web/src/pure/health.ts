// What is well and what is not. The same rule for nodes, edges, namespaces and tiles, so that a colour means one thing.

import type { Total } from "../data/types";

export type Health = "ok" | "warn" | "bad" | "idle";

/** Below WARN of its calls answered well something is said to degrade, below BAD to fail. */
export const WARN = 0.99;
export const BAD = 0.95;

export function healthOf(total: Total | undefined): Health {
  if (total === undefined || (total.requests === 0 && !total.conns && !total.open)) return "idle";
  if (total.success === undefined) return "ok";
  if (total.success < BAD) return "bad";
  return total.success < WARN ? "warn" : "ok";
}

const order: Health[] = ["idle", "ok", "warn", "bad"];

export function worst(...all: Health[]): Health {
  return all.reduce((a, b) => (order.indexOf(b) > order.indexOf(a) ? b : a), "idle");
}

/** The word for it, for those who do not see the colour. */
export const healthWord: Record<Health, string> = { ok: "well", warn: "degraded", bad: "failing", idle: "no traffic" };

/** What is left of a certificate's life, as a share; below a quarter it should long have been renewed. */
export function lifeLeft(cert: { from: number; to: number }, now: number): number {
  return cert.to <= cert.from ? 0 : Math.max(0, Math.min(1, (cert.to - now) / (cert.to - cert.from)));
}
