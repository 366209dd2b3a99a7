// Small things that Vue components share.

import { onBeforeUnmount, onMounted, ref, type Ref, watch } from 'vue';

/** Whether a media query holds, as it changes. */
export function useMedia(query: string): Ref<boolean> {
  const media = window.matchMedia(query);
  const matches = ref(media.matches);
  const listen = () => {
    matches.value = media.matches;
  };
  onMounted(() => media.addEventListener('change', listen));
  onBeforeUnmount(() => media.removeEventListener('change', listen));
  return matches;
}

/** The size of an element in CSS pixels, as it changes. */
export function useSize(element: Ref<HTMLElement | null>): { width: Ref<number>; height: Ref<number> } {
  const width = ref(0);
  const height = ref(0);
  const observer = new ResizeObserver(([entry]) => {
    width.value = Math.floor(entry?.contentRect.width ?? 0);
    height.value = Math.floor(entry?.contentRect.height ?? 0);
  });
  watch(element, (it, before) => {
    if (before) observer.unobserve(before);
    if (it) observer.observe(it);
  });
  onBeforeUnmount(() => observer.disconnect());
  return { width, height };
}

/** Calls `what` at once, and every `every_ms` for as long as the component is there and the page is visible. */
export function useRepeated(what: () => Promise<unknown> | unknown, every_ms: number): void {
  let timer: number | undefined;
  let gone = false;
  const turn = async () => {
    if (!document.hidden) await what();
    if (!gone) timer = window.setTimeout(() => void turn(), every_ms);
  };
  onMounted(() => void turn());
  onBeforeUnmount(() => {
    gone = true;
    window.clearTimeout(timer);
  });
}
