// Two runs side by side: what each measured, and whether the second is better or worse. A change means something only
// beside its size; what is a little different is called the same.

import { metric, type Metric, type RunRecord, type Unit } from './record';

/** One line of the comparison; `change` is a share (0.1: a tenth more), `tone` the name of a class. */
export interface Row {
  readonly name: string;
  readonly unit: Unit;
  readonly a: number | undefined;
  readonly b: number | undefined;
  readonly change: number | undefined;
  readonly tone: 'good' | 'bad' | 'muted';
}

/** Changes below this are noise on a shared machine. */
const SAME = 0.05;

type Read = (it: Metric) => number | undefined;
const ROWS: [name: string, label: string, read: Read, better: 'less' | 'more' | 'neither'][] = [
  ...['task_latency', 'publish_latency', 'delivery_latency', 'http_req_duration', 'feed_latency'].flatMap((name) =>
    (['p50', 'p90', 'p99', 'max'] as const).map((of): [string, string, Read, 'less'] => [name, `${name.replaceAll('_', ' ')} ${of}`, (it) => it[of], 'less']),
  ),
  ['tasks_acknowledged', 'tasks acknowledged per second', (it) => it.per_s, 'more'],
  ['tasks_acked', 'tasks done per second', (it) => it.per_s, 'more'],
  ['http_reqs', 'requests per second', (it) => it.per_s, 'more'],
  ['http_req_failed', 'requests that failed', (it) => it.rate, 'less'],
  ['session_success', 'sessions that succeeded', (it) => it.rate, 'more'],
  ['dead_letter_rate', 'dead letters', (it) => it.rate, 'less'],
  ['recovery_time', 'recovery time', (it) => it.max ?? it.value, 'less'],
];

export function rows(a: RunRecord, b: RunRecord): Row[] {
  const all: Row[] = [];
  for (const [name, label, read, better] of ROWS) {
    const of = (record: RunRecord) => {
      const it = metric(record, name);
      if (it === undefined) return undefined;
      return it.kind === 'counter' && it.per_s === undefined && it.count !== undefined && record.duration.load_ms > 0
        ? (it.count * 1_000) / record.duration.load_ms
        : read(it);
    };
    const [one, two] = [of(a), of(b)];
    if (one === undefined && two === undefined) continue;
    const unit = (metric(a, name) ?? metric(b, name))?.unit ?? 'count';
    all.push({ name: label, unit, a: one, b: two, ...judged(one, two, better) });
  }
  return all;
}

function judged(a: number | undefined, b: number | undefined, better: 'less' | 'more' | 'neither'): Pick<Row, 'change' | 'tone'> {
  if (a === undefined || b === undefined) return { change: undefined, tone: 'muted' };
  if (a === b) return { change: 0, tone: 'muted' };
  const change = a === 0 ? undefined : (b - a) / a;
  if (better === 'neither' || (change !== undefined && Math.abs(change) < SAME)) return { change, tone: 'muted' };
  return { change, tone: b > a === (better === 'more') ? 'good' : 'bad' };
}
