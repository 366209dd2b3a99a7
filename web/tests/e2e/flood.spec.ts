import { expect, figure, open, rows, stage, test } from './console';
import { until } from './gateway';

const it = stage();

const RATE = 5_000;
const SECONDS = 5;

test('five thousand events a second leave the page responsive', async ({ page }, info) => {
  await open(page, it);
  await page.evaluate(() => {
    const frames: number[] = [];
    const tasks: number[] = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: 'longtask' });
    let last = performance.now();
    const frame = (now: number) => {
      frames.push(now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    Object.assign(window, { measured: { frames, tasks } });
  });
  const before = await figure(page, 'events');
  const began = Date.now();
  // One publish is one event; ten batches a second.
  for (let batch = 1; batch <= SECONDS * 10; batch += 1) {
    await it.gateway.publish(RATE / 10, { kind: `flood-${batch}`, lane: batch % 2 === 0 ? 'gpt4' : 'crude' });
    const early = began + batch * 100 - Date.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    // Somebody uses the page meanwhile.
    if (batch === 20) await page.getByLabel('Search events').fill('flood');
    if (batch === 30) await page.getByRole('button', { name: 'Pause' }).click();
    if (batch === 35) await page.getByRole('button', { name: 'Go on' }).click();
  }
  const took = (Date.now() - began) / 1_000;
  await until(async () => (await figure(page, 'events')) >= before + RATE * SECONDS);
  await expect(rows(page).first()).toContainText(`flood-${SECONDS * 10}`);
  const { frames, tasks } = await page.evaluate(() => (window as unknown as { measured: { frames: number[]; tasks: number[] } }).measured);
  const sorted = frames.slice(5).sort((a, b) => a - b);
  const p95 = sorted[Math.floor(sorted.length * 0.95)] as number;
  const longest = Math.max(0, ...tasks);
  const measured = `${Math.round((RATE * SECONDS) / took)} events/s; frames: p50 ${sorted[Math.floor(sorted.length / 2)]?.toFixed(0)} ms, p95 ${p95.toFixed(0)} ms, longest ${sorted.at(-1)?.toFixed(0)} ms; long tasks: ${tasks.length}, longest ${longest.toFixed(0)} ms`;
  info.annotations.push({ type: 'measured', description: measured });
  console.log(`    ${measured}`);
  await expect(page.getByTestId('stat-connection')).toContainText('no gaps');
  // Without a graphics card, beside a debug build of the gateway, on two cores.
  expect(p95).toBeLessThan(200);
  expect(longest).toBeLessThan(1_000);
});
