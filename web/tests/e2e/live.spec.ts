import { expect, live, open, rows, stage, test } from './console';

const it = stage();

test('what happens appears as it happens, newest first', async ({ page }) => {
  await open(page, it);
  await it.gateway.publish(1, { kind: 'first' });
  await expect(rows(page).first()).toContainText('first');
  await it.gateway.publish(1, { kind: 'second' });
  await expect(rows(page).first()).toContainText('second');
  await expect(rows(page).nth(1)).toContainText('first');
  await expect(page.getByTestId('stat-connection')).toContainText('no gaps');
});

test('figures move', async ({ page }) => {
  await open(page, it);
  const before = Number((await page.getByTestId('stat-events').innerText()).replaceAll(',', ''));
  await it.gateway.ask('POST', '/v1/sessions', { id: 'figures' });
  const { id, receipt } = await it.gateway.publish(1).then(() => it.gateway.take());
  await it.gateway.ask('POST', `/v1/tasks/${id}/ack`, { receipt });
  await expect.poll(async () => Number((await page.getByTestId('stat-events').innerText()).replaceAll(',', ''))).toBeGreaterThanOrEqual(before + 4);
  await expect(page.getByTestId('stat-sessions')).toContainText(/^1/);
  await expect(page.getByTestId('stat-tasks')).toHaveText(/^[\d.]+$/);
});

test('filters filter: topic, type, and words', async ({ page }) => {
  await it.gateway.ask('POST', '/v1/lanes/crude/pause', {});
  await it.gateway.ask('POST', '/v1/lanes/crude/resume');
  await it.gateway.publish(2, { kind: 'needle' });
  await open(page, it);
  await expect(rows(page).first()).toContainText('needle');

  await page.getByRole('button', { name: 'lanes', exact: true }).click();
  await expect(page.getByTestId('log-count')).toHaveText('2');
  await expect(rows(page).first()).toContainText('lane resumed');
  await page.getByLabel('Type', { exact: true }).selectOption('lane_paused');
  await expect(page.getByTestId('log-count')).toHaveText('1');

  await page.getByRole('button', { name: 'lanes', exact: true }).click();
  await page.getByLabel('Type', { exact: true }).selectOption('');
  await page.getByLabel('Search events').fill('needle');
  await expect(page.getByTestId('log-count')).toHaveText('2');
  // What comes later goes through the same filter.
  await it.gateway.publish(1, { kind: 'hay' });
  await it.gateway.publish(1, { kind: 'needle' });
  await expect(page.getByTestId('log-count')).toHaveText('3');
});

test('paused, nothing moves and nothing is lost', async ({ page }) => {
  await open(page, it);
  await it.gateway.publish(1, { kind: 'before' });
  await expect(rows(page).first()).toContainText('before');
  await page.getByRole('button', { name: 'Pause' }).click();
  await it.gateway.publish(3, { kind: 'meanwhile' });
  await expect(page.getByText(/3 events since/)).toBeVisible();
  await expect(rows(page).first()).toContainText('before');
  await page.getByRole('button', { name: 'Go on' }).click();
  await expect(rows(page).first()).toContainText('meanwhile');
});

test('what was cleared does not come back', async ({ page }) => {
  await it.gateway.publish(2, { kind: 'old' });
  await open(page, it);
  await expect(rows(page).first()).toContainText('old');
  await page.getByRole('button', { name: 'Clear' }).click();
  await expect(rows(page)).toHaveCount(0);
  await it.gateway.publish(1, { kind: 'new' });
  await expect(rows(page)).toHaveCount(1);
  // Not under another filter, not when paused, and not when the page is loaded again and asks for the past.
  await page.getByRole('button', { name: 'tasks', exact: true }).click();
  await expect(rows(page)).toHaveCount(1);
  await page.getByRole('button', { name: 'tasks', exact: true }).click();
  await expect(rows(page)).toHaveCount(1);
  await page.reload();
  await live(page);
  await expect(rows(page)).toHaveCount(1);
  await expect(rows(page).first()).toContainText('new');
});

test('the log is read with the keyboard', async ({ page }) => {
  await open(page, it);
  await it.gateway.publish(2, { kind: 'keys' });
  await expect(rows(page).first()).toContainText('keys');
  await page.getByRole('listbox', { name: 'Events, newest first' }).focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await expect(rows(page).nth(1)).toHaveAttribute('aria-selected', 'true');
  await expect(page.getByLabel('The selected event')).toContainText('task published');
  await page.keyboard.press('Escape');
  await expect(page.getByLabel('The selected event')).toHaveCount(0);
});

test('without a source tree the page says how to name one', async ({ page }) => {
  await open(page, it, '/graph');
  await expect(page.getByTestId('no-graph')).toContainText('[graph]');
});
