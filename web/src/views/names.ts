// What things are called, and where their pages are.

import { place, seconds } from "../data/store";
import { idParts, link } from "../pure/url";

const kinds: Record<string, string> = {
  deployment: "Deployment", statefulset: "StatefulSet", daemonset: "DaemonSet", job: "Job", pod: "Pod", address: "address outside the mesh",
  host: "host outside the cluster", other: "others, counted together", none: "no endpoint was reached", namespace: "Namespace",
};

export function kindName(kind: string): string { return kinds[kind] ?? kind; }

/** A node's name for a sentence. */
export function nodeName(id: string): string {
  const [, kind, name, cluster] = idParts(id);
  if (name === "") return kind.replace(/@(.*)$/, " ($1)"); // a namespace, "ns/shop" or "ns/shop@east"
  return kind === "none" ? `no endpoint of ${name}` : kind === "other" ? "other" : cluster === "" ? name : `${name} (${cluster})`;
}

/** The page of a workload; the map for what has none. */
export function nodeHref(id: string): string {
  const [ns, kind, name, cluster] = idParts(id);
  if (kind === "none") return serviceHref(name);
  return ["address", "host", "other"].includes(kind) ? link(place.value, "map", [], { sel: id }) : link(place.value, "workloads", ["workload", ns, kind, cluster === "" ? name : `${name}@${cluster}`]);
}

export function serviceHref(id: string): string {
  const [ns = "", ...name] = id.split("/");
  return name.length === 0 ? link(place.value, "workloads", ["service", "", id]) : link(place.value, "workloads", ["service", ns, name.join("/")]);
}

/** The flag for the window that is looked at, "" for the command's own minute. */
export function cliSince(): string {
  return seconds.value === 60 ? "" : ` -t ${seconds.value % 60 === 0 ? `${seconds.value / 60}m` : `${seconds.value}s`}`;
}

/** The command with the numbers of a workload: of another cluster who called it here is known, and no more. */
export function cliStat(id: string): string {
  const [ns, , , cluster] = idParts(id);
  return cluster === "" ? `fairlead stat ${cliResource(id)}${cliSince()}` : `fairlead edges ${cliResource(id).split("/")[0]} -n ${ns}${cliSince()}`;
}

/** "ns/pod/name" and the like as the command line wants it: "deploy/users -n myapp". */
export function cliResource(id: string): string {
  const [ns, kind, name] = idParts(id);
  const short: Record<string, string> = { deployment: "deploy", statefulset: "sts", daemonset: "ds" };
  return `${short[kind] ?? kind}/${name} -n ${ns}`;
}
