// Each page is loaded when it is first looked at: the graph's drawing is as large as all the rest.

import { createRouter, createWebHistory } from 'vue-router';
import LivePage from './pages/LivePage.vue';

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/', component: LivePage, meta: { title: 'Live' } },
    { path: '/lanes', component: () => import('./pages/LanesPage.vue'), meta: { title: 'Lanes' } },
    { path: '/dead-letters', component: () => import('./pages/DeadLettersPage.vue'), meta: { title: 'Dead letters' } },
    { path: '/sessions', component: () => import('./pages/SessionsPage.vue'), meta: { title: 'Sessions' } },
    { path: '/sessions/:id', component: () => import('./pages/SessionPage.vue'), props: true, meta: { title: 'Session' } },
    { path: '/graph', component: () => import('./pages/GraphPage.vue'), meta: { title: 'Graph' } },
    { path: '/runs', component: () => import('./pages/RunsPage.vue'), meta: { title: 'Runs' } },
    { path: '/runs/compare', component: () => import('./pages/ComparePage.vue'), meta: { title: 'Compare runs' } },
    { path: '/runs/:id', component: () => import('./pages/RunPage.vue'), props: true, meta: { title: 'Run' } },
    { path: '/:elsewhere(.*)*', component: () => import('./pages/NowherePage.vue'), meta: { title: 'Not found' } },
  ],
  scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? false : { top: 0 }),
});

router.afterEach((to) => {
  document.title = `${String(to.meta.title ?? 'Console')} · Squall`;
});
