// What every test file begins with: a gateway of its own, a page, and nobody who complains in its log.

import { type ConsoleMessage, expect, type Page, test as base } from '@playwright/test';
import { Front } from './front';
import { Gateway, type Settings } from './gateway';

/** A gateway and its front for all tests of a file. */
export interface Stage {
  gateway: Gateway;
  front: Front;
}

export function stage(settings: Settings | (() => Promise<Settings>) = {}): Stage {
  const it = {} as Stage;
  base.beforeAll(async () => {
    it.gateway = await Gateway.start(typeof settings === 'function' ? await settings() : settings);
    it.front = await Front.before(it.gateway);
  });
  base.afterAll(async () => {
    await it.front?.stop();
    await it.gateway?.stop();
  });
  return it;
}

/** Complaints that a test expects: a gateway that is away is noticed by the browser too. */
type Expects = { complaints: { allow: (pattern: RegExp) => void } };

// A browser logs every answer above 399. This one is how a page learns that there is no graph.
const NO_GRAPH = /404.*\/api\/graph\/stats$/;

export const test = base.extend<Expects>({
  complaints: [
    async ({ page }, use) => {
      const heard: string[] = [];
      const allowed = [NO_GRAPH];
      page.on('console', (message: ConsoleMessage) => {
        if (message.type() === 'error' || message.type() === 'warning') heard.push(`${message.text()} ${message.location().url}`);
      });
      page.on('pageerror', (error) => heard.push(`${error.name}: ${error.message}`));
      await use({ allow: (pattern) => void allowed.push(pattern) });
      expect(heard.filter((it) => !allowed.some((pattern) => pattern.test(it)))).toEqual([]);
    },
    { auto: true },
  ],
});

/** What the browser says while a gateway or the way to it is away. */
export const AWAY = /WebSocket connection to .* failed|ERR_EMPTY_RESPONSE|ERR_CONNECTION|50[0-9] \(/;

export { expect };

/** Opens a page and waits until it follows the feed. */
export async function open(page: Page, { front }: Stage, path = '/'): Promise<void> {
  await page.goto(front.url + path);
  await live(page);
}

export async function live(page: Page): Promise<void> {
  await expect(page.getByTestId('connection')).toHaveAttribute('data-phase', 'live', { timeout: 25_000 });
}

/** The rows of the event log, newest first. */
export const rows = (page: Page) => page.getByRole('listbox', { name: 'Events, newest first' }).getByRole('option');

/** A figure of the page as a number. */
export async function figure(page: Page, name: string): Promise<number> {
  return Number((await page.getByTestId(`stat-${name}`).innerText()).replaceAll(',', ''));
}
