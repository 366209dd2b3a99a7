// The words on the wire under short names. `schema.ts` is generated from the gateway's OpenAPI document
// (`npm run types`); what is not in it yet is written here.

import type { components } from './schema';

type Schemas = components['schemas'];

export type Stats = Schemas['Stats'];
export type LaneView = Schemas['LaneView'];
export type DeadLetter = Schemas['DeadLetter'];
export type DeadReason = Schemas['DeadReason'];
export type SessionView = Schemas['SessionView'];
export type SessionState = Schemas['SessionState'];
export type TaskView = Schemas['TaskView'];
export type Priority = Schemas['Priority'];
export type Handled = Schemas['Handled'];
export type FeedPage = Schemas['FeedPage'];
export type RunView = Schemas['RunView'];
export type Health = Schemas['Health'];

/** One page of a list; `next` is the cursor of the one after it. */
export interface Page<T> {
  items: T[];
  next?: string | null;
  total?: number;
  incomplete?: string | null;
}

export const PRIORITIES = ['high', 'normal', 'low'] as const satisfies readonly Priority[];
