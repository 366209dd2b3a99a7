// The graph as ForceAtlas2 wants it: ten numbers per node, three per edge.

export const PER_NODE = 10;
export const PER_EDGE = 3;
const X = 0;
const Y = 1;
const MASS = 6;
const CONVERGENCE = 7;
const SIZE = 8;

/** What a layout is asked for. `positions` is x and y of each node; `edges` is source and target, as indices. */
export interface Ask {
  readonly run: number;
  readonly positions: Float32Array;
  readonly edges: Uint32Array;
  /** The bound: a layout always ends. */
  readonly iterations: number;
}

/** What a layout answers, several times; `done` with the last. */
export interface Answer {
  readonly run: number;
  readonly positions: Float32Array;
  readonly done: boolean;
}

export function nodeMatrix(positions: Float32Array, edges: Uint32Array): Float32Array {
  const nodes = positions.length / 2;
  const matrix = new Float32Array(nodes * PER_NODE);
  for (let node = 0; node < nodes; node += 1) {
    const at = node * PER_NODE;
    matrix[at + X] = positions[node * 2] as number;
    matrix[at + Y] = positions[node * 2 + 1] as number;
    matrix[at + MASS] = 1;
    matrix[at + CONVERGENCE] = 1;
    matrix[at + SIZE] = 1;
  }
  // The mass of a node is its degree, and one.
  for (const node of edges) matrix[node * PER_NODE + MASS]! += 1;
  return matrix;
}

export function edgeMatrix(edges: Uint32Array): Float32Array {
  const matrix = new Float32Array((edges.length / 2) * PER_EDGE);
  for (let edge = 0; edge < edges.length / 2; edge += 1) {
    matrix[edge * PER_EDGE] = (edges[edge * 2] as number) * PER_NODE;
    matrix[edge * PER_EDGE + 1] = (edges[edge * 2 + 1] as number) * PER_NODE;
    matrix[edge * PER_EDGE + 2] = 1;
  }
  return matrix;
}

export function positionsOf(matrix: Float32Array): Float32Array {
  const nodes = matrix.length / PER_NODE;
  const positions = new Float32Array(nodes * 2);
  for (let node = 0; node < nodes; node += 1) {
    positions[node * 2] = matrix[node * PER_NODE + X] as number;
    positions[node * 2 + 1] = matrix[node * PER_NODE + Y] as number;
  }
  return positions;
}

/** Where a node begins: nodes of one file near each other, and the same each time. */
export function startOf(id: string, path: string): [number, number] {
  const around = fraction(path) * 2 * Math.PI;
  const out = 60 + 40 * fraction(`${path}!`);
  const turn = fraction(id) * 2 * Math.PI;
  const near = 2 + 12 * fraction(`${id}!`);
  return [Math.cos(around) * out + Math.cos(turn) * near, Math.sin(around) * out + Math.sin(turn) * near];
}

/** FNV-1a, as a fraction of one. */
function fraction(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return ((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32;
}
