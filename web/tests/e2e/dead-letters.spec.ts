import { expect, open, stage, test } from './console';

const it = stage();
const lines = (page: import('@playwright/test').Page) => page.getByRole('region', { name: 'List of dead letters' }).locator('tbody tr');

test('a dead letter is looked at, and replayed', async ({ page }) => {
  const id = await it.gateway.deadLetter('unheard-of');
  await open(page, it, '/dead-letters');
  await lines(page).filter({ hasText: 'unheard-of' }).click();
  const opened = page.getByTestId('opened');
  await expect(opened).toContainText(id);
  await expect(opened.getByLabel('Payload')).toContainText('a payload of unheard-of');
  await expect(opened).toContainText('the upstream does not know unheard-of');
  await opened.getByRole('button', { name: 'Replay' }).click();
  await expect(page.getByText('1 dead letter replayed.')).toBeVisible();
  await expect(lines(page)).toHaveCount(0);
  const again = await it.gateway.take();
  expect(again.id).toBe(id);
  await it.gateway.ask('POST', `/v1/tasks/${id}/ack`, { receipt: again.receipt });
});

test('several are replayed together, and those that come appear by themselves', async ({ page }) => {
  await open(page, it, '/dead-letters');
  await expect(page.getByText('None. Every task was finished')).toBeVisible();
  await it.gateway.deadLetter('one');
  await it.gateway.deadLetter('two');
  await it.gateway.deadLetter('three');
  await expect(lines(page)).toHaveCount(3);
  await page.getByLabel('Kind').fill('two');
  await expect(lines(page)).toHaveCount(1);
  await page.getByLabel('Kind').fill('');
  await expect(lines(page)).toHaveCount(3);
  await lines(page).filter({ hasText: 'one' }).getByRole('checkbox').check();
  await lines(page).filter({ hasText: 'two' }).getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Replay' }).click();
  await expect(page.getByText('2 dead letters replayed.')).toBeVisible();
  await expect(lines(page)).toHaveCount(1);
});

test('a purge asks first', async ({ page }) => {
  await open(page, it, '/dead-letters');
  await lines(page).getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Purge' }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog).toContainText('Purge 1 dead letter?');
  await page.keyboard.press('Escape');
  await expect(dialog).toHaveCount(0);
  await expect(lines(page)).toHaveCount(1);
  await page.getByRole('button', { name: 'Purge' }).click();
  await dialog.getByRole('button', { name: 'Purge' }).click();
  await expect(page.getByText('1 dead letter purged.')).toBeVisible();
  await expect(lines(page)).toHaveCount(0);
});
