// A bounded buffer of what came last. It lives outside Vue's reactivity, because nobody can look at 5,000 changes a
// second; who draws asks for what is new once per frame.

/** Keeps the newest `capacity` items; each has a sequence number that counts from 0 and is never given twice. */
export class Ring<T> {
  private readonly slots: (T | undefined)[];
  private written = 0;
  private dropped = 0;

  constructor(readonly capacity: number) {
    if (capacity < 1) throw new RangeError('a ring holds at least one item');
    this.slots = new Array<T | undefined>(capacity);
  }

  /** The sequence number that the next item gets. */
  get end(): number {
    return this.written;
  }

  /** The sequence number of the oldest item that is still there; equal to `end` when there is none. */
  get start(): number {
    return Math.max(this.dropped, this.written - this.capacity);
  }

  get size(): number {
    return this.end - this.start;
  }

  push(item: T): void {
    this.slots[this.written % this.capacity] = item;
    this.written += 1;
  }

  /** Undefined when it is not there yet, or no longer. */
  at(sequence: number): T | undefined {
    if (sequence < this.start || sequence >= this.end) return undefined;
    return this.slots[sequence % this.capacity];
  }

  /** Forgets everything; sequence numbers go on. */
  clear(): void {
    this.slots.fill(undefined);
    this.dropped = this.written;
  }
}
