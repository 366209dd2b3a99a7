// The kinds of symbols, and how they look.

/** Kind to the design token of its colour; kinds that are alike share one. */
const COLOURS: Record<string, string> = {
  module: 'c5',
  class: 'c0',
  struct: 'c0',
  enum: 'c4',
  type_alias: 'c4',
  interface: 'c1',
  trait: 'c1',
  function: 'c2',
  method: 'c6',
  macro: 'c3',
  constant: 'c7',
  variable: 'c7',
  field: 'c7',
  import: 'c7',
};

export function colourOf(kind: string): string {
  return COLOURS[kind] ?? 'c7';
}

/** The order of a legend: the larger things first. */
export const KINDS = Object.keys(COLOURS);
