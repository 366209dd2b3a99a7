import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { expect, figure, open, rows, stage, test } from './console';
import { until } from './gateway';

const FILES = 3_000;

let tree = '';
let files = 0;
const it = stage(async () => {
  tree = await mkdtemp(join(tmpdir(), 'squall-tree-'));
  await more(FILES);
  return { toml: `[graph]\nroot = "${tree}"\nwatch = false\n` };
});
test.afterAll(() => rm(tree, { recursive: true, force: true }));

async function more(number: number): Promise<void> {
  const folder = join(tree, `from_${files}`);
  await mkdir(folder);
  for (const end = files + number; files < end; files += 1) {
    await writeFile(join(folder, `part_${files}.rs`), `pub fn work_${files}(size: u64) -> u64 { helper_${files}(size) + 1 }\n\nfn helper_${files}(size: u64) -> u64 { size * 2 }\n`);
  }
}

interface Run {
  run_id: string;
  status: string;
}
const latest = () => it.gateway.ask<Run>('GET', '/api/graph/admin/reanalyze');
const ended = (run_id?: string) =>
  until(async () => {
    const run = await latest();
    return run.status !== 'running' && (run_id ?? run.run_id) === run.run_id;
  }, 60_000);
const line = (page: Page) => page.getByTestId('analysis-line');

/** Reads everything again, and cancels as soon as the page says of how many files; false when it ended before. */
async function cancelled(page: Page): Promise<boolean> {
  const asked = page.waitForResponse((response) => response.request().method() === 'POST' && response.url().includes('/reanalyze'));
  await page.getByLabel('from scratch').check();
  await page.getByRole('button', { name: 'Re-analyze' }).click();
  const { run_id } = (await (await asked).json()) as Run;
  const reads = async () => /of [1-9][\d,]* files/.test(await line(page).innerText());
  await until(async () => (await reads()) || (await latest()).status !== 'running');
  await page.getByRole('button', { name: 'Cancel' }).click({ timeout: 2_000 }).catch(() => undefined);
  await ended(run_id);
  const { status } = await latest();
  await expect(line(page)).toHaveAttribute('data-status', status);
  return status === 'cancelled';
}

test('an analysis is cancelled, and the next one goes on', async ({ page, complaints }) => {
  test.setTimeout(180_000);
  complaints.allow(/404.*\/reanalyze/); // It may end before the click arrives.
  await ended();
  await open(page, it);
  await expect(line(page)).toHaveAttribute('data-status', 'completed');
  for (let attempt = 1; !(await cancelled(page)); attempt += 1) {
    expect(attempt, `${files} files are read before anybody can click`).toBeLessThan(5);
    await more(files);
  }
  await expect(line(page)).toContainText('Cancelled');
  await expect(page.getByTestId('percentage')).not.toHaveText('100 %');
  await expect(page.getByRole('button', { name: 'Re-analyze' })).toBeEnabled();
  await page.getByRole('button', { name: 'graph', exact: true }).click();
  await expect(rows(page).first()).toContainText('cancelled');

  await page.getByLabel('from scratch').uncheck();
  await page.getByRole('button', { name: 'Re-analyze' }).click();
  await expect(line(page)).toHaveAttribute('data-status', 'completed', { timeout: 60_000 });
  await expect.poll(() => figure(page, 'nodes')).toBeGreaterThanOrEqual(files * 2);
});

test('an analysis that fails says why', async ({ page }) => {
  test.setTimeout(90_000);
  await ended();
  await open(page, it);
  await rm(tree, { recursive: true });
  await page.getByRole('button', { name: 'Re-analyze' }).click();
  await expect(line(page)).toHaveAttribute('data-status', 'failed');
  await expect(page.getByTestId('analysis-error')).toContainText(tree);
  // Who comes later is told the same.
  await page.reload();
  await expect(page.getByTestId('analysis-error')).toContainText(tree);
});
