import { expect, test } from 'vitest';
import type { Stats } from '../api/types';
import { History } from './history';

const stats = (uptime_ms: number, published: number, done: number, feed_offset = published + done): Stats =>
  ({
    epoch: 'a',
    feed_offset,
    tasks: { published, done },
    tasks_by_lane: [
      { lane: 'gpt4', priority: 'high', outcome: 'published', count: published - 1 },
      { lane: 'gpt4', priority: 'low', outcome: 'published', count: 1 },
      { lane: 'gpt4', priority: 'high', outcome: 'done', count: done },
    ],
    lanes: [
      {
        lane: 'gpt4',
        ready: { high: 1, normal: 2, low: 3 },
        delayed: 4,
        leased: 5,
        oldest_ready_ms: { high: 10, normal: 30, low: 20 },
      },
    ],
    process: { uptime_ms },
  }) as unknown as Stats;

test('counters become rates over the time that passed', () => {
  const history = new History(10);
  expect(history.add(0, stats(0, 10, 4)).at(-1)).toMatchObject({ published_per_s: null, done_per_s: null, events_per_s: null });
  const last = history.add(2_000, stats(2_000, 30, 10)).at(-1)!;
  expect(last).toMatchObject({ published_per_s: 10, done_per_s: 3, events_per_s: 13 });
  expect(last.lanes.get('gpt4')).toMatchObject({ in_per_s: 10, out_per_s: 3, oldest_ms: 30, delayed: 4 });
});

test('a gateway that began anew leaves a hole', () => {
  const history = new History(10);
  history.add(0, stats(60_000, 1000, 1000));
  expect(history.missing(1_000).at(-1)).toMatchObject({ answered: false, published_per_s: null });
  expect(history.add(2_000, stats(500, 5, 5)).at(-1)).toMatchObject({ published_per_s: null, events_per_s: null });
  expect(history.add(3_000, stats(1_500, 7, 5)).at(-1)).toMatchObject({ published_per_s: 2, done_per_s: 0 });
});

test('the oldest samples go', () => {
  const history = new History(3);
  for (let second = 0; second < 5; second += 1) history.add(second * 1_000, stats(second * 1_000, 1, 1));
  expect(history.missing(5_000).map((it) => it.at_ms)).toEqual([3_000, 4_000, 5_000]);
});
