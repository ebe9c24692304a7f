// The layout worker as the page sees it: a picture for a graph's shape. Asked again only when the shape changes.

import { useEffect, useState } from "preact/hooks";
import { type MapGraph, shapeKey } from "./graph";
import type { LayoutInput, LayoutResult } from "./layout";

declare const WORKER_FILE: string;

export const NODE_W = 160;
export const NODE_H = 46;

interface Answer { key: string; result?: LayoutResult; error?: string; took?: number }

let worker: Worker | undefined;
const kept = new Map<string, LayoutResult>(); // the last pictures, for a way back without a jump
const KEEP = 8;

export interface Picture { layout?: LayoutResult; took?: number; error?: string }

export function useLayout(graph: MapGraph, labelled: boolean): Picture {
  const key = `${labelled ? "labels" : ""} ${shapeKey(graph)}`;
  const [picture, setPicture] = useState<Picture & { key?: string }>({});
  useEffect(() => {
    const known = kept.get(key);
    if (known !== undefined) {
      setPicture({ key, layout: known });
      return undefined;
    }
    worker ??= new Worker(new URL(WORKER_FILE, import.meta.url), { type: "module" });
    const own = worker;
    const take = (e: MessageEvent<Answer>) => {
      if (e.data.key !== key) return;
      if (e.data.result !== undefined) {
        kept.set(key, e.data.result);
        for (const old of kept.keys()) if (kept.size > KEEP) kept.delete(old);
      }
      if (e.data.took !== undefined) performance.measure("fairlead-layout", { start: performance.now() - e.data.took, duration: e.data.took });
      setPicture({ key, layout: e.data.result, error: e.data.error, took: e.data.took });
    };
    const broke = (e: ErrorEvent) => setPicture({ key, error: e.message || "the layout's worker could not be started" });
    own.addEventListener("message", take);
    own.addEventListener("error", broke);
    own.postMessage({ key, input: inputOf(graph, labelled) });
    return () => {
      own.removeEventListener("message", take);
      own.removeEventListener("error", broke);
    };
  }, [key]);
  return picture;
}

function inputOf(graph: MapGraph, labelled: boolean): LayoutInput {
  return {
    nodes: graph.nodes.map((n) => ({ id: n.id, group: n.group, app: n.app, cluster: n.cluster, w: NODE_W, h: NODE_H })),
    edges: graph.edges.map((e) => ({ id: e.id, src: e.src, dst: e.dst, w: labelled ? (e.weight !== undefined ? 112 : 84) : 0, h: labelled ? 20 : 0 })),
  };
}
