// What the gateway's figures were, as points of a chart. Counters become rates over the time that really passed; a
// gateway that was not there, or began to count anew, leaves a hole and never a spike.

import { PRIORITIES, type Priority, type Stats } from '../api/types';

/** One lane at one moment. Rates are per second, and null where there is nothing to compare with. */
export interface LaneSample {
  readonly ready: Readonly<Record<Priority, number>>;
  readonly delayed: number;
  readonly leased: number;
  readonly oldest_ms: number;
  readonly in_per_s: number | null;
  readonly out_per_s: number | null;
}

/** The gateway at one moment; `stats` null: it did not answer. */
export interface Sample {
  readonly at_ms: number;
  readonly lanes: ReadonlyMap<string, LaneSample>;
  readonly events_per_s: number | null;
  readonly published_per_s: number | null;
  readonly done_per_s: number | null;
  readonly answered: boolean;
}

interface Before {
  at_ms: number;
  stats: Stats;
  counts: Map<string, number>;
}

const NONE: ReadonlyMap<string, LaneSample> = new Map();

/** The newest `capacity` samples. */
export class History {
  private samples: Sample[] = [];
  private before: Before | undefined;

  constructor(private readonly capacity: number) {}

  /** Adds what the gateway said at a time (`Date.now()`); returns all samples, oldest first. */
  add(at_ms: number, stats: Stats): readonly Sample[] {
    const counts = byLane(stats);
    const before = this.before !== undefined && sameLife(this.before.stats, stats) ? this.before : undefined;
    const seconds = before === undefined ? 0 : (at_ms - before.at_ms) / 1_000;
    const rate = (now: number | undefined, then: number | undefined): number | null =>
      seconds <= 0 ? null : Math.max(0, (now ?? 0) - (then ?? 0)) / seconds;
    const lanes = new Map<string, LaneSample>();
    for (const lane of stats.lanes) {
      const key = (outcome: string) => `${lane.lane}\n${outcome}`;
      lanes.set(lane.lane, {
        ready: lane.ready,
        delayed: lane.delayed,
        leased: lane.leased,
        oldest_ms: Math.max(...PRIORITIES.map((priority) => lane.oldest_ready_ms[priority])),
        in_per_s: rate(counts.get(key('published')), before?.counts.get(key('published'))),
        out_per_s: rate(counts.get(key('done')), before?.counts.get(key('done'))),
      });
    }
    const total = (outcome: string) => rate(stats.tasks[outcome], before?.stats.tasks[outcome]);
    this.before = { at_ms, stats, counts };
    return this.push({
      at_ms,
      lanes,
      events_per_s: before?.stats.epoch === stats.epoch ? rate(stats.feed_offset, before.stats.feed_offset) : null,
      published_per_s: total('published'),
      done_per_s: total('done'),
      answered: true,
    });
  }

  /** The gateway did not answer. */
  missing(at_ms: number): readonly Sample[] {
    return this.push({ at_ms, lanes: NONE, events_per_s: null, published_per_s: null, done_per_s: null, answered: false });
  }

  private push(sample: Sample): readonly Sample[] {
    // A new array each time: whoever watches it sees that it changed.
    this.samples = [...this.samples.slice(-(this.capacity - 1)), sample];
    return this.samples;
  }
}

/** Counters count from the start of a process. */
function sameLife(before: Stats, now: Stats): boolean {
  return now.process.uptime_ms >= before.process.uptime_ms;
}

function byLane(stats: Stats): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { lane, outcome, count } of stats.tasks_by_lane) {
    const key = `${lane}\n${outcome}`;
    counts.set(key, (counts.get(key) ?? 0) + count);
  }
  return counts;
}
