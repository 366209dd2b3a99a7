// The gateway's figures, asked for once a second, and what they were in the last minutes.

import { defineStore } from 'pinia';
import { computed, ref, shallowRef } from 'vue';
import { saying } from '../api/client';
import { stats as askStats } from '../api/endpoints';
import type { Stats } from '../api/types';
import { History, type Sample } from '../charts/history';

const EVERY_MS = 1_000;
/** Ten minutes. */
const KEPT = 600;

export const useGateway = defineStore('gateway', () => {
  const stats = shallowRef<Stats | undefined>();
  const error = ref<string | undefined>();
  /** `Date.now()` of the last answer; pages that say how old something is read it. */
  const now = ref(Date.now());
  const samples = shallowRef<readonly Sample[]>([]);
  const history = new History(KEPT);
  let timer: number | undefined;

  async function refresh(): Promise<void> {
    try {
      const answer = await askStats();
      stats.value = answer;
      error.value = undefined;
      samples.value = history.add(Date.now(), answer);
    } catch (it) {
      error.value = saying(it);
      samples.value = history.missing(Date.now());
    }
    now.value = Date.now();
  }

  async function poll(): Promise<void> {
    await refresh();
    timer = window.setTimeout(() => void poll(), EVERY_MS);
  }

  function start(): void {
    if (timer === undefined) void poll();
  }

  const last = computed(() => samples.value.at(-1));
  return { stats, error, now, samples, last, start, refresh };
});
