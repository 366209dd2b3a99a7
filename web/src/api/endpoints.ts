// What the console asks of a gateway, one function per question.

import { type Options, request, send } from './client';
import type { GraphStats, NodeView, Query, Run, Subgraph, SymbolNode } from './graph';
import type { DeadLetter, DeadReason, FeedPage, Handled, LaneView, Page, RunView, SessionView, Stats } from './types';

const id = encodeURIComponent;

export const stats = (options?: Options) => request<Stats>('GET', '/v1/metrics', options);

export const pauseLane = (lane: string, for_ms?: number) =>
  request<LaneView>('POST', `/v1/lanes/${id(lane)}/pause`, { body: for_ms === undefined ? {} : { for_ms } });
export const resumeLane = (lane: string) => request<LaneView>('POST', `/v1/lanes/${id(lane)}/resume`);

/** Which dead letters; what is empty does not restrict. */
export interface DeadLetterQuery {
  lane?: string;
  kind?: string;
  reason?: DeadReason | '';
  cursor?: string;
  limit?: number;
  payload?: boolean;
}
export const deadLetters = (query: DeadLetterQuery) =>
  request<Page<DeadLetter>>('GET', '/v1/dead-letters', { query: { ...query } });
export const deadLetter = (letter: string) => request<DeadLetter>('GET', `/v1/dead-letters/${id(letter)}`);
export const replayDeadLetter = (letter: string) => request<Handled>('POST', `/v1/dead-letters/${id(letter)}/replay`);
export const purgeDeadLetter = (letter: string) => request<Handled>('DELETE', `/v1/dead-letters/${id(letter)}`);

export const sessions = (query: { state?: string; cursor?: string; limit?: number }) =>
  request<Page<SessionView>>('GET', '/v1/sessions', { query });
export const session = (name: string) => request<SessionView>('GET', `/v1/sessions/${id(name)}`);

export const events = (query: { after?: string; limit?: number; topics?: string }, signal?: AbortSignal) =>
  request<FeedPage>('GET', '/v1/events', signal === undefined ? { query } : { query, signal });

export const graphStats = () => request<GraphStats>('GET', '/api/graph/stats');
export const searchNodes = (
  query: { q?: string; kind?: string; language?: string; limit?: number; cursor?: string },
  signal?: AbortSignal,
) => request<Page<SymbolNode>>('GET', '/api/graph/nodes/search', signal === undefined ? { query } : { query, signal });
export const node = (name: string) => request<NodeView>('GET', `/api/graph/nodes/${id(name)}`);
export const query = (what: 'callers' | 'callees' | 'references', symbol: string, limit = 100) =>
  request<Page<Query>>('GET', `/api/graph/query/${what}`, { query: { symbol, limit } });
export const subgraph = (ask: { node?: string; depth?: number; limit?: number; kinds?: string }) =>
  request<Subgraph>('GET', '/api/graph/subgraph', { query: ask, timeout_ms: 30_000 });
export const reanalyze = (force: boolean) =>
  request<Run>('POST', '/api/graph/admin/reanalyze', { query: force ? { force: true } : {} });
export const cancelAnalysis = () => request<Run>('DELETE', '/api/graph/admin/reanalyze');

export const runs = (query: { scenario?: string; cursor?: string; limit?: number }, options?: Options) =>
  request<Page<RunView>>('GET', '/v1/runs', { ...options, query });
/** A seed has more digits than a number of JavaScript: it stays text. */
export const run = async (name: string) => {
  const text = await (await send('GET', `/v1/runs/${id(name)}`)).text();
  return JSON.parse(text.replace(/("seed"\s*:\s*)(\d+)/g, '$1"$2"')) as RunView;
};
export const series = (name: string) =>
  request<{ items: unknown[] }>('GET', `/v1/runs/${id(name)}/series`, { timeout_ms: 60_000 });
export const reportPath = (name: string) => `/v1/runs/${id(name)}/report`;
export const report = async (name: string) => (await send('GET', reportPath(name))).blob();
