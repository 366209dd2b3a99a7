import { expect, live, rows, stage, test } from './console';

const it = stage({ tokens: { boss: ['admin'], eye: ['read'] } });

test.beforeEach(({ complaints }) => complaints.allow(/401|403|WebSocket connection to .* failed/));

test('a gateway that wants a token is given one, for this tab', async ({ page, context }) => {
  await page.goto(it.front.url);
  const dialog = page.getByRole('dialog');
  await expect(dialog).toContainText('wants a token');
  await dialog.getByRole('textbox').fill('wrong');
  await dialog.getByRole('button', { name: 'Use it' }).click();
  await expect(dialog).toContainText('does not know this token');
  await dialog.getByRole('textbox').fill('boss-secret');
  await dialog.getByRole('button', { name: 'Use it' }).click();
  await expect(dialog).toHaveCount(0);
  await live(page);
  await it.gateway.ask('POST', '/v1/tasks', { kind: 'seen', payload: 1 }, 'boss-secret');
  await expect(rows(page).first()).toContainText('seen');

  await page.reload();
  await live(page);
  expect(await page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain('secret');
  const other = await context.newPage();
  await other.goto(it.front.url);
  await expect(other.getByRole('dialog')).toContainText('wants a token');
});

test('who declines is not asked again and again', async ({ page }) => {
  await page.goto(it.front.url);
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
  await expect(page.getByRole('button', { name: 'Enter a token' })).toBeVisible();
  // The figures are asked for each second.
  await page.waitForResponse((response) => response.url().endsWith('/v1/metrics') && response.status() === 401);
  await expect(page.getByRole('dialog')).toHaveCount(0);
  await page.getByRole('button', { name: 'Enter a token' }).click();
  await page.getByRole('textbox').fill('eye-secret');
  await page.keyboard.press('Enter');
  await live(page);
});

test('a token that may only look is told what it may not', async ({ page }) => {
  await page.goto(`${it.front.url}/lanes`);
  await page.getByRole('textbox').fill('eye-secret');
  await page.keyboard.press('Enter');
  await live(page);
  await page.getByRole('region', { name: 'Lane crude' }).getByRole('button', { name: 'Pause' }).click();
  await expect(page.getByRole('alert')).toContainText('admin');
});
