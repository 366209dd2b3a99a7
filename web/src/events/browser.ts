// The world of the events client as a browser gives it.

import { ApiError } from '../api/client';
import { runs, stats } from '../api/endpoints';
import { Refused, type Socket, type World } from './client';
import { type Place, type Sight, written } from './follower';

/** Events of the past that a new page begins with. */
const PAST = 1_000;

/** The subprotocols that carry a token: a browser can send no header with a WebSocket. */
export function protocols(token: string | undefined): string[] {
  if (token === undefined) return [];
  const bytes = new TextEncoder().encode(token);
  const base64 = btoa(String.fromCharCode(...bytes));
  return ['squall', `bearer.${base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`];
}

/** What this token is given. The gateway has no question for that; runs are for administrators, who are given every event. */
async function sight(): Promise<Sight> {
  try {
    await runs({ limit: 1 }, { ask: false, timeout_ms: 4_000 });
    return 'all';
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 403) return 'tenant';
    // It may look, and there is nothing to see.
    if (error.code === 'HistoryUnavailable') return 'all';
    return 'unknown';
  }
}

/** Sockets to the gateway that served the page. `began` is told what is past and what is live. */
export function browserWorld(token: () => string | undefined, began: (head: Place) => void): World {
  return {
    async begin() {
      try {
        const { epoch, feed_offset, feed_oldest } = await stats({ ask: false, timeout_ms: 8_000 });
        const seen = await sight();
        began({ epoch, offset: feed_offset });
        // The oldest that is kept is not asked for by its predecessor's name if that is past: that would be a gap.
        const oldest = Math.max(0, feed_oldest - 1);
        const offset = Math.min(feed_offset, Math.max(oldest, feed_offset - PAST));
        return { place: { epoch, offset }, sight: seen };
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) throw new Refused('token', error.message);
        if (error instanceof ApiError && error.status === 403) throw new Refused('scope', error.message);
        throw error;
      }
    },
    socket(after) {
      const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
      const address = `${scheme}://${location.host}/ws/events?after=${encodeURIComponent(written(after))}&batch=true`;
      // A WebSocket gives its handlers more than they ask for, which the types forbid and nobody minds.
      return new WebSocket(address, protocols(token())) as unknown as Socket;
    },
    now: () => performance.now(),
    random: Math.random,
    after: (ms, then) => window.setTimeout(then, ms),
    cancel: (timer) => window.clearTimeout(timer),
  };
}
