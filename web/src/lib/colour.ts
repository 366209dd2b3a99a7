// The colours of the design for those who draw on a canvas.

let probe: HTMLElement | undefined;

/** The value of a custom property as a canvas takes it, in the theme that is shown now. */
export function colour(token: string): string {
  if (probe === undefined) {
    probe = document.createElement('span');
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(--${token})`;
  return getComputedStyle(probe).color;
}

/** The same with an opacity from 0 to 1. */
export function faint(token: string, opacity: number): string {
  const parts = colour(token).match(/[\d.]+/g) ?? ['0', '0', '0'];
  return `rgba(${parts.slice(0, 3).join(', ')}, ${opacity})`;
}

/** `#rrggbb`, for WebGL. */
export function hex(token: string): string {
  const parts = (colour(token).match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
  return `#${parts.map((it) => Math.round(it).toString(16).padStart(2, '0')).join('')}`;
}
