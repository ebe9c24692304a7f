// The worker: layouts, beside the page's own thread. Only the newest question matters, but each is answered.

import { layout, type LayoutInput } from "./layout";

interface Question { key: string; input: LayoutInput }

self.onmessage = (e: MessageEvent<Question>) => {
  const began = performance.now();
  try {
    const result = layout(e.data.input);
    self.postMessage({ key: e.data.key, result, took: performance.now() - began });
  } catch (err) {
    self.postMessage({ key: e.data.key, error: String(err) });
  }
};
