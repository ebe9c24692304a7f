// One request, with both hops.

import { meta } from "../data/store";
import type { HeaderField, TapEvent } from "../data/types";
import { bytes, latency, NONE } from "../pure/format";
import { between, endName, type Exchange, failed, main } from "../pure/tap";
import { HealthSign, Icon, Lock } from "../ui/icons";
import { statusOf } from "./failures";

export function ExchangeSide({ x, onClose }: { x: Exchange; onClose: () => void }) {
  const e = main(x);
  const trace = meta.value?.links?.trace;
  return (
    <aside class="panel exchange" aria-label="Request" onKeyDown={(ev) => { if (ev.key === "Escape") onClose(); }}>
      <header><h2 class="grow"><HealthSign health={failed(e) ? "bad" : "ok"} />{e.method} <span class="mono">{e.path}</span></h2><button type="button" class="quiet" title="close (Escape)" onClick={onClose}><Icon name="close" /><span class="unseen">close</span></button></header>
      <p class="dim">{e.authority}{e.protocol !== undefined && `, ${e.protocol}`}</p>
      {e.cause !== undefined && e.cause !== "" && <p class="said error"><HealthSign health="bad" />{e.cause}</p>}
      <Timeline x={x} />
      <div class="hops">
        <Hop title={`At the caller, ${endName(e.src.labels, e.src.addr)}`} e={x.out} missing="The caller's sidecar was not tapped, or there is none." />
        <Hop title={`At the callee, ${endName(e.dst.labels, e.dst.addr)}`} e={x.in} missing="The callee's sidecar was not tapped, has said nothing yet, or there is none." />
      </div>
      <dl class="pairs wide">
        <div><dt>Request id</dt><dd class="mono">{e.requestId ?? NONE}</dd></div>
        {e.traceId !== undefined && <div><dt>Trace</dt><dd class="mono">{trace === undefined ? e.traceId : <a href={traceHref(trace, e.traceId)} target="_blank" rel="noreferrer">{e.traceId}</a>}</dd></div>}
      </dl>
      <Heads title="Request" fields={e.requestHeaders} />
      <Heads title="Answer" fields={e.responseHeaders} />
      {(x.out?.lines ?? x.in?.lines) !== undefined && <><h3>As fairlead tap prints it</h3><pre class="mono" tabIndex={0}>{[x.out?.lines, x.in?.lines].filter((l) => l !== undefined).join("\n")}</pre></>}
    </aside>
  );
}

/** Only what is http is followed: the template is configuration, the id comes from a peer. */
function traceHref(template: string, id: string): string | undefined {
  const href = template.replace("{id}", encodeURIComponent(id));
  return /^https?:\/\//.test(href) ? href : undefined;
}

/** Both sidecars' times, one inside of the other. */
function Timeline({ x }: { x: Exchange }) {
  const [whole, inner] = [x.out?.duration ?? x.in?.duration ?? 0, x.in?.duration];
  const mesh = between(x);
  const left = mesh === undefined || whole === 0 ? 0 : (mesh / whole) * 50;
  const width = inner === undefined || whole === 0 ? 0 : Math.min(100, (inner / whole) * 100);
  return (
    <svg class="timeline" viewBox="0 0 100 26" preserveAspectRatio="none" role="img" aria-label={`${latency(whole)} in all${inner === undefined ? "" : `, ${latency(inner)} at the callee`}${mesh === undefined ? "" : `, ${latency(mesh)} between both sidecars`}`}>
      {x.out !== undefined && <rect class="outer" x="0" y="2" width="100" height="8" />}
      {inner !== undefined && <rect class="inner" x={left} y="14" width={Math.max(0.5, width)} height="8" />}
    </svg>
  );
}

function Hop({ title, e, missing }: { title: string; e: TapEvent | undefined; missing: string }) {
  return (
    <section>
      <h3>{title}</h3>
      {e === undefined ? <p class="dim">{missing}</p> : (
        <dl class="pairs wide">
          <div><dt>Status</dt><dd class={failed(e) ? "bad-text" : undefined}>{statusOf(e)}</dd></div>
          <div><dt>Took</dt><dd>{latency(e.duration)}{e.head !== undefined && <span class="dim">, head after {latency(e.head)}</span>}</dd></div>
          <div><dt>Pod</dt><dd class="mono">{e.pod}</dd></div>
          <div><dt>From</dt><dd class="mono">{e.src.addr}</dd></div>
          <div><dt>To</dt><dd class="mono">{e.dst.addr}</dd></div>
          <div><dt>Security</dt><dd>{e.tls || e.reason ? <><Lock secured={e.tls} reason={e.reason} /> {e.tls ? "mutual TLS" : e.reason}</> : "nobody was reached"}</dd></div>
          {e.route !== undefined && e.route !== "" && <div><dt>Route</dt><dd>{e.route}</dd></div>}
          <div><dt>Bodies</dt><dd>{bytes(e.bytesIn)} there, {bytes(e.bytesOut)} back</dd></div>
        </dl>
      )}
    </section>
  );
}

function Heads({ title, fields }: { title: string; fields: HeaderField[] | undefined }) {
  if (fields === undefined || fields.length === 0) return null;
  return (
    <details open>
      <summary>{title}: {fields.length} fields</summary>
      <dl class="fields mono">{fields.map((f, i) => <div key={i}><dt>{f.name}</dt><dd>{f.value}</dd></div>)}</dl>
    </details>
  );
}
