import { expect, live, rows, stage, test } from './console';

const it = stage({
  tokens: { boss: ['admin'], eye: ['read'], guest: ['read', 'publish'] },
  tenants: { guest: 'others' },
});

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

test('other tenants are no loss to a token of one, and an administrator is given every event', async ({ page, context }) => {
  const of = (token: string, kind: string) => it.gateway.ask('POST', '/v1/tasks', { kind, payload: 1 }, `${token}-secret`);
  const watch = async (at: typeof page, token: string) => {
    await at.goto(it.front.url);
    await at.getByRole('textbox').fill(`${token}-secret`);
    await at.keyboard.press('Enter');
    await live(at);
  };
  const boss = await context.newPage();
  await watch(page, 'guest');
  await watch(boss, 'boss');
  for (const round of [1, 2, 3]) {
    await of('guest', `ours_${round}`);
    await of('boss', `theirs_${round}`);
  }
  await of('guest', 'last');
  await expect(rows(page).first()).toContainText('last');
  await expect(page.getByText('theirs_')).toHaveCount(0);
  await expect(page.getByTestId('stat-connection')).toContainText('the events of this tenant, in order');
  await expect(page.getByTestId('gap')).toHaveCount(0);
  await expect(rows(boss).first()).toContainText('last');
  await expect(rows(boss).nth(1)).toContainText('theirs_3');
  await expect(boss.getByTestId('stat-connection')).toContainText('every event, no gaps');
  await expect(boss.getByTestId('gap')).toHaveCount(0);
});
