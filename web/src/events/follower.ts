// Which offsets were seen. Pure: it takes records and says whether each is the next one, a repeat, or after a hole. What
// is done about it is the client's affair.

import type { components } from '../api/schema';

/** One record of the feed. Its topic is open: a later gateway may have topics that this page does not know. */
export type FeedRecord = Omit<components['schemas']['FeedRecord'], 'topic' | 'data'> & {
  topic: string;
  data: Record<string, unknown>;
};

/** What the gateway says when it cannot give everything. */
export type Gap = components['schemas']['Gap'];

/** What of the feed a token is given: every event; those of its tenant and those that are nobody's; or nobody could say.
 * Only who is given every event can tell that one is missing: to the others offsets have holes where other tenants are. */
export type Sight = 'all' | 'tenant' | 'unknown';

/** A place in the feed. */
export interface Place {
  readonly epoch: string;
  readonly offset: number;
}

/** `<epoch>:<offset>`, as `after=` takes it. */
export function written(place: Place): string {
  return `${place.epoch}:${place.offset}`;
}

/** What became of one record. */
export type Accepted =
  | { readonly is: 'next' }
  /** It was seen before; it is dropped. */
  | { readonly is: 'repeat' }
  /** `missing` offsets before it were skipped without a word, though every event is given: nothing in Squall does that,
   * so it is told. */
  | { readonly is: 'hole'; readonly missing: number }
  /** It belongs to another store. */
  | { readonly is: 'other_epoch'; readonly announced: boolean };

/** Keeps the place of a subscriber who follows everything that it is given. */
export class Follower {
  private place: Place | undefined;
  /** Another store was announced: the next record's epoch is new, and nobody is surprised. */
  private otherStore = false;

  /** `sight` may change with the token; the place stays. */
  constructor(
    start?: Place,
    public sight: Sight = 'unknown',
  ) {
    this.place = start;
  }

  /** After which record to go on; undefined before the first one. */
  get last(): Place | undefined {
    return this.place;
  }

  /** The gateway announced a gap. Returns how many events are missing, at most when not every event is given; undefined
   * when nobody can know. */
  announced(gap: Gap): number | undefined {
    if (gap.reason === 'epoch') {
      // The place stays: who connects again before the first record of the new store is told the same again.
      this.otherStore = true;
      return undefined;
    }
    if (this.place === undefined) return undefined;
    if (gap.reason === 'ahead') {
      // The feed ends before our place: it goes on at `from`, and what we saw beyond it happened otherwise.
      this.place = { ...this.place, offset: gap.from - 1 };
      return undefined;
    }
    const missing = gap.to - Math.max(gap.from - 1, this.place.offset);
    if (missing > 0) this.place = { ...this.place, offset: gap.to };
    return Math.max(0, missing);
  }

  accept(record: FeedRecord): Accepted {
    const { place } = this;
    if (place !== undefined && place.epoch === record.epoch && record.offset <= place.offset) return { is: 'repeat' };
    this.place = { epoch: record.epoch, offset: record.offset };
    const announced = this.otherStore;
    this.otherStore = false;
    if (place === undefined) return { is: 'next' };
    if (place.epoch !== record.epoch) return { is: 'other_epoch', announced };
    const missing = record.offset - place.offset - 1;
    return missing > 0 && this.sight === 'all' ? { is: 'hole', missing } : { is: 'next' };
  }
}
