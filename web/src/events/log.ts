// What the event log shows of a record, and which records it shows.

import { bytes, duration, tail, words } from '../lib/format';
import type { FeedRecord, Place } from './follower';

export interface Filter {
  /** Empty: every topic. */
  readonly topics: readonly string[];
  /** Empty: every type. */
  readonly type: string;
  /** Words that must all be somewhere in the record. */
  readonly search: string;
  /** What was cleared: everything up to here. */
  readonly after: Place | undefined;
}

/** The filter as a function. */
export function matcher({ topics, type, search, after }: Filter): (record: FeedRecord) => boolean {
  const needles = search.toLowerCase().split(/\s+/).filter((it) => it !== '');
  return (record) => {
    if (after !== undefined && record.epoch === after.epoch && record.offset <= after.offset) return false;
    if (topics.length > 0 && !topics.includes(record.topic)) return false;
    if (type !== '' && record.event_type !== type) return false;
    if (needles.length === 0) return true;
    const text = `${record.event_type} ${words(record.event_type)} ${record.entity_id} ${record.offset} ${JSON.stringify(record.data)}`.toLowerCase();
    return needles.every((needle) => text.includes(needle));
  };
}

/** Good, bad, or neither: the name of a class. */
export function toneOf({ event_type, data }: FeedRecord): string {
  if (event_type === 'analysis_completed' && data.status !== 'completed') return data.status === 'failed' ? 'bad' : 'warn';
  if (/dead_letter|failed|timed_out|deleted|expired|refused|reset/.test(event_type)) return 'bad';
  if (/retr|paused|nack|cancelled|released|progress/.test(event_type)) return 'warn';
  if (/done|completed|added|resumed|replayed|acked/.test(event_type)) return 'good';
  return '';
}

/** Fields that say most, in this order; the rest follows as it comes. */
const FIRST = ['message', 'qualified_name', 'lane', 'kind', 'priority', 'attempt', 'reason', 'detail', 'status', 'error', 'state', 'percentage', 'path', 'session'];
const LEFT_OUT = new Set(['id', 'run_id', 'due_at', 'lease_expires_at', 'name', 'start_column', 'end_column', 'end_line']);

/** The data of a record in one line. */
export function summary({ data }: FeedRecord): string {
  const parts: string[] = [];
  const seen = new Set<string>();
  for (const name of [...FIRST, ...Object.keys(data)]) {
    const value = data[name];
    if (seen.has(name) || LEFT_OUT.has(name) || value === undefined || value === null || value === '') continue;
    seen.add(name);
    parts.push(part(name, value));
    if (parts.length === 7) break;
  }
  return parts.join(' · ');
}

function part(name: string, value: unknown): string {
  switch (name) {
    case 'lane':
    case 'kind':
    case 'priority':
    case 'message':
    case 'reason':
    case 'detail':
    case 'qualified_name':
    case 'path':
    case 'status':
    case 'state':
      return typeof value === 'string' ? value : `${words(name)} ${JSON.stringify(value)}`;
    case 'session':
      return `session ${tail(String(value))}`;
    case 'percentage':
      return `${Math.round(Number(value))} %`;
    default:
      if (typeof value === 'number' && name.endsWith('_ms')) return `${words(name.slice(0, -3))} ${duration(value)}`;
      if (typeof value === 'number' && name.endsWith('_bytes')) return `${words(name.slice(0, -6))} ${bytes(value)}`;
      return `${words(name)} ${typeof value === 'string' ? value : JSON.stringify(value)}`;
  }
}
