import { expect, test } from 'vitest';
import { type FeedRecord, Follower, type Sight, written } from './follower';

const record = (offset: number, epoch = 'a'): FeedRecord => ({
  epoch,
  offset,
  event_id: `${offset}`,
  time: '2026-01-01T00:00:00.000Z',
  topic: 'tasks',
  event_type: 'task_published',
  entity_type: 'task',
  entity_id: '1',
  data: {},
});

const following = (offset: number, sight: Sight = 'all') => new Follower({ epoch: 'a', offset }, sight);

test('each offset is one more than the one before', () => {
  const follower = following(7);
  expect(follower.accept(record(8))).toEqual({ is: 'next' });
  expect(follower.accept(record(9))).toEqual({ is: 'next' });
  expect(written(follower.last!)).toBe('a:9');
});

test('the first record of all may be anywhere', () => {
  const follower = new Follower();
  expect(follower.accept(record(42))).toEqual({ is: 'next' });
  expect(follower.accept(record(43))).toEqual({ is: 'next' });
});

test('a repeat is known, and moves nothing', () => {
  const follower = following(7);
  expect(follower.accept(record(7))).toEqual({ is: 'repeat' });
  expect(follower.accept(record(3))).toEqual({ is: 'repeat' });
  expect(follower.last?.offset).toBe(7);
});

test('a hole is counted, and told once', () => {
  const follower = following(7);
  expect(follower.accept(record(11))).toEqual({ is: 'hole', missing: 3 });
  expect(follower.accept(record(12))).toEqual({ is: 'next' });
});

test.each(['tenant', 'unknown'] as const)('who is not given every event sees no holes, but repeats: %s', (sight) => {
  const follower = following(7, sight);
  expect(follower.accept(record(11))).toEqual({ is: 'next' });
  expect(follower.accept(record(40))).toEqual({ is: 'next' });
  expect(follower.accept(record(12))).toEqual({ is: 'repeat' });
  expect(written(follower.last!)).toBe('a:40');
  expect(follower.accept(record(1, 'b'))).toEqual({ is: 'other_epoch', announced: false });
});

test('an announced gap is no hole, and what is beside it is', () => {
  const follower = following(7);
  expect(follower.announced({ from: 8, to: 100, reason: 'retention' })).toBe(93);
  expect(follower.accept(record(101))).toEqual({ is: 'next' });
  expect(follower.announced({ from: 102, to: 103, reason: 'corrupt' })).toBe(2);
  expect(follower.accept(record(106))).toEqual({ is: 'hole', missing: 2 });
});

test('a gap that begins before our place misses only what we have not seen', () => {
  const follower = following(50);
  expect(follower.announced({ from: 1, to: 60, reason: 'retention' })).toBe(10);
  expect(follower.last?.offset).toBe(60);
});

test('another store that is announced is told apart from one that is not', () => {
  const announced = following(7);
  expect(announced.announced({ from: 8, to: 7, reason: 'epoch' })).toBeUndefined();
  expect(announced.last?.offset).toBe(7);
  expect(announced.accept(record(1, 'b'))).toEqual({ is: 'other_epoch', announced: true });
  expect(announced.accept(record(2, 'b'))).toEqual({ is: 'next' });
  expect(following(7).accept(record(1, 'b'))).toEqual({ is: 'other_epoch', announced: false });
});

test('a feed that ends before our place goes on at its end', () => {
  const follower = following(50);
  expect(follower.announced({ from: 31, to: 50, reason: 'ahead' })).toBeUndefined();
  expect(follower.accept(record(31))).toEqual({ is: 'next' });
});
