import vue from '@vitejs/plugin-vue';
import type { ProxyOptions } from 'vite';
import { defineConfig } from 'vitest/config';

// The gateway whose data `npm run dev` and `npm run preview` show.
const gateway = process.env.SQUALL_URL ?? 'http://127.0.0.1:8000';

// What the gateway sends with the page. `preview` sends the same, so that nothing works here that is refused there.
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "font-src 'self'",
  "worker-src 'self'",
  "frame-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const forwarded: ProxyOptions = {
  target: gateway,
  changeOrigin: true,
  ws: true,
  // A gateway answers pages of elsewhere with 403; behind the proxy the page is not from elsewhere.
  configure(proxy) {
    proxy.on('proxyReq', (request) => request.removeHeader('origin'));
    proxy.on('proxyReqWs', (request) => request.removeHeader('origin'));
  },
};
const proxy = Object.fromEntries(['/v1', '/api', '/ws', '/health', '/ready'].map((path) => [path, forwarded]));

export default defineConfig({
  plugins: [vue()],
  server: { proxy },
  preview: { proxy, headers: { 'Content-Security-Policy': policy } },
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 300 },
  worker: { format: 'es' },
  test: { include: ['src/**/*.test.ts'] },
});
