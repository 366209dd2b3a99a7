// How the states of a session look.

import type { SessionState } from '../api/types';

/** The name of a class. */
export function sessionTone(state: SessionState): string {
  return { active: 'calm', completed: 'good', failed: 'bad', timed_out: 'warn' }[state];
}
