import iterate from 'graphology-layout-forceatlas2/iterate';
import { expect, test } from 'vitest';
import { SETTINGS } from './layout';
import { edgeMatrix, nodeMatrix, positionsOf, startOf } from './matrix';

test('the arrays are what a step of the layout takes', () => {
  const positions = new Float32Array([0, 0, 10, 0, 10, 10, 200, 200]);
  const edges = new Uint32Array([0, 1, 1, 2]);
  const nodes = nodeMatrix(positions, edges);
  expect([...positionsOf(nodes)]).toEqual([...positions]);
  expect([6, 16, 26, 36].map((at) => nodes[at])).toEqual([2, 3, 2, 1]);
  for (let step = 0; step < 50; step += 1) iterate({ ...SETTINGS, barnesHutOptimize: false }, nodes, edgeMatrix(edges));
  expect(positionsOf(nodes).every(Number.isFinite)).toBe(true);
  expect([...positionsOf(nodes)]).not.toEqual([...positions]);
});

test('a node begins where it began the last time, near those of its file', () => {
  expect(startOf('a', 'x.rs')).toEqual(startOf('a', 'x.rs'));
  const [ax, ay] = startOf('a', 'x.rs');
  const [bx, by] = startOf('b', 'x.rs');
  expect(Math.hypot(ax - bx, ay - by)).toBeLessThan(28);
});
