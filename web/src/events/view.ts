// What a filter lets through of a ring, kept up to date by looking at each item once. A new filter looks again at all
// of them, at most the ring's capacity.

import type { Ring } from './ring';

/** The matching items of a ring, newest first by index. */
export class View<T> {
  /** Sequence numbers that match, oldest first; those before `head` have left the ring. */
  private matches: number[] = [];
  private head = 0;
  private seen: number;
  private cleared = 0;

  constructor(
    private readonly ring: Ring<T>,
    private matching: (item: T) => boolean = () => true,
  ) {
    this.seen = ring.start;
    this.update();
  }

  /** Looks at what is new; returns how many of it match. */
  update(): number {
    const from = Math.max(this.seen, this.ring.start);
    let added = 0;
    for (let sequence = from; sequence < this.ring.end; sequence += 1) {
      if (this.matching(this.ring.at(sequence) as T)) {
        this.matches.push(sequence);
        added += 1;
      }
    }
    this.seen = this.ring.end;
    while (this.head < this.matches.length && this.matches[this.head]! < this.ring.start) this.head += 1;
    // The array is cut now and then, not at each item that leaves.
    if (this.head > this.ring.capacity) {
      this.matches = this.matches.slice(this.head);
      this.head = 0;
    }
    return added;
  }

  /** Another filter; what was cleared stays away. */
  filter(matching: (item: T) => boolean): void {
    this.matching = matching;
    this.matches = [];
    this.head = 0;
    this.seen = Math.max(this.ring.start, this.cleared);
    this.update();
  }

  /** Nothing that is there now is shown again, under no filter. */
  clear(): void {
    this.cleared = this.ring.end;
    this.matches = [];
    this.head = 0;
    this.seen = this.ring.end;
  }

  get size(): number {
    return this.matches.length - this.head;
  }

  /** The newest is 0. The number names the item for as long as the ring has it. */
  sequence(index: number): number | undefined {
    return index < 0 || index >= this.size ? undefined : this.matches[this.matches.length - 1 - index];
  }

  /** The newest is 0. */
  at(index: number): T | undefined {
    const sequence = this.sequence(index);
    return sequence === undefined ? undefined : this.ring.at(sequence);
  }

  /** Everything that matches, newest first. */
  toArray(): T[] {
    return Array.from({ length: this.size }, (_, index) => this.at(index) as T);
  }
}
