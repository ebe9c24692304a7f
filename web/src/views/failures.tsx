// Calls that failed, as sidecars remember them.

import { now } from "../data/store";
import type { Failure } from "../data/types";
import { latency, span } from "../pure/format";

export function statusOf(f: { status?: number; grpcStatus?: string; flags?: string }): string {
  const status = f.grpcStatus !== undefined && f.grpcStatus !== "" && f.grpcStatus !== "0" ? `gRPC ${f.grpcStatus}` : f.status ? String(f.status) : "cut";
  return f.flags ? `${status} ${f.flags}` : status;
}

export function FailureList({ failures }: { failures: Failure[] }) {
  return (
    <ul class="failures">
      {failures.map((f, i) => (
        <li key={`${f.start}${i}`}>
          <span class="line"><b class="bad-text">{statusOf(f)}</b> <span class="mono clip grow">{f.method} {f.path}</span><span class="dim">{span(now.value - Date.parse(f.start))} ago</span></span>
          <span class="dim">{f.direction === "outbound" ? `to ${f.destination ?? f.authority ?? f.dialled ?? "?"}` : `from ${f.source ?? f.client ?? "?"}`}, {latency(f.durationMs)}: {f.cause ?? f.details ?? "the endpoint answered so"}</span>
        </li>
      ))}
    </ul>
  );
}
