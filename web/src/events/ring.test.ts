import { expect, test } from 'vitest';
import { Ring } from './ring';

test('the oldest go first, and sequence numbers stay', () => {
  const ring = new Ring<string>(3);
  for (const item of ['a', 'b', 'c', 'd', 'e']) ring.push(item);
  expect([ring.start, ring.end, ring.size]).toEqual([2, 5, 3]);
  expect([ring.at(1), ring.at(2), ring.at(4), ring.at(5)]).toEqual([undefined, 'c', 'e', undefined]);
});

test('what was cleared is not there, and what comes later has later numbers', () => {
  const ring = new Ring<string>(3);
  ring.push('a');
  ring.push('b');
  ring.clear();
  expect([ring.start, ring.end, ring.size, ring.at(1)]).toEqual([2, 2, 0, undefined]);
  ring.push('c');
  expect([ring.start, ring.end, ring.at(2)]).toEqual([2, 3, 'c']);
});

test('a ring without room is refused', () => {
  expect(() => new Ring(0)).toThrow(RangeError);
});
