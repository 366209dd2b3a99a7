// The symbol graph's size and its analysis, as the feed tells them. The gateway is asked at the beginning, at the end of
// an analysis and whenever events are missing: the feed alone is right only for whoever saw all of it.

import { defineStore } from 'pinia';
import { computed, ref, shallowRef } from 'vue';
import { ApiError, saying } from '../api/client';
import { cancelAnalysis, graphStats, reanalyze as askReanalyze } from '../api/endpoints';
import type { GraphStats, Run } from '../api/graph';
import type { FeedRecord } from '../events/follower';
import { type Frame, useFeed } from './feed';

/** An analysis as the page shows it. */
export interface Progress {
  readonly run_id: string;
  readonly status: Run['status'];
  readonly percentage: number;
  readonly message: string;
  /** Why it failed. */
  readonly error: string | undefined;
  readonly from_scratch: boolean;
  readonly files_done: number | undefined;
  readonly files_total: number | undefined;
  readonly duration_ms: number | undefined;
  /** When it was last heard of, RFC 3339. */
  readonly at: string;
}

/** Asking again while an analysis goes on, in case its end was missed; in milliseconds. */
const AGAIN_MS = 3_000;

export const useAnalysis = defineStore('analysis', () => {
  const feed = useFeed();
  /** Undefined until the gateway said whether it has a graph. */
  const available = ref<boolean | undefined>();
  const stats = shallowRef<GraphStats | undefined>();
  const nodes = ref(0);
  const relationships = ref(0);
  const progress = shallowRef<Progress | undefined>();
  const error = ref<string | undefined>();
  let again: number | undefined;
  /** The last answer was behind the feed. */
  let behind = false;

  const running = computed(() => progress.value?.status === 'running');

  async function refresh(): Promise<void> {
    try {
      const answer = await graphStats();
      available.value = true;
      stats.value = answer;
      nodes.value = answer.total_nodes;
      relationships.value = answer.total_relationships;
      // The end of an analysis is told a moment before the gateway answers with it. Whoever says so twice is right.
      behind = !behind && answer.last_run != null && isBefore(answer.last_run, progress.value);
      if (answer.last_run && !behind) progress.value = fromRun(answer.last_run, progress.value);
    } catch (it) {
      if (it instanceof ApiError && it.notFound) available.value = false;
    }
    schedule();
  }

  function schedule(): void {
    window.clearTimeout(again);
    if (running.value || behind) again = window.setTimeout(() => void refresh(), AGAIN_MS);
  }

  feed.onFrame(({ records, broken }: Frame) => {
    let ask = broken && available.value !== false;
    for (const record of records) {
      if (record.topic === 'graph') ask = apply(record) || ask;
    }
    if (ask) void refresh();
  });

  /** True when the gateway has to be asked what holds now. */
  function apply({ event_type, data, time }: FeedRecord): boolean {
    available.value = true;
    switch (event_type) {
      case 'node_added':
        nodes.value += 1;
        return false;
      case 'node_deleted':
        nodes.value = Math.max(0, nodes.value - 1);
        return false;
      case 'relationship_added':
        relationships.value += 1;
        return false;
      case 'relationship_deleted':
        relationships.value = Math.max(0, relationships.value - 1);
        return false;
      case 'graph_reset':
        nodes.value = 0;
        relationships.value = 0;
        return false;
      case 'analysis_started':
        progress.value = {
          run_id: String(data.run_id),
          status: 'running',
          percentage: 0,
          message: 'starting',
          error: undefined,
          from_scratch: data.from_scratch === true,
          files_done: 0,
          files_total: optional(data.files_total),
          duration_ms: undefined,
          at: time,
        };
        schedule();
        return false;
      case 'analysis_progress':
        progress.value = {
          run_id: String(data.run_id),
          status: 'running',
          percentage: clamped(Number(data.percentage)),
          message: String(data.message ?? ''),
          error: undefined,
          from_scratch: progress.value?.from_scratch ?? false,
          files_done: optional(data.files_done),
          files_total: optional(data.files_total),
          duration_ms: undefined,
          at: time,
        };
        return false;
      case 'analysis_completed':
        progress.value = {
          run_id: String(data.run_id),
          status: data.status as Run['status'],
          percentage: data.status === 'completed' ? 100 : (progress.value?.percentage ?? 0),
          message: '',
          error: typeof data.error === 'string' ? data.error : undefined,
          from_scratch: progress.value?.from_scratch ?? false,
          files_done: optional(data.files),
          files_total: optional(data.files),
          duration_ms: optional(data.duration_ms),
          at: time,
        };
        return true;
      default:
        return false;
    }
  }

  /** Reads the tree again; `force`: from scratch. */
  async function reanalyze(force: boolean): Promise<void> {
    await act(() => askReanalyze(force));
  }

  async function cancel(): Promise<void> {
    await act(cancelAnalysis);
  }

  async function act(what: () => Promise<Run>): Promise<void> {
    error.value = undefined;
    try {
      const run = await what();
      // The feed may have told more by now.
      if (progress.value?.run_id !== run.run_id) progress.value = fromRun(run, progress.value);
      schedule();
    } catch (it) {
      error.value = saying(it);
    }
  }

  return { available, stats, nodes, relationships, progress, running, error, refresh, reanalyze, cancel };
});

/** Is it an analysis before the one that is known? Their names are UUIDs of version 7, which begin with the time. */
function isBefore(run: Run, known: Progress | undefined): boolean {
  return known !== undefined && run.run_id < known.run_id;
}

function fromRun(run: Run, known: Progress | undefined): Progress {
  const ended = run.status !== 'running';
  // An answer may be older than an event that overtook it: progress of a run never goes back.
  const before = known?.run_id === run.run_id ? known : undefined;
  if (before !== undefined && before.status !== 'running' && !ended) return before;
  const ended_at = new Date(Date.parse(run.started_at) + run.elapsed_seconds * 1_000).toISOString();
  return {
    run_id: run.run_id,
    status: run.status,
    percentage: run.status === 'completed' ? 100 : Math.max(clamped(run.percentage), before?.percentage ?? 0),
    message: ended ? '' : run.message,
    error: run.error ?? before?.error,
    from_scratch: run.from_scratch,
    files_done: run.files_done,
    files_total: run.files_total,
    duration_ms: ended ? run.elapsed_seconds * 1_000 : undefined,
    at: ended_at,
  };
}

function clamped(percentage: number): number {
  return Number.isFinite(percentage) ? Math.min(100, Math.max(0, percentage)) : 0;
}

function optional(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}
