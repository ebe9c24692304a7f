// Where the user is: all of it stands behind the # of the address, so that an address can be sent to a colleague. Keys that
// the page does not know are kept out, and what stands there by default is not written.

export const views = ["overview", "map", "workloads", "live", "problems", "config"] as const;
export type View = (typeof views)[number];

export interface Place {
  view: View;
  /** Below the view: of workloads ["workload", ns, kind, name] or ["service", ns, name]; of config [kind, ns, name]. */
  path: string[];
  /** Everything else, by name. */
  query: Record<string, string>;
}

export function parse(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const parts = path.split("/").filter((p) => p !== "").map(decode);
  const first = parts[0] as View;
  const view = views.includes(first) ? first : "overview";
  const out: Record<string, string> = {};
  for (const [key, value] of new URLSearchParams(query)) out[key] = value;
  return { view, path: view === first ? parts.slice(1) : [], query: out };
}

export function format(place: Place): string {
  const path = [place.view, ...place.path].map((p) => (p === "" ? "~" : encodeURIComponent(p))).join("/");
  const query = new URLSearchParams();
  for (const key of Object.keys(place.query).sort()) {
    const value = place.query[key];
    if (value !== undefined && value !== "") query.set(key, value);
  }
  const text = query.toString();
  return `#/${path}${text === "" ? "" : `?${text}`}`;
}

/** What is said of every view, and so stays when the user goes to another one. */
const shared = ["ns", "window", "at", "cli"];

/** The address of another place, with the scope of this one. */
export function link(from: Place, view: View, path: string[] = [], query: Record<string, string> = {}): string {
  const kept: Record<string, string> = {};
  for (const key of shared) if (from.query[key] !== undefined) kept[key] = from.query[key];
  return format({ view, path, query: { ...kept, ...query } });
}

/** The address of this place with some of its query changed; "" takes a key away. */
export function changed(place: Place, query: Record<string, string>): string {
  return format({ ...place, query: { ...place.query, ...query } });
}

export const windows = [60, 300, 900, 3600] as const;

/** The window in seconds that the address asks for, 60 where it says none or nonsense. */
export function windowOf(place: Place): number {
  const n = Number(place.query.window);
  return Number.isInteger(n) && n >= 15 && n <= 3600 ? n : 60;
}

/** The end of the window in ms, undefined for now. */
export function atOf(place: Place): number | undefined {
  const n = Number(place.query.at);
  return place.query.at !== undefined && Number.isInteger(n) && n > 0 ? n : undefined;
}

/** The parts of a node's id "ns/kind/name" or, of another cluster, "ns/kind/name@cluster"; without a cluster the name may hold slashes. */
export function idParts(id: string): [ns: string, kind: string, name: string, cluster: string] {
  const [ns = "", kind = "", ...rest] = id.split("/");
  const name = rest.join("/");
  const at = ns === "" || ns === "-" ? -1 : name.lastIndexOf("@");
  return at < 0 ? [ns, kind, name, ""] : [ns, kind, name.slice(0, at), name.slice(at + 1)];
}

/** The id that a workload has in its own cluster. */
export function homeId(id: string): string { return idParts(id).slice(0, 3).join("/"); }

function decode(part: string): string {
  try {
    return part === "~" ? "" : decodeURIComponent(part);
  } catch {
    return part; // a stray %
  }
}
