// How long to wait before the next attempt: exponential, with jitter, so that a thousand consoles do not come back to a
// restarted gateway in the same millisecond.

/** Milliseconds of the first wait, the factor from one to the next, and the longest. */
export interface Backoff {
  readonly first_ms: number;
  readonly factor: number;
  readonly longest_ms: number;
}

export const BACKOFF: Backoff = { first_ms: 250, factor: 2, longest_ms: 15_000 };

/**
 * The wait before attempt `attempt` (from 1), in milliseconds. `random` is in [0, 1): the wait lies between half and all
 * of the exponential one ("equal jitter"), so it is never zero and two consoles seldom agree.
 */
export function waitBefore(attempt: number, random: number, backoff: Backoff = BACKOFF): number {
  const full = Math.min(backoff.first_ms * backoff.factor ** Math.max(0, attempt - 1), backoff.longest_ms);
  return Math.round(full / 2 + (full / 2) * random);
}
