import { expect, test } from 'vitest';
import { type Beginning, EventsClient, type Listener, Refused, type Socket, type World } from './client';
import { type FeedRecord, type Place, type Sight, written } from './follower';
import { completeness } from './words';

const record = (offset: number, epoch = 'a'): FeedRecord => ({
  epoch,
  offset,
  event_id: `${epoch}${offset}`,
  time: '2026-01-01T00:00:00.000Z',
  topic: 'tasks',
  event_type: 'task_published',
  entity_type: 'task',
  entity_id: '1',
  data: {},
});

const at = (offset: number, sight: Sight = 'all'): Beginning => ({ place: { epoch: 'a', offset }, sight });

class FakeSocket implements Socket {
  onopen: Socket['onopen'] = null;
  onmessage: Socket['onmessage'] = null;
  onclose: Socket['onclose'] = null;
  sent: string[] = [];
  closed = false;
  constructor(readonly after: string) {}
  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.closed = true;
  }
  says(frame: unknown): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  breaks(code = 1006, reason = ''): void {
    this.onclose?.({ code, reason });
  }
}

/** Time, chance and sockets that a test owns. */
class FakeWorld implements World {
  time = 0;
  sockets: FakeSocket[] = [];
  asked = 0;
  answer: () => Promise<Beginning> = () => Promise.resolve(at(10));
  private timers = new Map<number, { at: number; then: () => void }>();
  private next = 1;

  begin(): Promise<Beginning> {
    this.asked += 1;
    return this.answer();
  }
  socket(after: Place): FakeSocket {
    const socket = new FakeSocket(written(after));
    this.sockets.push(socket);
    return socket;
  }
  now(): number {
    return this.time;
  }
  random(): number {
    return 1 - Number.EPSILON;
  }
  after(ms: number, then: () => void): number {
    const handle = this.next;
    this.next += 1;
    this.timers.set(handle, { at: this.time + ms, then });
    return handle;
  }
  cancel(timer: number): void {
    this.timers.delete(timer);
  }
  /** Lets time pass, and whatever is due happen in its order. */
  async pass(ms: number): Promise<void> {
    const until = this.time + ms;
    await settled();
    for (;;) {
      const due = [...this.timers].filter(([, timer]) => timer.at <= until).sort(([, a], [, b]) => a.at - b.at)[0];
      if (due === undefined) break;
      this.timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].then();
      await settled();
    }
    this.time = until;
  }
  get last(): FakeSocket {
    return this.sockets.at(-1) as FakeSocket;
  }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
}

class Heard implements Listener {
  offsets: number[] = [];
  breaks: string[] = [];
  records(records: readonly FeedRecord[]): void {
    this.offsets.push(...records.map((it) => it.offset));
  }
  changed(): void {}
  broken(why: string): void {
    this.breaks.push(why);
  }
}

async function live(sight: Sight = 'all'): Promise<{ world: FakeWorld; heard: Heard; client: EventsClient }> {
  const world = new FakeWorld();
  world.answer = () => Promise.resolve(at(10, sight));
  const heard = new Heard();
  const client = new EventsClient(world, heard);
  client.start();
  await settled();
  world.last.onopen?.();
  world.last.says({ type: 'pong' });
  return { world, heard, client };
}

test('it begins where the gateway says, and is live when it is open', async () => {
  const { world, heard, client } = await live();
  expect(world.last.after).toBe('a:10');
  expect(client.phase.is).toBe('live');
  world.last.says({ events: [record(11), record(12)] });
  world.last.says(record(13));
  expect(heard.offsets).toEqual([11, 12, 13]);
  expect(client.account).toMatchObject({ received: 3, repeats: 0, holes: 0, unreadable: 0 });
});

test('a lost connection goes on after the last record, and repeats are dropped', async () => {
  const { world, heard, client } = await live();
  world.last.says({ events: [record(11), record(12)] });
  world.last.breaks();
  expect(client.phase).toMatchObject({ is: 'reconnecting', attempt: 1, since: 0, why: 'the connection broke' });
  await world.pass(250);
  expect(world.sockets.length).toBe(2);
  expect(world.last.after).toBe('a:12');
  world.last.onopen?.();
  world.last.says({ events: [record(12), record(13)] });
  expect(heard.offsets).toEqual([11, 12, 13]);
  expect(client.account).toMatchObject({ repeats: 1, holes: 0, reconnections: 1 });
  expect(client.phase.is).toBe('live');
});

test('waits grow until somebody answers', async () => {
  const { world, client } = await live();
  world.last.breaks();
  world.answer = () => Promise.reject(new Error('nobody answers'));
  const waits: number[] = [];
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    const { phase } = client;
    if (phase.is !== 'reconnecting' || phase.retry_at === undefined) throw new Error(phase.is);
    expect(phase.attempt).toBe(attempt);
    waits.push(phase.retry_at - world.time);
    await world.pass(phase.retry_at - world.time);
    if (attempt === 1) world.last.breaks(); // The first attempt does not ask, it connects.
  }
  expect(waits).toEqual([250, 500, 1000, 2000, 4000]);
  expect(client.phase).toMatchObject({ since: 0, why: 'nobody answers' });
  // Back again: the waits begin anew.
  world.answer = () => Promise.resolve(at(99));
  await world.pass(8000);
  expect(world.last.after).toBe('a:10');
  world.last.onopen?.();
  world.last.says({ type: 'pong' });
  world.last.breaks();
  expect(client.phase).toMatchObject({ is: 'reconnecting', attempt: 1 });
});

test('a connection that opens and closes without a word is no success', async () => {
  const { world, client } = await live();
  world.last.breaks();
  await world.pass(250);
  world.last.onopen?.();
  world.last.breaks(1013);
  expect(client.phase).toMatchObject({ attempt: 2, why: 'the page fell behind the feed' });
});

test('a silent connection is closed and made again', async () => {
  const { world, client } = await live();
  const first = world.last;
  expect(first.sent).toEqual(['ping']);
  await world.pass(15_000);
  expect(first.sent).toEqual(['ping', 'ping']);
  await world.pass(7_999);
  expect(client.phase.is).toBe('live');
  await world.pass(1);
  expect(first.closed).toBe(true);
  expect(client.phase).toMatchObject({ is: 'reconnecting', why: 'the gateway is silent' });
  await world.pass(250);
  expect(world.sockets.length).toBe(2);
});

test('whoever answers pings stays connected', async () => {
  const { world, client } = await live();
  for (let minute = 0; minute < 20; minute += 1) {
    await world.pass(15_000);
    world.last.says({ type: 'pong' });
  }
  expect(client.phase.is).toBe('live');
  expect(world.sockets.length).toBe(1);
});

test('a connection that is never made is given up', async () => {
  const world = new FakeWorld();
  const client = new EventsClient(world, new Heard());
  client.start();
  await world.pass(10_000);
  expect(client.phase).toMatchObject({ is: 'reconnecting', why: 'the connection was not made in time' });
});

test('a gap is counted, and told', async () => {
  const { world, heard, client } = await live();
  world.last.says({ gap: { from: 11, to: 30, reason: 'retention' } });
  world.last.says({ events: [record(31)] });
  expect(client.account.gaps).toEqual([{ from: 11, to: 30, reason: 'retention', missing: 20 }]);
  expect(client.account.holes).toBe(0);
  expect(heard.breaks).toEqual(['gap']);
});

test('an event that is skipped without a word is found', async () => {
  const { world, heard, client } = await live();
  world.last.says({ events: [record(11), record(14)] });
  expect(client.account.holes).toBe(2);
  expect(heard.breaks).toEqual(['gap']);
  expect(heard.offsets).toEqual([11, 14]);
});

test('to a token of one tenant, what other tenants did is no loss', async () => {
  const { world, heard, client } = await live('tenant');
  world.last.says({ events: [record(11), record(14), record(13), record(90)] });
  expect(client.account).toMatchObject({ sight: 'tenant', received: 3, repeats: 1, holes: 0 });
  expect(heard.breaks).toEqual([]);
  expect(heard.offsets).toEqual([11, 14, 90]);
  expect(completeness(client.account)).toEqual({ word: 'the events of this tenant, in order', tone: 'good' });
  world.last.says({ gap: { from: 91, to: 100, reason: 'retention' } });
  expect(completeness(client.account).word).toBe('up to 10 missing, as told');
});

test('an administrator is told that every event came, and when one did not', async () => {
  const { world, client } = await live();
  world.last.says({ events: [record(11), record(12)] });
  expect(completeness(client.account)).toEqual({ word: 'every event, no gaps', tone: 'good' });
  world.last.says({ events: [record(14)] });
  expect(completeness(client.account)).toEqual({ word: '1 event lost without a word', tone: 'bad' });
});

test('another token sees otherwise: the gateway is asked again', async () => {
  const { world, client } = await live();
  world.last.breaks();
  world.answer = () => Promise.reject(new Refused('token', 'the token is not known'));
  await world.pass(250);
  world.last.breaks();
  await world.pass(500);
  expect(client.phase.is).toBe('refused');
  world.answer = () => Promise.resolve(at(99, 'tenant'));
  client.start();
  await settled();
  expect(world.last.after).toBe('a:10');
  expect(client.account.sight).toBe('tenant');
  world.last.onopen?.();
  world.last.says({ events: [record(20)] });
  expect(client.account.holes).toBe(0);
});

test('another store is told, and followed', async () => {
  const { world, heard, client } = await live();
  world.last.says({ gap: { from: 11, to: 10, reason: 'epoch' } });
  world.last.says({ events: [record(1, 'b'), record(2, 'b')] });
  expect(client.account.epochs_changed).toBe(1);
  expect(heard.breaks).toEqual(['epoch', 'epoch']);
  expect(client.place).toEqual({ epoch: 'b', offset: 2 });
});

test('who is not let in asks no more, until there is a token', async () => {
  const world = new FakeWorld();
  world.answer = () => Promise.reject(new Refused('token', 'a token is needed'));
  const client = new EventsClient(world, new Heard());
  client.start();
  await world.pass(60_000);
  expect(client.phase).toEqual({ is: 'refused', by: 'token', why: 'a token is needed' });
  expect([world.asked, world.sockets.length]).toEqual([1, 0]);
  world.answer = () => Promise.resolve(at(3));
  client.start();
  await settled();
  expect(world.last.after).toBe('a:3');
});

test('a page that comes back does not wait', async () => {
  const { world, client } = await live();
  world.last.breaks();
  client.wake();
  await settled();
  expect(world.sockets.length).toBe(2);
  client.wake(); // It is connecting already.
  await settled();
  expect(world.sockets.length).toBe(2);
  world.last.onopen?.();
  world.last.says({ type: 'pong' });
  // Live: the page asks whether it still is.
  client.wake();
  expect(world.last.sent).toEqual(['ping', 'ping']);
  await world.pass(8_000);
  expect(client.phase).toMatchObject({ is: 'reconnecting', why: 'the gateway is silent' });
});

test('who stopped is not called back', async () => {
  const { world, heard, client } = await live();
  const socket = world.last;
  client.stop();
  expect(socket.closed).toBe(true);
  socket.says({ events: [record(11)] });
  await world.pass(60_000);
  expect([heard.offsets, world.sockets.length, client.phase.is]).toEqual([[], 1, 'stopped']);
});

test('what makes no sense is counted and harms nothing', async () => {
  const { world, heard, client } = await live();
  world.last.onmessage?.({ data: '{' });
  world.last.onmessage?.({ data: new ArrayBuffer(1) });
  world.last.says({ surprise: 1 });
  world.last.says({ events: [record(11)] });
  expect(client.account.unreadable).toBe(3);
  expect(heard.offsets).toEqual([11]);
});
