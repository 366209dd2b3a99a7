import { expect, test } from 'vitest';
import { decode, quantile } from './hdr';

// Forty durations of sessions in microseconds, as a run of the storm wrote them.
const WRITTEN = 'HISTFAAAACZ4nJNpmSzMwMDAxgABzFCaEURcm7yEwf4DRODkOUY2DSUAdjIGdQ==';

test('a histogram that Squall wrote is read', async () => {
  const histogram = await decode(WRITTEN);
  expect(histogram.count).toBe(40);
  expect([0.5, 0.9, 0.99, 1].map((it) => quantile(histogram, it))).toEqual([4_012_031, 4_013_043, 4_013_043, 4_013_043].map(nearest));
});

/** Three digits: above 2,048 a bucket is as wide as its power of two, and its highest value stands for it. */
function nearest(value: number): number {
  const width = 2 ** Math.max(0, Math.floor(Math.log2(value)) - 10);
  return Math.floor(value / width) * width + width - 1;
}

test('what is none is refused', async () => {
  await expect(decode('aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ=')).rejects.toThrow('not a compressed HDR histogram');
});
