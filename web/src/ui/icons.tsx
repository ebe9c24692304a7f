// Signs, drawn here. Those that carry a meaning have a shape of their own, so that no one depends on a colour.

import type { Health } from "../pure/health";
import { healthWord } from "../pure/health";

const paths = {
  lock: "M4.5 7V5.2a3.5 3.5 0 0 1 7 0V7M3.5 7h9v6.5h-9z",
  open: "M4.5 7V5.2a3.5 3.5 0 0 1 6.8-1.1M3.5 7h9v6.5h-9z",
  sun: "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6M8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8 13 13M3 13l1.2-1.2M11.8 4.2 13 3",
  moon: "M13 9.6A5.5 5.5 0 0 1 6.4 3a5.5 5.5 0 1 0 6.6 6.6z",
  auto: "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2M8 2v12M8 5l3.6-1.4M8 9l5.8-1.4M8 12.6l4.5-1",
  prompt: "M3 4.5 6.5 8 3 11.5M8.5 12H13",
  copy: "M5.5 5.5h7v8h-7zM3.5 10.5v-8h7",
  close: "M4 4l8 8M12 4l-8 8",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.5v9l7-4.5z",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  arrow: "M3 8h9M9 4.5 12.5 8 9 11.5",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9M10.5 10.5l3 3",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
  return <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d={paths[name]} /></svg>;
}

/** The sign of a health inside of a picture, around 0,0 and five units wide to each side. */
export const healthShape: Record<Health, string> = {
  ok: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0",
  warn: "M0-5 5.2 4.2H-5.2z",
  bad: "M0-5.6 5.6 0 0 5.6-5.6 0z",
  idle: "M-4 0H4",
};

/** Circle: well; triangle: degraded; diamond: failing; dash: no traffic. */
export function HealthSign({ health, word = false }: { health: Health; word?: boolean }) {
  return (
    <span class={`health ${health}`}>
      <svg class="sign" viewBox="-7 -7 14 14" aria-hidden="true"><path d={healthShape[health]} /></svg>
      <span class={word ? "" : "unseen"}>{healthWord[health]}</span>
    </span>
  );
}

export function Lock({ secured, reason }: { secured: boolean | "mixed"; reason?: string }) {
  const text = secured === true ? "mutual TLS" : secured === "mixed" ? "partly mutual TLS" : `not secured${reason ? `: ${reason}` : ""}`;
  return <span class={`lock ${secured === true ? "closed" : "opened"}`} title={text}><Icon name={secured === true ? "lock" : "open"} /><span class="unseen">{text}</span></span>;
}
