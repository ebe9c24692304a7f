// What the server says below api/v1/. Times are in ms since 1970, durations in ms, rates per second, shares from 0 to 1.
// What is not known is absent; lists are never null.

export interface Total {
  rps: number; requests: number; success?: number; p50?: number; p95?: number; p99?: number; codes?: Record<string, number>;
  failures?: number; retries?: number; timeouts?: number; conns?: number; open?: number; bytesIn?: number; bytesOut?: number;
}

export interface Meta {
  version: string; mesh: "lab" | "cluster"; name: string; clusters?: string[]; replicas?: number;
  since?: number; step: number; window: number; links?: { trace?: string; grafana?: string };
  can?: { tap?: boolean; secrets?: boolean }; namespace?: string; command?: string;
}

export interface Node {
  id: string; ns: string; kind: string; name: string; app?: string; version?: string; meshed: boolean; pods?: number;
  ready?: number; address?: string; total?: Total;
  /** Where the mesh has several: the cluster of a workload. Those of others than the control plane's have it in their id, too. */
  cluster?: string;
}
export interface Service { id: string; ns?: string; name: string; total?: Total }
export interface Edge {
  id: string; src: string; dst: string; service?: string; route?: string; protocol: string; secured: boolean; reason?: string;
  note?: string; clientId?: string; serverId?: string;
  /** The part of the source's calls to the service that goes this way. */
  share?: number; total: Total;
}
export interface Namespace { name: string; total: Total; mtls?: number; workloads?: number; pods?: number; meshedPods?: number; command?: string }
export interface Traffic {
  from: number; to: number; seconds: number; since?: number; cut?: number; note?: string; command?: string; total?: Total; mtls?: number;
  nodes: Node[]; services: Service[]; edges: Edge[]; namespaces: Namespace[];
}

/** t is in seconds, as uPlot wants it; null where nothing was counted. */
export interface Series {
  t: number[]; rps: (number | null)[]; success: (number | null)[]; p50: (number | null)[]; p95: (number | null)[]; p99: (number | null)[];
  step?: number; command?: string;
}

export interface Backend { service: string; subset?: string; port?: number; weight?: number; share?: number }
export interface Route { port?: number; name?: string; kind: string; object?: string; match?: string; action?: string; backends: Backend[] }
export interface Endpoint {
  address: string; pod?: string; ns?: string; workload?: string; node?: string; locality?: string; meshed?: boolean;
  /** That of a pod of another cluster than the control plane's. */
  cluster?: string;
  health?: string; subsets?: string[]; since?: number; ejected?: { by?: string[]; why?: string };
}
export interface ServiceConfig {
  id: string; ns: string; name: string; hosts: string[]; ports: { port: number; protocol?: string }[];
  routes: Route[]; endpoints: Endpoint[]; command?: string;
}
export interface Sync { state: string; at?: number; refused?: { resource: string; reason: string }[] }
export interface PodConfig {
  id: string; ns: string; pod: string; workload?: string; proxy: string; version?: string; sync?: Sync;
  certificate?: { id: string; from: number; to: number };
}
export interface Config { services: ServiceConfig[]; workloads: PodConfig[]; command?: string }

export interface Problem {
  severity: "error" | "warning"; kind: string; object: string; field?: string; text: string; fix?: string; since?: number; command?: string;
}
export interface Problems { problems: Problem[]; command?: string }

export interface ObjectRow { kind: string; ns?: string; name: string; errors?: number; warnings?: number }
export interface Objects { objects: ObjectRow[]; command?: string }
export interface ObjectProblem { path?: string; line?: number; severity: string; text: string; fix?: string }
export interface ObjectPage { yaml: string; problems: ObjectProblem[]; acked?: number; of?: number; command?: string }

/** A failed call, as "fairlead errors -o json" has it. */
export interface Failure {
  start: string; direction: string; durationMs: number; client?: string; dialled?: string; endpoint?: string; source?: string;
  destination?: string; cluster?: string; route?: string; protocol?: string; method?: string; authority?: string; path?: string;
  requestId?: string; status?: number; grpcStatus?: string; flags?: string; details?: string; cause?: string;
}
export interface Failures { pod?: string; total?: number; failures: Failure[]; command?: string }

export interface HeaderField { name: string; value: string }
export interface TapPeer { addr: string; labels?: Record<string, string> }
/** One request as one sidecar saw it. */
export interface TapEvent {
  pod: string; id: number; direction: "inbound" | "outbound"; start: number | string; duration: number; head?: number;
  src: TapPeer; dst: TapPeer; tls: boolean; reason?: string; method: string; scheme?: string; authority: string; path: string;
  protocol?: string; route?: string; cluster?: string; status: number; grpcStatus?: string; flags?: string; cause?: string;
  bytesIn?: number; bytesOut?: number; requestId?: string; traceId?: string;
  requestHeaders?: HeaderField[]; responseHeaders?: HeaderField[]; lines?: string;
}
export interface TapBegan { command?: string; pods?: number; asked?: number; unmeshed?: string[] }
