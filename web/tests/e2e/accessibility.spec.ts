import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, open, stage, test } from './console';
import { PROGRAM } from './gateway';

let runs = '';
let run = '';
const it = stage(async () => {
  runs = await mkdtemp(join(tmpdir(), 'squall-runs-'));
  return { toml: `[runs]\ndir = "${runs}"\n[graph]\nroot = "${resolve('src')}"\n` };
});
test.afterAll(() => rm(runs, { recursive: true, force: true }));

test.beforeAll(async () => {
  await promisify(execFile)(PROGRAM, ['run', 'demo', '--duration', '2s', '--out', runs, '--quiet'], { cwd: runs }).catch(() => undefined);
  const { items } = await it.gateway.ask<{ items: { id: string }[] }>('GET', '/v1/runs');
  run = items[0]?.id ?? '';
  await it.gateway.ask('POST', '/v1/sessions', { id: 'seen', metadata: { model: 'opus' } });
  await it.gateway.deadLetter('lost');
  await it.gateway.publish(30, { session: 'seen', lane: 'crude' });
});

async function pages(page: Page, look: (name: string) => Promise<void>): Promise<void> {
  for (const path of ['/', '/lanes', '/dead-letters', '/sessions', '/sessions/seen', '/graph', '/runs', `/runs/${run}`, `/runs/compare?a=${run}&b=${run}`, '/nowhere']) {
    await open(page, it, path);
    await page.waitForLoadState('networkidle').catch(() => undefined);
    if (path === '/') {
      await page.getByRole('listbox', { name: 'Events, newest first' }).getByRole('option').first().click();
      await page.getByLabel('The selected event').waitFor();
    }
    if (path === '/dead-letters') {
      await page.locator('tbody tr').first().click();
      await page.getByTestId('opened').waitFor();
    }
    await look(path);
  }
}

for (const scheme of ['light', 'dark'] as const) {
  test(`no page has a serious fault of accessibility, ${scheme}`, async ({ page }) => {
    test.setTimeout(120_000);
    await page.emulateMedia({ colorScheme: scheme });
    await pages(page, async (path) => {
      const { violations } = await new AxeBuilder({ page }).analyze();
      const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
      expect(grave.map(({ id, nodes }) => `${path}: ${id}: ${nodes.map((node) => node.html).slice(0, 3).join(' ')}`)).toEqual([]);
    });
  });
}

test('no page is wider than a telephone', async ({ page }) => {
  test.setTimeout(90_000);
  await page.setViewportSize({ width: 390, height: 844 });
  await pages(page, async (path) => {
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(wide, path).toBeLessThanOrEqual(0);
  });
});
