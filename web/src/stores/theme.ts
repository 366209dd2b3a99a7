// Light or dark: as the system says, unless somebody chose.

import { defineStore } from 'pinia';
import { computed, ref, watch } from 'vue';

const KEY = 'squall.theme';
const CHOICES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof CHOICES)[number];

export const useTheme = defineStore('theme', () => {
  const kept = localStorage.getItem(KEY) as Theme | null;
  const choice = ref<Theme>(kept !== null && CHOICES.includes(kept) ? kept : 'system');
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const systemDark = ref(system.matches);
  system.addEventListener('change', () => {
    systemDark.value = system.matches;
  });
  /** What is shown; canvases draw again when it changes. */
  const dark = computed(() => (choice.value === 'system' ? systemDark.value : choice.value === 'dark'));

  watch(
    choice,
    (it) => {
      const root = document.documentElement;
      if (it === 'system') root.removeAttribute('data-theme');
      else root.dataset.theme = it;
      localStorage.setItem(KEY, it);
    },
    { immediate: true, flush: 'sync' },
  );

  function next(): void {
    choice.value = CHOICES[(CHOICES.indexOf(choice.value) + 1) % CHOICES.length] as Theme;
  }

  return { choice, dark, next };
});
