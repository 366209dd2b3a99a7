import { AWAY, expect, live, open, rows, stage, test } from './console';
import type { Page } from '@playwright/test';

const it = stage();

/** All offsets of a kind that the log has, in its order; scrolled through, because only what is seen is there. */
async function offsets(page: Page): Promise<number[]> {
  return page.getByRole('listbox', { name: 'Events, newest first' }).evaluate(async (list) => {
    const found = new Map<number, number>();
    list.scrollTop = 0;
    for (;;) {
      await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
      for (const row of list.querySelectorAll<HTMLElement>('[data-offset]')) found.set(Number(row.dataset.index), Number(row.dataset.offset));
      if (list.scrollTop + list.clientHeight >= list.scrollHeight - 1) break;
      list.scrollTop += list.clientHeight / 2;
    }
    return [...found].sort(([a], [b]) => a - b).map(([, offset]) => offset);
  });
}

/** Every offset once, from the newest down, without a hole. */
function expectWhole(seen: number[]): void {
  expect(seen.length).toBeGreaterThan(0);
  expect(seen).toEqual(seen.map((_, index) => (seen[0] as number) - index));
}

test('a connection that is cut is made again, without a gap or a repeat', async ({ page, complaints }) => {
  complaints.allow(AWAY);
  await open(page, it);
  await it.gateway.publish(20, { kind: 'before' });
  await expect(page.getByTestId('log-count')).toHaveText('20');
  it.front.cut();
  await expect(page.getByTestId('reconnecting')).toBeVisible();
  await it.gateway.publish(50, { kind: 'meanwhile' });
  it.front.mend();
  await live(page);
  await it.gateway.publish(1, { kind: 'after' });
  await expect(rows(page).first()).toContainText('after');
  await expect(page.getByTestId('log-count')).toHaveText('71');
  expectWhole(await offsets(page));
  await expect(page.getByTestId('stat-connection')).toContainText('no gaps');
  await expect(page.getByTestId('gap')).toHaveCount(0);
});

test('a gateway that is killed and starts again is found again', async ({ page, complaints }) => {
  complaints.allow(AWAY);
  await open(page, it);
  await it.gateway.publish(5, { kind: 'before' });
  await expect(rows(page).first()).toContainText('before');
  await it.gateway.kill();
  await expect(page.getByTestId('reconnecting')).toContainText(/Attempt \d/);
  await it.gateway.begin();
  await it.gateway.publish(5, { kind: 'after' });
  await live(page);
  await expect(rows(page).first()).toContainText('after');
  expectWhole(await offsets(page));
  await expect(page.getByTestId('stat-connection')).toContainText('no gaps');
});

test('a connection that fell silent is noticed as soon as the page is looked at', async ({ page }) => {
  await open(page, it);
  await it.gateway.publish(1, { kind: 'heard' });
  await expect(rows(page).first()).toContainText('heard');
  it.front.hush();
  await it.gateway.publish(1, { kind: 'unheard' });
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await expect(rows(page).first()).toContainText('unheard', { timeout: 20_000 });
  expectWhole(await offsets(page));
});

test('another store is told, and followed from its beginning', async ({ page, complaints }) => {
  complaints.allow(AWAY);
  await open(page, it);
  await it.gateway.publish(3, { kind: 'of the old store' });
  await expect(rows(page).first()).toContainText('of the old store');
  await it.gateway.kill();
  await it.gateway.begin('other');
  await it.gateway.publish(2, { kind: 'of the new store' });
  await live(page);
  await expect(rows(page).first()).toContainText('of the new store');
  await expect(page.getByTestId('gap')).toContainText('another store');
  await expect(page.getByTestId('stat-connection')).toContainText('another store');
});
