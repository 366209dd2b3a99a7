// The charts of report.html (crates/report/src/render/html/charts), made of the seconds of a run. Here each second is a
// point: who looks closer can, and no percentile has to be merged.

import type { Band, Line, Marks } from '../charts/lines';
import { bytes, duration, short } from '../lib/format';
import { decode, quantile } from './hdr';
import { metric, type RunRecord, type Second } from './record';

export interface Chart {
  readonly id: string;
  readonly title: string;
  readonly about: string;
  readonly lines: readonly Line[];
  readonly stack?: boolean;
  readonly log?: boolean;
  readonly marks?: Marks;
  readonly format: (value: number) => string;
}

/** The middle of each second, in seconds: what happened within a span is drawn there, so that a dip stands where the fault was. */
export function positions(series: readonly Second[]): number[] {
  return series.map((it) => Math.max(0, it.t_ms - it.span_ms / 2) / 1_000);
}

/** The end of the time axis, in seconds. */
export function end(record: RunRecord, series: readonly Second[]): number {
  const faults = (record.faults ?? []).map((it) => it.recovered_ms ?? it.until_ms ?? it.at_ms);
  return Math.max(1_000, ...faults, series.at(-1)?.t_ms ?? 0) / 1_000;
}

export function bands(record: RunRecord, end_s: number): Band[] {
  return (record.faults ?? []).map((it) => ({
    name: it.name,
    from: it.at_ms / 1_000,
    to: it.until_ms === undefined ? end_s : it.until_ms / 1_000,
    ...(it.recovered_ms === undefined ? {} : { recovered: it.recovered_ms / 1_000 }),
  }));
}

const perSecond = (series: readonly Second[], read: (second: Second) => number | undefined): (number | null)[] =>
  series.map((it) => (it.span_ms > 0 ? ((read(it) ?? 0) * 1_000) / it.span_ms : null));
const level = (series: readonly Second[], read: (second: Second) => number | undefined): (number | null)[] =>
  series.map((it) => read(it) ?? null);
const has = (series: readonly Second[], name: string) => series.some((it) => it.counters?.[name] !== undefined);

const TASKS = [
  ['tasks_published', 'published', 'c5'],
  ['tasks_acknowledged', 'acknowledged', 'c0'],
  ['tasks_delivered', 'delivered', 'c2'],
  ['tasks_acked', 'acked', 'c1'],
] as const;
const OTHERS = [
  ['http_reqs', 'requests', 'c0'],
  ['iterations', 'iterations', 'c1'],
] as const;
const LATENCIES = [
  ['task_latency', 'Task latency', "intended publish to the worker's ack"],
  ['publish_latency', 'Publish latency', 'intended publish to its acknowledgement'],
  ['http_req_duration', 'Request duration', 'intended start to the answer'],
  ['feed_latency', 'Feed latency', 'event to subscriber'],
  ['generator_lateness', 'Generator lateness', 'how late the storm itself was'],
] as const;
const PALETTE = ['c0', 'c1', 'c2', 'c3', 'c4', 'c6', 'c5', 'c7'];
const ERRORS = ['c3', 'c2', 'c4', 'c0', 'c1', 'c6', 'c5'];

/** All charts that have something to show, in the order of the report. */
export function charts(series: readonly Second[]): Chart[] {
  const all: (Chart | undefined)[] = [throughput(series), ...LATENCIES.map(([name, title, about]) => latency(series, name, title, about)), depth(series), sessions(series), errors(series), cpu(series), memory(series)];
  return all.filter((it): it is Chart => it !== undefined);
}

export function throughput(series: readonly Second[]): Chart | undefined {
  const chosen = has(series, 'tasks_published') || has(series, 'tasks_delivered') ? TASKS : OTHERS;
  const lines = chosen
    .filter(([name]) => has(series, name))
    .map(([name, title, colour]): Line => ({ name: title, colour, bare: true, values: perSecond(series, (it) => it.counters?.[name]) }));
  return lines.length === 0 ? undefined : { id: 'throughput', title: 'Throughput', about: 'per second, in and out', lines, format: short };
}

function latency(series: readonly Second[], name: string, title: string, about: string): Chart | undefined {
  if (!series.some((it) => it.trends?.[name] !== undefined)) return undefined;
  // A logarithmic axis has no zero; a microsecond is the smallest value that is recorded.
  const line = (of: string, colour: string, read: (trend: NonNullable<Second['trends']>[string]) => number): Line => ({
    name: of,
    colour,
    values: level(series, (it) => (it.trends?.[name] ? Math.max(0.001, read(it.trends[name])) : undefined)),
  });
  const lines = [line('max', 'c5', (it) => it.max), line('p99', 'c2', (it) => it.p99), line('p50', 'c0', (it) => it.p50)];
  return { id: name, title, about, lines, log: true, format: duration };
}

function depth(series: readonly Second[]): Chart | undefined {
  const peaks = new Map<string, number>();
  for (const { lane, ready, delayed } of series.flatMap((it) => it.depths ?? [])) {
    peaks.set(lane, Math.max(peaks.get(lane) ?? 0, ready + delayed));
  }
  const lanes = [...peaks].sort(([, a], [, b]) => b - a).slice(0, 7);
  const lines = lanes.flatMap(([lane], index) =>
    ([['high', 0.95], ['normal', 0.65], ['low', 0.38]] as const).map(([priority, strength]): Line => ({
      name: `${lane} · ${priority}`,
      colour: PALETTE[index] as string,
      strength,
      values: series.map((second) => {
        if (!second.depths || second.depths.length === 0) return null;
        return second.depths.filter((it) => it.lane === lane && it.priority === priority).reduce((sum, it) => sum + it.ready + it.delayed, 0);
      }),
    })),
  );
  const shown = lines.filter((line) => line.values.some((it) => it !== null && it > 0));
  return shown.length === 0 ? undefined : { id: 'depth', title: 'Queue depth', about: 'tasks waiting, by lane and priority', lines: shown, stack: true, marks: 'whole', format: short };
}

function sessions(series: readonly Second[]): Chart | undefined {
  const states = [...new Set(series.flatMap((it) => Object.keys(it.sessions ?? {})))].sort();
  const lines = states.slice(0, 8).map((state, index): Line => ({
    name: state.replaceAll('_', ' '),
    colour: PALETTE[index] as string,
    bare: true,
    values: level(series, (it) => it.sessions?.[state]),
  }));
  const something = lines.some((line) => line.values.some((it) => it !== null && it > 0));
  return something ? { id: 'sessions', title: 'Sessions', about: 'by state, as the target says', lines, format: short } : undefined;
}

export function errors(series: readonly Second[]): Chart | undefined {
  const totals = new Map<string, number>();
  for (const second of series) for (const [kind, number] of Object.entries(second.errors ?? {})) totals.set(kind, (totals.get(kind) ?? 0) + number);
  const kinds = [...totals].filter(([, number]) => number > 0).sort(([, a], [, b]) => b - a);
  const lines = kinds.slice(0, 7).map(([kind], index): Line => ({
    name: kind.replaceAll('_', ' '),
    colour: ERRORS[index] as string,
    values: perSecond(series, (it) => it.errors?.[kind]),
  }));
  if (kinds.length > 7) {
    const rest = new Set(kinds.slice(7).map(([kind]) => kind));
    const values = perSecond(series, (it) => Object.entries(it.errors ?? {}).reduce((sum, [kind, number]) => sum + (rest.has(kind) ? number : 0), 0));
    lines.push({ name: 'other kinds', colour: 'c7', values });
  }
  return lines.length === 0 ? undefined : { id: 'errors', title: 'Errors', about: 'per second, by kind', lines, stack: true, format: short };
}

function cpu(series: readonly Second[]): Chart | undefined {
  return processes(series, 'cpu', 'Processor', 'of one core', (it) => it.cpu_percent, (value) => `${short(value)} %`);
}

function memory(series: readonly Second[]): Chart | undefined {
  return processes(series, 'memory', 'Memory', 'resident set', (it) => it.rss_bytes, bytes);
}

function processes(
  series: readonly Second[],
  id: string,
  title: string,
  about: string,
  read: (process: NonNullable<Second['target']>) => number,
  format: (value: number) => string,
): Chart | undefined {
  if (!series.some((it) => it.target ?? it.storm)) return undefined;
  const numbers = [...new Set(series.flatMap((it) => Object.keys(it.gateways ?? {})))].sort();
  const lines: Line[] = [
    { name: 'target', colour: 'c0', bare: true, values: level(series, (it) => it.target && read(it.target)) },
    { name: 'storm', colour: 'c5', bare: true, values: level(series, (it) => it.storm && read(it.storm)) },
    ...numbers.map((number, index): Line => ({
      name: `gateway ${number}`,
      colour: PALETTE[(index + 1) % PALETTE.length] as string,
      strength: 0.6,
      bare: true,
      values: level(series, (it) => it.gateways?.[number] && read(it.gateways[number])),
    })),
  ];
  return { id, title, about, lines, format, ...(format === bytes ? { marks: 'bytes' as const } : {}) };
}

const DISTRIBUTIONS = [
  ['task_latency', 'task', 'c0'],
  ['publish_latency', 'publish', 'c1'],
  ['http_req_duration', 'request', 'c2'],
  ['feed_latency', 'feed', 'c4'],
] as const;

/** The distribution of the whole run: x counts nines (0: all, 1: 90 %, 2: 99 %), y is in milliseconds. */
export interface Distribution {
  readonly x: number[];
  readonly lines: Line[];
}

/** Undefined when no metric has a distribution. */
export async function distribution(record: RunRecord): Promise<Distribution | undefined> {
  const found = await Promise.all(
    DISTRIBUTIONS.map(async ([name, title, colour]) => {
      const it = metric(record, name);
      if (!it?.hdr || !it.count) return undefined;
      try {
        return { title, colour, histogram: await decode(it.hdr) };
      } catch {
        return undefined;
      }
    }),
  );
  const trends = found.filter((it) => it !== undefined && it.histogram.count > 0) as { title: string; colour: string; histogram: Awaited<ReturnType<typeof decode>> }[];
  if (trends.length === 0) return undefined;
  const largest = Math.max(...trends.map((it) => it.histogram.count));
  // Beyond 1 − 1/count there is nothing but the maximum.
  const nines = Math.min(5, Math.max(1, Math.ceil(Math.log10(largest))));
  const x = Array.from({ length: nines * 40 + 1 }, (_, index) => index / 40);
  const lines = trends.map(({ title, colour, histogram }): Line => ({
    name: title,
    colour,
    // Recorded are microseconds.
    values: x.map((it) => Math.max(0.001, quantile(histogram, 1 - 10 ** -it) / 1_000)),
  }));
  return { x, lines };
}

/** `p90`, `p99.9`: what a place on the axis of nines is called. */
export function ofNines(nines: number): string {
  const percent = (1 - 10 ** -nines) * 100;
  const digits = Math.max(0, Math.ceil(nines) - 2);
  return `p${percent.toFixed(digits + (Number.isInteger(nines) ? 0 : 1))}`;
}
