import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, figure, open, rows, stage, test } from './console';

const FILES = 300;

let tree = '';
const it = stage(async () => {
  tree = await mkdtemp(join(tmpdir(), 'squall-tree-'));
  await mkdir(join(tree, 'src'));
  await Promise.all(Array.from({ length: FILES }, (_, n) => writeFile(join(tree, 'src', `part_${n}.rs`), source(n))));
  return { toml: `[graph]\nroot = "${tree}"\nwatch = true\n` };
});
test.afterAll(() => rm(tree, { recursive: true, force: true }));

function source(n: number): string {
  const next = (n + 1) % FILES;
  return `use crate::part_${next}::work_${next};\n\npub struct Part${n} { pub size: u64 }\n\nimpl Part${n} {\n    pub fn new() -> Self { Self { size: helper_${n}(${n}) } }\n    pub fn run(&self) -> u64 { if self.size > 3 { work_${next}(self.size) } else { helper_${n}(self.size) } }\n}\n\npub fn work_${n}(size: u64) -> u64 { helper_${n}(size) + 1 }\n\nfn helper_${n}(size: u64) -> u64 { size * 2 }\n`;
}

async function analysed(page: import('@playwright/test').Page): Promise<void> {
  await expect(page.getByTestId('analysis-line')).toHaveAttribute('data-status', 'completed', { timeout: 30_000 });
}

test('an analysis moves the figures, and its progress reaches 100 %', async ({ page }) => {
  await open(page, it);
  await analysed(page);
  const nodes = await figure(page, 'nodes');
  expect(nodes).toBeGreaterThan(FILES * 4);

  // From scratch everything is void, and counted anew while one watches.
  await page.evaluate(() => {
    const seen = { percentages: [] as number[], nodes: [] as number[] };
    Object.assign(window, { seen });
    const look = () => {
      seen.percentages.push(Number(document.querySelector('[data-testid=progress]')?.getAttribute('aria-valuenow')));
      seen.nodes.push(Number(document.querySelector('[data-testid=stat-nodes]')?.textContent?.replaceAll(',', '')));
      requestAnimationFrame(look);
    };
    look();
  });
  await page.getByLabel('from scratch').check();
  await page.getByRole('button', { name: 'Re-analyze' }).click();
  await page.waitForFunction(() => {
    const { percentages } = (window as unknown as { seen: { percentages: number[] } }).seen;
    return percentages.some((it) => it < 100) && percentages.at(-1) === 100;
  });
  await analysed(page);
  await expect.poll(() => figure(page, 'nodes')).toBe(nodes);
  const seen = await page.evaluate(() => (window as unknown as { seen: { nodes: number[] } }).seen.nodes);
  expect(Math.min(...seen)).toBeLessThan(nodes);
  await page.getByRole('button', { name: 'graph', exact: true }).click();
  await expect(rows(page).first()).toContainText('analysis completed');
});

test('the graph is drawn, searched, and walked through', async ({ page }) => {
  await open(page, it, '/graph');
  const drawn = page.getByTestId('graph-drawn');
  await expect.poll(async () => Number(await drawn.getAttribute('data-nodes'))).toBeGreaterThan(100);
  await page.getByLabel('Find a symbol').fill('helper_17');
  await page.getByLabel('Found symbols').getByRole('button', { name: /helper_17\b/ }).first().click();
  const details = page.getByTestId('node-details');
  await expect(details).toContainText('helper_17');
  await expect(details).toContainText('Callers');
  await expect(drawn).toContainText('Neighbourhood');
  await details.getByRole('button', { name: /work_17\b/ }).first().click();
  await expect(details.getByRole('heading', { level: 2 })).toContainText('work_17');
  await page.goBack();
  await expect(details.getByRole('heading', { level: 2 })).toContainText('helper_17');
  await page.getByRole('button', { name: 'Overview' }).click();
  await expect(drawn).toContainText('The most connected');
});

test('what changes in the source tree is seen at once', async ({ page }) => {
  await open(page, it);
  await analysed(page);
  const before = await figure(page, 'nodes');
  await page.getByLabel('Search events').fill('brand_new');
  await writeFile(join(tree, 'src', 'brand_new.rs'), 'pub fn brand_new() -> u64 { 1 }\n');
  await expect(rows(page).first()).toContainText('brand_new', { timeout: 20_000 });
  await expect.poll(() => figure(page, 'nodes')).toBeGreaterThan(before);
});
