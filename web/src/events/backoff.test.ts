import { expect, test } from 'vitest';
import { waitBefore } from './backoff';

test('each wait is twice the one before, up to the longest', () => {
  const longest = [1, 2, 3, 6, 7, 8, 40].map((attempt) => waitBefore(attempt, 1));
  expect(longest).toEqual([250, 500, 1000, 8000, 15_000, 15_000, 15_000]);
});

test('jitter takes at most half of it', () => {
  expect([waitBefore(3, 0), waitBefore(3, 0.5), waitBefore(3, 0.999999)]).toEqual([500, 750, 1000]);
});
