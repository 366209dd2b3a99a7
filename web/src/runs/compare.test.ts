import { expect, test } from 'vitest';
import { rows } from './compare';
import type { Metric, RunRecord } from './record';

const run = (metrics: Partial<Metric>[]) =>
  ({ duration: { load_ms: 10_000 }, metrics: metrics.map((it) => ({ unit: 'milliseconds', kind: 'trend', ...it })) }) as unknown as RunRecord;

test('better and worse depend on what it is', () => {
  const a = run([{ name: 'task_latency', p50: 10, p90: 20, p99: 100 }, { name: 'tasks_acked', kind: 'counter', unit: 'count', count: 1_000 }]);
  const b = run([{ name: 'task_latency', p50: 10.1, p90: 10, p99: 150 }, { name: 'tasks_acked', kind: 'counter', unit: 'count', count: 2_000 }]);
  expect(rows(a, b)).toEqual([
    { name: 'task latency p50', unit: 'milliseconds', a: 10, b: 10.1, change: expect.closeTo(0.01), tone: 'muted' },
    { name: 'task latency p90', unit: 'milliseconds', a: 20, b: 10, change: -0.5, tone: 'good' },
    { name: 'task latency p99', unit: 'milliseconds', a: 100, b: 150, change: 0.5, tone: 'bad' },
    { name: 'tasks done per second', unit: 'count', a: 100, b: 200, change: 1, tone: 'good' },
  ]);
});

test('what one of them did not measure has no change', () => {
  expect(rows(run([{ name: 'feed_latency', p50: 1 }]), run([]))).toEqual([
    { name: 'feed latency p50', unit: 'milliseconds', a: 1, b: undefined, change: undefined, tone: 'muted' },
  ]);
});
