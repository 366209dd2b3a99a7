// The feed as all pages share it: one connection, one buffer of what came last, one flush per frame.

import { defineStore } from 'pinia';
import { markRaw, ref, shallowRef, watch } from 'vue';
import { browserWorld } from '../events/browser';
import { type Account, EventsClient, type Phase } from '../events/client';
import type { FeedRecord, Place } from '../events/follower';
import { Ring } from '../events/ring';
import { useToken } from './token';

/** Records that are kept to be looked at. */
export const KEPT = 10_000;

/** Frames are drawn no closer together than this, in milliseconds: nobody reads faster, and a flood leaves room for the rest. */
const FRAME_MS = 48;

/** What came since the last frame. */
export interface Frame {
  /** New records, oldest first; without those that left the buffer before anybody could look. */
  readonly records: readonly FeedRecord[];
  /** True when records are missing: the page was hidden, there was a gap, or the store is another one. Whoever counts
   * must ask the gateway again. */
  readonly broken: boolean;
}

export const useFeed = defineStore('feed', () => {
  const token = useToken();
  const ring = markRaw(new Ring<FeedRecord>(KEPT));
  const phase = shallowRef<Phase>({ is: 'stopped' });
  const account = shallowRef<Account>({ sight: 'unknown', received: 0, repeats: 0, holes: 0, gaps: [], epochs_changed: 0, reconnections: 0, unreadable: 0 });
  const place = shallowRef<Place | undefined>();
  /** Grows with every frame that has something new. */
  const frame = ref(0);

  const listeners = new Set<(frame: Frame) => void>();
  /** Where the feed ended when the page came: what is before it is past. */
  let head: Place | undefined;
  let flushed = 0;
  let broken = false;
  let dirty = false;
  let drawn = -Infinity;

  const client = markRaw(
    new EventsClient(
      browserWorld(
        () => token.token,
        (it) => {
          head ??= it;
        },
      ),
      {
        records(records) {
          for (const record of records) ring.push(record);
          schedule();
        },
        changed() {
          phase.value = client.phase;
          if (client.phase.is === 'refused' && client.phase.by !== 'gateway') void askForToken(client.phase.by, client.phase.why);
          schedule();
        },
        broken() {
          broken = true;
          schedule();
        },
      },
    ),
  );

  function schedule(): void {
    if (dirty) return;
    dirty = true;
    requestAnimationFrame(flush);
  }

  function flush(now: number): void {
    if (now - drawn < FRAME_MS) {
      requestAnimationFrame(flush);
      return;
    }
    drawn = now;
    dirty = false;
    account.value = { ...client.account };
    place.value = client.place;
    const from = Math.max(flushed, ring.start);
    const records: FeedRecord[] = [];
    for (let sequence = from; sequence < ring.end; sequence += 1) {
      const record = ring.at(sequence) as FeedRecord;
      if (isLive(record)) records.push(record);
    }
    const news = { records, broken: broken || from > flushed };
    if (ring.end !== flushed || news.broken) {
      flushed = ring.end;
      broken = false;
      for (const listener of listeners) listener(news);
      frame.value += 1;
    }
  }

  /** Did it happen after the page came? */
  function isLive(record: FeedRecord): boolean {
    return head === undefined || record.epoch !== head.epoch || record.offset > head.offset;
  }

  async function askForToken(by: 'token' | 'scope', why: string): Promise<void> {
    await token.ask(token.token, by === 'scope' ? `This token may not look: ${why}` : undefined);
  }
  watch(
    () => token.token,
    () => client.start(),
  );

  /** Calls `listener` once per frame that has live events; returns what ends that. */
  function onFrame(listener: (frame: Frame) => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  function start(): void {
    client.start();
    window.addEventListener('online', () => client.wake());
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) client.wake();
    });
  }

  return { ring, phase, account, place, frame, start, onFrame, wake: () => client.wake() };
});
