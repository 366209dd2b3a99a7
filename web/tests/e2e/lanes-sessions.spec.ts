import { expect, open, stage, test } from './console';

const it = stage();

test('a lane shows what waits in it, and is paused and resumed', async ({ page }) => {
  await it.gateway.publish(7, { lane: 'crude', priority: 'low' });
  await open(page, it, '/lanes');
  const lane = page.getByRole('region', { name: 'Lane crude' });
  await expect(lane).toContainText('7 of 100k');
  await expect(lane).toContainText('0 · 0 · 7');
  await expect(lane.locator('canvas')).toHaveCount(3);
  await lane.getByRole('button', { name: 'Pause' }).click();
  await expect(lane).toContainText('paused');
  expect((await it.gateway.ask<{ paused: boolean }>('GET', '/v1/lanes/crude')).paused).toBe(true);
  await lane.getByRole('button', { name: 'Resume' }).click();
  await expect(lane.getByRole('button', { name: 'Pause' })).toBeVisible();
  await it.gateway.publish(3, { lane: 'crude', priority: 'high' });
  await expect(lane).toContainText('3 · 0 · 7');
});

test('sessions are listed and filtered, and one has its timeline from the feed', async ({ page }) => {
  await it.gateway.publish(500, { lane: 'crude' });
  await it.gateway.ask('POST', '/v1/sessions', { id: 'alpha', metadata: { model: 'opus' } });
  await it.gateway.ask('POST', '/v1/sessions', { id: 'beta', metadata: { model: 'other' } });
  await it.gateway.publish(2, { session: 'alpha', kind: 'chat' });
  await it.gateway.ask('POST', '/v1/sessions/beta/end', {});
  await it.gateway.publish(500, { lane: 'crude' });

  await open(page, it, '/sessions');
  const list = page.getByRole('region', { name: 'List of sessions' }).locator('tbody tr');
  await expect(list).toHaveCount(2);
  await page.getByRole('button', { name: /^completed/ }).click();
  await expect(list).toHaveCount(1);
  await expect(list).toContainText('beta');
  await page.getByRole('button', { name: 'all', exact: true }).click();
  await page.getByLabel('Search sessions').fill('opus');
  await expect(list).toHaveCount(1);
  await list.click();

  const timeline = page.getByTestId('timeline').locator('li');
  await expect(timeline).toHaveCount(3);
  await expect(timeline.last()).toContainText('session created');
  await expect(timeline.first()).toContainText('chat');
  // It goes on while one looks.
  await it.gateway.publish(1, { session: 'alpha', kind: 'live' });
  await expect(timeline).toHaveCount(4);
  await expect(timeline.first()).toContainText('live');
});
