// Dark or light: as the system has it, or as the user chose, which this browser remembers.

import { effect, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";
const KEY = "fairlead.theme";

function remembered(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : "auto";
  } catch {
    return "auto"; // storage may be forbidden
  }
}

export const theme = signal<Theme>(remembered());
/** Counts changes of what colours look like, for what is drawn on canvases. */
export const palette = signal(0);

export function nextTheme(): void {
  theme.value = theme.value === "auto" ? "light" : theme.value === "light" ? "dark" : "auto";
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // the choice lasts as long as the page
  }
}

export function startTheme(): void {
  effect(() => {
    const root = document.documentElement;
    if (theme.value === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme.value;
    palette.value = palette.peek() + 1;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { palette.value++; });
}

/** The colour that a custom property has now. */
export function color(name: string): string {
  const probe = document.createElement("i");
  probe.hidden = true;
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
