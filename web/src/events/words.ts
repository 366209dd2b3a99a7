// What the state of the connection is called, for people.

import { count, many } from '../lib/format';
import type { Account, Phase } from './client';
import type { Gap } from './follower';

/** A word, and its tone: the name of a class. */
export interface Said {
  readonly word: string;
  readonly tone: 'good' | 'warn' | 'bad' | 'muted';
}

export function connectionOf(phase: Phase): Said {
  switch (phase.is) {
    case 'live':
      return { word: 'Live', tone: 'good' };
    case 'connecting':
      return { word: 'Connecting', tone: 'muted' };
    case 'reconnecting':
      return { word: 'Reconnecting', tone: 'warn' };
    case 'refused':
      return { word: 'Not let in', tone: 'bad' };
    case 'stopped':
      return { word: 'Not connected', tone: 'muted' };
  }
}

const REASONS: Record<Gap['reason'], string> = {
  retention: 'they are no longer kept',
  corrupt: 'they are damaged on disk',
  epoch: 'the gateway has another store than before',
  ahead: 'the feed is shorter than what was seen of it',
};

export function reasonOf(gap: Gap): string {
  return REASONS[gap.reason] ?? gap.reason;
}

/** What a page without a fault saw. Without every offset nobody can know that none is missing, so it is not said. */
const WHOLE: Record<Account['sight'], string> = {
  all: 'every event, no gaps',
  tenant: 'the events of this tenant, in order',
  unknown: 'in order',
};

/** Whether anything is missing of what this page saw, in a few words. */
export function completeness(account: Account): Said {
  const missing = account.holes + account.gaps.reduce((sum, gap) => sum + (gap.missing ?? 0), 0);
  if (account.holes > 0) return { word: `${many(account.holes, 'event')} lost without a word`, tone: 'bad' };
  if (missing > 0) return { word: `${account.sight === 'all' ? '' : 'up to '}${count(missing)} missing, as told`, tone: 'warn' };
  if (account.epochs_changed > 0) return { word: 'another store since', tone: 'warn' };
  if (account.gaps.length > 0) return { word: 'a gap was told', tone: 'warn' };
  return { word: WHOLE[account.sight], tone: 'good' };
}
