import { expect, test } from 'vitest';
import { bands, charts, end, ofNines, positions } from './charts';
import type { RunRecord, Second } from './record';

const series: Second[] = [
  { t_ms: 1_000, span_ms: 1_000, counters: { tasks_published: 10 }, trends: { task_latency: { count: 1, p50: 0, p90: 1, p99: 2, max: 3 } }, depths: [{ lane: 'gpt4', priority: 'high', ready: 1, delayed: 2, leased: 9 }], errors: { refused: 4 } },
  { t_ms: 3_000, span_ms: 2_000, counters: { tasks_published: 10 }, storm: { cpu_percent: 50, rss_bytes: 1024 } },
];

test('counts are divided by the time they took', () => {
  const [throughput] = charts(series);
  expect(throughput).toMatchObject({ id: 'throughput', lines: [{ name: 'published', values: [10, 5] }] });
  expect(positions(series)).toEqual([0.5, 2]);
});

test('a chart is there when it has something to show', () => {
  expect(charts(series).map((it) => it.id)).toEqual(['throughput', 'task_latency', 'depth', 'errors', 'cpu', 'memory']);
  expect(charts([])).toEqual([]);
});

test('a logarithmic axis has no zero, and what was not measured is not drawn', () => {
  const latency = charts(series).find((it) => it.id === 'task_latency');
  expect(latency?.lines.map((it) => it.values)).toEqual([[3, null], [2, null], [0.001, null]]);
});

test('faults are bands until they ended, or the end', () => {
  const record = { faults: [{ name: 'kill', kind: 'kill', at_ms: 9_000, until_ms: 10_000, recovered_ms: 11_000 }, { name: 'stall', kind: 'stall', at_ms: 12_000 }] } as RunRecord;
  expect(end(record, series)).toBe(12);
  expect(bands(record, 20)).toEqual([{ name: 'kill', from: 9, to: 10, recovered: 11 }, { name: 'stall', from: 12, to: 20 }]);
});

test('nines have names', () => expect([0, 1, 2, 3, 4].map(ofNines)).toEqual(['p0', 'p90', 'p99', 'p99.9', 'p99.99']));
