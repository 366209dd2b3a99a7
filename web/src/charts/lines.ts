// What a chart is given, and the arithmetic of drawing it.

/** A line; `colour` is a design token, `strength` its opacity from 0 to 1. */
export interface Line {
  readonly name: string;
  readonly colour: string;
  readonly values: readonly (number | null)[];
  readonly strength?: number;
  readonly dash?: boolean;
  /** Without a fill below. */
  readonly bare?: boolean;
}

/** A stretch of time in which something was done to the target; in the unit of x. */
export interface Band {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  /** When things were well again. */
  readonly recovered?: number;
}

/** Each line on top of those before it; a position without any value stays empty. */
export function stacked(lines: readonly (readonly (number | null)[])[]): (number | null)[][] {
  const sums: (number | null)[] = [];
  return lines.map((line) =>
    line.map((value, index) => {
      const below = sums[index] ?? null;
      const sum = value === null && below === null ? null : (value ?? 0) + (below ?? 0);
      sums[index] = sum;
      return sum;
    }),
  );
}

/** Distances of marks: of bytes (powers of two), of things that are counted, and of milliseconds. */
export type Marks = 'bytes' | 'whole' | 'time';

const decimal = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((it) => it * 10 ** power)).flat();

export const MARKS: Record<Marks, number[]> = {
  bytes: Array.from({ length: 50 }, (_, power) => 2 ** power),
  whole: decimal,
  time: [...decimal.filter((it) => it < 1_000), ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 86_400, 864_000].map((it) => it * 1_000)],
};

const STEPS = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400];

/** Marks of an axis of seconds, at most `most` of them, at round times. */
export function timeSplits(from: number, to: number, most: number): number[] {
  const step = STEPS.find((it) => (to - from) / it <= most) ?? 86_400 * Math.ceil((to - from) / 86_400 / most);
  const marks: number[] = [];
  for (let mark = Math.ceil(from / step) * step; mark <= to; mark += step) marks.push(mark);
  return marks;
}

/** Powers of ten from one to another, both included, at most seven of them. */
export function decades(from: number, to: number): number[] {
  const low = Math.round(Math.log10(from));
  const high = Math.round(Math.log10(to));
  const step = Math.ceil((high - low + 1) / 7);
  return Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, index) => 10 ** (low + index * step));
}
