import { expect, test } from 'vitest';
import type { FeedPage } from '../api/types';
import type { FeedRecord } from './follower';
import { type AskEvents, eventsOf, type Found, offsetBefore } from './past';

const START = Date.parse('2026-01-01T00:00:00Z');

/** A feed with an event each 10 ms; every seventh is of session s. */
function feed(newest: number): { ask: AskEvents; asked: () => number } {
  let asked = 0;
  const ask: AskEvents = ({ after, limit }) => {
    asked += 1;
    const from = Number(after.split(':')[1]);
    const items: FeedRecord[] = [];
    for (let offset = from + 1; offset <= Math.min(newest, from + limit); offset += 1) {
      items.push({
        epoch: 'a',
        offset,
        event_id: '',
        time: new Date(START + offset * 10).toISOString(),
        topic: 'tasks',
        event_type: 'task_done',
        entity_type: 'task',
        entity_id: String(offset),
        data: offset % 7 === 0 ? { session: 's' } : {},
      });
    }
    return Promise.resolve({ items, next: `a:${from + items.length}` } as unknown as FeedPage);
  };
  return { ask, asked: () => asked };
}

test('the beginning is found by halving', async () => {
  const { ask, asked } = feed(1_000_000);
  expect(await offsetBefore(START + 700_000 * 10, { epoch: 'a', oldest: 1, newest: 1_000_000 }, ask)).toBe(699_999);
  expect(asked()).toBeLessThanOrEqual(21);
  expect(await offsetBefore(START - 1, { epoch: 'a', oldest: 500, newest: 1_000 }, ask)).toBe(499);
  expect(await offsetBefore(START + 1e9, { epoch: 'a', oldest: 1, newest: 1_000 }, feed(1_000).ask)).toBe(1_000);
});

test('the events of a session are those between its times', async () => {
  const { ask } = feed(10_000);
  let last: Found | undefined;
  await eventsOf('s', START + 2_000 * 10, START + 4_000 * 10, { epoch: 'a', oldest: 1, newest: 10_000 }, (it) => (last = it), ask);
  expect(last?.cut).toBe(false);
  expect(last?.records[0]?.offset).toBe(2_002);
  expect(last?.records.every((it) => it.offset % 7 === 0)).toBe(true);
  expect(last?.records.at(-1)?.offset).toBeGreaterThanOrEqual(3_997);
});

test('a page that is short, because others have most of what it looked at, is not the end', async () => {
  const all = feed(10_000).ask;
  // As for a token of one tenant: of each page only every seventh event is shown.
  const ask: AskEvents = async (query) => {
    const page = await all(query);
    if (query.limit === 1) return page;
    return { ...page, items: page.items.filter((record) => record.offset % 7 === 0) };
  };
  let last: Found | undefined;
  await eventsOf('s', START, START + 1e9, { epoch: 'a', oldest: 1, newest: 10_000 }, (it) => (last = it), ask);
  expect(last?.cut).toBe(false);
  expect(last?.records).toHaveLength(Math.floor(10_000 / 7));
});
