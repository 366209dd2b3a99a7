// The symbol graph on the wire.

/** A symbol. Lines and columns count from 1; `complexity` is the cyclomatic one, of functions and methods only. */
export interface SymbolNode {
  id: string;
  kind: string;
  name: string;
  qualified_name: string;
  path: string;
  language: string;
  start_line: number;
  start_column: number;
  end_line: number;
  end_column: number;
  complexity?: number | null;
  visibility?: string | null;
  signature?: string | null;
}

/** From one symbol to another. `confidence` is 0 to 1. */
export interface Relationship {
  id: string;
  kind: string;
  source: string;
  target: string;
  confidence: number;
  path: string;
  line: number;
}

/** An analysis of the source tree. */
export interface Run {
  run_id: string;
  status: 'running' | 'completed' | 'cancelled' | 'failed';
  from_scratch: boolean;
  started_at: string;
  elapsed_seconds: number;
  percentage: number;
  message: string;
  files_done: number;
  files_total: number;
  total_nodes: number;
  total_relationships: number;
  error?: string | null;
}

export interface GraphStats {
  root: string;
  status: 'idle' | 'analysing' | 'waiting';
  total_nodes: number;
  total_relationships: number;
  node_kinds: Record<string, number>;
  relationship_kinds: Record<string, number>;
  languages: Record<string, number>;
  files: number;
  skipped_files: number;
  last_run?: Run | null;
  unresolved: number;
}

/** A node with what goes out of it and what comes in; at most 500 of each. */
export interface NodeView {
  node: SymbolNode;
  outgoing: Relationship[];
  incoming: Relationship[];
  contained?: SymbolNode[];
  truncated: boolean;
}

export interface Query {
  node: SymbolNode;
  relationship: Relationship;
}

export interface Subgraph {
  nodes: SymbolNode[];
  relationships: Relationship[];
  truncated: boolean;
}
