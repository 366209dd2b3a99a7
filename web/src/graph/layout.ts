// Lays a graph out in a worker, so that the page stays responsive; each layout ends after a bounded number of steps.

import type { Settings } from 'graphology-layout-forceatlas2/iterate';
import type { Answer, Ask } from './matrix';

export const SETTINGS: Settings = {
  linLogMode: false,
  outboundAttractionDistribution: false,
  adjustSizes: false,
  edgeWeightInfluence: 1,
  scalingRatio: 24,
  // Parts that are not connected stay near: they would push the rest out of sight.
  strongGravityMode: true,
  gravity: 0.12,
  slowDown: 6,
  barnesHutOptimize: true,
  barnesHutTheta: 0.6,
};

/** Steps for a graph of so many nodes: large ones are seen from afar, and cost more. */
export function stepsFor(nodes: number): number {
  return nodes < 200 ? 500 : nodes < 800 ? 320 : 180;
}

/** One worker; a new layout ends the one before. */
export class Layout {
  private worker: Worker | undefined;
  private run = 0;

  constructor(private readonly moved: (positions: Float32Array, done: boolean) => void) {}

  start(positions: Float32Array, edges: Uint32Array, iterations: number): void {
    this.worker ??= this.made();
    this.run += 1;
    const ask: Ask = { run: this.run, positions, edges, iterations };
    this.worker.postMessage(ask);
  }

  /** What is on its way is of no interest any more. */
  cancel(): void {
    this.run += 1;
  }

  stop(): void {
    this.worker?.terminate();
    this.worker = undefined;
  }

  private made(): Worker {
    const worker = new Worker(new URL('./layout.worker.ts', import.meta.url), { type: 'module' });
    worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      if (data.run === this.run) this.moved(data.positions, data.done);
    };
    return worker;
  }
}
