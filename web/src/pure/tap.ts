// What the page keeps of a tap: the last requests, with what both sidecars said of each put together.

import type { TapEvent } from "../data/types";

/** One request from one workload to another: as the caller's sidecar saw it, the callee's, or both. */
export interface Exchange { key: string; at: number; out?: TapEvent; in?: TapEvent }

/** How many exchanges are kept, the latest. */
export const RING = 1000;

/**
 * The two sidecars of a request give it the same x-request-id, and so does every call that an app makes on its behalf and
 * passes the field on; which of them is meant is told by the pod that was called. What has no id stands alone.
 */
function keyOf(e: TapEvent): string | undefined {
  return e.requestId === undefined || e.requestId === "" ? undefined : `${e.requestId} ${e.dst.labels?.pod ?? e.dst.addr}`;
}

export function startOf(e: TapEvent): number {
  return typeof e.start === "number" ? e.start : Date.parse(e.start);
}

let alone = 0;

/** The exchanges with some more, the oldest of too many left out. Neither list is changed; exchanges may be replaced. */
export function withEvents(before: Exchange[], events: TapEvent[]): Exchange[] {
  const all = [...before];
  const index = new Map<string, number>();
  all.forEach((x, i) => index.set(x.key, i));
  for (const e of events) {
    const key = keyOf(e);
    const side = e.direction === "outbound" ? "out" : "in";
    const i = key === undefined ? undefined : index.get(key);
    const known = i === undefined ? undefined : all[i];
    if (i !== undefined && known !== undefined && known[side] === undefined) {
      all[i] = { ...known, [side]: e, at: Math.min(known.at, startOf(e)) };
      continue;
    }
    // The same id again on the same side is another try, or a client that sends one id twice: a row of its own.
    const fresh: Exchange = { key: key === undefined || known !== undefined ? `alone ${alone++}` : key, at: startOf(e), [side]: e };
    index.set(fresh.key, all.length);
    all.push(fresh);
  }
  return all.length > RING ? all.slice(all.length - RING) : all;
}

/** The side that tells more: what the caller was answered. */
export function main(x: Exchange): TapEvent {
  return (x.out ?? x.in) as TapEvent;
}

/** The time between both sidecars: the network, and the mesh itself. Unknown where only one told, or clocks cannot say. */
export function between(x: Exchange): number | undefined {
  if (x.out === undefined || x.in === undefined) return undefined;
  const ms = x.out.duration - x.in.duration;
  return ms >= 0 ? ms : undefined;
}

/** Whether it went wrong: a 5xx, gRPC's own statuses of servers, no answer, or cut off. */
export function failed(e: TapEvent): boolean {
  return e.status === 0 || e.status >= 500 || (e.cause ?? "") !== "" || ["2", "4", "13", "14", "15"].includes(e.grpcStatus ?? "");
}

/** The name of one end: its workload, its pod, or its address. */
export function endName(labels: Record<string, string> | undefined, addr: string): string {
  if (labels === undefined) return addr;
  for (const kind of ["deployment", "statefulset", "daemonset", "job", "replicaset", "cronjob", "pod"]) if (labels[kind]) return labels[kind] as string;
  return addr;
}

/** The names of the filters in the address, what the server calls them, and the flag of "fairlead tap". */
export const filters = [
  { at: "resource", api: "resource", flag: "", label: "Resource", hint: "deploy/users-v1, ns/shop, deploy" },
  { at: "namespace", api: "namespace", flag: "-n", label: "Namespace", hint: "default" },
  { at: "to", api: "to", flag: "--to", label: "To", hint: "svc/users-service" },
  { at: "to-namespace", api: "toNamespace", flag: "--to-namespace", label: "To namespace", hint: "the same" },
  { at: "method", api: "method", flag: "--method", label: "Method", hint: "GET" },
  { at: "path", api: "path", flag: "--path", label: "Path begins", hint: "/api" },
  { at: "authority", api: "authority", flag: "--authority", label: "Authority", hint: "users-service:8080" },
  { at: "status", api: "status", flag: "--status", label: "Status", hint: "5xx or 404,503" },
  { at: "max-rps", api: "maxRps", flag: "--max-rps", label: "Most per second", hint: "100" },
] as const;

const plainWord = /^[\w@%+=:,./-]+$/;

/** The command that prints the same requests. */
export function tapCommand(query: Record<string, string>): string {
  const words = ["fairlead tap"];
  for (const f of filters) {
    const value = query[f.at];
    if (value === undefined || value === "") continue;
    const word = plainWord.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
    words.push(f.flag === "" ? word : `${f.flag} ${word}`);
  }
  if (query.not === "1") words.push("--not");
  return words.join(" ");
}

/** The question for the server's stream. */
export function tapQuery(query: Record<string, string>): string {
  const out = new URLSearchParams();
  for (const f of filters) {
    const value = query[f.at];
    if (value !== undefined && value !== "") out.set(f.api, value);
  }
  if (query.not === "1") out.set("not", "1");
  return out.toString();
}
