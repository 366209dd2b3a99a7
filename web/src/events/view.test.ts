import { expect, test } from 'vitest';
import { Ring } from './ring';
import { View } from './view';

const even = (n: number) => n % 2 === 0;

function filled(capacity: number, upTo: number): Ring<number> {
  const ring = new Ring<number>(capacity);
  for (let n = 1; n <= upTo; n += 1) ring.push(n);
  return ring;
}

test('the newest is first, and only what matches is there', () => {
  const ring = filled(10, 5);
  const view = new View(ring, even);
  expect(view.toArray()).toEqual([4, 2]);
  ring.push(6);
  ring.push(7);
  expect(view.toArray()).toEqual([4, 2]);
  expect(view.update()).toBe(1);
  expect(view.toArray()).toEqual([6, 4, 2]);
});

test('what leaves the ring leaves the view', () => {
  const ring = filled(4, 4);
  const view = new View(ring, even);
  for (let n = 5; n <= 7; n += 1) ring.push(n);
  view.update();
  expect(view.toArray()).toEqual([6, 4]);
});

test('more than the ring holds between two looks is no harm', () => {
  const ring = filled(4, 2);
  const view = new View(ring);
  for (let n = 3; n <= 50; n += 1) ring.push(n);
  expect(view.update()).toBe(4);
  expect(view.toArray()).toEqual([50, 49, 48, 47]);
});

test('what was cleared does not come back, whatever the filter', () => {
  const ring = filled(10, 5);
  const view = new View(ring);
  view.clear();
  expect(view.toArray()).toEqual([]);
  view.filter(even);
  expect(view.toArray()).toEqual([]);
  ring.push(6);
  view.update();
  view.filter(() => true);
  expect(view.toArray()).toEqual([6]);
});

test('a long life does not grow the view', () => {
  const ring = new Ring<number>(100);
  const view = new View(ring);
  for (let n = 0; n < 10_000; n += 1) {
    ring.push(n);
    view.update();
  }
  expect(view.size).toBe(100);
  expect((view as unknown as { matches: number[] }).matches.length).toBeLessThanOrEqual(300);
});
