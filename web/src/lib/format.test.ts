import { expect, test } from 'vitest';
import { ago, bytes, count, duration, many, percent, short, tail } from './format';

const check = <T>(format: (value: T) => string, rows: [T, string][]) => {
  for (const [value, text] of rows) expect(format(value), String(value)).toBe(text);
};

test('counts have thousands', () => check(count, [[0, '0'], [999, '999'], [1234567, '1,234,567'], [-1234, '-1,234']]));
test('short numbers have three digits', () =>
  check(short, [[0, '0'], [0.5, '0.5'], [12.34, '12.3'], [999, '999'], [9999, '9,999'], [12345, '12.3k'], [100000, '100k'], [4560000, '4.56M']]));
test('durations have one or two units', () =>
  check(duration, [[0, '0 s'], [0.42, '0.42 ms'], [17, '17 ms'], [1400, '1.4 s'], [2000, '2 s'], [59_600, '60 s'], [200_000, '3 min 20 s'], [7_500_000, '2 h 5 min'], [273_600_000, '3 d 4 h']]));
test('sizes are powers of 1024', () => check(bytes, [[512, '512 B'], [1536, '1.5 KiB'], [1048576, '1 MiB']]));
test('shares are percent', () => check(percent, [[0.5, '50 %'], [0.01234, '1.23 %'], [1, '100 %']]));
test('what is past and what is to come', () => {
  const now = Date.parse('2026-01-01T00:10:00Z');
  check((time: string) => ago(time, now), [
    ['2026-01-01T00:10:00Z', 'just now'],
    ['2026-01-01T00:09:48Z', '12 s ago'],
    ['2026-01-01T00:13:00Z', 'in 3 min'],
    ['2025-12-30T00:00:00Z', '2 d ago'],
  ]);
});
test('an id shows its end', () => check(tail, [['01a219aa-f65d-754a-9c9e-a87e635efc3f', '…635efc3f'], ['short', 'short']]));
test('one and many', () => expect([many(1, 'task'), many(2000, 'task'), many(0, 'reply', 'replies')]).toEqual(['1 task', '2,000 tasks', '0 replies']));
