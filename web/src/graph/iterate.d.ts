// One step of ForceAtlas2 on plain arrays; the package has no types for it.
declare module 'graphology-layout-forceatlas2/iterate' {
  export interface Settings {
    linLogMode: boolean;
    outboundAttractionDistribution: boolean;
    adjustSizes: boolean;
    edgeWeightInfluence: number;
    scalingRatio: number;
    strongGravityMode: boolean;
    gravity: number;
    slowDown: number;
    barnesHutOptimize: boolean;
    barnesHutTheta: number;
  }
  export default function iterate(settings: Settings, nodes: Float32Array, edges: Float32Array): unknown;
}
