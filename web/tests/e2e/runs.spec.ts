import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, open, stage, test } from './console';
import { PROGRAM } from './gateway';

let directory = '';
const it = stage(async () => {
  directory = await mkdtemp(join(tmpdir(), 'squall-runs-'));
  return { toml: `[runs]\ndir = "${directory}"\n` };
});
test.afterAll(() => rm(directory, { recursive: true, force: true }));

/** A real storm, short; on a busy machine its thresholds may break, which is a verdict like any other. */
async function storm(): Promise<void> {
  await promisify(execFile)(PROGRAM, ['run', 'demo', '--duration', '4s', '--out', directory, '--quiet'], { cwd: directory }).catch(
    (error: { code?: number; stderr?: string }) => {
      if (![1, 98, 99].includes(error.code ?? 0)) throw new Error(error.stderr);
    },
  );
}

test('where there is no run, the page says how to make one', async ({ page }) => {
  await open(page, it, '/runs');
  await expect(page.getByTestId('no-runs')).toContainText('squall run demo');
});

test('runs are listed, shown with their charts, and compared', async ({ page }) => {
  test.setTimeout(90_000);
  await storm();
  await storm();
  await open(page, it, '/runs');
  const list = page.getByRole('region', { name: 'List of runs' }).locator('tbody tr');
  await expect(list).toHaveCount(2);
  await expect(list.first()).toContainText('demo');

  await list.first().getByRole('link').click();
  await expect(page.getByTestId('verdict')).not.toBeEmpty();
  await expect(page.getByRole('region', { name: 'Thresholds' })).toContainText('task_latency');
  await expect(page.getByRole('region', { name: 'Ledger' })).toContainText('acknowledged');
  await expect(page.getByRole('region', { name: 'Faults' })).toContainText('SIGKILL');
  for (const name of ['Throughput', 'Task latency', 'Queue depth', 'Errors', 'Latency distribution']) {
    await expect(page.getByRole('region', { name, exact: true }).locator('canvas')).toBeVisible();
  }
  const report = page.getByRole('link', { name: 'Open report.html' });
  expect((await page.request.get(it.front.url + (await report.getAttribute('href')))).headers()['content-type']).toContain('text/html');

  await page.getByRole('link', { name: 'Runs', exact: true }).first().click();
  await list.nth(0).getByRole('checkbox').check();
  await list.nth(1).getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Compare' }).click();
  await expect(page.getByTestId('comparison')).toContainText('task latency p99');
  await expect(page.getByRole('region', { name: 'Throughput' }).locator('canvas')).toBeVisible();
});
