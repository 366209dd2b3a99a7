// The one connection to the feed. It reconnects with growing waits, goes on after the last record that it saw, and says
// honestly where it stands. It knows no Vue and no browser: sockets, time and chance are given to it (`World`), so that
// its tests own them. `browser.ts` gives the real ones.

import { type Backoff, BACKOFF, waitBefore } from './backoff';
import { type FeedRecord, Follower, type Gap, type Place, type Sight } from './follower';

/** What the client needs of a WebSocket. */
export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((message: { data: unknown }) => void) | null;
  onclose: ((close: { code: number; reason: string }) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}

/** The gateway does not let us in. */
export class Refused extends Error {
  constructor(
    readonly by: 'token' | 'scope' | 'gateway',
    message: string,
  ) {
    super(message);
  }
}

/** What the gateway says before a connection. */
export interface Beginning {
  readonly place: Place;
  readonly sight: Sight;
}

/** What is outside of the client. */
export interface World {
  /** Where to begin, and what will be seen: asked before the first connection, when the token may be another one, and
   * whenever a connection could not be made. Throws `Refused`, or whatever says that nobody answered. */
  begin(): Promise<Beginning>;
  /** Opens `/ws/events` after a place. */
  socket(after: Place): Socket;
  /** Milliseconds; only differences count. */
  now(): number;
  /** In [0, 1). */
  random(): number;
  after(ms: number, then: () => void): number;
  cancel(timer: number): void;
}

/** Where the connection stands. `since` and `retry_at` are `World.now()`. */
export type Phase =
  | { readonly is: 'stopped' }
  | { readonly is: 'connecting'; readonly since: number }
  | { readonly is: 'live'; readonly since: number }
  | {
      readonly is: 'reconnecting';
      readonly since: number;
      readonly attempt: number;
      readonly retry_at: number | undefined;
      readonly why: string;
    }
  | { readonly is: 'refused'; readonly by: Refused['by']; readonly why: string };

/** A gap, and how many events are missing because of it; undefined when nobody can know. */
export interface KnownGap extends Gap {
  readonly missing: number | undefined;
}

/** What happened to the connection so far. */
export interface Account {
  /** Of what this is the account. */
  sight: Sight;
  received: number;
  repeats: number;
  /** Events that were skipped without a word; counted only where every event is given. */
  holes: number;
  gaps: KnownGap[];
  epochs_changed: number;
  reconnections: number;
  /** Frames that made no sense. */
  unreadable: number;
}

/** Who listens. Called at once, and often: whoever draws collects and draws per frame. */
export interface Listener {
  /** New records in order, without repeats. */
  records(records: readonly FeedRecord[]): void;
  /** The phase or the account changed. */
  changed(): void;
  /** What was seen before is void, or incomplete: another store, or events are missing. */
  broken?(why: 'epoch' | 'gap'): void;
}

/** How patient the client is, in milliseconds. */
export interface Patience {
  /** Between two pings. */
  readonly heartbeat_ms: number;
  /** For a sign of life after a ping. */
  readonly silence_ms: number;
  /** For a connection to be made. */
  readonly open_ms: number;
}

export const PATIENCE: Patience = { heartbeat_ms: 15_000, silence_ms: 8_000, open_ms: 10_000 };

/** Gaps that are kept to be shown; the sums are of all of them. */
const GAPS_KEPT = 20;

export class EventsClient {
  readonly account: Account = {
    sight: 'unknown',
    received: 0,
    repeats: 0,
    holes: 0,
    gaps: [],
    epochs_changed: 0,
    reconnections: 0,
    unreadable: 0,
  };
  private state: Phase = { is: 'stopped' };
  private follower = new Follower();
  private socket: Socket | undefined;
  /** Attempts since the last sign of life. */
  private attempt = 0;
  private downSince = 0;
  private wasLive = false;
  /** The gateway must be asked before the next connection. */
  private mustAsk = true;
  private timers: { retry?: number; open?: number; heartbeat?: number; silence?: number } = {};
  /** Whatever was asked before a stop or a newer attempt is of no interest any more. */
  private generation = 0;

  constructor(
    private readonly world: World,
    private readonly listener: Listener,
    private readonly backoff: Backoff = BACKOFF,
    private readonly patience: Patience = PATIENCE,
  ) {}

  get phase(): Phase {
    return this.state;
  }

  /** The last record that was seen, or where it began. */
  get place(): Place | undefined {
    return this.follower.last;
  }

  /** Connects, and stays connected until `stop`. */
  start(): void {
    if (this.state.is !== 'stopped' && this.state.is !== 'refused') return;
    this.attempt = 0;
    this.mustAsk = true;
    this.downSince = this.world.now();
    this.become({ is: 'connecting', since: this.downSince });
    void this.connect();
  }

  stop(): void {
    this.generation += 1;
    this.drop();
    this.become({ is: 'stopped' });
  }

  /** The network or the page is back: try at once, or find out whether the connection still lives. */
  wake(): void {
    if (this.state.is === 'live') this.ping();
    else if (this.timers.retry !== undefined) {
      this.clear('retry');
      void this.connect();
    }
  }

  private async connect(): Promise<void> {
    this.generation += 1;
    const mine = this.generation;
    this.attempt += 1;
    if (this.state.is === 'reconnecting') this.become({ ...this.state, attempt: this.attempt, retry_at: undefined });
    // A handshake that is refused tells a page nothing: the reason is asked for over HTTP. So it is before the first.
    if (this.mustAsk || this.attempt > 1) {
      try {
        const { place, sight } = await this.world.begin();
        if (mine !== this.generation) return;
        if (this.follower.last === undefined) this.follower = new Follower(place);
        this.follower.sight = this.account.sight = sight;
        this.mustAsk = false;
      } catch (error) {
        if (mine !== this.generation) return;
        if (error instanceof Refused) {
          this.drop();
          this.become({ is: 'refused', by: error.by, why: error.message });
        } else this.lost(error instanceof Error ? error.message : String(error));
        return;
      }
    }
    this.open(this.follower.last as Place, mine);
  }

  private open(after: Place, mine: number): void {
    const socket = this.world.socket(after);
    this.socket = socket;
    this.timers.open = this.world.after(this.patience.open_ms, () => this.abandon('the connection was not made in time'));
    socket.onopen = () => {
      if (mine !== this.generation) return;
      this.clear('open');
      if (this.wasLive) this.account.reconnections += 1;
      this.wasLive = true;
      this.become({ is: 'live', since: this.world.now() });
      this.beat();
    };
    socket.onmessage = (message) => {
      if (mine !== this.generation) return;
      this.attempt = 0;
      this.clear('silence');
      this.heard(message.data);
    };
    socket.onclose = (close) => {
      if (mine === this.generation) this.lost(reasonOf(close.code, close.reason));
    };
  }

  private heard(data: unknown): void {
    const frame = parsed(data);
    if (frame === undefined) {
      this.account.unreadable += 1;
      this.listener.changed();
    } else if (Array.isArray(frame.events)) this.accept(frame.events as FeedRecord[]);
    else if (typeof frame.offset === 'number' && typeof frame.epoch === 'string') this.accept([frame as unknown as FeedRecord]);
    else if (isObject(frame.gap)) this.gap(frame.gap as unknown as Gap);
    else if (frame.type !== 'pong' && !isObject(frame.error)) {
      this.account.unreadable += 1;
      this.listener.changed();
    }
  }

  private accept(records: readonly FeedRecord[]): void {
    const fresh: FeedRecord[] = [];
    let broken: 'epoch' | 'gap' | undefined;
    for (const record of records) {
      const accepted = this.follower.accept(record);
      if (accepted.is === 'repeat') {
        this.account.repeats += 1;
        continue;
      }
      if (accepted.is === 'hole') {
        this.account.holes += accepted.missing;
        broken ??= 'gap';
      } else if (accepted.is === 'other_epoch') {
        this.account.epochs_changed += 1;
        broken = 'epoch';
      }
      fresh.push(record);
    }
    this.account.received += fresh.length;
    if (broken !== undefined) this.listener.broken?.(broken);
    if (fresh.length > 0) this.listener.records(fresh);
    if (fresh.length < records.length || broken !== undefined) this.listener.changed();
  }

  private gap(gap: Gap): void {
    const missing = this.follower.announced(gap);
    this.account.gaps.push({ ...gap, missing });
    if (this.account.gaps.length > GAPS_KEPT) this.account.gaps.shift();
    if (missing !== 0) this.listener.broken?.(gap.reason === 'epoch' ? 'epoch' : 'gap');
    this.listener.changed();
  }

  private beat(): void {
    this.ping();
    this.timers.heartbeat = this.world.after(this.patience.heartbeat_ms, () => this.beat());
  }

  private ping(): void {
    try {
      this.socket?.send('ping');
    } catch {
      // The socket is closing; its close says so.
    }
    // Any frame is a sign of life, and cancels this.
    this.timers.silence ??= this.world.after(this.patience.silence_ms, () => this.abandon('the gateway is silent'));
  }

  /** Closes a socket that is good for nothing; a dead one would take minutes to say so itself. */
  private abandon(why: string): void {
    this.lost(why);
  }

  private lost(why: string): void {
    this.generation += 1;
    if (this.state.is !== 'reconnecting') this.downSince = this.world.now();
    this.drop();
    const attempt = this.attempt + 1;
    const wait = waitBefore(attempt, this.world.random(), this.backoff);
    this.timers.retry = this.world.after(wait, () => {
      delete this.timers.retry;
      void this.connect();
    });
    this.become({ is: 'reconnecting', since: this.downSince, attempt, retry_at: this.world.now() + wait, why });
  }

  private drop(): void {
    for (const timer of Object.keys(this.timers) as (keyof typeof this.timers)[]) this.clear(timer);
    const { socket } = this;
    this.socket = undefined;
    if (socket === undefined) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private clear(timer: keyof typeof this.timers): void {
    const handle = this.timers[timer];
    if (handle !== undefined) this.world.cancel(handle);
    delete this.timers[timer];
  }

  private become(phase: Phase): void {
    this.state = phase;
    this.listener.changed();
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parsed(data: unknown): Record<string, unknown> | undefined {
  if (typeof data !== 'string') return undefined;
  try {
    const value: unknown = JSON.parse(data);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function reasonOf(code: number, reason: string): string {
  const known: Record<number, string> = {
    1001: 'the gateway drains',
    1006: 'the connection broke',
    1008: 'the gateway refused',
    1011: 'the gateway failed',
    1013: 'the page fell behind the feed',
  };
  const words = known[code] ?? `closed with ${code}`;
  return reason === '' ? words : `${words}: ${reason}`;
}
