// How a list that the gateway makes follows the feed.

import { onBeforeUnmount } from 'vue';
import { useFeed } from '../stores/feed';

/** How long a list stays as it is before it is asked for again: faster than that it cannot be read. */
const REST_MS = 700;

/** Loads again when there was an event of a topic, or the connection broke; for as long as the page is there. */
export function loadOn(topic: string, load: () => Promise<void>): void {
  let due: number | undefined;
  const stop = useFeed().onFrame(({ records, broken }) => {
    if (due === undefined && (broken || records.some((it) => it.topic === topic))) {
      due = window.setTimeout(() => {
        due = undefined;
        void load();
      }, REST_MS);
    }
  });
  onBeforeUnmount(() => {
    stop();
    window.clearTimeout(due);
  });
}
