import { expect, test } from 'vitest';
import type { FeedRecord } from './follower';
import { type Filter, matcher, summary, toneOf } from './log';

const record = (offset: number, topic: string, event_type: string, data: Record<string, unknown> = {}): FeedRecord => ({
  epoch: 'a',
  offset,
  event_id: String(offset),
  time: '2026-01-01T00:00:00.000Z',
  topic,
  event_type,
  entity_type: 'task',
  entity_id: 'ABC-1',
  data,
});
const all = [
  record(1, 'tasks', 'task_published', { lane: 'gpt4', kind: 'greet', payload_bytes: 14 }),
  record(2, 'tasks', 'task_done', { lane: 'crude', duration_ms: 1500 }),
  record(3, 'lanes', 'lane_paused', { reason: 'asked for' }),
  record(4, 'dead_letters', 'task_dead_lettered', { lane: 'gpt4', reason: 'fatal' }),
];
const shown = (filter: Partial<Filter>) =>
  all.filter(matcher({ topics: [], type: '', search: '', after: undefined, ...filter })).map((it) => it.offset);

test('filters say what they say', () => {
  expect(shown({})).toEqual([1, 2, 3, 4]);
  expect(shown({ topics: ['tasks'] })).toEqual([1, 2]);
  expect(shown({ topics: ['tasks', 'lanes'], type: 'lane_paused' })).toEqual([3]);
  expect(shown({ search: 'GPT4' })).toEqual([1, 4]);
  expect(shown({ search: 'gpt4 fatal' })).toEqual([4]);
  expect(shown({ search: 'lane paused' })).toEqual([3]);
  expect(shown({ search: 'abc-1' })).toEqual([1, 2, 3, 4]);
  expect(shown({ after: { epoch: 'a', offset: 2 } })).toEqual([3, 4]);
  expect(shown({ after: { epoch: 'b', offset: 2 } })).toEqual([1, 2, 3, 4]);
});

test('a line says what matters first', () => {
  expect(all.map(summary)).toEqual(['gpt4 · greet · payload 14 B', 'crude · duration 1.5 s', 'asked for', 'gpt4 · fatal']);
  expect(all.map(toneOf)).toEqual(['', 'good', 'warn', 'bad']);
  const ends = ['completed', 'cancelled', 'failed'].map((status) => record(5, 'graph', 'analysis_completed', { files: 3, status, ...(status === 'failed' ? { error: 'no such tree' } : {}) }));
  expect(ends.map(toneOf)).toEqual(['good', 'warn', 'bad']);
  expect(ends.map(summary)[2]).toBe('failed · error no such tree · files 3');
});
