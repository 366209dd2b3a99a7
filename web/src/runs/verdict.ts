// The verdict and its reasons, in the words of report.html (crates/report/src/verdict.rs).

import { bytes, count, duration, many, percent, short } from '../lib/format';
import type { RunRecord, Unit, Verdict } from './record';

/** One or two words, and the name of a class. */
export function headline(verdict: string | null | undefined): { word: string; tone: 'good' | 'bad' | 'warn' | 'muted' } {
  const known: Record<Verdict, [string, 'good' | 'bad' | 'warn']> = {
    passed: ['passed', 'good'],
    loss: ['loss', 'bad'],
    experiment_failed: ['experiment failed', 'bad'],
    threshold_failed: ['threshold failed', 'bad'],
    could_not_run: ['did not finish', 'warn'],
    invalid: ['not valid', 'warn'],
    unsettled: ['not settled', 'warn'],
    interrupted: ['interrupted', 'warn'],
  };
  const found = verdict ? known[verdict as Verdict] : undefined;
  return found ? { word: found[0], tone: found[1] } : { word: verdict ? verdict.replaceAll('_', ' ') : 'not finished', tone: 'muted' };
}

/** A value of a metric with its unit. */
export function amount(value: number, unit: Unit): string {
  switch (unit) {
    case 'milliseconds':
      return duration(value);
    case 'bytes':
      return bytes(value);
    case 'ratio':
      return percent(value);
    case 'count':
      return short(value);
  }
}

/** Why the verdict is what it is; empty when all is well. */
export function reasons(record: RunRecord): string[] {
  const all: string[] = [];
  const { ledger, feed, experiment } = record;
  if (ledger && ledger.lost > 0) all.push(`${many(ledger.lost, 'task')} lost: acknowledged, and gone`);
  if (ledger && ledger.unexpected > 0) all.push(`${many(ledger.unexpected, 'task')} unexpected: delivered, and never published`);
  if (feed) {
    if (feed.gaps > 0) all.push(`${many(feed.gaps, 'event')} of the feed missing, without a word`);
    if (feed.repeats > 0) all.push(`${many(feed.repeats, 'event')} of the feed repeated`);
    if (feed.conflicts > 0) all.push(`${many(feed.conflicts, 'event')} of the feed not the same for all subscribers`);
  }
  if (record.target.may_lose && record.verdict === 'loss') all.push(`the store's setting allows a loss, and it is one all the same: ${record.target.may_lose}`);
  if (record.ended.how === 'unfinished') all.push('the run has no end: it was killed, or is still going');
  if (record.ended.how === 'failed') all.push(`the run broke: ${record.ended.message ?? ''}`);
  for (const it of record.invalid ?? []) all.push(`the numbers are not valid: ${it}`);
  if (ledger && ledger.pending > 0) all.push(`${many(ledger.pending, 'task')} still waiting when the settle time ended`);
  if (ledger && !ledger.settled && record.target.own) all.push('the lanes were not seen quiet within the settle time, so the account is not closed');
  for (const it of experiment?.expectations ?? []) if (!it.held) all.push(`the experiment: ${it.what}: ${it.found}`);
  for (const it of record.thresholds ?? []) {
    if (!it.passed) all.push(`threshold ${it.selector} ${it.expression}: ${it.measured === null ? (it.reason ?? 'not measured') : amount(it.measured, it.unit)}`);
  }
  if (record.ended.how === 'interrupted') all.push('interrupted before its end');
  if (record.ended.how === 'aborted') all.push('ended early by a threshold with abort_on_fail');
  return all;
}

/** What happened, in two or three sentences. */
export function story(record: RunRecord): string {
  const { ledger, experiment } = record;
  const parts: string[] = [];
  if (experiment?.hypothesis) parts.push(`Supposed: ${experiment.hypothesis.replace(/\.+$/, '')}. ${experiment.passed ? 'It held.' : 'It did not hold.'}`);
  const target = record.target.own ? 'a gateway of its own' : record.target.url;
  parts.push(record.duration.load_ms === 0 ? 'There was no load.' : `${duration(record.duration.load_ms)} of load against ${target}.`);
  if (ledger && ledger.acknowledged > 0) {
    const all = `${count(ledger.acknowledged)} tasks were acknowledged`;
    if (ledger.lost > 0) parts.push(`${all}, and ${count(ledger.lost)} of them are gone.`);
    else if (ledger.pending > 0) parts.push(`${all}; ${count(ledger.pending)} still wait.`);
    else parts.push(ledger.settled ? `${all}, and every one is accounted for.` : `${all}; the account was not closed.`);
  }
  const faults = record.faults ?? [];
  const [fault] = faults;
  if (faults.length === 1 && fault) {
    const after = fault.recovered_ms === undefined ? '' : `, working again after ${duration(fault.recovered_ms - fault.at_ms)}`;
    parts.push(`One fault (${fault.name})${after}.`);
  } else if (faults.length > 1) parts.push(`${faults.length} faults.`);
  return parts.join(' ');
}
