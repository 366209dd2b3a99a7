import { expect, test } from 'vitest';
import { decades, stacked, timeSplits } from './lines';

test('lines lie on top of each other, and where there is nothing there is nothing', () => {
  expect(stacked([[1, null, 3], [10, null, null], [100, null, 300]])).toEqual([[1, null, 3], [11, null, 3], [111, null, 303]]);
});

test('marks stand at round times', () => {
  expect(timeSplits(0, 20, 5)).toEqual([0, 5, 10, 15, 20]);
  expect(timeSplits(0, 600, 5)).toEqual([0, 120, 240, 360, 480, 600]);
  expect(timeSplits(0, 86_400 * 30, 4).length).toBeLessThanOrEqual(5);
});

test('a logarithmic axis has its powers of ten', () => {
  expect(decades(1, 1_000)).toEqual([1, 10, 100, 1_000]);
  expect(decades(0.001, 1e6).length).toBeLessThanOrEqual(7);
});
