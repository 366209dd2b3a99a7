// Finds the events of one session in the feed, which has no index of them: offsets count up by one and times do not go
// back, so the beginning is found by halving, and from there pages are read forward.

import { events } from '../api/endpoints';
import type { FeedPage } from '../api/types';
import type { FeedRecord } from './follower';

/** Offsets that are looked through at most. */
export const LOOKED_THROUGH = 50_000;
const PAGE = 1_000;

export type AskEvents = (query: { after: string; limit: number; topics?: string }, signal?: AbortSignal) => Promise<FeedPage>;

/** The offset after which everything at or after `time_ms` is. About 20 questions for a million events. */
export async function offsetBefore(
  time_ms: number,
  feed: { epoch: string; oldest: number; newest: number },
  ask: AskEvents = events,
  signal?: AbortSignal,
): Promise<number> {
  let low = Math.max(0, feed.oldest - 1);
  let high = feed.newest;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const { items } = await ask({ after: `${feed.epoch}:${middle}`, limit: 1 }, signal);
    const [record] = items;
    if (record === undefined || Date.parse(record.time) >= time_ms) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Is this event about a session? */
export function isOf(session: string): (record: FeedRecord) => boolean {
  return (record) => (record.entity_type === 'session' && record.entity_id === session) || record.data?.session === session;
}

/** What was found: the events, and whether the search ended before the time it was meant to reach. */
export interface Found {
  records: FeedRecord[];
  cut: boolean;
}

/** The events of a session from `from_ms` to `to_ms`, oldest first. `found` hears of each page as it comes. */
export async function eventsOf(
  session: string,
  from_ms: number,
  to_ms: number,
  feed: { epoch: string; oldest: number; newest: number },
  found: (found: Found) => void,
  ask: AskEvents = events,
  signal?: AbortSignal,
): Promise<void> {
  const matches = isOf(session);
  const start = await offsetBefore(from_ms, feed, ask, signal);
  let after = `${feed.epoch}:${start}`;
  const records: FeedRecord[] = [];
  for (;;) {
    const page = await ask({ after, limit: PAGE, topics: 'sessions,tasks,dead_letters' }, signal);
    const items = page.items as FeedRecord[];
    for (const record of items) if (matches(record)) records.push(record);
    // A page may be short because most of what it looked at is another topic's or tenant's: only its place says where it ends.
    const reached = Number(page.next.slice(page.next.lastIndexOf(':') + 1));
    const last = items.at(-1);
    const ended = reached >= feed.newest || (last !== undefined && Date.parse(last.time) > to_ms);
    const looked = reached - start;
    found({ records: [...records], cut: !ended && looked >= LOOKED_THROUGH });
    if (ended || looked >= LOOKED_THROUGH || page.next === after) return;
    after = page.next;
  }
}
