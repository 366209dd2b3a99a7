// What a run leaves behind, as far as the console shows it: run.json (docs/guide/run.schema.json) and the lines of
// series.jsonl (docs/guide/series.schema.json). A field without an answer is absent, never zero.

export type Unit = 'milliseconds' | 'bytes' | 'count' | 'ratio';

export type Verdict =
  | 'passed'
  | 'loss'
  | 'experiment_failed'
  | 'threshold_failed'
  | 'could_not_run'
  | 'invalid'
  | 'unsettled'
  | 'interrupted';

/** A trend's values are in `unit`; a metric without `tags` is the sum of those with. */
export interface Metric {
  name: string;
  tags?: Record<string, string>;
  unit: Unit;
  kind: 'counter' | 'gauge' | 'rate' | 'trend';
  count?: number;
  per_s?: number;
  rate?: number;
  value?: number;
  avg?: number;
  min?: number;
  max?: number;
  p50?: number;
  p90?: number;
  p95?: number;
  p99?: number;
  p999?: number;
  hdr?: string;
}

export interface Ledger {
  settled: boolean;
  published: number;
  acknowledged: number;
  refused: number;
  unknown: number;
  delivered: number;
  acked: number;
  lost: number;
  pending: number;
  recovered: number;
  duplicated: { explained: number; unexplained: number };
  reordered: number;
  unexpected: number;
  dead_lettered: number;
  findings?: { class: string; task: string; lane?: string; detail: string }[];
  findings_omitted: number;
}

export interface Threshold {
  selector: string;
  expression: string;
  unit: Unit;
  measured: number | null;
  passed: boolean;
  reason?: string;
}

/** Moments are milliseconds since the start of the load. */
export interface Fault {
  name: string;
  kind: string;
  at_ms: number;
  until_ms?: number;
  recovered_ms?: number;
  detected_ms?: number;
  detail?: string;
  struck?: { connections: number; bytes: number };
}

export interface RunRecord {
  schema: number;
  id: string;
  squall_version: string;
  scenario: { name: string; description?: string; source?: string; overrides?: Record<string, string>; resolved?: unknown };
  /** As text: it has up to twenty digits. */
  seed: string;
  started_at: string;
  finished_at?: string;
  duration: { configured_ms: number; load_ms: number; settle_ms: number; total_ms: number };
  ended: { how: string; message?: string };
  invalid?: string[];
  notes?: string[];
  verdict?: Verdict;
  machine: { cores: number; memory_bytes: number; kernel?: string; cpu_model?: string; shared_with_target: boolean };
  target: { url: string; own: boolean; version?: string; store?: string; durability?: string; may_lose?: string; restarts: number };
  generator: { cores: number; dropped_iterations: number; lateness_p99_ms?: number };
  metrics?: Metric[];
  thresholds?: Threshold[];
  ledger?: Ledger;
  feed?: { events: number; gaps: number; repeats: number; conflicts: number; shortfall?: number };
  sessions?: { created: number; refused: number; by_outcome: Record<string, number>; peak_active: number };
  faults?: Fault[];
  health?: { at_ms: number; gateway: number; status: string; lost?: string[] }[];
  experiment?: {
    hypothesis: string;
    passed: boolean;
    expectations: { what: string; found: string; held: boolean }[];
    phases: { phase: string; seconds: number; steady_seconds: number; requests_per_s: number; failed_ratio?: number; latency_p99_ms?: number }[];
  };
  errors?: Record<string, number>;
}

interface ProcessSample {
  cpu_percent: number;
  rss_bytes: number;
}

/** One second of a run; `t_ms` is its end, `span_ms` how long it really was. */
export interface Second {
  t_ms: number;
  span_ms: number;
  counters?: Record<string, number>;
  gauges?: Record<string, number>;
  trends?: Record<string, { count: number; p50: number; p90: number; p99: number; max: number }>;
  depths?: { lane: string; priority: string; ready: number; delayed: number; leased: number }[];
  sessions?: Record<string, number>;
  errors?: Record<string, number>;
  target?: ProcessSample;
  gateways?: Record<string, ProcessSample>;
  storm?: ProcessSample;
  health?: string;
}

/** The whole metric, not one of its tag sets. */
export function metric(record: RunRecord, name: string): Metric | undefined {
  return record.metrics?.find((it) => it.name === name && Object.keys(it.tags ?? {}).length === 0);
}
