// Numbers, times and sizes as people read them. Fixed forms, whatever the browser's language: columns must line up, and
// an operator reads the same in a screenshot as on the screen.

/** `12,345`. */
export function count(value: number): string {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** `999`, `12.3k`, `4.56M`: three digits. */
export function short(value: number): string {
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']] as const) {
    if (Math.abs(value) >= size) {
      const by = unit === 'k' ? 1e3 : size;
      return `${digits(value / by)}${unit}`;
    }
  }
  return Number.isInteger(value) || Math.abs(value) >= 100 ? count(value) : digits(value);
}

function digits(value: number): string {
  const places = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(places).replace(/\.0+$|(\.\d*[1-9])0+$/, '$1');
}

/** `0.42 ms`, `17 ms`, `1.4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. Zero is `0 s`. */
export function duration(ms: number): string {
  if (ms === 0) return '0 s';
  if (ms < 1_000) return `${digits(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0).replace(/\.0$/, '')} s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 3_600) return two(Math.floor(seconds / 60), 'min', seconds % 60, 's');
  const minutes = Math.round(seconds / 60);
  if (minutes < 1_440) return two(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  const hours = Math.round(minutes / 60);
  return two(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

function two(large: number, unit: string, small: number, subunit: string): string {
  return small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${subunit}`;
}

/** A duration in one unit, as an axis has room for: `250 ms`, `1.5 s`, `4.3 min`. */
export function coarse(ms: number): string {
  for (const [size, unit] of [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1_000, 's']] as const) {
    if (ms >= size) return `${digits(ms / size)} ${unit}`;
  }
  return ms === 0 ? '0' : `${digits(ms)} ms`;
}

/** `512 B`, `1.2 MiB`. */
export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${digits(value)} ${units[unit]}`;
}

/** `12.3 %`, of a share from 0 to 1. */
export function percent(share: number): string {
  return `${digits(share * 100)} %`;
}

const pad = (value: number, width = 2) => value.toString().padStart(width, '0');

/** `14:03:07.123`, in the time zone of the reader. */
export function clock(time: string | number): string {
  const at = new Date(time);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
}

/** `2026-11-26 14:03:07`, in the time zone of the reader. */
export function dateTime(time: string | number): string {
  const at = new Date(time);
  const date = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${date} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

/** `just now`, `12 s ago`, `in 3 min`. */
export function ago(time: string | number, now: number): string {
  const ms = now - new Date(time).getTime();
  if (Math.abs(ms) < 1_500) return 'just now';
  const text = whole(Math.abs(ms));
  return ms > 0 ? `${text} ago` : `in ${text}`;
}

function whole(ms: number): string {
  for (const [size, unit] of [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min']] as const) {
    if (ms >= size) return `${Math.floor(ms / size)} ${unit}`;
  }
  return `${Math.round(ms / 1_000)} s`;
}

/** `task_published` as `task published`. */
export function words(name: string): string {
  return name.replaceAll('_', ' ');
}

/** The last part of a long id, which is the one that differs. */
export function tail(id: string, length = 8): string {
  return id.length <= length + 4 ? id : `…${id.slice(-length)}`;
}

/** `1 task`, `2 tasks`. */
export function many(number: number, one: string, more = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : more}`;
}
