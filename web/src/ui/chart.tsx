// Lines over time, drawn by uPlot. The same numbers are said in words to those who do not see them.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Series } from "../data/types";
import { clock, latency, percent, rate } from "../pure/format";
import { at, seconds } from "../data/store";
import { color, palette } from "./theme";

export interface Line { key: "rps" | "success" | "p50" | "p95" | "p99"; label: string; color: string; dash?: number[]; fill?: boolean }

const format: Record<Line["key"], (n: number | undefined) => string> = {
  rps: (n) => `${rate(n)} /s`, success: (n) => `${percent(n)} %`, p50: latency, p95: latency, p99: latency,
};

export const requestLines: Line[] = [{ key: "rps", label: "Requests", color: "--series-1", fill: true }];
export const successLines: Line[] = [{ key: "success", label: "Success", color: "--series-2" }];
export const latencyLines: Line[] = [
  { key: "p50", label: "p50", color: "--series-1" }, { key: "p95", label: "p95", color: "--series-3", dash: [6, 3] }, { key: "p99", label: "p99", color: "--series-4", dash: [2, 3] },
];

export function Chart({ title, series, lines, height = 120 }: { title: string; series: Series; lines: Line[]; height?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const version = palette.value;
  useEffect(() => {
    const el = box.current;
    if (el === null) return undefined;
    plot.current = new uPlot(options(lines, el.clientWidth, height, series.t.length < FEW), data(series, lines), el);
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: el.clientWidth, height }));
    resized.observe(el);
    return () => {
      resized.disconnect();
      plot.current?.destroy();
    };
  }, [lines, height, version, series.t.length < FEW]);
  useEffect(() => plot.current?.setData(data(series, lines)), [series, lines, version]);
  return (
    <figure class="chart">
      <figcaption>
        <span class="name">{title}</span>
        {lines.map((l) => <span class={`key ${l.color.slice(2)}${l.dash ? " dashed" : ""}`} key={l.key}>{lines.length > 1 && l.label} <b>{format[l.key](last(series[l.key]))}</b></span>)}
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${title}: ${lines.map((l) => describe(series, l)).join("; ")}`} />
    </figure>
  );
}

/** With fewer moments than this each is drawn as a point. */
const FEW = 4;

function last(values: (number | null)[]): number | undefined {
  for (let i = values.length - 1; i >= 0; i--) {
    const v = values[i];
    if (v !== null && v !== undefined) return v;
  }
  return undefined;
}

function describe(series: Series, l: Line): string {
  const known = series[l.key].filter((v): v is number => v !== null);
  if (known.length === 0) return `${l.label}: nothing was counted`;
  return `${l.label} ${format[l.key](last(series[l.key]))}, between ${format[l.key](Math.min(...known))} and ${format[l.key](Math.max(...known))}`;
}

function data(series: Series, lines: Line[]): uPlot.AlignedData {
  return [series.t, ...lines.map((l) => series[l.key])] as uPlot.AlignedData;
}

/** The time that is drawn: the window that was asked for, also where there is data for a part of it only. */
function timeRange(): [number, number] {
  const end = (at.peek() ?? Date.now()) / 1000;
  return [end - Math.max(900, seconds.peek()), end];
}

function options(lines: Line[], width: number, height: number, few: boolean): uPlot.Options {
  const first = lines[0]?.key ?? "rps";
  const font = "11px system-ui, sans-serif";
  const text = color("--text-3");
  const grid = { stroke: color("--line-1"), width: 1 };
  return {
    width, height, padding: [6, 16, 0, 0],
    legend: { show: false }, cursor: { points: { size: 6 }, y: false, drag: { x: false, y: false } },
    scales: { x: { time: true, range: timeRange }, y: { range: (_u, min, max) => bounds(first, min, max) } },
    axes: [
      { stroke: text, font, grid: { show: false }, ticks: { show: false }, size: 22, gap: 4, space: 80, values: (_u, ticks) => ticks.map((t) => clock(t * 1000).slice(0, 5)) },
      { stroke: text, font, grid, ticks: { show: false }, size: 56, gap: 6, space: 34, values: (_u, ticks) => ticks.map((t) => axis(first, t)) },
    ],
    series: [{}, ...lines.map((l) => {
      const stroke = color(l.color);
      return { label: l.label, stroke, width: 1.5, dash: l.dash, points: { show: few, size: 5, fill: stroke }, fill: l.fill ? color(`${l.color}-soft`) : undefined, spanGaps: false } as uPlot.Series;
    })],
  };
}

function bounds(key: Line["key"], min: number | null, max: number | null): [number, number] {
  if (key === "success") return [Math.min(0.9, Math.floor((min ?? 1) * 20) / 20), 1.002];
  return [0, (max ?? 0) <= 0 ? 1 : (max ?? 1) * 1.15];
}

function axis(key: Line["key"], tick: number): string {
  if (key === "success") return tick > 1 ? "" : `${Math.round(tick * 1000) / 10} %`;
  return key === "rps" ? rate(tick) : latency(tick);
}
