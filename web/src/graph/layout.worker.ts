// ForceAtlas2, a few steps at a time: between two slices it hears whether something else is wanted.

import iterate from 'graphology-layout-forceatlas2/iterate';
import { SETTINGS } from './layout';
import { type Answer, type Ask, edgeMatrix, nodeMatrix, positionsOf } from './matrix';

/** Steps of one slice, and how often the page is told, in milliseconds. */
const SLICE = 8;
const TELL_MS = 50;

let current = 0;

self.onmessage = ({ data }: MessageEvent<Ask>) => {
  current = data.run;
  const nodes = nodeMatrix(data.positions, data.edges);
  const edges = edgeMatrix(data.edges);
  const settings = { ...SETTINGS, barnesHutOptimize: data.positions.length > 2 * 400 };
  let left = data.iterations;
  let told = performance.now();
  const slice = () => {
    if (current !== data.run) return;
    const steps = Math.min(SLICE, left);
    for (let step = 0; step < steps; step += 1) iterate(settings, nodes, edges);
    left -= steps;
    if (left === 0 || performance.now() - told > TELL_MS) {
      told = performance.now();
      const answer: Answer = { run: data.run, positions: positionsOf(nodes), done: left === 0 };
      self.postMessage(answer, { transfer: [answer.positions.buffer] });
    }
    if (left > 0) setTimeout(slice, 0);
  };
  slice();
};
