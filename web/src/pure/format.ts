// Numbers and times as the page writes them. Everything is short, and says where it is not known: "–".

export const NONE = "–";

/** A rate: "0", "0.04", "3.2", "48", "1.2k". */
export function rate(n: number | undefined): string {
  if (n === undefined || !Number.isFinite(n)) return NONE;
  if (n === 0) return "0";
  if (n < 0.1) return n < 0.005 ? "<0.01" : n.toFixed(2);
  if (n < 9.95) return n.toFixed(1);
  return count(n);
}

/** A count: "7", "812", "1.2k", "34k", "5.6M". */
export function count(n: number | undefined): string {
  if (n === undefined || !Number.isFinite(n)) return NONE;
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]] as const) {
    if (n >= size * 0.9995) return (n / size < 9.95 ? (n / size).toFixed(1) : Math.round(n / size)) + unit;
  }
  return String(Math.round(n));
}

/** A share as a percentage. It says 100 or 0 only where it is that: 99.996 % is "99.99", not "100". */
export function percent(share: number | undefined): string {
  if (share === undefined || !Number.isFinite(share)) return NONE;
  const p = share * 100;
  if (p >= 100) return "100";
  if (p <= 0) return "0";
  if (p > 99.9) return (Math.floor(p * 100) / 100).toFixed(2);
  if (p > 99 || p < 10) return Math.max(0.1, Math.floor(p * 10) / 10).toFixed(1);
  return (Math.round(p * 10) / 10).toFixed(1);
}

/** A latency in ms: "0.3 ms", "4.1 ms", "87 ms", "1.2 s", "2 min". */
export function latency(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return NONE;
  if (ms === 0) return "0";
  if (ms < 0.095) return `${Math.round(ms * 1000)} µs`;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

/** Bytes: "0 B", "664 B", "1.5 KiB". */
export function bytes(n: number | undefined): string {
  if (n === undefined || !Number.isFinite(n)) return NONE;
  if (n < 1024) return `${Math.round(n)} B`;
  let unit = -1;
  do { n /= 1024; unit++; } while (n >= 1023.5 && unit < 4);
  return `${n < 9.95 ? n.toFixed(1) : Math.round(n)} ${["KiB", "MiB", "GiB", "TiB", "PiB"][unit]}`;
}

/** How long something takes or took: "12s", "4m", "3h", "2d"; as the command line's AGE. */
export function span(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return NONE;
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 120) return `${s}s`;
  if (s < 7200) return `${Math.floor(s / 60)}m`;
  if (s < 172_800) return `${Math.floor(s / 3600)}h`;
  return `${Math.floor(s / 86_400)}d`;
}

/** The time of day, "14:03:27", in the zone of the browser. */
export function clock(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return NONE;
  const d = new Date(ms);
  return [d.getHours(), d.getMinutes(), d.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

/** A window in seconds: "1 min", "90 s", "1 h". */
export function windowName(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600} h`;
  return seconds % 60 === 0 ? `${seconds / 60} min` : `${seconds} s`;
}

/**
 * What commands begin with for the mesh that is shown, "fairlead --name shop", as the server writes it in its own: a command
 * that is copied must ask the same mesh.
 */
export function cliPrefix(command: string | undefined): string {
  const words = (command ?? "").split(" ");
  if (words[0] !== "fairlead") return "fairlead";
  let n = 1;
  while (words[n]?.startsWith("-")) n += words[n]?.includes("=") ? 1 : 2;
  return words.slice(0, n).join(" ");
}

/** "1 pod", "3 pods". */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${n === Math.round(n) && n < 1000 ? n : count(n)} ${n === 1 ? one : many}`;
}
