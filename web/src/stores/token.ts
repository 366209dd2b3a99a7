// The token: asked for when the gateway wants one, kept for this tab and no longer.

import { defineStore } from 'pinia';
import { ref } from 'vue';

const KEY = 'squall.token';

export const useToken = defineStore('token', () => {
  const token = ref<string | undefined>(sessionStorage.getItem(KEY) ?? undefined);
  /** The dialog is open; why it is. */
  const asking = ref<string | undefined>();
  let waiting: ((given: boolean) => void)[] = [];
  /** Somebody closed the dialog: it does not open by itself again. */
  let declined = false;

  /** Opens the dialog; resolves with true when there is another token than `used`. With `why` somebody wants it to open. */
  function ask(used: string | undefined, why?: string): Promise<boolean> {
    if (token.value !== used) return Promise.resolve(true);
    if (declined && why === undefined) return Promise.resolve(false);
    asking.value = why ?? (used === undefined ? 'This gateway wants a token.' : 'The gateway does not know this token.');
    return new Promise((resolve) => waiting.push(resolve));
  }

  /** The dialog's answer; undefined: there is none. */
  function give(it: string | undefined): void {
    const given = it !== undefined && it !== '';
    if (given) {
      token.value = it;
      sessionStorage.setItem(KEY, it);
    }
    declined = !given;
    asking.value = undefined;
    const all = waiting;
    waiting = [];
    for (const resolve of all) resolve(given);
  }

  function forget(): void {
    token.value = undefined;
    sessionStorage.removeItem(KEY);
  }

  return { token, asking, ask, give, forget };
});
